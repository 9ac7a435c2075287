//! The REPL without a terminal: one input after the other against variables, functions and imports
//! that stay. What is no code is among the [`commands`].

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use rhai::{AST, ASTNode, Dynamic, Expr, Scope, Stmt};

use super::diagnostic::Diagnostic;
use super::error::Error;
use super::host::{Host, Script};
use super::source::identifiers;
use super::spent::Watch;
use super::transcript::Transcript;
use crate::utf8::without_mark;

mod commands;

pub use commands::names as command_names;

/// What an input gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing to print.
    Nothing,
    /// A line or more to print, without the last line break.
    Text(String),
    Quit,
    /// Files of the person at the prompt, for whoever talks to that person: write [`Session::script`] to this one,
    Save(PathBuf),
    /// give the text of this one to [`Session::load`],
    Load(PathBuf),
    /// let [`Session::last_input`] be edited.
    Edit,
}

/// A conversation with one host.
pub struct Session {
    host: Host,
    scope: Scope<'static>,
    /// Functions defined so far.
    functions: AST,
    inputs: usize,
    warnings: Vec<Diagnostic>,
    transcript: Transcript,
    last_input: String,
    /// Whether a person types the inputs.
    typed: bool,
}

impl Session {
    pub fn new(host: Host) -> Self {
        let mut scope = Scope::new();
        scope.push_dynamic("_", Dynamic::UNIT);
        Self {
            host,
            scope,
            functions: AST::empty(),
            inputs: 0,
            warnings: Vec::new(),
            transcript: Transcript::default(),
            last_input: String::new(),
            typed: false,
        }
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

    /// Runs a script whose variables, functions and imports stay, as far as it came.
    pub fn run(&mut self, script: &Script) -> Result<(), Error> {
        let result = self.host.run_in(&mut self.scope, script);
        // Logs that the prompt begins are not those of a run that can be resumed.
        self.host.context().resume.leave();
        let text = self.host.context().sources.get(&script.source).unwrap_or_default();
        self.take_down(&script.source, &text, &result.as_ref().map(|()| false));
        self.keep(&script.ast);
        result
    }

    /// The text of a file of the person at the prompt as an input, under the file's name.
    pub fn load(&mut self, name: &str, text: &str) -> Result<Reply, Error> {
        self.evaluate(name, without_mark(text), false)
    }

    /// What was tried, as a script that is known to compile.
    pub fn script(&self) -> Result<String, Error> {
        let script = self.transcript.script();
        if script.is_empty() {
            let help = "write some lines first; those that fail are left out".to_string();
            return Err(Error::Unusable(Box::new(Diagnostic::new("nothing ran yet", Some(help)))));
        }
        let checked = self.host.compile("the script", &script, &Scope::new());
        match checked.and_then(|script| self.host.check(&script)) {
            Ok(()) => Ok(script),
            Err(Error::Unusable(mut diagnostic)) => {
                diagnostic.message = format!("what ran makes no script: {}", diagnostic.message);
                diagnostic.help = Some("write what is missing as an input of its own, and save again".into());
                Err(Error::Unusable(diagnostic))
            }
            Err(error) => Err(error),
        }
    }

    /// The last input that was no command.
    pub fn last_input(&self) -> &str {
        &self.last_input
    }

    /// What the last input most likely did not mean.
    pub fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// Evaluates one input, or carries out a command. What ran before an error or Ctrl-C stays.
    pub fn submit(&mut self, input: &str) -> Result<Reply, Error> {
        let input = without_mark(input);
        if let Some(reply) = self.command(input.trim())? {
            return Ok(reply);
        }
        if let Some(timed) = input.trim().strip_prefix(":time ") {
            return self.timed(timed);
        }
        self.last_input = input.into();
        self.inputs += 1;
        self.evaluate(&format!("repl[{}]", self.inputs), input, self.typed)
    }

    /// Evaluates a text; what paths it loads may be read if it was `typed`.
    fn evaluate(&mut self, source: &str, input: &str, typed: bool) -> Result<Reply, Error> {
        let context = self.host.context();
        context.clear_interrupt();
        // In a `switch`, `_` is the default case.
        let has_switch = identifiers(input).contains(&"switch");
        context.last_value_flag().store(!has_switch, Ordering::Relaxed);
        let script = self.host.compile(source, input, &self.scope)?;
        for function in script.ast.iter_functions() {
            context.sources.add_function(function.name, source);
        }
        if typed {
            context.allow_typed(loaded_paths(&script.ast));
        }
        self.warnings = self.host.warnings(&script);
        let script = self.functions.merge(&script.ast);
        let result = self.host.eval(&mut self.scope, &script, source);
        self.take_down(source, input, &result.as_ref().map(|value| !value.is_unit()));
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

    fn timed(&mut self, input: &str) -> Result<Reply, Error> {
        let watch = Watch::start();
        let reply = self.submit(input)?;
        let spent = watch.spent();
        Ok(match reply {
            Reply::Text(text) => Reply::Text(format!("{text}\n{spent}")),
            Reply::Nothing => Reply::Text(spent.to_string()),
            other => other,
        })
    }

    /// Puts what ran of an input into the transcript.
    fn take_down(&mut self, source: &str, input: &str, gave: &Result<bool, &Error>) {
        match gave {
            Ok(gave) => self.transcript.add(input, *gave),
            Err(Error::Failed(diagnostic)) => {
                let calls = diagnostic.frames.iter().map(|frame| &frame.place);
                let mut places = calls.chain(&diagnostic.place);
                if let Some(place) = places.find(|place| place.source == source) {
                    self.transcript.add_until(input, place.position);
                }
            }
            Err(_) => {}
        }
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
        assert_eq!(says(&mut session, ":run a.rhai"), "error: there is no command `:run`");
        let Err(error) = session.submit(":quitt") else { panic!() };
        let help = error.help().unwrap();
        assert!(
            help.starts_with("did you mean `:quit`? the commands are `:help`, `:vars`, `:quit`, `:save`"),
            "{help}"
        );
        assert_eq!(says(&mut session, ":quit"), "Quit");
    }

    #[test]
    fn files_are_for_a_person_at_the_prompt() {
        let mut session = session();
        for command in [":save a", ":load a.rhai", ":edit"] {
            let Err(error) = session.submit(command) else { panic!("{command}") };
            assert_eq!(error.help().as_deref(), Some("only a person at the prompt can use it"));
        }
        let mut session = Session::with_person(Host::new(HostOptions::default()));
        assert_eq!(session.submit(":save a").unwrap(), Reply::Save("a.rhai".into()));
        assert_eq!(session.submit(":load b.txt").unwrap(), Reply::Load("b.txt".into()));
        assert!(session.submit(":save").unwrap_err().help().unwrap().contains("name a file"));
        assert!(says(&mut session, ":time 6 * 7").starts_with("42\n0."));
        assert!(says(&mut session, ":limits").contains("--max-call-levels"));
    }

    #[test]
    fn what_ran_is_a_script_that_runs() {
        let mut session = session();
        assert_eq!(session.script().unwrap_err().to_string(), "nothing ran yet");
        for input in
            ["let a = 2; let b = a.c;", "fn f(x) { x + 1 }", "f(a)", "_ * 10", "nothing", "let a = _"]
        {
            let _ = session.submit(input);
        }
        let script = session.script().unwrap();
        let expected = "let a = 2;\nfn f(x) { x + 1 }\nlet last_1 = f(a);\nprint(last_1);\n\
                        let last_2 = last_1 * 10;\nprint(last_2);\nlet a = last_2;\n";
        assert_eq!(script, expected);
        let _ = session.submit("let two = [1, 2]; two[7]");
        assert_eq!(says(&mut session, "two"), "[1, 2]");
        assert!(session.script().unwrap().ends_with("let two = [1, 2];\nprint(two);\n"));
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
