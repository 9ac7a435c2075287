//! What a change of activations does to the next token.

use super::trace::Trace;
use crate::run::error::{Result, RunError};

/// By how much a token's logit at the last position changed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogitChange {
    pub id: u32,
    pub change: f32,
}

/// The `k` logits of the last position that are raised most between two runs, and the `k` that are lowered most, each the
/// strongest first; of equal ones that of the lower id. `center` first takes the mean over the vocabulary from both, as
/// TransformerLens does with the weights of most models.
///
/// # Errors
/// Vocabularies of two sizes, logits that are not numbers.
pub fn logit_changes(before: &Trace, after: &Trace, k: usize, center: bool) -> Result<[Vec<LogitChange>; 2]> {
    let last = |trace: &Trace| -> Result<Vec<f32>> { Ok(trace.last()?.to_vec1()?) };
    let (a, b) = (last(before)?, last(after)?);
    if a.len() != b.len() {
        return Err(RunError::Vocabularies { before: a.len(), after: b.len() });
    }
    let mut changes: Vec<f32> = b.iter().zip(&a).map(|(b, a)| b - a).collect();
    if changes.iter().any(|change| change.is_nan()) {
        return Err(RunError::NanLogits { reader: "logit_changes" });
    }
    if center {
        let mean = changes.iter().map(|x| f64::from(*x)).sum::<f64>() / changes.len() as f64;
        changes.iter_mut().for_each(|change| *change -= mean as f32);
    }
    let mut order: Vec<usize> = (0..changes.len()).collect();
    let mut most = |sign: f32| {
        order.sort_by(|&a, &b| (sign * changes[b]).total_cmp(&(sign * changes[a])).then(a.cmp(&b)));
        let change = |&id: &usize| LogitChange { id: id as u32, change: changes[id] };
        order.iter().take(k).map(change).collect::<Vec<_>>()
    };
    Ok([most(1.0), most(-1.0)])
}
