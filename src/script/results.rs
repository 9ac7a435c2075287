//! How an input of the prompt names what earlier ones gave: `_` is the last value, `_3` that of the third input. The
//! engine reads neither as a name by itself, and scripts have neither.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use rhai::{Dynamic, LexError, Scope, Token};

use super::source::{identifiers, tokens};
use crate::memory;

/// Values that are kept beside the last one.
const KEPT: usize = 50;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    Last,
    /// By the input of this number.
    By(usize),
}

impl Given {
    /// What this name stands for, if it is one of these.
    pub fn read(name: &str) -> Option<Self> {
        match name.strip_prefix('_')? {
            "" => Some(Self::Last),
            digits if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) => None,
            digits => digits.parse().ok().map(Self::By),
        }
    }
}

/// Which of the names an engine reads.
#[derive(Debug, Default)]
pub struct Names {
    numbered: AtomicBool,
    last: AtomicBool,
    /// Whether the token before was one that has a number: the engine takes a sign behind it for that of a number.
    behind: AtomicBool,
}

impl Names {
    /// Those of the prompt, in this input. In a `switch`, `_` is the default case.
    pub fn read_in(&self, input: &str) {
        self.numbered.store(true, Ordering::Relaxed);
        self.last.store(!identifiers(input).contains(&"switch"), Ordering::Relaxed);
    }

    /// None, as in scripts.
    pub fn read_none(&self) {
        self.numbered.store(false, Ordering::Relaxed);
        self.last.store(false, Ordering::Relaxed);
    }

    /// The token, as the name that it is.
    pub fn token(&self, token: Token) -> Token {
        let behind = self.behind.swap(false, Ordering::Relaxed);
        match &token {
            Token::Underscore if self.last.load(Ordering::Relaxed) => Token::Identifier(Box::new("_".into())),
            Token::UnaryPlus if behind => Token::Plus,
            Token::UnaryMinus if behind => Token::Minus,
            Token::LexError(error) if self.numbered.load(Ordering::Relaxed) => match &**error {
                LexError::MalformedIdentifier(name) if Given::read(name).is_some() => {
                    self.behind.store(true, Ordering::Relaxed);
                    Token::Identifier(Box::new(name.as_str().into()))
                }
                _ => token,
            },
            _ => token,
        }
    }
}

/// The input with a blank in `_3 -1`, which the engine would read as two values.
pub fn parted(input: &str) -> Cow<'_, str> {
    let tokens: Vec<_> = tokens(input).collect();
    let mut signs = tokens.windows(3).filter(|window| {
        let [name, sign, number] = [0, 1, 2].map(|index| &input[window[index].clone()]);
        matches!(Given::read(name), Some(Given::By(_)))
            && sign == "-"
            && number.starts_with(|c: char| c.is_ascii_digit())
    });
    let Some(first) = signs.next() else { return input.into() };
    let mut parted = input.to_string();
    let mut ends: Vec<_> = std::iter::once(first).chain(signs).map(|window| window[1].end).collect();
    ends.reverse();
    ends.into_iter().for_each(|end| parted.insert(end, ' '));
    parted.into()
}

/// The numbers of the values in a scope, the oldest first.
#[derive(Debug, Default)]
pub struct Results(VecDeque<usize>);

impl Results {
    /// Puts what an input gave into the scope. The oldest go when there are many, or when the script holds half of the `limit`
    /// or more.
    pub fn keep(&mut self, scope: &mut Scope, number: usize, value: Dynamic, limit: usize) {
        scope.push_dynamic(name(number), value.clone());
        scope.set_value("_", value);
        self.0.push_back(number);
        while self.0.len() > KEPT || self.0.len() > 1 && memory::limit::used() >= limit / 2 {
            let Some(oldest) = self.0.pop_front() else { return };
            drop(scope.remove::<Dynamic>(&name(oldest)));
        }
    }
}

fn name(number: usize) -> String {
    format!("_{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_an_underscore_and_a_number() {
        assert_eq!(Given::read("_"), Some(Given::Last));
        assert_eq!(Given::read("_12"), Some(Given::By(12)));
        for name in ["x", "__", "_x", "_01", "_1x", "_99999999999999999999999", ""] {
            assert_eq!(Given::read(name), None, "{name}");
        }
    }

    #[test]
    fn a_sign_behind_a_name_parts() {
        assert_eq!(parted("_1-2 + x -3 + _2 -4"), "_1- 2 + x -3 + _2 - 4");
        assert!(matches!(parted("_1 - x; \"_1-2\""), Cow::Borrowed(_)));
    }

    #[test]
    fn the_oldest_values_go() {
        let (mut scope, mut results) = (Scope::new(), Results::default());
        scope.push_dynamic("_", Dynamic::UNIT);
        for number in 1..=KEPT + 2 {
            results.keep(&mut scope, number, Dynamic::from(number as i64), usize::MAX);
        }
        assert!(!scope.contains("_1") && !scope.contains("_2") && scope.contains("_3"));
        assert_eq!(scope.get_value::<i64>("_"), scope.get_value::<i64>(&name(KEPT + 2)));
        results.keep(&mut scope, 99, 5i64.into(), 0);
        assert_eq!(scope.len(), 2, "only the last is kept when memory is short");
    }
}
