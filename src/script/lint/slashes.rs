//! `7 // 2`: a comment where a division was meant.

use rhai::AST;

use super::Warning;
use crate::script::source::{position_at, tokens};

/// Warns of comments that are nothing but a number, or one operand and the `;` that the line before them lacks.
pub fn lint(_: &AST, text: &str) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut last = 0..0;
    for token in tokens(text).chain(std::iter::once(text.len()..text.len())) {
        let gap = &text[last.end..token.start];
        let line = gap.lines().next().unwrap_or("");
        let ends_a_value = text[last.clone()].ends_with(|c: char| c.is_alphanumeric() || "_)]".contains(c));
        if let Some(at) = line.find("//").filter(|_| ends_a_value)
            && is_operand(&line[at + 2..])
        {
            found.push(Warning {
                code: "slashes",
                position: position_at(text, last.end + at),
                message: "`//` begins a comment, it does not divide".into(),
                help:
                    "write `/`, which leaves the remainder out between two ints; begin a comment with a word"
                        .into(),
            });
        }
        last = token;
    }
    found
}

fn is_operand(comment: &str) -> bool {
    let comment = comment.trim();
    let (operand, ended) = match comment.strip_suffix(';') {
        Some(operand) => (operand.trim_end(), true),
        None => (comment, false),
    };
    let is_number = operand.parse::<f64>().is_ok() && operand.starts_with(|c: char| c.is_ascii_digit());
    let is_word = !operand.is_empty() && operand.chars().all(|c| c.is_alphanumeric() || "_.()[]".contains(c));
    is_number || is_word && ended
}

#[cfg(test)]
mod tests {
    use super::lint;
    use crate::script::lint::testing::check;

    #[test]
    fn only_an_operand_is_warned_of() {
        check(
            lint,
            &[
                ("let x = 7 // 2;", Some(11)),
                ("7 // 2", Some(3)),
                ("let n = 8; let x = n // n.abs();", Some(22)),
                ("let x = 7; // 2", None),
                ("let x = 7 // seven\n;", None),
                ("let x = [1, // 2;\n2];", None),
                ("let x = \"7 // 2;\";", None),
            ],
        );
    }
}
