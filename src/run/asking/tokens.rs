//! A prompt as tokens, and the ways to find a position in it. Texts are looked for among bytes: a character may be split
//! over several tokens, none of which shows it.

use crate::model::tokenizer::Piece;
use crate::run::error::{Result, RunError};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Token ids and each token's own text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Arc<[u32]>,
    texts: Arc<[String]>,
    /// The bytes of tokens that are no whole characters.
    parts: Arc<[Option<Vec<u8>>]>,
}

impl Tokens {
    /// `pieces[i]` is what `ids[i]` is alone.
    pub fn new(ids: Vec<u32>, pieces: Vec<Piece>) -> Tokens {
        debug_assert_eq!(ids.len(), pieces.len());
        let (texts, parts): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| (piece.text, piece.part)).unzip();
        Tokens { ids: ids.into(), texts: texts.into(), parts: parts.into() }
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
        Tokens {
            ids: self.ids[range.clone()].into(),
            texts: self.texts[range.clone()].into(),
            parts: self.parts[range].into(),
        }
    }

    /// `position` from the front, or from the end when negative.
    pub fn position(&self, pos: i64) -> Result<usize> {
        let index = if pos < 0 { pos + self.len() as i64 } else { pos };
        if index < 0 || index >= self.len() as i64 {
            return Err(RunError::PosRange { pos, len: self.len() });
        }
        Ok(index as usize)
    }

    /// All positions whose token contains `text`. A text with a character that is split over tokens is in all tokens that
    /// it touches.
    pub fn find_all(&self, text: &str) -> Vec<usize> {
        let inside = (0..self.len()).filter(|&i| self.texts[i].contains(text));
        let mut found: BTreeSet<usize> = inside.collect();
        let laid = self.lay_out();
        for bytes in laid.occurrences(text) {
            let touched = laid.touched(&bytes);
            // The first byte of a character says so.
            let splits = |start: &usize| bytes.contains(start) && laid.bytes[*start] & 0xc0 == 0x80;
            if laid.starts[touched.clone()].iter().any(splits) {
                found.extend(touched);
            }
        }
        found.into_iter().collect()
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
        let laid = self.lay_out();
        let first = laid.occurrences(text).next();
        let missing = || RunError::SpanNotFound { text: text.into(), tokens: self.texts.to_vec() };
        first.map(|bytes| laid.touched(&bytes)).ok_or_else(missing)
    }

    fn lay_out(&self) -> LaidOut {
        let (mut bytes, mut starts) = (Vec::new(), Vec::with_capacity(self.len()));
        for (text, part) in self.texts.iter().zip(self.parts.iter()) {
            starts.push(bytes.len());
            bytes.extend_from_slice(part.as_deref().unwrap_or(text.as_bytes()));
        }
        LaidOut { bytes, starts }
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
        let parts = std::iter::repeat_n(None, pads).chain(self.parts.iter().cloned()).collect();
        Tokens { ids, texts, parts }
    }
}

/// The bytes of a whole prompt, and where each token's begin.
struct LaidOut {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl LaidOut {
    /// Where the bytes of `text` are; nowhere if it is empty.
    fn occurrences(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let len = text.len();
        let windows = self.bytes.windows(len.max(1)).enumerate();
        windows.filter(move |(_, window)| *window == text.as_bytes()).map(move |(at, _)| at..at + len)
    }

    /// The tokens that have some of these bytes.
    fn touched(&self, bytes: &Range<usize>) -> Range<usize> {
        // A token without bytes is not between those that have some.
        let first = self.starts.partition_point(|start| *start <= bytes.start).saturating_sub(1);
        let end = self.starts.partition_point(|start| *start < bytes.end);
        first..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Tokens {
        Tokens::new(
            (0..texts.len() as u32).collect(),
            texts.iter().map(|t| Piece::from(t.to_string())).collect(),
        )
    }

    /// A token a slice.
    fn bytes(parts: &[&[u8]]) -> Tokens {
        let piece = |part: &&[u8]| Piece {
            text: String::from_utf8_lossy(part).into(),
            part: std::str::from_utf8(part).is_err().then(|| part.to_vec()),
        };
        Tokens::new((0..parts.len() as u32).collect(), parts.iter().map(piece).collect())
    }

    #[test]
    fn characters_may_be_split_over_tokens() {
        // 東 is e6 9d b1, 京 is e4 ba ac.
        let t = bytes(&[b"a ", b"\xe6", b"\x9d\xb1\xe4", b"\xba\xac", b" b", "東京".as_bytes()]);
        assert_eq!(
            (t.span("東京").unwrap(), t.span("京").unwrap(), t.span("東").unwrap()),
            (1..4, 2..4, 1..3)
        );
        assert_eq!(t.span(" 東").unwrap(), 0..3);
        assert_eq!((t.find("京").unwrap(), t.find_last("京").unwrap()), (2, 5));
        assert_eq!(t.find_all("東京"), [1, 2, 3, 5]);
        // No character of this is split, and no token has it.
        assert!(t.find_all("a b").is_empty() && bytes(&[b"Ger", b"many"]).find("Germany").is_err());
        assert_eq!(t.slice(2..5).span("京 b").unwrap(), 0..3);
        assert!(t.slice(2..5).span("東").is_err() && t.span("\u{fffd}").is_err());
        let padded = t.pad_left(8, 9, "<p>");
        assert_eq!((padded.span("東京").unwrap(), padded.ids()[1]), (3..6, 9));
        assert_eq!(bytes(&[b"K", b"\xc3", b"\xb6", b"", b"ln"]).span("öln").unwrap(), 1..5);
    }

    #[test]
    fn a_text_of_replacement_characters_is_found() {
        let t = bytes(&["\u{fffd}".as_bytes(), b"\xf0\x9f"]);
        assert_eq!((t.span("\u{fffd}").unwrap(), t.find_all("\u{fffd}")), (0..1, vec![0, 1]));
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
