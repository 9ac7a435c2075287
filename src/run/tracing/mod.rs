//! Runs that record: [`trace`] ([`ending`]: its logits; [`pass`]: prompts packed, [`again`]: what was not recorded at first);
//! [`changes`] compares two of them; [`stream`] hands on one site of a whole corpus and keeps nothing.

pub mod again;
pub mod changes;
pub mod ending;
pub mod pass;
pub mod stream;
pub mod trace;
