//! Generation: many prompts, each with its own patches, in packed passes. Equal ones are computed once. Prompts
//! prefill together (what all of them share at the front, once); then every growing sequence adds one row to each
//! step, and finished ones leave. [`super::decode`] holds the passes, [`super::choose`] picks the tokens.

use super::choose::{self, Sampler};
use super::decode::Wave;
use crate::run::asking::patch::Patch;
use crate::run::asking::select::Selection;
use crate::run::asking::site::{Pos, Site};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::divide::{self, Tally, divided};
use crate::run::error::{Result, RunError};
use crate::run::memory;
use crate::run::tracing::again;
use crate::run::walking::ledger::{Ledger, LedgerEntry};
use crate::run::walking::near::Near;

use crate::model::{Model, ModelError, card};
use candle_core::Tensor;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How to choose tokens and when to stop.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    pub max_new_tokens: usize,
    /// 0 is greedy.
    pub temperature: f64,
    pub top_k: Option<usize>,
    pub top_p: Option<f64>,
    pub seed: u64,
    /// Generations per prompt; the k-th draws from `seed + k`.
    pub n: usize,
    /// Texts that end a generation once they appear in it, special tokens written out among them; none is empty.
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
            n: 1,
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

/// One generation under way.
pub(super) struct Sequence<'a> {
    /// Which prompt of how many.
    pub place: (usize, usize),
    pub prompt: &'a Tokens,
    pub patches: &'a [Patch],
    pub sampler: Sampler,
    pub ids: Vec<u32>,
    pub logprobs: Vec<f32>,
    pub finish: Option<Finish>,
    pub watched: Vec<Tensor>,
    /// By watched site, then step.
    pub steps: Vec<Vec<Tensor>>,
    pub ledger: Ledger,
}

/// Generates after every prompt, `n` times each, in order. Every result is what its prompt would get alone.
///
/// # Errors
/// Bad options, sites, patches or positions, before computing; a patch that never fired or changed nothing.
pub fn generate(
    model: &Arc<Model>,
    prompts: &[(Tokens, Vec<Patch>)],
    options: &GenerateOptions,
    control: &Control,
) -> Result<Vec<Generation>> {
    check(model, prompts, options)?;
    let patches = prompts.iter().flat_map(|(_, patches)| patches);
    let reads = patches.flat_map(|patch| patch.edit.donors().iter().map(|donor| (&**donor, patch.site.at)));
    let donors = again::wanted(reads);
    control.note_unrecorded(again::record(&donors, control)?);
    let wanted: Vec<(usize, usize)> =
        (0..prompts.len()).flat_map(|index| (0..options.n).map(move |k| (index, k))).collect();
    let places = distinct(prompts, options);
    let mut sequences: Vec<Sequence> = Vec::new();
    for (&(index, k), &place) in wanted.iter().zip(&places) {
        if place == sequences.len() {
            let (prompt, patches) = &prompts[index];
            sequences.push(Sequence {
                place: (index, prompts.len()),
                prompt,
                patches,
                sampler: Sampler::new(options, options.seed.wrapping_add(k as u64)),
                ids: Vec::new(),
                logprobs: Vec::new(),
                finish: None,
                watched: Vec::new(),
                steps: vec![Vec::new(); options.watch.len()],
                ledger: Ledger::new(patches),
            });
        }
    }
    let total = sequences.len() * options.max_new_tokens;
    let tally = Tally::new(control, total, total, "tokens");
    let waves: Vec<_> = waves(model, &mut sequences, options, control).into_iter().map(Mutex::new).collect();
    let work = |near: &Near, wave: usize| {
        // Nobody else has it.
        let mut wave = waves[wave].lock().unwrap_or_else(PoisonError::into_inner);
        run_wave(model, near, &mut wave, options, control, &tally)
    };
    let asks = divide::ask(prompts.iter().flat_map(|(_, patches)| patches));
    divided(divide::near(model, asks, &donors)?, waves.len(), Ok, work, |_, ()| Ok(()))?;
    let made: Vec<Generation> =
        sequences.into_iter().map(|s| finish(model, s, options)).collect::<Result<_>>()?;
    Ok(places.into_iter().filter_map(|place| made.get(place).cloned()).collect())
}

/// For each of the wanted generations, `n` a prompt, its place among the different ones: without patches and without
/// chance the same tokens go on in the same way.
fn distinct(prompts: &[(Tokens, Vec<Patch>)], options: &GenerateOptions) -> Vec<usize> {
    let mut seen: HashMap<&[u32], usize> = HashMap::new();
    let mut count = 0;
    let mut places = Vec::with_capacity(prompts.len() * options.n);
    for (prompt, patches) in prompts {
        for _ in 0..options.n {
            let place = match patches.is_empty() && options.temperature == 0.0 {
                true => *seen.entry(prompt.ids()).or_insert(count),
                false => count,
            };
            count += usize::from(place == count);
            places.push(place);
        }
    }
    places
}

fn run_wave(
    model: &Model,
    near: &Near,
    sequences: &mut [Sequence],
    options: &GenerateOptions,
    control: &Control,
    tally: &Tally,
) -> Result<()> {
    let (mut wave, logits) = Wave::prefill(model, near, sequences, options, control)?;
    let mut left = sequences.len() * options.max_new_tokens;
    let mut growing: Vec<usize> = (0..sequences.len()).collect();
    choose::next_tokens(model, sequences, &growing, &logits, options)?;
    for step in 1..options.max_new_tokens {
        growing.retain(|&i| sequences[i].finish.is_none());
        if growing.is_empty() {
            break;
        }
        tally.add(growing.len());
        left -= growing.len();
        let logits = wave.step(sequences, &growing, step - 1)?;
        choose::next_tokens(model, sequences, &growing, &logits, options)?;
    }
    tally.spare(left);
    Ok(())
}

/// Splits the sequences so that the keys and values of one wave fit the memory budget, and its logits: as they are
/// computed, as float32 and as they are read.
fn waves<'s, 'a>(
    model: &Model,
    sequences: &'s mut [Sequence<'a>],
    options: &GenerateOptions,
    control: &Control,
) -> Vec<&'s mut [Sequence<'a>]> {
    let config = model.config();
    let row =
        2 * config.n_layers * config.n_kv_heads * config.d_head * model.transformer.dtype.size_in_bytes();
    let logits = 3 * config.d_vocab * size_of::<f32>();
    let (budget, most) = (memory::budget(control, model), memory::most_sequences(model));
    let mut waves = Vec::new();
    let mut rest = sequences;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|s| {
            bytes += row * (s.prompt.len() + options.max_new_tokens) + logits;
            bytes <= budget
        });
        let count = fits.count().clamp(1, most);
        let (wave, after) = rest.split_at_mut(count);
        waves.push(wave);
        rest = after;
    }
    waves
}

fn check(model: &Model, prompts: &[(Tokens, Vec<Patch>)], options: &GenerateOptions) -> Result<()> {
    let bad = |option, expected| Err(RunError::Option { option, expected });
    if options.max_new_tokens == 0 {
        return bad("max_new_tokens", "at least 1");
    }
    if options.n == 0 {
        return bad("n", "at least 1");
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
    if options.stop.iter().any(String::is_empty) {
        return bad("stop", "texts that are not empty");
    }
    if prompts.is_empty() || prompts.iter().any(|(tokens, _)| tokens.is_empty()) {
        return Err(ModelError::EmptyPrompt.into());
    }
    for (index, (tokens, patches)) in prompts.iter().enumerate() {
        check_prompt(model, tokens, patches, options)
            .map_err(|error| error.in_prompt(index, prompts.len()))?;
    }
    Ok(())
}

fn check_prompt(model: &Model, tokens: &Tokens, patches: &[Patch], options: &GenerateOptions) -> Result<()> {
    let config = model.config();
    let len = tokens.len().saturating_add(options.max_new_tokens - 1);
    if len > config.n_ctx {
        return Err(ModelError::TooLong { len, n_ctx: config.n_ctx }.into());
    }
    // Every new token would turn all keys before it.
    if config.kinds.iter().filter_map(|kind| kind.rotary.as_ref()).any(|r| r.turns_with_length(len)) {
        return Err(ModelError::TurnsWithLength { len }.into());
    }
    for site in &options.watch {
        Selection::new(site, model, tokens)?;
    }
    for patch in patches {
        patch.site.check(model)?;
        if !patch.steps.in_prompt() && patch.site.pos != Pos::All {
            return Err(RunError::GeneratedPos { site: patch.site.to_string() });
        }
        if patch.steps.in_prompt() {
            patch.check(model, tokens)?;
        }
    }
    Ok(())
}

fn finish(model: &Model, s: Sequence, options: &GenerateOptions) -> Result<Generation> {
    s.ledger.refuse_idle().map_err(|error| error.in_prompt(s.place.0, s.place.1))?;
    let text = match model.tokenizer() {
        Ok(tokenizer) => tokenizer.decode_skip_special(&s.ids),
        Err(_) => model.texts(&s.ids).concat(),
    };
    let home = |x: Tensor| card::moved(&x, &model.transformer.device);
    let all_home = |xs: Vec<Tensor>| xs.into_iter().map(home).collect::<candle_core::Result<Vec<_>>>();
    let watched = all_home(s.watched)?;
    let steps = s.steps.into_iter().map(all_home).collect::<candle_core::Result<Vec<_>>>()?;
    Ok(Generation {
        text,
        tokens: Tokens::new(s.ids.clone(), model.pieces(&s.ids)),
        logprobs: s.logprobs,
        finish: s.finish.unwrap_or(Finish::Length),
        watched: options.watch.iter().cloned().zip(watched).collect(),
        watched_steps: options.watch.iter().cloned().zip(steps).collect(),
        ledger: s.ledger.into_entries(),
        ids: s.ids,
    })
}
