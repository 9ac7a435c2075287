//! Products of one row by the kernels of `products.cu`, which read every weight once.

use super::applies;
use super::launch::{Arg, Shape, Source, launch, uninitialised};
use candle_core::{DType, Result, Tensor};

const THREADS: usize = 512;
/// Enough blocks to keep a card busy with wide ones.
const MANY: usize = 256;

/// Can a kernel multiply this row with one to three matrices `[in, out]`? Only in half precision: in float32 one row alone
/// comes out as it does among others.
pub fn serves(x: &Tensor, weights: &[&Tensor]) -> bool {
    let alone = matches!(x.dims(), [1, _]) && x.dtype() != DType::F32 && (1..=3).contains(&weights.len());
    alone && applies(&[&[x], weights].concat())
}

/// `x W` for each of the weights, in one launch.
pub fn row(x: &Tensor, weights: &[&Tensor]) -> Result<Vec<Tensor>> {
    let inner = x.dim(1)?;
    let columns = weights.iter().map(|weight| weight.dim(1)).collect::<Result<Vec<_>>>()?;
    let outs = columns.iter().map(|&width| uninitialised(&[1, width], x.dtype(), x.device()));
    let outs = outs.collect::<Result<Vec<_>>>()?;
    let mut args = vec![Arg::Tensor(x), Arg::U32(inner as u32)];
    for ((weight, out), &width) in weights.iter().zip(&outs).zip(&columns) {
        args.extend([Arg::Tensor(weight), Arg::Tensor(out), Arg::U32(width as u32)]);
    }
    for _ in weights.len()..3 {
        args.extend([Arg::Null, Arg::Null, Arg::U32(0)]);
    }
    // Columns of one block: 64 or 128 bytes of each row of a matrix.
    let blocks = |bytes: usize| -> usize {
        let block = bytes / x.dtype().size_in_bytes();
        columns.iter().map(|width| width.div_ceil(block)).sum()
    };
    let (name, grid) = if blocks(128) >= MANY { ("row_8", blocks(128)) } else { ("row_4", blocks(64)) };
    let shape = Shape { grid: [grid, 1], threads: THREADS, shared: 0 };
    launch(x.device(), x.dtype(), Source::Products, name, shape, &args)?;
    Ok(outs)
}
