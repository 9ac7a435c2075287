//! The two streams of a process: what was asked for goes to standard output, what is good to know to standard error, there
//! for people or, where they asked for it, for programs: a JSON object a line.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

/// Whether programs read standard error, which has one reader as long as the process lives.
static FOR_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// From here on, standard error is for programs.
pub fn tell_programs() {
    FOR_PROGRAMS.store(true, Ordering::Relaxed);
}

pub fn for_programs() -> bool {
    FOR_PROGRAMS.load(Ordering::Relaxed)
}

/// A line that was asked for.
///
/// # Errors
/// Nobody reads standard output, or it cannot hold the line.
pub fn print(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line that is good to know: nothing is lost where standard error is closed.
pub fn tell(text: impl Display) {
    let text = text.to_string();
    let line = if for_programs() { told(&text).to_string() } else { text };
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The same of what people are told as `text` and programs as `value`.
pub fn tell_as(text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
    let line = if for_programs() { value().to_string() } else { text().trim_end().into() };
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A text for people as an object.
fn told(text: &str) -> Value {
    let known = ["error", "warning", "note"];
    let parted = text.split_once(": ").filter(|(severity, _)| known.contains(severity));
    let (severity, rest) = parted.unwrap_or(("note", text));
    let (message, help) = match rest.split_once("\n = help: ") {
        Some((message, help)) => (message, Some(help)),
        None => (rest, None),
    };
    json!({"severity": severity, "message": message, "help": help})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_parts() {
        let found = told("note: no font: boxes\n = help: install one");
        assert_eq!(found, json!({"severity": "note", "message": "no font: boxes", "help": "install one"}));
        assert_eq!(told("a.rhai:2: 1"), json!({"severity": "note", "message": "a.rhai:2: 1", "help": null}));
    }
}
