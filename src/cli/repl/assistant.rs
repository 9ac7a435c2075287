//! What the line editor asks while a person types; the answers are those of [`Assist`].

use std::borrow::Cow;
use std::cell::Cell;

use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::SearchDirection;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::highlight::{dimmed, painted};
use crate::script::Session;
use crate::script::assist::{Assist, Offer};

/// The longest line that is painted: more would make typing slow.
const PAINTED: usize = 4 << 10;

#[derive(Helper)]
pub struct Assistant {
    assist: Assist,
    color: bool,
    /// The lines of the input so far.
    before: String,
    /// Whether the line begins inside of a text in backticks.
    in_text: bool,
    /// Whether the line is done, so that no bracket needs its partner.
    done: Cell<bool>,
}

/// A way to go on, as the editor lists and takes it.
pub struct Candidate {
    shown: String,
    taken: String,
}

impl Assistant {
    pub fn new(session: &Session, color: bool) -> Self {
        let (before, done) = (String::new(), Cell::new(false));
        Self { assist: Assist::new(session), color, before, in_text: false, done }
    }

    /// An input is over, which may have changed what there is.
    pub fn learn(&mut self, session: &Session) {
        self.assist.learn(session);
        self.begin();
    }

    /// A new input begins.
    pub fn begin(&mut self) {
        self.before.clear();
        self.in_text = false;
    }

    /// The input goes on after this line.
    pub fn go_on(&mut self, line: &str, in_text: bool) {
        self.before += line;
        self.before.push('\n');
        self.in_text = in_text;
    }
}

impl Completer for Assistant {
    type Candidate = Candidate;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Candidate>)> {
        let offers = self.assist.offers(&self.before, &line[..pos]);
        let only = offers.offers.len() == 1;
        let candidate = |Offer { text, shown, then }: Offer| {
            // What stands there already is not put there twice.
            let then = if only && !then.starts_with(|c| line[pos..].starts_with(c)) { then } else { "" };
            Candidate { shown, taken: text + then }
        };
        Ok((offers.start, offers.offers.into_iter().map(candidate).collect()))
    }
}

impl rustyline::completion::Candidate for Candidate {
    fn display(&self) -> &str {
        &self.shown
    }

    fn replacement(&self) -> &str {
        &self.taken
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, context: &Context<'_>) -> Option<String> {
        if line.is_empty() || pos < line.len() {
            return None;
        }
        self.assist.wanted(line).or_else(|| {
            let start = context.history_index().checked_sub(1)?;
            let found = context.history().starts_with(line, start, SearchDirection::Reverse).ok()??;
            found.entry.get(line.len()..).map(String::from)
        })
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, pos: usize) -> Cow<'l, str> {
        if !self.color || line.len() > PAINTED {
            return Cow::Borrowed(line);
        }
        let cursor = (!self.done.get()).then_some(pos);
        Cow::Owned(painted(line, &self.assist.looks(line, self.in_text), cursor))
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(dimmed(hint, self.color))
    }

    fn highlight_char(&self, line: &str, _: usize, kind: CmdKind) -> bool {
        self.done.set(kind == CmdKind::ForcedRefresh);
        self.color && line.len() <= PAINTED
    }
}

/// Whether an input is whole is asked line by line, by [`Entry`](crate::script::entry::Entry).
impl Validator for Assistant {}
