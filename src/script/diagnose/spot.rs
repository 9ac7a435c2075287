//! The place where the engine stopped reading, among the tokens of its text.

use std::ops::Range;

use rhai::Position;

use crate::script::source::{token_at, tokens};

/// A token of a text, with those around it.
pub struct Spot<'t> {
    pub text: &'t str,
    tokens: Vec<Range<usize>>,
    /// The number of the token at the position, or of the first one after it.
    at: usize,
    /// The brackets that are open at the token, by their numbers, outermost first.
    open: Vec<usize>,
}

impl<'t> Spot<'t> {
    pub fn new(text: &'t str, position: Position) -> Self {
        let tokens: Vec<_> = tokens(text).collect();
        let start = if position.is_none() { text.len() } else { token_at(text, position).start };
        let at = tokens.partition_point(|token| token.end <= start);
        let mut spot = Self { text, tokens, at, open: Vec::new() };
        for i in 0..spot.at {
            match spot.token(i) {
                "(" | "[" | "{" => spot.open.push(i),
                ")" | "]" | "}" => drop(spot.open.pop()),
                _ => {}
            }
        }
        spot
    }

    /// The number of the token here.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token of that number; empty beyond the ends.
    pub fn token(&self, i: usize) -> &'t str {
        self.tokens.get(i).map_or("", |token| &self.text[token.clone()])
    }

    pub fn here(&self) -> &'t str {
        self.token(self.at)
    }

    /// The `n`-th token before this one.
    pub fn before(&self, n: usize) -> &'t str {
        self.at.checked_sub(n).map_or("", |i| self.token(i))
    }

    /// The `n`-th token after this one.
    pub fn after(&self, n: usize) -> &'t str {
        self.token(self.at + n)
    }

    /// Where a token begins, in bytes; beyond the last one the end of the text.
    pub fn start(&self, i: usize) -> usize {
        self.tokens.get(i).map_or(self.text.len(), |token| token.start)
    }

    /// Where a token ends, in bytes.
    pub fn end(&self, i: usize) -> usize {
        self.tokens.get(i).map_or(self.text.len(), |token| token.end)
    }

    /// The text from one token up to another, which is left out.
    pub fn between(&self, from: usize, to: usize) -> &'t str {
        match from < to {
            true => &self.text[self.start(from)..self.end(to - 1)],
            false => "",
        }
    }

    /// The number of the innermost bracket that is open here.
    pub fn bracket(&self) -> Option<usize> {
        self.open.last().copied()
    }

    /// Whether a value can end with this token.
    pub fn ends_a_value(&self, i: usize) -> bool {
        let last = self.token(i).chars().last();
        last.is_some_and(|c| c.is_alphanumeric() || "_)]}\"'`".contains(c))
            && !["in", "return", "if", "while", "else", "for", "let", "const"].contains(&self.token(i))
    }

    /// The number of the token that closes the bracket `open`, if the text has it.
    pub fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        (open..self.len()).find(|&i| {
            match self.token(i) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    }

    /// The first token, on the line of this one and before it, that is one of these words.
    pub fn word_before(&self, words: &[&str]) -> Option<usize> {
        let line = self.text[..self.start(self.at)].rfind('\n').map_or(0, |end| end + 1);
        let first = self.tokens.partition_point(|token| token.start < line);
        (first..self.at).rev().find(|&i| words.contains(&self.token(i)))
    }

    /// Whether the text declares a variable or a parameter of a closure of this name.
    pub fn declares(&self, name: &str) -> bool {
        (1..self.len()).filter(|&i| self.token(i) == name).any(|i| match self.token(i - 1) {
            "let" | "const" | "for" => true,
            "|" | "," => [",", "|"].contains(&self.token(i + 1)),
            _ => false,
        })
    }

    /// The type of the value before the dot of this method, as far as its text or its `let` shows it.
    pub fn receiver(&self) -> Option<&'static str> {
        let name = self.at.checked_sub(2)?;
        let ends = [("\"", "string"), ("`", "string"), ("]", "array"), ("}", "map")];
        if let Some((_, ty)) = ends.iter().find(|(end, _)| self.token(name).ends_with(end)) {
            // What an index gives is not known.
            return (*ty != "array" || !self.is_index(name)).then_some(*ty);
        }
        let declared = |i: &usize| {
            self.token(*i) == "let" && self.token(i + 1) == self.token(name) && self.token(i + 2) == "="
        };
        let value = (0..self.len()).rfind(declared)? + 3;
        Some(match self.token(value) {
            "[" => "array",
            "#" => "map",
            "tensor" | "zeros" | "randn" => "Tensor",
            "load" if self.token(self.closing(value + 1)? + 1) == ";" => "Model",
            text if text.starts_with(['"', '`']) => "string",
            _ => return None,
        })
    }

    /// Whether the bracket that closes at token `close` is one of an index.
    fn is_index(&self, close: usize) -> bool {
        let open =
            (0..close).rev().find(|&open| self.token(open) == "[" && self.closing(open) == Some(close));
        open.is_some_and(|open| open > 0 && self.ends_a_value(open - 1))
    }

    /// The name, the parameters and the place of the `fn` that this spot is in.
    pub fn function(&self) -> Option<(&'t str, &'t str)> {
        let body = self.open.iter().find(|&&open| {
            let end = open.checked_sub(1).filter(|&i| self.token(i) == ")");
            self.token(open) == "{" && end.is_some_and(|end| self.head_of(end).is_some())
        })?;
        let head = self.head_of(body - 1)?;
        Some((self.token(head + 1), self.between(head + 3, body - 1)))
    }

    /// The `fn` whose parameters end at token `close`.
    fn head_of(&self, close: usize) -> Option<usize> {
        let head = (0..close).rev().find(|&i| self.token(i) == "fn")?;
        (self.closing(head + 2) == Some(close)).then_some(head)
    }

    /// The arguments of a call whose name is token `i`, as they were written.
    pub fn arguments(&self, i: usize) -> Option<&'t str> {
        let open = i + 1;
        (self.token(open) == "(").then_some(())?;
        Some(self.between(open + 1, self.closing(open)?))
    }
}
