//! The packing and the order of work, with the unit's instructions computed by plain code on every machine, and with
//! the unit where there is one.

use super::pack::{DEPTH, STRIP, Step};
use super::*;
use candle_core::{DType, Device};
use proptest::prelude::*;

/// Does what the unit does, number by number and in its order: it sums even and odd entries of a tile apart.
struct Emulated;

impl Multiplier for Emulated {
    fn new() -> Emulated {
        Emulated
    }

    unsafe fn add_product(
        &self,
        a: &[Step],
        b: &[Step],
        sums: &mut [f32; STRIP * STRIP],
        more: bool,
        _: [*const u8; 2],
        out: Option<(*mut f32, usize)>,
    ) {
        if !more {
            sums.fill(0.0);
        }
        for (a, b) in a.iter().zip(b) {
            for [i, j] in [[0, 2], [0, 0], [0, 1], [1, 1], [1, 0], [2, 0]] {
                for (index, sum) in sums.iter_mut().enumerate() {
                    let (row, column) = (index / STRIP, index % STRIP);
                    let product = |depth| a.of_rows(i, row, depth) * b.of_columns(j, column, depth);
                    let (mut even, mut odd) = (0.0, 0.0);
                    for depth in (0..DEPTH).step_by(2) {
                        even += product(depth);
                        odd += product(depth + 1);
                    }
                    *sum += even + odd;
                }
            }
        }
        if let Some((out, stride)) = out {
            for (row, sums) in sums.chunks_exact(STRIP).enumerate() {
                // SAFETY: the caller vouches for 32 rows of 32 entries.
                unsafe { std::ptr::copy_nonoverlapping(sums.as_ptr(), out.add(row * stride), STRIP) };
            }
        }
    }
}

type Products = fn(&Tensor, &[&Tensor], Layout) -> Result<Vec<Tensor>>;

/// The emulated unit, and the real one where the machine has it.
fn units() -> Vec<Products> {
    let real: Option<Products> = available().then_some(products_by::<Unit>);
    [products_by::<Emulated> as Products].into_iter().chain(real).collect()
}

fn random(rows: usize, columns: usize) -> Tensor {
    Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu).unwrap()
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    a.to_vec2::<f32>().unwrap() == b.to_vec2::<f32>().unwrap()
}

/// The largest error of `found` beside the product in float64, in units of float32's rounding of `Σ |x w|`.
fn error(x: &Tensor, weight: &Tensor, found: &Tensor) -> f64 {
    let wide = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    let exact = wide(x).matmul(&wide(weight)).unwrap();
    let size = wide(x).abs().unwrap().matmul(&wide(weight).abs().unwrap()).unwrap();
    let error = ((wide(found) - exact).unwrap().abs().unwrap() / size).unwrap();
    error.max_all().unwrap().to_scalar::<f64>().unwrap() / f64::from(f32::EPSILON)
}

fn check(products: Products, rows: usize, inner: usize, outer: usize) {
    let (x, weight, other) = (random(rows, inner), random(inner, outer), random(inner, 65));
    let found = products(&x, &[&weight], Layout::InOut).unwrap().remove(0);
    assert!(error(&x, &weight, &found) < 4.0, "{}", error(&x, &weight, &found));
    let turned = weight.t().unwrap().contiguous().unwrap();
    assert!(same(&found, &products(&x, &[&turned], Layout::OutIn).unwrap()[0]));
    let both = products(&x, &[&other, &weight], Layout::InOut).unwrap();
    let alone = products(&x, &[&other], Layout::InOut).unwrap();
    assert!(same(&found, &both[1]) && same(&alone[0], &both[0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_as_exact_as_float32(rows in 1usize..300, inner in 1usize..700, outer in 1usize..900) {
        // Plain code takes its time.
        check(products_by::<Emulated>, rows.div_ceil(3), inner.div_ceil(2), outer.div_ceil(4));
        if available() {
            check(products_by::<Unit>, rows, inner, outer);
        }
    }
}

/// Several panels, blocks of rows and chunks of columns.
#[test]
fn large_products_are_as_exact_as_float32() {
    for products in units() {
        check(products, 300, 700, 900);
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_around_it() {
    let (x, weight) = (random(170, 500), random(500, 200));
    let part = |t: &Tensor| t.narrow(0, 101, 40).unwrap().contiguous().unwrap();
    for products in units() {
        let product = |x: &Tensor| products(x, &[&weight], Layout::InOut).unwrap().remove(0);
        assert!(same(&part(&product(&x)), &product(&part(&x))));
    }
}

#[test]
fn large_and_small_numbers_and_infinities() {
    let entries = [1e-30f32, -3e-20, 1e-10, 1.0, -7e9, 2e18, 0.0, f32::MIN_POSITIVE];
    let eye: Vec<f32> = (0..64 * 64).map(|i| if i / 64 == i % 64 { 1.0 } else { 0.0 }).collect();
    let eye = Tensor::from_vec(eye, (64, 64), &Device::Cpu).unwrap();
    let w: Vec<f32> = (0..64 * 64).map(|i| entries[(i * 7 + i / 64) % entries.len()]).collect();
    let w = Tensor::from_vec(w, (64, 64), &Device::Cpu).unwrap();
    let infinite = (&w * f64::INFINITY).unwrap();
    for products in units() {
        let product = |w: &Tensor| products(&eye, &[w], Layout::InOut).unwrap().remove(0);
        assert!(same(&product(&w), &w));
        assert!(product(&infinite).sum_all().unwrap().to_scalar::<f32>().unwrap().is_nan());
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for products in units() {
        assert!(products(&random(40, 5), &[&random(6, 7)], Layout::InOut).is_err());
        assert!(products(&random(40, 5), &[&random(7, 6)], Layout::OutIn).is_err());
    }
}
