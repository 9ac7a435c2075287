//! The texts of a corpus, one after the other: a file of lines, JSONL, JSON, CSV, TSV or Parquet.
//!
//! A text goes by the number of its row in the file, counted from 0, whatever range is read and whatever is skipped.
//! Memory does not grow with the file: one row is held at a time, of Parquet one page. Each format is a [`Source`] of
//! rows as they lie there ([`lines`] for text and JSONL, [`array`] for JSON, [`cells`] for CSV and TSV, [`parquet`]);
//! what makes a row a text is the same for all of them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use super::DataError;
use super::files::Files;

mod array;
mod cells;
mod lines;
mod parquet;

/// A row of so many bytes is no text to read at once: mostly a file whose lines got lost.
pub const HUGE: usize = 1_000_000;

/// Where an object has its text, unless the caller says so.
const FIELD: &str = "text";

/// Which texts of a file are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The key of an object, or the column, that holds the text; `text` if none, or the only column.
    pub field: Option<String>,
    /// The first row.
    pub from: usize,
    /// The row after the last; the file's end if none, or if that comes first.
    pub to: Option<usize>,
    /// Leave out and count rows that are no text, rather than refuse the file.
    pub skip: bool,
}

/// Rows that were left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    pub empty: usize,
    pub huge: usize,
    pub not_utf8: usize,
}

impl Skipped {
    pub fn all(&self) -> usize {
        self.empty + self.huge + self.not_utf8
    }
}

/// What keeps a row from being a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("is empty")]
    Empty,
    #[error("has {HUGE} bytes or more")]
    Huge,
    #[error("is not utf-8 text")]
    NotUtf8,
}

/// Why a file gives no texts. Rows count from 0.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    #[error("cannot tell the format of the texts in `{name}`")]
    Format { name: String },
    #[error("row {row} of `{name}` {flaw}")]
    Flawed { name: String, row: usize, flaw: Flaw },
    #[error("row {row} of `{name}` is not json: {reason}")]
    NotJson { name: String, row: usize, reason: String },
    #[error("row {row} of `{name}` has no `{field}`")]
    NoField { name: String, row: usize, field: String, keys: Vec<String> },
    #[error("row {row} of `{name}`: expected a string or an object with one, found {found}")]
    NotText { name: String, row: usize, found: &'static str },
    #[error("`{name}` is no json array")]
    NotArray { name: String },
    #[error("`{name}` has no column `{column}`")]
    NoColumn { name: String, column: String, columns: Vec<String> },
    #[error("row {row} of `{name}` has {found} cells, the header {expected}")]
    Ragged { name: String, row: usize, expected: usize, found: usize },
    #[error("row {row} of `{name}`: a `\"` is never closed")]
    OpenQuote { name: String, row: usize },
    #[error("`{name}` is no parquet file that can be read: {reason}")]
    Parquet { name: String, reason: String },
    #[error("`{name}` has no `field`: its rows are texts")]
    Plain { name: String },
    #[error("cannot read `{name}`: {reason}")]
    Read { name: String, reason: io::Error },
}

type Result<T> = std::result::Result<T, TextsError>;

/// A row as it lies in its file.
#[derive(Debug, PartialEq, Eq)]
enum Raw {
    Bytes(Vec<u8>),
    /// There is nothing where the text should be.
    Null,
    Huge,
}

/// Rows in the order of a file.
trait Source: Send {
    /// The next row, the one of this number.
    fn next(&mut self, row: usize) -> Result<Option<Raw>>;

    /// Passes over up to so many rows, and says how many those were.
    fn pass(&mut self, rows: usize) -> Result<usize> {
        for row in 0..rows {
            if self.next(row)?.is_none() {
                return Ok(row);
            }
        }
        Ok(rows)
    }
}

/// The texts of a file: pairs of a row's number and its text.
pub struct Texts {
    name: String,
    source: Box<dyn Source>,
    /// Are rows JSON?
    json: bool,
    choice: Choice,
    /// The number of the next row.
    row: usize,
    skipped: Skipped,
    read: Arc<AtomicU64>,
    size: u64,
    ended: bool,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Texts({}, row {})", self.name, self.row)
    }
}

impl Texts {
    /// Begins to read `path`, whose extension says what it is.
    ///
    /// # Errors
    /// A path that may not be read, an unknown format, a file that is not of its format, a column that is not there.
    pub fn open(files: &Files, path: &str, choice: Choice) -> std::result::Result<Texts, DataError> {
        let extension = Path::new(path).extension().and_then(|e| e.to_str()).unwrap_or_default();
        let extension = extension.to_ascii_lowercase();
        if !["txt", "jsonl", "ndjson", "json", "csv", "tsv", "parquet"].contains(&extension.as_str()) {
            return Err(TextsError::Format { name: path.into() }.into());
        }
        let file = files.open(path)?;
        Ok(Texts::of(path, &extension, file, choice)?)
    }

    fn of(name: &str, format: &str, file: File, choice: Choice) -> Result<Texts> {
        let unread = |reason| TextsError::Read { name: name.into(), reason };
        let size = file.metadata().map_err(unread)?.len();
        let read = Arc::new(AtomicU64::new(0));
        let field = choice.field.as_deref();
        let source: Box<dyn Source> = if format == "parquet" {
            Box::new(parquet::Column::open(name, file, field, read.clone())?)
        } else {
            let bytes = BufReader::with_capacity(1 << 16, Counted { file, read: read.clone() });
            match format {
                "json" => Box::new(array::Elements::open(name, bytes)?),
                "csv" => Box::new(cells::Cells::open(name, bytes, b',', field)?),
                "tsv" => Box::new(cells::Cells::open(name, bytes, b'\t', field)?),
                "txt" if field.is_some() => return Err(TextsError::Plain { name: name.into() }),
                _ => Box::new(lines::Lines::new(name, bytes)),
            }
        };
        let json = ["json", "jsonl", "ndjson"].contains(&format);
        let name = name.to_string();
        let skipped = Skipped::default();
        Ok(Texts { name, source, json, choice, row: 0, skipped, read, size, ended: false })
    }

    /// What was left out so far.
    pub fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// How far it has come, and how far it is: rows where the last one is known, else bytes.
    pub fn progress(&self) -> (u64, u64, &'static str) {
        let Choice { from, to, .. } = self.choice;
        match to {
            Some(to) => (self.row.saturating_sub(from) as u64, to.saturating_sub(from) as u64, "texts"),
            None => (self.read.load(Relaxed), self.size, "bytes"),
        }
    }

    /// Up to `most` texts of together about `bytes` bytes, fewer at the end; the same ones whenever it is called.
    pub fn group(&mut self, most: usize, bytes: usize) -> Result<Vec<(usize, String)>> {
        let (mut group, mut held) = (Vec::new(), 0);
        while group.len() < most && held < bytes {
            let Some(text) = self.next() else { break };
            let text = text?;
            held += text.1.len();
            group.push(text);
        }
        Ok(group)
    }

    /// Goes on with the row of this number, if it is not behind: what lies between is not looked at.
    pub fn seek(&mut self, row: usize) -> Result<()> {
        self.row += self.source.pass(row.saturating_sub(self.row))?;
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<(usize, String)>> {
        self.seek(self.choice.from)?;
        while self.choice.to.is_none_or(|to| self.row < to) {
            let row = self.row;
            let Some(raw) = self.source.next(row)? else { break };
            self.row += 1;
            match self.text(row, raw)? {
                Ok(text) => return Ok(Some((row, text))),
                Err(flaw) if !self.choice.skip => {
                    return Err(TextsError::Flawed { name: self.name.clone(), row, flaw });
                }
                Err(Flaw::Empty) => self.skipped.empty += 1,
                Err(Flaw::Huge) => self.skipped.huge += 1,
                Err(Flaw::NotUtf8) => self.skipped.not_utf8 += 1,
            }
        }
        Ok(None)
    }

    /// The text of a row, or what keeps it from being one.
    fn text(&self, row: usize, raw: Raw) -> Result<std::result::Result<String, Flaw>> {
        let bytes = match raw {
            Raw::Bytes(bytes) => bytes,
            Raw::Null => return Ok(Err(Flaw::Empty)),
            Raw::Huge => return Ok(Err(Flaw::Huge)),
        };
        let Ok(mut text) = String::from_utf8(bytes) else { return Ok(Err(Flaw::NotUtf8)) };
        if self.json && !text.trim().is_empty() {
            match self.of_json(row, &text)? {
                Some(found) => text = found,
                None => return Ok(Err(Flaw::Empty)),
            }
        }
        Ok(if text.trim().is_empty() { Err(Flaw::Empty) } else { Ok(text) })
    }

    /// The string that a row of JSON is, or has; `None` where that is `null`.
    fn of_json(&self, row: usize, text: &str) -> Result<Option<String>> {
        let name = || self.name.clone();
        let not_json =
            |error: serde_json::Error| TextsError::NotJson { name: name(), row, reason: error.to_string() };
        let mut value: Value = serde_json::from_str(text).map_err(not_json)?;
        if let Value::Object(entries) = &mut value {
            let field = self.choice.field.as_deref().unwrap_or(FIELD);
            let Some(found) = entries.remove(field) else {
                let keys = entries.keys().take(MOST_NAMED).cloned().collect();
                return Err(TextsError::NoField { name: name(), row, field: field.into(), keys });
            };
            value = found;
        }
        let found = match value {
            Value::String(text) => return Ok(Some(text)),
            Value::Null => return Ok(None),
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Err(TextsError::NotText { name: name(), row, found })
    }
}

/// Keys or columns that an error names at most.
const MOST_NAMED: usize = 32;

/// Which of `columns` holds the text.
fn choose(name: &str, columns: &[String], field: Option<&str>) -> Result<usize> {
    let wanted = field.unwrap_or(FIELD);
    match columns.iter().position(|column| column == wanted) {
        Some(index) => Ok(index),
        None if field.is_none() && columns.len() == 1 => Ok(0),
        None => {
            let columns = columns.iter().take(MOST_NAMED).cloned().collect();
            Err(TextsError::NoColumn { name: name.into(), column: wanted.into(), columns })
        }
    }
}

impl Iterator for Texts {
    type Item = Result<(usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance().transpose();
        // After an error nothing is as it should be.
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A file that counts the bytes that were read.
struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(to)?;
        self.read.fetch_add(n as u64, Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests;
