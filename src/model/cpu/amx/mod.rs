//! Float32 products on the matrix unit (AMX) of newer x86 CPUs.
//!
//! The unit multiplies bfloat16 only, and sums in float32. A float32 is the exact sum of three bfloat16, eight of
//! its 24 bits each, so a product of two is the sum of nine products. The six largest are computed; the three that
//! are left out amount to less than 2⁻²² of it, a rounding of float32. At six products for one the unit still does
//! up to twice what the CPU's float32 units do. (The scheme is that of Henry, Tang and Heinecke, "Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019.)
//!
//! Infinities do not survive the splitting: they make the sums they are in NaN.
//!
//! Read [`unit`] (the instructions), [`pack`] (operands as the unit wants them), [`product`] (the order of work).
//! Sums are always taken in the same order along `in`, so that a row's result does not depend on the rows around it.

mod pack;
mod product;
mod unit;

use super::{entries, with_slice};
use candle_core::{Result, Tensor};
pub use pack::Layout;
use pack::Matrix;
use product::Product;
pub use unit::available;

/// From this many rows on the unit beats a general product, measured: it must first bring the weights into its order.
pub const LEAST_ROWS: usize = 192;

/// `x W` for each of the weights: `x` `[rows, in]`, every weight `[in, out]` or, as `layout` says, `[out, in]`.
pub fn products(x: &Tensor, weights: &[&Tensor], layout: Layout) -> Result<Vec<Tensor>> {
    let (rows, inner) = x.dims2()?;
    let storages: Vec<_> = weights.iter().map(|weight| weight.storage_and_layout()).collect();
    let mut matrices = Vec::with_capacity(weights.len());
    for ((storage, place), weight) in storages.iter().zip(weights) {
        let (depth, outer) = match (layout, weight.dims2()?) {
            (Layout::InOut, dims) => dims,
            (Layout::OutIn, (outer, inner)) => (inner, outer),
        };
        if depth != inner {
            candle_core::bail!("a product of {rows} × {inner} and {depth} × {outer}");
        }
        matrices.push(Matrix { values: entries(storage, place)?, inner, outer, layout });
    }
    let outs = with_slice(x, |x| Ok(Product { x, rows, inner, weights: &matrices }.run()))?;
    let tensor = |(out, matrix): (Vec<f32>, &Matrix)| Tensor::from_vec(out, (rows, matrix.outer), x.device());
    outs.into_iter().zip(&matrices).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    fn random(rows: usize, columns: usize) -> Tensor {
        Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu).unwrap()
    }

    fn product(x: &Tensor, weight: &Tensor) -> Tensor {
        products(x, &[weight], Layout::InOut).unwrap().remove(0)
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn products_are_as_exact_as_float32(rows in 1usize..300, inner in 1usize..700, outer in 1usize..900) {
            prop_assume!(available());
            let (x, weight, other) = (random(rows, inner), random(inner, outer), random(inner, 65));
            let found = product(&x, &weight);
            prop_assert!(error(&x, &weight, &found) < 4.0, "{}", error(&x, &weight, &found));
            let turned = weight.t().unwrap().contiguous().unwrap();
            prop_assert!(same(&found, &products(&x, &[&turned], Layout::OutIn).unwrap()[0]));
            let both = products(&x, &[&other, &weight], Layout::InOut).unwrap();
            prop_assert!(same(&found, &both[1]) && same(&product(&x, &other), &both[0]));
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_around_it() {
        if !available() {
            return;
        }
        let (x, weight) = (random(170, 1536), random(1536, 600));
        let part = |t: &Tensor| t.narrow(0, 101, 40).unwrap().contiguous().unwrap();
        assert!(same(&part(&product(&x, &weight)), &product(&part(&x), &weight)));
    }

    #[test]
    fn large_and_small_numbers_and_infinities() {
        if !available() {
            return;
        }
        let entries = [1e-30f32, -3e-20, 1e-10, 1.0, -7e9, 2e18, 0.0, f32::MIN_POSITIVE];
        let eye: Vec<f32> = (0..64 * 64).map(|i| if i / 64 == i % 64 { 1.0 } else { 0.0 }).collect();
        let eye = Tensor::from_vec(eye, (64, 64), &Device::Cpu).unwrap();
        let w: Vec<f32> = (0..64 * 64).map(|i| entries[(i * 7 + i / 64) % entries.len()]).collect();
        let w = Tensor::from_vec(w, (64, 64), &Device::Cpu).unwrap();
        assert!(same(&product(&eye, &w), &w));
        let infinite = product(&eye, &(w * f64::INFINITY).unwrap());
        assert!(infinite.sum_all().unwrap().to_scalar::<f32>().unwrap().is_nan());
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        assert!(products(&random(40, 5), &[&random(6, 7)], Layout::InOut).is_err());
        assert!(products(&random(40, 5), &[&random(7, 6)], Layout::OutIn).is_err());
    }
}
