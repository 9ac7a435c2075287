//! Every error of the engine as a [`Diagnostic`].

use rhai::{Dynamic, EvalAltResult, LexError, ParseError, ParseErrorType, Position};

use super::api::{Entry, Kind, Table, script_type};
use super::context::Context;
use super::diagnostic::{Diagnostic, Frame, Place};
use super::error::Failure;
use super::source::{identifiers, token_at};
use super::value;
use crate::nearest::nearest;

/// What is needed to explain: the table, the sources, and names that no source shows.
pub struct Explainer<'a> {
    pub table: &'a Table,
    pub context: &'a Context,
    /// Functions of the engine itself.
    pub builtins: &'a [String],
    /// Variables that live on in the REPL.
    pub variables: Vec<String>,
}

/// Message and help.
type Text = (String, Option<String>);

impl Explainer<'_> {
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
        Diagnostic { message, help, place: Some(place), frames, ..Diagnostic::default() }
    }

    /// A syntax error in the source `main`.
    pub fn syntax(&self, error: &ParseError, main: &str) -> Diagnostic {
        let place = Place { source: main.to_string(), position: error.position() };
        let (message, help) = self.parse_text(error.err_type(), &place);
        Diagnostic { message, help, place: Some(place), ..Diagnostic::default() }
    }

    fn text(&self, error: &EvalAltResult, place: &Place) -> Text {
        use EvalAltResult as E;
        let limits = &self.context.options.limits;
        match error {
            E::ErrorTerminated(reason, _) if reason.is_unit() => match self.context.timed_out() {
                Some(Failure { message, help }) => (message, help),
                None => ("the run was stopped".into(), None),
            },
            E::ErrorRuntime(payload, _) | E::ErrorTerminated(payload, _) => self.thrown(payload),
            E::ErrorParsing(kind, _) => self.parse_text(kind, place),
            E::ErrorFunctionNotFound(call, _) => self.unknown_call(call, place),
            E::ErrorVariableNotFound(name, _) => self.unknown_variable(name, place),
            E::ErrorModuleNotFound(name, _) => (
                format!("there is no module `{name}` here"),
                Some(format!("import it first: `import \"{name}\" as {name};`")),
            ),
            E::ErrorPropertyNotFound(name, _) => (
                format!("the map has no entry `{name}`"),
                self.nearest_word(name, place)
                    .or_else(|| Some(format!("test for it first: `\"{name}\" in map`"))),
            ),
            E::ErrorDotExpr(text, _) => self.unknown_field(text),
            E::ErrorIndexingType(text, _) => self.not_indexable(text),
            E::ErrorArrayBounds(len, index, _) => {
                (format!("index {index} is out of range for an array of {len}"), None)
            }
            E::ErrorStringBounds(len, index, _) => {
                (format!("index {index} is out of range for a string of {len} characters"), None)
            }
            E::ErrorMismatchDataType(expected, found, _) | E::ErrorMismatchOutputType(expected, found, _) => {
                let (expected, found) = (script_type(expected), script_type(found));
                let help = match (expected.as_str(), found.as_str()) {
                    ("bool", "Tensor") => Some("ask the mask: `.any()` or `.all()`".into()),
                    _ => None,
                };
                (format!("expected `{expected}`, found `{found}`"), help)
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

    fn parse_text(&self, kind: &ParseErrorType, place: &Place) -> Text {
        use ParseErrorType as P;
        match kind {
            P::UnexpectedEOF => ("the script ends too early".into(), Some("close what is still open".into())),
            P::BadInput(LexError::UnterminatedString) => ("the string is not closed".into(), None),
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
            P::BadInput(lex) => (engine_words(&lex.to_string()), None),
            P::MissingToken(token, purpose) => (format!("expected `{token}` {purpose}"), None),
            P::VariableUndefined(name) => self.unknown_variable(name, place),
            P::ModuleUndefined(name) => (
                format!("there is no module `{name}` here"),
                Some(format!("import it first: `import \"{name}\" as {name};`")),
            ),
            P::MismatchedType(expected, found) => (format!("expected {expected}, found {found}"), None),
            P::Reserved(word) => (format!("`{word}` is a reserved word"), None),
            P::AssignmentToConstant(name) => (
                format!("`{name}` is a constant"),
                Some(format!("declare it with `let {name} = …` to change it")),
            ),
            other => (engine_words(&other.to_string()), None),
        }
    }

    fn unknown_variable(&self, name: &str, place: &Place) -> Text {
        let message = format!("unknown variable `{name}`");
        let help = match self.table.named(name).find(|entry| entry.kind == Kind::Function) {
            Some(entry) => Some(format!("`{name}` is a function; call it: `{}`", entry.usage())),
            None => self.option_outside_a_map(name, place).or_else(|| self.nearest_word(name, place)),
        };
        (message, help.or_else(|| Some(format!("declare it first: `let {name} = …;`"))))
    }

    /// Help for `f(x, name = 1)` and `f(x, {name: 1})`, as other languages write options.
    fn option_outside_a_map(&self, name: &str, place: &Place) -> Option<String> {
        let text = self.context.sources.get(&place.source)?;
        let word = token_at(&text, place.position);
        let (before, after) = (text[..word.start].trim_end(), text[word.end..].trim_start());
        let named = before.ends_with(['(', ',']) && after.starts_with('=') && !after.starts_with("==");
        let in_block = before.ends_with('{') && after.starts_with(':') && !after.starts_with("::");
        (named || in_block).then(|| format!("options are a map, with a `#` in front: `#{{{name}: …}}`"))
    }

    /// The nearest word of the source, or variable of the REPL.
    fn nearest_word(&self, name: &str, place: &Place) -> Option<String> {
        let text = self.context.sources.get(&place.source).unwrap_or_default();
        let words = identifiers(&text);
        let known = words.into_iter().chain(self.variables.iter().map(String::as_str));
        nearest(name, known).map(|name| format!("did you mean `{name}`?"))
    }

    /// `call` is the engine's `name (type, type)`.
    fn unknown_call(&self, call: &str, place: &Place) -> Text {
        let (name, types) = call.split_once(" (").unwrap_or((call, ""));
        let types: Vec<_> =
            types.trim_end_matches(')').split(", ").filter(|ty| !ty.is_empty()).map(script_type).collect();
        let function = name.rsplit("::").next().unwrap_or(name);
        if !rhai::is_valid_identifier(function) {
            return self.bad_operator(function, &types);
        }
        let found = types.join(", ");
        let entries: Vec<_> = self.table.named(function).collect();
        if !entries.is_empty() && function == name {
            return wrong_arguments(function, &entries, &types);
        }
        if self.builtins.iter().any(|builtin| builtin == name) {
            return (format!("`{name}` does not take ({found})"), None);
        }
        if name != function {
            let module = name.trim_end_matches(function).trim_end_matches("::");
            return (format!("module `{module}` has no function `{function}` that takes ({found})"), None);
        }
        let on = types.first().filter(|_| self.is_method_call(place));
        let message = match on {
            Some(receiver) => format!("`{receiver}` has no method `{name}`"),
            None => format!("unknown function `{name}`"),
        };
        (message, self.nearest_function(name, on.map(String::as_str), place))
    }

    /// "did you mean", over the table, the engine's own functions and the script's words.
    pub(super) fn nearest_function(
        &self,
        name: &str,
        receiver: Option<&str>,
        place: &Place,
    ) -> Option<String> {
        let fits = |entry: &&Entry| receiver.is_none() || entry.receiver == receiver;
        let entry = nearest(name, self.table.entries.iter().filter(fits).map(Entry::name));
        if let Some(entry) = entry.and_then(|name| self.table.named(name).find(fits)) {
            return Some(format!("did you mean `{}`?", entry.usage()));
        }
        let builtin = nearest(name, self.builtins.iter().map(String::as_str));
        match (builtin, receiver) {
            (Some(builtin), _) => Some(format!("did you mean `{builtin}`?")),
            (None, Some(receiver)) if self.table.of_type(receiver).next().is_some() => {
                Some(format!("see `help({receiver})`"))
            }
            _ => self.nearest_word(name, place),
        }
    }

    fn is_method_call(&self, place: &Place) -> bool {
        let Some(text) = self.context.sources.get(&place.source) else { return false };
        let start = token_at(&text, place.position).start;
        text[..start].trim_end().ends_with('.')
    }

    fn bad_operator(&self, operator: &str, types: &[String]) -> Text {
        match types {
            [left, right] => {
                let entries = self.table.named(operator).filter(|entry| entry.receiver == Some(left));
                let usages =
                    entries.map(|entry| format!("`{}`", entry.usage())).collect::<Vec<_>>().join(", ");
                let help = (!usages.is_empty()).then(|| format!("possible are {usages}"));
                (format!("`{operator}` does not work between `{left}` and `{right}`"), help)
            }
            _ => (format!("`{operator}` does not work on `{}`", types.join(", ")), None),
        }
    }

    /// `text` is "Unknown property 'x' - a getter is not registered for type 'T'", or of a setter.
    fn unknown_field(&self, text: &str) -> Text {
        let mut quoted = text.split('\'').skip(1).step_by(2);
        let (Some(field), Some(ty)) = (quoted.next(), quoted.next()) else {
            return (engine_words(text), None);
        };
        let ty = script_type(ty);
        if text.starts_with("No writable") {
            return (format!("field `{field}` of `{ty}` cannot be set"), None);
        }
        let on_type = |kind: Kind| self.table.of_type(&ty).filter(move |entry| entry.kind == kind);
        let help = match on_type(Kind::Method).find(|entry| entry.name() == field) {
            Some(method) => Some(format!("`{field}` is a method; call it: `{}`", method.usage())),
            None => nearest(field, on_type(Kind::Getter).map(Entry::name))
                .map(|name| format!("did you mean `{name}`?"))
                .or_else(|| on_type(Kind::Getter).next().map(|_| format!("see `help({ty})`"))),
        };
        (format!("`{ty}` has no field `{field}`"), help)
    }

    /// `text` is "T [U]", or "T [U] = V".
    fn not_indexable(&self, text: &str) -> Text {
        let (ty, index) = text.split_once(" [").unwrap_or((text, ""));
        let (index, value) = index.split_once(']').unwrap_or((index, ""));
        let (ty, index) = (script_type(ty), script_type(index));
        if !value.is_empty() {
            return (format!("elements of `{ty}` cannot be set by `{index}`"), None);
        }
        let entries = self.table.of_type(&ty).filter(|entry| entry.kind == Kind::Indexer);
        (format!("`{ty}` cannot be indexed by `{index}`"), forms(entries))
    }
}

/// The name exists, but not for these arguments: say what it takes.
fn wrong_arguments(name: &str, entries: &[&Entry], types: &[String]) -> Text {
    let receiver = types.first().map(String::as_str);
    let fits = |entry: &&&Entry| entry.receiver.is_none() || entry.receiver == receiver;
    let fitting: Vec<&Entry> = entries.iter().filter(fits).copied().collect();
    let Some(first) = fitting.first() else {
        let message = match receiver {
            Some(ty) => format!("`{ty}` has no method `{name}`"),
            None => format!("`{name}` is a method of a value"),
        };
        return (message, forms(entries.iter().copied()));
    };
    if fitting.iter().all(|entry| entry.kind == Kind::Getter) {
        let ty = receiver.unwrap_or_default();
        return (
            format!("`{name}` of `{ty}` is a field, not a method"),
            Some(format!("drop the brackets: `.{name}`")),
        );
    }
    let takes = fitting.iter().map(|entry| parameters(entry)).collect::<Vec<_>>().join(") or (");
    let found: Vec<_> = types.iter().skip(usize::from(first.receiver.is_some())).cloned().collect();
    (format!("`{name}` expects ({takes}), found ({})", found.join(", ")), forms(fitting))
}

/// The ways to call, as help.
fn forms<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<String> {
    let forms: Vec<_> = entries.into_iter().map(|entry| format!("`{}`", entry.usage())).collect();
    match forms.as_slice() {
        [] => None,
        [form] => Some(format!("its form is {form}")),
        forms => Some(format!("its forms are {}", forms.join(", "))),
    }
}

fn parameters(entry: &Entry) -> String {
    entry.signature.params.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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
