//! Generation: one packed prefill with the prompt's patches, then one packed step a token.

use super::apply::Placed;
use super::control::Control;
use super::error::{Result, RunError};
use super::patch::{self, Patch, Write};
use super::recorder::Recorder;
use super::select::Selection;
use super::site::{Pos, Site};
use super::tokens::Tokens;
use super::trace::LedgerEntry;
use crate::model::{At, Batch, Kv, Model, ModelError, Segment};
use candle_core::{DType, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How to choose tokens and when to stop.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    pub max_new_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub seed: u64,
    /// Texts that end a generation once they appear in it.
    pub stop: Vec<String>,
    /// Activations to record at the prompt's rows and at every new token's row.
    pub watch: Vec<Site>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            max_new_tokens: 20,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            seed: 0,
            stop: Vec::new(),
            watch: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended the text.
    End,
    /// A stop text appeared.
    Stop,
    /// `max_new_tokens` were made.
    Length,
}

impl Finish {
    pub fn name(self) -> &'static str {
        match self {
            Finish::End => "end",
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// New tokens after one prompt.
#[derive(Debug, Clone)]
pub struct Generation {
    /// New ids, with the end token if one ended it.
    pub ids: Vec<u32>,
    /// Their text, without special tokens.
    pub text: String,
    pub tokens: Tokens,
    /// Natural log of each new token's probability.
    pub logprobs: Vec<f32>,
    pub finish: Finish,
    /// Every watched site, in its own shape, at the prompt's rows.
    pub watched: Vec<(Site, Tensor)>,
    /// Every watched site at each step's row: one tensor a new token that was read again.
    pub watched_steps: Vec<(Site, Vec<Tensor>)>,
    pub ledger: Vec<LedgerEntry>,
}

/// A sequence that still grows.
struct Sequence<'a> {
    prompt: &'a Tokens,
    patches: &'a [Patch],
    sampler: LogitsProcessor,
    kv: Vec<Kv>,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    finish: Option<Finish>,
    watched: Vec<Tensor>,
    steps: Vec<Vec<Tensor>>,
    changes: Vec<(usize, f32)>,
}

/// Generates after every prompt, each with its own patches, all in one packed batch. Each result is what the
/// prompt would get alone; samplers are seeded by `seed` and the prompt's index.
///
/// # Errors
/// Bad options, sites, patches or positions, before computing; a prompt patch that changed nothing.
pub fn generate(
    model: &Arc<Model>,
    prompts: &[(Tokens, Vec<Patch>)],
    options: &GenerateOptions,
    control: &Control,
) -> Result<Vec<Generation>> {
    check(model, prompts, options)?;
    let mut sequences: Vec<Sequence> = prompts
        .iter()
        .enumerate()
        .map(|(i, (prompt, patches))| Sequence {
            prompt,
            patches,
            sampler: LogitsProcessor::from_sampling(options.seed.wrapping_add(i as u64), sampling(options)),
            kv: Vec::new(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            finish: None,
            watched: Vec::new(),
            steps: vec![Vec::new(); options.watch.len()],
            changes: vec![(0, 0.0); patches.len()],
        })
        .collect();
    let total = options.max_new_tokens;
    let logits = prefill(model, &mut sequences, options, control)?;
    choose(model, &mut sequences, logits, options)?;
    for step in 1..total {
        let mut growing: Vec<&mut Sequence> = sequences.iter_mut().filter(|s| s.finish.is_none()).collect();
        if growing.is_empty() {
            break;
        }
        control.report(step, total, "tokens");
        let logits = decode(model, &mut growing, step - 1, options, control)?;
        choose_for(model, &mut growing, logits, options)?;
    }
    sequences.into_iter().map(|s| finish(model, s, options)).collect()
}

fn check(model: &Model, prompts: &[(Tokens, Vec<Patch>)], options: &GenerateOptions) -> Result<()> {
    let bad = |option, expected| Err(RunError::Option { option, expected });
    if options.max_new_tokens == 0 {
        return bad("max_new_tokens", "at least 1");
    }
    if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
        return bad("temperature", "0 (greedy) or more");
    }
    if options.top_k == Some(0) {
        return bad("top_k", "at least 1");
    }
    if options.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
        return bad("top_p", "above 0 and at most 1");
    }
    if prompts.is_empty() || prompts.iter().any(|(tokens, _)| tokens.is_empty()) {
        return Err(ModelError::EmptyPrompt.into());
    }
    let config = model.config();
    for (tokens, patches) in prompts {
        let len = tokens.len() + options.max_new_tokens - 1;
        if len > config.n_ctx {
            return Err(ModelError::TooLong { len, n_ctx: config.n_ctx }.into());
        }
        for site in &options.watch {
            Selection::new(site, config, tokens)?;
        }
        for patch in patches {
            patch.site.validate(config)?;
            if !patch.steps.in_prompt() && patch.site.pos != Pos::All {
                return Err(RunError::GeneratedPos { site: patch.site.to_string() });
            }
        }
    }
    Ok(())
}

fn sampling(options: &GenerateOptions) -> Sampling {
    let temperature = options.temperature;
    if temperature == 0.0 {
        return Sampling::ArgMax;
    }
    match (options.top_k, options.top_p) {
        (None, None) => Sampling::All { temperature },
        (Some(k), None) => Sampling::TopK { k, temperature },
        (None, Some(p)) => Sampling::TopP { p, temperature },
        (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
    }
}

/// All prompts in one pass; returns the logits after each, `[prompts, d_vocab]`.
fn prefill(
    model: &Model,
    sequences: &mut [Sequence],
    options: &GenerateOptions,
    control: &Control,
) -> Result<Tensor> {
    let config = model.config();
    let mut writes: Vec<(usize, usize, Write)> = Vec::new();
    for (segment, s) in sequences.iter().enumerate() {
        for (index, write) in resolve(s.patches, |p| p.steps.in_prompt(), |p| p.resolve(config, s.prompt))? {
            writes.push((segment, index, write));
        }
    }
    let batch = Batch::prompts(&sequences.iter().map(|s| s.prompt.len()).collect::<Vec<_>>());
    let ids: Vec<u32> = sequences.iter().flat_map(|s| s.prompt.ids()).copied().collect();
    let past = vec![Vec::new(); config.n_layers];
    let pass = Pass { model, options, control };
    let out = pass.run(&ids, batch, &writes, &past)?;
    for (entry, change) in &out.changes {
        let (segment, index, _) = writes[*entry];
        let (fired, max) = &mut sequences[segment].changes[index];
        *fired += 1;
        *max = max.max(*change);
    }
    for (segment, index, write) in &writes {
        if sequences[*segment].changes[*index].1 == 0.0 && !write.allow_noop {
            return Err(RunError::Noop { site: write.selection.site.clone() });
        }
    }
    for (segment, s) in sequences.iter_mut().enumerate() {
        let rows = out.batch.rows_of(segment);
        s.kv = (out.kv.iter())
            .map(|kv| {
                let own = |x: &Tensor| x.narrow(0, rows.start, rows.len())?.copy();
                Ok(Kv { k: own(&kv.k)?, v: own(&kv.v)? })
            })
            .collect::<Result<_>>()?;
        for site in &options.watch {
            let whole = out.activation(site.at, segment)?;
            s.watched.push(Selection::new(site, config, s.prompt)?.read(&whole)?);
        }
    }
    Ok(out.logits)
}

/// One token of every growing sequence in one pass.
fn decode(
    model: &Model,
    sequences: &mut [&mut Sequence],
    step: usize,
    options: &GenerateOptions,
    control: &Control,
) -> Result<Tensor> {
    let config = model.config();
    let len = |s: &Sequence| s.prompt.len() + s.ids.len() - 1;
    let mut writes: Vec<(usize, usize, Write)> = Vec::new();
    for (segment, s) in sequences.iter().enumerate() {
        let resolved =
            resolve(s.patches, |p| p.steps.at_step(step), |p| p.resolve_step(config, 0, len(s) + 1))?;
        writes.extend(resolved.into_iter().map(|(index, write)| (segment, index, write)));
    }
    let segments = sequences.iter().enumerate();
    let batch = Batch::new(segments.map(|(i, s)| Segment { len: 1, past: i, past_len: len(s) }).collect());
    let ids: Vec<u32> = sequences.iter().filter_map(|s| s.ids.last()).copied().collect();
    let past: Vec<Vec<Kv>> =
        (0..config.n_layers).map(|layer| sequences.iter().map(|s| s.kv[layer].clone()).collect()).collect();
    let pass = Pass { model, options, control };
    let out = pass.run(&ids, batch, &writes, &past)?;
    for (entry, change) in &out.changes {
        let (segment, index, _) = writes[*entry];
        let (fired, max) = &mut sequences[segment].changes[index];
        *fired += 1;
        *max = max.max(*change);
    }
    for (segment, s) in sequences.iter_mut().enumerate() {
        for (old, new) in s.kv.iter_mut().zip(&out.kv) {
            old.k = Tensor::cat(&[&old.k, &new.k.narrow(0, segment, 1)?], 0)?;
            old.v = Tensor::cat(&[&old.v, &new.v.narrow(0, segment, 1)?], 0)?;
        }
        for (site, steps) in options.watch.iter().zip(&mut s.steps) {
            let whole = out.activation(site.at, segment)?;
            let mut row = site.clone();
            row.pos = Pos::Last;
            steps.push(Selection::at_rows(&row, config, vec![0]).read(&whole)?);
        }
    }
    Ok(out.logits)
}

/// Resolves the patches that act now, each with its index, in their canonical order.
fn resolve(
    patches: &[Patch],
    acts: impl Fn(&Patch) -> bool,
    resolve: impl Fn(&Patch) -> Result<Write>,
) -> Result<Vec<(usize, Write)>> {
    let acting: Vec<usize> = (0..patches.len()).filter(|&i| acts(&patches[i])).collect();
    let chosen: Vec<Patch> = acting.iter().map(|&i| patches[i].clone()).collect();
    let mut writes = chosen.iter().map(&resolve).collect::<Result<Vec<_>>>()?;
    for (write, &index) in writes.iter_mut().zip(&acting) {
        write.index = index;
    }
    Ok(patch::order(&chosen, writes)?.into_iter().map(|write| (write.index, write)).collect())
}

struct Pass<'a> {
    model: &'a Model,
    options: &'a GenerateOptions,
    control: &'a Control,
}

struct Out {
    batch: Batch,
    /// Logits after each segment's last row.
    logits: Tensor,
    kv: Vec<Kv>,
    changes: Vec<(usize, f32)>,
    kept: std::collections::BTreeMap<At, Tensor>,
    kept_scores: std::collections::BTreeMap<(At, usize), Tensor>,
}

impl Pass<'_> {
    fn run(
        &self,
        ids: &[u32],
        batch: Batch,
        writes: &[(usize, usize, Write)],
        past: &[Vec<Kv>],
    ) -> Result<Out> {
        let keep: BTreeSet<At> = self.options.watch.iter().map(|site| site.at).collect();
        let mut hook = Recorder::new(self.control, keep);
        for (entry, (segment, _, write)) in writes.iter().enumerate() {
            let start = batch.rows_of(*segment).start;
            hook.write(Placed { write, entry, segment: *segment, start, first: 0 });
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
        let looks = |point| crate::model::Hook::wants(&hook, At { point, layer: 0 });
        let all_rows = looks(crate::model::Point::LnFinal) || looks(crate::model::Point::Logits);
        let logits = if all_rows {
            let normed = transformer.final_norm(&x, &mut hook)?;
            transformer.unembed(&normed, &mut hook)?.index_select(&ends, 0)?
        } else {
            let normed = transformer.final_norm(&x.index_select(&ends, 0)?, &mut hook)?;
            transformer.unembed(&normed, &mut hook)?
        };
        let changes = hook
            .changes
            .iter()
            .map(|(entry, change)| Ok((*entry, change.to_dtype(DType::F32)?.to_scalar::<f32>()?)));
        let changes = changes.collect::<Result<_>>()?;
        let Recorder { kept, kept_scores, .. } = hook;
        Ok(Out { batch, logits, kv, changes, kept, kept_scores })
    }
}

impl Out {
    /// One segment's activation, `[rows, width]` or `[head, query, key]`.
    fn activation(&self, at: At, segment: usize) -> Result<Tensor> {
        if let Some(scores) = self.kept_scores.get(&(at, segment)) {
            return Ok(scores.clone());
        }
        let rows = self.batch.rows_of(segment);
        let missing = || ModelError::Tensor("a pass did not reach a watched site".into());
        Ok(self.kept.get(&at).ok_or_else(missing)?.narrow(0, rows.start, rows.len())?.copy()?)
    }
}

fn choose(
    model: &Model,
    sequences: &mut [Sequence],
    logits: Tensor,
    options: &GenerateOptions,
) -> Result<()> {
    choose_for(model, &mut sequences.iter_mut().collect::<Vec<_>>(), logits, options)
}

/// Picks every sequence's next token from its row of `logits`.
fn choose_for(
    model: &Model,
    sequences: &mut [&mut Sequence],
    logits: Tensor,
    options: &GenerateOptions,
) -> Result<()> {
    let logits = logits.to_dtype(DType::F32)?.to_device(&candle_core::Device::Cpu)?;
    let logprobs = candle_nn::ops::log_softmax(&logits, 1)?;
    for (row, s) in sequences.iter_mut().enumerate() {
        let id = s.sampler.sample(&logits.get(row)?)?;
        s.ids.push(id);
        s.logprobs.push(logprobs.get(row)?.get(id as usize)?.to_scalar::<f32>()?);
        let tokenizer = model.tokenizer().ok();
        let stopped = |t: &crate::model::tokenizer::Tokenizer| {
            let text = t.decode_skip_special(&s.ids);
            options.stop.iter().any(|stop| text.contains(stop.as_str()))
        };
        s.finish = if model.end_ids().contains(&id) {
            Some(Finish::End)
        } else if !options.stop.is_empty() && tokenizer.is_some_and(stopped) {
            Some(Finish::Stop)
        } else if s.ids.len() == options.max_new_tokens {
            Some(Finish::Length)
        } else {
            None
        };
    }
    Ok(())
}

fn finish(model: &Model, s: Sequence, options: &GenerateOptions) -> Result<Generation> {
    let text = match model.tokenizer() {
        Ok(tokenizer) => tokenizer.decode_skip_special(&s.ids),
        Err(_) => model.texts(&s.ids).concat(),
    };
    let ledger = s.patches.iter().zip(&s.changes);
    let ledger = ledger.map(|(patch, &(fired, max_change))| LedgerEntry {
        patch: patch.site.to_string(),
        fired,
        max_change,
    });
    Ok(Generation {
        text,
        tokens: Tokens::new(s.ids.clone(), model.texts(&s.ids)),
        logprobs: s.logprobs,
        finish: s.finish.unwrap_or(Finish::Length),
        watched: options.watch.iter().cloned().zip(s.watched).collect(),
        watched_steps: options.watch.iter().cloned().zip(s.steps).collect(),
        ledger: ledger.collect(),
        ids: s.ids,
    })
}
