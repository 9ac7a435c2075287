//! The passes of a generation: one packed prefill of all prompts, then packed steps of one row a sequence.

use super::apply::{Placed, larger};
use super::control::Control;
use super::error::{Result, RunError};
use super::generate::{GenerateOptions, Sequence};
use super::memory;
use super::patch::{self, Patch, Write};
use super::recorder::Recorder;
use super::rows::own_rows;
use super::select::Selection;
use super::site::{Pos, Site};
use crate::model::{At, Axes, Batch, Hook, Kv, Model, ModelError, Point, Segment};
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Sequences that grow together, and their keys and values.
pub(super) struct Wave<'a> {
    model: &'a Model,
    options: &'a GenerateOptions,
    control: &'a Control,
    /// By layer, then sequence, with room for the rows to come.
    kv: Vec<Vec<Kv>>,
}

/// What all prompts start with.
struct Prefix {
    len: usize,
    /// By layer, of which none are given where `len` is 0.
    kv: Vec<Vec<Kv>>,
    /// Watched activations, `[len, width]`.
    kept: BTreeMap<At, Tensor>,
}

/// A write that belongs to one segment of a pass.
struct Job {
    segment: usize,
    write: Write,
}

impl<'a> Wave<'a> {
    /// Runs all prompts; returns the logits after each, `[sequences, d_vocab]`.
    pub fn prefill(
        model: &'a Model,
        sequences: &mut [Sequence],
        options: &'a GenerateOptions,
        control: &'a Control,
    ) -> Result<(Wave<'a>, Tensor)> {
        let config = model.config();
        let resolved = sequences
            .iter()
            .map(|s| resolve(s.patches, |p| p.steps.in_prompt(), |p| p.resolve(config, s.prompt)));
        let writes: Vec<Vec<Write>> = resolved.collect::<Result<_>>()?;
        let mut wave = Wave { model, options, control, kv: vec![Vec::new(); config.n_layers] };
        // Scores reach from each query to all keys, and the last norm comes after the layers: a prefix has neither.
        let needs_all_rows = |site: &Site| {
            let At { point, .. } = site.at;
            matches!(point.axes(config), Axes::Scores { .. })
                || matches!(point, Point::LnFinal | Point::Logits)
        };
        let all_rows = options.watch.iter().any(needs_all_rows);
        let shared = if all_rows { 0 } else { shared_prefix(sequences, &writes) };
        let prefix = wave.run_prefix(sequences, shared)?;
        let mut logits = Vec::new();
        let looked_at = writes.iter().flatten().map(|write| write.selection.at).chain(wave.watched());
        let looked_at: BTreeSet<At> = looked_at.collect();
        let looked_at: Vec<At> = looked_at.into_iter().collect();
        let lens = sequences.iter().map(|s| s.prompt.len() - shared);
        let budget = memory::budget(control, &model.transformer.device);
        for range in memory::prefills(model, lens, shared, &looked_at, budget) {
            control.check()?;
            logits.push(wave.prefill_some(&mut sequences[range.clone()], &writes[range], &prefix)?);
        }
        for (s, writes) in sequences.iter().zip(&writes) {
            if let Some(write) = writes.iter().find(|w| s.changes[w.index].1 == 0.0 && !w.allow_noop) {
                let error = RunError::Noop { site: write.selection.site.clone() };
                return Err(error.in_prompt(s.place.0, s.place.1));
            }
        }
        Ok((wave, Tensor::cat(&logits, 0)?))
    }

    /// The tokens that all prompts start with.
    fn run_prefix(&self, sequences: &[Sequence], shared: usize) -> Result<Prefix> {
        let n_layers = self.model.config().n_layers;
        if shared == 0 {
            return Ok(Prefix { len: 0, kv: vec![Vec::new(); n_layers], kept: BTreeMap::new() });
        }
        let transformer = &self.model.transformer;
        let ids = &sequences[0].prompt.ids()[..shared];
        let prepared = transformer.prepare(Batch::prompts(&[shared]))?;
        let mut hook = Recorder::new(self.control, self.watched());
        let mut x = transformer.embed(ids, &prepared, &mut hook)?;
        let mut prefix = Vec::with_capacity(n_layers);
        for layer in 0..n_layers {
            let kv;
            (x, kv) = transformer.layer(layer, x, &prepared, &[], &mut hook)?;
            prefix.push(vec![kv]);
        }
        Ok(Prefix { len: shared, kv: prefix, kept: hook.kept })
    }

    fn watched(&self) -> BTreeSet<At> {
        self.options.watch.iter().map(|site| site.at).collect()
    }

    fn prefill_some(
        &mut self,
        sequences: &mut [Sequence],
        writes: &[Vec<Write>],
        prefix: &Prefix,
    ) -> Result<Tensor> {
        let config = self.model.config();
        let shared = prefix.len;
        let segments =
            sequences.iter().map(|s| Segment { len: s.prompt.len() - shared, past: 0, past_len: shared });
        let batch = Batch::new(segments.collect());
        let ids: Vec<u32> = sequences.iter().flat_map(|s| &s.prompt.ids()[shared..]).copied().collect();
        let jobs = writes.iter().enumerate();
        let jobs =
            jobs.flat_map(|(segment, writes)| writes.iter().map(move |w| Job { segment, write: w.clone() }));
        let jobs: Vec<Job> = jobs.collect();
        let pass = self.pass(&ids, batch, &jobs, shared, &prefix.kv)?;
        for (entry, change) in &pass.changes {
            note(&mut sequences[jobs[*entry].segment], &jobs[*entry].write, *change);
        }
        for (segment, s) in sequences.iter_mut().enumerate() {
            let rows = pass.batch.rows_of(segment);
            for (layer, kv) in pass.kv.iter().enumerate() {
                let room = |x: &Tensor, prefix: Option<&Tensor>| -> Result<Tensor> {
                    let rows = x.narrow(0, rows.start, rows.len())?;
                    let len = s.prompt.len() + self.options.max_new_tokens - 1;
                    let room = Tensor::zeros((len, x.dim(1)?), x.dtype(), x.device())?;
                    if let Some(prefix) = prefix {
                        room.slice_set(prefix, 0, 0)?;
                    }
                    room.slice_set(&rows, 0, shared)?;
                    Ok(room)
                };
                let before = prefix.kv[layer].first();
                let (k, v) = (room(&kv.k, before.map(|b| &b.k))?, room(&kv.v, before.map(|b| &b.v))?);
                self.kv[layer].push(Kv { k, v });
            }
            for site in &self.options.watch {
                let own = pass.activation(site.at, segment)?;
                let whole = match prefix.kept.get(&site.at) {
                    Some(start) => Tensor::cat(&[start, &own], 0)?,
                    None => own,
                };
                s.watched.push(Selection::new(site, config, s.prompt)?.read(&whole)?);
            }
        }
        Ok(pass.logits)
    }

    /// Reads the last token of every growing sequence: the row of new token `step`. Returns the logits after it.
    pub fn step(&mut self, sequences: &mut [Sequence], growing: &[usize], step: usize) -> Result<Tensor> {
        let config = self.model.config();
        let seen = |s: &Sequence| s.prompt.len() + s.ids.len() - 1;
        let mut jobs = Vec::new();
        for (segment, &i) in growing.iter().enumerate() {
            let s = &sequences[i];
            let acts = |p: &Patch| p.steps.at_step(step);
            let writes = resolve(s.patches, acts, |p| p.resolve_step(config, 0, seen(s) + 1))?;
            jobs.extend(writes.into_iter().map(|write| Job { segment, write }));
        }
        let segments = growing.iter().map(|&i| Segment { len: 1, past: i, past_len: seen(&sequences[i]) });
        let batch = Batch::new(segments.collect());
        let ids: Vec<u32> = growing.iter().filter_map(|&i| sequences[i].ids.last()).copied().collect();
        let pass = self.pass(&ids, batch, &jobs, 0, &self.kv)?;
        for (entry, change) in &pass.changes {
            note(&mut sequences[growing[jobs[*entry].segment]], &jobs[*entry].write, *change);
        }
        for (segment, &i) in growing.iter().enumerate() {
            for (all, new) in self.kv.iter().zip(&pass.kv) {
                let row = seen(&sequences[i]);
                all[i].k.slice_set(&new.k.narrow(0, segment, 1)?, 0, row)?;
                all[i].v.slice_set(&new.v.narrow(0, segment, 1)?, 0, row)?;
            }
            for (site, steps) in self.options.watch.iter().zip(&mut sequences[i].steps) {
                let whole = pass.activation(site.at, segment)?;
                let row = site.clone().at(Pos::Last);
                steps.push(Selection::at_rows(&row, config, vec![0]).read(&whole)?);
            }
        }
        Ok(pass.logits)
    }

    /// One pass over all layers. `first` is the position of every segment's first row as writes count them.
    fn pass(&self, ids: &[u32], batch: Batch, jobs: &[Job], first: usize, past: &[Vec<Kv>]) -> Result<Pass> {
        let mut hook = Recorder::new(self.control, self.watched());
        for (entry, Job { segment, write }) in jobs.iter().enumerate() {
            let start = batch.rows_of(*segment).start;
            hook.write(Placed { write, entry, segment: *segment, start, first });
        }
        let transformer = &self.model.transformer;
        let prepared = transformer.prepare(batch)?;
        let mut x = transformer.embed(ids, &prepared, &mut hook)?;
        let mut kv = Vec::with_capacity(past.len());
        for (layer, past) in past.iter().enumerate() {
            let own;
            (x, own) = transformer.layer(layer, x, &prepared, past, &mut hook)?;
            kv.push(own);
        }
        let batch = prepared.batch;
        let ends = (0..batch.segments().len()).map(|segment| batch.rows_of(segment).end as u32 - 1);
        let ends = Tensor::from_iter(ends, x.device())?;
        // Other rows' logits are built only if somebody looks at them.
        let looked_at = |point| hook.wants(At { point, layer: 0 });
        let logits = if looked_at(Point::LnFinal) || looked_at(Point::Logits) {
            let normed = transformer.final_norm(&x, &mut hook)?;
            transformer.unembed(&normed, &mut hook)?.index_select(&ends, 0)?
        } else {
            let normed = transformer.final_norm(&x.index_select(&ends, 0)?, &mut hook)?;
            transformer.unembed(&normed, &mut hook)?
        };
        let number = |x: &Tensor| -> Result<f32> { Ok(x.to_dtype(DType::F32)?.to_scalar::<f32>()?) };
        let changes = hook.changes.iter().map(|(entry, change)| Ok((*entry, number(change)?)));
        let changes = changes.collect::<Result<_>>()?;
        let Recorder { kept, kept_scores, .. } = hook;
        Ok(Pass { batch, logits, kv, changes, kept, kept_scores })
    }
}

/// What one pass left.
struct Pass {
    batch: Batch,
    /// Logits after each segment's last row.
    logits: Tensor,
    /// By layer, the rows' keys and values.
    kv: Vec<Kv>,
    changes: Vec<(usize, f32)>,
    kept: BTreeMap<At, Tensor>,
    kept_scores: BTreeMap<(At, usize), Tensor>,
}

impl Pass {
    /// One segment's activation, `[rows, width]` or `[head, query, key]`.
    fn activation(&self, at: At, segment: usize) -> Result<Tensor> {
        if let Some(scores) = self.kept_scores.get(&(at, segment)) {
            return Ok(scores.clone());
        }
        let rows = self.batch.rows_of(segment);
        let missing = || ModelError::Tensor("a pass did not reach a watched site".into());
        own_rows(self.kept.get(&at).ok_or_else(missing)?, &rows)
    }
}

fn note(s: &mut Sequence, write: &Write, change: f32) {
    let (fired, max) = &mut s.changes[write.index];
    *fired += 1;
    *max = larger(*max, change);
}

/// Resolves the patches that act now, in their canonical order; each write knows its patch's index.
fn resolve(
    patches: &[Patch],
    acts: impl Fn(&Patch) -> bool,
    resolve: impl Fn(&Patch) -> Result<Write>,
) -> Result<Vec<Write>> {
    let acting: Vec<usize> = (0..patches.len()).filter(|&i| acts(&patches[i])).collect();
    let chosen: Vec<Patch> = acting.iter().map(|&i| patches[i].clone()).collect();
    let mut writes = chosen.iter().map(&resolve).collect::<Result<Vec<_>>>()?;
    for (write, &index) in writes.iter_mut().zip(&acting) {
        write.index = index;
    }
    patch::order(&chosen, writes)
}

/// How many tokens all prompts start with, short of any patch and of the last token of each.
fn shared_prefix(sequences: &[Sequence], writes: &[Vec<Write>]) -> usize {
    let [first, rest @ ..] = sequences else { return 0 };
    if rest.is_empty() {
        return 0;
    }
    let first = first.prompt.ids();
    let common = rest.iter().map(|s| first.iter().zip(s.prompt.ids()).take_while(|(a, b)| a == b).count());
    let patched = writes.iter().flatten().flat_map(|w| w.selection.rows.iter().copied());
    let ends = sequences.iter().map(|s| s.prompt.len() - 1);
    common.chain(patched).chain(ends).min().unwrap_or(0)
}
