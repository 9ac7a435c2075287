//! A prompt as tokens, and the ways to find a position in it.

use super::error::{Result, RunError};
use std::ops::Range;
use std::sync::Arc;

/// Token ids and each token's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Arc<[u32]>,
    texts: Arc<[String]>,
}

impl Tokens {
    /// `texts[i]` is the text of `ids[i]` alone.
    pub fn new(ids: Vec<u32>, texts: Vec<String>) -> Tokens {
        debug_assert_eq!(ids.len(), texts.len());
        Tokens { ids: ids.into(), texts: texts.into() }
    }

    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn slice(&self, range: Range<usize>) -> Tokens {
        Tokens { ids: self.ids[range.clone()].into(), texts: self.texts[range].into() }
    }

    /// `position` from the front, or from the end when negative.
    pub fn position(&self, pos: i64) -> Result<usize> {
        let index = if pos < 0 { pos + self.len() as i64 } else { pos };
        if index < 0 || index >= self.len() as i64 {
            return Err(RunError::PosRange { pos, len: self.len() });
        }
        Ok(index as usize)
    }

    /// All positions whose token contains `text`.
    pub fn find_all(&self, text: &str) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.texts[i].contains(text)).collect()
    }

    /// The first position whose token contains `text`.
    pub fn find(&self, text: &str) -> Result<usize> {
        self.find_all(text).first().copied().ok_or_else(|| self.not_found(text))
    }

    /// The last position whose token contains `text`.
    pub fn find_last(&self, text: &str) -> Result<usize> {
        self.find_all(text).last().copied().ok_or_else(|| self.not_found(text))
    }

    fn not_found(&self, text: &str) -> RunError {
        RunError::TokenNotFound { text: text.into(), tokens: self.texts.to_vec() }
    }

    /// The tokens that cover the first occurrence of `text`.
    pub fn span(&self, text: &str) -> Result<Range<usize>> {
        let whole = self.texts.concat();
        let missing = || RunError::SpanNotFound { text: text.into(), tokens: self.texts.to_vec() };
        let from = whole.find(text).filter(|_| !text.is_empty()).ok_or_else(missing)?;
        let to = from + text.len();
        let mut covered = Vec::new();
        let mut start = 0;
        for (i, token) in self.texts.iter().enumerate() {
            if start < to && start + token.len() > from {
                covered.push(i);
            }
            start += token.len();
        }
        let first = covered.first().copied().ok_or_else(missing)?;
        Ok(first..first + covered.len())
    }

    /// The first position at which the ids differ (or one prompt has ended).
    pub fn first_diff(&self, other: &Tokens) -> Option<usize> {
        let shared = self.ids.iter().zip(other.ids.iter()).take_while(|(a, b)| a == b).count();
        (shared < self.len().max(other.len())).then_some(shared)
    }

    /// Copies of `id` in front, up to `len` tokens in all. The model reads them like any token.
    pub fn pad_left(&self, len: usize, id: u32, text: &str) -> Tokens {
        let pads = len.saturating_sub(self.len());
        let ids = std::iter::repeat_n(id, pads).chain(self.ids.iter().copied()).collect();
        let texts = std::iter::repeat_n(text.to_string(), pads).chain(self.texts.iter().cloned()).collect();
        Tokens::new(ids, texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Tokens {
        Tokens::new((0..texts.len() as u32).collect(), texts.iter().map(|t| t.to_string()).collect())
    }

    #[test]
    fn spans_cover_their_text() {
        let t = tokens(&["The", " capital", " of", " Ger", "many", " is"]);
        assert_eq!(t.span("Germany").unwrap(), 3..5);
        assert_eq!(t.span(" of Germany").unwrap(), 2..5);
        assert_eq!(t.span("many is").unwrap(), 4..6);
        assert!(t.span("France").is_err() && t.span("").is_err());
    }

    #[test]
    fn positions_count_from_both_ends() {
        let t = tokens(&["a", "b", "ab"]);
        assert_eq!(t.position(-1).unwrap(), 2);
        assert!(t.position(3).is_err() && t.position(-4).is_err());
        assert_eq!((t.find("b").unwrap(), t.find_last("b").unwrap()), (1, 2));
        assert_eq!(t.pad_left(5, 9, "<p>").ids(), [9, 9, 0, 1, 2]);
    }

    #[test]
    fn first_difference() {
        let t = tokens(&["a", "b", "c"]);
        assert_eq!(t.first_diff(&t), None);
        assert_eq!(t.first_diff(&tokens(&["a", "b"])), Some(2));
    }
}
