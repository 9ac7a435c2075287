//! Our side of `benches/rivals/bench_mfa.py`: steps of Adam on a mixture of factor analysers, one JSON line a figure.
//!
//! `cargo bench --bench mfa -- [COMPONENTS WIDTH RANK BATCH]`, at first 500, 768, 10 and 128.

#[path = "compare/timing.rs"]
mod timing;

use patchscript::analysis::mfa::Sizes;
use patchscript::analysis::mfa::adam::Learner;
use patchscript::analysis::mfa::density::Block;
use patchscript::analysis::mfa::parameters::{EPS_FLOOR, Parameters};
use patchscript::analysis::mfa::real::Real;
use patchscript::data::random::Generator;
use patchscript::data::rows::Matrix;
use serde_json::json;
use timing::{peak_megabytes, timed};

const ROWS: usize = 4096;
const CLUSTERS: usize = 64;
const STEPS: usize = 10;
const REPEATS: usize = 5;

fn main() {
    let given = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let given: Vec<usize> = given.collect();
    let at = |i: usize, default| given.get(i).copied().unwrap_or(default);
    let [components, width, rank, batch] = [at(0, 500), at(1, 768), at(2, 10), at(3, 128)];
    let peak = matmul();
    for psi_per_component in [false, true] {
        let sizes = Sizes { components, width, rank, psi_per_component };
        let (mut learner, x) = (learner(sizes), rows(width));
        let (mut block, mut at, mut last) = (Block::default(), 0, 0.0);
        let timing = timed(REPEATS, || {
            for _ in 0..STEPS {
                let first = at * batch % (ROWS - batch);
                at += 1;
                let rows = Matrix::new(&x, width);
                block.gather(&rows, first..first + batch, &vec![0.0; width]).expect("finite rows");
                last = learner.step(&block, 1e-3, None).expect("finite gradients") / batch as f64;
            }
        });
        // The product of rows and directions, forward; backward those that have no share are left out.
        let forward = 2.0 * (batch * width * components * (1 + rank)) as f64;
        let seconds = timing.median() / STEPS as f64;
        let figure = if psi_per_component { "mfa_step_own_noise" } else { "mfa_step" };
        let line = json!({
            "tool": "patchscript", "figure": figure, "seconds": seconds, "steps_per_second": 1.0 / seconds,
            "all": timing.all.iter().map(|all| all / STEPS as f64).collect::<Vec<_>>(),
            "cpu_seconds": timing.cpu / STEPS as f64, "other_cpu": timing.other_cpu, "last_nll": last,
            "gflops": forward / seconds / 1e9, "matmul_gflops": peak / 1e9, "share_of_matmul": forward / seconds / peak,
            "parameter_megabytes": 4.0 * (components * sizes.block()) as f64 / 1e6, "peak_megabytes": peak_megabytes(),
        });
        println!("{line}");
    }
}

/// FLOP/s of a float32 product of 1024³.
fn matmul() -> f64 {
    let mut rng = Generator::new(1);
    let mut draw = || (0..1 << 20).map(|_| rng.standard_normal() as f32).collect::<Vec<_>>();
    let (a, b, mut to) = (draw(), draw(), draw());
    let timing = timed(15, || f32::product_transposed([1024; 3], &mut to, &a, &b));
    2.0 * 1024f64.powi(3) / timing.median()
}

/// Rows around some centres.
fn rows(width: usize) -> Vec<f32> {
    let mut rng = Generator::new(0);
    let centres: Vec<f64> = (0..CLUSTERS * width).map(|_| 2.0 * rng.standard_normal()).collect();
    let which: Vec<usize> = rng.choice(CLUSTERS, ROWS, true, None).expect("clusters");
    let centres = which.iter().flat_map(|k| &centres[k * width..(k + 1) * width]);
    centres.map(|centre| (centre + rng.standard_normal()) as f32).collect()
}

/// A mixture around some of the rows.
fn learner(sizes: Sizes) -> Learner {
    let x = rows(sizes.width);
    let means: Vec<f32> = x.iter().copied().cycle().take(sizes.components * sizes.width).collect();
    Learner::new(Parameters::around(&means, sizes, EPS_FLOOR, &mut Generator::new(2)))
}
