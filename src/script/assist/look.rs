//! How the parts of a line look: keywords, texts, numbers, comments, functions that exist, brackets.

use std::ops::Range;

use rhai::Token;

use crate::script::source::pieces;

/// What a part of a line is for the eye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Keyword,
    Text,
    Number,
    Comment,
    /// A function or method that exists, where it is called.
    Function,
    Bracket,
}

/// Words of the language that its parser reads as words of code only, or that the engine only reserves.
const MORE_KEYWORDS: &[&str] = &["switch", "this"];

pub fn is_keyword(word: &str) -> bool {
    MORE_KEYWORDS.contains(&word)
        || Token::lookup_symbol_from_syntax(word).is_some_and(|token| token.is_standard_keyword())
}

/// See [`Assist::looks`](super::Assist::looks).
pub fn looks(line: &str, in_text: bool, is_function: &dyn Fn(&str) -> bool) -> Vec<(Range<usize>, Look)> {
    let mut looks = Vec::new();
    let from = match in_text.then(|| line.find('`')) {
        None => 0,
        Some(end) => {
            let end = end.map_or(line.len(), |end| end + 1);
            in_backticks(line, 0..end, is_function, &mut looks);
            end
        }
    };
    code(line, from..line.len(), is_function, &mut looks);
    looks
}

fn code(
    line: &str,
    range: Range<usize>,
    is_function: &dyn Fn(&str) -> bool,
    looks: &mut Vec<(Range<usize>, Look)>,
) {
    let text = &line[range.clone()];
    for (piece, comment) in pieces(text) {
        let part = &text[piece.clone()];
        let place = range.start + piece.start..range.start + piece.end;
        let first = part.chars().next().unwrap_or(' ');
        let look = match first {
            _ if comment => Look::Comment,
            '`' => {
                in_backticks(line, place, is_function, looks);
                continue;
            }
            '"' | '\'' => Look::Text,
            '(' | ')' | '[' | ']' | '{' | '}' => Look::Bracket,
            first if first.is_ascii_digit() => Look::Number,
            _ if is_keyword(part) => Look::Keyword,
            _ if text[piece.end..].trim_start().starts_with('(') && is_function(part) => Look::Function,
            _ => continue,
        };
        looks.push((place, look));
    }
}

/// A text in backticks with the code of its `${…}`.
fn in_backticks(
    line: &str,
    range: Range<usize>,
    is_function: &dyn Fn(&str) -> bool,
    looks: &mut Vec<(Range<usize>, Look)>,
) {
    let mut at = range.start;
    while let Some(start) = line[at..range.end].find("${").map(|start| at + start + 2) {
        let mut depth = 1;
        let end = line[start..range.end].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        let end = end.map_or(range.end, |(end, _)| start + end);
        looks.push((at..start, Look::Text));
        code(line, start..end, is_function, looks);
        at = end;
    }
    if at < range.end {
        looks.push((at..range.end, Look::Text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str, in_text: bool) -> Vec<(&str, Look)> {
        let looks = looks(line, in_text, &|name| ["load", "find"].contains(&name));
        looks.into_iter().map(|(range, look)| (&line[range], look)).collect()
    }

    #[test]
    fn every_part_has_its_look() {
        use Look::*;
        let line = "let é = load(\"a\\\"b\").find ([0x1f, 2.5e3], nothing(x)); // end";
        let parts = [
            ("let", Keyword),
            ("load", Function),
            ("(", Bracket),
            ("\"a\\\"b\"", Text),
            (")", Bracket),
            ("find", Function),
            ("(", Bracket),
            ("[", Bracket),
            ("0x1f", Number),
            ("2.5e3", Number),
            ("]", Bracket),
            ("(", Bracket),
            (")", Bracket),
            (")", Bracket),
            ("// end", Comment),
        ];
        assert_eq!(seen(line, false), parts);
        assert_eq!(seen("switch \"open (", false), [("switch", Keyword), ("\"open (", Text)]);
    }

    #[test]
    fn texts_in_backticks_hold_code() {
        use Look::*;
        let parts = [
            ("`a ${", Text),
            ("load", Function),
            ("(", Bracket),
            (")", Bracket),
            ("} b`", Text),
            ("1", Number),
        ];
        assert_eq!(seen("`a ${load()} b` + 1", false), parts);
        assert_eq!(seen("a (` in", true), [("a (`", Text), ("in", Keyword)]);
        assert_eq!(seen("a ${1", true), [("a ${", Text), ("1", Number)]);
    }
}
