//! Choosing each sequence's next token from its logits.

use super::error::Result;
use super::generate::{Finish, GenerateOptions, Sequence};
use crate::model::Model;
use candle_core::{DType, Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use rayon::prelude::*;

/// Greedy, or a seeded draw that depends on nothing but this sequence's own logits and earlier draws.
pub(super) enum Sampler {
    Greedy,
    Draw(Box<LogitsProcessor>),
}

impl Sampler {
    pub fn new(options: &GenerateOptions, seed: u64) -> Sampler {
        let temperature = options.temperature;
        if temperature == 0.0 {
            return Sampler::Greedy;
        }
        let sampling = match (options.top_k, options.top_p) {
            (None, None) => Sampling::All { temperature },
            (Some(k), None) => Sampling::TopK { k, temperature },
            (None, Some(p)) => Sampling::TopP { p, temperature },
            (Some(k), Some(p)) => Sampling::TopKThenTopP { k, p, temperature },
        };
        Sampler::Draw(Box::new(LogitsProcessor::from_sampling(seed, sampling)))
    }

    /// The next id and the log of its probability (of the untempered distribution).
    fn next(&mut self, logits: &[f32]) -> Result<(u32, f32)> {
        let id = match self {
            Sampler::Greedy => largest(logits),
            Sampler::Draw(draw) => draw.sample(&Tensor::new(logits, &Device::Cpu)?)?,
        };
        let max = f64::from(logits[largest(logits) as usize]);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        Ok((id, (f64::from(logits[id as usize]) - max - sum.ln()) as f32))
    }
}

/// The first of the largest.
fn largest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// Appends a token to every growing sequence; row i of `logits` belongs to `growing[i]`.
pub(super) fn next_tokens(
    model: &Model,
    sequences: &mut [Sequence],
    growing: &[usize],
    logits: &Tensor,
    options: &GenerateOptions,
) -> Result<()> {
    let rows = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut row_of = vec![None; sequences.len()];
    for (row, &i) in rows.iter().zip(growing) {
        row_of[i] = Some(row);
    }
    sequences.par_iter_mut().zip(row_of).try_for_each(|(s, row)| -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        let (id, logprob) = s.sampler.next(row)?;
        s.ids.push(id);
        s.logprobs.push(logprob);
        s.finish = finished(model, s, id, options);
        Ok(())
    })
}

fn finished(model: &Model, s: &Sequence, id: u32, options: &GenerateOptions) -> Option<Finish> {
    let stopped = || {
        let Ok(tokenizer) = model.tokenizer() else { return false };
        let text = tokenizer.decode_skip_special(&s.ids);
        options.stop.iter().any(|stop| text.contains(stop.as_str()))
    };
    if model.end_ids().contains(&id) {
        Some(Finish::End)
    } else if !options.stop.is_empty() && stopped() {
        Some(Finish::Stop)
    } else {
        (s.ids.len() == options.max_new_tokens).then_some(Finish::Length)
    }
}
