//! What a sweep has to compute: every cell checked, cells whose value is known or equal to another's left out,
//! the rest given the layer and the row at which they leave the base run.

use crate::model::{At, Config, Model, ModelError, Point, Stage};
use crate::run::asking::patch::{self, Edit, Patch, Steps, Value, Write};
use crate::run::asking::select::{Cols, Selection};
use crate::run::asking::tokens::Tokens;
use crate::run::error::{Result, RunError};
use crate::run::tracing::again::{self, Wanted};
use crate::run::walking::near::Near;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// One cell that must be computed.
#[derive(Debug)]
pub struct CellRun {
    pub cell: usize,
    /// Where each of its patches acts; `None` for one that cannot reach what the metric reads.
    pub selections: Vec<Option<Selection>>,
    /// The layer at which its rows leave the base run; `n_layers` if only after the last one.
    pub entry: usize,
    /// Its first row that can differ from the base run.
    pub first: usize,
    /// The first row that goes on once rows meet no more: the first that the metric reads, or what patches there need
    /// together with it.
    pub tail: usize,
}

/// How each cell gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellStatus {
    /// Computed, as the n-th of [`Plan::runs`].
    Computed(usize),
    /// Same patches as an earlier cell, the n-th of [`Plan::runs`].
    Merged(usize),
    /// The patches put there what the base run has anyway.
    EqualsBase,
    /// No causal path from the patch to what the metric reads.
    Unreachable,
}

/// What a sweep has to compute. Nothing is computed to make it: donors are known by their tokens and shapes.
#[derive(Debug)]
pub struct Plan {
    pub runs: Vec<CellRun>,
    /// One a cell.
    pub statuses: Vec<CellStatus>,
}

/// Decides the status of every cell, for a metric that reads the logits of the positions `reads`. `shortcuts` off
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
    let mut plan = Plan { runs: Vec::new(), statuses: Vec::with_capacity(cells.len()) };
    let mut seen: HashMap<Vec<Key>, usize> = HashMap::new();
    for (cell, patches) in cells.iter().enumerate() {
        let selections = check(model, prompt, patches)?;
        let all = || patches.iter().zip(&selections);
        if shortcuts && all().all(|(p, s)| equals_base(p, s, model, prompt)) {
            plan.statuses.push(CellStatus::EqualsBase);
            continue;
        }
        let mut keys: Vec<Key> = all().map(|(p, s)| Key::new(p, s)).collect();
        keys.sort();
        let reaches = |selection: &Selection| reaches(selection, config, reads);
        // A closure that sees several rows may carry a change from one to the other.
        let keep_all = !shortcuts || all().any(|(p, s)| mixes_rows(p, s) && reaches(s));
        let acting: Vec<Option<Selection>> = selections
            .into_iter()
            .map(|selection| Some(selection).filter(|s| keep_all || reaches(s)))
            .collect();
        if acting.iter().all(Option::is_none) {
            plan.statuses.push(CellStatus::Unreachable);
        } else if let Some(&run) = seen.get(&keys).filter(|_| shortcuts) {
            plan.statuses.push(CellStatus::Merged(run));
        } else {
            let run = plan.runs.len();
            seen.insert(keys, run);
            plan.statuses.push(CellStatus::Computed(run));
            plan.runs.push(place(cell, patches, acting, config, prompt.len(), reads, shortcuts));
        }
    }
    Ok(plan)
}

impl Plan {
    /// Rows that go through each layer, all cells together.
    pub fn rows(&self, len: usize, n_layers: usize) -> Vec<usize> {
        let rows = |layer| self.runs.iter().filter(|run| run.entry <= layer).map(|run| run.rows(len)).sum();
        (0..n_layers).map(rows).collect()
    }

    /// Which sites the cells to compute read from which runs.
    pub fn donors<'a>(&self, cells: &'a [Vec<Patch>]) -> Wanted<'a> {
        let acting = self.runs.iter().flat_map(|run| run.acting(&cells[run.cell]));
        again::wanted(
            acting.flat_map(|(patch, _)| patch.edit.donors().iter().map(|donor| (&**donor, patch.site.at))),
        )
    }
}

impl CellRun {
    /// Reads what its patches bring, in the order in which they are applied.
    pub fn writes(&self, cells: &[Vec<Patch>], len: usize, near: &Near) -> Result<Vec<Write>> {
        let acting = self.acting(&cells[self.cell]);
        let writes = acting.map(|(patch, selection)| patch.write(selection.clone(), len, near));
        patch::sorted(writes.collect::<Result<_>>()?)
    }

    /// Those of its cell's patches that act, and where.
    fn acting<'a, 'b>(&'a self, patches: &'b [Patch]) -> impl Iterator<Item = (&'b Patch, &'a Selection)> {
        patches
            .iter()
            .zip(&self.selections)
            .filter_map(|(patch, selection)| Some((patch, selection.as_ref()?)))
    }

    /// Rows that leave the base run, of a prompt of `len` tokens.
    pub fn rows(&self, len: usize) -> usize {
        len - self.first
    }
}

/// Checks one cell and says where its patches act.
fn check(model: &Model, prompt: &Tokens, patches: &[Patch]) -> Result<Vec<Selection>> {
    let mut selections = Vec::with_capacity(patches.len());
    for patch in patches {
        if patch.steps != Steps::Prompt {
            return Err(RunError::SweepSteps { site: patch.site.to_string() });
        }
        let mut selection = patch.check(model, prompt)?;
        selection.at = canonical(selection.at, model.config());
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
/// which both prompts are the same, unless what an autoencoder does not explain is dropped.
fn equals_base(patch: &Patch, selection: &Selection, model: &Arc<Model>, prompt: &Tokens) -> bool {
    let Edit::Set(Value::Trace(donor)) = &patch.edit else { return false };
    let same = donor.tokens().ids().iter().zip(prompt.ids()).take_while(|(a, b)| a == b).count();
    let donor_rows = patch.site.pos.resolve(donor.tokens()).unwrap_or_default();
    let rows = &selection.rows;
    patch.site.features.as_ref().is_none_or(|features| features.keep_error)
        && Arc::ptr_eq(donor.model(), model)
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
    selections: Vec<Option<Selection>>,
    config: &Config,
    len: usize,
    reads: &Range<usize>,
    shortcuts: bool,
) -> CellRun {
    let mut run = CellRun { cell, selections, entry: 0, first: 0, tail: reads.start };
    let first_row = |selection: &Selection| selection.rows.iter().copied().min();
    if shortcuts {
        let acting = || run.selections.iter().flatten();
        let entry = acting().map(|selection| selection.at.entry(config.n_layers)).min().unwrap_or(0);
        let first = acting().filter_map(first_row).min().unwrap_or(0).min(reads.start);
        // After the last layer rows no longer meet, and the metric reads only its own.
        let first = if entry == config.n_layers { reads.start } else { first };
        (run.entry, run.first) = (entry, first);
    }
    let last_alone = |(patch, selection): (&Patch, &Selection)| {
        reads.start == len - 1 && selection.rows.contains(&reads.start) && !mixes_rows(patch, selection)
    };
    let on_tail = || run.acting(patches).filter(|(_, selection)| acts_on_tail(selection.at, config));
    if !on_tail().all(last_alone) {
        let first = on_tail().filter_map(|(_, selection)| first_row(selection)).min();
        run.tail = first.map_or(reads.start, |row| row.min(reads.start));
    }
    run
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
    Features(usize, bool),
}

impl Key {
    fn new(patch: &Patch, selection: &Selection) -> Key {
        let value = |value: &Value| match value {
            Value::Tensor(tensor) => vec![ValueKey::Tensor(format!("{:?}", tensor.id()))],
            Value::Trace(_) | Value::Mean(_) => {
                value.donors().iter().map(|donor| ValueKey::Trace(Arc::as_ptr(donor) as usize)).collect()
            }
        };
        let (values, amount) = match &patch.edit {
            Edit::Set(v) | Edit::Add(v) => (value(v), 0.0),
            Edit::Lerp(v, a) => (value(v), *a),
            Edit::Scale(a) => (vec![], *a),
            Edit::Zero => (vec![], 0.0),
            Edit::ProjectOut(r) => (vec![ValueKey::Tensor(format!("{:?}", r.id()))], 0.0),
            Edit::Each(each) => (vec![ValueKey::Func(Arc::as_ptr(&each.map) as *const () as usize)], 0.0),
            Edit::Func(f) => (vec![ValueKey::Func(Arc::as_ptr(f) as *const () as usize)], 0.0),
        };
        let cols = match &selection.cols {
            Cols::All => vec![],
            Cols::Heads { heads, .. } => heads.clone(),
            Cols::Neuron(neuron) => vec![*neuron],
            Cols::Features(features) => features.listed().unwrap_or_default().to_vec(),
        };
        // In the donor, a symbolic position may be another one, and its own patches may stand between two sites
        // that are one here.
        let mut values = values;
        if let Cols::Features(features) = &selection.cols {
            values.push(ValueKey::Features(Arc::as_ptr(&features.sae) as usize, features.keep_error));
        }
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
