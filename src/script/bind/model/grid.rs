//! Grids: what a sweep over rows and columns found.

use std::sync::Arc;

use candle_core::Device;
use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::site;
use crate::run::RunError;
use crate::run::explain::CellCounts;
use crate::run::sweep::Sweep;
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::context::Context;
use crate::script::draw;
use crate::script::error::ScriptResult;
use crate::script::limits::reserve_values;

/// The metric of every cell, `[rows, cols]`.
#[derive(Clone)]
pub struct Grid {
    pub rows: Array,
    pub cols: Array,
    /// Cell by cell, row after row.
    pub sweep: Sweep,
    pub context: Arc<Context>,
}

impl Grid {
    fn values(&self) -> ScriptResult<Tensor> {
        self.tensor(self.sweep.values.iter().map(|x| *x as f32).collect())
    }

    /// A number a cell, `[rows, cols]`.
    fn tensor(&self, values: Vec<f32>) -> ScriptResult<Tensor> {
        let shape = (self.rows.len(), self.cols.len());
        let tensor = candle_core::Tensor::from_vec(values, shape, &Device::Cpu).map_err(tensor::refused)?;
        Tensor::new(&self.context, tensor)
    }

    /// 0 at the corrupted run's value, 1 at the clean run's.
    fn normalized(&self, clean: f64, corrupt: f64) -> ScriptResult<Self> {
        if clean == corrupt {
            return Err(refusal::run(RunError::NothingToRecover { value: clean }));
        }
        let scale = |x: f64| (x - corrupt) / (clean - corrupt);
        let mut grid = self.clone();
        grid.sweep.values.iter_mut().for_each(|x| *x = scale(*x));
        grid.sweep.base = scale(grid.sweep.base);
        Ok(grid)
    }

    /// What the patches did, as a map.
    fn ledger(&self) -> ScriptResult<Map> {
        let CellCounts { computed, merged, known, unreachable } = CellCounts::count(&self.sweep.statuses);
        let unchanged = self.sweep.unchanged().filter(|unchanged| *unchanged).count();
        let counts = [
            ("computed", computed),
            ("merged", merged),
            ("known", known),
            ("unreachable", unreachable),
            ("unchanged", unchanged),
        ];
        let mut ledger: Map =
            counts.into_iter().map(|(name, count)| (name.into(), Dynamic::from(count as i64))).collect();
        ledger.insert("max_change".into(), Dynamic::from(self.tensor(self.sweep.max_change.clone())?));
        Ok(ledger)
    }

    /// Calls `heatmap` with the rows and columns as labels where the options name none.
    fn heatmap(&self, call: &NativeCallContext, mut options: Map) -> ScriptResult<Dynamic> {
        for (axis, items) in [("x", &self.cols), ("y", &self.rows)] {
            if !options.contains_key(axis) {
                let label =
                    |item: &Dynamic| call.call_native_fn::<Dynamic>(rhai::FUNC_TO_STRING, (item.clone(),));
                let labels = items.iter().map(label).collect::<ScriptResult<Array>>()?;
                options.insert(axis.into(), labels.into());
            }
        }
        call.call_native_fn("heatmap", (self.values()?, options))
    }
}

/// An array, or the ints of a range.
pub fn axis(value: &Dynamic) -> ScriptResult<Array> {
    match site::range(value) {
        Some((from, to)) => {
            reserve_values(site::len(from, to))?;
            Ok((from..to).map(Dynamic::from).collect())
        }
        None if value.is_array() => args::array(value),
        None => Err(expected("an array or a range", value).into()),
    }
}

/// Registers Grid.
pub fn register(api: &mut Api) {
    api.ty::<Grid>("Grid", "the metric of every cell of a sweep", |grid| {
        format!("Grid [{}, {}], unpatched {}", grid.rows.len(), grid.cols.len(), grid.sweep.base as f32)
    });
    api.drawn(|grid: &Grid| {
        let text = |item: &Dynamic| draw::visible(&item.to_string());
        let columns: Vec<_> = [String::new()].into_iter().chain(grid.cols.iter().map(text)).collect();
        let row = |row: usize| {
            let values = grid.sweep.values.iter().skip(row * grid.cols.len()).take(grid.cols.len());
            [text(&grid.rows[row])].into_iter().chain(values.map(|x| draw::number(*x))).collect()
        };
        let head = format!(
            "Grid [{}, {}], unpatched {}",
            grid.rows.len(),
            grid.cols.len(),
            draw::number(grid.sweep.base)
        );
        format!("{head}\n{}", draw::rows_of(&columns, grid.rows.len(), row))
    });
    api.getter("Grid", "values -> Tensor", "the metric of every cell, [rows, cols]")
        .example(
            "let g = load().sweep(\" John gave Mary\", 0..3, [0, 2], |l, p| z(l).at(p).zero(), logit(5)); g.values.shape",
            "[3, 2]",
        )
        .native(|grid: &mut Grid| grid.values());
    api.getter("Grid", "rows -> array", "what the rows stand for")
        .example(
            "load().sweep(\" John gave\", 0..3, [0, 1], |l, p| z(l).at(p).zero(), logit(5)).rows",
            "[0, 1, 2]",
        )
        .native(|grid: &mut Grid| grid.rows.clone());
    api.getter("Grid", "cols -> array", "what the columns stand for")
        .example(
            "load().sweep(\" John gave\", 0..3, [0, 1], |l, p| z(l).at(p).zero(), logit(5)).cols",
            "[0, 1]",
        )
        .native(|grid: &mut Grid| grid.cols.clone());
    api.getter("Grid", "base -> float", "the metric of the unpatched prompt")
        .example(
            "let m = load(); let g = m.sweep(\" John gave\", 0..3, [0, 1], |l, p| z(l).at(p).zero(), logit(5)); \
             abs(g.base - logit(5).of(m.trace(\" John gave\"))) < 1e-5",
            "true",
        )
        .native(|grid: &mut Grid| grid.sweep.base);
    api.getter(
        "Grid",
        "ledger -> map",
        "what the patches did: how many cells were `computed`, `merged` with an equal one, `known` because the donor is \
         the unpatched run there, `unreachable` for the metric, and `unchanged`; and each cell's `max_change`",
    )
    .example(
        "let m = load(); let mary = m.trace(\" John gave Mary\"); let g = m.sweep(\" John gave half\", 0..3, 0..4, \
         |l, p| resid_post(l).at(p).set(mary), logit(5)); [g.ledger.known, g.ledger.computed, g.ledger.max_change.shape]",
        "[9, 3, [3, 4]]",
    )
    .native(|grid: &mut Grid| grid.ledger());
    api.method(
        "Grid",
        "normalized(clean: number, corrupt: number) -> Grid",
        "the grid as fractions recovered: 0 at the corrupted run's value, 1 at the clean run's",
    )
    .example(
        "let g = load().sweep(\" John gave\", 0..3, [0, 1], |l, p| z(l).at(p).zero(), logit(5)); \
         g.normalized(1.0, g.base).base",
        "0.0",
    )
    .native(|grid: &mut Grid, clean: Dynamic, corrupt: Dynamic| -> ScriptResult<Grid> {
        grid.normalized(args::number(&clean)?, args::number(&corrupt)?)
    });
    api.method(
        "Grid",
        "heatmap(options?: map) -> Plot",
        "the grid as a heatmap, with the options of `heatmap`",
    )
    .example(
        "load().sweep(\" John gave\", 0..3, [0, 1], |l, p| z(l).at(p).zero(), logit(5)).heatmap().type_of()",
        "\"Plot\"",
    )
    .native(|call: NativeCallContext, grid: &mut Grid| grid.heatmap(&call, Map::new()))
    .native(|call: NativeCallContext, grid: &mut Grid, options: Map| grid.heatmap(&call, options));
}
