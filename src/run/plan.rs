//! What a sweep has to compute: every cell checked, cells whose value is known or equal to another's left out,
//! the rest given the layer and the row at which they leave the base run.

use super::error::{Result, RunError};
use super::patch::{self, Edit, Patch, Steps, Value, Write};
use super::select::Cols;
use super::tokens::Tokens;
use super::trace::{Trace, record_together};
use crate::model::{At, Config, Model, Point};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One cell that must be computed.
pub struct Work {
    pub cell: usize,
    pub writes: Vec<Write>,
    /// The layer at which its rows leave the base run; `n_layers` if only after the last one.
    pub entry: usize,
    /// Its first row that can differ from the base run.
    pub first: usize,
}

/// How each cell gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Computed, as the n-th of [`Plan::work`].
    Computed(usize),
    /// Same patches as an earlier cell, the n-th of [`Plan::work`].
    Merged(usize),
    /// The patches put there what the base run has anyway.
    EqualsBase,
    /// No causal path from the patch to what the metric reads.
    Unreachable,
}

pub struct Plan {
    pub work: Vec<Work>,
    pub fates: Vec<Fate>,
}

/// Decides the fate of every cell. `shortcuts` off computes every cell.
pub fn plan(model: &Arc<Model>, prompt: &Tokens, cells: &[Vec<Patch>], shortcuts: bool) -> Result<Plan> {
    if cells.is_empty() {
        return Err(RunError::NoCells);
    }
    let config = model.config();
    check_cells(config, cells)?;
    record_donors(cells)?;
    let mut plan = Plan { work: Vec::new(), fates: Vec::with_capacity(cells.len()) };
    let mut seen: HashMap<Vec<Key>, usize> = HashMap::new();
    for (cell, patches) in cells.iter().enumerate() {
        let mut resolved = patches.iter().map(|p| p.resolve(config, prompt)).collect::<Result<Vec<_>>>()?;
        for write in &mut resolved {
            write.selection.at = canonical(write.selection.at, config);
        }
        let mut keys: Vec<Key> = patches.iter().zip(&resolved).map(|(p, w)| Key::new(p, w)).collect();
        keys.sort();
        let all = patches.iter().zip(&resolved);
        if shortcuts && all.clone().all(|(p, w)| equals_base(p, w, model, prompt)) {
            plan.fates.push(Fate::EqualsBase);
            continue;
        }
        let reaches = |w: &Write| !shortcuts || reaches_last(w, config, prompt.len());
        let writes: Vec<Write> =
            patch::order(patches, resolved)?.into_iter().filter(|write| reaches(write)).collect();
        if writes.is_empty() {
            plan.fates.push(Fate::Unreachable);
        } else if let Some(&work) = seen.get(&keys).filter(|_| shortcuts) {
            plan.fates.push(Fate::Merged(work));
        } else {
            let work = plan.work.len();
            seen.insert(keys, work);
            plan.fates.push(Fate::Computed(work));
            plan.work.push(place(cell, writes, config, prompt.len(), shortcuts));
        }
    }
    Ok(plan)
}

fn check_cells(config: &Config, cells: &[Vec<Patch>]) -> Result<()> {
    for patch in cells.iter().flatten() {
        patch.site.validate(config)?;
        if patch.steps != Steps::Prompt {
            return Err(RunError::SweepSteps { site: patch.site.to_string() });
        }
    }
    Ok(())
}

/// Runs each donor once for all the sites that cells read from it.
fn record_donors(cells: &[Vec<Patch>]) -> Result<()> {
    let mut wanted: BTreeMap<*const Trace, (Arc<Trace>, BTreeSet<At>)> = BTreeMap::new();
    for patch in cells.iter().flatten() {
        for trace in donors(&patch.edit) {
            let entry = wanted.entry(Arc::as_ptr(trace)).or_insert_with(|| (trace.clone(), BTreeSet::new()));
            entry.1.insert(patch.site.at);
        }
    }
    for (trace, ats) in wanted.into_values() {
        record_together(&[trace], &ats)?;
    }
    Ok(())
}

fn donors(edit: &Edit) -> &[Arc<Trace>] {
    match edit {
        Edit::Set(Value::Trace(t)) | Edit::Add(Value::Trace(t)) | Edit::Lerp(Value::Trace(t), _) => {
            std::slice::from_ref(t)
        }
        Edit::Mean(traces) => traces,
        _ => &[],
    }
}

/// `resid_post.l` is `resid_pre.l+1`, so that equal cells look equal.
fn canonical(at: At, config: &Config) -> At {
    match at.point {
        Point::ResidPost if at.layer + 1 < config.n_layers => {
            At { point: Point::ResidPre, layer: at.layer + 1 }
        }
        _ => at,
    }
}

/// Does the patch set what the base run has there? True of a donor without patches of its own, at positions up to
/// which both prompts are the same.
fn equals_base(patch: &Patch, write: &Write, model: &Arc<Model>, prompt: &Tokens) -> bool {
    let Edit::Set(Value::Trace(donor)) = &patch.edit else { return false };
    let same = donor.tokens().ids().iter().zip(prompt.ids()).take_while(|(a, b)| a == b).count();
    let donor_rows = patch.site.pos.resolve(donor.tokens()).unwrap_or_default();
    let rows = &write.selection.rows;
    Arc::ptr_eq(donor.model(), model)
        && donor.patches().is_empty()
        && donor_rows == *rows
        && rows.iter().all(|&row| row < same)
        && (!write.selection.is_scores() || donor.tokens().len() == prompt.len())
}

/// Can a causal model carry this change to the last position?
fn reaches_last(write: &Write, config: &Config, len: usize) -> bool {
    let At { point, layer } = write.selection.at;
    if write.selection.rows.contains(&(len - 1)) {
        return true;
    }
    match point {
        Point::Embed | Point::PosEmbed => true,
        Point::LnFinal | Point::Logits => false,
        // Other positions read these in the same layer.
        Point::ResidPre | Point::Ln1 | Point::K | Point::V | Point::RotK => true,
        _ => layer + 1 < config.n_layers,
    }
}

fn place(cell: usize, writes: Vec<Write>, config: &Config, len: usize, shortcuts: bool) -> Work {
    if !shortcuts {
        return Work { cell, writes, entry: 0, first: 0 };
    }
    let entry = writes.iter().map(|w| entry(w.selection.at, config)).min().unwrap_or(0);
    let first = writes.iter().flat_map(|w| w.selection.rows.iter().copied()).min().unwrap_or(0);
    // After the last layer rows no longer meet, and the metric reads the last one.
    Work { cell, writes, entry, first: if entry == config.n_layers { len - 1 } else { first } }
}

fn entry(at: At, config: &Config) -> usize {
    match at.point {
        Point::Embed | Point::PosEmbed => 0,
        Point::LnFinal | Point::Logits => config.n_layers,
        Point::ResidPost => at.layer + 1,
        _ => at.layer,
    }
}

/// What makes two patches the same change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    at: At,
    rows: Vec<usize>,
    cols: Vec<usize>,
    edit: &'static str,
    values: Vec<ValueKey>,
    amount: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum ValueKey {
    Trace(usize),
    Tensor(String),
    Func(usize),
}

impl Key {
    fn new(patch: &Patch, write: &Write) -> Key {
        let value = |value: &Value| match value {
            Value::Trace(trace) => ValueKey::Trace(Arc::as_ptr(trace) as usize),
            Value::Tensor(tensor) => ValueKey::Tensor(format!("{:?}", tensor.id())),
        };
        let (values, amount) = match &patch.edit {
            Edit::Set(v) | Edit::Add(v) => (vec![value(v)], 0.0),
            Edit::Lerp(v, a) => (vec![value(v)], *a),
            Edit::Scale(a) => (vec![], *a),
            Edit::Zero => (vec![], 0.0),
            Edit::Mean(traces) => {
                (traces.iter().map(|t| ValueKey::Trace(Arc::as_ptr(t) as usize)).collect(), 0.0)
            }
            Edit::ProjectOut(r) => (vec![ValueKey::Tensor(format!("{:?}", r.id()))], 0.0),
            Edit::Func(f) => (vec![ValueKey::Func(Arc::as_ptr(f) as *const () as usize)], 0.0),
        };
        let selection = &write.selection;
        let cols = match &selection.cols {
            Cols::All => vec![],
            Cols::Heads { heads, .. } => heads.clone(),
            Cols::Neuron(neuron) => vec![*neuron],
        };
        // In the donor, a symbolic position may be another one, and its own patches may stand between two sites
        // that are one here.
        let mut values = values;
        let donors = donors(&patch.edit);
        if donors.iter().any(|donor| !donor.patches().is_empty()) {
            values.push(ValueKey::Tensor(patch.site.to_string()));
        } else if !donors.is_empty() {
            values.push(ValueKey::Tensor(patch.site.pos.to_string()));
        }
        let rows = selection.rows.clone();
        Key { at: selection.at, rows, cols, edit: patch.edit.name(), values, amount: amount.to_bits() }
    }
}
