//! What stands around the end of a text: the brackets that are open there, and the text that is.

use super::code::Code;

/// An open bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its token.
    pub open: usize,
    pub kind: Kind,
    /// Commas behind it that are not inside of further brackets.
    pub commas: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `(` behind a name.
    Call,
    /// `[` behind an operand.
    Index,
    /// `#{`.
    Map,
    Other,
}

pub struct Place<'a> {
    pub code: Code<'a>,
    /// The outermost first.
    pub frames: Vec<Frame>,
    /// Where a text that is open at the end begins, behind its quote.
    pub text: Option<usize>,
}

impl<'a> Place<'a> {
    pub fn at_end_of(text: &'a str) -> Self {
        let code = Code::new(text);
        let open_text = code.last().filter(|token| is_open(token)).map(|token| text.len() - token.len() + 1);
        let mut frames: Vec<Frame> = Vec::new();
        let mut index = 0;
        while index < code.len() {
            match code.token(index) {
                bracket @ ("(" | "[" | "{") => {
                    let operand = index > 0 && code.ends_operand(index - 1);
                    let kind = match bracket {
                        "(" if operand => Kind::Call,
                        "[" if operand => Kind::Index,
                        "{" if code.before(index) == "#" => Kind::Map,
                        _ => Kind::Other,
                    };
                    frames.push(Frame { open: index, kind, commas: 0 });
                }
                ")" | "]" | "}" => drop(frames.pop()),
                "," => {
                    if let Some(frame) = frames.last_mut() {
                        frame.commas += 1;
                    }
                }
                "|" if code.opens_closure(index) => index = code.end_of_parameters(index),
                _ => {}
            }
            index += 1;
        }
        Self { code, frames, text: open_text }
    }

    /// The call whose arguments stand here.
    pub fn call(&self) -> Option<Frame> {
        self.frames.last().copied().filter(|frame| frame.kind == Kind::Call && self.text.is_none())
    }

    /// The map whose key may stand here, behind what is typed of it.
    pub fn map(&self) -> Option<Frame> {
        let frame = self.frames.last().copied().filter(|frame| frame.kind == Kind::Map)?;
        self.code.last().filter(|last| ["{", ","].contains(last)).map(|_| frame)
    }

    /// The keys that a map has already.
    pub fn keys(&self, map: Frame) -> Vec<&'a str> {
        let (mut keys, mut depth) = (Vec::new(), 0usize);
        for index in map.open + 1..self.code.len() {
            match self.code.token(index) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                ":" if depth == 0 => keys.push(self.code.before(index)),
                _ => {}
            }
        }
        keys
    }
}

/// Whether a token is a text that is not closed.
fn is_open(token: &str) -> bool {
    let Some(quote) = token.chars().next().filter(|c| "\"`".contains(*c)) else { return false };
    let mut escaped = false;
    !token[1..].chars().any(|c| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped && quote == '"';
        closes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_texts_that_are_open_are_found() {
        let place = Place::at_end_of("f(1); m.generate(\"a\", #{n: [1, 2], seed: g(3), ");
        assert_eq!(place.frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [Kind::Call, Kind::Map]);
        let map = place.map().unwrap();
        assert_eq!((map.commas, place.keys(map)), (2, vec!["n", "seed"]));
        assert_eq!(place.call(), None);
        assert_eq!(Place::at_end_of("f(#{a: ").map(), None);
        let call = Place::at_end_of("m.sweep(p, 0..L, |l, p| z(l), ").call().unwrap();
        assert_eq!(call.commas, 3);
        assert_eq!(Place::at_end_of("load(\"a b").text, Some(6));
        assert_eq!(Place::at_end_of("t[\"a\\\"").text, Some(3));
        assert_eq!(Place::at_end_of("load(\"a\"").text, None);
        assert_eq!(Place::at_end_of("`a ").text, Some(1));
        assert_eq!(Place::at_end_of("x.y[").frames[0].kind, Kind::Index);
        assert_eq!(Place::at_end_of("if (a) { (").frames.last().unwrap().kind, Kind::Other);
    }
}
