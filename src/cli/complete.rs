//! Completion and hints while typing, from the table and the session's variables.

use rustyline::completion::Completer;
use rustyline::hint::Hinter;
use rustyline::history::SearchDirection;
use rustyline::validate::Validator;
use rustyline::{Context, Helper, Highlighter};

use crate::script::Session;
use crate::script::api::{Entry, Kind};
use crate::script::args::type_of;
use crate::script::session::command_names;

const KEYWORDS: &[&str] = &[
    "let", "const", "fn", "if", "else", "for", "in", "while", "loop", "return", "throw", "try", "catch",
    "import", "print", "help", "vars",
];

/// What the line editor asks.
#[derive(Helper, Highlighter)]
pub struct Assistant {
    entries: Vec<Entry>,
    /// Name and type.
    variables: Vec<(String, String)>,
}

impl Assistant {
    pub fn new(session: &Session) -> Self {
        let mut assistant = Self { entries: session.host().table().entries.clone(), variables: Vec::new() };
        assistant.learn(session);
        assistant
    }

    /// Takes over the session's variables.
    pub fn learn(&mut self, session: &Session) {
        let variables = session.variables().into_iter();
        self.variables = variables.map(|(name, value)| (name, type_of(&value))).collect();
    }

    /// The names that may continue the word that ends at the line's end, and where it starts.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let (before, word) = line.split_at(start);
        let mut names: Vec<String> = match before.strip_suffix('.') {
            Some(receiver) => self.members(receiver),
            None if before == ":" => command_names().map(String::from).collect(),
            None => {
                let functions = self.entries.iter().filter(|entry| entry.kind == Kind::Function);
                let functions = functions.map(|entry| entry.name().to_string());
                let variables = self.variables.iter().map(|(name, _)| name.clone());
                functions.chain(variables).chain(KEYWORDS.iter().map(ToString::to_string)).collect()
            }
        };
        names.retain(|name| name.starts_with(word) && name != word);
        names.sort();
        names.dedup();
        (start, names)
    }

    /// Fields and methods after a dot: of the variable's type, or of any if that is not known.
    fn members(&self, receiver: &str) -> Vec<String> {
        let name = receiver.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
        let ty = self.variables.iter().find(|(variable, _)| variable == name).map(|(_, ty)| ty.as_str());
        let members = self.entries.iter().filter(|entry| {
            matches!(entry.kind, Kind::Method | Kind::Getter) && (ty.is_none() || entry.receiver == ty)
        });
        members.map(|entry| entry.name().to_string()).collect()
    }

    /// The parameters of the function whose bracket was just opened.
    fn parameters(&self, line: &str) -> Option<String> {
        let head = line.strip_suffix('(')?;
        let name = head.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
        let entry = self.entries.iter().find(|entry| entry.name() == name)?;
        let params = entry.signature.params.as_ref()?;
        Some(params.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ") + ")")
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(&line[..pos]))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
        if line.is_empty() || pos < line.len() {
            return None;
        }
        self.parameters(line).or_else(|| {
            let start = context.history_index().checked_sub(1)?;
            let found = context.history().starts_with(line, start, SearchDirection::Reverse).ok()??;
            found.entry.get(line.len()..).map(String::from)
        })
    }
}

/// Whether an input is whole is asked line by line, by [`Entry`](crate::script::entry::Entry).
impl Validator for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostOptions};

    fn assistant(inputs: &[&str]) -> Assistant {
        let mut session = Session::new(Host::new(HostOptions::default()));
        for input in inputs {
            session.submit(input).unwrap();
        }
        Assistant::new(&session)
    }

    #[test]
    fn names_come_from_the_table_the_variables_and_the_language() {
        let assistant = assistant(&["let parade = 1;"]);
        assert_eq!(assistant.candidates("1 + par"), (4, vec!["parade".into(), "param".into()]));
        assert_eq!(assistant.candidates("ret").1, ["return"]);
        assert_eq!(assistant.candidates(":sa"), (1, vec!["save".into()]));
    }

    #[test]
    fn a_dot_completes_by_the_variables_type() {
        let assistant = assistant(&["let e = (); try { assert(false) } catch (x) { e = x }", "let n = 1;"]);
        assert_eq!(assistant.candidates("e.m").1, ["message"]);
        assert!(assistant.candidates("n.m").1.is_empty());
    }

    #[test]
    fn an_open_bracket_hints_the_parameters() {
        let hint = assistant(&[]).parameters("print(join(");
        assert_eq!(hint.as_deref(), Some("items: array, separator: string)"));
    }
}
