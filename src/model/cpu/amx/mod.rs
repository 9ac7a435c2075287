//! Float32 products on the matrix unit (AMX) of newer x86 CPUs.
//!
//! Gain: on a quiet host 1.1 to 1.8 times the rate of gemm from 256 rows on, and a grid of patches in 1/1.6 of the time;
//! on a busy one at times none (`docs/performance.md`).
//!
//! The unit multiplies bfloat16 only, and sums in float32. A float32 is the exact sum of three bfloat16, eight of
//! its 24 bits each, so a product of two is the sum of nine products. The six largest are computed; the three that
//! are left out amount to less than 2⁻²² of it, a rounding of float32. At six products for one the unit still does
//! up to twice what the CPU's float32 units do. With [`Precision::High`] a float32 is the sum of two bfloat16, rounded
//! to nearest, and three products are computed: what is left out is at most 2⁻¹⁵ (3e-5) of a product, and 1e-5 or less of
//! `Σ |x w|`. (The scheme is that of Henry, Tang and Heinecke, "Leveraging the
//! bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations", 2019.)
//!
//! Infinities do not survive the splitting: they make the sums they are in NaN.
//!
//! Read [`unit`] (the instructions), [`pack`] (operands as the unit wants them), [`product`] (the order of work).
//! Sums are always taken in the same order along `in`, so that a row's result does not depend on the rows around it.

mod pack;
mod product;
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), path = "no_unit.rs")]
mod unit;

use super::isa::{Isa, serving};
use super::{entries, with_slice};
use crate::model::precision::Precision;
use candle_core::{Result, Tensor};
pub use pack::Layout;
use pack::{EXACT, Matrix};
use product::{Multiplier, Product};
use unit::Unit;
pub use unit::available;

/// From this many rows on the unit beats a general product, measured: it must first bring the weights into its order.
const LEAST_ROWS: usize = 192;

/// Does the unit multiply so many rows, in this process?
pub fn serves(rows: usize) -> bool {
    rows >= LEAST_ROWS && serving() == Isa::Amx
}

/// `x W` for each of the weights: `x` `[rows, in]`, every weight `[in, out]` or, as `layout` says, `[out, in]`.
pub fn products(
    x: &Tensor,
    weights: &[&Tensor],
    layout: Layout,
    precision: Precision,
) -> Result<Vec<Tensor>> {
    match precision {
        Precision::Highest => products_by::<Unit, EXACT>(x, weights, layout),
        Precision::High => products_by::<Unit, 2>(x, weights, layout),
    }
}

/// Of numbers in so many parts.
fn products_by<M: Multiplier<PARTS>, const PARTS: usize>(
    x: &Tensor,
    weights: &[&Tensor],
    layout: Layout,
) -> Result<Vec<Tensor>> {
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
    let outs = with_slice(x, |x| Ok(Product { x, rows, inner, weights: &matrices }.run::<M, PARTS>()))?;
    let tensor = |(out, matrix): (Vec<f32>, &Matrix)| Tensor::from_vec(out, (rows, matrix.outer), x.device());
    outs.into_iter().zip(&matrices).map(tensor).collect()
}

#[cfg(test)]
mod tests;
