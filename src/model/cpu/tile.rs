//! Products with some rows, as when several sequences decode together: too few for a general product to repay
//! its copying of the weights, too many to be bound by memory. Tiles of sums stay in registers while the weights
//! stream by once, in order.

use super::isa::{Isa, arch, serving};
use super::simd::mul_add;
use super::with_slice;
use candle_core::{Result, Tensor};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Up to this many rows [`product`] beats a general one, measured with weights that no cache holds.
pub fn most_rows() -> usize {
    if serving() > Isa::Avx2 { 32 } else { 16 }
}

/// Weight rows that are read at once.
const AT_ONCE: usize = 8;
/// Columns of the result, at least, that one task computes.
const COLUMNS: usize = 128;

/// `x W`: `x` `[rows, in]`, `weight` `[in, out]`.
pub fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (rows, inner) = x.dims2()?;
    let outer = weight.dim(1)?;
    let span = outer.div_ceil(rayon::current_num_threads()).next_multiple_of(COLUMNS);
    let starts: Vec<usize> = (0..outer).step_by(span).collect();
    let parts = with_slice(x, |x| {
        with_slice(weight, |weight| {
            let part = |&from: &usize| {
                let mut out = vec![0f32; rows * span.min(outer - from)];
                let columns = Columns { x, weight, out: &mut out, rows, inner, outer, from };
                arch().dispatch(columns);
                out
            };
            Ok(starts.par_iter().map(part).collect::<Vec<_>>())
        })
    })?;
    let mut out = Vec::with_capacity(rows * outer);
    for row in 0..rows {
        for (part, from) in parts.iter().zip(&starts) {
            let width = span.min(outer - from);
            out.extend_from_slice(&part[row * width..(row + 1) * width]);
        }
    }
    Tensor::from_vec(out, (rows, outer), x.device())
}

/// A run of columns of a product.
struct Columns<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    /// `[rows, width]`
    out: &'a mut [f32],
    rows: usize,
    inner: usize,
    outer: usize,
    from: usize,
}

impl WithSimd for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Columns { x, weight, out, rows, inner, outer, from } = self;
        let width = out.len() / rows;
        for first in (0..inner).step_by(AT_ONCE) {
            let depth = AT_ONCE.min(inner - first);
            let weights = |k: usize| &weight[(first + k) * outer + from..][..width];
            // Rows of a tile: two vectors of sums for each stay in registers.
            let most = if S::REGISTER_COUNT > 16 { 8 } else { 4 };
            for row in (0..rows).step_by(most) {
                let count = most.min(rows - row);
                let out = &mut out[row * width..(row + count) * width];
                let x = &x[row * inner..(row + count) * inner];
                let x = |r: usize, k: usize| x[r * inner + first + k];
                if depth < AT_ONCE {
                    for (r, out) in out.chunks_exact_mut(width).enumerate() {
                        for k in 0..depth {
                            scaled_sum(simd, out, x(r, k), weights(k));
                        }
                    }
                    continue;
                }
                match count {
                    1 => tile::<S, 1>(simd, out, width, x, weights),
                    2 => tile::<S, 2>(simd, out, width, x, weights),
                    3 => tile::<S, 3>(simd, out, width, x, weights),
                    4 => tile::<S, 4>(simd, out, width, x, weights),
                    5 => tile::<S, 5>(simd, out, width, x, weights),
                    6 => tile::<S, 6>(simd, out, width, x, weights),
                    7 => tile::<S, 7>(simd, out, width, x, weights),
                    _ => tile::<S, 8>(simd, out, width, x, weights),
                }
            }
        }
    }
}

/// `out += x w` for a tile of rows and [`AT_ONCE`] weight rows, two vectors of columns at a time.
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "one column index walks eight weight rows and as many output rows as there are"
)]
fn tile<'a, S: Simd, const ROWS: usize>(
    simd: S,
    out: &mut [f32],
    width: usize,
    x: impl Fn(usize, usize) -> f32,
    weights: impl Fn(usize) -> &'a [f32],
) {
    let x: [[f32; ROWS]; AT_ONCE] = std::array::from_fn(|k| std::array::from_fn(|r| x(r, k)));
    let weights: [&[f32]; AT_ONCE] = std::array::from_fn(&weights);
    let (pairs, _) = as_pairs::<S>(weights[0]);
    let n = pairs.len();
    let w: [&[[S::f32s; 2]]; AT_ONCE] = std::array::from_fn(|k| &as_pairs::<S>(weights[k]).0[..n]);
    let mut rows = out.chunks_exact_mut(width);
    let mut out: [&mut [f32]; ROWS] = std::array::from_fn(|_| rows.next().unwrap_or_default());
    for j in 0..n {
        let mut sums: [[S::f32s; 2]; ROWS] = std::array::from_fn(|r| as_pairs::<S>(&*out[r]).0[j]);
        for k in 0..AT_ONCE {
            let [w0, w1] = w[k][j];
            for r in 0..ROWS {
                let x = simd.splat_f32s(x[k][r]);
                sums[r] = [mul_add(simd, x, w0, sums[r][0]), mul_add(simd, x, w1, sums[r][1])];
            }
        }
        for r in 0..ROWS {
            as_pairs_mut::<S>(&mut *out[r]).0[j] = sums[r];
        }
    }
    let done = n * 2 * S::F32_LANES;
    for (r, out) in out.iter_mut().enumerate() {
        for k in 0..AT_ONCE {
            scaled_sum(simd, &mut out[done..], x[k][r], &weights[k][done..]);
        }
    }
}

/// Pairs of vectors, and what is left over of them.
#[inline(always)]
fn as_pairs<S: Simd>(values: &[f32]) -> (&[[S::f32s; 2]], &[S::f32s]) {
    S::as_simd_f32s(values).0.as_chunks::<2>()
}

#[inline(always)]
fn as_pairs_mut<S: Simd>(values: &mut [f32]) -> (&mut [[S::f32s; 2]], &mut [S::f32s]) {
    S::as_mut_simd_f32s(values).0.as_chunks_mut::<2>()
}

/// `out += x w`
#[inline(always)]
pub(super) fn scaled_sum<S: Simd>(simd: S, out: &mut [f32], x: f32, weights: &[f32]) {
    let x = simd.splat_f32s(x);
    let (vectors, tail) = S::as_mut_simd_f32s(out);
    let (weights, last) = S::as_simd_f32s(weights);
    for (out, w) in vectors.iter_mut().zip(weights) {
        *out = mul_add(simd, x, *w, *out);
    }
    let sum = mul_add(simd, x, simd.partial_load_f32s(last), simd.partial_load_f32s(tail));
    simd.partial_store_f32s(tail, sum);
}
