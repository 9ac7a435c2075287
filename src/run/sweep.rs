//! The sweep: one walk down the layers for all cells. A cell enters at the layer of its patch with the base run's
//! rows from the patched position on; earlier positions are read from the base run's keys and values.

use super::apply::Placed;
use super::control::Control;
use super::error::Result;
use super::memory;
use super::metric::{Metric, Resolved};
use super::patch::{Patch, Write};
use super::plan::{Fate, Plan, Work, plan};
use super::recorder::Recorder;
use super::tokens::Tokens;
use crate::model::{At, Batch, Hook, Kv, Model, ModelError, Point, Segment};
use candle_core::{DType, Tensor};
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
    if prompt.is_empty() {
        return Err(ModelError::EmptyPrompt.into());
    }
    let metric = metric.resolve(model)?;
    let Plan { work, fates } = plan(model, prompt, cells, options.shortcuts)?;
    let base = Base::run(model, prompt, control)?;
    let base_value = base.metric(model, &metric)?;
    let walk = Walk { model, prompt, metric: &metric, base: &base, control };
    let mut values = vec![0.0; work.len()];
    let mut changes = vec![0f32; work.len()];
    let mut done = 0;
    for chunk in chunks(model, prompt.len(), &work, control) {
        for (index, value, change) in walk.run(&work, &chunk, done)? {
            values[index] = value;
            changes[index] = change;
        }
        done += chunk.len();
    }
    let by_fate = |fate: &Fate| match *fate {
        Fate::Computed(work) | Fate::Merged(work) => (values[work], changes[work]),
        Fate::EqualsBase | Fate::Unreachable => (base_value, 0.0),
    };
    let (values, max_change) = fates.iter().map(by_fate).unzip();
    Ok(Sweep { values, base: base_value, fates, max_change })
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
        let x = &self.resid[self.kv.len()];
        let last = x.narrow(0, x.dim(0)? - 1, 1)?;
        let mut hook = crate::model::NoHook;
        let normed = model.transformer.final_norm(&last, &mut hook)?;
        let logits = match metric.columns() {
            Some(ids) => model.transformer.unembed_columns(&normed, &ids)?,
            None => model.transformer.unembed(&normed, &mut hook)?,
        };
        metric.eval(&logits.get(0)?.to_dtype(DType::F32)?.to_vec1::<f32>()?)
    }
}

struct Walk<'a> {
    model: &'a Arc<Model>,
    prompt: &'a Tokens,
    metric: &'a Resolved,
    base: &'a Base,
    control: &'a Control,
}

impl Walk<'_> {
    /// Computes the cells `chunk` (indices into `work`): index, value and `max |Δ|` of each.
    fn run(&self, work: &[Work], chunk: &[usize], done: usize) -> Result<Vec<(usize, f64, f32)>> {
        let n_layers = self.model.config().n_layers;
        let transformer = &self.model.transformer;
        let mut changes = vec![Vec::new(); work.len()];
        // Cells lie by first row, so that equal shapes are neighbours and one batched product.
        let mut order = chunk.to_vec();
        order.sort_by_key(|&i| (work[i].first, work[i].entry, i));
        let mut active: Vec<usize> = Vec::new();
        let mut x: Option<Tensor> = None;
        for layer in 0..n_layers {
            let now: Vec<usize> = order.iter().copied().filter(|&i| work[i].entry <= layer).collect();
            if now.is_empty() {
                continue;
            }
            let batch = self.batch(work, &now);
            let mut hook = Recorder::new(self.control, BTreeSet::new());
            place(&mut hook, work, &now, &batch, |at| match at.point.in_layer() {
                true => at.layer == layer,
                false => layer == 0 && matches!(at.point, Point::Embed | Point::PosEmbed),
            });
            let prepared = transformer.prepare(batch)?;
            let entered = if layer == 0 {
                let ids: Vec<u32> =
                    now.iter().flat_map(|&i| &self.prompt.ids()[work[i].first..]).copied().collect();
                transformer.embed(&ids, &prepared, &mut hook)?
            } else {
                self.enter(x, &self.base.resid[layer], work, &active, &now)?
            };
            let past = std::slice::from_ref(&self.base.kv[layer]);
            let (next, _) = transformer.layer(layer, entered, &prepared, past, &mut hook)?;
            for (i, change) in hook.changes {
                changes[i].push(change);
            }
            x = Some(next);
            active = now;
            self.control.report(done * n_layers + (layer + 1) * chunk.len(), work.len() * n_layers, "cells");
        }
        self.read_out(x, work, &active, &order, changes)
    }

    fn batch(&self, work: &[Work], cells: &[usize]) -> Batch {
        let len = self.prompt.len();
        let segment = |&i: &usize| Segment { len: len - work[i].first, past: 0, past_len: work[i].first };
        Batch::new(cells.iter().map(segment).collect())
    }

    /// Rows of the cells `now`: those already active from `x`, those that enter from the base run.
    fn enter(
        &self,
        x: Option<Tensor>,
        base: &Tensor,
        work: &[Work],
        active: &[usize],
        now: &[usize],
    ) -> Result<Tensor> {
        let len = self.prompt.len();
        let (all, base_row) = match x {
            Some(x) if active.len() == now.len() => return Ok(x),
            Some(x) => (Tensor::cat(&[&x, base], 0)?, x.dim(0)?),
            None => (base.clone(), 0),
        };
        let starts = starts(work, active, len);
        let mut source: Vec<u32> = Vec::new();
        for &i in now {
            let first = work[i].first;
            let from = starts.get(&i).copied().unwrap_or(base_row + first);
            source.extend((from..from + len - first).map(|row| row as u32));
        }
        Ok(all.index_select(&Tensor::new(source, base.device())?, 0)?)
    }

    /// After the last layer rows no longer meet: only the last one of each cell goes on (all that a closure
    /// wants to see at once, where one is set there). Final norm, the logits the metric needs, and the metric.
    fn read_out(
        &self,
        x: Option<Tensor>,
        work: &[Work],
        active: &[usize],
        order: &[usize],
        mut changes: Vec<Vec<Tensor>>,
    ) -> Result<Vec<(usize, f64, f32)>> {
        let len = self.prompt.len();
        let tails: Vec<Tail> =
            order.iter().map(|&i| Tail::new(&work[i], len, self.model)).collect::<Result<_>>()?;
        let batch =
            Batch::new(tails.iter().map(|t| Segment { len: len - t.first, past: 0, past_len: 0 }).collect());
        let mut hook = Recorder::new(self.control, BTreeSet::new());
        for (segment, (tail, &entry)) in tails.iter().zip(order).enumerate() {
            let start = batch.rows_of(segment).start;
            for write in &tail.writes {
                hook.write(Placed { write, entry, segment, start, first: tail.first });
            }
        }
        let transformer = &self.model.transformer;
        let mut rows = self.tail_rows(x, work, active, order, &tails)?;
        let last = At { point: Point::ResidPost, layer: self.model.config().n_layers - 1 };
        if hook.wants(last) {
            rows = hook.rows(last, rows)?;
        }
        let normed = transformer.final_norm(&rows, &mut hook)?;
        let logits_patched = hook.wants(At { point: Point::Logits, layer: 0 });
        let columns = self.metric.columns().filter(|_| !logits_patched);
        let ends = Tensor::from_iter(
            (0..order.len()).map(|segment| batch.rows_of(segment).end as u32 - 1),
            rows.device(),
        )?;
        let logits = match (&columns, logits_patched) {
            (_, true) => transformer.unembed(&normed, &mut hook)?.index_select(&ends, 0)?,
            (Some(ids), _) => transformer.unembed_columns(&normed.index_select(&ends, 0)?, ids)?,
            (None, _) => transformer.unembed(&normed.index_select(&ends, 0)?, &mut hook)?,
        };
        let wanted = self.metric.columns().filter(|_| logits_patched);
        for (i, change) in hook.changes {
            changes[i].push(change);
        }
        let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let mut results = Vec::with_capacity(order.len());
        for (&i, row) in order.iter().zip(&logits) {
            let value = match &wanted {
                Some(ids) => self.metric.eval(&ids.iter().map(|&id| row[id as usize]).collect::<Vec<_>>())?,
                None => self.metric.eval(row)?,
            };
            results.push((i, value, largest(&changes[i])?));
        }
        Ok(results)
    }

    fn tail_rows(
        &self,
        x: Option<Tensor>,
        work: &[Work],
        active: &[usize],
        order: &[usize],
        tails: &[Tail],
    ) -> Result<Tensor> {
        let len = self.prompt.len();
        let base = &self.base.resid[self.model.config().n_layers];
        let (all, base_row) = match x {
            Some(x) => (Tensor::cat(&[&x, base], 0)?, x.dim(0)?),
            None => (base.clone(), 0),
        };
        let starts = starts(work, active, len);
        let mut source: Vec<u32> = Vec::new();
        for (i, tail) in order.iter().zip(tails) {
            let (start, first) = starts.get(i).map_or((base_row, 0), |&start| (start, work[*i].first));
            source.extend((start + tail.first - first..start + len - first).map(|row| row as u32));
        }
        Ok(all.index_select(&Tensor::new(source, base.device())?, 0)?)
    }
}

/// The packed row at which each active cell starts.
fn starts(work: &[Work], active: &[usize], len: usize) -> HashMap<usize, usize> {
    let rows = crate::model::batch::starts(active.iter().map(|&i| len - work[i].first));
    active.iter().copied().zip(rows).collect()
}

/// What is left of a cell after the last layer.
struct Tail {
    first: usize,
    writes: Vec<Write>,
}

impl Tail {
    fn new(work: &Work, len: usize, model: &Model) -> Result<Tail> {
        let n_layers = model.config().n_layers;
        let mut tail = Tail { first: len - 1, writes: Vec::new() };
        for write in &work.writes {
            let at = write.selection.at;
            let here = matches!(at.point, Point::LnFinal | Point::Logits)
                || (at.point == Point::ResidPost && at.layer + 1 == n_layers && work.entry == n_layers);
            if !here {
                continue;
            }
            match write.only_row(len - 1)? {
                Some(write) => tail.writes.push(write),
                None => {
                    tail.first = write.selection.rows.iter().copied().fold(tail.first, usize::min);
                    tail.writes.push(write.clone());
                }
            }
        }
        Ok(tail)
    }
}

fn largest(changes: &[Tensor]) -> Result<f32> {
    let mut max = 0f32;
    for change in changes {
        max = max.max(change.to_dtype(DType::F32)?.to_scalar::<f32>()?);
    }
    Ok(max)
}

/// Registers the writes that belong to this step.
fn place<'a>(
    hook: &mut Recorder<'a>,
    work: &'a [Work],
    cells: &[usize],
    batch: &Batch,
    here: impl Fn(At) -> bool,
) {
    for (segment, &i) in cells.iter().enumerate() {
        let start = batch.rows_of(segment).start;
        for write in work[i].writes.iter().filter(|w| here(w.selection.at)) {
            hook.write(Placed { write, entry: i, segment, start, first: work[i].first });
        }
    }
}

/// Splits the cells so that one chunk's rows fit the memory budget. Cells that enter late come last, so that a
/// chunk's cells share their layers.
fn chunks(model: &Model, len: usize, work: &[Work], control: &Control) -> Vec<Vec<usize>> {
    let config = model.config();
    let width = 8 * config.d_model + 4 * config.d_mlp + 4 * config.n_heads * (config.d_head + len);
    let bytes_per_row = width * model.transformer.dtype.size_in_bytes();
    let budget = control.memory.unwrap_or_else(memory::default_budget);
    let max_rows = (budget / bytes_per_row).clamp(1, memory::PASS_ROWS);
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|&i| (work[i].entry, work[i].first, i));
    let mut chunks: Vec<Vec<usize>> = Vec::new();
    let mut rows = 0;
    for i in order {
        let more = len - work[i].first;
        match chunks.last_mut() {
            Some(chunk) if rows + more <= max_rows => {
                rows += more;
                chunk.push(i);
            }
            _ => {
                rows = more;
                chunks.push(vec![i]);
            }
        }
    }
    chunks
}
