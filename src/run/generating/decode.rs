//! The passes of a generation: one packed prefill of all prompts, then packed steps of one row a sequence.

use super::generate::{GenerateOptions, Sequence};
use crate::model::{At, Axes, Kv, Model, ModelError, Stage, batch, card, ops};
use crate::run::asking::patch::{self, Patch, Write};
use crate::run::asking::select::Selection;
use crate::run::asking::site::{Pos, Site};
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::memory;
use crate::run::walking::near::Near;
use crate::run::walking::walk::{End, Past, Walk, Walker};
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// Sequences that grow together, and their keys and values.
pub(super) struct Wave<'a> {
    model: &'a Model,
    /// The copy of the weights that they grow by.
    near: &'a Near<'a>,
    options: &'a GenerateOptions,
    control: &'a Control,
    /// By layer, those of all sequences end to end, with room for the rows to come.
    kv: Vec<Kv>,
    /// The row at which each sequence's start.
    starts: Vec<usize>,
}

/// What all prompts start with.
#[derive(Default)]
struct Prefix {
    /// By layer; nothing where they share no token.
    kv: Vec<Kv>,
    /// Watched activations, `[len, width]`.
    kept: BTreeMap<At, Tensor>,
}

impl<'a> Wave<'a> {
    /// Runs all prompts; returns the logits after each, `[sequences, d_vocab]`.
    pub fn prefill(
        model: &'a Model,
        near: &'a Near<'a>,
        sequences: &mut [Sequence],
        options: &'a GenerateOptions,
        control: &'a Control,
    ) -> Result<(Wave<'a>, Tensor)> {
        let config = model.config();
        let resolved = sequences.iter().map(|s| {
            patch::resolve(s.patches, |p| p.steps.in_prompt(), |p| p.resolve(model, s.prompt, near))
        });
        let writes: Vec<Vec<Write>> = resolved.collect::<Result<_>>()?;
        let starts = batch::starts(sequences.iter().map(|s| room(s, options)));
        let mut wave = Wave { model, near, options, control, kv: Vec::new(), starts };
        // Scores reach from each query to all keys, and the last norm comes after the layers: a prefix has neither.
        let needs_all_rows = |site: &Site| {
            let point = site.at.point;
            matches!(point.axes(config), Axes::Scores { .. }) || point.stage() == Stage::Ending
        };
        let all_rows = options.watch.iter().any(needs_all_rows);
        let shared = if all_rows { 0 } else { shared_prefix(sequences, &writes) };
        let prefix = wave.run_prefix(sequences, shared)?;
        let (mut logits, mut kv) = (Vec::new(), Vec::new());
        let looked_at = writes.iter().flatten().map(|write| write.selection.at).chain(wave.watched());
        let looked_at: BTreeSet<At> = looked_at.collect();
        let looked_at: Vec<At> = looked_at.into_iter().collect();
        let lens = sequences.iter().map(|s| s.prompt.len() - shared);
        let budget = memory::budget(control, model);
        for range in memory::prefills(model, lens, shared, &looked_at, budget) {
            control.check()?;
            let (last, roomy) =
                wave.prefill_some(&mut sequences[range.clone()], &writes[range], shared, &prefix)?;
            logits.push(last);
            kv.push(roomy);
        }
        wave.kv = joined(kv)?;
        for s in sequences.iter() {
            s.ledger.refuse_unchanged().map_err(|error| error.in_prompt(s.place.0, s.place.1))?;
        }
        Ok((wave, Tensor::cat(&logits, 0)?))
    }

    /// The tokens that all prompts start with.
    fn run_prefix(&self, sequences: &[Sequence], shared: usize) -> Result<Prefix> {
        if shared == 0 {
            return Ok(Prefix::default());
        }
        let ids = &sequences[0].prompt.ids()[..shared];
        let walker = Walker { ids, first: 0, past: 0, entry: 0, tail: 0, writes: &[] };
        let mut end = self.walk(&[walker], &[])?;
        let kept = end.records()?.swap_remove(0);
        Ok(Prefix { kv: end.kv, kept })
    }

    fn walk<'w>(&'w self, walkers: &[Walker<'w>], past: &'w [Kv]) -> Result<End<'w>> {
        let past = Past { resid: &[], kv: past };
        let (transformer, control, depth) =
            (self.near.transformer, self.control, self.model.config().n_layers);
        let keep = self.watched();
        Walk { transformer, control, past, from: None, depth, keep, keep_kv: true }.run(walkers, |_| {})
    }

    fn watched(&self) -> BTreeSet<At> {
        self.options.watch.iter().map(|site| site.at).collect()
    }

    /// Runs some of the prompts. Returns the logits after each and, by layer, their keys and values with room for the rows to
    /// come.
    fn prefill_some(
        &self,
        sequences: &mut [Sequence],
        writes: &[Vec<Write>],
        shared: usize,
        prefix: &Prefix,
    ) -> Result<(Tensor, Vec<Kv>)> {
        let mut walkers = Vec::with_capacity(sequences.len());
        for (s, writes) in sequences.iter().zip(writes) {
            let ids = &s.prompt.ids()[shared..];
            walkers.push(Walker { ids, first: shared, past: 0, entry: 0, tail: shared, writes });
        }
        let mut end = self.walk(&walkers, &prefix.kv)?;
        let logits = last_logits(&mut end)?;
        for ((segment, write), change) in end.changes()? {
            sequences[segment].ledger.note(writes[segment][write].index, change);
        }
        let records = end.records()?;
        let End { batch, kv, .. } = end;
        // Each sequence's rows: those of the prefix, its own, and room, which holds any row until it is written.
        let mut source: Vec<u32> = Vec::new();
        for (segment, s) in sequences.iter().enumerate() {
            let own = batch.rows_of(segment);
            let rows = (0..shared).chain(own.start + shared..own.end + shared);
            let free = room(s, self.options) - s.prompt.len();
            source.extend(rows.chain(std::iter::repeat_n(0, free)).map(|row| row as u32));
        }
        let mut source = Tensor::new(source, &self.near.transformer.device)?;
        let mut roomy = Vec::with_capacity(kv.len());
        // Layer by layer, so that only one lies there twice.
        for (layer, Kv { k, v }) in kv.into_iter().enumerate() {
            source = card::moved(&source, k.device())?;
            let spread = |own: Tensor, before: Option<&Tensor>| match before {
                Some(before) => ops::take(before, Some(&own), &source),
                None => ops::take(&own, None, &source),
            };
            let before = prefix.kv.get(layer);
            roomy.push(Kv { k: spread(k, before.map(|b| &b.k))?, v: spread(v, before.map(|b| &b.v))? });
        }
        for (s, own) in sequences.iter_mut().zip(records) {
            for site in &self.options.watch {
                let own = recorded(&own, site.at)?;
                let whole = match prefix.kept.get(&site.at) {
                    Some(start) => Tensor::cat(&[start, own], 0)?,
                    None => own.clone(),
                };
                s.watched.push(Selection::new(site, self.model, s.prompt)?.read(&whole)?);
            }
        }
        Ok((logits, roomy))
    }

    /// Reads the last token of every growing sequence: the row of new token `step`. Returns the logits after it.
    pub fn step(&mut self, sequences: &mut [Sequence], growing: &[usize], step: usize) -> Result<Tensor> {
        let config = self.model.config();
        let seen = |s: &Sequence| s.prompt.len() + s.ids.len() - 1;
        let mut writes = Vec::with_capacity(growing.len());
        for &i in growing {
            let s = &sequences[i];
            let acts = |p: &Patch| p.steps.at_step(step);
            writes.push(patch::resolve(s.patches, acts, |p| p.resolve_step(config, seen(s), self.near))?);
        }
        let mut walkers = Vec::with_capacity(growing.len());
        for (&i, writes) in growing.iter().zip(&writes) {
            let (s, first) = (&sequences[i], seen(&sequences[i]));
            let ids = &s.ids[s.ids.len() - 1..];
            walkers.push(Walker { ids, first, past: self.starts[i], entry: 0, tail: first, writes });
        }
        let mut end = self.walk(&walkers, &self.kv)?;
        let logits = last_logits(&mut end)?;
        let (changes, records) = (end.changes()?, end.records()?);
        let new = end.kv;
        for ((segment, write), change) in changes {
            sequences[growing[segment]].ledger.note(writes[segment][write].index, change);
        }
        let places = growing.iter().map(|&i| self.starts[i] + seen(&sequences[i])).collect::<Vec<_>>();
        ops::put(&self.kv, &new, &places)?;
        for (&i, own) in growing.iter().zip(records) {
            for (site, steps) in self.options.watch.iter().zip(&mut sequences[i].steps) {
                let row = site.clone().at(Pos::Last);
                steps.push(Selection::at_rows(&row, config, vec![0]).read(recorded(&own, site.at)?)?);
            }
        }
        Ok(logits)
    }
}

/// Rows of keys and values that a sequence comes to have: the last token is never read.
fn room(s: &Sequence, options: &GenerateOptions) -> usize {
    s.prompt.len() + options.max_new_tokens - 1
}

/// By layer, the keys and values of several passes end to end.
fn joined(mut passes: Vec<Vec<Kv>>) -> Result<Vec<Kv>> {
    if passes.len() == 1 {
        return Ok(passes.remove(0));
    }
    let mut layers: Vec<_> = passes.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    loop {
        let (k, v): (Vec<_>, Vec<_>) =
            layers.iter_mut().filter_map(Iterator::next).map(|kv| (kv.k, kv.v)).unzip();
        if k.is_empty() {
            return Ok(all);
        }
        all.push(Kv { k: Tensor::cat(&k, 0)?, v: Tensor::cat(&v, 0)? });
    }
}

/// Logits after each segment's last row, `[segments, d_vocab]`.
fn last_logits(end: &mut End) -> Result<Tensor> {
    let segments = 0..end.batch.segments().len();
    let ends: Vec<u32> = segments.map(|segment| end.batch.rows_of(segment).end as u32 - 1).collect();
    end.logits(&ends, None)
}

/// A watched activation, `[rows, width]` or `[head, query, key]`.
fn recorded(record: &BTreeMap<At, Tensor>, at: At) -> Result<&Tensor> {
    Ok(record.get(&at).ok_or_else(|| ModelError::Tensor("a pass did not reach a watched site".into()))?)
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
