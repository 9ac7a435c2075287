//! Kernels for a card: every one is a single launch, however many sequences or cells there are. [`super::ops`] and
//! [`super::attention`] choose them where they apply and fall back to plain tensor operations elsewhere.
//!
//! [`rows`] holds the row-wise ones, [`attend`] attention, [`scores`] what is looked at in it, [`patch`] the writes of a
//! place, [`products`] those of few rows, [`mixture`] a step of training mixtures; [`launch`] compiles their sources
//! (`numbers.cu` before each of the others) and starts them; [`open`](mod@open) opens the card, and what goes from one to
//! another is [`moved`](mod@moved).

pub mod attend;
pub mod launch;
pub mod mixture;
pub mod moved;
pub mod open;
pub mod patch;
pub mod products;
pub mod rows;
pub mod scores;

pub use launch::launches;
pub use moved::moved;
pub use open::{free, kind, open};

use candle_core::{DType, Tensor};

/// Numbers that threads move together, at most, in any dtype: widths and places are multiples of it.
const PACK: usize = 8;

/// May the kernels here compute on these tensors, of one card and one dtype?
pub fn applies(tensors: &[&Tensor]) -> bool {
    let aligned = |t: &Tensor| {
        t.dims().last().is_some_and(|width| width.is_multiple_of(PACK))
            && t.layout().start_offset().is_multiple_of(PACK)
    };
    serves(tensors) && tensors.iter().all(|t| aligned(t))
}

/// The same of kernels that move number by number.
pub fn serves(tensors: &[&Tensor]) -> bool {
    let Some(first) = tensors.first() else { return false };
    let alike = |t: &Tensor| {
        t.dtype() == first.dtype()
            && t.device().same_device(first.device())
            && t.is_contiguous()
            && !t.track_op()
            && t.elem_count() > 0
    };
    first.device().is_cuda()
        && matches!(first.dtype(), DType::F32 | DType::BF16 | DType::F16)
        && tensors.iter().all(|t| alike(t))
        && launch::able(first.device())
}
