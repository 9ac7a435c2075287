//! Transposing weights while they are loaded.

use super::with_slice;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Side of the square tiles that are read and written while both fit the nearest cache.
const TILE: usize = 32;

/// A contiguous `[cols, rows]` copy of `x` `[rows, cols]`.
pub fn transpose(x: &Tensor) -> Result<Tensor> {
    let (rows, cols) = x.dims2()?;
    let mut out = vec![0f32; rows * cols];
    with_slice(x, |x| {
        out.par_chunks_mut(TILE * rows).enumerate().for_each(|(tile, out)| {
            let first = tile * TILE;
            for from in (0..rows).step_by(TILE) {
                for (j, out) in out.chunks_exact_mut(rows).enumerate() {
                    let to = (from + TILE).min(rows);
                    for (i, out) in (from..to).zip(&mut out[from..to]) {
                        *out = x[i * cols + first + j];
                    }
                }
            }
        });
        Ok(())
    })?;
    Tensor::from_vec(out, (cols, rows), x.device())
}
