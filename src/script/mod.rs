//! The script host: the only place that knows Rhai.
//!
//! Read in this order:
//! - [`api`] the one table of everything a script can call ([`signature`] parses its lines, [`reference`](mod@reference)
//!   prints it for readers and editors);
//! - [`bind`] fills the table, a file or a folder a type; its functions take their arguments through [`args`],
//!   refuse by [`error`] and stand behind one [`gate`];
//! - [`context`] what a running script shares with its bindings: options, parameters ([`params`]),
//!   [`interrupt`], [`progress`], [`resume`], [`record`] (what a run was made of and gave), [`watched`] (the files that
//!   decide what it does), and where it speaks, [`output`];
//! - [`operators`] and [`turns`], where the engine would be silently wrong: comparisons, division, closures in loops;
//! - [`host`] one engine with its [`limits`] and [`modules`], and no [`clock`]: compile, [`validate`] (with
//!   [`literals`]), [`lint`], run, and [`trial`], which runs the test functions of a script;
//! - [`supervisor`] waits for a script's thread and its [`stack`], [`growth`] measures its values, [`held`] drops those
//!   inside native ones, [`panics`] catches what no error foresaw;
//! - [`key_order`] the order of a map's keys, which the engine forgets and chat templates print;
//! - [`session`] the REPL without a terminal, with [`entry`] (when an input is whole), [`results`] (what earlier inputs
//!   gave), [`transcript`] (what ran, as a script), [`spent`] and [`tally`] (what it took), [`assist`] (what helps to
//!   type), [`help`] and [`value`] (how a value is shown; [`draw`] where it stands alone, as
//!   wide as the [`terminal`] is);
//! - [`format`](mod@format) and [`pattern`], Python's formats and regular expressions;
//! - [`diagnose`] turns every engine error into a [`diagnostic`], drawn over its [`source`], also where a script catches it
//!   ([`caught`]); [`cure`] is what to do about errors of the layers below.

pub mod api;
pub mod args;
pub mod assist;
pub mod bind;
pub mod caught;
pub mod clock;
pub mod context;
mod cure;
pub mod diagnose;
pub mod diagnostic;
pub mod draw;
pub mod entry;
pub mod error;
pub mod format;
pub mod gate;
pub mod growth;
pub mod held;
pub mod help;
pub mod host;
pub mod interrupt;
pub mod key_order;
pub mod limits;
pub mod lint;
pub mod literals;
pub mod modules;
pub mod operators;
pub mod output;
pub mod panics;
pub mod params;
pub mod pattern;
pub mod progress;
pub mod record;
pub mod reference;
pub mod results;
pub mod resume;
pub mod session;
pub mod signature;
pub mod source;
pub mod spent;
pub mod stack;
pub mod supervisor;
pub mod tally;
pub mod terminal;
pub mod transcript;
pub mod trial;
pub mod turns;
pub mod validate;
pub mod value;
pub mod watched;

pub use api::Api;
pub use args::Options;
pub use context::{Context, HostOptions};
pub use diagnostic::Diagnostic;
pub use error::{Error, Failure, ScriptResult, fail};
pub use host::Host;
pub use session::Session;
