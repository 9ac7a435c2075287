//! The sweep: one walk down the layers for all cells. A cell enters at the layer of its patch with the base run's
//! rows from the patched position on; earlier positions are read from the base run's keys and values.

use super::plan::{CellRun, CellStatus, Plan, plan};
use crate::model::{At, Kv, Model, Point};
use crate::run::asking::metric::{Metric, Resolved};
use crate::run::asking::patch::{Patch, Write};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::memory;
use crate::run::tracing::again;
use crate::run::walking::apply::larger;
use crate::run::walking::ledger::changed_nothing;
use crate::run::walking::logits::numbers;
use crate::run::walking::walk::{Past, Walk, Walker};
use candle_core::Tensor;
use std::cell::Cell as Counter;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a sweep found.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The metric of every cell.
    pub values: Vec<f64>,
    /// The metric of the unpatched prompt.
    pub base: f64,
    pub statuses: Vec<CellStatus>,
    /// `max |Δ|` over each cell's patches; 0 where the value was known without computing.
    pub max_change: Vec<f32>,
}

impl Sweep {
    /// Of each cell: did its patches put there what the run has anyway? Not known, and so no, of cells whose patches
    /// the metric cannot see.
    pub fn unchanged(&self) -> impl Iterator<Item = bool> {
        let cells = self.statuses.iter().zip(&self.max_change);
        cells.map(|(status, change)| changed_nothing(*change, false) && *status != CellStatus::Unreachable)
    }

    /// How many of its `cells` are unchanged though their patches must change something.
    pub fn idle(&self, cells: &[Vec<Patch>]) -> usize {
        let allowed = |patches: &[Patch]| patches.iter().all(|patch| patch.allow_noop);
        self.unchanged().zip(cells).filter(|(unchanged, patches)| *unchanged && !allowed(patches)).count()
    }
}

/// How to compute.
#[derive(Debug, Clone, Copy)]
pub struct SweepOptions {
    /// Skip what is known, merge what is equal, start at the patch. Off: one full pass a cell.
    pub shortcuts: bool,
}

impl Default for SweepOptions {
    fn default() -> Self {
        SweepOptions { shortcuts: true }
    }
}

/// The metric of `prompt` under each cell's patches.
///
/// # Errors
/// Whatever is wrong with any cell or the metric, before anything is computed.
pub fn sweep(
    model: &Arc<Model>,
    prompt: &Tokens,
    cells: &[Vec<Patch>],
    metric: &Metric,
    options: SweepOptions,
    control: &Control,
) -> Result<Sweep> {
    let metric = metric.resolve(model, prompt)?;
    let plan = plan(model, prompt, cells, &metric.rows(), options.shortcuts)?;
    let chunks = chunks(model, prompt, &plan, &metric, control);
    again::record(&plan.donors(cells), control)?;
    let base = Base::run(model, prompt, &metric, control)?;
    let Plan { runs, statuses } = &plan;
    let total: usize = plan.rows(prompt.len(), model.config().n_layers).iter().sum();
    let progress = Progress { control, cells: runs.len(), rows: Counter::new(0), total };
    let mut found = vec![(0.0, 0f32); runs.len()];
    for chunk in chunks {
        let cell = |&index: &usize| {
            Ok(Cell { index, run: &runs[index], writes: runs[index].writes(cells, prompt.len())? })
        };
        let mut chunk = chunk.cells.iter().map(cell).collect::<Result<Vec<_>>>()?;
        // Equal shapes become neighbours and one batched product.
        chunk.sort_by_key(|cell| (cell.run.first, cell.run.entry, cell.index));
        for (cell, value) in chunk.iter().zip(run(model, prompt, &chunk, &base, &metric, &progress)?) {
            found[cell.index] = value;
        }
    }
    let by_status = |status: &CellStatus| match *status {
        CellStatus::Computed(run) | CellStatus::Merged(run) => found[run],
        CellStatus::EqualsBase | CellStatus::Unreachable => (base.metric, 0.0),
    };
    let (values, max_change) = statuses.iter().map(by_status).unzip();
    Ok(Sweep { values, base: base.metric, statuses: plan.statuses, max_change })
}

/// The plan's cells, split to fit the memory budget.
pub fn chunks(
    model: &Model,
    prompt: &Tokens,
    plan: &Plan,
    metric: &Resolved,
    control: &Control,
) -> Vec<memory::Chunk> {
    let columns = metric.logits(model.config().d_vocab);
    let budget = memory::budget(control, &model.transformer.device);
    memory::chunks(model, prompt.len(), columns, &plan.runs, budget)
}

/// The unpatched run.
struct Base {
    /// `resid_pre` of every layer and, last, the final `resid_post`; `[pos, d_model]` each.
    resid: Vec<Tensor>,
    /// By layer.
    kv: Vec<Kv>,
    metric: f64,
}

impl Base {
    fn run(model: &Model, prompt: &Tokens, metric: &Resolved, control: &Control) -> Result<Base> {
        let depth = model.config().n_layers;
        let walker = Walker { ids: prompt.ids(), first: 0, past: 0, entry: 0, tail: 0, writes: &[] };
        let keep = (0..depth).map(|layer| At { point: Point::ResidPre, layer }).collect();
        let walk = Walk { model, control, past: Past::default(), from: None, depth, keep, keep_kv: true };
        let mut end = walk.run(&[walker], |_| {})?;
        let logits = end
            .logits(&metric.rows().map(|row| row as u32).collect::<Vec<_>>(), metric.columns().as_deref())?;
        let records = end.records()?.swap_remove(0);
        let resid = records.into_values().chain([end.x]).collect();
        Ok(Base { resid, kv: end.kv, metric: metric.eval(&numbers(&logits)?)? })
    }
}

/// A cell on its way down.
struct Cell<'a> {
    /// Among the plan's work.
    index: usize,
    run: &'a CellRun,
    writes: Vec<Write>,
}

/// Reports in cells, in proportion to the rows that have passed a layer, so that the time left is right.
struct Progress<'a> {
    control: &'a Control,
    cells: usize,
    rows: Counter<usize>,
    total: usize,
}

impl Progress<'_> {
    fn passed(&self, rows: usize) {
        let rows = self.rows.get() + rows;
        self.rows.set(rows);
        self.control.report(self.cells * rows / self.total, self.cells, "cells");
    }
}

/// Computes cells: value and `max |Δ|` of each, in their order.
fn run(
    model: &Model,
    prompt: &Tokens,
    cells: &[Cell],
    base: &Base,
    metric: &Resolved,
    progress: &Progress,
) -> Result<Vec<(f64, f32)>> {
    let mut walkers = Vec::with_capacity(cells.len());
    for Cell { run, writes, .. } in cells {
        let CellRun { first, entry, tail, .. } = **run;
        walkers.push(Walker { ids: &prompt.ids()[first..], first, past: 0, entry, tail, writes });
    }
    let walk = Walk {
        model,
        control: progress.control,
        past: Past { resid: &base.resid, kv: &base.kv },
        from: None,
        depth: model.config().n_layers,
        keep: BTreeSet::new(),
        keep_kv: false,
    };
    let mut end = walk.run(&walkers, |rows| progress.passed(rows))?;
    progress.control.check()?;
    // Of each cell the rows that the metric reads, counted from the end of its tail.
    let [from, to] = [metric.rows().start, metric.rows().end].map(|row| prompt.len() - row);
    let ends = (0..cells.len()).map(|segment| end.batch.rows_of(segment).end);
    let read: Vec<u32> = ends.flat_map(|end| (end - from) as u32..(end - to) as u32).collect();
    let logits = numbers(&end.logits(&read, metric.columns().as_deref())?)?;
    let mut found = vec![(0.0, 0f32); cells.len()];
    for (&cell, logits) in end.order.iter().zip(logits.chunks(logits.len() / cells.len())) {
        found[cell].0 = metric.eval(logits)?;
    }
    for ((cell, _), change) in end.changes()? {
        found[cell].1 = larger(found[cell].1, change);
    }
    Ok(found)
}
