//! Activations over a corpus, and where each row is from: its token, its prompt, the position in it, its label.
//!
//! They come in parts of whole prompts ([`part`]): held in memory, or each a safetensors file that is mapped, not read
//! ([`folder`] says how these lie), whose numbers look the same to who reads them ([`column`]). Nothing here knows a
//! model: rows of numbers come in, and what the tokens say stays beside them, so that no model is needed to read a
//! context.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::rows::Rows;

mod column;
pub mod folder;
mod part;

pub use folder::Index;
pub use part::{Gathering, Part};

const VERSION: u32 = 1;

/// Tokens before and after one that are its context.
pub const CONTEXT: usize = 5;

/// What was asked, so that one can tell whose activations these are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub model: String,
    pub site: String,
    /// Numbers a row.
    pub width: usize,
    /// Tokens read of each text.
    pub max_len: usize,
    pub skip_bos: bool,
    /// Was each row's mean subtracted?
    pub center: bool,
    /// The most rows.
    pub limit: Option<usize>,
    /// The first row of the corpus.
    pub from: usize,
    /// A part is full once it has so many rows.
    pub part_rows: usize,
    /// A checksum of all that the numbers depend on; empty where nobody will go on with them.
    pub made_of: String,
}

/// Why activations cannot be had from a folder.
#[derive(Debug, thiserror::Error)]
pub enum ActsError {
    #[error("`{name}` holds no activations that can be read: {reason}")]
    Damaged { name: String, reason: String },
    #[error("the activations in `{name}` are not finished")]
    Unfinished { name: String },
}

/// A value that is no number to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("entry {column} is not a finite number at token {position} of row {row}")]
pub struct NotFinite {
    pub column: usize,
    /// Of the corpus.
    pub row: usize,
    pub position: usize,
}

/// Where a row is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The prompt's row in the corpus.
    pub prompt: usize,
    /// The token's place in its prompt.
    pub position: usize,
    /// The tokens of the prompt that were read.
    pub ids: &'a [u32],
    pub label: Option<&'a str>,
}

impl Place<'_> {
    pub fn token(&self) -> u32 {
        self.ids[self.position]
    }
}

/// Rows of activations `[n, d]`, or some that follow each other of them. A clone shares the numbers.
#[derive(Debug, Clone)]
pub struct Acts {
    whole: Arc<Whole>,
    rows: Range<usize>,
}

#[derive(Debug)]
struct Whole {
    origin: Origin,
    parts: Vec<Part>,
    /// The first row of each part.
    starts: Vec<usize>,
    /// The bytes of each token.
    tokens: Arc<BTreeMap<u32, Vec<u8>>>,
}

impl Acts {
    /// Of all parts in their order. `tokens` gives what each of their tokens says, in bytes.
    pub fn new(origin: Origin, parts: Vec<Part>, tokens: Arc<BTreeMap<u32, Vec<u8>>>) -> Acts {
        let (mut starts, mut rows) = (Vec::with_capacity(parts.len()), 0);
        for part in &parts {
            starts.push(rows);
            rows += part.rows();
        }
        Acts { whole: Arc::new(Whole { origin, parts, starts, tokens }), rows: 0..rows }
    }

    pub fn origin(&self) -> &Origin {
        &self.whole.origin
    }

    /// These rows alone; `None` where there are not so many.
    pub fn slice(&self, rows: Range<usize>) -> Option<Acts> {
        let len = self.rows.len();
        (rows.start <= rows.end && rows.end <= len).then(|| Acts {
            whole: self.whole.clone(),
            rows: self.rows.start + rows.start..self.rows.start + rows.end,
        })
    }

    /// The part that row `i` is in, and its row there.
    fn find(&self, i: usize) -> (&Part, usize) {
        assert!(i < self.rows.len(), "row {i} of {}", self.rows.len());
        let row = self.rows.start + i;
        let part = self.whole.starts.partition_point(|start| *start <= row) - 1;
        (&self.whole.parts[part], row - self.whole.starts[part])
    }

    /// Where row `i` is from.
    ///
    /// # Panics
    /// Where `i` is not below the number of rows.
    pub fn place(&self, i: usize) -> Place<'_> {
        let (part, row) = self.find(i);
        let prompt = part.prompt(row);
        Place {
            prompt: part.corpus(prompt) as usize,
            position: part.position(row),
            ids: part.ids(prompt),
            label: part.label(prompt),
        }
    }

    /// The places of all rows, in their order.
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> {
        (0..self.rows.len()).map(|i| self.place(i))
    }

    /// The text of tokens, as they stand one after the other.
    pub fn text(&self, ids: &[u32]) -> String {
        let bytes = ids.iter().filter_map(|id| self.whole.tokens.get(id)).flatten();
        String::from_utf8_lossy(&bytes.copied().collect::<Vec<u8>>()).into_owned()
    }

    /// The text around row `i`: its token with up to so many before and after it.
    pub fn context(&self, i: usize, tokens: usize) -> String {
        let Place { ids, position, .. } = self.place(i);
        let end = position.saturating_add(tokens).saturating_add(1).min(ids.len());
        self.text(&ids[position.saturating_sub(tokens)..end])
    }

    /// How many rows each token has.
    pub fn token_counts(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        self.places().for_each(|place| *counts.entry(place.token()).or_insert(0) += 1);
        counts
    }

    /// How many prompts the rows are of.
    pub fn prompts(&self) -> usize {
        // Rows of a prompt follow each other, and every prompt has some.
        let prompts =
            |(part, rows): (&Part, Range<usize>)| part.prompt(rows.end - 1) - part.prompt(rows.start) + 1;
        self.parts().map(prompts).sum()
    }

    /// The parts that hold the rows, and which of their rows those are.
    pub fn parts(&self) -> impl Iterator<Item = (&Part, Range<usize>)> {
        let parts = self.whole.parts.iter().zip(&self.whole.starts);
        parts.filter_map(|(part, start)| {
            let within = |row: usize| row.saturating_sub(*start).min(part.rows());
            let rows = within(self.rows.start)..within(self.rows.end);
            (!rows.is_empty()).then_some((part, rows))
        })
    }

    /// What a folder of these parts says of them.
    pub fn index(&self, rows: Vec<usize>) -> Index {
        Index::new(self.origin(), rows, None, &self.whole.tokens)
    }
}

impl Rows for Acts {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn width(&self) -> usize {
        self.whole.origin.width
    }

    fn row(&self, i: usize) -> &[f32] {
        let (part, row) = self.find(i);
        part.row(row)
    }
}

#[cfg(test)]
mod tests;
