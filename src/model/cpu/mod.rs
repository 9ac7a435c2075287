//! Kernels for float32 on the CPU, on all cores and without intermediate tensors. [`super::ops`] and
//! [`super::attention`] choose them where they apply and fall back to plain tensor operations elsewhere (a card,
//! another dtype, a tracked gradient). [`elementwise`] holds the row-wise ones, [`attend`] attention, [`few`]
//! and [`tile`] products with few rows, [`blocks`] those with quantised weights, [`general`] and [`amx`] those with
//! many, [`simd`] the arithmetic they share, [`isa`] which instructions they use. Loading [`transpose`]s
//! weights and makes float32 of half precision by [`widen`].

pub mod amx;
pub mod attend;
pub mod blocks;
pub mod elementwise;
pub mod few;
pub mod general;
pub mod isa;
pub mod simd;
pub mod tile;
pub mod transpose;
pub mod widen;

use candle_core::{CpuStorage, DType, Device, Layout, Storage, Tensor};

/// May the kernels here compute on these tensors?
pub fn applies(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| {
        matches!(t.device(), Device::Cpu) && t.dtype() == DType::F32 && !t.track_op() && t.is_contiguous()
    })
}

/// Lends the entries of a contiguous float32 tensor.
fn with_slice<R>(x: &Tensor, f: impl FnOnce(&[f32]) -> candle_core::Result<R>) -> candle_core::Result<R> {
    let (storage, layout) = x.storage_and_layout();
    f(entries(&storage, layout)?)
}

/// The entries of a contiguous float32 tensor, given where it keeps them.
fn entries<'a>(storage: &'a Storage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) => Ok(&values[from..to]),
        _ => candle_core::bail!(
            "a CPU kernel was given a tensor that is not contiguous float32 in main memory"
        ),
    }
}
