//! What a run is: where to stand ([`site`], [`names`], [`select`]), what to change there ([`patch`], [`apply`]),
//! what to record ([`recorder`], `pass`, [`trace`]; `again`: what was not recorded at first, `logits`: those that somebody
//! reads, `rows`: and nothing beside them), how to judge it ([`metric`]), how many runs become one walk down the
//! layers ([`plan`], [`sweep`]; [`explain`] says what that takes), and how a run goes on beyond its prompt
//! ([`generate`]). [`tokens`] is the prompt; [`control`] stops and watches all of it, [`memory`] bounds it,
//! [`check`](mod@check) tries all of it on a model.

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
