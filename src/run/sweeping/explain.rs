//! What a sweep would take, before it runs: cells, rows, arithmetic, memory and time.

use super::cost::{Speed, layer_weights, run_flops, unembed_flops, write_flops};
use super::plan::{CellStatus, Plan, plan};
use super::sweep;
use crate::model::Model;
use crate::run::asking::metric::Metric;
use crate::run::asking::patch::Patch;
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::memory;
use crate::run::tracing::again;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;

/// The plan of a sweep in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// How the cells get their values.
    pub counts: CellCounts,
    /// Rows that go through each layer, all cells together.
    pub rows: Vec<usize>,
    /// Rows that pass a layer, of base run, donors and cells together.
    pub passing: usize,
    /// Cells that leave the base run at each layer; the last entry: only after the last layer.
    pub entering: Vec<usize>,
    /// Donors that have not recorded what the cells read, and will run again.
    pub donors: usize,
    /// Walks down the layers.
    pub chunks: usize,
    /// Floating-point operations of base run, donors and cells: products and attention, two a multiplication.
    pub flops: f64,
    /// The most bytes held at once beyond weights and what the script holds.
    pub peak_bytes: usize,
    /// Weights that all passes bring in, however many rows these meet.
    pub weights: f64,
    /// At a nominal speed, so that it tells nothing of the machine.
    pub seconds: f64,
}

/// How many cells have each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CellCounts {
    pub computed: usize,
    /// Equal to another cell.
    pub merged: usize,
    /// The donor is the base run there.
    pub known: usize,
    /// The metric cannot see the patch.
    pub unreachable: usize,
}

impl CellCounts {
    pub fn count(statuses: &[CellStatus]) -> CellCounts {
        let mut counts = CellCounts::default();
        for status in statuses {
            *match status {
                CellStatus::Computed(_) => &mut counts.computed,
                CellStatus::Merged(_) => &mut counts.merged,
                CellStatus::EqualsBase => &mut counts.known,
                CellStatus::Unreachable => &mut counts.unreachable,
            } += 1;
        }
        counts
    }

    pub fn cells(&self) -> usize {
        self.computed + self.merged + self.known + self.unreachable
    }
}

/// Plans a sweep and says what it takes, without running it.
///
/// # Errors
/// Whatever is wrong with any cell or the metric.
pub fn explain(
    model: &Arc<Model>,
    prompt: &Tokens,
    cells: &[Vec<Patch>],
    metric: &Metric,
    control: &Control,
) -> Result<Explanation> {
    let metric = metric.resolve(model, prompt)?;
    let plan = plan(model, prompt, cells, &metric.rows(), true)?;
    let chunks = sweep::chunks(model, prompt, &plan, &metric, control);
    let config = model.config();
    let len = prompt.len();
    let columns = metric.logits(config.d_vocab);

    let mut flops = run_flops(config, len, 0) * config.n_layers as f64 + unembed_flops(config, columns);
    for run in &plan.runs {
        let layers = (config.n_layers - run.entry) as f64;
        let tails = if run.entry < config.n_layers { run.tail - run.first } else { 0 };
        // In the last layer, rows before the tail are only read.
        flops += run_flops(config, len, run.first) * layers - write_flops(config, tails);
        flops += unembed_flops(config, columns);
    }
    // Layers that are passed, by however many rows at once.
    let mut passes = config.n_layers;
    for chunk in &chunks {
        let entry = chunk.cells.iter().map(|&cell| plan.runs[cell].entry).min();
        passes += config.n_layers - entry.unwrap_or(config.n_layers);
    }
    let mut weights = (passes * layer_weights(config)) as f64;
    let rows = plan.rows(len, config.n_layers);
    let mut passing = len * config.n_layers + rows.iter().sum::<usize>();
    let mut donors = 0;
    for (trace, missing) in again::lacking(&plan.donors(cells), control) {
        let config = trace.model().config();
        let layers = again::depth(&missing, config.n_layers);
        flops += run_flops(config, trace.tokens().len(), 0) * layers as f64;
        weights += (layers * layer_weights(config)) as f64;
        passing += trace.tokens().len() * layers;
        donors += 1;
    }

    let mut entering = vec![0; config.n_layers + 1];
    for run in &plan.runs {
        entering[run.entry] += 1;
    }
    let walk = chunks.iter().map(|chunk| chunk.bytes).max().unwrap_or(0);
    let speed = Speed::nominal(&model.transformer.device);
    let Plan { statuses, .. } = &plan;
    Ok(Explanation {
        tokens: len,
        counts: CellCounts::count(statuses),
        rows,
        passing,
        entering,
        donors,
        chunks: chunks.len(),
        flops,
        peak_bytes: memory::base_run(model, len) + walk,
        weights,
        seconds: speed.seconds(flops, weights),
    })
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CellCounts { computed, merged, known, unreachable } = self.counts;
        let n_layers = self.rows.len();
        writeln!(f, "sweep of {} cells, {} tokens, {n_layers} layers", self.counts.cells(), self.tokens)?;
        writeln!(f, "  computed     {computed}")?;
        writeln!(f, "  merged       {merged} (equal to another cell)")?;
        writeln!(f, "  known        {known} (the donor is the base run there)")?;
        writeln!(f, "  unreachable  {unreachable} (the metric cannot see the patch)")?;
        let (min, max) = (self.rows.iter().min().unwrap_or(&0), self.rows.iter().max().unwrap_or(&0));
        let shown = (0..n_layers).step_by((n_layers / 6).max(1));
        let shown: Vec<String> = shown.map(|layer| format!("{layer}: {}", self.rows[layer])).collect();
        writeln!(f, "  rows         {min}..{max} a layer ({})", shown.join(", "))?;
        writeln!(f, "  layers       {}", self.layers_entered())?;
        writeln!(f, "  chunks       {}", self.chunks)?;
        writeln!(f, "  donors       {} to run", self.donors)?;
        writeln!(f, "  arithmetic   {}FLOP", scaled(self.flops, 1000.0, ["", "k", "M", "G", "T", "P"]))?;
        let bytes = scaled(self.peak_bytes as f64, 1024.0, ["", "Ki", "Mi", "Gi", "Ti", "Pi"]);
        write!(f, "  memory       {bytes}B beyond the weights")
    }
}

impl Explanation {
    /// The time that it takes at the speed of matrix products here. No script may learn it: that would be a clock.
    ///
    /// # Errors
    /// A device that fails.
    pub fn measured_seconds(&self, model: &Model) -> Result<f64> {
        let speed = Speed::measured(&model.transformer)?;
        Ok(speed.seconds(self.flops, self.weights) / model.copies().count() as f64)
    }

    /// "entered at 12 of 30: 1..12", the layers as ranges.
    fn layers_entered(&self) -> String {
        let n_layers = self.rows.len();
        let entered: Vec<usize> = (0..n_layers).filter(|&layer| self.entering[layer] > 0).collect();
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for &layer in &entered {
            match ranges.last_mut() {
                Some((_, end)) if *end + 1 == layer => *end = layer,
                _ => ranges.push((layer, layer)),
            }
        }
        let range = |&(from, to): &(usize, usize)| match from == to {
            true => from.to_string(),
            false => format!("{from} to {to}"),
        };
        let mut text: Vec<String> = ranges.iter().map(range).collect();
        if let Some(after @ 1..) = self.entering.last() {
            text.push(format!("{after} cells after the last"));
        }
        format!("entered at {} of {n_layers}: {}", entered.len(), text.join(", "))
    }
}

/// `x` with three digits and a prefix for its size.
fn scaled(mut x: f64, base: f64, prefixes: [&str; 6]) -> String {
    let mut step = 0;
    while x >= base && step + 1 < prefixes.len() {
        x /= base;
        step += 1;
    }
    let decimals = if step == 0 || x >= 100.0 {
        0
    } else if x >= 10.0 {
        1
    } else {
        2
    };
    format!("{x:.decimals$} {}", prefixes[step])
}
