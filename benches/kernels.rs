//! Rates of the products that a forward pass is made of, at SmolLM2's sizes.
use candle_core::{Device, Tensor};
use std::time::Instant;

fn best(n: usize, f: impl Fn() -> Tensor) -> f64 {
    (0..n)
        .map(|_| {
            let s = Instant::now();
            std::hint::black_box(f());
            s.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}
fn main() {
    let dev = Device::Cpu;
    let r = |m: usize, n: usize| Tensor::randn(0f32, 1.0, (m, n), &dev).unwrap();
    for (k, n) in [(576, 1536), (1536, 576), (576, 576), (576, 960), (1024, 1024)] {
        let w = r(n, k);
        let wc = w.t().unwrap().contiguous().unwrap();
        for m in [1, 4, 16, 64, 128, 256, 512, 1024, 4096, 15000] {
            let x = r(m, k);
            let reps = (4096 / m).clamp(3, 30);
            let gf = 2.0 * (m * n * k) as f64 / 1e9;
            let a = best(reps, || x.matmul(&w.t().unwrap()).unwrap());
            let b = best(reps, || x.matmul(&wc).unwrap());
            print!("k{k} n{n} m{m}: W^T {:.0}  W {:.0} | ", gf / a, gf / b);
        }
        println!();
    }
    for m in [512, 15000] {
        let a = r(m, 576);
        let b = r(m, 576);
        let c = r(m, 1536);
        let d = r(m, 1536);
        println!(
            "m{m} add {:.2} ms, silu {:.2} mul {:.2} ms",
            best(5, || (&a + &b).unwrap()) * 1e3,
            best(5, || c.silu().unwrap()) * 1e3,
            best(5, || (&c * &d).unwrap()) * 1e3
        );
        let g = Tensor::ones(576, candle_core::DType::F32, &dev).unwrap();
        println!("rms {:.2} ms", best(5, || candle_nn::ops::rms_norm(&a, &g, 1e-5).unwrap()) * 1e3);
    }
}
