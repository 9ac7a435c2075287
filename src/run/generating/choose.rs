//! Choosing each sequence's next token from its logits.

use super::generate::{Finish, GenerateOptions, Sequence};
use crate::model::{Model, ops};
use crate::run::error::{Result, RunError};
use candle_core::{DType, Tensor};
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand::{SeedableRng, rngs::StdRng};
use rayon::prelude::*;

/// Greedy, or a seeded draw that depends on nothing but this sequence's own logits and earlier draws.
pub(super) enum Sampler {
    Greedy,
    Draw { rng: Box<StdRng>, temperature: f64, top_k: Option<usize>, top_p: Option<f64> },
}

impl Sampler {
    pub fn new(options: &GenerateOptions, seed: u64) -> Sampler {
        let GenerateOptions { temperature, top_k, top_p, .. } = *options;
        match temperature == 0.0 {
            true => Sampler::Greedy,
            false => Sampler::Draw { rng: Box::new(StdRng::seed_from_u64(seed)), temperature, top_k, top_p },
        }
    }

    /// The next id and the log of its probability (of the untempered distribution). The logits' largest is finite.
    fn next(&mut self, logits: &[f32]) -> Result<(u32, f32)> {
        let id = match self {
            Sampler::Greedy => largest(logits),
            Sampler::Draw { rng, temperature, top_k, top_p } => {
                let weights = probabilities(logits, *temperature, *top_k, *top_p);
                let choice = WeightedIndex::new(&weights).map_err(candle_core::Error::wrap)?;
                choice.sample(rng) as u32
            }
        };
        let max = f64::from(logits[largest(logits) as usize]);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        Ok((id, (f64::from(logits[id as usize]) - max - sum.ln()) as f32))
    }
}

/// What each token is drawn with, up to a common factor. As the warpers of transformers, in their order (temperature,
/// top-k, top-p; `generation/logits_process.py`, `min_tokens_to_keep` 1): top-k keeps what is not below the k-th
/// largest logit, so all that equal it; top-p goes through what is left from the least likely on, equals in the order
/// of their ids, drops tokens as long as their sum is at most `1 - p`, and never the last. Probabilities and their sums
/// are rounded to float32 before they are compared, as there.
fn probabilities(logits: &[f32], temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Vec<f32> {
    let kept = match top_k {
        Some(k) if k < logits.len() => {
            let mut sorted = logits.to_vec();
            let (_, kth, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            *kth
        }
        _ => f32::NEG_INFINITY,
    };
    let max = f64::from(logits[largest(logits) as usize]);
    let weight = |&x: &f32| if x < kept { 0.0 } else { ((f64::from(x) - max) / temperature).exp() };
    let weights: Vec<f64> = logits.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    let mut probabilities: Vec<f32> = weights.into_iter().map(|weight| (weight / total) as f32).collect();
    if let Some(p) = top_p.filter(|p| *p < 1.0) {
        let mut order: Vec<usize> = (0..logits.len()).filter(|&id| logits[id] >= kept).collect();
        order.sort_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        order.pop();
        let mut sum = 0.0;
        for id in order {
            sum += f64::from(probabilities[id]);
            if sum as f32 > (1.0 - p) as f32 {
                break;
            }
            probabilities[id] = 0.0;
        }
    }
    probabilities
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

/// Why these logits choose no token, if they do not.
fn unfit(logits: &[f32]) -> Option<&'static str> {
    let max = logits[largest(logits) as usize];
    if logits.iter().any(|x| x.is_nan()) { Some("NaN") } else { (!max.is_finite()).then_some("infinite") }
}

/// Appends a token to every growing sequence; row i of `logits` belongs to `growing[i]`.
///
/// # Errors
/// Logits that are NaN, or of which the largest is infinite.
pub(super) fn next_tokens(
    model: &Model,
    sequences: &mut [Sequence],
    growing: &[usize],
    logits: &Tensor,
    options: &GenerateOptions,
) -> Result<()> {
    let chosen = if options.temperature == 0.0 { ops::greedy(logits)? } else { None };
    let rows: Vec<Row> = match chosen {
        Some(chosen) => chosen.into_iter().map(Row::Chosen).collect(),
        None => logits.to_dtype(DType::F32)?.to_vec2::<f32>()?.into_iter().map(Row::Logits).collect(),
    };
    let mut row_of = vec![None; sequences.len()];
    for (row, &i) in rows.iter().zip(growing) {
        row_of[i] = Some(row);
    }
    // The first of several, whichever thread finds one first.
    for (s, row) in sequences.iter().zip(&row_of) {
        if let Some(found) = row.and_then(Row::unfit) {
            let patches = s.patches.iter().map(|patch| patch.site.to_string()).collect();
            let error = RunError::NoChoice { after: s.ids.len(), found, patches };
            return Err(error.in_prompt(s.place.0, s.place.1));
        }
    }
    sequences.par_iter_mut().zip(row_of).try_for_each(|(s, row)| -> Result<()> {
        let (id, logprob) = match row {
            None => return Ok(()),
            Some(Row::Chosen((id, logprob, _))) => (*id, *logprob),
            Some(Row::Logits(row)) => s.sampler.next(row)?,
        };
        s.ids.push(id);
        s.logprobs.push(logprob);
        s.finish = finished(model, s, id, options);
        Ok(())
    })
}

/// What came back of one sequence's logits.
enum Row {
    Logits(Vec<f32>),
    /// The greedy choice, made where the logits lie; see [`ops::greedy`].
    Chosen((u32, f32, f32)),
}

impl Row {
    fn unfit(&self) -> Option<&'static str> {
        match self {
            Row::Logits(row) => unfit(row),
            Row::Chosen((_, _, largest)) => unfit(&[*largest]),
        }
    }
}

fn finished(model: &Model, s: &Sequence, id: u32, options: &GenerateOptions) -> Option<Finish> {
    // A stop text may be a special token, and may lie around one.
    let stopped = || {
        let Ok(tokenizer) = model.tokenizer() else { return false };
        let texts = [tokenizer.decode(&s.ids), tokenizer.decode_skip_special(&s.ids)];
        options.stop.iter().any(|stop| texts.iter().any(|text| text.contains(stop.as_str())))
    };
    if model.end_ids().contains(&id) {
        Some(Finish::End)
    } else if !options.stop.is_empty() && stopped() {
        Some(Finish::Stop)
    } else {
        (s.ids.len() == options.max_new_tokens).then_some(Finish::Length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that may be drawn, and their probabilities, from `TemperatureLogitsWarper`, `TopKLogitsWarper` and
    /// `TopPLogitsWarper` as published, written out in numpy float32:
    ///
    /// ```text
    /// def warp(x, t, k, p):
    ///     x = np.float32(x) / np.float32(t)
    ///     if k: x[x < np.sort(x)[-min(k, len(x))]] = -np.inf
    ///     if p < 1:
    ///         order = np.argsort(x, kind="stable"); s = softmax(x[order])
    ///         gone = np.cumsum(s.astype("f8")).astype("f4") <= np.float32(1 - p); gone[-1] = False
    ///         x[order[gone]] = -np.inf
    ///     return softmax(x)
    /// ```
    #[test]
    fn what_may_be_drawn_is_what_transformers_keeps() {
        let ties = [1.0f32, 3.0, 2.0, 3.0, -1.0, 2.0, 0.5, 2.0];
        let equal = [0f32; 10];
        type Case<'a> = (&'a [f32], f64, Option<usize>, Option<f64>, &'a [(usize, f32)]);
        let cases: &[Case] = &[
            (
                &ties,
                1.0,
                Some(3),
                None,
                &[(1, 0.3222025), (2, 0.11853167), (3, 0.3222025), (5, 0.11853167), (7, 0.11853167)],
            ),
            (&ties, 1.0, None, Some(0.5), &[(1, 0.5), (3, 0.5)]),
            (
                &ties,
                0.7,
                Some(3),
                Some(0.9),
                &[(1, 0.4033393), (3, 0.4033393), (5, 0.0966607), (7, 0.0966607)],
            ),
            (&ties, 2.0, Some(5), Some(0.3), &[(1, 0.5), (3, 0.5)]),
            (
                &ties,
                1.0,
                Some(100),
                Some(0.999),
                &[
                    (0, 0.04052714),
                    (1, 0.2994573),
                    (2, 0.11016419),
                    (3, 0.2994573),
                    (4, 0.005484752),
                    (5, 0.11016419),
                    (6, 0.024580952),
                    (7, 0.11016419),
                ],
            ),
            (
                &ties,
                1.0,
                None,
                Some(0.9),
                &[(1, 0.3222025), (2, 0.11853167), (3, 0.3222025), (5, 0.11853167), (7, 0.11853167)],
            ),
            (
                &ties,
                1.0,
                None,
                Some(0.95),
                &[
                    (0, 0.041783385),
                    (1, 0.30873978),
                    (2, 0.11357902),
                    (3, 0.30873978),
                    (5, 0.11357902),
                    (7, 0.11357902),
                ],
            ),
            (&ties, 1.0, Some(4), Some(0.5), &[(1, 0.5), (3, 0.5)]),
            (
                &equal,
                1.0,
                Some(3),
                None,
                &[
                    (0, 0.1),
                    (1, 0.1),
                    (2, 0.1),
                    (3, 0.1),
                    (4, 0.1),
                    (5, 0.1),
                    (6, 0.1),
                    (7, 0.1),
                    (8, 0.1),
                    (9, 0.1),
                ],
            ),
            (&equal, 1.0, None, Some(0.5), &[(5, 0.2), (6, 0.2), (7, 0.2), (8, 0.2), (9, 0.2)]),
            (
                &equal,
                0.7,
                Some(3),
                Some(0.9),
                &[
                    (1, 0.11111111),
                    (2, 0.11111111),
                    (3, 0.11111111),
                    (4, 0.11111111),
                    (5, 0.11111111),
                    (6, 0.11111111),
                    (7, 0.11111111),
                    (8, 0.11111111),
                    (9, 0.11111111),
                ],
            ),
            (&equal, 2.0, Some(5), Some(0.3), &[(7, 0.33333334), (8, 0.33333334), (9, 0.33333334)]),
            (
                &equal,
                1.0,
                Some(100),
                Some(0.999),
                &[
                    (0, 0.1),
                    (1, 0.1),
                    (2, 0.1),
                    (3, 0.1),
                    (4, 0.1),
                    (5, 0.1),
                    (6, 0.1),
                    (7, 0.1),
                    (8, 0.1),
                    (9, 0.1),
                ],
            ),
            (
                &equal,
                1.0,
                None,
                Some(0.9),
                &[
                    (1, 0.11111111),
                    (2, 0.11111111),
                    (3, 0.11111111),
                    (4, 0.11111111),
                    (5, 0.11111111),
                    (6, 0.11111111),
                    (7, 0.11111111),
                    (8, 0.11111111),
                    (9, 0.11111111),
                ],
            ),
            (
                &equal,
                1.0,
                None,
                Some(0.95),
                &[
                    (0, 0.1),
                    (1, 0.1),
                    (2, 0.1),
                    (3, 0.1),
                    (4, 0.1),
                    (5, 0.1),
                    (6, 0.1),
                    (7, 0.1),
                    (8, 0.1),
                    (9, 0.1),
                ],
            ),
            (&equal, 1.0, Some(4), Some(0.5), &[(5, 0.2), (6, 0.2), (7, 0.2), (8, 0.2), (9, 0.2)]),
        ];
        for (logits, temperature, top_k, top_p, want) in cases {
            let drawn = probabilities(logits, *temperature, *top_k, *top_p);
            let total: f32 = drawn.iter().sum();
            let found: Vec<usize> = (0..drawn.len()).filter(|&id| drawn[id] > 0.0).collect();
            let ids: Vec<usize> = want.iter().map(|(id, _)| *id).collect();
            assert_eq!(found, ids, "{logits:?} {temperature} {top_k:?} {top_p:?}");
            for (id, p) in *want {
                assert!((drawn[*id] / total - p).abs() < 1e-6, "{logits:?}: {id}");
            }
        }
    }

    #[test]
    fn a_very_small_temperature_is_greedy() {
        let logits = [0.25f32, 0.5, 0.5 - 1e-6, -3.0];
        for temperature in [1e-300, 1e-40, 1e-9] {
            assert_eq!(probabilities(&logits, temperature, None, None), [0.0, 1.0, 0.0, 0.0]);
        }
        assert_eq!(unfit(&[1.0, f32::NAN]), Some("NaN"));
        assert_eq!(unfit(&[1.0, f32::INFINITY]), Some("infinite"));
        assert_eq!(unfit(&[f32::NEG_INFINITY; 2]), Some("infinite"));
        assert_eq!(unfit(&[f32::NEG_INFINITY, 1.0]), None);
    }
}
