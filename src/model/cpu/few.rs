//! Gain: whole rows of weights, eight at a time, at 11 to 19 GB/s where blocks of 128 columns come to 7 to 11
//! (`docs/performance.md`).
//!
//! Products with few rows, as in decoding: every weight is read once, from where it lies, so memory sets the
//! pace. (A general product first copies the weights into blocks, which pays only for more rows.)

use super::isa::arch;
use super::simd::{mul_add, widest};
use super::tile::scaled_sum;
use super::with_slice;
use candle_core::{Device, Result, Tensor};
use pulp::{Simd, WithSimd};
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
                arch().dispatch(Columns { x, weight, out, outer, from: task * span });
            });
            Ok(())
        })
    })?;
    Tensor::from_vec(out, (1, outer), x.device())
}

/// A run of columns of `x W`, for one row `x`.
struct Columns<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    out: &'a mut [f32],
    outer: usize,
    from: usize,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Columns { x, weight, out, outer, from } = self;
        let columns = from..from + out.len();
        for (x, weight) in x.chunks(AT_ONCE).zip(weight.chunks(AT_ONCE * outer)) {
            let rows = weight.chunks_exact(outer).map(|row| &row[columns.clone()]);
            add_rows(simd, out, x, rows);
        }
    }
}

/// `out += Σ x_i row_i`, for up to [`AT_ONCE`] rows.
#[inline(always)]
fn add_rows<'a, S: Simd>(simd: S, out: &mut [f32], x: &[f32], mut rows: impl Iterator<Item = &'a [f32]>) {
    let Ok(x) = <[f32; AT_ONCE]>::try_from(x) else {
        for (x, row) in x.iter().zip(rows) {
            scaled_sum(simd, out, *x, row);
        }
        return;
    };
    let (vectors, tail) = S::as_mut_simd_f32s(out);
    let (n, left) = (vectors.len(), tail.len());
    let rows: [(&[S::f32s], &[f32]); AT_ONCE] = std::array::from_fn(|_| {
        let (row, last) = S::as_simd_f32s(rows.next().unwrap_or_default());
        (&row[..n], &last[..left])
    });
    let splat = x.map(|x| simd.splat_f32s(x));
    for (j, out) in vectors.iter_mut().enumerate() {
        let mut sum = *out;
        for (x, row) in splat.iter().zip(&rows) {
            sum = mul_add(simd, *x, row.0[j], sum);
        }
        *out = sum;
    }
    for (x, (_, last)) in x.into_iter().zip(rows) {
        scaled_sum(simd, tail, x, last);
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
