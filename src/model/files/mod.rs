//! A model's files: which there are, what they hold, and how they become a model.
//!
//! Read in this order:
//! - where loading starts: [`open`] goes from a name to a model, be it the [`embedded`] one, a folder, a `.gguf` file or
//!   one of the [`hub`];
//! - named tensors, from safetensors or from [`gguf`]: [`checkpoint`];
//! - how tensors become the weights of layers: [`assemble`];
//! - [`folder`] says what is there where no model is, [`inside`] that a model's files are its own.

pub mod assemble;
pub mod checkpoint;
pub mod embedded;
pub mod folder;
pub mod gguf;
pub mod hub;
pub mod inside;
pub mod open;
