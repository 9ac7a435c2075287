//! Products with few rows, as in decoding: every weight is read once, from where it lies, so memory sets the
//! pace. (A general product first copies the weights into blocks, which pays only for more rows.)

use super::simd::widest;
use super::with_slice;
use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

/// Up to this many rows [`product_transposed`] beats a general product.
pub const MOST_ROWS: usize = 8;

/// Columns of the result that one task of [`product_transposed`] computes.
const COLUMNS: usize = 128;

/// Rows of the weights that [`row_product`] reads at once, in order, as prefetchers like it.
const AT_ONCE: usize = 8;

/// `x W`: one row `x` `[1, in]`, `weight` `[in, out]`.
pub fn row_product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let outer = weight.dim(1)?;
    let mut out = vec![0f32; outer];
    // One long run of columns a thread: short ones would skip through the weights.
    let span = outer.div_ceil(rayon::current_num_threads()).max(COLUMNS);
    with_slice(x, |x| {
        with_slice(weight, |weight| {
            out.par_chunks_mut(span).enumerate().for_each(|(task, out)| {
                let columns = task * span..task * span + out.len();
                let pieces = x.chunks(AT_ONCE).zip(weight.chunks(AT_ONCE * outer));
                for (x, weight) in pieces {
                    let rows = weight.chunks_exact(outer).map(|row| &row[columns.clone()]);
                    widest(
                        #[inline(always)]
                        || add_rows(out, x, rows),
                    );
                }
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, (1, outer), x.device())
}

/// `out += Σ x_i row_i`, for up to [`AT_ONCE`] rows.
#[inline(always)]
fn add_rows<'a>(out: &mut [f32], x: &[f32], mut rows: impl Iterator<Item = &'a [f32]>) {
    let Ok(x) = <[f32; AT_ONCE]>::try_from(x) else {
        for (x, row) in x.iter().zip(rows) {
            for (out, w) in out.iter_mut().zip(row) {
                *out = x.mul_add(*w, *out);
            }
        }
        return;
    };
    let n = out.len();
    let rows: [&[f32]; AT_ONCE] = std::array::from_fn(|_| &rows.next().unwrap_or_default()[..n]);
    for (j, out) in out.iter_mut().enumerate() {
        for i in 0..AT_ONCE {
            *out = x[i].mul_add(rows[i][j], *out);
        }
    }
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
    rows_of_columns(columns, rows, x.device())
}

/// `[out, rows]` as a tensor `[rows, out]`.
pub(super) fn rows_of_columns(columns: Vec<f32>, rows: usize, device: &Device) -> Result<Tensor> {
    let outer = columns.len() / rows.max(1);
    if rows == 1 {
        return Tensor::from_vec(columns, (1, outer), device);
    }
    let mut out: Vec<f32> = Vec::with_capacity(columns.len());
    for row in 0..rows {
        out.extend(columns[row..].iter().step_by(rows));
    }
    Tensor::from_vec(out, (rows, outer), device)
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
