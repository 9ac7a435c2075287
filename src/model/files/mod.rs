//! A model's files: which there are, what they hold, and how they become a model.
//!
//! Read in this order:
//! - [`open`]: where loading starts. From a name to a model: the [`embedded`] one, a folder, a `.gguf` file, or one of
//!   the [`hub`];
//! - [`checkpoint`]: named tensors, from safetensors or from [`gguf`];
//! - [`assemble`]: how tensors become the weights of layers;
//! - [`folder`] says what is there where no model is, [`inside`] that a model's files are its own.

pub mod assemble;
pub mod checkpoint;
pub mod embedded;
pub mod folder;
pub mod gguf;
pub mod hub;
pub mod inside;
pub mod open;
