//! One engine with everything a script stands on: compile, check, run.

use crate::help::Help;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use rhai::{
    AST, Dynamic, Engine, EvalAltResult, LexError, ModuleResolver, OptimizationLevel, Position, Scope, Token,
};

use super::api::{Api, Table};
use super::bind;
use super::caught;
use super::clock;
use super::context::{Context, HostOptions};
use super::diagnose::Diagnoser;
use super::diagnostic::{Diagnostic, Place};
use super::error::{Error, Failure, fail};
use super::growth::Growth;
use super::help::{self, EngineFunction};
use super::lint;
use super::literals;
use super::modules::Modules;
use super::operators;
use super::output;
use super::params::{self, Scan};
use super::results::Names;
use super::turns::{Refused, Turns};
use super::validate;
use super::{draw, panics, source, stack, turns, value};
use crate::memory;

/// The engine, the table of what it offers, and the context of its runs.
pub struct Host {
    engine: Engine,
    table: Arc<Table>,
    context: Arc<Context>,
    builtins: Arc<[String]>,
    modules: Modules,
    growth: Arc<Growth>,
    turns: Turns,
    imported: BTreeMap<String, Vec<String>>,
}

/// A script that was compiled and checked. `source` is its unique name.
#[derive(Debug)]
pub struct Script {
    pub source: String,
    pub ast: AST,
    pub params: Scan,
}

impl Host {
    /// Builds the engine; reads and loads nothing.
    pub fn new(options: HostOptions) -> Self {
        Self::with(Context::new(options))
    }

    /// A new one for the same script, which finds the models loaded. What the script wrote is free for it by then.
    pub fn again(self) -> Self {
        let context = self.context.again();
        drop(self);
        Self::with(context)
    }

    fn with(context: Context) -> Self {
        let context = Arc::new(context);
        let mut engine = Engine::new();
        context.options.limits.apply(&mut engine);
        // Optimised code loses its dead branches, and with them the mistakes in them.
        engine.set_optimization_level(OptimizationLevel::None);
        engine.disable_symbol("eval").set_strict_variables(true).set_fail_on_invalid_map_property(true);
        clock::switch_off(&mut engine);
        let turns = Turns::default();
        let modules = Modules::new(context.clone(), turns.clone());
        engine.set_module_resolver(modules.clone());
        connect_output(&mut engine, &context);
        read_names(&mut engine, context.results(), turns.clone());
        let growth = Arc::new(Growth::new(&context.options.limits));
        let known = caught::Known::default();
        watch_variables(&mut engine, growth.clone(), context.clone(), known.clone());
        operators::read(&mut engine);
        operators::register(&mut engine, &context);
        let mut api = Api::new(&mut engine, context.clone());
        bind::register(&mut api);
        let table = Arc::new(api.finish());
        let builtins: Arc<[String]> = validate::builtin_functions(&engine).into();
        known.get_or_init(|| (table.clone(), builtins.clone()));
        Self { engine, table, context, builtins, modules, growth, turns, imported: BTreeMap::new() }
    }

    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn shared_table(&self) -> Arc<Table> {
        self.table.clone()
    }

    /// The functions of the modules that are kept, by the names of the imports.
    pub(super) fn imported(&self) -> &BTreeMap<String, Vec<String>> {
        &self.imported
    }

    /// Makes an imported module known to all that is compiled later: imports end with their script.
    pub(super) fn keep_import(&mut self, path: &str, alias: &str) {
        // What was not reached before an error has not run.
        if !self.modules.is_loaded(path) {
            return;
        }
        // It was resolved a moment ago, so this only looks it up.
        if let Ok(module) = self.modules.resolve(&self.engine, None, path, Position::NONE) {
            let mut names: Vec<_> =
                module.iter_script_fn_info().map(|(_, _, name, ..)| name.to_string()).collect();
            names.retain(|name| !name.starts_with("anon$"));
            self.imported.insert(alias.into(), names);
            self.engine.register_static_module(alias, module);
        }
    }

    /// Reads and compiles a script, without looking at the parameters set from outside.
    pub fn load(&self, path: &Path) -> Result<Script, Error> {
        let text = source::text(path)?;
        self.compile(&path.display().to_string(), &text, &Scope::new())
    }

    /// Reads and compiles a script that has no file, under this name.
    pub fn load_from(&self, name: &str, from: impl Read) -> Result<Script, Error> {
        let text = source::text_from(name, from)?;
        self.compile(name, &text, &Scope::new())
    }

    /// Compiles a text under a unique name: syntax, variables, and functions that exist nowhere.
    pub fn compile(&self, source: &str, text: &str, scope: &Scope) -> Result<Script, Error> {
        self.context.sources.add(source, text);
        let variables: Vec<_> = scope.iter_raw().map(|(name, ..)| name.to_string()).collect();
        let diagnoser = self.diagnoser(variables);
        let unusable = |diagnostic| Error::Unusable(Box::new(diagnostic));
        let mut ast = self.turns.compile(&self.engine, scope, text).map_err(|refused| {
            unusable(match refused {
                Refused::Syntax(error) => diagnoser.syntax(&error, source),
                Refused::Closure(Failure { message, help }, position) => {
                    let place = Some(Place { source: source.into(), position });
                    Diagnostic { code: "closure", message, help, place, ..Diagnostic::default() }
                }
            })
        })?;
        ast.set_source(source);
        self.context.key_orders.learn(&ast);
        self.context.caught.learn(&ast);
        Ok(Script { source: source.to_string(), params: params::scan(&ast), ast })
    }

    /// Refuses calls of functions that exist nowhere, and literals that every run would refuse.
    pub fn check(&self, script: &Script) -> Result<(), Error> {
        self.check_for(script, false)
    }

    pub(super) fn check_for(&self, script: &Script, runs: bool) -> Result<(), Error> {
        validate::calls(&script.ast, &script.source, &self.diagnoser(Vec::new()))
            .and_then(|()| literals::check(&script.ast, &script.source, &self.table, &self.context, runs))
            .map_err(Error::Unusable)
    }

    /// What the script may do, but most likely does not mean.
    pub fn warnings(&self, script: &Script) -> Vec<Diagnostic> {
        let text = self.context.sources.get(&script.source).unwrap_or_default();
        let found = lint::warnings(&script.ast, &script.source, &text);
        found.into_iter().filter(|warning| self.context.is_news(warning)).collect()
    }

    /// Runs a whole script, after checking it and its parameters.
    pub fn run(&self, script: &Script) -> Result<(), Error> {
        self.run_in(&mut Scope::new(), script)
    }

    /// The same, with the variables of the script in this scope.
    pub(super) fn run_in(&self, scope: &mut Scope<'static>, script: &Script) -> Result<(), Error> {
        self.check_for(script, true)?;
        self.context.params.check(&script.params).map_err(|(failure, position)| {
            let place = Place { source: script.source.clone(), position };
            let place = (!position.is_none()).then_some(place);
            Error::Unusable(Box::new(Diagnostic {
                code: "parameter",
                message: failure.message,
                help: failure.help,
                place,
                ..Diagnostic::default()
            }))
        })?;
        self.context.record.begin();
        self.eval(scope, &script.ast, &script.source).map(drop)?;
        // By its last line, which the engine does not look behind.
        if let Some(error) = self.context.output_error() {
            return Err(error);
        }
        let ended = self.context.resume.finish(&self.context);
        ended.map_err(|error| self.error(&error, &Scope::new(), &script.source))
    }

    /// Evaluates on a thread with a large stack. What a script declared before it failed stays in the scope.
    pub(super) fn eval(&self, scope: &mut Scope<'static>, ast: &AST, source: &str) -> Result<Dynamic, Error> {
        let _watched = memory::limit::watch(self.context.options.limits.memory());
        let variables = scope.len();
        let result = thread::scope(|threads| {
            let (done, results) = mpsc::channel();
            let scope = &mut *scope;
            let work = move || {
                self.context.enter();
                self.context.stack().begin();
                let result = panics::caught(|| {
                    let result = self.engine.eval_ast_with_scope::<Dynamic>(scope, ast);
                    self.growth.keep(result, scope, variables)
                });
                // The other side waits for nothing else.
                let _ = done.send(result.unwrap_or_else(|panic| Err(panic.into())));
            };
            let thread = thread::Builder::new().stack_size(stack::bytes());
            thread.spawn_scoped(threads, work).map_err(Error::Thread)?;
            Ok::<_, Error>(self.supervise(&results))
        })?;
        let result = result.unwrap_or_else(|| Err(fail("the script's thread ended without a result").into()));
        result.map_err(|error| self.error(&error, scope, source))
    }

    fn error(&self, error: &EvalAltResult, scope: &Scope, source: &str) -> Error {
        match innermost(error) {
            EvalAltResult::ErrorTerminated(reason, _)
                if reason.is_unit()
                    && (self.context.output_closed() || self.context.timed_out().is_none()) =>
            {
                self.context.output_error().unwrap_or(Error::Interrupted)
            }
            _ => {
                let variables = scope.iter_raw().map(|(name, ..)| name.to_string()).collect();
                Error::Failed(Box::new(self.diagnoser(variables).runtime(error, source)))
            }
        }
    }

    fn diagnoser(&self, variables: Vec<String>) -> Diagnoser<'_> {
        Diagnoser { table: &self.table, context: &self.context, builtins: &self.builtins, variables }
    }

    /// What is known about a name, for a reader.
    pub fn help(&self, name: &str) -> String {
        help::about(&self.table, &self.engine_functions(), name)
    }

    /// The engine's own functions.
    pub(super) fn engine_functions(&self) -> Vec<EngineFunction> {
        let read = |told: rhai::FuncInfo| EngineFunction::read(told.metadata);
        let mut functions = self.engine.collect_fn_metadata(None, read, true);
        functions.sort();
        functions.dedup_by_key(|function| function.usage());
        functions
    }

    /// What the REPL prints for a value; `None` for `()`.
    pub fn echo(&self, value: &Dynamic) -> Option<String> {
        value::echo(&self.table, value)
    }

    /// The same on a person's terminal, where figures are drawn and what is long is cut.
    pub(super) fn picture(&self, value: &Dynamic) -> Option<String> {
        let drawn = self
            .table
            .picture(value)
            .or_else(|| draw::entries(&self.table, value))
            .or_else(|| self.echo(value))?;
        Some(draw::cut(&drawn))
    }

    /// The text of an error for standard error.
    pub fn render(&self, error: &Error, color: bool) -> String {
        match error {
            Error::Unusable(diagnostic) | Error::Failed(diagnostic) => self.draw(diagnostic, color),
            other => self.draw(&Diagnostic::new(other.to_string(), other.help()), color),
        }
    }

    /// The text of a diagnostic for standard error.
    pub fn draw(&self, diagnostic: &Diagnostic, color: bool) -> String {
        diagnostic.render(&self.context.sources, color)
    }
}

fn innermost(error: &EvalAltResult) -> &EvalAltResult {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => {
            innermost(inner)
        }
        error => error,
    }
}

/// Reads the names of earlier values where the REPL has them, `_` among them. Always
/// reads `var`, a word that the engine reserves without using it, as a name: tensors have a variance. Variables that
/// closures take copies of have the names that [`Turns`] gives them.
#[expect(deprecated, reason = "marks a volatile interface of the engine")]
pub(super) fn read_names(engine: &mut Engine, results: Arc<Names>, turns: Turns) {
    engine.on_parse_token(move |token, at, _| match results.token(token) {
        Token::Reserved(word) if word.as_str() == "var" => Token::Identifier(word),
        // A whole number that does not fit: the engine would go on with the nearest float.
        Token::FloatConstant(number)
            if number.1.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') =>
        {
            Token::LexError(Box::new(LexError::MalformedNumber(number.1.to_string())))
        }
        token => turns.read(token, at),
    });
}

/// What each use of a variable is an occasion for.
#[expect(deprecated, reason = "marks a volatile interface of the engine")]
fn watch_variables(engine: &mut Engine, growth: Arc<Growth>, context: Arc<Context>, known: caught::Known) {
    engine.on_var(move |name, _, mut call| {
        growth.on_use(&call)?;
        caught::on_use(turns::original(name), &mut call, &context, &known);
        Ok(turns::copy(name, call.scope()))
    });
}

/// `print` to standard output, `debug` to standard error; a reader who leaves ends the run.
fn connect_output(engine: &mut Engine, context: &Arc<Context>) {
    let reader = context.clone();
    engine.on_print(move |text| {
        reader.record.print(text);
        if let Err(error) = output::print(text) {
            reader.close_output(&error);
        }
    });
    engine.on_debug(|text, source, position: Position| {
        let line = position.line().unwrap_or(0);
        output::tell(format_args!("{}:{line}: {text}", source.unwrap_or("script")));
    });
    let signals = context.clone();
    engine.on_progress(move |_| signals.stop());
}
