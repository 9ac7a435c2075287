//! What a sweep has to compute: every cell checked, cells whose value is known or equal to another's left out,
//! the rest given the layer and the row at which they leave the base run.

use super::again::{self, Wanted};
use super::error::{Result, RunError};
use super::patch::{self, Edit, Patch, Steps, Value, Write};
use super::select::{Cols, Selection};
use super::tokens::Tokens;
use crate::model::{At, Config, Model, ModelError, Point, Stage};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// One cell that must be computed.
#[derive(Debug)]
pub struct Work {
    pub cell: usize,
    pub acts: Vec<Act>,
    /// The layer at which its rows leave the base run; `n_layers` if only after the last one.
    pub entry: usize,
    /// Its first row that can differ from the base run.
    pub first: usize,
    /// The first row that goes on once rows meet no more: the first that the metric reads, or what patches there need
    /// together with it.
    pub tail: usize,
}

/// A patch of a cell, and where it acts.
#[derive(Debug)]
pub struct Act {
    /// Its index in the cell.
    pub patch: usize,
    pub selection: Selection,
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

/// What a sweep has to compute. Nothing is computed to make it: donors are known by their tokens and shapes.
#[derive(Debug)]
pub struct Plan {
    pub work: Vec<Work>,
    /// One a cell.
    pub fates: Vec<Fate>,
}

/// Decides the fate of every cell, for a metric that reads the logits of the positions `reads`. `shortcuts` off
/// computes every cell.
///
/// # Errors
/// Whatever is wrong with any cell.
pub fn plan(
    model: &Arc<Model>,
    prompt: &Tokens,
    cells: &[Vec<Patch>],
    reads: &Range<usize>,
    shortcuts: bool,
) -> Result<Plan> {
    if prompt.is_empty() {
        return Err(ModelError::EmptyPrompt.into());
    }
    if cells.is_empty() {
        return Err(RunError::NoCells);
    }
    let config = model.config();
    let mut plan = Plan { work: Vec::new(), fates: Vec::with_capacity(cells.len()) };
    let mut seen: HashMap<Vec<Key>, usize> = HashMap::new();
    for (cell, patches) in cells.iter().enumerate() {
        let selections = check(config, prompt, patches)?;
        let all = || patches.iter().zip(&selections);
        if shortcuts && all().all(|(p, s)| equals_base(p, s, model, prompt)) {
            plan.fates.push(Fate::EqualsBase);
            continue;
        }
        let mut keys: Vec<Key> = all().map(|(p, s)| Key::new(p, s)).collect();
        keys.sort();
        let reaches = |selection: &Selection| reaches(selection, config, reads);
        // A closure that sees several rows may carry a change from one to the other.
        let keep_all = !shortcuts || all().any(|(p, s)| mixes_rows(p, s) && reaches(s));
        let acts: Vec<Act> = selections
            .into_iter()
            .enumerate()
            .map(|(patch, selection)| Act { patch, selection })
            .filter(|act| keep_all || reaches(&act.selection))
            .collect();
        if acts.is_empty() {
            plan.fates.push(Fate::Unreachable);
        } else if let Some(&work) = seen.get(&keys).filter(|_| shortcuts) {
            plan.fates.push(Fate::Merged(work));
        } else {
            let work = plan.work.len();
            seen.insert(keys, work);
            plan.fates.push(Fate::Computed(work));
            plan.work.push(place(cell, patches, acts, config, prompt.len(), reads, shortcuts));
        }
    }
    Ok(plan)
}

impl Plan {
    /// Rows that go through each layer, all cells together.
    pub fn rows(&self, len: usize, n_layers: usize) -> Vec<usize> {
        let rows =
            |layer| self.work.iter().filter(|work| work.entry <= layer).map(|work| work.rows(len)).sum();
        (0..n_layers).map(rows).collect()
    }

    /// Which sites the cells to compute read from which runs.
    pub fn donors<'a>(&self, cells: &'a [Vec<Patch>]) -> Wanted<'a> {
        let acts = self.work.iter().flat_map(|work| work.acts.iter().map(|act| &cells[work.cell][act.patch]));
        again::wanted(
            acts.flat_map(|patch| patch.edit.donors().iter().map(|donor| (&**donor, patch.site.at))),
        )
    }
}

impl Work {
    /// Reads what its patches bring, in the order in which they are applied.
    pub fn writes(&self, cells: &[Vec<Patch>], len: usize) -> Result<Vec<Write>> {
        let patches = &cells[self.cell];
        let writes = self.acts.iter().map(|act| patches[act.patch].write(act.selection.clone(), len));
        patch::sorted(writes.collect::<Result<_>>()?)
    }

    /// Rows that leave the base run, of a prompt of `len` tokens.
    pub fn rows(&self, len: usize) -> usize {
        len - self.first
    }
}

/// Checks one cell and says where its patches act.
fn check(config: &Config, prompt: &Tokens, patches: &[Patch]) -> Result<Vec<Selection>> {
    let mut selections = Vec::with_capacity(patches.len());
    for patch in patches {
        if patch.steps != Steps::Prompt {
            return Err(RunError::SweepSteps { site: patch.site.to_string() });
        }
        let mut selection = patch.check(config, prompt)?;
        selection.at = canonical(selection.at, config);
        selections.push(selection);
    }
    patch::check_overlaps(patches, selections.iter())?;
    Ok(selections)
}

/// `resid_post.l` is `resid_pre.l+1`, so that equal cells look equal.
fn canonical(at: At, config: &Config) -> At {
    let next = at.layer + 1;
    match at.point == Point::ResidPost && next < config.n_layers {
        true => At { point: Point::ResidPre, layer: next },
        false => at,
    }
}

/// Does the patch set what the base run has there? True of a donor without patches of its own, at positions up to
/// which both prompts are the same.
fn equals_base(patch: &Patch, selection: &Selection, model: &Arc<Model>, prompt: &Tokens) -> bool {
    let Edit::Set(Value::Trace(donor)) = &patch.edit else { return false };
    let same = donor.tokens().ids().iter().zip(prompt.ids()).take_while(|(a, b)| a == b).count();
    let donor_rows = patch.site.pos.resolve(donor.tokens()).unwrap_or_default();
    let rows = &selection.rows;
    Arc::ptr_eq(donor.model(), model)
        && donor.patches().is_empty()
        && donor_rows == *rows
        && rows.iter().all(|&row| row < same)
        && (!selection.is_scores() || donor.tokens().len() == prompt.len())
}

/// Does a closure see several rows at once?
fn mixes_rows(patch: &Patch, selection: &Selection) -> bool {
    matches!(patch.edit, Edit::Func(_)) && selection.rows.len() > 1
}

/// Can a causal model carry this change to a position that the metric reads?
fn reaches(selection: &Selection, config: &Config, reads: &Range<usize>) -> bool {
    let At { point, layer } = selection.at;
    if selection.rows.iter().any(|row| reads.contains(row)) {
        return true;
    }
    if selection.rows.iter().all(|row| *row >= reads.end) {
        return false;
    }
    match point.stage() {
        Stage::Embedding => true,
        Stage::Reading | Stage::Writing | Stage::Leaving => {
            point.read_by_others() || layer + 1 < config.n_layers
        }
        Stage::Ending => false,
    }
}

fn place(
    cell: usize,
    patches: &[Patch],
    acts: Vec<Act>,
    config: &Config,
    len: usize,
    reads: &Range<usize>,
    shortcuts: bool,
) -> Work {
    let entry = acts.iter().map(|act| act.selection.at.entry(config.n_layers)).min();
    let entry = entry.filter(|_| shortcuts).unwrap_or(0);
    let rows = |act: &Act| act.selection.rows.iter().copied().min();
    let first = acts.iter().filter_map(rows).min().filter(|_| shortcuts).unwrap_or(0).min(reads.start);
    let mut work = Work { cell, acts, entry, first, tail: reads.start };
    // After the last layer rows no longer meet, and the metric reads only its own.
    if entry == config.n_layers {
        work.first = reads.start;
    }
    let after = work.acts.iter().filter(|act| acts_on_tail(act.selection.at, config));
    let last_alone = |act: &Act| {
        reads.start == len - 1
            && act.selection.rows.contains(&reads.start)
            && !mixes_rows(&patches[act.patch], &act.selection)
    };
    if !after.clone().all(last_alone) {
        work.tail = after.filter_map(rows).min().map_or(reads.start, |row| row.min(reads.start));
    }
    work
}

/// Does a patch there act on tails: where rows meet no more before the metric reads the last one?
pub fn acts_on_tail(at: At, config: &Config) -> bool {
    at.point.stage() == Stage::Ending || (at.layer + 1 == config.n_layers && at.point.row_by_row())
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
    fn new(patch: &Patch, selection: &Selection) -> Key {
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
        let cols = match &selection.cols {
            Cols::All => vec![],
            Cols::Heads { heads, .. } => heads.clone(),
            Cols::Neuron(neuron) => vec![*neuron],
        };
        // In the donor, a symbolic position may be another one, and its own patches may stand between two sites
        // that are one here.
        let mut values = values;
        let donors = patch.edit.donors();
        if donors.iter().any(|donor| !donor.patches().is_empty()) {
            values.push(ValueKey::Tensor(patch.site.to_string()));
        } else if !donors.is_empty() {
            values.push(ValueKey::Tensor(patch.site.pos.to_string()));
        }
        let rows = selection.rows.clone();
        Key { at: selection.at, rows, cols, edit: patch.edit.name(), values, amount: amount.to_bits() }
    }
}
