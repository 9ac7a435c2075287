//! The sweep: one walk down the layers for all cells. A cell enters at the layer of its patch with the base run's
//! rows from the patched position on; earlier positions are read from the base run's keys and values.

use super::again;
use super::apply::{Change, Placed, larger};
use super::control::Control;
use super::error::Result;
use super::memory;
use super::metric::{Metric, Resolved};
use super::patch::{Patch, Write};
use super::plan::{Fate, Plan, Work, acts_on_tail, plan};
use super::recorder::Recorder;
use super::tokens::Tokens;
use crate::model::{At, Batch, Config, Hook, Kv, Model, Point, Prepared, Segment};
use candle_core::{DType, Device, Tensor};
use std::cell::Cell as Counter;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a sweep found.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The metric of every cell.
    pub values: Vec<f64>,
    /// The metric of the unpatched prompt.
    pub base: f64,
    pub fates: Vec<Fate>,
    /// `max |Δ|` over each cell's patches; 0 where the value was known without computing.
    pub max_change: Vec<f32>,
}

impl Sweep {
    /// Of each cell: did its patches put there what the run has anyway? Not known, and so no, of cells whose patches
    /// the metric cannot see.
    pub fn unchanged(&self) -> impl Iterator<Item = bool> {
        let cells = self.fates.iter().zip(&self.max_change);
        cells.map(|(fate, change)| *change == 0.0 && *fate != Fate::Unreachable)
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
    let base = Base::run(model, prompt, control)?;
    let base_value = base.metric(model, &metric)?;
    let Plan { work, fates } = &plan;
    let total: usize = plan.rows(prompt.len(), model.config().n_layers).iter().sum();
    let progress = Progress { control, cells: work.len(), rows: Counter::new(0), total };
    let walk = Walk { model, prompt, metric: &metric, base: &base, progress };
    let mut values = vec![0.0; work.len()];
    let mut changes = vec![0f32; work.len()];
    for chunk in chunks {
        let cell = |&index: &usize| {
            Ok(Cell { index, work: &work[index], writes: work[index].writes(cells, prompt.len())? })
        };
        let mut chunk = chunk.cells.iter().map(cell).collect::<Result<Vec<_>>>()?;
        // Equal shapes become neighbours and one batched product.
        chunk.sort_by_key(|cell| (cell.work.first, cell.work.entry, cell.index));
        for (cell, (value, change)) in chunk.iter().zip(walk.run(&chunk)?) {
            values[cell.index] = value;
            changes[cell.index] = change;
        }
    }
    let by_fate = |fate: &Fate| match *fate {
        Fate::Computed(work) | Fate::Merged(work) => (values[work], changes[work]),
        Fate::EqualsBase | Fate::Unreachable => (base_value, 0.0),
    };
    let (values, max_change) = fates.iter().map(by_fate).unzip();
    Ok(Sweep { values, base: base_value, fates: plan.fates, max_change })
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
    memory::chunks(model, prompt.len(), columns, &plan.work, budget)
}

/// The unpatched run: every layer's residual stream, keys and values.
struct Base {
    /// `resid_pre` of every layer and, last, the final `resid_post`; `[pos, d_model]` each.
    resid: Vec<Tensor>,
    kv: Vec<Kv>,
}

impl Base {
    fn run(model: &Model, prompt: &Tokens, control: &Control) -> Result<Base> {
        let transformer = &model.transformer;
        let prepared = transformer.prepare(Batch::prompts(&[prompt.len()]))?;
        let mut hook = Recorder::new(control, BTreeSet::new());
        let mut resid = vec![transformer.embed(prompt.ids(), &prepared, &mut hook)?];
        let mut kv = Vec::new();
        for layer in 0..model.config().n_layers {
            let (x, own) = transformer.layer(layer, resid[layer].clone(), &prepared, &[], &mut hook)?;
            resid.push(x);
            kv.push(own);
        }
        Ok(Base { resid, kv })
    }

    fn metric(&self, model: &Model, metric: &Resolved) -> Result<f64> {
        let rows = metric.rows();
        let x = self.resid[self.kv.len()].narrow(0, rows.start, rows.len())?;
        let mut hook = crate::model::NoHook;
        let normed = model.transformer.final_norm(&x, &mut hook)?;
        let logits = match metric.columns() {
            Some(ids) => model.transformer.unembed_columns(&normed, &ids)?,
            None => model.transformer.unembed(&normed, &mut hook)?,
        };
        metric.eval(&logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)
    }
}

/// A cell on its way down.
struct Cell<'a> {
    /// Among the plan's work.
    index: usize,
    work: &'a Work,
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

struct Walk<'a> {
    model: &'a Arc<Model>,
    prompt: &'a Tokens,
    metric: &'a Resolved,
    base: &'a Base,
    progress: Progress<'a>,
}

impl Walk<'_> {
    /// Computes the cells: value and `max |Δ|` of each.
    fn run(&self, cells: &[Cell]) -> Result<Vec<(f64, f32)>> {
        let transformer = &self.model.transformer;
        let last = self.model.config().n_layers - 1;
        let mut changes = vec![Vec::new(); cells.len()];
        // Indices into `cells` of those that have entered.
        let mut active: Vec<usize> = Vec::new();
        let mut x: Option<Tensor> = None;
        let mut shape: Option<Prepared> = None;
        for layer in 0..=last {
            let now: Vec<usize> = (0..cells.len()).filter(|&i| cells[i].work.entry <= layer).collect();
            if now.is_empty() {
                continue;
            }
            let prepared = match shape {
                Some(prepared) if active.len() == now.len() => prepared,
                _ => transformer.prepare(self.batch(cells, &now))?,
            };
            let mut hook = Recorder::new(self.progress.control, BTreeSet::new());
            self.place(&mut hook, cells, &now, &prepared.batch, |at| match at.point.in_layer() {
                true => at.layer == layer,
                false => layer == 0 && matches!(at.point, Point::Embed | Point::PosEmbed),
            });
            let entered = if layer == 0 {
                let ids: Vec<u32> =
                    now.iter().flat_map(|&i| &self.prompt.ids()[cells[i].work.first..]).copied().collect();
                transformer.embed(&ids, &prepared, &mut hook)?
            } else {
                self.enter(x, &self.base.resid[layer], cells, &active, &now)?
            };
            let past = std::slice::from_ref(&self.base.kv[layer]);
            x = Some(if layer < last {
                transformer.layer(layer, entered, &prepared, past, &mut hook)?.0
            } else {
                // From here on only the tails are wanted.
                let rows = tail_rows(cells, &now, self.prompt.len(), entered.device())?;
                let tails = self.tails(cells, &now)?;
                let mut writes = self.tail_hook(cells, &now, &tails, |at| at.point.in_layer());
                let hooks: [&mut dyn Hook; 2] = [&mut hook, &mut writes];
                let x = transformer.layer_at_rows(layer, entered, &prepared, past, &rows, hooks)?;
                note(&mut changes, writes.changes);
                x
            });
            note(&mut changes, hook.changes);
            self.progress.passed(prepared.batch.rows());
            shape = Some(prepared);
            active = now;
        }
        // Those that enter only after the last layer.
        let late: Vec<usize> = (0..cells.len()).filter(|&i| cells[i].work.entry > last).collect();
        let values = self.read_out(x.filter(|_| !active.is_empty()), cells, &active, &late, &mut changes)?;
        let value = |(value, changes): (f64, &Vec<Tensor>)| Ok((value, largest(changes)?));
        values.into_iter().zip(&changes).map(value).collect()
    }

    /// Registers the writes that belong to a step before tails.
    fn place<'c>(
        &self,
        hook: &mut Recorder<'c>,
        cells: &'c [Cell],
        now: &[usize],
        batch: &Batch,
        here: impl Fn(At) -> bool,
    ) {
        let config = self.model.config();
        for (segment, &i) in now.iter().enumerate() {
            let start = batch.rows_of(segment).start;
            for write in &cells[i].writes {
                let at = write.selection.at;
                if here(at) && !acts_on_tail(at, config) {
                    hook.write(Placed { write, entry: i, segment, start, first: cells[i].work.first });
                }
            }
        }
    }

    /// What each of these cells still changes on its tail.
    fn tails(&self, cells: &[Cell], of: &[usize]) -> Result<Vec<Vec<Write>>> {
        let (config, len) = (self.model.config(), self.prompt.len());
        of.iter().map(|&i| cells[i].tail(len, config)).collect()
    }

    /// A hook for the packed tails of these cells.
    fn tail_hook<'t>(
        &self,
        cells: &[Cell],
        of: &[usize],
        tails: &'t [Vec<Write>],
        here: impl Fn(At) -> bool,
    ) -> Recorder<'t>
    where
        Self: 't,
    {
        let mut hook = Recorder::new(self.progress.control, BTreeSet::new());
        let batch = tail_batch(cells, of, self.prompt.len());
        for (segment, (tail, &entry)) in tails.iter().zip(of).enumerate() {
            let start = batch.rows_of(segment).start;
            for write in tail.iter().filter(|write| here(write.selection.at)) {
                hook.write(Placed { write, entry, segment, start, first: cells[entry].work.tail });
            }
        }
        hook
    }

    fn batch(&self, cells: &[Cell], now: &[usize]) -> Batch {
        let len = self.prompt.len();
        let segment = |&i: &usize| {
            let first = cells[i].work.first;
            Segment { len: len - first, past: 0, past_len: first }
        };
        Batch::new(now.iter().map(segment).collect())
    }

    /// Rows of the cells `now`: those already active from `x`, those that enter from the base run.
    fn enter(
        &self,
        x: Option<Tensor>,
        base: &Tensor,
        cells: &[Cell],
        active: &[usize],
        now: &[usize],
    ) -> Result<Tensor> {
        let len = self.prompt.len();
        let (all, base_row) = match x {
            Some(x) if active.len() == now.len() => return Ok(x),
            Some(x) => (Tensor::cat(&[&x, base], 0)?, x.dim(0)?),
            None => (base.clone(), 0),
        };
        let starts = starts(cells, active, len);
        let mut source: Vec<u32> = Vec::new();
        for &i in now {
            let first = cells[i].work.first;
            let from = starts.get(&i).copied().unwrap_or(base_row + first);
            source.extend((from..from + len - first).map(|row| row as u32));
        }
        Ok(all.index_select(&Tensor::new(source, base.device())?, 0)?)
    }

    /// After the last layer: final norm, the logits the metric needs, and the metric, in the order of `cells`.
    /// `x` holds the tails of `active`; those of `late` come from the base run.
    fn read_out(
        &self,
        x: Option<Tensor>,
        cells: &[Cell],
        active: &[usize],
        late: &[usize],
        changes: &mut [Vec<Tensor>],
    ) -> Result<Vec<f64>> {
        self.progress.control.check()?;
        let transformer = &self.model.transformer;
        let n_layers = self.model.config().n_layers;
        let order: Vec<usize> = active.iter().chain(late).copied().collect();
        let tails = self.tails(cells, &order)?;
        let last = At { point: Point::ResidPost, layer: n_layers - 1 };
        let mut parts: Vec<Tensor> = x.into_iter().collect();
        if !late.is_empty() {
            let base = &self.base.resid[n_layers];
            let rows = late.iter().flat_map(|&i| cells[i].work.tail as u32..self.prompt.len() as u32);
            let rows = base.index_select(&Tensor::from_iter(rows, base.device())?, 0)?;
            let mut hook = self.tail_hook(cells, late, &tails[active.len()..], |at| at == last);
            parts.push(if hook.wants(last) { hook.rows(last, rows)? } else { rows });
            note(changes, hook.changes);
        }
        let rows = Tensor::cat(&parts, 0)?;
        let mut hook = self.tail_hook(cells, &order, &tails, |at| !at.point.in_layer());
        let normed = transformer.final_norm(&rows, &mut hook)?;
        let logits_patched = hook.wants(At { point: Point::Logits, layer: 0 });
        let batch = tail_batch(cells, &order, self.prompt.len());
        // Of each cell the rows that the metric reads, counted from the end of its tail.
        let [from, to] =
            [self.metric.rows().start, self.metric.rows().end].map(|row| self.prompt.len() - row);
        let ends = (0..order.len()).map(|segment| batch.rows_of(segment).end);
        let read = ends.flat_map(|end| (end - from) as u32..(end - to) as u32);
        let read = Tensor::from_iter(read, rows.device())?;
        // Patches on logits may reach the metric's columns from any other.
        let columns = self.metric.columns();
        let logits = match &columns {
            _ if logits_patched => transformer.unembed(&normed, &mut hook)?.index_select(&read, 0)?,
            Some(ids) => transformer.unembed_columns(&normed.index_select(&read, 0)?, ids)?,
            None => transformer.unembed(&normed.index_select(&read, 0)?, &mut hook)?,
        };
        let logits = match &columns {
            Some(ids) if logits_patched => {
                logits.index_select(&Tensor::new(ids.as_slice(), logits.device())?, 1)?
            }
            _ => logits,
        };
        note(changes, hook.changes);
        let logits = logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let mut values = vec![0.0; cells.len()];
        for (&i, rows) in order.iter().zip(logits.chunks(logits.len() / order.len())) {
            values[i] = self.metric.eval(rows)?;
        }
        Ok(values)
    }
}

/// The packed rows, among those of the cells `of`, that are tails.
fn tail_rows(cells: &[Cell], of: &[usize], len: usize, device: &Device) -> Result<Tensor> {
    let starts = starts(cells, of, len);
    let rows = of.iter().flat_map(|i| {
        let Work { first, tail, .. } = *cells[*i].work;
        let start = starts.get(i).copied().unwrap_or_default();
        (start + tail - first) as u32..(start + len - first) as u32
    });
    Ok(Tensor::from_iter(rows, device)?)
}

/// The tails of these cells, one segment each.
fn tail_batch(cells: &[Cell], of: &[usize], len: usize) -> Batch {
    let segment = |&i: &usize| Segment { len: len - cells[i].work.tail, past: 0, past_len: 0 };
    Batch::new(of.iter().map(segment).collect())
}

fn note(changes: &mut [Vec<Tensor>], of_cells: Vec<Change>) {
    for (i, change) in of_cells {
        changes[i].push(change);
    }
}

impl Cell<'_> {
    /// What it still changes where rows meet no more.
    fn tail(&self, len: usize, config: &Config) -> Result<Vec<Write>> {
        let after = self.writes.iter().filter(|write| acts_on_tail(write.selection.at, config));
        let alone = |write: &Write| match self.work.tail == len - 1 {
            true => write.only_row(len - 1),
            false => Ok(None),
        };
        after.map(|write| Ok(alone(write)?.unwrap_or_else(|| write.clone()))).collect()
    }
}

/// The packed row at which each active cell starts.
fn starts(cells: &[Cell], active: &[usize], len: usize) -> HashMap<usize, usize> {
    let rows = crate::model::batch::starts(active.iter().map(|&i| cells[i].work.rows(len)));
    active.iter().copied().zip(rows).collect()
}

fn largest(changes: &[Tensor]) -> Result<f32> {
    let mut max = 0f32;
    for change in changes {
        max = larger(max, change.to_dtype(DType::F32)?.to_scalar::<f32>()?);
    }
    Ok(max)
}
