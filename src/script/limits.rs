//! What a script may use before it is stopped.
//!
//! Steps, calls and the sizes of single values are the engine's own limits; memory is counted by [`memory`], time by
//! the thread that waits for the script ([`supervisor`](super::supervisor)), and values that grow by assignment are
//! measured by [`growth`](super::growth).

use std::time::Duration;

use indicatif::HumanBytes;
use rhai::{Engine, EvalAltResult};

use super::context::HostOptions;
use super::error::{Failure, ScriptResult, refused};
use crate::memory::{self, Full};

/// Limits of one run. Counts are of the engine's own units; sizes are in bytes or elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the interpreter, not of the model.
    pub operations: u64,
    /// Nested calls of script functions; the stack may end them before.
    pub call_levels: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
    /// Elements of one array, with those of arrays inside.
    pub array_len: usize,
    /// Entries of one map, with those of maps inside.
    pub map_len: usize,
    /// Bytes of all that a script holds beside its models; three quarters of what the machine has if none.
    pub memory: Option<usize>,
    /// How long a script, or an input of the REPL, may take.
    pub time: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 10_000_000_000,
            call_levels: 64,
            string_bytes: 64_000_000,
            array_len: 10_000_000,
            map_len: 1_000_000,
            memory: None,
            time: None,
        }
    }
}

impl Limits {
    /// Depth of an expression, at the top level and in a function.
    const EXPR_DEPTHS: (usize, usize) = (128, 64);

    /// Bytes of all that a script holds.
    pub fn memory(&self) -> usize {
        self.memory.unwrap_or_else(memory::limit::default)
    }

    /// These limits, with single values small enough that a script over its memory is seen between two of them.
    pub(super) fn of_values(&self) -> Self {
        let most = self.memory() / 8;
        Self {
            string_bytes: self.string_bytes.min(most),
            array_len: self.array_len.min(most / 16),
            map_len: self.map_len.min(most / 64),
            ..*self
        }
    }

    pub(super) fn apply(&self, engine: &mut Engine) {
        let (global, function) = Self::EXPR_DEPTHS;
        let Self { string_bytes, array_len, map_len, .. } = self.of_values();
        engine
            .set_max_operations(self.operations)
            .set_max_call_levels(self.call_levels)
            .set_max_expr_depths(global, function)
            .set_max_string_size(string_bytes)
            .set_max_array_size(array_len)
            .set_max_map_size(map_len);
    }
}

/// What a script may use, what the next input finds used, and the options that change it.
pub fn table(options: &HostOptions) -> String {
    let limits = &options.limits;
    let bytes = |bytes: usize| HumanBytes(bytes as u64).to_string();
    let held = memory::limit::used();
    let step = options.memory.map_or_else(|| "half of what is free".to_string(), bytes);
    let time = limits.time.map_or_else(|| "none".to_string(), |time| format!("{time:?}"));
    let rows = [
        ("memory", format!("{}, of which {} are held", bytes(limits.memory()), bytes(held)), "--max-memory"),
        ("memory of a step", step, "--memory"),
        ("time of an input", time, "--max-time"),
        ("steps", limits.operations.to_string(), "--max-ops"),
        ("nested calls", limits.call_levels.to_string(), "--max-call-levels"),
        ("bytes of a string", limits.string_bytes.to_string(), "--max-string"),
        ("values of an array", limits.array_len.to_string(), "--max-array"),
        ("entries of a map", limits.map_len.to_string(), "--max-map"),
    ];
    let width = rows.iter().map(|row| row.1.len()).max().unwrap_or(0);
    let line =
        |(name, value, option): &(&str, String, &str)| format!("{name:<18}  {value:<width$}  {option}");
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        refused(&full)
    }
}

impl From<Full> for Box<EvalAltResult> {
    fn from(full: Full) -> Self {
        Failure::from(full).into()
    }
}

/// Refuses `count` values of an array that would not fit, before they are made.
pub fn reserve_values(count: usize) -> ScriptResult<()> {
    Ok(memory::reserve_many(count, size_of::<rhai::Dynamic>())?)
}
