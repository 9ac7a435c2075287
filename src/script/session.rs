//! The REPL without a terminal: one input after the other against variables, functions and imports
//! that stay.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rhai::{AST, Dynamic, Engine, Expr, LexError, ParseErrorType, Scope, Stmt};

use super::diagnostic::Diagnostic;
use super::error::Error;
use super::help;
use super::host::{Host, read_names};
use super::source::identifiers;
use super::turns::Turns;
use crate::utf8::without_mark;

/// What an input gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to print.
    Nothing,
    /// A line or more to print, without the last line break.
    Text(String),
    Quit,
}

/// A conversation with one host.
pub struct Session {
    host: Host,
    scope: Scope<'static>,
    /// Functions defined so far.
    functions: AST,
    inputs: usize,
    warnings: Vec<Diagnostic>,
}

impl Session {
    pub fn new(host: Host) -> Self {
        let mut scope = Scope::new();
        scope.push_dynamic("_", Dynamic::UNIT);
        Self { host, scope, functions: AST::empty(), inputs: 0, warnings: Vec::new() }
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The variables with their values, in the order of their declaration; a shadowed one is left out.
    pub fn variables(&self) -> Vec<(String, Dynamic)> {
        let mut seen = HashSet::new();
        let all: Vec<_> = self.scope.iter().map(|(name, _, value)| (name.to_string(), value)).collect();
        let mut last: Vec<_> =
            all.into_iter().rev().filter(|(name, _)| name != "_" && seen.insert(name.clone())).collect();
        last.reverse();
        last
    }

    /// What the last input most likely did not mean.
    pub fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// Evaluates one input; `help`, `vars` and `:quit` are commands.
    pub fn submit(&mut self, input: &str) -> Result<Reply, Error> {
        let input = without_mark(input);
        if let Some(reply) = self.command(input.trim()) {
            return Ok(reply);
        }
        let context = self.host.context();
        context.clear_interrupt();
        // In a `switch`, `_` is the default case.
        let has_switch = identifiers(input).contains(&"switch");
        context.last_value_flag().store(!has_switch, Ordering::Relaxed);
        self.inputs += 1;
        let source = format!("repl[{}]", self.inputs);
        let script = self.host.compile(&source, input, &self.scope)?;
        for function in script.ast.iter_functions() {
            context.sources.add_function(function.name, &source);
        }
        self.warnings = self.host.warnings(&script);
        let script = self.functions.merge(&script.ast);
        let variables = self.scope.len();
        let result = self.host.eval(&mut self.scope, &script, &source);
        // A failed input leaves no half of its declarations behind.
        let value = result.inspect_err(|_| {
            self.scope.rewind(variables);
        })?;
        self.keep(&script);
        Ok(match self.host.echo(&value) {
            Some(text) => {
                self.scope.set_value("_", value);
                Reply::Text(text)
            }
            None => Reply::Nothing,
        })
    }

    fn keep(&mut self, script: &AST) {
        for statement in script.statements() {
            if let Stmt::Import(import, _) = statement
                && let Expr::StringConstant(path, _) = &import.0
                && !import.1.name.is_empty()
            {
                self.host.keep_import(path, &import.1.name);
            }
        }
        self.functions = script.clone_functions_only();
    }

    fn command(&self, input: &str) -> Option<Reply> {
        let table = self.host.table();
        let text = match input.trim_end_matches(';') {
            "" => return Some(Reply::Nothing),
            ":quit" | ":q" | "quit" | "exit" => return Some(Reply::Quit),
            "help" | ":help" | "help()" => help::overview(table),
            "vars" | ":vars" => match self.vars() {
                text if text.is_empty() => return Some(Reply::Nothing),
                text => text,
            },
            other => {
                let name = other.strip_prefix("help")?.trim();
                let name = name.strip_prefix('(')?.strip_suffix(')')?.trim().trim_matches('"');
                match self.scope.get(name) {
                    Some(value) => help::about(table, &super::args::type_of(value)),
                    None => help::about(table, name),
                }
            }
        };
        Some(Reply::Text(text))
    }

    fn vars(&self) -> String {
        let show = |(name, value): (String, Dynamic)| {
            let text = self.host.echo(&value).unwrap_or_else(|| "()".into());
            let first = text.lines().next().unwrap_or("").to_string();
            let cut: String = first.chars().take(70).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("{name}: {} = {cut}{more}", super::args::type_of(&value))
        };
        self.variables().into_iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

/// Whether the input is a whole one; if the parser stopped at its end, it goes on in the next line.
pub fn is_complete(input: &str) -> bool {
    // Names do not matter here, so a bare engine does.
    let mut engine = Engine::new_raw();
    let flag = Arc::new(AtomicBool::new(!identifiers(input).contains(&"switch")));
    read_names(&mut engine, flag, Turns::default());
    let input = without_mark(input);
    let Err(error) = engine.compile(input) else { return true };
    let input = input.trim_end();
    let (line, column) = (error.position().line(), error.position().position().unwrap_or(0));
    let last = input.lines().last().unwrap_or("").chars().count();
    let lines = input.lines().count();
    let at_end = line.is_none_or(|line| line > lines || line == lines && column > last);
    match error.err_type() {
        ParseErrorType::UnexpectedEOF => false,
        // Only a text in backticks may run over several lines.
        ParseErrorType::BadInput(LexError::UnterminatedString) => !input.contains('`'),
        _ => !at_end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::HostOptions;

    fn session() -> Session {
        Session::new(Host::new(HostOptions::default()))
    }

    fn says(session: &mut Session, input: &str) -> String {
        match session.submit(input) {
            Ok(Reply::Text(text)) => text,
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn variables_functions_and_the_last_value_stay() {
        let mut session = session();
        assert_eq!(says(&mut session, "let x = 20;"), "Nothing");
        assert_eq!(says(&mut session, "fn twice(a) { 2 * a }"), "Nothing");
        assert_eq!(says(&mut session, "twice(x) + 2"), "42");
        assert_eq!(says(&mut session, "_ + 1"), "43");
        assert_eq!(says(&mut session, "switch x { 1 => 1, _ => 2 }"), "2");
        assert_eq!(says(&mut session, "let x = \"a\";"), "Nothing");
        assert_eq!(says(&mut session, "fn twice(a) { a + a }"), "Nothing");
        assert_eq!(says(&mut session, "twice(x)"), "\"aa\"");
        assert_eq!(says(&mut session, "vars"), "x: string = \"a\"");
    }

    #[test]
    fn closures_and_loops_see_the_variables() {
        let mut session = session();
        says(&mut session, "let n = 3; let add = |a| a + n;");
        assert_eq!(says(&mut session, "add.call(1)"), "4");
        assert_eq!(says(&mut session, "let s = 0; for i in 0..n { s += i } s"), "3");
    }

    #[test]
    fn a_byte_order_mark_is_no_input() {
        let mut session = session();
        assert!(!is_complete("\u{feff}let x = [") && is_complete("\u{feff}1 + 2"));
        assert_eq!(says(&mut session, "\u{feff}1 + 2\n"), "3");
        assert_eq!(says(&mut session, "\u{feff}\n"), "Nothing");
    }

    #[test]
    fn a_failed_input_changes_nothing() {
        let mut session = session();
        says(&mut session, "let x = 1;");
        assert_eq!(says(&mut session, "let y = 2; throw \"no\""), "error: no");
        assert_eq!(says(&mut session, "y"), "error: unknown variable `y`");
        assert_eq!(says(&mut session, "x"), "1");
    }

    #[test]
    fn errors_point_into_the_input_that_defined_the_function() {
        let mut session = session();
        says(&mut session, "fn f(x) { x.lyaer }");
        let error = session.submit("f(1)").unwrap_err();
        let expected = "\
error: `int` has no field `lyaer`
  --> repl[1]:1:13
  |
1 | fn f(x) { x.lyaer }
  |             ^^^^^
  |
  --> repl[2]:1:1
  |
1 | f(1)
  | - in call to `f`
";
        assert_eq!(session.host().render(&error, false), expected);
    }

    #[test]
    fn help_knows_names_and_values() {
        let mut session = session();
        let join = says(&mut session, "help(join)");
        assert!(join.starts_with("join(items: array, separator: string) -> string\n"), "{join}");
        assert_eq!(says(&mut session, "help(jion)"), "nothing is known about `jion`; did you mean `join`?");
        assert!(says(&mut session, "help").contains("assert(condition: bool, message?: string)"));
    }

    #[test]
    fn unfinished_inputs_go_on() {
        for (input, whole) in [
            ("1 + 2", true),
            ("let x = ", false),
            ("fn f(x) {", false),
            ("fn f(x) { x }", true),
            ("[1, 2,", false),
            ("for i in 0..x {", false),
            ("f(1,", false),
            ("#{a: 1", false),
            ("1 +", false),
            ("f(_,", false),
            ("switch x { _ => 1,", false),
            ("`open", false),
            ("\"open", true),
            ("let = 3", true),
            ("a b c (", true),
            ("if x {\n  1\n}", true),
        ] {
            assert_eq!(is_complete(input), whole, "{input}");
        }
    }
}
