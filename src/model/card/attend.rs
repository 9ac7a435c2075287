//! Attention by the kernels of `attention.cu`: one launch for all segments of a batch.

use super::launch::{Arg, Shape, Source, launch, shared_memory, uninitialised};
use super::{PACK, applies};
use crate::model::batch::{Batch, Kv};
use crate::model::cpu::attend::Form;
use candle_core::{DType, Device, Result, Tensor};

/// Query rows, and keys at a time, of one block: `ROWS` and `KEYS` of the kernel.
const TILE: usize = 32;
/// Query rows of one block of the kernel for half precision.
const HALVES_TILE: usize = 64;
/// The widest head.
const MOST: usize = 256;

/// Can the kernel serve heads of this width on this device?
pub fn able(d_head: usize, device: &Device) -> bool {
    d_head.is_multiple_of(PACK) && d_head <= MOST && shared_bytes(d_head) <= shared_memory(device)
}

/// The same on these tensors.
pub fn serves(d_head: usize, operands: &[&Tensor]) -> bool {
    applies(operands) && operands.first().is_some_and(|q| able(d_head, q.device()))
}

/// Bytes of shared memory of a block: queries, keys, values and weights, in float32.
pub fn shared_bytes(d_head: usize) -> usize {
    TILE * (d_head + 2 * (d_head + 4) + TILE + 4) * size_of::<f32>()
}

/// How many heads one block takes where each segment has one row: `HEADS` of the kernel.
fn heads_at_once(d_head: usize) -> usize {
    if d_head > 128 { 2 } else { 4 }
}

/// `z` `[rows, n_heads * d_head]`; operands as [`crate::model::attention::Qkv`] has them.
pub fn attend(form: Form, q: &Tensor, own: &Kv, past: Option<&Kv>, batch: &Batch) -> Result<Tensor> {
    let Form { n_heads, n_kv_heads, d_head, scale, softcap, window } = form;
    let r = n_heads / n_kv_heads;
    let single = batch.segments().iter().all(|segment| segment.len == 1);
    let halves = q.dtype() != DType::F32 && d_head.is_multiple_of(16);
    let (name, rows, threads, shared) = match (single, halves) {
        (true, _) => ("attend_rows", heads_at_once(d_head), 256, 0),
        (false, true) => ("attend_halves", HALVES_TILE, 128, 0),
        (false, false) => ("attend_tiles", TILE, 128, shared_bytes(d_head)),
    };
    let tiles = batch.tiles(r, rows, q.device())?;
    let out = uninitialised(q.dims(), q.dtype(), q.device())?;
    let past = past.map_or([Arg::Null, Arg::Null], |past| [Arg::Tensor(&past.k), Arg::Tensor(&past.v)]);
    let [past_k, past_v] = past;
    let args = [
        Arg::Tensor(q),
        Arg::Tensor(&own.k),
        Arg::Tensor(&own.v),
        past_k,
        past_v,
        Arg::Tensor(&out),
        Arg::Tensor(tiles),
        Arg::U32(n_kv_heads as u32),
        Arg::U32(r as u32),
        Arg::U32(window.map_or(u32::MAX, |window| window as u32)),
        Arg::F32(scale),
        Arg::F32(softcap.unwrap_or(0.0)),
    ];
    let shape = Shape { grid: [tiles.dim(0)?, n_kv_heads], threads, shared };
    launch(q.device(), q.dtype(), Source::Attention { d_head }, name, shape, &args)?;
    Ok(out)
}
