//! What can be refused before a script runs, beyond syntax and variables.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::clock;
use super::diagnose::Diagnoser;
use super::diagnostic::{Diagnostic, Place};
use super::error::Failure;
use super::source::identifiers;
use crate::nearest::nearest;

/// Functions that are part of the language and in no package.
const SYNTACTIC: &[&str] =
    &["print", "debug", "type_of", "call", "curry", "Fn", "is_shared", "is_def_var", "is_def_fn", "this"];

/// The names of the engine's own functions that scripts may use, sorted.
pub fn builtin_functions(engine: &Engine) -> Vec<String> {
    let named = engine.collect_fn_metadata(None, |info| Some(info.metadata.name.to_string()), true);
    let names: BTreeSet<String> = named
        .into_iter()
        .chain(SYNTACTIC.iter().map(ToString::to_string))
        .filter(|name| rhai::is_valid_identifier(name) && !clock::FUNCTIONS.contains(&name.as_str()))
        .collect();
    names.into_iter().collect()
}

/// Refuses the first call, in the order of the text, of a name that is no function anywhere.
pub fn calls(ast: &AST, source: &str, diagnoser: &Diagnoser) -> Result<(), Box<Diagnostic>> {
    let functions: Vec<_> = ast.iter_functions().map(|function| function.name.to_string()).collect();
    let mut unknown: Option<(Position, String, bool)> = None;
    ast.walk(&mut |path: &[ASTNode]| {
        let (call, position, is_method) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                (call, at, false)
            }
            Some(ASTNode::Expr(Expr::MethodCall(call, at))) => (call, at, true),
            _ => return true,
        };
        let known = functions.iter().any(|function| call.name == function) || is_known(call, diagnoser);
        if !known && unknown.as_ref().is_none_or(|(first, ..)| position < first) {
            unknown = Some((*position, call.name.to_string(), is_method));
        }
        true
    });
    let Some((position, name, is_method)) = unknown else { return Ok(()) };
    // A map may hold a closure under this name.
    let text = diagnoser.context.sources.get(source).unwrap_or_default();
    if is_method && is_entry_name(&text, &name) {
        return Ok(());
    }
    let place = Place { source: source.to_string(), position };
    if clock::FUNCTIONS.contains(&name.as_str()) {
        let Failure { message, help } = clock::refusal(&name);
        return Err(Box::new(Diagnostic {
            code: "switched-off",
            message,
            help,
            place: Some(place),
            ..Diagnostic::default()
        }));
    }
    let (message, help) =
        match functions.iter().filter(|_| !is_method).map(String::as_str).find(|f| is_slip(f, &name)) {
            Some(function) => {
                (format!("unknown function `{name}`"), Some(format!("did you mean `{function}`?")))
            }
            None => diagnoser.unknown_name(&name, is_method, &place),
        };
    Err(Box::new(Diagnostic {
        code: "unknown-function",
        message,
        help,
        place: Some(place),
        ..Diagnostic::default()
    }))
}

fn is_slip(function: &str, name: &str) -> bool {
    nearest(name, [function]).is_some()
}

fn is_known(call: &FnCallExpr, diagnoser: &Diagnoser) -> bool {
    call.is_qualified()
        || !rhai::is_valid_identifier(&call.name)
        || diagnoser.table.named(&call.name).next().is_some()
        || diagnoser.builtins.binary_search_by(|name| name.as_str().cmp(&call.name)).is_ok()
}

/// Whether the text holds `name:` or `name =`, so that the name can be an entry of a map.
fn is_entry_name(text: &str, name: &str) -> bool {
    identifiers(text).contains(&name)
        && text.match_indices(name).any(|(at, _)| {
            let after = text[at + name.len()..].trim_start_matches('"').trim_start();
            after.starts_with(':') && !after.starts_with("::")
                || after.starts_with('=') && !after.starts_with("==")
        })
}
