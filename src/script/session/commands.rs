//! What an input is that is no code: help, the variables, `:save` and the like.

use std::path::PathBuf;

use rhai::Dynamic;

use super::{Reply, Session};
use crate::nearest::nearest;
use crate::script::args::type_of;
use crate::script::diagnostic::Diagnostic;
use crate::script::error::Error;
use crate::script::{help, limits, value};

/// The commands, each also with a `:` in front.
const COMMANDS: &[&str] = &["help", "vars", "quit"];

/// The commands that need the `:`.
const COLON_COMMANDS: &[&str] = &["save", "load", "edit", "time", "explain", "limits"];

/// The names of all commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().chain(COLON_COMMANDS).copied()
}

impl Session {
    /// What a command says; `None` for an input that is none.
    pub(super) fn command(&self, input: &str) -> Result<Option<Reply>, Error> {
        let word = input.trim_end_matches(';').trim_end();
        let text = match word.strip_prefix(':').unwrap_or(word) {
            "" => return Ok(Some(Reply::Nothing)),
            "quit" | "q" | "exit" => return Ok(Some(Reply::Quit)),
            "help" | "help()" | "?" => help::overview(self.host.table()),
            "vars" => match self.vars() {
                text if text.is_empty() => return Ok(Some(Reply::Nothing)),
                text => text,
            },
            "limits" if word.starts_with(':') => limits::table(&self.host.context().options),
            "edit" | "save" | "load" if word.starts_with(':') => {
                return self.file_command(&word[1..]).map(Some);
            }
            other if word.starts_with(":save ") || word.starts_with(":load ") => {
                return self.file_command(other).map(Some);
            }
            "time" if word.starts_with(':') => {
                return Err(no_use(":time", "write what to time behind it: `:time m.trace(\" John\")`"));
            }
            "explain" if word.starts_with(':') => {
                self.host.context().explain_next(true);
                "the next sweep prints its plan before it runs".into()
            }
            _ if word.starts_with(":time ") || word.starts_with(":explain ") => return Ok(None),
            other => match (asked(other), word.strip_prefix(':')) {
                (Some(name), _) => match self.scope.get(name) {
                    Some(value) => self.host.help(&type_of(value)),
                    None => self.host.help(name),
                },
                (None, Some(command)) if !command.starts_with(':') => return Err(no_command(command)),
                (None, _) => return Ok(None),
            },
        };
        Ok(Some(Reply::Text(text)))
    }

    /// `save FILE`, `load FILE` and `edit`, which touch files that no script may.
    fn file_command(&self, command: &str) -> Result<Reply, Error> {
        let (name, file) = command.split_once(' ').unwrap_or((command, ""));
        let file = file.trim().trim_matches('"');
        let shown = format!(":{name}");
        match name {
            _ if !self.typed => Err(no_use(&shown, "only a person at the prompt can use it")),
            "edit" => Ok(Reply::Edit),
            _ if file.is_empty() => {
                Err(no_use(&shown, &format!("name a file behind it: `{shown} first.rhai`")))
            }
            _ => {
                let mut file = PathBuf::from(file);
                if file.extension().is_none() {
                    file.set_extension("rhai");
                }
                Ok(if name == "save" { Reply::Save(file) } else { Reply::Load(file) })
            }
        }
    }

    fn vars(&self) -> String {
        let show = |(name, value): (String, Dynamic)| {
            let text = value::quoted(self.host.table(), &value);
            let first = text.lines().next().unwrap_or("").to_string();
            let cut: String = first.chars().take(70).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("{name}: {} = {cut}{more}", type_of(&value))
        };
        self.variables().into_iter().map(show).collect::<Vec<_>>().join("\n")
    }
}

fn no_command(command: &str) -> Error {
    let word = command.split_whitespace().next().unwrap_or("");
    let all = names().map(|name| format!("`:{name}`")).collect::<Vec<_>>().join(", ");
    let help = match nearest(word, names()) {
        Some(near) => format!("did you mean `:{near}`? the commands are {all}"),
        None => format!("the commands are {all}; a script runs by `patchscript run FILE`"),
    };
    Error::Unusable(Box::new(Diagnostic::new(format!("there is no command `:{word}`"), Some(help))))
}

/// A command that cannot be used as it was.
fn no_use(command: &str, help: &str) -> Error {
    Error::Unusable(Box::new(Diagnostic::new(format!("`{command}` does nothing so"), Some(help.into()))))
}

/// What help is asked for: `help(name)`, `help("some words")`, `help some words`, `?name`, `name?`.
fn asked(input: &str) -> Option<&str> {
    let name = match input.strip_prefix("help") {
        Some(rest) => match rest.trim_start().strip_prefix('(') {
            Some(inner) => inner.strip_suffix(')')?,
            None => rest.strip_prefix(' ')?,
        },
        None => input.strip_prefix('?').or_else(|| input.strip_suffix('?'))?,
    };
    let name = name.trim().trim_matches('"').trim_end_matches("()").trim();
    let words = input.starts_with("help");
    let is_name = |c: char| c.is_alphanumeric() || "_.".contains(c) || words && " -".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}
