//! Files and tables.
//!
//! Read in this order: [`text`] (text, JSON and JSONL files), [`json`] (script values as JSON and back), [`table`] (the
//! type `Table`), [`texts`] (corpora), [`numbers`] (statistics), [`log`] (the type `Log`, a JSONL file that an interrupted run goes on in).

mod json;
mod log;
mod numbers;
mod table;
mod text;
pub mod texts;

pub use json::{from_json, to_json};
pub use text::write;

use crate::script::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    text::register(api);
    table::register(api);
    texts::register(api);
    numbers::register(api);
    log::register(api);
}
