//! The colours of a line that is being typed, and the partner of the bracket at the cursor.

use std::ops::Range;

use crate::script::assist::Look;

/// What takes all others back.
const PLAIN: &str = "\x1b[0m";
pub const DIM: &str = "\x1b[2m";
const BOTH_BRACKETS: &str = "\x1b[1;4m";

/// Of the sixteen colours, so that a person's own palette holds.
fn style(look: Look) -> &'static str {
    match look {
        Look::Keyword => "\x1b[35m",
        Look::Text => "\x1b[32m",
        Look::Number => "\x1b[36m",
        Look::Comment => DIM,
        Look::Function => "\x1b[34m",
        Look::Bracket => "",
    }
}

/// A text that stands back where there are colours.
pub fn dimmed(text: &str, color: bool) -> String {
    if color { format!("{DIM}{text}{PLAIN}") } else { text.into() }
}

/// The line with the colours of its parts. The bracket at the cursor, or before it, stands out with its partner.
pub fn painted(line: &str, looks: &[(Range<usize>, Look)], cursor: Option<usize>) -> String {
    let pair = cursor.and_then(|cursor| pair(line, looks, cursor));
    let (mut painted, mut at) = (String::with_capacity(2 * line.len()), 0);
    for (range, look) in looks {
        painted += &line[at..range.start];
        let style =
            if pair.is_some_and(|pair| pair.contains(&range.start)) { BOTH_BRACKETS } else { style(*look) };
        let part = &line[range.clone()];
        if style.is_empty() {
            painted += part;
        } else {
            painted.extend([style, part, PLAIN]);
        }
        at = range.end;
    }
    painted + &line[at..]
}

/// Where the bracket at the cursor and its partner are.
fn pair(line: &str, looks: &[(Range<usize>, Look)], cursor: usize) -> Option<[usize; 2]> {
    let brackets = looks.iter().filter(|(_, look)| *look == Look::Bracket).map(|(range, _)| range.start);
    let mut open = Vec::new();
    let mut pairs = Vec::new();
    for place in brackets {
        match &line[place..=place] {
            "(" | "[" | "{" => open.push(place),
            close => {
                let partner = open.pop()?;
                if !["()", "[]", "{}"].contains(&format!("{}{close}", &line[partner..=partner]).as_str()) {
                    return None;
                }
                pairs.push([partner, place]);
            }
        }
    }
    let at = |place: usize| pairs.iter().copied().find(|pair| pair.contains(&place));
    at(cursor).or_else(|| at(cursor.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(line: &str) -> Vec<(Range<usize>, Look)> {
        let brackets = line.char_indices().filter(|(_, c)| "()[]{}".contains(*c));
        brackets.map(|(at, _)| (at..at + 1, Look::Bracket)).collect()
    }

    #[test]
    fn a_bracket_finds_its_partner() {
        let found = |line: &str, cursor| pair(line, &looks(line), cursor);
        assert_eq!(found("é([1], x)", 2), Some([2, 9]));
        assert_eq!(found("f([1])", 6), Some([1, 5]));
        assert_eq!(found("f([1])", 2), Some([2, 4]));
        assert_eq!(found("f([1]) + 2", 9), None);
        for line in ["f(1]", "f)", "f(1", "("] {
            assert_eq!(found(line, 1), None, "{line}");
        }
    }

    #[test]
    fn parts_are_painted_where_they_stand() {
        let line = "let é = (2)";
        let looks =
            [(0..3, Look::Keyword), (9..10, Look::Bracket), (10..11, Look::Number), (11..12, Look::Bracket)];
        assert_eq!(painted(line, &looks, None), "\x1b[35mlet\x1b[0m é = (\x1b[36m2\x1b[0m)");
        assert_eq!(
            painted(line, &looks, Some(line.len())),
            "\x1b[35mlet\x1b[0m é = \x1b[1;4m(\x1b[0m\x1b[36m2\x1b[0m\x1b[1;4m)\x1b[0m"
        );
        assert_eq!(dimmed("a", false), "a");
    }
}
