//! The sweep: one walk down the layers for all cells. A cell enters at the layer of its patch with the base run's
//! rows from the patched position on; earlier positions are read from the base run's keys and values.

use super::plan::{CellRun, CellStatus, Plan, plan};
use crate::cache::Key;
use crate::model::{At, Kv, Model, ModelError, Point};
use crate::run::asking::metric::{Metric, Resolved};
use crate::run::asking::patch::{Edit, Patch, Write};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::divide::{self, Tally, divided};
use crate::run::error::Result;
use crate::run::keeping::{self, Keep, Named, key};
use crate::run::memory;
use crate::run::tracing::again;
use crate::run::walking::apply::larger;
use crate::run::walking::ledger::changed_nothing;
use crate::run::walking::logits::numbers;
use crate::run::walking::near::Near;
use crate::run::walking::walk::{Past, Walk, Walker};
use candle_core::{Device, Tensor};
use std::cell::{Cell as Flag, OnceCell};
use std::collections::BTreeSet;
use std::hash::Hash;
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
    let asks = metric.is_closure() || divide::ask(cells.iter().flatten());
    let metric = metric.resolve(model, prompt)?;
    let plan = plan(model, prompt, cells, &metric.rows(), options.shortcuts)?;
    let chunks = chunks(model, prompt, &plan, &metric, control);
    let donors = plan.donors(cells);
    again::record(&donors, control)?;
    let base = |near| Base { near, prompt, metric: &metric, control, run: OnceCell::new() };
    let bases: Vec<Base> = divide::near(model, asks, &donors)?.into_iter().map(base).collect();
    let first = bases.first().ok_or_else(|| ModelError::Tensor("weights on no device".into()))?;
    let unpatched = metric.eval(&first.read()?.logits)?;
    let Plan { runs, statuses } = &plan;
    // In proportion to the rows that have passed a layer, so that the time left is right.
    let rows = plan.rows(prompt.len(), model.config().n_layers).iter().sum();
    let tally = Tally::new(control, rows, runs.len(), "cells");
    let work = |base: &Base, chunk: usize| {
        let cell = |&index: &usize| {
            let writes = runs[index].writes(cells, prompt.len(), &base.near)?;
            Ok(Cell { index, run: &runs[index], writes })
        };
        let mut chunk = chunks[chunk].cells.iter().map(cell).collect::<Result<Vec<_>>>()?;
        // Equal shapes become neighbours and one batched product.
        chunk.sort_by_key(|cell| (cell.run.first, cell.run.entry, cell.index));
        let Read { logits, changes } = walk(&chunk, base, &tally)?;
        let each = chunk.iter().zip(logits.chunks(logits.len() / chunk.len()).zip(changes));
        let values = each.map(|(cell, (logits, change))| Ok((cell.index, (metric.eval(logits)?, change))));
        values.collect::<Result<Vec<_>>>()
    };
    let mut found = vec![(0.0, 0f32); runs.len()];
    let take = |_, values: Vec<(usize, (f64, f32))>| {
        values.into_iter().for_each(|(index, value)| found[index] = value);
        Ok(())
    };
    divided(bases, chunks.len(), Ok, work, take)?;
    let by_status = |status: &CellStatus| match *status {
        CellStatus::Computed(run) | CellStatus::Merged(run) => found[run],
        CellStatus::EqualsBase | CellStatus::Unreachable => (unpatched, 0.0),
    };
    let (values, max_change) = statuses.iter().map(by_status).unzip();
    Ok(Sweep { values, base: unpatched, statuses: plan.statuses, max_change })
}

/// How far a cell is from itself where it is computed alone: what rounding makes of the cells beside it. The cell is the
/// one that its patches changed most; `None` where it has no other beside it, or where a closure of the script would be called
/// once more than the script knows of.
///
/// # Errors
/// Those of [`sweep`].
pub fn noise(
    model: &Arc<Model>,
    prompt: &Tokens,
    cells: &[Vec<Patch>],
    metric: &Metric,
    found: &Sweep,
    control: &Control,
) -> Result<Option<f64>> {
    let computed = |&cell: &usize| matches!(found.statuses[cell], CellStatus::Computed(_));
    let computed: Vec<usize> = (0..cells.len()).filter(computed).collect();
    let most = computed.iter().copied().max_by(|&a, &b| found.max_change[a].total_cmp(&found.max_change[b]));
    let Some(cell) = most.filter(|_| computed.len() > 1) else { return Ok(None) };
    if metric.is_closure() || cells[cell].iter().any(|patch| matches!(patch.edit, Edit::Func(_))) {
        return Ok(None);
    }
    let control = Control { progress: None, ..control.clone() };
    let alone = sweep(model, prompt, &cells[cell..=cell], metric, SweepOptions::default(), &control)?;
    Ok(Some((alone.values[0] - found.values[cell]).abs()))
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
    memory::chunks(model, prompt.len(), columns, &plan.runs, memory::budget(control, model))
}

/// What is read of runs: of each the logits that the metric wants, and `max |Δ|` of its patches.
struct Read {
    logits: Vec<f32>,
    changes: Vec<f32>,
}

impl Keep for Read {
    fn tensors(&self) -> Result<Named> {
        let each = [("logits", &self.logits), ("changes", &self.changes)];
        let tensor = |(name, numbers): (&str, &Vec<f32>)| {
            Ok((name.to_string(), Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?))
        };
        each.into_iter().map(tensor).collect()
    }

    fn of(mut tensors: Named) -> Option<Read> {
        let mut numbers = |name| tensors.remove(name)?.to_vec1::<f32>().ok();
        let read = Read { logits: numbers("logits")?, changes: numbers("changes")? };
        (read.logits.len().checked_rem(read.changes.len()) == Some(0)).then_some(read)
    }
}

/// The unpatched run, on each card its own.
struct Base<'a> {
    near: Near<'a>,
    prompt: &'a Tokens,
    metric: &'a Resolved,
    control: &'a Control,
    /// Once somebody needs it: who finds all numbers in the cache does not.
    run: OnceCell<BaseRun>,
}

struct BaseRun {
    /// `resid_pre` of every layer and, last, the final `resid_post`; `[pos, d_model]` each.
    resid: Vec<Tensor>,
    /// By layer.
    kv: Vec<Kv>,
    logits: Vec<f32>,
}

impl Base<'_> {
    /// What the metric reads of it.
    fn read(&self) -> Result<Read> {
        let key = self.key("base");
        keeping::once(self.control, key, || {
            // Its change has the one entry that every run has.
            Ok(Read { logits: self.run()?.logits.clone(), changes: vec![0.0] })
        })
    }

    fn run(&self) -> Result<&BaseRun> {
        if self.run.get().is_none() {
            _ = self.run.set(self.computed()?);
        }
        self.run.get().ok_or_else(|| ModelError::Tensor("a sweep without a base run".into()).into())
    }

    fn computed(&self) -> Result<BaseRun> {
        let Base { near: Near { transformer, .. }, prompt, metric, control, .. } = *self;
        let depth = transformer.config.n_layers;
        let walker = Walker { ids: prompt.ids(), first: 0, past: 0, entry: 0, tail: 0, writes: &[] };
        let keep = (0..depth).map(|layer| At { point: Point::ResidPre, layer }).collect();
        let past = Past::default();
        let walk = Walk { transformer, control, past, from: None, depth, keep, keep_kv: true };
        let mut end = walk.run(&[walker], |_| {})?;
        let logits = end
            .logits(&metric.rows().map(|row| row as u32).collect::<Vec<_>>(), metric.columns().as_deref())?;
        let records = end.records()?.swap_remove(0);
        let resid = records.into_values().chain([end.x]).collect();
        Ok(BaseRun { resid, kv: end.kv, logits: numbers(&logits)? })
    }

    /// Of the prompt and of what the metric reads.
    fn key(&self, kind: &'static str) -> Option<Key> {
        let mut key = key::of(self.control, self.near.model, kind)?;
        (self.prompt.ids(), self.metric.rows(), self.metric.columns()).hash(&mut key);
        Some(key)
    }
}

/// A cell on its way down.
struct Cell<'a> {
    /// Among the plan's work.
    index: usize,
    run: &'a CellRun,
    writes: Vec<Write>,
}

/// What the metric reads of cells that walk together, in their order.
fn walk(cells: &[Cell], base: &Base, tally: &Tally) -> Result<Read> {
    let computes = Flag::new(false);
    let passed = |rows| {
        computes.set(true);
        tally.add(rows);
    };
    let read = keeping::once(base.control, key_of(cells, base), || computed(cells, base, passed))?;
    if !computes.get() {
        let (n_layers, len) = (base.near.transformer.config.n_layers, base.prompt.len());
        let rows = cells.iter().map(|cell| cell.run.rows(len) * (n_layers - cell.run.entry)).sum();
        // None where all cells enter after the last layer.
        if rows > 0 {
            tally.add(rows);
        }
    }
    Ok(read)
}

fn key_of(cells: &[Cell], base: &Base) -> Option<Key> {
    let mut key = base.key("cells")?;
    cells.len().hash(&mut key);
    for Cell { run, writes, .. } in cells {
        (run.first, run.entry, run.tail).hash(&mut key);
        key::writes(&mut key, writes)?;
    }
    Some(key)
}

/// The same, and how many rows have passed a layer.
fn computed(cells: &[Cell], base: &Base, passed: impl Fn(usize)) -> Result<Read> {
    let Base { near: Near { transformer, .. }, prompt, metric, control, .. } = *base;
    let BaseRun { resid, kv, .. } = base.run()?;
    let mut walkers = Vec::with_capacity(cells.len());
    for Cell { run, writes, .. } in cells {
        let CellRun { first, entry, tail, .. } = **run;
        walkers.push(Walker { ids: &prompt.ids()[first..], first, past: 0, entry, tail, writes });
    }
    let walk = Walk {
        transformer,
        control,
        past: Past { resid, kv },
        from: None,
        depth: transformer.config.n_layers,
        keep: BTreeSet::new(),
        keep_kv: false,
    };
    let mut end = walk.run(&walkers, passed)?;
    control.check()?;
    // Of each cell the rows that the metric reads, counted from the end of its tail.
    let [from, to] = [metric.rows().start, metric.rows().end].map(|row| prompt.len() - row);
    let ends = (0..cells.len()).map(|segment| end.batch.rows_of(segment).end);
    let rows: Vec<u32> = ends.flat_map(|end| (end - from) as u32..(end - to) as u32).collect();
    let logits = numbers(&end.logits(&rows, metric.columns().as_deref())?)?;
    let width = logits.len() / cells.len();
    let mut read = Read { logits: vec![0.0; logits.len()], changes: vec![0.0; cells.len()] };
    for (&cell, logits) in end.order.iter().zip(logits.chunks(width)) {
        read.logits[cell * width..][..width].copy_from_slice(logits);
    }
    for ((cell, _), change) in end.changes()? {
        read.changes[cell] = larger(read.changes[cell], change);
    }
    Ok(read)
}
