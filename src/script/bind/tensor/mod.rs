//! The type `Tensor`.
//!
//! Read [`value`] first: what a tensor of a script is, and how one is made and read back ([`make`]: by a rule). Then what
//! tensors can do:
//! [`ops`] (arithmetic, products), [`einsum`] (products over named axes), [`mask`] (comparisons), [`reduce`] (sums, order,
//! softmax), [`index`] (parts and shapes), [`linear`] (algebra), [`file`](mod@file) (NumPy's and safetensors' files).
//! [`show`] prints one.

mod einsum;
mod file;
mod index;
mod linear;
mod make;
mod mask;
mod ops;
mod reduce;
mod show;
mod value;

pub use reduce::rising;
pub use value::{Tensor, check_room, refused, to_dynamic};

use crate::script::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    value::register(api);
    make::register(api);
    ops::register(api);
    einsum::register(api);
    mask::register(api);
    index::register(api);
    reduce::register(api);
    linear::register(api);
    file::register(api);
}
