//! Products with few rows, as in decoding: every weight is read once, from where it lies, so memory sets the
//! pace. (A general product first copies the weights into blocks, which pays only for more rows.)

use super::simd::widest;
use super::with_slice;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Up to this many rows [`product_transposed`] beats a general product.
pub const MOST_ROWS: usize = 8;

/// Columns of the result that one task computes: their sums stay in registers.
const COLUMNS: usize = 128;

/// `x W`: one row `x` `[1, in]`, `weight` `[in, out]`.
pub fn row_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let outer = weight.dim(1)?;
    let mut out = vec![0f32; outer];
    with_slice(x, |x| {
        with_slice(weight, |weight| {
            out.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, out)| {
                let columns = block * COLUMNS..block * COLUMNS + out.len();
                widest(
                    #[inline(always)]
                    || {
                        let mut sums = [0f32; COLUMNS];
                        for (&x, weight) in x.iter().zip(weight.chunks_exact(outer)) {
                            for (sum, &w) in sums.iter_mut().zip(&weight[columns.clone()]) {
                                *sum += x * w;
                            }
                        }
                        out.copy_from_slice(&sums[..out.len()]);
                    },
                );
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, (1, outer), x.device())
}

/// `x Wᵀ`: `x` `[rows, in]` with at most [`MOST_ROWS`] rows, `weight` `[out, in]`.
pub fn product_transposed(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, inner) = x.dims2()?;
    let outer = weight.dim(0)?;
    let mut columns = vec![0f32; rows * outer]; // [out, rows]
    with_slice(x, |x| {
        with_slice(weight, |weight| {
            columns.par_chunks_mut(COLUMNS * rows).enumerate().for_each(|(task, out)| {
                let weight = &weight[task * COLUMNS * inner..];
                widest(
                    #[inline(always)]
                    || {
                        for (w, out) in weight.chunks_exact(inner).zip(out.chunks_exact_mut(rows)) {
                            for (x, out) in x.chunks_exact(inner).zip(out) {
                                *out = dot(x, w);
                            }
                        }
                    },
                );
            });
            Ok(())
        })
    })?;
    if rows == 1 {
        return Tensor::from_vec(columns, (1, outer), x.device());
    }
    let mut out: Vec<f32> = Vec::with_capacity(rows * outer);
    for row in 0..rows {
        out.extend(columns[row..].iter().step_by(rows));
    }
    Tensor::from_vec(out, (rows, outer), x.device())
}

/// Sum of products in 64 partial sums, an order that vector units can follow.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 64;
    let mut parts = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            parts[i] += a[i] * b[i];
        }
    }
    parts.iter().sum::<f32>() + rest
}
