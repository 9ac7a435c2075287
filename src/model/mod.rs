//! A language model: its files, its text, its forward pass.
//!
//! Text: `hub` fetches a model folder, `gguf` opens the other kind of model file, `tokenizer` turns text into ids and
//! back, `chat` renders a conversation as the text that the model was trained on.

pub mod chat;
pub mod gguf;
pub mod hub;
pub mod tokenizer;
