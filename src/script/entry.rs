//! An input of the REPL that comes line by line, and whether it is whole.

use std::sync::Arc;

use rhai::{AST, Engine, LexError, OptimizationLevel, ParseError, ParseErrorType};

use super::host::read_names;
use super::results::Names;
use super::source::{open_brackets, tokens};
use super::turns::Turns;
use crate::utf8::without_mark;

/// An input that is typed or read line by line, and whether it is whole.
#[derive(Debug, Default)]
pub struct Entry {
    text: String,
    /// Brackets that the lines so far leave open.
    open: i64,
    /// Whether a text in backticks is open.
    in_text: bool,
}

impl Entry {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether the next line begins inside of a text in backticks.
    pub fn is_in_text(&self) -> bool {
        self.in_text
    }

    /// Adds a line, and gives the input if it is whole with it. A line of blanks ends one that is not.
    pub fn add(&mut self, line: &str) -> Option<String> {
        self.text += line;
        self.text.push('\n');
        self.scan(line);
        // Only the whole text tells for sure, but reading it again for each line of a long function would take the square
        // of its length.
        let goes_on = self.open > 0 && !self.in_text || !is_complete(&self.text);
        if goes_on && !line.trim().is_empty() {
            return None;
        }
        Some(self.take())
    }

    /// What there is, whole or not.
    pub fn take(&mut self) -> String {
        std::mem::take(self).text
    }

    fn scan(&mut self, line: &str) {
        let code = match self.in_text.then(|| line.find('`')) {
            Some(None) => return,
            Some(Some(end)) => &line[end + 1..],
            None => line,
        };
        let opens = |token: &str| token.starts_with('`') && (token.len() == 1 || !token.ends_with('`'));
        self.in_text = tokens(code).any(|token| opens(&code[token]));
        self.open += open_brackets(code);
    }
}

/// Whether the input is a whole one; if the parser stopped at its end, it goes on in the next line.
pub fn is_complete(input: &str) -> bool {
    let input = without_mark(input);
    let Err(error) = parse(input) else { return true };
    let input = input.trim_end();
    let (line, column) = (error.position().line(), error.position().position().unwrap_or(0));
    let last = input.lines().last().unwrap_or("").chars().count();
    let lines = input.lines().count();
    let at_end = line.is_none_or(|line| line > lines || line == lines && column > last);
    match error.err_type() {
        ParseErrorType::UnexpectedEOF => false,
        // Only a text in backticks may run over several lines.
        ParseErrorType::BadInput(LexError::UnterminatedString) => !input.contains('`'),
        _ => !at_end,
    }
}

/// Reads a text as an input of the prompt. Names do not matter here, so a bare engine does.
pub fn parse(input: &str) -> Result<AST, ParseError> {
    let mut engine = Engine::new_raw();
    engine.set_optimization_level(OptimizationLevel::None);
    let names = Names::default();
    names.read_in(input);
    read_names(&mut engine, Arc::new(names), Turns::default());
    engine.compile(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_ends_with_its_brackets() {
        let mut entry = Entry::default();
        for line in ["fn f(x) {", "  let s = \"}\";", "  [1,", "   x]"] {
            assert_eq!(entry.add(line), None, "{line}");
        }
        assert!(entry.add("}").unwrap().ends_with("x]\n}\n"));
        assert_eq!(entry.add("let x = ["), None);
        assert_eq!(entry.add(" "), Some("let x = [\n \n".into()));
        assert_eq!(entry.add("`a"), None);
        assert_eq!(entry.add("b`"), Some("`a\nb`\n".into()));
        for line in ["fn f() { // it`s", "  let t = `{", "{`;", "  t"] {
            assert_eq!(entry.add(line), None, "{line}");
        }
        assert!(entry.add("}").is_some());
    }

    #[test]
    fn long_entries_take_no_square_time() {
        let mut entry = Entry::default();
        assert_eq!(entry.add("let rows = ["), None);
        let start = std::time::Instant::now();
        for i in 0..100_000 {
            assert_eq!(entry.add(&format!("  #{{a: {i}, b: [{i}, {i}]}},")), None);
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn unfinished_inputs_go_on() {
        assert!(!is_complete("\u{feff}let x = [") && is_complete("\u{feff}1 + 2"));
        for (input, whole) in [
            ("1 + 2", true),
            ("let x = ", false),
            ("fn f(x) {", false),
            ("fn f(x) { x }", true),
            ("[1, 2,", false),
            ("for i in 0..x {", false),
            ("f(1,", false),
            ("#{a: 1", false),
            ("1 +", false),
            ("f(_,", false),
            ("switch x { _ => 1,", false),
            ("`open", false),
            ("\"open", true),
            ("let = 3", true),
            ("a b c (", true),
            ("if x {\n  1\n}", true),
        ] {
            assert_eq!(is_complete(input), whole, "{input}");
        }
    }
}
