//! What a run is, in the order in which to read it.
//!
//! - [`asking`]: the prompt, a place in it, what to change there and how to judge it;
//! - [`walking`]: the one loop over layers, its hook, and what patches did;
//! - who walks: [`tracing`] records, [`sweeping`] plans and computes many patched runs, [`generating`] makes new tokens;
//! - [`keeping`] what passes and walks leave, so that the next run need not compute it again.
//!
//! Around all of it: [`control`] stops and watches, [`memory`] bounds, [`divide`] lets several cards share, [`error`] says what
//! was wrong, and [`check`](mod@check) tries it all on a model.

pub mod asking;
pub mod check;
pub mod control;
mod divide;
pub mod error;
pub mod generating;
mod keeping;
pub mod memory;
pub mod sweeping;
pub mod tracing;
mod walking;

pub use asking::metric::{self, Metric};
pub use asking::names;
pub use asking::patch::{self, Edit, Patch, Steps, Value};
pub use asking::site::{self, Heads, Pos, Site};
pub use asking::tokens::{self, Tokens};
pub use control::Control;
pub use error::{Result, RunError};
pub use generating::generate;
pub use sweeping::explain::{self, Explanation, explain};
pub use sweeping::{plan, sweep};
pub use tracing::changes::{LogitChange, logit_changes};
pub use tracing::stream::{self, stream};
pub use tracing::trace::{self, Trace, trace};
pub use walking::ledger::{self, LedgerEntry};
