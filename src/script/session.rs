//! The REPL without a terminal: one input after the other against variables, functions and imports
//! that stay. What is no code is among the [`commands`].

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};

use rhai::{AST, ASTNode, Dynamic, Expr, Scope, Stmt};

use super::diagnostic::Diagnostic;
use super::error::Error;
use super::host::{Host, Script};
use super::results::{Given, Results, parted};
use super::spent::Watch;
use super::tally::Took;
use super::transcript::Transcript;
use crate::model::embedded;
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

/// Characters of a model's name.
const LONGEST_NAME: usize = 24;

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
    results: Results,
    took: Option<Took>,
    /// Whether a person types the inputs.
    typed: bool,
    /// Whether values are shown on a terminal.
    shown: bool,
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
            results: Results::default(),
            took: None,
            typed: false,
            shown: false,
        }
    }

    /// A conversation with a person: a path that stands in a `load("…")` of an input was typed by the one who may read it.
    pub fn with_person(host: Host) -> Self {
        if stderr().is_terminal() {
            host.context().tally.watch();
        }
        Self { typed: true, shown: stdout().is_terminal(), ..Self::new(host) }
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The variables with their values, in the order of their declaration; a shadowed one is left out.
    pub fn variables(&self) -> Vec<(String, Dynamic)> {
        let mut seen = HashSet::new();
        let all: Vec<_> = self.scope.iter().map(|(name, _, value)| (name.to_string(), value)).collect();
        let mut last: Vec<_> =
            all.into_iter().rev().filter(|(name, _)| is_own(name) && seen.insert(name.clone())).collect();
        last.reverse();
        last
    }

    /// What is told of every variable, by its name, without a copy of its value.
    pub(super) fn each_variable<T>(
        &self,
        tell: impl Fn(&str, &Dynamic) -> (String, T),
    ) -> BTreeMap<String, T> {
        self.scope.iter_raw().map(|(name, _, value)| tell(name, value)).collect()
    }

    /// The names of the functions defined so far.
    pub(super) fn function_names(&self) -> Vec<String> {
        let named = self.functions.iter_functions().filter(|function| !function.name.starts_with("anon$"));
        named.map(|function| function.name.to_string()).collect()
    }

    /// The number of the next input, by which its value is named.
    pub fn next_number(&self) -> usize {
        self.inputs + 1
    }

    /// A short name of the model that was loaded last, or of the one that `load()` would load.
    pub fn model_name(&self) -> String {
        let context = self.host.context();
        let loaded = context.model().map(|model| model.id.clone());
        let id = loaded.or(context.options.model.clone()).unwrap_or(embedded::ID.into());
        let name = Path::new(&id).file_name().map_or(id.clone(), |name| name.to_string_lossy().into_owned());
        let name = name.split('@').next().unwrap_or(&name).trim_end_matches(".gguf");
        name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
    }

    /// What the last input took, if a model computed.
    pub fn take_spent(&mut self) -> Option<Took> {
        self.took.take()
    }

    /// Runs a script whose variables, functions and imports stay, as far as it came.
    pub fn run(&mut self, script: &Script) -> Result<(), Error> {
        let result = self.host.run_in(&mut self.scope, script);
        // Logs that the prompt begins are not those of a run that can be resumed.
        self.host.context().resume.leave();
        let text = self.host.context().sources.get(&script.source).unwrap_or_default();
        self.take_down(&script.source, &text, &result.as_ref().map(|()| None));
        self.keep(&script.ast);
        result
    }

    /// The text of a file of the person at the prompt as an input, under the file's name.
    pub fn load(&mut self, name: &str, text: &str) -> Result<Reply, Error> {
        self.inputs += 1;
        self.evaluate(name, without_mark(text), false)
    }

    /// What was tried, as a script that is known to compile.
    pub fn script(&self) -> Result<String, Error> {
        let script = self.transcript.script();
        if script.is_empty() {
            let help = "write some lines first; those that fail are left out".to_string();
            return Err(Error::Unusable(Box::new(Diagnostic::new("nothing ran yet", Some(help)))));
        }
        self.host.context().results().read_none();
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
        if let Some(explained) = input.trim().strip_prefix(":explain ") {
            self.host.context().explain_next(true);
            let reply = self.submit(explained);
            self.host.context().explain_next(false);
            return reply;
        }
        self.last_input = input.into();
        self.inputs += 1;
        self.evaluate(&format!("repl[{}]", self.inputs), &parted(input), self.typed)
    }

    /// Evaluates a text; what paths it loads may be read if it was `typed`.
    fn evaluate(&mut self, source: &str, input: &str, typed: bool) -> Result<Reply, Error> {
        let context = self.host.context();
        context.clear_interrupt();
        context.results().read_in(input);
        context.tally.begin();
        let watch = Watch::start();
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
        self.took = self.host.context().tally.took(watch.spent().wall);
        let number = self.inputs;
        self.take_down(source, input, &result.as_ref().map(|value| (!value.is_unit()).then_some(number)));
        self.keep(&script);
        let value = result?;
        let text = if self.shown { self.host.picture(&value) } else { self.host.echo(&value) };
        if text.is_some() {
            let limit = self.host.context().options.limits.memory();
            self.results.keep(&mut self.scope, number, value, limit);
        }
        Ok(text.map_or(Reply::Nothing, Reply::Text))
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
    fn take_down(&mut self, source: &str, input: &str, gave: &Result<Option<usize>, &Error>) {
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

/// Whether a variable is one that a person declared.
fn is_own(name: &str) -> bool {
    Given::read(name).is_none()
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
mod tests;
