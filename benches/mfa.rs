//! Our side of `benches/rivals/bench_mfa.py`: steps of Adam on a mixture of factor analysers, one JSON line a figure.
//!
//! `cargo bench --bench mfa -- [--device cuda] [COMPONENTS WIDTH RANK BATCH]`, at first 500, 768, 10 and 128. A card begins
//! with the rows in its memory, as the rival does.

#[path = "compare/timing.rs"]
mod timing;

use candle_core::Device;
use patchscript::analysis::mfa::Sizes;
use patchscript::analysis::mfa::adam::Learner;
use patchscript::analysis::mfa::density::Block;
use patchscript::analysis::mfa::parameters::{EPS_FLOOR, Parameters};
use patchscript::analysis::mfa::real::Real;
use patchscript::analysis::mfa::tensors::{TensorLearner, UNREAD};
use patchscript::data::random::Generator;
use patchscript::data::rows::Matrix;
use patchscript::model::parse_device;
use serde_json::json;
use timing::{Timing, peak_megabytes, timed};

const ROWS: usize = 4096;
const CLUSTERS: usize = 64;
const STEPS: usize = 10;
const REPEATS: usize = 5;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let (mut sizes, mut device) = (Vec::new(), "cpu".to_string());
    while let Some(arg) = args.next() {
        match arg.parse::<usize>() {
            Ok(size) => sizes.push(size),
            Err(_) if arg == "--device" => device = args.next().expect("a device"),
            Err(_) => panic!("`{arg}` is no size"),
        }
    }
    let at = |i: usize, default| sizes.get(i).copied().unwrap_or(default);
    let [components, width, rank, batch] = [at(0, 500), at(1, 768), at(2, 10), at(3, 128)];
    let device = parse_device(&device).expect("a device");
    let peak = device.is_cpu().then(matmul);
    for psi_per_component in [false, true] {
        let sizes = Sizes { components, width, rank, psi_per_component };
        let x = rows(width);
        let (steps, timing, last) = match &device {
            Device::Cpu => on_cpu(sizes, &x, batch),
            device => on_card(sizes, &x, batch, device),
        };
        // All pairs of row and component, forward; those that have no share need less.
        let forward = 2.0 * (batch * width * components * (1 + rank)) as f64;
        let seconds = timing.median() / steps as f64;
        let figure = if psi_per_component { "mfa_step_own_noise" } else { "mfa_step" };
        let line = json!({
            "tool": "patchscript", "figure": figure, "seconds": seconds, "steps_per_second": 1.0 / seconds,
            "all": timing.all.iter().map(|all| all / steps as f64).collect::<Vec<_>>(),
            "cpu_seconds": timing.cpu / steps as f64, "other_cpu": timing.other_cpu, "last_nll": last,
            "gflops": forward / seconds / 1e9, "matmul_gflops": peak.map(|peak| peak / 1e9),
            "share_of_matmul": peak.map(|peak| forward / seconds / peak),
            "parameter_megabytes": 4.0 * (components * sizes.block()) as f64 / 1e6, "peak_megabytes": peak_megabytes(),
        });
        println!("{line}");
    }
}

/// Where a batch begins.
fn first(step: usize, batch: usize) -> usize {
    step * batch % (ROWS - batch)
}

fn on_cpu(sizes: Sizes, x: &[f32], batch: usize) -> (usize, Timing, f64) {
    let mut learner = learner(sizes, x);
    let (mut block, mut at, mut last) = (Block::default(), 0, 0.0);
    let rows = Matrix::new(x, sizes.width);
    let zeros = vec![0.0; sizes.width];
    let timing = timed(REPEATS, || {
        for _ in 0..STEPS {
            let first = first(at, batch);
            at += 1;
            block.gather(&rows, first..first + batch, &zeros).expect("finite rows");
            last = learner.step(&block, 1e-3, None).expect("finite gradients") / batch as f64;
        }
    });
    (STEPS, timing, last)
}

fn on_card(sizes: Sizes, x: &[f32], batch: usize, device: &Device) -> (usize, Timing, f64) {
    let mut learner = TensorLearner::new(&learner(sizes, x), batch, device).expect("room on the card");
    let rows = learner.rows(x).expect("room on the card");
    let (mut at, mut last) = (0, 0.0);
    let mut steps = || {
        for _ in 0..UNREAD {
            let batch = rows.narrow(0, first(at, batch), batch).expect("rows");
            at += 1;
            learner.step(&batch, 1e-3, None).expect("a step");
        }
        // As a training does; it waits for the card.
        last = learner.likelihoods().expect("likelihoods").last().copied().map_or(f64::NAN, f64::from);
    };
    // Kernels are compiled when they are first met.
    steps();
    let timing = timed(REPEATS, steps);
    (UNREAD, timing, last)
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
fn learner(sizes: Sizes, x: &[f32]) -> Learner {
    let means: Vec<f32> = x.iter().copied().cycle().take(sizes.components * sizes.width).collect();
    Learner::new(Parameters::around(&means, sizes, EPS_FLOOR, &mut Generator::new(2)))
}
