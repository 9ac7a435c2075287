//! Scripts have no clock: what a script computes must not depend on when, or how fast, it runs.

use rhai::{Dynamic, Engine};

use super::error::{Failure, ScriptResult, fail};

/// The engine's own functions of time.
pub const FUNCTIONS: [&str; 2] = ["sleep", "timestamp"];

/// The refusal of one of [`FUNCTIONS`].
pub fn refusal(function: &str) -> Failure {
    fail(format!("`{function}` is switched off"))
        .help("scripts have no clock, so that every run gives the same result: drop this call")
}

/// Puts a refusal in the place of each function: a check of the text does not see `Fn("sleep").call(1)`.
pub(super) fn switch_off(engine: &mut Engine) {
    for function in FUNCTIONS {
        let refuse = move || -> ScriptResult<Dynamic> { Err(refusal(function).into()) };
        engine.register_fn(function, refuse);
        engine.register_fn(function, move |_: i64| refuse());
        engine.register_fn(function, move |_: f64| refuse());
    }
}
