//! Runs that record: [`trace`] ([`pass`]: prompts packed, [`again`]: what was not recorded at first);
//! [`stream`] hands on one site of a whole corpus and keeps nothing.

pub mod again;
pub mod pass;
pub mod stream;
pub mod trace;
