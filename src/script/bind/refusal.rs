//! Errors of the layers below as errors of a script.

use rhai::{Dynamic, EvalAltResult, Position};

use crate::model::ModelError;
use crate::run::RunError;
use crate::script::error::fail;

/// A run that was refused, or stopped by Ctrl-C, which no script can catch.
pub fn run(error: RunError) -> Box<EvalAltResult> {
    if error.is_interrupt() {
        return EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into();
    }
    let help = error.help();
    fail(error.to_string()).maybe_help(help).into()
}

/// A model that cannot do what was asked.
pub fn model(error: impl Into<ModelError>) -> Box<EvalAltResult> {
    run(RunError::Model(error.into()))
}
