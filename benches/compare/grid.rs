//! The power pair of `tests/golden` and grids of patches on it, with the work that they need.

use crate::common::*;
use patchscript::model::family::MlpKind;
use patchscript::model::{Config, Model, Point};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{Sweep, SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Tokens, Value, explain, trace};
use std::sync::Arc;

/// A base prompt, the prompt that patches come from, and a metric.
pub struct Pair {
    pub base: Tokens,
    source: Tokens,
    metric: Metric,
    /// First position of the grid, and the grid that the reference gives, row by row.
    pub from: usize,
    pub expected: Vec<f32>,
}

impl Pair {
    /// The power pair, `times` times over.
    pub fn power(model: &Model, times: usize) -> Pair {
        let golden = golden("smollm2_heatmap.json");
        let tokens = |name: &str| id_tokens(model, &ids(&golden[name]).repeat(times));
        let set = |name: &str| TokenSet::Ids(ids(&golden[name]));
        let base = tokens("base_ids");
        let from = golden["sentence_start"].as_u64().unwrap() as usize + base.len() / times * (times - 1);
        Pair {
            from,
            source: tokens("source_ids"),
            base,
            metric: Metric::new(Kind::LogprobDiff(set("yes_ids"), set("no_ids"))),
            expected: golden["grid"].as_array().unwrap().iter().flat_map(floats).collect(),
        }
    }

    /// Runs the donor and the sweep of `resid_post` at every (layer, position) of `cells`.
    pub fn sweep(&self, model: &Arc<Model>, cells: &[(usize, usize)]) -> Sweep {
        let patches = self.patches(model, cells);
        sweep(model, &self.base, &patches, &self.metric, SweepOptions::default(), &Control::default())
            .unwrap()
    }

    /// Seconds that the plan foresees for [`sweep`](Self::sweep).
    pub fn predicted(&self, model: &Arc<Model>, cells: &[(usize, usize)]) -> f64 {
        let seconds = |cells: &[(usize, usize)]| {
            let patches = self.patches(model, cells);
            explain(model, &self.base, &patches, &self.metric, &Control::default())
                .unwrap()
                .measured_seconds(model)
                .unwrap()
        };
        // The donor's first run is not the plan's. A patch after the last layer costs no more than base run and donor.
        let run = seconds(&[(model.config().n_layers - 1, self.base.len() - 1)]) / 2.0;
        seconds(cells) + run
    }

    fn patches(&self, model: &Arc<Model>, cells: &[(usize, usize)]) -> Vec<Vec<Patch>> {
        let donor =
            trace(model, &[(self.source.clone(), vec![])], &[], &Control::default()).unwrap().remove(0);
        let donor = Arc::new(donor);
        let patch = |&(layer, pos): &(usize, usize)| {
            let site = Site::new(Point::ResidPost, layer).at(Pos::Index(pos as i64));
            vec![Patch::new(site, Edit::Set(Value::Trace(donor.clone())))]
        };
        cells.iter().map(patch).collect()
    }

    /// Floating point operations that [`sweep`](Self::sweep) needs: base and donor, and of every cell the rows that
    /// differ from the base run, in the last layer only what the last position needs.
    pub fn flops(&self, config: &Config, cells: &[(usize, usize)]) -> f64 {
        let len = self.base.len();
        let run = config.n_layers as f64 * rows_flops(config, 0, len);
        let cell = |&(layer, pos): &(usize, usize)| match config.n_layers - 1 - layer {
            0 => 0.0,
            layers => (layers - 1) as f64 * rows_flops(config, pos, len) + last_layer_flops(config, pos, len),
        };
        2.0 * run + cells.iter().map(cell).sum::<f64>()
    }
}

/// Every (layer, position) pair, layer by layer.
pub fn cells(layers: impl Iterator<Item = usize>, positions: std::ops::Range<usize>) -> Vec<(usize, usize)> {
    layers.flat_map(|layer| positions.clone().map(move |pos| (layer, pos))).collect()
}

/// One layer over positions `from..len`.
pub fn rows_flops(config: &Config, from: usize, len: usize) -> f64 {
    let attention: usize = (from..len).map(|pos| attention_flops(config, pos)).sum();
    ((len - from) * (kv_flops(config) + rest_flops(config)) + attention) as f64
}

/// The last layer, of which the metric reads the last position: keys and values of all rows, the rest of one.
fn last_layer_flops(config: &Config, from: usize, len: usize) -> f64 {
    ((len - from) * kv_flops(config) + rest_flops(config) + attention_flops(config, len - 1)) as f64
}

fn kv_flops(config: &Config) -> usize {
    2 * config.d_model * 2 * config.n_kv_heads * config.d_head
}

/// Queries, the attention's output and the MLP of one row.
fn rest_flops(config: &Config) -> usize {
    let mlp = if config.family.mlp == MlpKind::Gated { 3 } else { 2 };
    2 * config.d_model * (2 * config.n_heads * config.d_head + mlp * config.d_mlp)
}

/// Scores and mixed values of one row.
fn attention_flops(config: &Config, pos: usize) -> usize {
    4 * (pos + 1) * config.n_heads * config.d_head
}
