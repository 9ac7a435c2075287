//! The texts that positions point into, by unique name.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::Position;

use super::error::Error;
use crate::{plain, utf8};

/// All sources compiled so far: the script, its modules, the inputs of the REPL.
#[derive(Debug, Default)]
pub struct Sources {
    texts: Mutex<HashMap<String, Arc<str>>>,
    /// Functions of earlier inputs of the REPL: the engine forgets which input defined them.
    homes: Mutex<HashMap<String, String>>,
}

impl Sources {
    /// Keeps a text under its name, replacing an earlier text of that name.
    pub fn add(&self, name: &str, text: &str) {
        lock(&self.texts).insert(name.to_string(), text.into());
    }

    pub fn get(&self, name: &str) -> Option<Arc<str>> {
        lock(&self.texts).get(name).cloned()
    }

    /// How many texts there are.
    pub fn count(&self) -> usize {
        lock(&self.texts).len()
    }

    /// All texts by their names, sorted.
    pub fn texts(&self) -> BTreeMap<String, String> {
        lock(&self.texts).iter().map(|(name, text)| (name.clone(), text.to_string())).collect()
    }

    /// Remembers that a function was defined in a source.
    pub fn add_function(&self, function: &str, source: &str) {
        lock(&self.homes).insert(function.to_string(), source.to_string());
    }

    /// The source that was remembered for a function.
    pub fn home(&self, function: &str) -> Option<String> {
        lock(&self.homes).get(function).cloned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest script, in bytes.
const LONGEST: u64 = 16 << 20;

/// The bytes of a script or module.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    plain::read(path, LONGEST)
}

/// The text of a script.
///
/// # Errors
/// It cannot be read, is too long or not UTF-8.
pub fn text(path: &Path) -> Result<String, Error> {
    let bytes = read(path).map_err(|source| Error::Read { path: path.into(), source })?;
    utf8::text(bytes).map_err(|reason| Error::NotUtf8 { path: path.into(), reason })
}

/// The same of a script that comes from a stream, which `name` stands for.
pub fn text_from(name: &str, from: impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST + 1).read_to_end(&mut bytes);
    let whole = read.and_then(|size| match size as u64 <= LONGEST {
        true => Ok(()),
        false => Err(io::Error::other(format!("it has more bytes than the limit of {LONGEST}"))),
    });
    whole.map_err(|source| Error::Read { path: name.into(), source })?;
    utf8::text(bytes).map_err(|reason| Error::NotUtf8 { path: name.into(), reason })
}

/// The byte range of the token at a position; empty at the end of a line or of the text.
pub fn token_at(text: &str, position: Position) -> Range<usize> {
    let Some(line) = position.line() else { return 0..0 };
    let line_start = match line - 1 {
        0 => 0,
        before => text.match_indices('\n').nth(before - 1).map_or(text.len(), |(at, _)| at + 1),
    };
    let line_text = text[line_start..].lines().next().unwrap_or("");
    let column = position.position().unwrap_or(1) - 1;
    let offset = line_text.char_indices().nth(column).map_or(line_text.len(), |(at, _)| at);
    let start = line_start + offset;
    start..start + token_len(&line_text[offset..])
}

/// What operators and signs are made of.
const OPERATORS: &str = "+-*/%=<>!&|^~?.:@";

fn token_len(rest: &str) -> usize {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let Some(first) = rest.chars().next() else { return 0 };
    let length_while = |keep: &dyn Fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
    match first {
        quote @ ('"' | '`' | '\'') => {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let closes = c == quote && !escaped;
                // Backticks take a backslash as it is.
                escaped = c == '\\' && !escaped && quote != '`';
                closes
            });
            end.map_or(rest.len(), |end| end + 2)
        }
        c if c.is_ascii_digit() => {
            let whole = length_while(&word);
            let fraction = rest[whole..].strip_prefix('.').map_or(0, |digits| {
                let len = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                if len == 0 { 0 } else { len + 1 }
            });
            whole + fraction + exponent(&rest[..whole], &rest[whole..], fraction)
        }
        c if word(c) => length_while(&word),
        c if OPERATORS.contains(c) => {
            let operator = &rest[..length_while(&|c| OPERATORS.contains(c))];
            let comment = ["//", "/*"].iter().filter_map(|start| operator.find(start)).min();
            comment.unwrap_or(operator.len())
        }
        c => c.len_utf8(),
    }
}

/// Bytes of the exponent that goes on behind the digits of a number: the `e3` of `2.5e3`, the `-3` of `1e-3`.
fn exponent(whole: &str, rest: &str, fraction: usize) -> usize {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let signed = |text: &str| {
        let sign = usize::from(text.starts_with(['+', '-']));
        match digits(&text[sign..]) {
            0 => 0,
            len => sign + len,
        }
    };
    match (&rest[fraction..], whole.strip_suffix(['e', 'E'])) {
        (rest, _) if fraction > 0 && rest.starts_with(['e', 'E']) => match signed(&rest[1..]) {
            0 => 0,
            len => 1 + len,
        },
        (rest, Some(before)) if fraction == 0 && digits(before) == before.len() => signed(rest),
        _ => 0,
    }
}

/// The tokens of a text in their order, without comments.
pub fn tokens(text: &str) -> impl Iterator<Item = Range<usize>> {
    pieces(text).filter_map(|(range, comment)| (!comment).then_some(range))
}

/// The tokens and comments of a text in their order, and whether each is a comment.
pub fn pieces(text: &str) -> impl Iterator<Item = (Range<usize>, bool)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &text[at..];
            let first = rest.chars().next()?;
            let comment = if rest.starts_with("//") {
                Some(rest.find('\n').unwrap_or(rest.len()))
            } else if rest.starts_with("/*") {
                Some(rest.find("*/").map_or(rest.len(), |end| end + 2))
            } else {
                None
            };
            let start = at;
            at += comment.unwrap_or_else(|| token_len(rest).max(first.len_utf8()));
            if comment.is_some() || !first.is_whitespace() {
                return Some((start..at, comment.is_some()));
            }
        }
    })
}

/// The words of a source that could be names, without comments and strings.
pub fn identifiers(text: &str) -> Vec<&str> {
    let is_name = |token: &&str| token.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let mut names: Vec<_> = tokens(text).map(|token| &text[token]).filter(is_name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// How many brackets a text opens more than it closes, without those in strings and comments.
pub fn open_brackets(text: &str) -> i64 {
    let depth = |token: Range<usize>| match &text[token] {
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    };
    tokens(text).map(depth).sum()
}

/// The line and the character of an offset in bytes.
pub fn position_at(text: &str, offset: usize) -> Position {
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    match (u16::try_from(line), u16::try_from(column)) {
        (Ok(line), Ok(column)) => Position::new(line, column),
        _ => Position::NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_line_and_character() {
        let text = "let é = 1;\n  é.find(\"a \\\" b\") += 2.5..3";
        let token = |line, column| &text[token_at(text, Position::new(line, column))];
        assert_eq!(token(1, 1), "let");
        assert_eq!(token(1, 7), "=");
        assert_eq!(token(2, 3), "é");
        assert_eq!(token(2, 5), "find");
        assert_eq!(token(2, 10), "\"a \\\" b\"");
        assert_eq!(token(2, 20), "+=");
        assert_eq!(token(2, 23), "2.5");
        assert_eq!(token(2, 90), "");
        assert_eq!(token(9, 1), "");
        assert_eq!(token_at(text, Position::NONE), 0..0);
    }

    #[test]
    fn numbers_are_one_token() {
        for number in ["12", "1_000", "0x1f", "2.5", "2.5e3", "2.5E-3", "1e-3", "1e5"] {
            let text = format!("{number}-x");
            assert_eq!(tokens(&text).next(), Some(0..number.len()), "{text}");
        }
        for (text, len) in [("0x1e-3", 4), ("1..3", 1), ("2.5e", 3), ("1.exp()", 1)] {
            assert_eq!(tokens(text).next(), Some(0..len), "{text}");
        }
    }

    #[test]
    fn positions_and_offsets_are_inverse() {
        let text = "let é = 1;\n  `C:\\`;\n";
        for (offset, _) in text.char_indices() {
            let position = position_at(text, offset);
            assert_eq!(token_at(text, position).start, offset, "{position}");
        }
        assert_eq!(&text[token_at(text, Position::new(2, 3))], "`C:\\`");
    }

    #[test]
    fn identifiers_skip_strings_and_comments() {
        assert_eq!(identifiers("let a = b(\"c\"); // d\n/* e */ f"), ["a", "b", "f", "let"]);
    }
}
