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
            let (first, width) = (tile * TILE, out.len() / rows);
            // Row by row into a square at hand, column by column out of it.
            let mut square = [[0f32; TILE]; TILE];
            for (from, x) in (0..rows).step_by(TILE).zip(x.chunks(TILE * cols)) {
                for (kept, row) in square.iter_mut().zip(x.chunks_exact(cols)) {
                    kept[..width].copy_from_slice(&row[first..first + width]);
                }
                for (j, out) in out.chunks_exact_mut(rows).enumerate() {
                    for (out, kept) in out[from..].iter_mut().zip(&square) {
                        *out = kept[j];
                    }
                }
            }
        });
        Ok(())
    })?;
    Tensor::from_vec(out, (cols, rows), x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn rows_become_columns_in_whole_squares_and_in_parts() {
        for shape in [(1, 1), (1, 40), (40, 1), (31, 33), (32, 64), (70, 101)] {
            let x = Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap();
            let numbers = |x: Tensor| x.to_vec2::<f32>().unwrap();
            assert_eq!(numbers(transpose(&x).unwrap()), numbers(x.t().unwrap()));
        }
    }
}
