//! Does the engine keep its promises on one model? On prompts of random ids, so that no tokenizer is needed.

use super::{Control, Edit, Patch, Result, RunError, Site, Tokens, Trace, Value, trace};
use crate::count::count;
use crate::model::{Model, Point};
use crate::run::generating::generate::{GenerateOptions, generate};
use candle_core::{DType, Tensor};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Instant;

/// A promise, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub promise: &'static str,
    pub kept: bool,
    /// What was measured.
    pub figure: String,
}

/// Tokens a second.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    pub prompt: f64,
    pub generation: f64,
}

/// Checks everything that holds whatever the weights are.
pub fn check(model: &Arc<Model>, control: &Control) -> Result<Vec<Finding>> {
    let prompts = [12, 5, 9].map(|len| prompt(model, len));
    let plain = run(model, &prompts[0], vec![], &[], control)?;
    let [own, zero] = sites(model, &prompts[0], &plain, control)?;
    Ok(vec![
        own,
        zero,
        packed(model, &prompts, control)?,
        prefix(model, &plain, control)?,
        continued(model, &prompts[0], control)?,
    ])
}

/// Logits and greedy tokens of the reference file that lies beside a model: `input_ids` `[prompt][pos]`, `logits_last`,
/// the first of every prompt's logits at its last position, and, after the first prompt, `greedy8`.
pub fn parity(model: &Arc<Model>, expected: &Json, control: &Control) -> Result<Vec<Finding>> {
    let read = |key: &str| -> Result<Vec<Vec<f64>>> {
        serde_json::from_value(expected[key].clone())
            .map_err(|error| RunError::Reference { key: key.into(), reason: error.to_string() })
    };
    let ids = |ids: &[f64]| tokens(model, ids.iter().map(|&id| id as u32).collect());
    let prompts: Vec<_> = read("input_ids")?.iter().map(|prompt| (ids(prompt), vec![])).collect();
    let mut differ = Difference::default();
    for (run, want) in trace(model, &prompts, &[], control)?.iter().zip(read("logits_last")?) {
        let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
        let found = run.last()?;
        let entries = want.len().min(found.elem_count());
        differ.add(&found.narrow(0, 0, entries)?, &Tensor::new(want, &candle_core::Device::Cpu)?)?;
    }
    let mut findings = vec![differ.finding("logits are those of `expected.json`", model)];
    if let (Some(greedy), Some((prompt, _))) = (expected["greedy8"].as_array(), prompts.first()) {
        let want: Vec<u32> =
            greedy.iter().filter_map(Json::as_u64).map(|id| id as u32).skip(prompt.len()).collect();
        let options = GenerateOptions { max_new_tokens: want.len(), ..GenerateOptions::default() };
        let found = generate(model, &prompts[..1], &options, control)?.swap_remove(0).ids;
        let same = found.iter().zip(&want).take_while(|(a, b)| a == b).count();
        findings.push(Finding {
            promise: "greedy tokens are those of `expected.json`",
            kept: found == want,
            figure: format!("{same} of {}", want.len()),
        });
    }
    Ok(findings)
}

/// One prompt of 128 tokens, and 16 tokens after one of 16.
pub fn speed(model: &Arc<Model>, control: &Control) -> Result<Speed> {
    let (long, short) = (prompt(model, 128), prompt(model, 16));
    let seconds = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        let started = Instant::now();
        work()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let decode = |steps| {
        let options = GenerateOptions { max_new_tokens: steps, ..GenerateOptions::default() };
        generate(model, &[(short.clone(), vec![])], &options, control).map(|made| made[0].ids.len())
    };
    // The first pass of a process also warms up what the later ones use.
    let made = decode(17)?;
    let prompt = seconds(&|| run(model, &long, vec![], &[], control).map(drop))?;
    let one = seconds(&|| decode(1).map(drop))?;
    let all = seconds(&|| decode(17).map(drop))?;
    let generation = made.saturating_sub(1) as f64 / (all - one).max(1e-9);
    Ok(Speed { prompt: long.len() as f64 / prompt, generation })
}

/// Every site takes part: set to its own value it changes no bit, set to zero it changes.
fn sites(model: &Arc<Model>, prompt: &Tokens, plain: &Trace, control: &Control) -> Result<[Finding; 2]> {
    let config = model.config();
    let want = values(&plain.logits(control)?)?;
    let (mut broken, mut silent, mut checked) = (Vec::new(), Vec::new(), 0);
    for point in Point::ALL {
        let layers = if point.in_layer() { config.n_layers } else { 1 };
        let sites: Vec<_> = (0..layers).map(|layer| Site::new(point, layer)).collect();
        if sites[0].validate(config).is_err() {
            continue;
        }
        checked += sites.len();
        let own = Arc::new(run(model, prompt, vec![], &sites, control)?);
        let set = |site: &Site| Patch {
            allow_noop: true,
            ..Patch::new(site.clone(), Edit::Set(Value::Trace(own.clone())))
        };
        let patched = run(model, prompt, sites.iter().map(set).collect(), &[], control)?;
        let fired = patched.ledger().iter().all(|entry| entry.fired == 1 && entry.max_change == 0.0);
        if !fired || values(&own.logits(control)?)? != want || values(&patched.logits(control)?)? != want {
            broken.push(point.name());
        }
        let middle = Patch { allow_noop: true, ..Patch::new(sites[layers / 2].clone(), Edit::Zero) };
        let zeroed = run(model, prompt, vec![middle], &[], control)?;
        if !zeroed.ledger().iter().all(|entry| entry.fired == 1 && entry.max_change > 0.0) {
            silent.push(point.name());
        }
    }
    let finding = |promise, names: Vec<&str>, fine: String| Finding {
        promise,
        kept: names.is_empty(),
        figure: if names.is_empty() { fine } else { names.join(", ") },
    };
    Ok([
        finding("patching a run with itself changes no bit", broken, count(checked, "site")),
        finding("a patch fires at every site", silent, count(checked, "site")),
    ])
}

fn packed(model: &Arc<Model>, prompts: &[Tokens], control: &Control) -> Result<Finding> {
    let inputs: Vec<_> = prompts.iter().map(|prompt| (prompt.clone(), vec![])).collect();
    let mut differ = Difference::default();
    for (packed, prompt) in trace(model, &inputs, &[], control)?.iter().zip(prompts) {
        differ.add(&packed.logits(control)?, &run(model, prompt, vec![], &[], control)?.logits(control)?)?;
    }
    Ok(differ.finding("prompts run together as they run alone", model))
}

fn prefix(model: &Arc<Model>, whole: &Trace, control: &Control) -> Result<Finding> {
    let len = whole.tokens().len() / 2;
    let part = run(model, &whole.tokens().slice(0..len), vec![], &[], control)?;
    let mut differ = Difference::default();
    differ.add(&part.logits(control)?, &whole.logits(control)?.narrow(0, 0, len)?)?;
    Ok(differ.finding("later tokens never show in earlier ones", model))
}

/// Tokens generated one by one against one pass over all of them.
fn continued(model: &Arc<Model>, prompt: &Tokens, control: &Control) -> Result<Finding> {
    let options = GenerateOptions { max_new_tokens: 8, ..GenerateOptions::default() };
    let made = generate(model, &[(prompt.clone(), vec![])], &options, control)?.swap_remove(0);
    let all = tokens(model, [prompt.ids(), made.ids.as_slice()].concat());
    let whole = run(model, &all, vec![], &[], control)?;
    let rows = whole.logits(control)?.narrow(0, prompt.len() - 1, made.ids.len())?.to_dtype(DType::F32)?;
    let index = Tensor::new(made.ids.as_slice(), rows.device())?.unsqueeze(1)?;
    let logprobs = candle_nn::ops::log_softmax(&rows, 1)?.gather(&index, 1)?.flatten_all()?;
    let mut differ = Difference::default();
    differ.add(&logprobs, &Tensor::new(made.logprobs.as_slice(), rows.device())?)?;
    Ok(differ.finding("generating token by token is one pass", model))
}

/// The largest difference of entries, as a part of the largest entry.
#[derive(Default)]
struct Difference {
    largest: f32,
    entry: f32,
}

impl Difference {
    fn add(&mut self, found: &Tensor, expected: &Tensor) -> Result<()> {
        let (found, expected) = (values(found)?, values(expected)?);
        if found.len() != expected.len() {
            self.largest = f32::NAN;
        }
        for (a, b) in found.iter().zip(&expected) {
            let difference = (a - b).abs();
            // `f32::max` would drop a NaN, which must show.
            if difference > self.largest || difference.is_nan() {
                self.largest = difference;
            }
            self.entry = self.entry.max(b.abs());
        }
        Ok(())
    }

    fn finding(self, promise: &'static str, model: &Model) -> Finding {
        let relative = self.largest / self.entry.max(1.0);
        let tolerance = if model.transformer.dtype == DType::F32 { 1e-4 } else { 3e-2 };
        Finding { promise, kept: relative < tolerance, figure: format!("within {:.1e}", relative) }
    }
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn run(
    model: &Arc<Model>,
    prompt: &Tokens,
    patches: Vec<Patch>,
    sites: &[Site],
    control: &Control,
) -> Result<Trace> {
    Ok(trace(model, &[(prompt.clone(), patches)], sites, control)?.swap_remove(0))
}

/// Random ids, the same at every call; fewer where the context is shorter.
fn prompt(model: &Model, len: usize) -> Tokens {
    let config = model.config();
    let mut rng = StdRng::seed_from_u64(len as u64);
    let len = len.min(config.n_ctx / 2).max(1);
    tokens(model, (0..len).map(|_| rng.random_range(0..config.d_vocab as u32)).collect())
}

fn tokens(model: &Model, ids: Vec<u32>) -> Tokens {
    let pieces = model.pieces(&ids);
    Tokens::new(ids, pieces)
}
