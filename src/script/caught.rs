//! What `catch (e)` receives: an `Error`, whoever failed.
//!
//! A native function's refusal is one already. The engine's own errors reach a script as maps that hold the engine's
//! raw text; they are exchanged for what the same error says outside of `try` when the script first reads the variable.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use rhai::{AST, ASTNode, Dynamic, EvalAltResult, EvalContext, Expr, Map, Position, Stmt};

use super::api::Table;
use super::context::Context;
use super::diagnose::Diagnoser;
use super::diagnostic::Place;
use super::error::Failure;

/// The variables of all `catch` clauses compiled so far.
#[derive(Debug, Default)]
pub struct Caught {
    any: AtomicBool,
    names: RwLock<HashSet<String>>,
}

impl Caught {
    /// Takes note of a script's `catch` clauses.
    pub fn learn(&self, ast: &AST) {
        ast.walk(&mut |path: &[ASTNode]| {
            if let Some(ASTNode::Stmt(Stmt::TryCatch(clauses, _))) = path.last()
                && let Expr::Variable(variable, ..) = &clauses.expr
            {
                self.names.write().unwrap_or_else(PoisonError::into_inner).insert(variable.1.to_string());
                self.any.store(true, Ordering::Relaxed);
            }
            true
        });
    }

    fn has(&self, name: &str) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.names.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

/// The table and the engine's own functions, known once the engine is whole.
pub type Known = Arc<OnceLock<(Arc<Table>, Arc<[String]>)>>;

/// Called on each use of a variable: exchanges the engine's map where it is that of a `catch`.
pub fn on_use(name: &str, call: &mut EvalContext, context: &Context, known: &Known) {
    if !context.caught.has(name) {
        return;
    }
    let variables = call.scope().iter_raw().map(|(name, ..)| name.to_string()).collect();
    if let Some((table, builtins)) = known.get()
        && let Some(value) = call.scope_mut().get_mut(name)
        && let Some(map) = value.read_lock::<Map>().and_then(|map| raw(&map).then(|| map.clone()))
    {
        let diagnoser = Diagnoser { table, context, builtins, variables };
        let error = Dynamic::from(failure(&map, &diagnoser));
        match value.is_shared() {
            true => value.write_lock::<Dynamic>().map(|mut shared| *shared = error).unwrap_or_default(),
            false => *value = error,
        }
    }
}

/// Whether the engine made this map of an error.
fn raw(map: &Map) -> bool {
    let kind = map.get("error").and_then(|kind| kind.clone().into_immutable_string().ok());
    map.contains_key("message") && kind.is_some_and(|kind| kind.starts_with("Error"))
}

fn failure(map: &Map, diagnoser: &Diagnoser) -> Failure {
    let text = |key: &str| map.get(key).map(ToString::to_string).unwrap_or_default();
    let number = |key: &str| map.get(key).and_then(|n| u16::try_from(n.as_int().ok()?).ok());
    let whole = text("message");
    // The innermost error comes first, then the calls on the way to it.
    let calls = ["\nin call to function '", "\nin closure call", "\nin module"];
    let end = calls.iter().filter_map(|call| whole.find(call)).min();
    let inner = &whole[..end.unwrap_or(whole.len())];
    let outer = match number("line") {
        Some(line) => Position::new(line, number("position").unwrap_or(0)),
        None => Position::NONE,
    };
    let (inner, position) = position(inner).unwrap_or((inner, outer));
    let (inner, source) = match inner.rsplit_once(" @ '") {
        Some((inner, source)) => (inner, source.trim_end_matches('\'').to_string()),
        None => (inner, text("source")),
    };
    let (message, help) = diagnoser.text(&error(inner), &Place { source, position });
    Failure { message, help }
}

/// Splits `text (line 4, position 29)`.
fn position(text: &str) -> Option<(&str, Position)> {
    let (text, place) = text.strip_suffix(')')?.rsplit_once(" (line ")?;
    let (line, column) = place.split_once(", position ")?;
    Some((text, Position::new(line.parse().ok()?, column.parse().ok()?)))
}

/// The error of which the engine says this.
fn error(text: &str) -> EvalAltResult {
    use EvalAltResult as E;
    let none = Position::NONE;
    let rest = |start: &str| text.strip_prefix(start).map(String::from);
    let number = |start: &str, after: &str| text.split_once(start)?.1.split_once(after)?.0.parse().ok();
    if let Some(call) = rest("Function not found: ") {
        return E::ErrorFunctionNotFound(call, none);
    }
    if let Some(name) = rest("Variable not found: ") {
        return E::ErrorVariableNotFound(name, none);
    }
    if let Some(name) = rest("Property not found: ") {
        return E::ErrorPropertyNotFound(name, none);
    }
    if let Some(name) = rest("Module not found: ") {
        return E::ErrorModuleNotFound(name, none);
    }
    if let Some(name) = rest("Cannot modify constant ") {
        return E::ErrorAssignmentToConstant(name, none);
    }
    if let Some(types) = rest("Indexer unavailable: ") {
        return E::ErrorIndexingType(types, none);
    }
    if text.starts_with("Data race detected") {
        return E::ErrorDataRace(String::new(), none);
    }
    if text == "For loop expects iterable type" {
        return E::ErrorFor(none);
    }
    if text == "Stack overflow" {
        return E::ErrorStackOverflow(none);
    }
    if text.starts_with("Unknown property '") || text.starts_with("No writable") {
        return E::ErrorDotExpr(text.into(), none);
    }
    if let Some(types) = rest("Data type incorrect: ").or_else(|| rest("Output type incorrect: "))
        && let Some((found, expected)) = types.trim_end_matches(')').split_once(" (expecting ")
    {
        return E::ErrorMismatchDataType(expected.into(), found.into(), none);
    }
    if let Some(index) = number("Array index ", " out of bounds") {
        return E::ErrorArrayBounds(number("only ", " element").unwrap_or(0) as usize, index, none);
    }
    if let Some(index) = number("String index ", " out of bounds") {
        return E::ErrorStringBounds(number("only ", " character").unwrap_or(0) as usize, index, none);
    }
    if let Some(what) = text.strip_suffix(" too large") {
        return E::ErrorDataTooLarge(what.into(), none);
    }
    E::ErrorArithmetic(text.into(), none)
}

#[cfg(test)]
mod tests {
    use crate::script::session::Reply;
    use crate::script::{Error, Host, HostOptions, Session};

    /// Every kind of error says the same inside of `try`, in a function too.
    #[test]
    fn caught_errors_say_what_uncaught_ones_say() {
        for code in [
            "1 / 0",
            "[1, 2][5]",
            "[][0]",
            "\"abc\"[7]",
            "let i = \"a\"; [1][i]",
            "#{a: 1}.b",
            "let x = 3; x.y",
            "let x = 3; x.y = 4",
            "tensor([1]).summ(3)",
            "tensor([1]).sum(3)",
            "join([1], 2)",
            "[1].map(1, 2, 3)",
            "tensor([1])[\"a\"]",
            "parse_float(\"abc\")",
            "let n = 3; for i in n {}",
            "let n = 9223372036854775807; n + 1",
            "[1] * 2",
            "-\"a\"",
            "const C = 1; let f = |x| x.y; f.call(C)",
            "let a = [1]; a.map(|x| a.len() + x)",
        ] {
            let mut session = Session::new(Host::new(HostOptions::default()));
            let (message, help) = match session.submit(code) {
                Err(Error::Failed(diagnostic)) => (diagnostic.message, diagnostic.help),
                other => panic!("{code}: {other:?}"),
            };
            for caught in [
                format!(
                    "let said = (); try {{ {code}; }} catch (e) {{ said = [type_of(e), e.message, e.help] }} said"
                ),
                format!(
                    "let said = (); try {{ [1].map(|_i| {{ {code}; }}); }} catch (e) {{ said = [type_of(e), e.message, e.help] }} said"
                ),
            ] {
                let mut session = Session::new(Host::new(HostOptions::default()));
                let help = help.as_ref().map_or("()".into(), |help| format!("{help:?}"));
                let expected = format!("[\"Error\", {message:?}, {help}]");
                assert_eq!(session.submit(&caught).unwrap(), Reply::Text(expected), "{caught}");
            }
        }
    }
}
