//! What a run is, in the order in which to read it.
//!
//! What is asked: [`tokens`] is the prompt, [`site`] a place in it ([`names`]: its spellings, [`select`]: its rows and
//! columns), [`patch`] what to change there, [`metric`] how to judge it.
//!
//! How it is computed: [`walk`](mod@walk) is the one loop over layers; [`recorder`] is its hook, which carries out
//! patches ([`apply`]) and keeps activations ([`rows`]: theirs alone); [`ledger`] is what patches did.
//!
//! Who walks: [`trace`](mod@trace) ([`pass`]: prompts packed, [`logits`]: those that somebody reads, [`again`]: what was
//! not recorded at first); [`sweep`](mod@sweep) of a [`plan`](mod@plan) ([`explain`](mod@explain) and [`cost`] say what
//! that takes); [`generate`](mod@generate) ([`decode`]: its passes, [`choose`]: its tokens).
//!
//! Around all of it: [`control`] stops and watches, [`memory`] bounds, [`error`] says what was wrong, and
//! [`check`](mod@check) tries it all on a model.

mod again;
pub mod apply;
pub mod check;
mod choose;
pub mod control;
pub mod cost;
mod decode;
pub mod error;
pub mod explain;
pub mod generate;
pub mod ledger;
mod logits;
pub mod memory;
pub mod metric;
pub mod names;
mod pass;
pub mod patch;
pub mod plan;
pub mod recorder;
mod rows;
pub mod select;
pub mod site;
pub mod sweep;
pub mod tokens;
pub mod trace;
mod walk;

pub use control::Control;
pub use error::{Result, RunError};
pub use explain::{Explanation, explain};
pub use ledger::LedgerEntry;
pub use metric::Metric;
pub use patch::{Edit, Patch, Steps, Value};
pub use site::{Heads, Pos, Site};
pub use tokens::Tokens;
pub use trace::{Trace, trace};
