//! The layer × position sweep of the power pair, beside the machine's own matmul rate.
//!
//! `cargo bench --bench sweep` (needs the model that `tests/fetch-smollm2.sh` fetches).

#[path = "../tests/common/mod.rs"]
mod common;

use candle_core::Tensor;
use common::*;
use patchscript::model::Point;
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Value, trace};
use std::sync::Arc;
use std::time::Instant;

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// float32 GFLOP/s of a 1024³ product.
fn matmul_rate() -> f64 {
    let (a, b) = (random(&[1024, 1024], 1), random(&[1024, 1024], 2));
    let time = |_| {
        let start = Instant::now();
        let product: Tensor = a.matmul(&b).unwrap();
        std::hint::black_box(product);
        start.elapsed().as_secs_f64()
    };
    2.0 * 1024f64.powi(3) / median((0..15).map(time).collect()) / 1e9
}

fn main() {
    let Some(model) = smollm2() else { return };
    let golden = golden("smollm2_heatmap.json");
    let source = id_tokens(&model, &ids(&golden["source_ids"]));
    let base = id_tokens(&model, &ids(&golden["base_ids"]));
    let control = Control::default();
    let donor = Arc::new(trace(&model, &[(source, vec![])], &[], &control).unwrap().remove(0));
    let metric = Metric::new(Kind::LogprobDiff(
        TokenSet::Ids(ids(&golden["yes_ids"])),
        TokenSet::Ids(ids(&golden["no_ids"])),
    ));
    let from = golden["sentence_start"].as_u64().unwrap() as i64;
    let n_layers = model.config().n_layers;
    let cells: Vec<Vec<Patch>> = (0..n_layers)
        .flat_map(|layer| (from..base.len() as i64).map(move |pos| (layer, pos)))
        .map(|(layer, pos)| {
            let site = Site::new(Point::ResidPost, layer).at(Pos::Index(pos));
            vec![Patch::new(site, Edit::Set(Value::Trace(donor.clone())))]
        })
        .collect();
    let rate = matmul_rate();
    println!("matmul 1024^3: {rate:.0} GFLOP/s");
    let mut seconds = Vec::new();
    for _ in 0..std::env::var("REPEATS").map_or(3, |n| n.parse().unwrap()) {
        let start = Instant::now();
        let found = sweep(&model, &base, &cells, &metric, SweepOptions::default(), &control).unwrap();
        seconds.push(start.elapsed().as_secs_f64());
        let want: Vec<f32> = golden["grid"].as_array().unwrap().iter().flat_map(floats).collect();
        let found: Vec<f32> = found.values.iter().map(|&v| v as f32).collect();
        println!("{:.2} s, largest difference {:.1e}", seconds.last().unwrap(), max_diff_of(&found, &want));
    }
    println!("{} cells: {:.2} s", cells.len(), median(seconds));
    println!("matmul 1024^3: {:.0} GFLOP/s", matmul_rate());
}
