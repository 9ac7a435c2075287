//! patchscript runs causal experiments on language models from short Rhai scripts.
//!
//! A script is read by [`script`], which turns what it says into values of the layers below and their errors
//! into diagnostics. [`run`] checks every patch, plans and computes; [`model`] is the forward pass. What comes
//! out is computed on by [`analysis`], drawn by [`plot`] and written by [`data`]. [`cli`] is the two doors: `patchscript
//! run` and the REPL.
//!
//! Imports go one way: `cli → script → run → model`; `analysis`, `plot` and `data` are leaves that know no model,
//! and [`memory`] says to all of them how much there is. [`cache`] keeps what the engine computed for the next run. Small things that several rooms need: `count` (numbers of
//! things in messages), [`help`] (the cure of an error), `nearest` (the name that was meant), `number` (how one is written), `plain` (regular files and nothing else), `utf8`
//! (text files as people save them). `docs/architecture.md` draws all of it, and `tests/house.rs` holds it.

pub mod analysis;
pub mod cache;
pub mod cli;
mod count;
pub mod data;
pub mod help;
pub mod memory;
pub mod model;
mod nearest;
mod number;
mod plain;
pub mod plot;
pub mod run;
pub mod script;
mod utf8;
