//! The tokens of a piece of code, read backwards from its end.

use std::ops::Range;

use super::look::is_keyword;
use crate::script::source;

/// A text and its tokens.
pub struct Code<'a> {
    pub text: &'a str,
    tokens: Vec<Range<usize>>,
}

impl<'a> Code<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, tokens: source::tokens(text).collect() }
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token at `index`; empty where there is none.
    pub fn token(&self, index: usize) -> &'a str {
        self.tokens.get(index).map_or("", |range| &self.text[range.clone()])
    }

    /// The token before `index`; empty where there is none.
    pub fn before(&self, index: usize) -> &'a str {
        index.checked_sub(1).map_or("", |before| self.token(before))
    }

    pub fn last(&self) -> Option<&'a str> {
        self.tokens.last().map(|range| &self.text[range.clone()])
    }

    /// The bracket that the one at `close` closes.
    pub fn opening(&self, close: usize) -> Option<usize> {
        let mut depth = 0usize;
        (0..=close).rev().find(|index| {
            match self.token(*index) {
                ")" | "]" | "}" => depth += 1,
                "(" | "[" | "{" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        })
    }

    /// How many arguments stand between a bracket and the one that closes it. Commas inside of brackets, and between the
    /// parameters of a closure, part none.
    pub fn arguments(&self, open: usize, close: usize) -> usize {
        if open + 1 >= close {
            return 0;
        }
        let (mut depth, mut commas) = (0usize, 0);
        let mut index = open + 1;
        while index < close {
            match self.token(index) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                "," if depth == 0 => commas += 1,
                "|" if self.opens_closure(index) => index = self.end_of_parameters(index),
                _ => {}
            }
            index += 1;
        }
        // One may stand behind the last.
        commas + usize::from(self.before(close) != ",")
    }

    /// Whether the `|` here begins a closure.
    pub fn opens_closure(&self, index: usize) -> bool {
        ["(", ",", "=", ":", "[", ""].contains(&self.before(index))
    }

    /// The `|` that ends the parameters of the closure that begins here; the last token where there is none.
    pub fn end_of_parameters(&self, index: usize) -> usize {
        let end = (index + 1..self.len()).find(|index| self.token(*index).starts_with('|'));
        end.unwrap_or(self.len().saturating_sub(1))
    }

    /// Whether an operand ends with the token here, so that what follows is a call, an index or a member of it.
    pub fn ends_operand(&self, index: usize) -> bool {
        let token = self.token(index);
        [")", "]"].contains(&token) || token.starts_with(['"', '`']) || is_name(token)
    }
}

/// Whether a token is the name of something.
pub fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_') && !is_keyword(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_counted() {
        for (text, count) in [
            ("f()", 0),
            ("f(1)", 1),
            ("f(1, [2, 3], g(4, 5))", 3),
            ("f(p, 0..L, |l, p| z(l).at(p), m)", 4),
            ("f(a | b, c,)", 2),
        ] {
            let code = Code::new(text);
            assert_eq!(code.arguments(1, code.len() - 1), count, "{text}");
            assert_eq!(code.opening(code.len() - 1), Some(1), "{text}");
        }
        assert_eq!(Code::new("a)").opening(1), None);
    }
}
