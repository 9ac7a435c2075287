//! The REPL without a terminal: one input after the other against variables, functions and imports
//! that stay.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use rhai::{AST, ASTNode, Dynamic, Expr, Scope, Stmt};

use super::diagnostic::Diagnostic;
use super::error::Error;
use super::help;
use super::host::Host;
use super::source::identifiers;
use super::value;
use crate::nearest::nearest;
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
    /// Whether a person types the inputs.
    typed: bool,
}

impl Session {
    pub fn new(host: Host) -> Self {
        let mut scope = Scope::new();
        scope.push_dynamic("_", Dynamic::UNIT);
        Self { host, scope, functions: AST::empty(), inputs: 0, warnings: Vec::new(), typed: false }
    }

    /// A conversation with a person: a path that stands in a `load("…")` of an input was typed by the one who may read it.
    pub fn with_person(host: Host) -> Self {
        Self { typed: true, ..Self::new(host) }
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

    /// Evaluates one input; [`COMMANDS`] are commands. What ran before an error or Ctrl-C stays.
    pub fn submit(&mut self, input: &str) -> Result<Reply, Error> {
        let input = without_mark(input);
        if let Some(reply) = self.command(input.trim())? {
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
        if self.typed {
            context.allow_typed(loaded_paths(&script.ast));
        }
        self.warnings = self.host.warnings(&script);
        let script = self.functions.merge(&script.ast);
        let result = self.host.eval(&mut self.scope, &script, &source);
        self.keep(&script);
        let value = result?;
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

    fn command(&self, input: &str) -> Result<Option<Reply>, Error> {
        let word = input.trim_end_matches(';').trim_end();
        let text = match word.strip_prefix(':').unwrap_or(word) {
            "" => return Ok(Some(Reply::Nothing)),
            "quit" | "q" | "exit" => return Ok(Some(Reply::Quit)),
            "help" | "help()" | "?" => help::overview(self.host.table()),
            "vars" => match self.vars() {
                text if text.is_empty() => return Ok(Some(Reply::Nothing)),
                text => text,
            },
            other => match (asked(other), word.strip_prefix(':')) {
                (Some(name), _) => match self.scope.get(name) {
                    Some(value) => self.host.help(&super::args::type_of(value)),
                    None => self.host.help(name),
                },
                (None, Some(command)) if !command.starts_with(':') => return Err(no_command(command)),
                (None, _) => return Ok(None),
            },
        };
        Ok(Some(Reply::Text(text)))
    }

    fn vars(&self) -> String {
        let show = |(name, value): (String, Dynamic)| {
            let text = value::quoted(self.host.table(), &value);
            let first = text.lines().next().unwrap_or("").to_string();
            let cut: String = first.chars().take(70).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("{name}: {} = {cut}{more}", super::args::type_of(&value))
        };
        self.variables().into_iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

/// The commands, each also with a `:` in front.
pub const COMMANDS: &[&str] = &["help", "vars", "quit"];

fn no_command(command: &str) -> Error {
    let word = command.split_whitespace().next().unwrap_or("");
    let all = COMMANDS.iter().map(|name| format!("`:{name}`")).collect::<Vec<_>>().join(", ");
    let help = match nearest(word, COMMANDS.iter().copied()) {
        Some(near) => format!("did you mean `:{near}`? the commands are {all}"),
        None => format!("the commands are {all}; a script runs by `patchscript run FILE`"),
    };
    Error::Unusable(Box::new(Diagnostic::new(format!("there is no command `:{word}`"), Some(help))))
}

/// What help is asked for: `help(name)`, `help("name")`, `help name`, `?name`, `name?`.
fn asked(input: &str) -> Option<&str> {
    let name = match input.strip_prefix("help") {
        Some(rest) => match rest.trim_start().strip_prefix('(') {
            Some(inner) => inner.strip_suffix(')')?,
            None => rest.strip_prefix(' ')?,
        },
        None => input.strip_prefix('?').or_else(|| input.strip_suffix('?'))?,
    };
    let name = name.trim().trim_matches('"').trim_end_matches("()");
    let is_name = |c: char| c.is_alphanumeric() || "_.".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// The texts that stand as first argument of `load` in this code.
fn loaded_paths(ast: &AST) -> Vec<String> {
    let mut paths = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) = path.last()
            && call.name == "load"
            && let Some(Expr::StringConstant(path, _)) = call.args.first()
        {
            paths.push(path.to_string());
        }
        true
    });
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;
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
        assert_eq!(says(&mut session, "\u{feff}1 + 2\n"), "3");
        assert_eq!(says(&mut session, "\u{feff}\n"), "Nothing");
    }

    #[test]
    fn what_ran_before_an_error_stays() {
        let mut session = session();
        says(&mut session, "let x = 1;");
        let input = "fn f(a) { a + 1 } let y = 2; for i in 0..3 { let z = i; if i == 1 { throw \"no\" } }";
        assert_eq!(says(&mut session, input), "error: no");
        assert_eq!(says(&mut session, "f(x + y)"), "4");
        assert_eq!(says(&mut session, "vars"), "x: int = 1\ny: int = 2");
        // An input that cannot be read does not run at all.
        says(&mut session, "x = 5; nothing_of_that_name");
        assert_eq!(says(&mut session, "x"), "1");
    }

    #[test]
    fn commands_that_do_not_exist_are_named() {
        let mut session = session();
        assert_eq!(says(&mut session, ":load a.rhai"), "error: there is no command `:load`");
        let Err(error) = session.submit(":quitt") else { panic!() };
        assert_eq!(error.help().unwrap(), "did you mean `:quit`? the commands are `:help`, `:vars`, `:quit`");
        assert_eq!(says(&mut session, ":quit"), "Quit");
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
  |
  = help: see `help(int)`
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
        let sweep = says(&mut session, "help(Model.sweep)");
        assert!(sweep.starts_with("Model.sweep("), "{sweep}");
        for asking in ["help sweep", "help(\"sweep\")", "?sweep", "sweep?", ":help sweep"] {
            assert!(says(&mut session, asking).starts_with("Model.sweep("), "{asking}");
        }
        for (ty, member) in [
            ("string", "to_upper"),
            ("array", "push"),
            ("map", "keys"),
            ("int", "floor_div"),
            ("range", "map"),
        ] {
            let text = says(&mut session, &format!("help({ty})"));
            assert!(text.contains(&format!("  {ty}.{member}(")), "{text}");
        }
        says(&mut session, "let xs = [1];");
        assert!(says(&mut session, "help(xs)").starts_with("array: "));
    }
}
