//! Computing once: what passes and sweeps leave outlives a run, under a [`key`] of all that decides its bits. What is
//! found is what would be computed, to the bit: whole passes and whole walks of a sweep are kept, never a prompt or a cell
//! of one, whose numbers depend in their rounding on what is packed beside it. Numbers are kept that the engine computes,
//! before a metric or a closure makes something of them.

use crate::cache::Key;
use crate::memory;
use crate::model::ModelError;
use crate::run::control::Control;
use crate::run::error::Result;
use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::time::Instant;

pub mod key;

/// A result as tensors by name.
pub type Named = HashMap<String, Tensor>;

/// A result that can be kept.
pub trait Keep: Sized {
    fn tensors(&self) -> Result<Named>;

    /// The same result, unless these are not its tensors.
    fn of(tensors: Named) -> Option<Self>;
}

/// What `compute` gives, or gave in an earlier run under this key. Without a key it is always computed.
///
/// # Errors
/// Those of `compute`.
pub fn once<T: Keep>(control: &Control, key: Option<Key>, compute: impl FnOnce() -> Result<T>) -> Result<T> {
    let (Some(cache), Some(key)) = (&control.cache, key) else { return compute() };
    // Beside the result lies what is read, and what is written: where there is no room for both, it is computed.
    let room = |bytes: usize| memory::reserve(bytes.saturating_mul(2)).is_ok();
    let size = cache.size(&key).map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if size.is_some_and(room)
        && let Some(found) = cache.get(&key).and_then(|bytes| read(&bytes))
    {
        return Ok(found);
    }
    let began = Instant::now();
    let result = compute()?;
    let took = began.elapsed();
    if !cache.wants(0, took) {
        return Ok(result);
    }
    let tensors = result.tensors()?;
    let bytes = tensors.values().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum();
    if cache.wants(bytes, took) && room(bytes) {
        let kept = safetensors::serialize(&tensors, None)
            .map_err(|error| ModelError::Tensor(error.to_string()))
            .map(|bytes| cache.put(&key, &bytes))?;
        if let (Err(error), Some(note)) = (kept, &control.note) {
            let folder = cache.place().folder.display();
            note(&format!("results are not kept for the next run: cannot write to `{folder}`: {error}"));
        }
    }
    Ok(result)
}

fn read<T: Keep>(bytes: &[u8]) -> Option<T> {
    T::of(candle_core::safetensors::load_buffer(bytes, &Device::Cpu).ok()?)
}
