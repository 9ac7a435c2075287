//! What a run is.
//!
//! Read in this order:
//! - what a run is asked: [`tokens`] is the prompt; [`site`], [`names`] and [`select`] say where to stand, [`patch`] and
//!   [`apply`] what to change there, [`metric`] how to judge it;
//! - one run: [`trace`] and what it records ([`recorder`], `pass`; `again`: what was not recorded at first,
//!   `logits`: those that somebody reads, `rows`: and nothing beside them);
//! - many runs as one walk down the layers: [`plan`], [`sweep`]; [`explain`](mod@explain) says what that takes, by its
//!   [`cost`] and the [`memory`] that bounds it;
//! - on beyond the prompt: [`generate`](mod@generate), by the passes of `decode`, where `choose` takes the next token.
//!
//! [`control`] stops and watches all of it, [`error`] is why it is refused, [`check`](mod@check) tries it on a model.

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

pub use control::Control;
pub use error::{Result, RunError};
pub use explain::{Explanation, explain};
pub use metric::Metric;
pub use patch::{Edit, Patch, Steps, Value};
pub use site::{Heads, Pos, Site};
pub use tokens::Tokens;
pub use trace::{LedgerEntry, Trace, trace};
