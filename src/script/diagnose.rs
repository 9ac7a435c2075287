//! Every error of the engine as a [`Diagnostic`].
//!
//! [`names`] is about names, calls, fields and operators that are unknown; [`syntax`] and [`brackets`] what was meant at
//! the [`spot`] where the engine stopped reading; [`words`] holds what other languages call our things.

mod brackets;
mod names;
mod spot;
mod syntax;
mod words;

use rhai::{Dynamic, EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use self::spot::Spot;
use self::syntax::Advice;
use super::api::{Table, script_type};
use super::context::Context;
use super::diagnostic::{Diagnostic, Frame, Place};
use super::error::Failure;
use super::source::position_at;
use super::value;

/// What is needed to say what is wrong: the table, the sources, and names that no source shows.
pub struct Diagnoser<'a> {
    pub table: &'a Table,
    pub context: &'a Context,
    /// Functions of the engine itself.
    pub builtins: &'a [String],
    /// Variables that live on in the REPL.
    pub variables: Vec<String>,
}

/// Message and help.
pub type Text = (String, Option<String>);

impl Diagnoser<'_> {
    /// An error of a run of the source `main`.
    pub fn runtime(&self, error: &EvalAltResult, main: &str) -> Diagnostic {
        let (mut error, mut source) = (error, main.to_string());
        let mut frames = Vec::new();
        loop {
            match error {
                EvalAltResult::ErrorInFunctionCall(name, inner_source, inner, position) => {
                    let label = match name.starts_with("anon$") {
                        true => "in call to this closure".to_string(),
                        false => format!("in call to `{name}`"),
                    };
                    frames
                        .push(Frame { label, place: Place { source: source.clone(), position: *position } });
                    if !inner_source.is_empty() {
                        source.clone_from(inner_source);
                    }
                    let home = self.context.sources.home(name).filter(|_| source == main);
                    source = home.unwrap_or(source);
                    error = inner;
                }
                EvalAltResult::ErrorInModule(name, inner, position) => {
                    let place = Place { source: source.clone(), position: *position };
                    frames.push(Frame { label: "in this import".into(), place });
                    if !name.is_empty() {
                        source.clone_from(name);
                    }
                    error = inner;
                }
                _ => break,
            }
        }
        let place = Place { source, position: error.position() };
        let (message, help) = self.text(error, &place);
        let code = self.code(error);
        Diagnostic { code, message, help, place: Some(place), frames, ..Diagnostic::default() }
    }

    /// A syntax error in the source `main`.
    pub fn syntax(&self, error: &ParseError, main: &str) -> Diagnostic {
        let place = Place { source: main.to_string(), position: error.position() };
        let text = self.context.sources.get(main).unwrap_or_default();
        let spot = Spot::new(&text, place.position);
        let advice = match error.err_type() {
            ParseErrorType::VariableUndefined(name) => self.unknown_variable(name, &spot),
            kind => self
                .named_argument(&spot)
                .or_else(|| syntax::of_syntax(&spot))
                .unwrap_or_else(|| after(&spot, kind)),
        };
        let (message, help) = self.parse_text(error.err_type());
        let position = advice.at.map_or(place.position, |at| position_at(&text, at));
        let unknown = matches!(error.err_type(), ParseErrorType::VariableUndefined(_));
        Diagnostic {
            code: if unknown { "unknown-variable" } else { "syntax" },
            message: advice.message.unwrap_or(message),
            help: advice.help.or(help),
            place: Some(Place { position, ..place }),
            ..Diagnostic::default()
        }
    }

    /// What kind of mistake an error of a run is, for programs.
    fn code(&self, error: &EvalAltResult) -> &'static str {
        use EvalAltResult as E;
        match error {
            E::ErrorTerminated(reason, _) if reason.is_unit() => match self.context.timed_out() {
                Some(_) => "limit",
                None => "interrupted",
            },
            E::ErrorTerminated(..)
            | E::ErrorTooManyOperations(_)
            | E::ErrorStackOverflow(_)
            | E::ErrorDataTooLarge(..) => "limit",
            E::ErrorRuntime(payload, _) if payload.is::<Failure>() => "refused",
            E::ErrorRuntime(..) => "thrown",
            E::ErrorParsing(..) => "syntax",
            E::ErrorFunctionNotFound(..) => "unknown-function",
            E::ErrorVariableNotFound(..) => "unknown-variable",
            E::ErrorModuleNotFound(..) => "unknown-module",
            E::ErrorPropertyNotFound(..) | E::ErrorDotExpr(..) => "unknown-field",
            E::ErrorIndexingType(..) | E::ErrorArrayBounds(..) | E::ErrorStringBounds(..) => "index",
            E::ErrorMismatchDataType(..) | E::ErrorMismatchOutputType(..) | E::ErrorFor(_) => "type",
            E::ErrorArithmetic(..) => "arithmetic",
            E::ErrorAssignmentToConstant(..) => "constant",
            _ => "refused",
        }
    }

    /// Message and help of an error without the calls on the way to it.
    pub fn text(&self, error: &EvalAltResult, place: &Place) -> Text {
        use EvalAltResult as E;
        let limits = &self.context.options.limits;
        match error {
            E::ErrorTerminated(reason, _) if reason.is_unit() => match self.context.timed_out() {
                Some(Failure { message, help }) => (message, help),
                None => ("the run was stopped".into(), None),
            },
            E::ErrorRuntime(payload, _) | E::ErrorTerminated(payload, _) => self.thrown(payload),
            E::ErrorParsing(kind, _) => self.parse_text(kind),
            E::ErrorFunctionNotFound(call, _) => self.unknown_call(call, place),
            E::ErrorVariableNotFound(name, _) => {
                let text = self.context.sources.get(&place.source).unwrap_or_default();
                let advice = self.unknown_variable(name, &Spot::new(&text, place.position));
                (advice.message.unwrap_or_else(|| format!("unknown variable `{name}`")), advice.help)
            }
            E::ErrorModuleNotFound(name, _) => no_module(name),
            E::ErrorPropertyNotFound(name, _) => self.unknown_entry(name, place),
            E::ErrorDotExpr(text, _) => self.unknown_field(text),
            E::ErrorIndexingType(text, _) => self.not_indexable(text),
            E::ErrorArrayBounds(len, index, _) => {
                (format!("index {index} is out of range for an array of {len}"), indices(*len))
            }
            E::ErrorStringBounds(len, index, _) => {
                (format!("index {index} is out of range for a string of {len} characters"), indices(*len))
            }
            E::ErrorMismatchDataType(expected, found, _) | E::ErrorMismatchOutputType(expected, found, _) => {
                self.wrong_type(&script_type(expected), &script_type(found), place)
            }
            E::ErrorFor(_) => (
                "this value cannot be looped over".into(),
                Some("loop over an array, or over a range: `for i in 0..n`".into()),
            ),
            E::ErrorDataRace(..) => (
                "a closure uses the variable that this call is made on".into(),
                Some(
                    "give what stands before the last `.` a name first: `let ids = …; ids.map(|id| …)`"
                        .into(),
                ),
            ),
            E::ErrorTooManyOperations(_) => (
                format!("the script took more than {} steps", limits.operations),
                Some(format!(
                    "if that is meant, allow more: `--max-ops {}`",
                    limits.operations.saturating_mul(10)
                )),
            ),
            E::ErrorStackOverflow(_) => (
                format!("calls are nested deeper than {}", limits.call_levels),
                Some(format!(
                    "end the recursion, or allow more: `--max-call-levels {}`",
                    limits.call_levels * 4
                )),
            ),
            E::ErrorDataTooLarge(what, _) => (
                lower(&format!("{what} too large")),
                Some("keep less at once, or raise its `--max-…` limit".into()),
            ),
            E::ErrorAssignmentToConstant(name, _) => (
                format!("`{name}` is a constant"),
                Some(format!("declare it with `let {name} = …` to change it")),
            ),
            E::ErrorArithmetic(text, _) if text.starts_with("Division by zero") => {
                (engine_text(error), Some("test for 0 first; floats divide to infinity: `1.0 / 0.0`".into()))
            }
            other => (engine_text(other), None),
        }
    }

    /// What `throw`, or a native function, gave.
    fn thrown(&self, payload: &Dynamic) -> Text {
        if let Some(failure) = payload.read_lock::<Failure>() {
            return (failure.message.clone(), failure.help.clone());
        }
        match payload.is_unit() {
            true => ("the script threw an error without a message".into(), None),
            false => (value::plain(self.table, payload), None),
        }
    }

    fn parse_text(&self, kind: &ParseErrorType) -> Text {
        use ParseErrorType as P;
        match kind {
            P::UnexpectedEOF => ("the script ends too early".into(), Some("close what is still open".into())),
            P::BadInput(LexError::UnterminatedString) => (
                "the string is not closed".into(),
                Some(
                    "close it with the sign that opened it; a text of several lines stands between backticks"
                        .into(),
                ),
            ),
            P::BadInput(LexError::ImproperSymbol(word, _)) if word == "eval" => {
                ("`eval` is switched off".into(), Some("write the code itself, or a function".into()))
            }
            P::BadInput(LexError::MalformedNumber(digits))
                if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') =>
            {
                (
                    format!("{digits} does not fit an int of 64 bits"),
                    Some(format!("write it as a float, `{digits}.0`, or as text, `\"{digits}\"`")),
                )
            }
            P::BadInput(LexError::MalformedChar(text)) => (
                "single quotes hold one character".into(),
                Some(format!("write text in double quotes: `\"{text}\"`")),
            ),
            P::BadInput(LexError::MalformedEscapeSequence(escape)) => (
                format!("`{escape}` is no escape"),
                Some(
                    "write a backslash as `\\\\`, or the text between backticks, where it needs no escape"
                        .into(),
                ),
            ),
            P::BadInput(lex) => (engine_words(&lex.to_string()), None),
            P::MissingToken(token, purpose) => (
                engine_words(&format!("expected `{token}` {purpose}")),
                (token == ",").then(|| "put a `,` between the values".into()),
            ),
            P::VariableUndefined(name) => (format!("unknown variable `{name}`"), None),
            P::ModuleUndefined(name) => no_module(name),
            P::MismatchedType(expected, found) => (
                format!("expected {expected}, found {found}"),
                expected.contains("boolean").then(|| "compare: `x != 0`, `x != \"\"`, `x != ()`".into()),
            ),
            P::Reserved(word) => (
                format!("`{word}` is a reserved word"),
                Some(format!("choose another name, such as `{word}_`")),
            ),
            P::VariableExpected => (
                "expected the name of a variable".into(),
                Some("a name begins with a letter, and is no word of the language".into()),
            ),
            P::AssignmentToConstant(name) => (
                format!("`{name}` is a constant"),
                Some(format!("declare it with `let {name} = …` to change it")),
            ),
            other => (engine_words(&other.to_string()), None),
        }
    }
}

fn indices(len: usize) -> Option<String> {
    len.checked_sub(1).map(|last| format!("indices go from 0 to {last}, or back from -1 to -{len}"))
}

fn no_module(name: &str) -> Text {
    let message = format!("there is no module `{name}` here");
    match words::name(name) {
        Some(cure) => (message, Some(cure.into())),
        None => (message, Some(format!("import it first: `import \"{name}\" as {name};`"))),
    }
}

/// What is missing is missed where the line before ends, not where the next one begins.
fn after(spot: &Spot, kind: &ParseErrorType) -> Advice {
    let last = spot.at().checked_sub(1);
    let missing = matches!(kind, ParseErrorType::MissingToken(..) | ParseErrorType::UnexpectedEOF);
    let at = last.filter(|_| missing).map(|last| spot.end(last));
    Advice { at: at.filter(|end| spot.text[*end..spot.start(spot.at())].contains('\n')), ..Advice::default() }
}

/// The engine's own text without its position.
fn engine_text(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let position = error.position();
    engine_words(match position == Position::NONE {
        true => &text,
        false => text.strip_suffix(&format!(" ({position})")).unwrap_or(&text),
    })
}

/// The engine's words in our manner: lower case first, backticks for quotes.
fn engine_words(text: &str) -> String {
    lower(&text.replace('\'', "`"))
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
