//! What a script may do, but most likely does not mean: warnings of `check`, `run` and the REPL. They change
//! neither what runs nor the exit code, and each says how to write what was meant, and how to write it so
//! that it is taken as meant.
//!
//! One file a lint: [`backslash`], [`division`], [`in_place`], [`slashes`].

mod backslash;
mod division;
mod in_place;
mod slashes;

use rhai::{AST, Position};

use super::diagnostic::{Diagnostic, Place, Severity};

/// A finding of a lint.
pub struct Warning {
    /// The name of the lint.
    pub code: &'static str,
    pub position: Position,
    pub message: String,
    pub help: String,
}

/// Looks through a script and its text.
type Lint = fn(&AST, &str) -> Vec<Warning>;

const LINTS: &[Lint] = &[backslash::lint, division::lint, in_place::lint, slashes::lint];

/// The warnings of all lints, in the order of the text.
pub fn warnings(ast: &AST, source: &str, text: &str) -> Vec<Diagnostic> {
    let mut found: Vec<_> = LINTS.iter().flat_map(|lint| lint(ast, text)).collect();
    found.sort_by_key(|warning| warning.position);
    let diagnostic = |Warning { code, position, message, help }| Diagnostic {
        severity: Severity::Warning,
        code,
        message,
        help: Some(help),
        place: Some(Place { source: source.into(), position }),
        ..Diagnostic::default()
    };
    found.into_iter().map(diagnostic).collect()
}

#[cfg(test)]
mod testing {
    use rhai::{Engine, OptimizationLevel};

    /// Asserts which of these lines have a warning, and of which column.
    #[track_caller]
    pub fn check(lint: super::Lint, cases: &[(&str, Option<usize>)]) {
        for (code, column) in cases {
            let mut engine = Engine::new();
            engine.set_optimization_level(OptimizationLevel::None);
            let found = lint(&engine.compile(code).unwrap(), code);
            let columns: Vec<_> = found.iter().filter_map(|warning| warning.position.position()).collect();
            assert_eq!(columns, column.iter().copied().collect::<Vec<_>>(), "{code}");
        }
    }
}
