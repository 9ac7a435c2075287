//! What scripts read and write: files, tables, JSON and arrays. Knows no model and no Rhai.
//!
//! Read [`files`] first: it decides which paths a script may touch, and every byte goes through it.
//! The formats then work on text, bytes and writers, never on paths: [`table`] (TSV and CSV), [`json`]
//! (and JSONL), [`mod@log`] (JSONL that grows), [`texts`] (corpora of any size, row by row), [`npy`] (float32 arrays) and
//! [`npz`] (several by name);
//! [`rows`] are rows of numbers, wherever they lie, and [`acts`] such rows of a model, with where they are from;
//! [`error`] is the one type that all of them fail with.
//! [`random`] draws as NumPy, Python and scikit-learn do, and [`statistics`] stands on it.

pub mod acts;
pub mod error;
pub mod files;
pub mod json;
pub mod log;
pub mod npy;
pub mod npz;
pub mod random;
pub mod rows;
pub mod statistics;
pub mod table;
pub mod texts;

pub use acts::Acts;
pub use error::DataError;
pub use files::Files;
pub use log::Log;
pub use table::{Separator, Table};
pub use texts::Texts;
