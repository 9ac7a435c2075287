//! The row-wise kernels of `rows.cu`.

use super::PACK;
use super::launch::{Arg, Shape, Source, able, address, launch, uninitialised};
use crate::model::batch::Kv;
use crate::model::config::Activation;
use candle_core::{DType, Device, Result, Tensor};

const THREADS: usize = 256;
/// Blocks of kernels that go on by the size of their grid.
const BLOCKS: usize = 1 << 16;

fn start(near: &Tensor, name: &'static str, grid: usize, threads: usize, args: &[Arg]) -> Result<()> {
    let shape = Shape { grid: [grid, 1], threads, shared: 0 };
    launch(near.device(), near.dtype(), Source::Rows, name, shape, args)
}

/// A kernel over all packs of `x`, whose result has its shape.
fn flat(x: &Tensor, name: &'static str, other: Arg, last: Option<u32>) -> Result<Tensor> {
    let out = uninitialised(x.dims(), x.dtype(), x.device())?;
    let packs = x.elem_count() / pack(x);
    let mut args = vec![Arg::Tensor(x), other, Arg::Tensor(&out), Arg::U64(packs as u64)];
    args.extend(last.map(Arg::U32));
    start(x, name, packs.div_ceil(THREADS).min(BLOCKS), THREADS, &args)?;
    Ok(out)
}

/// Numbers that a thread moves at once.
fn pack(x: &Tensor) -> usize {
    if x.dtype() == DType::F32 { PACK / 2 } else { PACK }
}

/// Threads of a block that goes along one row of so many steps.
fn along(steps: usize) -> usize {
    steps.next_multiple_of(32).min(THREADS)
}

/// `a + b`, of equal shapes.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    flat(a, "add", Arg::Tensor(b), None)
}

/// `x + bias`, `bias` `[width]` to every row.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let width = bias.elem_count() / pack(x);
    flat(x, "add_bias", Arg::Tensor(bias), Some(width as u32))
}

/// As the kernels number it.
pub(super) fn number_of(kind: Activation) -> u32 {
    match kind {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
    }
}

/// `act(gate)`, times `up` where there is one.
pub fn gated(gate: &Tensor, up: Option<&Tensor>, kind: Activation) -> Result<Tensor> {
    flat(gate, "gated", up.map_or(Arg::Null, Arg::Tensor), Some(number_of(kind)))
}

/// Over the last axis: a layer norm with a bias, else a root mean square norm.
pub fn norm(x: &Tensor, gain: &Tensor, bias: Option<&Tensor>, eps: f32) -> Result<Tensor> {
    normed(x, None, gain, bias, eps)
}

/// `a + b` and its norm.
pub fn add_norm(
    a: &Tensor,
    b: &Tensor,
    gain: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<(Tensor, Tensor)> {
    let sum = uninitialised(a.dims(), a.dtype(), a.device())?;
    let out = normed(a, Some((b, &sum)), gain, bias, eps)?;
    Ok((sum, out))
}

/// The norm of `x`, or of the sum of `x` and another, which goes where is said.
fn normed(
    x: &Tensor,
    sum: Option<(&Tensor, &Tensor)>,
    gain: &Tensor,
    bias: Option<&Tensor>,
    eps: f32,
) -> Result<Tensor> {
    let width = gain.elem_count();
    let rows = x.elem_count() / width;
    let out = uninitialised(x.dims(), x.dtype(), x.device())?;
    let by_warp = width <= 64 * pack(x);
    let warps = THREADS / 32;
    let (grid, threads) =
        if by_warp { (rows.div_ceil(warps), THREADS) } else { (rows, along(width / pack(x))) };
    let args = [
        Arg::Tensor(x),
        sum.map_or(Arg::Null, |(more, _)| Arg::Tensor(more)),
        sum.map_or(Arg::Null, |(_, sum)| Arg::Tensor(sum)),
        Arg::Tensor(gain),
        bias.map_or(Arg::Null, Arg::Tensor),
        Arg::Tensor(&out),
        Arg::U32(rows as u32),
        Arg::U32(width as u32),
        Arg::F32(eps),
        Arg::U32(by_warp.into()),
    ];
    start(x, "norm_rows", grid, threads, &args)?;
    Ok(out)
}

/// Rotary positions: row i of queries and keys, `[rows, heads * d_head]`, is turned by row `positions[i]` of `cos` and
/// `sin`, float32 `[.., half]`.
pub fn rotary(
    [q, k]: [&Tensor; 2],
    cos: &Tensor,
    sin: &Tensor,
    positions: &Tensor,
    d_head: usize,
) -> Result<[Tensor; 2]> {
    let [out_q, out_k] = [q, k].map(|x| uninitialised(x.dims(), x.dtype(), x.device()));
    let (out_q, out_k) = (out_q?, out_k?);
    let args = [
        Arg::Tensor(q),
        Arg::Tensor(k),
        Arg::Tensor(&out_q),
        Arg::Tensor(&out_k),
        Arg::U32(q.dim(1)? as u32),
        Arg::U32(k.dim(1)? as u32),
        Arg::Tensor(cos),
        Arg::Tensor(sin),
        Arg::Tensor(positions),
        Arg::U32(cos.dim(1)? as u32),
        Arg::U32(d_head as u32),
    ];
    let shape = Shape { grid: [q.dim(0)?, 2], threads: along(q.dim(1)?), shared: 0 };
    launch(q.device(), q.dtype(), Source::Rows, "rotary", shape, &args)?;
    Ok([out_q, out_k])
}

/// Rows `from`, `[n]` of `u32`, of `a` and `b` as if they lay end to end.
pub fn take(a: &Tensor, b: &Tensor, from: &Tensor) -> Result<Tensor> {
    let (rows_of_a, width) = a.dims2()?;
    let rows = from.elem_count();
    let out = uninitialised(&[rows, width], a.dtype(), a.device())?;
    let packs = width / pack(a);
    let args = [
        Arg::Tensor(a),
        Arg::Tensor(b),
        Arg::Tensor(from),
        Arg::Tensor(&out),
        Arg::U32(rows_of_a as u32),
        Arg::U32(packs as u32),
    ];
    start(a, "take", rows, along(packs), &args)?;
    Ok(out)
}

/// In each layer, writes row i of `new` over row `to[i]`, `[n]` of `u32`, of `all`; all layers are alike.
pub fn put(all: &[Kv], new: &[Kv], to: &Tensor) -> Result<()> {
    let Some(first) = new.first() else { return Ok(()) };
    let (rows, width) = first.k.dims2()?;
    let packs = width / pack(&first.k);
    let places = new.iter().zip(all).flat_map(|(new, all)| [&new.k, &new.v, &all.k, &all.v]);
    let places = table(&places.map(address).collect::<Result<Vec<_>>>()?, first.k.device())?;
    let args = [Arg::Tensor(&places), Arg::Tensor(to), Arg::U32(packs as u32)];
    let shape = Shape { grid: [rows, new.len()], threads: along(packs), shared: 0 };
    launch(first.k.device(), first.k.dtype(), Source::Rows, "put", shape, &args)
}

/// Copies of tensors, each of which owns its numbers.
pub fn own_all(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    let Some(first) = tensors.first() else { return Ok(Vec::new()) };
    let out = |x: &&Tensor| uninitialised(x.dims(), x.dtype(), x.device());
    let out: Vec<Tensor> = tensors.iter().map(out).collect::<Result<_>>()?;
    let mut words = Vec::with_capacity(3 * out.len());
    for (from, to) in tensors.iter().zip(&out) {
        words.extend([address(from)?, address(to)?, from.elem_count() as u64]);
    }
    let copies = table(&words, first.device())?;
    let shape = Shape { grid: [out.len(), 16], threads: THREADS, shared: 0 };
    launch(first.device(), first.dtype(), Source::Rows, "copies", shape, &[Arg::Tensor(&copies)])?;
    Ok(out)
}

/// Long words where a kernel can read them.
fn table(words: &[u64], device: &Device) -> Result<Tensor> {
    let halves: Vec<u32> = words.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]).collect();
    Tensor::new(halves, device)
}

/// Is there a kernel that makes random numbers there?
pub fn randomises(device: &Device, dtype: DType) -> bool {
    device.is_cuda() && able(device) && matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
}

/// Random numbers; see [`crate::model::files::made`].
pub fn random(shape: &[usize], dtype: DType, device: &Device, key: u64, scale: f32) -> Result<Tensor> {
    let out = uninitialised(shape, dtype, device)?;
    let count = out.elem_count();
    let args = [Arg::Tensor(&out), Arg::U64(count as u64), Arg::U64(key), Arg::F32(scale)];
    start(&out, "random_numbers", count.div_ceil(THREADS).clamp(1, BLOCKS), THREADS, &args)?;
    Ok(out)
}

/// Of every row of logits `[rows, d_vocab]`: the first of the largest, the natural log of its probability, and its logit,
/// NaN if any is; `[rows, 3]` float32. Ids below 2^24 are exact there.
pub fn choose(logits: &Tensor) -> Result<Tensor> {
    let (rows, width) = logits.dims2()?;
    let out = uninitialised(&[rows, 3], DType::F32, logits.device())?;
    let args = [Arg::Tensor(logits), Arg::Tensor(&out), Arg::U32(width as u32)];
    start(logits, "choose", rows, 1024, &args)?;
    Ok(out)
}
