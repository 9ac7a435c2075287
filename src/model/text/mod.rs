//! A model's words: [`tokenizer`] turns text into ids and back, [`chat`] a conversation into text.

pub mod chat;
pub mod tokenizer;
