//! The packing and the order of work, with the unit's instructions computed by plain code on every machine, and with
//! the unit where there is one.

use super::pack::{DEPTH, STRIP, Step};
use super::*;
use candle_core::{DType, Device};
use proptest::prelude::*;

/// Does what the unit does, number by number and in its order: it sums even and odd entries of a tile apart.
struct Emulated;

/// Which parts are multiplied, in order.
fn pairs(parts: usize) -> &'static [[usize; 2]] {
    match parts {
        EXACT => &[[0, 2], [0, 0], [0, 1], [1, 1], [1, 0], [2, 0]],
        _ => &[[0, 1], [0, 0], [1, 0]],
    }
}

impl<const PARTS: usize> Multiplier<PARTS> for Emulated {
    fn new() -> Emulated {
        Emulated
    }

    unsafe fn add_product(
        &self,
        a: &[Step<PARTS>],
        b: &[Step<PARTS>],
        sums: &mut [f32; STRIP * STRIP],
        more: bool,
        _: [*const u8; 2],
        out: Option<(*mut f32, usize)>,
    ) {
        if !more {
            sums.fill(0.0);
        }
        for (a, b) in a.iter().zip(b) {
            for &[i, j] in pairs(PARTS) {
                let strip = |of: &dyn Fn(usize, usize) -> f32| -> [[f32; DEPTH]; STRIP] {
                    std::array::from_fn(|line| std::array::from_fn(|depth| of(line, depth)))
                };
                let rows = strip(&|row, depth| a[i].of_rows(row, depth));
                let columns = strip(&|column, depth| b[j].of_columns(column, depth));
                for (index, sum) in sums.iter_mut().enumerate() {
                    let (row, column) = (index / STRIP, index % STRIP);
                    let product = |depth: usize| rows[row][depth] * columns[column][depth];
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
fn units<const PARTS: usize>() -> Vec<Products>
where
    Unit: Multiplier<PARTS>,
{
    let real: Option<Products> = available().then_some(products_by::<Unit, PARTS>);
    [products_by::<Emulated, PARTS> as Products].into_iter().chain(real).collect()
}

/// Both precisions of every unit, with the errors that they may have in units of float32's rounding.
fn all() -> Vec<(Products, f64)> {
    let exact = units::<EXACT>().into_iter().map(|unit| (unit, HIGHEST));
    exact.chain(units::<2>().into_iter().map(|unit| (unit, HIGH))).collect()
}

/// Some roundings of float32.
const HIGHEST: f64 = 4.0;
/// 2⁻¹⁵, the most that three products of numbers in two parts leave out, beside those.
const HIGH: f64 = 256.0 + HIGHEST;

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

/// The error of a product of random numbers.
fn check((products, most): (Products, f64), [rows, inner, outer]: [usize; 3]) -> f64 {
    let (x, weight, other) = (random(rows, inner), random(inner, outer), random(inner, 65));
    let found = products(&x, &[&weight], Layout::InOut).unwrap().remove(0);
    let error = error(&x, &weight, &found);
    assert!(error < most, "{error}");
    let turned = weight.t().unwrap().contiguous().unwrap();
    assert!(same(&found, &products(&x, &[&turned], Layout::OutIn).unwrap()[0]));
    let both = products(&x, &[&other, &weight], Layout::InOut).unwrap();
    let alone = products(&x, &[&other], Layout::InOut).unwrap();
    assert!(same(&found, &both[1]) && same(&alone[0], &both[0]));
    error
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_as_exact_as_they_claim(rows in 1usize..300, inner in 1usize..700, outer in 1usize..900) {
        // Plain code takes its time.
        let few = [rows.div_ceil(3), inner.div_ceil(2), outer.div_ceil(4)];
        check((products_by::<Emulated, EXACT>, HIGHEST), few);
        check((products_by::<Emulated, 2>, HIGH), few);
        if available() {
            check((products_by::<Unit, EXACT>, HIGHEST), [rows, inner, outer]);
            check((products_by::<Unit, 2>, HIGH), [rows, inner, outer]);
        }
    }
}

/// Several panels, blocks of rows and chunks of columns.
#[test]
fn large_products_are_as_exact_as_float32_or_to_1e_5() {
    for products in units::<EXACT>() {
        check((products, HIGHEST), [300, 700, 900]);
    }
    for products in units::<2>() {
        let error = check((products, HIGH), [300, 700, 900]) * f64::from(f32::EPSILON);
        assert!((1e-6..1e-5).contains(&error), "{error}");
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_around_it() {
    let (x, weight) = (random(170, 500), random(500, 200));
    let part = |t: &Tensor| t.narrow(0, 101, 40).unwrap().contiguous().unwrap();
    for (products, _) in all() {
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
    for (products, most) in all() {
        let product = |w: &Tensor| products(&eye, &[w], Layout::InOut).unwrap().remove(0);
        // Three parts are the number; two are within 2⁻¹⁷ of it.
        let allowed = if most == HIGH {
            (w.abs().unwrap() * 0.5f64.powi(17)).unwrap()
        } else {
            w.zeros_like().unwrap()
        };
        let beyond = ((product(&w) - &w).unwrap().abs().unwrap() - allowed).unwrap().max_all().unwrap();
        assert!(beyond.to_scalar::<f32>().unwrap() <= 0.0, "{beyond}");
        assert!(product(&infinite).sum_all().unwrap().to_scalar::<f32>().unwrap().is_nan());
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    for (products, _) in all() {
        assert!(products(&random(40, 5), &[&random(6, 7)], Layout::InOut).is_err());
        assert!(products(&random(40, 5), &[&random(7, 6)], Layout::OutIn).is_err());
    }
}
