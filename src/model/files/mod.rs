//! A model's files: which there are, what they hold, and how they become a model.
//!
//! Read in this order:
//! - where loading starts: [`open`] goes from a name to a model, be it the [`embedded`] one, a folder, a `.gguf` file or
//!   one of the [`hub`];
//! - named tensors, from safetensors or from [`gguf`]: [`checkpoint`];
//! - how tensors become the weights of layers: [`assemble`]; those that no file holds: [`made`]; on which of several cards:
//!   [`placement`];
//! - [`folder`] says what is there where no model is, [`inside`] that a model's files are its own.

pub mod assemble;
pub mod checkpoint;
pub mod embedded;
pub mod folder;
pub mod gguf;
pub mod hub;
pub mod inside;
pub mod made;
pub mod open;
pub mod placement;

/// What a model may have besides `config.json` and its weights: it is fetched with them, and is part of what a run was
/// made of.
const SIDE_FILES: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];
