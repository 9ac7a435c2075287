//! Metrics: one number from the logits, for all but the loss those at the last position.

use super::tokens::Tokens;
use crate::model::tokenizer::Bos;
use crate::model::{Model, ModelError};
use crate::run::control::Control;
use crate::run::error::{Result, RunError};
use crate::run::tracing::trace::Trace;
use crate::run::walking::logits;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Tokens a metric asks about, before a model says their ids.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenSet {
    Text(String),
    Ids(Vec<u32>),
    Many(Vec<TokenSet>),
}

impl TokenSet {
    /// # Errors
    /// A string that is not exactly one token, an id outside the vocabulary, an empty set.
    pub fn resolve(&self, model: &Model) -> Result<Vec<u32>> {
        let ids = match self {
            TokenSet::Text(text) => {
                vec![model.tokenizer()?.single(text).map_err(ModelError::from)?]
            }
            TokenSet::Ids(ids) => ids.clone(),
            TokenSet::Many(sets) => {
                let mut ids = Vec::new();
                for set in sets {
                    ids.extend(set.resolve(model)?);
                }
                ids
            }
        };
        let d_vocab = model.config().d_vocab;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= d_vocab) {
            return Err(ModelError::BadToken { id, d_vocab }.into());
        }
        if ids.is_empty() {
            return Err(RunError::NoMetricTokens);
        }
        // A set: a token that is named twice counts once.
        let mut seen = HashSet::new();
        Ok(ids.into_iter().filter(|id| seen.insert(*id)).collect())
    }
}

/// A text or ids that a prompt ends with.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    Text(String),
    Ids(Vec<u32>),
}

impl Ending {
    /// Its tokens, less the first one if the prompt has no other: nothing predicts that.
    ///
    /// # Errors
    /// A prompt that does not end so, or has no token to predict.
    fn resolve(&self, model: &Model, prompt: &Tokens) -> Result<Vec<u32>> {
        let ids = match self {
            Ending::Text(text) => model.tokenizer()?.encode(text, Bos::No, true).map_err(ModelError::from)?,
            Ending::Ids(ids) => ids.clone(),
        };
        if !prompt.ids().ends_with(&ids) {
            let last = prompt.len().saturating_sub(ids.len() + 2);
            return Err(RunError::LossEnding {
                ending: model.texts(&ids).concat(),
                last: model.texts(&prompt.ids()[last..]),
            });
        }
        let first = usize::from(ids.len() == prompt.len());
        match ids.get(first..) {
            Some(ids) if !ids.is_empty() => Ok(ids.to_vec()),
            _ => Err(RunError::NoLossTokens),
        }
    }
}

/// A script's closure over the last logits.
pub type MetricFn = Arc<dyn Fn(&[f32]) -> std::result::Result<f64, String> + Send + Sync>;

#[derive(Clone)]
pub enum Kind {
    Logit(TokenSet),
    LogitDiff(TokenSet, TokenSet),
    Prob(TokenSet),
    Logprob(TokenSet),
    /// `log P(a) - log P(b)`, summed over sets
    LogprobDiff(TokenSet, TokenSet),
    /// Tokens with a higher logit: 0 is the top.
    Rank(TokenSet),
    /// `KL(trace || this run)`, nats
    Kl(Arc<Trace>),
    /// Nats.
    Entropy,
    /// The mean cross-entropy of the prompt's last tokens, each predicted from those before it; nats a token
    Loss(Ending),
    Func(MetricFn),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Logit(_) => "logit",
            Kind::LogitDiff(..) => "logit_diff",
            Kind::Prob(_) => "prob",
            Kind::Logprob(_) => "logprob",
            Kind::LogprobDiff(..) => "logprob_diff",
            Kind::Rank(_) => "rank",
            Kind::Kl(_) => "kl",
            Kind::Entropy => "entropy",
            Kind::Loss(_) => "loss",
            Kind::Func(_) => "closure",
        }
    }
}

/// What a run is judged by, perhaps scaled to the fraction recovered.
#[derive(Clone)]
pub struct Metric {
    pub kind: Kind,
    /// `(clean, corrupted)`: the value becomes `(m - corrupted) / (clean - corrupted)`.
    recovered: Option<(f64, f64)>,
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metric({})", self.kind.name())
    }
}

impl Metric {
    pub fn new(kind: Kind) -> Metric {
        Metric { kind, recovered: None }
    }

    /// Its kind in a word.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether it calls a closure of the script.
    pub fn is_closure(&self) -> bool {
        matches!(self.kind, Kind::Func(_))
    }

    /// The same metric as a fraction: 0 at the corrupted value, 1 at the clean one.
    pub fn recovered(&self, clean: f64, corrupted: f64) -> Result<Metric> {
        if clean == corrupted {
            return Err(RunError::NothingToRecover { value: clean });
        }
        Ok(Metric { kind: self.kind.clone(), recovered: Some((clean, corrupted)) })
    }

    /// Looks tokens up, so that everything about the metric is checked before a run.
    pub fn resolve(&self, model: &Model, prompt: &Tokens) -> Result<Resolved> {
        let last = prompt.len().checked_sub(1).ok_or(ModelError::EmptyPrompt)?;
        let mut rows = last..prompt.len();
        let set = |t: &TokenSet| t.resolve(model);
        let one = |metric: &'static str, t: &TokenSet| -> Result<u32> {
            match set(t)?[..] {
                [id] => Ok(id),
                ref ids => Err(RunError::MetricSet { metric, len: ids.len() }),
            }
        };
        let on = match &self.kind {
            Kind::Logit(t) => On::Difference(one("logit", t)?, None),
            Kind::LogitDiff(a, b) => On::Difference(one("logit_diff", a)?, Some(one("logit_diff", b)?)),
            Kind::LogprobDiff(a, b) => On::SetDifference(set(a)?, set(b)?),
            Kind::Prob(t) => On::Prob(set(t)?),
            Kind::Logprob(t) => On::Logprob(set(t)?),
            Kind::Rank(t) => On::Rank(one("rank", t)?),
            Kind::Entropy => On::Entropy,
            Kind::Kl(trace) => {
                let clean = log_softmax(&trace.last()?.to_vec1::<f32>()?);
                if clean.len() != model.config().d_vocab {
                    return Err(RunError::KlWidth { want: model.config().d_vocab, found: clean.len() });
                }
                On::Kl(clean)
            }
            Kind::Loss(ending) => {
                let ids = ending.resolve(model, prompt)?;
                rows = last - ids.len()..last;
                On::Loss(ids)
            }
            Kind::Func(f) => On::Func(f.clone()),
        };
        Ok(Resolved { name: self.kind.name(), on, rows, recovered: self.recovered })
    }

    /// The metric of a traced run.
    pub fn of(&self, trace: &Trace, control: &Control) -> Result<f64> {
        let resolved = self.resolve(trace.model(), trace.tokens())?;
        let read = logits::numbers(&trace.logits_at(resolved.rows(), control)?)?;
        match resolved.columns() {
            Some(ids) => resolved.eval(&ids.iter().map(|&id| read[id as usize]).collect::<Vec<_>>()),
            None => resolved.eval(&read),
        }
    }
}

enum On {
    Difference(u32, Option<u32>),
    SetDifference(Vec<u32>, Vec<u32>),
    Prob(Vec<u32>),
    Logprob(Vec<u32>),
    Rank(u32),
    Kl(Vec<f64>),
    Entropy,
    Loss(Vec<u32>),
    Func(MetricFn),
}

/// A metric whose tokens are known, for one prompt.
pub struct Resolved {
    name: &'static str,
    on: On,
    rows: Range<usize>,
    recovered: Option<(f64, f64)>,
}

impl Resolved {
    /// The positions whose logits it reads.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// How many logits it reads in all.
    pub fn logits(&self, d_vocab: usize) -> usize {
        self.rows.len() * self.columns().map_or(d_vocab, |ids| ids.len())
    }

    /// The only logits it needs of a row, in the order in which `eval` takes them; `None`: all of them.
    pub fn columns(&self) -> Option<Vec<u32>> {
        match &self.on {
            On::Difference(a, b) => Some(std::iter::once(*a).chain(*b).collect()),
            On::SetDifference(a, b) => Some(a.iter().chain(b).copied().collect()),
            _ => None,
        }
    }

    /// The value from the logits of its rows, one after the other, those of [`columns`](Self::columns) or all.
    ///
    /// # Errors
    /// A closure that fails; NaN, which no comparison would notice.
    pub fn eval(&self, logits: &[f32]) -> Result<f64> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(RunError::NanLogits { reader: self.name });
        }
        let at = |ids: &[u32]| ids.iter().map(|&id| logits[id as usize]).collect::<Vec<_>>();
        let value = match &self.on {
            On::Difference(_, None) => f64::from(logits[0]),
            On::Difference(_, Some(_)) => f64::from(logits[0] - logits[1]),
            On::SetDifference(a, _) => logsumexp(&logits[..a.len()]) - logsumexp(&logits[a.len()..]),
            On::Prob(ids) => (logsumexp(&at(ids)) - logsumexp(logits)).exp(),
            On::Logprob(ids) => logsumexp(&at(ids)) - logsumexp(logits),
            On::Rank(id) => logits.iter().filter(|&&other| other > logits[*id as usize]).count() as f64,
            On::Entropy => -log_softmax(logits).iter().map(|&p| product(p.exp(), p)).sum::<f64>(),
            On::Kl(clean) => {
                let patched = log_softmax(logits);
                clean.iter().zip(&patched).map(|(&p, &q)| product(p.exp(), p - q)).sum()
            }
            On::Loss(ids) => {
                let rows = ids.iter().zip(logits.chunks(logits.len() / ids.len()));
                rows.map(|(&id, row)| logsumexp(row) - f64::from(row[id as usize])).sum::<f64>()
                    / ids.len() as f64
            }
            On::Func(f) => f(logits).map_err(RunError::Closure)?,
        };
        let value = match self.recovered {
            Some((clean, corrupted)) => (value - corrupted) / (clean - corrupted),
            None => value,
        };
        if value.is_nan() { Err(RunError::NanMetric { metric: self.name }) } else { Ok(value) }
    }
}

/// `p * x`, 0 where p is 0 even if x is infinite.
fn product(p: f64, x: f64) -> f64 {
    if p == 0.0 { 0.0 } else { p * x }
}

fn logsumexp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// Natural log of the softmax.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let total = logsumexp(logits);
    logits.iter().map(|&x| f64::from(x) - total).collect()
}
