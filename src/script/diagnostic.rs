//! One error as the user sees it: what, where, how to cure it, who called.

use std::fmt;

use codespan_reporting::diagnostic::{Diagnostic as Report, Label};
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term::termcolor::Ansi;
use codespan_reporting::term::{Chars, Config, Styles, StylesWriter, emit_into_string, emit_to_write_style};
use rhai::Position;
use serde_json::{Value, json};

use super::source::{Sources, token_at};

/// A point in a source, by the source's unique name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: String,
    pub position: Position,
}

/// A call on the way to the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// "in call to `name`".
    pub label: String,
    pub place: Place,
}

/// How bad it is: an error ends the script, a warning only says that something is most likely not meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    #[default]
    Error,
    Warning,
}

/// An error or a warning with its place. Frames run from the outermost call to the innermost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What kind of mistake it is, for programs; of an error without one, what [`Error::code`](super::Error::code) says.
    pub code: &'static str,
    pub message: String,
    pub help: Option<String>,
    pub place: Option<Place>,
    pub frames: Vec<Frame>,
}

/// Calls shown before a deep recursion is cut.
const MAX_FRAMES: usize = 6;

impl Diagnostic {
    /// An error without a place.
    pub fn new(message: impl Into<String>, help: Option<String>) -> Self {
        Self { message: message.into(), help, ..Self::default() }
    }

    /// What the report says, for programs. Lines and columns (in characters) count from 1; without a place they are null.
    pub fn json(&self, sources: &Sources) -> Value {
        let at = |place: &Place| {
            let text = sources.get(&place.source).unwrap_or_default();
            let (line, column) = (place.position.line(), place.position.position());
            let length = text[token_at(&text, place.position)].chars().count();
            json!({"file": place.source, "line": line, "column": column, "length": length})
        };
        let nowhere = json!({"file": null, "line": null, "column": null, "length": null});
        let mut found = json!({
            "severity": match self.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "code": self.code,
            "message": self.message,
            "help": self.help,
        });
        let place = self.place.as_ref().map_or(nowhere, at);
        let calls = self.frames.iter().map(|frame| {
            let mut call = at(&frame.place);
            call["label"] = json!(frame.label);
            call
        });
        let calls: Vec<_> = calls.collect();
        for (key, value) in place.as_object().into_iter().flatten() {
            found[key] = value.clone();
        }
        found["calls"] = json!(calls);
        found
    }

    /// The whole report, in the style of rustc, ending in a line break.
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let mut files = SimpleFiles::new();
        let mut names: Vec<&str> = Vec::new();
        let mut labels = Vec::new();
        let inner = self.place.iter().map(|place| (place, None));
        let shown = self.frames.len().saturating_sub(MAX_FRAMES);
        let outer = self.frames[shown..].iter().rev().map(|frame| (&frame.place, Some(&frame.label)));
        for (place, label) in inner.chain(outer) {
            let (Some(text), false) = (sources.get(&place.source), place.position.is_none()) else {
                continue;
            };
            let file = names.iter().position(|name| *name == place.source).unwrap_or_else(|| {
                names.push(&place.source);
                files.add(place.source.clone(), text.to_string())
            });
            let range = token_at(&text, place.position);
            labels.push(match label {
                None => Label::primary(file, range),
                Some(label) => Label::secondary(file, range).with_message(label),
            });
        }
        let report = match self.severity {
            Severity::Error => Report::error(),
            Severity::Warning => Report::warning(),
        };
        let mut report = report.with_message(&self.message).with_labels(labels);
        if shown > 0 {
            report = report.with_note(format!("{shown} outer calls are not shown"));
        }
        if let Some(help) = &self.help {
            report = report.with_note(format!("help: {help}"));
        }
        draw(&report, &files, color).unwrap_or_else(|_| format!("error: {}\n", self.message))
    }
}

fn draw(
    report: &Report<usize>,
    files: &SimpleFiles<String, String>,
    color: bool,
) -> Result<String, codespan_reporting::files::Error> {
    let config = Config { chars: Chars::ascii(), ..Config::default() };
    let text = if color {
        let mut buffer = Ansi::new(Vec::new());
        let styles = Styles::default();
        emit_to_write_style(&mut StylesWriter::new(&mut buffer, &styles), &config, files, report)?;
        String::from_utf8_lossy(&buffer.into_inner()).into_owned()
    } else {
        emit_into_string(&config, files, report)?
    };
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    Ok(lines.join("\n") + "\n")
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u16, column: u16) -> Place {
        Place { source: "a.rhai".into(), position: Position::new(line, column) }
    }

    #[test]
    fn the_token_is_underlined_and_the_calls_are_labelled() {
        let sources = Sources::default();
        sources.add("a.rhai", "fn f(x) { x.lyaer }\nf(1)\n");
        let diagnostic = Diagnostic {
            message: "`int` has no field `lyaer`".into(),
            help: Some("did you mean `layer`?".into()),
            place: Some(place(1, 13)),
            frames: vec![Frame { label: "in call to `f`".into(), place: place(2, 1) }],
            ..Diagnostic::default()
        };
        let expected = "\
error: `int` has no field `lyaer`
  --> a.rhai:1:13
  |
1 | fn f(x) { x.lyaer }
  |             ^^^^^
2 | f(1)
  | - in call to `f`
  |
  = help: did you mean `layer`?
";
        assert_eq!(diagnostic.render(&sources, false), expected);
        assert!(diagnostic.render(&sources, true).contains("\x1b["));
    }

    #[test]
    fn programs_read_the_same() {
        let sources = Sources::default();
        sources.add("a.rhai", "let é = x.lyaer;\n");
        let diagnostic = Diagnostic {
            code: "unknown-field",
            message: "`int` has no field `lyaer`".into(),
            help: Some("did you mean `layer`?".into()),
            place: Some(place(1, 11)),
            ..Diagnostic::default()
        };
        let expected = json!({
            "severity": "error", "code": "unknown-field", "message": "`int` has no field `lyaer`",
            "help": "did you mean `layer`?", "file": "a.rhai", "line": 1, "column": 11, "length": 5, "calls": [],
        });
        assert_eq!(diagnostic.json(&sources), expected);
        assert_eq!(Diagnostic::new("no", None).json(&sources)["line"], Value::Null);
    }

    #[test]
    fn without_a_place_the_message_stands_alone() {
        let text = Diagnostic::new("no", Some("yes".into())).render(&Sources::default(), false);
        assert_eq!(text, "error: no\n = help: yes\n");
    }
}
