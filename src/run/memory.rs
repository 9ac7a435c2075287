//! How much memory a run may take, and how much it takes: prompts and cells are split so that it stays within.

use super::control::Control;
use crate::memory;
use crate::model::family::MlpKind;
use crate::model::{At, Axes, Config, Model, Point, Stage, card, ops};
use crate::run::asking::patch::Patch;
use crate::run::asking::select::Cols;
use crate::run::asking::tokens::Tokens;
use crate::run::sweeping::plan::CellRun;
use candle_core::Device;
use std::ops::Range;

/// Rows of one pass on the CPU: enough for products at full speed, few enough that memory once touched is used again.
const PASS_ROWS: usize = 2048;
/// On a card: enough that neither launches nor reading the weights count, few enough that several cards find something to
/// share. The number of cards has no part in it, since the number of rows shows in rounding.
const CARD_ROWS: usize = 1 << 12;
/// Sequences of one generation on a card: from so many on a step takes longer with each.
const CARD_SEQUENCES: usize = 512;

/// The most rows of one pass.
fn most_rows(device: &Device) -> usize {
    if device.is_cpu() { PASS_ROWS } else { CARD_ROWS }
}

/// The most sequences that grow together.
pub fn most_sequences(model: &Model) -> usize {
    if model.transformer.device.is_cpu() { usize::MAX } else { CARD_SEQUENCES }
}

/// Bytes that one step of a run may hold on one device of a model beyond weights: what `control` says, else half of what is
/// free where least is.
pub fn budget(control: &Control, model: &Model) -> usize {
    let devices = || model.copies().flat_map(|copy| &copy.stages);
    control.memory.unwrap_or_else(|| devices().filter_map(card::free).min().unwrap_or_else(memory::free) / 2)
}

/// Bytes of main memory that a run may hold: what `control` says, else half of what is free.
pub fn main_budget(control: &Control) -> usize {
    control.memory.unwrap_or_else(|| memory::free() / 2)
}

/// Cells that walk down the layers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Indices into the plan's work.
    pub cells: Vec<usize>,
    /// The most that it holds at once, estimated.
    pub bytes: usize,
}

/// Splits the cells so that a chunk's rows fit `budget` bytes; a single cell is never split. Cells that enter
/// late come last, so that a chunk's cells share their layers. `columns` are the logits that the metric reads.
pub fn chunks(model: &Model, len: usize, columns: usize, runs: &[CellRun], budget: usize) -> Vec<Chunk> {
    let sizes = Sizes::new(model, len, columns);
    let mut order: Vec<usize> = (0..runs.len()).collect();
    order.sort_by_key(|&i| (runs[i].entry, runs[i].first, i));
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut load = Load::default();
    let most_rows = most_rows(&model.transformer.device);
    for i in order {
        let more = load.with(&runs[i], &sizes);
        let bytes = sizes.bytes(&more);
        match chunks.last_mut() {
            Some(chunk) if more.rows <= most_rows && bytes <= budget => {
                chunk.cells.push(i);
                chunk.bytes = bytes;
                load = more;
            }
            _ => {
                load = Load::default().with(&runs[i], &sizes);
                chunks.push(Chunk { cells: vec![i], bytes: sizes.bytes(&load) });
            }
        }
    }
    chunks
}

/// Splits prompts, in their order, so that the rows of one pass fit `budget` bytes beyond what it records; a single
/// prompt is never split. The pass records `ats`.
pub fn passes(
    model: &Model,
    prompts: &[(Tokens, Vec<Patch>)],
    ats: &[At],
    budget: usize,
) -> Vec<Range<usize>> {
    let of_prompt = |(tokens, patches): &(Tokens, Vec<Patch>)| {
        let brought = patches.iter().map(|patch| patch.site.at).collect::<Vec<_>>();
        (tokens.len(), [ats, &brought].concat())
    };
    split(model, prompts.iter().map(of_prompt), |len, ats| Sizes::new(model, len, 1).whole(ats), budget)
}

/// The same for prompts of these lengths without patches, of which only `at` is recorded.
pub fn packs(model: &Model, lens: impl Iterator<Item = usize>, at: At, budget: usize) -> Vec<Range<usize>> {
    split(model, lens.map(|len| (len, vec![at])), |len, ats| Sizes::new(model, len, 1).whole(ats), budget)
}

/// The same for prompts of a generation, whose pass keeps the keys and values of all layers until they have a place.
/// `lens`: rows of each, `past`: tokens before them.
pub fn prefills(
    model: &Model,
    lens: impl Iterator<Item = usize>,
    past: usize,
    ats: &[At],
    budget: usize,
) -> Vec<Range<usize>> {
    let Config { n_layers, n_kv_heads, d_head, .. } = *model.config();
    let row = |len: usize, ats: &[At]| {
        let sizes = Sizes::new(model, past + len, 1);
        sizes.whole(ats) + 2 * n_layers * n_kv_heads * d_head * sizes.element
    };
    split(model, lens.map(|len| (len, ats.to_vec())), row, budget)
}

/// Splits prompts of so many rows, in their order. `row`: the bytes of one row where the longest prompt has so many and
/// the places are looked at.
fn split(
    model: &Model,
    prompts: impl Iterator<Item = (usize, Vec<At>)>,
    row: impl Fn(usize, &[At]) -> usize,
    budget: usize,
) -> Vec<Range<usize>> {
    let most_rows = most_rows(&model.transformer.device);
    let mut passes: Vec<Range<usize>> = Vec::new();
    let (mut rows, mut longest, mut bytes) = (0, 0, 0);
    for (i, (len, ats)) in prompts.enumerate() {
        let longer = longest.max(len);
        let widest = bytes.max(row(longer, &ats));
        match passes.last_mut() {
            Some(pass) if rows + len <= most_rows && (rows + len).saturating_mul(widest) <= budget => {
                pass.end = i + 1;
                (rows, longest, bytes) = (rows + len, longer, widest);
            }
            _ => {
                passes.push(i..i + 1);
                (rows, longest, bytes) = (len, len, row(len, &ats));
            }
        }
    }
    passes
}

/// Bytes of what a run of `len` tokens records at `ats`.
pub fn recorded(model: &Model, len: usize, ats: &[At]) -> usize {
    let numbers = |at: &At| match at.point.axes(model.config()) {
        Axes::Row { width } => len * width,
        Axes::Heads { heads, width } => len * heads * width,
        Axes::Scores { heads } => heads * len * len,
    };
    ats.iter().map(numbers).sum::<usize>() * model.transformer.dtype.size_in_bytes()
}

/// Bytes of the base run: what it keeps, and one layer's work beyond that.
pub fn base_run(model: &Model, len: usize) -> usize {
    let sizes = Sizes::new(model, len, 1);
    let Config { n_layers, d_model, n_kv_heads, d_head, .. } = sizes.config;
    let kept = len * (d_model + n_layers * (d_model + 2 * n_kv_heads * d_head));
    (kept + len * sizes.layer() + sizes.unpacked) * sizes.element
}

/// What the cells of a chunk add up to. Numbers are counted, not bytes.
#[derive(Debug, Clone, Default)]
struct Load {
    cells: usize,
    rows: usize,
    /// Rows that go on after the last layer.
    tails: usize,
    /// Numbers that patches bring.
    values: usize,
    /// Numbers a row at the widest patch.
    patched: usize,
    logits_patched: bool,
}

impl Load {
    fn with(&self, run: &CellRun, sizes: &Sizes) -> Load {
        let mut load = self.clone();
        load.cells += 1;
        load.rows += run.rows(sizes.len);
        load.tails += sizes.len - run.tail;
        for selection in run.selections.iter().flatten() {
            load.values += selection.values(sizes.len);
            let patched = sizes.patch(selection.at.point, selection.cols == Cols::All) + selection.beside();
            load.patched = load.patched.max(patched);
            load.logits_patched |= selection.at.point == Point::Logits;
        }
        load
    }
}

/// The sizes that decide how much a sweep holds.
struct Sizes<'a> {
    config: &'a Config,
    /// Bytes of a number.
    element: usize,
    /// Does attention run as one kernel, which never holds all scores?
    kernel: bool,
    len: usize,
    columns: usize,
    /// Numbers of weights that are kept in blocks, while they are dense.
    unpacked: usize,
}

impl Sizes<'_> {
    fn new(model: &Model, len: usize, columns: usize) -> Sizes<'_> {
        let transformer = &model.transformer;
        let Config { d_model, d_head, d_mlp, n_heads, .. } = transformer.config;
        // The largest matrix and its transpose.
        let unpacked = (2 * d_model * d_mlp.max(n_heads * d_head)).max(ops::TABLE_PIECE);
        Sizes {
            config: &transformer.config,
            element: transformer.dtype.size_in_bytes(),
            kernel: transformer.attends_at_once(),
            len,
            columns,
            unpacked: if transformer.quantized { unpacked } else { 0 },
        }
    }

    /// Bytes a row of whole prompts, in a pass that looks at `ats`: the widest moment of a layer, what enters and leaves
    /// it, and the row once more of what is recorded, while each prompt takes its own.
    fn whole(&self, ats: &[At]) -> usize {
        let widest = ats.iter().map(|at| self.patch(at.point, false)).max().unwrap_or(0);
        (self.layer().max(widest) + 3 * self.config.d_model) * self.element
    }

    /// What a row holds all the way through a layer: the stream before and after attention, norms, what attention
    /// added, rotary tables, queries, keys and values.
    fn stream(&self) -> usize {
        let Config { family, d_model, d_head, n_heads, n_kv_heads, .. } = *self.config;
        // Norms of what attention adds, and of queries, are copies.
        let normed = usize::from(family.names.post_attn.is_some()) * d_model
            + usize::from(family.qk_norm.is_some()) * n_heads * d_head;
        4 * d_model + (2 * n_heads + 2 * n_kv_heads + 1) * d_head + normed
    }

    /// Numbers a row at the widest moment of a layer without patches.
    fn layer(&self) -> usize {
        let Config { d_head, d_mlp, n_heads, .. } = *self.config;
        let attention = match self.kernel {
            // Each thread works on one head.
            true => rayon::current_num_threads().min(n_heads) * (self.len + d_head),
            false => self.scores(),
        };
        let mlp = match self.config.family.mlp {
            MlpKind::Gated => 3 * d_mlp,
            MlpKind::Plain => 2 * d_mlp,
        };
        self.stream() + attention.max(mlp)
    }

    /// Numbers a row where scores exist as tensors: theirs, bounded, masked, their softmax, patched copies of both, and the
    /// operands laid out head by head.
    fn scores(&self) -> usize {
        let Config { d_head, n_heads, attn_softcap, .. } = *self.config;
        let copies = if attn_softcap.is_some() { 9 } else { 7 };
        copies * n_heads * self.len + 4 * n_heads * d_head
    }

    /// Numbers a row at the moment of a patch: besides the activation, the copy with the new rows and the result.
    fn patch(&self, point: Point, whole: bool) -> usize {
        let width = match point.axes(self.config) {
            Axes::Row { width } => width,
            Axes::Heads { heads, width } => heads * width,
            Axes::Scores { .. } => return self.stream() + self.scores(),
        };
        // A part of the columns is cut out and put back.
        let copies = if whole { 4 } else { 6 };
        match point.stage() {
            // After the last layer only the tails' rows are left: see `bytes`.
            Stage::Ending => 0,
            Stage::Embedding | Stage::Reading | Stage::Writing | Stage::Leaving => {
                self.stream() + point.beside(self.config) + copies * width
            }
        }
    }

    fn bytes(&self, load: &Load) -> usize {
        let Config { d_model, d_vocab, .. } = *self.config;
        let layers = (load.rows + self.len) * self.layer().max(load.patched);
        let stream = (2 * load.rows + self.len + 6 * load.tails) * d_model;
        // The logits, as float32, and as they are read.
        let logits = match load.logits_patched {
            true => load.tails * 5 * d_vocab,
            false => load.cells * 3 * self.columns,
        };
        (layers.max(stream + logits) + load.values + self.unpacked) * self.element
    }
}
