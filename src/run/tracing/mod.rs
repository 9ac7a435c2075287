//! Runs that record: [`trace`] ([`pass`]: prompts packed, [`again`]: what was not recorded at first).

pub mod again;
pub mod pass;
pub mod trace;
