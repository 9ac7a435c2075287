//! Scores and patterns by the kernels of `scores.cu`: one launch for all segments of a batch.

use super::launch::{Arg, Shape, Source, launch, uninitialised};
use super::{PACK, applies};
use crate::model::batch::{Batch, Kv, Packed};
use crate::model::cpu::attend::Form;
use candle_core::{Result, Tensor};

const THREADS: usize = 128;

/// Can the kernels show the scores of these queries, keys and values?
pub fn serves(form: Form, operands: &[&Tensor]) -> bool {
    form.d_head.is_multiple_of(PACK) && applies(operands)
}

fn start(form: Form, near: &Tensor, batch: &Batch, name: &'static str, args: &[Arg]) -> Result<()> {
    let shape = Shape { grid: [batch.rows(), form.n_heads], threads: THREADS, shared: 0 };
    launch(near.device(), near.dtype(), Source::Scores { d_head: form.d_head }, name, shape, args)
}

fn window(form: Form) -> Arg<'static> {
    Arg::U32(form.window.map_or(u32::MAX, |window| window as u32))
}

/// Scores, minus infinity where a query sees no key.
pub fn scores(form: Form, q: &Tensor, own: &Kv, past: Option<&Kv>, batch: &Batch) -> Result<Packed> {
    let numbers = uninitialised(&[batch.scores(form.n_heads)], q.dtype(), q.device())?;
    let args = [
        Arg::Tensor(q),
        Arg::Tensor(&own.k),
        past.map_or(Arg::Null, |past| Arg::Tensor(&past.k)),
        Arg::Tensor(batch.looks(form.n_heads, q.device())?),
        Arg::Tensor(&numbers),
        Arg::U32((form.n_heads / form.n_kv_heads) as u32),
        window(form),
        Arg::F32(form.scale),
        Arg::F32(form.softcap.unwrap_or(0.0)),
    ];
    start(form, q, batch, "scores", &args)?;
    Ok(Packed::new(numbers, batch, form.n_heads))
}

/// What the softmax makes of scores.
pub fn pattern(form: Form, scores: &Packed, batch: &Batch) -> Result<Packed> {
    let numbers = &scores.numbers;
    let out = uninitialised(numbers.dims(), numbers.dtype(), numbers.device())?;
    let looks = batch.looks(form.n_heads, numbers.device())?;
    let args = [Arg::Tensor(numbers), Arg::Tensor(looks), Arg::Tensor(&out), window(form)];
    start(form, numbers, batch, "pattern", &args)?;
    Ok(Packed::new(out, batch, form.n_heads))
}

/// `z` `[rows, n_heads * d_head]`, which nobody else holds, mixed anew in place where `after` is not `before`.
pub fn remix(
    form: Form,
    [before, after]: [&Packed; 2],
    own: &Kv,
    past: Option<&Kv>,
    batch: &Batch,
    z: &Tensor,
) -> Result<()> {
    let args = [
        Arg::Tensor(&before.numbers),
        Arg::Tensor(&after.numbers),
        Arg::Tensor(&own.v),
        past.map_or(Arg::Null, |past| Arg::Tensor(&past.v)),
        Arg::Tensor(batch.looks(form.n_heads, z.device())?),
        Arg::Tensor(z),
        Arg::U32((form.n_heads / form.n_kv_heads) as u32),
    ];
    start(form, z, batch, "remix", &args)
}
