//! Products of few rows by the kernels of `products.cu`, which read every weight once.

use super::applies;
use super::launch::{Arg, Shape, Source, launch, uninitialised};
use super::rows::number_of;
use crate::model::config::Activation;
use crate::model::precision::Precision;
use candle_core::{DType, Result, Tensor};

/// Rows that the tensor cores take at once, columns of matrices, and threads of a block.
const EIGHT: usize = 8;
const TILE: usize = 16;
const THREADS: usize = 256;

/// Can a kernel multiply these rows with one to three matrices `[in, out]`, which lie column by column and which nobody has
/// just written? Only in half precision: in float32 few rows come out as they do among many.
pub fn serves(x: &Tensor, weights: &[&Tensor]) -> bool {
    let few = x.rank() == 2 && x.dims()[0] <= 2 * EIGHT && x.dtype() != DType::F32;
    if !few || !(1..=3).contains(&weights.len()) {
        return false;
    }
    let columns: Option<Vec<Tensor>> = weights.iter().map(|weight| weight.t().ok()).collect();
    columns.is_some_and(|columns| applies(&columns.iter().chain([x]).collect::<Vec<_>>()))
}

/// How cuBLAS multiplies float32 from now on, in the whole process.
pub fn multiply(precision: Precision) {
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::High);
    #[cfg(not(feature = "cuda"))]
    let _ = precision;
}

fn start(x: &Tensor, names: [&'static str; 2], blocks: usize, args: &[Arg]) -> Result<()> {
    let name = names[usize::from(x.dim(0)? > EIGHT)];
    let shape = Shape { grid: [blocks, 1], threads: THREADS, shared: 0 };
    launch(x.device(), x.dtype(), Source::Products, name, shape, args)
}

/// `x W` for each of the weights, in one launch; plus `more`, if there is that, for the first.
pub fn few(x: &Tensor, weights: &[&Tensor], more: Option<&Tensor>) -> Result<Vec<Tensor>> {
    let (rows, inner) = x.dims2()?;
    let columns = weights.iter().map(|weight| weight.dim(1)).collect::<Result<Vec<_>>>()?;
    let outs = columns.iter().map(|&width| uninitialised(&[rows, width], x.dtype(), x.device()));
    let outs = outs.collect::<Result<Vec<_>>>()?;
    let [rows, inner] = [rows, inner].map(|n| Arg::U32(n as u32));
    let mut args = vec![Arg::Tensor(x), rows, inner, more.map_or(Arg::Null, Arg::Tensor)];
    for ((weight, out), &width) in weights.iter().zip(&outs).zip(&columns) {
        args.extend([Arg::Tensor(weight), Arg::Tensor(out), Arg::U32(width as u32)]);
    }
    for _ in weights.len()..3 {
        args.extend([Arg::Null, Arg::Null, Arg::U32(0)]);
    }
    let blocks = columns.iter().map(|width| width.div_ceil(TILE)).sum();
    start(x, ["few_1", "few_2"], blocks, &args)?;
    Ok(outs)
}

/// `act(x W_gate) * (x W_up)`
pub fn gated(x: &Tensor, [gate, up]: [&Tensor; 2], kind: Activation) -> Result<Tensor> {
    let (rows, inner) = x.dims2()?;
    let columns = gate.dim(1)?;
    let out = uninitialised(&[rows, columns], x.dtype(), x.device())?;
    let [rows, inner, width] = [rows, inner, columns].map(|n| Arg::U32(n as u32));
    let (gate, up) = (Arg::Tensor(gate), Arg::Tensor(up));
    let args = [Arg::Tensor(x), rows, inner, gate, up, Arg::Tensor(&out), width, Arg::U32(number_of(kind))];
    start(x, ["gated_1", "gated_2"], columns.div_ceil(TILE / 2), &args)?;
    Ok(out)
}
