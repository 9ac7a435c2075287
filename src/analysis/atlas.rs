//! A neuron atlas: for each neuron of a site the largest values that it took over a corpus, and where.
//!
//! A text counts once a neuron, by its largest value there; of equal values the first one stays. Kept are the texts
//! that some neuron still points into, so that memory is bounded by neurons times values kept, whatever the corpus.
//! Nothing here knows a model: rows of numbers come in, and [`mod@file`] says how it is written.

use std::collections::BTreeMap;
use std::ops::Range;

pub mod file;

/// Tokens shown before and after the one at which a neuron is strong.
const CONTEXT: usize = 5;
/// Tokens before and after it whose values are kept.
const BEFORE: usize = 64;
const AFTER: usize = 32;

/// What was asked, so that one can tell whose atlas it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    pub model: String,
    pub site: String,
    /// Neurons.
    pub width: usize,
    /// Values kept of each.
    pub top: usize,
    /// Tokens read of each text.
    pub max_len: usize,
    pub skip_bos: bool,
    /// The first row of the corpus.
    pub from: usize,
    /// A checksum of all that the values depend on.
    pub made_of: String,
}

/// A text that some neuron points into.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Text {
    pub text: String,
    /// The tokens that were read of it.
    pub ids: Vec<u32>,
    /// Each token's own text; none before [`Atlas::finish`].
    pub tokens: Vec<String>,
    /// How many records point here.
    #[serde(skip)]
    uses: usize,
}

/// A value that a neuron took.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub value: f32,
    /// The text's row in the corpus.
    pub row: usize,
    /// The token's place in its text.
    pub position: usize,
    /// The tokens around it, decoded together; empty before [`Atlas::finish`].
    pub context: String,
    /// The neuron's values at the tokens around it.
    pub window: Box<[f32]>,
}

impl Record {
    /// The positions that `window` is about, in a text of `len` tokens.
    pub fn window_of(&self, len: usize) -> Range<usize> {
        around(self.position, len, BEFORE, AFTER)
    }
}

/// `before` positions, this one, and `after` more, as far as there are.
fn around(position: usize, len: usize, before: usize, after: usize) -> Range<usize> {
    position.saturating_sub(before)..(position + after + 1).min(len)
}

/// A value that is no number, which an atlas cannot rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neuron {neuron} is not a finite number at token {position} of row {row}")]
pub struct NotFinite {
    pub neuron: usize,
    pub row: usize,
    pub position: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Atlas {
    pub origin: Origin,
    /// By neuron, the largest value first.
    records: Vec<Vec<Record>>,
    /// By row.
    texts: BTreeMap<usize, Text>,
    /// Texts that were read.
    pub read: usize,
    /// Rows that were left out: empty, huge, not UTF-8.
    pub skipped: [usize; 3],
    /// The row to go on with; none once the corpus is through.
    pub next: Option<usize>,
    /// The largest value of each neuron in one text, and where; kept between calls.
    best: Vec<f32>,
    place: Vec<u32>,
}

/// Bytes that an atlas may come to, its texts left out.
pub fn bytes(width: usize, top: usize, max_len: usize) -> usize {
    let window = max_len.min(BEFORE + 1 + AFTER) * size_of::<f32>();
    let record = size_of::<Record>() + window + 64;
    width.saturating_mul(top.saturating_mul(record).saturating_add(size_of::<Vec<Record>>() + 8))
}

impl Atlas {
    pub fn new(origin: Origin) -> Atlas {
        let width = origin.width;
        Atlas {
            next: Some(origin.from),
            origin,
            records: vec![Vec::new(); width],
            texts: BTreeMap::new(),
            read: 0,
            skipped: [0; 3],
            best: vec![0.0; width],
            place: vec![0; width],
        }
    }

    /// Adds a text by its tokens and `[pos, width]` values, of which the first `skip` positions do not count.
    ///
    /// # Errors
    /// A value that counts and is no finite number.
    pub fn add(
        &mut self,
        row: usize,
        text: &str,
        ids: &[u32],
        values: &[f32],
        skip: usize,
    ) -> Result<(), NotFinite> {
        self.read += 1;
        let width = self.origin.width;
        let mut rows = values.chunks_exact(width.max(1)).enumerate().skip(skip);
        let Some((first, row_of_first)) = rows.next() else { return Ok(()) };
        finite(row, first, row_of_first)?;
        self.best.copy_from_slice(row_of_first);
        self.place.fill(first as u32);
        for (position, numbers) in rows {
            finite(row, position, numbers)?;
            for ((best, place), x) in self.best.iter_mut().zip(&mut self.place).zip(numbers) {
                let more = x > best;
                *best = if more { *x } else { *best };
                *place = if more { position as u32 } else { *place };
            }
        }
        let mut uses = 0;
        for neuron in 0..width {
            let (value, position) = (self.best[neuron], self.place[neuron] as usize);
            let records = &mut self.records[neuron];
            let full = records.len() >= self.origin.top;
            if full && records.last().is_none_or(|last| value <= last.value) {
                continue;
            }
            if full && let Some(lost) = records.pop() {
                release(&mut self.texts, lost.row);
            }
            let window =
                around(position, ids.len(), BEFORE, AFTER).map(|p| values[p * width + neuron]).collect();
            let at = records.partition_point(|record| record.value >= value);
            records.insert(at, Record { value, row, position, context: String::new(), window });
            uses += 1;
        }
        if uses > 0 {
            let text = Text { text: text.into(), ids: ids.into(), tokens: Vec::new(), uses };
            self.texts.insert(row, text);
        }
        Ok(())
    }

    /// Spells out what is kept, once the corpus is through: each token alone by `tokens`, several together by `decode`.
    pub fn finish(&mut self, tokens: impl Fn(&[u32]) -> Vec<String>, decode: impl Fn(&[u32]) -> String) {
        self.next = None;
        for text in self.texts.values_mut() {
            text.tokens = tokens(&text.ids);
        }
        for record in self.records.iter_mut().flatten() {
            if let Some(text) = self.texts.get(&record.row) {
                record.context = decode(&text.ids[around(record.position, text.ids.len(), CONTEXT, CONTEXT)]);
            }
        }
    }

    pub fn width(&self) -> usize {
        self.records.len()
    }

    /// The records of a neuron, the largest value first; `None` if there is no such neuron.
    pub fn neuron(&self, neuron: usize) -> Option<&[Record]> {
        self.records.get(neuron).map(Vec::as_slice)
    }

    /// The text in a row, if a record points there.
    pub fn text(&self, row: usize) -> Option<&Text> {
        self.texts.get(&row)
    }

    /// The texts that are kept, by their rows.
    pub fn texts(&self) -> impl Iterator<Item = (usize, &Text)> {
        self.texts.iter().map(|(row, text)| (*row, text))
    }

    /// The token of a record; empty before [`Atlas::finish`].
    pub fn token(&self, record: &Record) -> &str {
        let text = self.texts.get(&record.row);
        text.and_then(|text| text.tokens.get(record.position)).map_or("", String::as_str)
    }

    /// All neurons that have a record, with their first: the strongest first, of equal ones the one of the lower number.
    pub fn strongest(&self) -> Vec<(usize, &Record)> {
        sorted(self.all().filter(|(_, rank, _)| *rank == 0))
    }

    /// The records whose token contains `text`, the largest value first.
    pub fn find(&self, text: &str) -> Vec<(usize, &Record)> {
        sorted(self.all().filter(|(_, _, record)| self.token(record).contains(text)))
    }

    /// Every record with its neuron and its place among that neuron's.
    fn all(&self) -> impl Iterator<Item = (usize, usize, &Record)> {
        self.records.iter().enumerate().flat_map(|(neuron, records)| {
            records.iter().enumerate().map(move |(rank, record)| (neuron, rank, record))
        })
    }
}

fn sorted<'a>(records: impl Iterator<Item = (usize, usize, &'a Record)>) -> Vec<(usize, &'a Record)> {
    let mut records: Vec<_> = records.map(|(neuron, _, record)| (neuron, record)).collect();
    records.sort_by(|(_, a), (_, b)| b.value.total_cmp(&a.value));
    records
}

fn release(texts: &mut BTreeMap<usize, Text>, row: usize) {
    if let Some(text) = texts.get_mut(&row) {
        text.uses -= 1;
        if text.uses == 0 {
            texts.remove(&row);
        }
    }
}

fn finite(row: usize, position: usize, numbers: &[f32]) -> Result<(), NotFinite> {
    // All bits of the exponent, without a branch for each number.
    const EXPONENT: u32 = 0x7f80_0000;
    if !numbers.iter().fold(false, |found, x| found | (x.to_bits() & EXPONENT == EXPONENT)) {
        return Ok(());
    }
    let neuron = numbers.iter().position(|x| !x.is_finite()).unwrap_or(0);
    Err(NotFinite { neuron, row, position })
}

#[cfg(test)]
mod tests;
