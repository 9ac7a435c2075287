//! Errors of the layers below as errors of a script.

use rhai::{Dynamic, EvalAltResult, Position};

use crate::help::Help;
use crate::model::ModelError;
use crate::run::RunError;
use crate::script::error::refused;

/// What numbers, files or figures cannot be.
pub fn of(error: impl Help) -> Box<EvalAltResult> {
    refused(&error).into()
}

/// A run that was refused, or stopped by Ctrl-C, which no script can catch.
pub fn run(error: RunError) -> Box<EvalAltResult> {
    match error.is_interrupt() {
        true => EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into(),
        false => of(error),
    }
}

/// A model that cannot do what was asked.
pub fn model(error: impl Into<ModelError>) -> Box<EvalAltResult> {
    run(error.into().into())
}
