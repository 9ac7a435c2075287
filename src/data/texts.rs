//! The texts of a corpus, one after the other: a file of lines, JSONL, JSON, CSV, TSV or Parquet.
//!
//! A text goes by the number of its row in the file, counted from 0, whatever range is read and whatever is skipped.
//! Memory does not grow with the file: one row is held at a time, of Parquet one page. Each format is a [`Source`] of
//! rows as they lie there ([`lines`] for text and JSONL, [`array`] for JSON, [`cells`] for CSV and TSV, [`parquet`]);
//! what makes a row a text is the same for all of them. A text may have a label beside it ([`labelled`] says where).

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::Value;

use super::DataError;
use super::files::{FileError, Files};
use crate::plain;

mod array;
mod cells;
mod labelled;
mod lines;
mod parquet;

pub use labelled::Label;

/// A row of so many bytes is no text to read at once: mostly a file whose lines got lost.
pub const HUGE: usize = 1_000_000;

/// Where an object has its text, unless the caller says so.
const FIELD: &str = "text";

/// A text of a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its row in the corpus.
    pub row: usize,
    pub text: String,
    pub label: Option<String>,
}

impl Text {
    /// A text with a label is stripped, as its label is: so the published experiment reads pairs. One without may well
    /// begin with a space.
    pub fn new(row: usize, text: String, label: Option<String>) -> Text {
        let label = label.map(|label| label.trim().to_string()).filter(|label| !label.is_empty());
        let text = if label.is_some() { text.trim().into() } else { text };
        Text { row, text, label }
    }
}

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
    pub label: Label,
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
    #[error("row {row} of `{name}`: expected a label, a string or a number, found {found}")]
    NotLabel { name: String, row: usize, found: &'static str },
    #[error("`{label}` of `{name}` is no array of texts")]
    NoTexts { name: String, label: String },
    #[error("`{name}` is an object of more than {most} bytes")]
    LargeObject { name: String, most: u64 },
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

/// The texts of a file.
pub struct Texts {
    name: String,
    source: Box<dyn Source>,
    /// The labels of the same rows, where they do not lie in these themselves.
    labels: Option<Box<dyn Source>>,
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
        let again = || {
            files.read_path(path).and_then(|real| {
                plain::open(&real).map_err(|reason| FileError::Read { path: path.into(), reason })
            })
        };
        // A second column is read beside the first.
        let columns = choice.label != Label::None && ["csv", "tsv", "parquet"].contains(&&*extension);
        let labels = columns.then(again).transpose()?;
        Ok(Texts::of(path, &extension, file, labels, choice)?)
    }

    fn of(name: &str, format: &str, mut file: File, labels: Option<File>, choice: Choice) -> Result<Texts> {
        let unread = |reason| TextsError::Read { name: name.into(), reason };
        let size = file.metadata().map_err(unread)?.len();
        let read = Arc::new(AtomicU64::new(0));
        let mut json = ["json", "jsonl", "ndjson"].contains(&format);
        let (source, labels): (Box<dyn Source>, Option<Box<dyn Source>>) = match format {
            "json" if choice.label != Label::None && labelled::is_object(&mut file).map_err(unread)? => {
                json = false;
                let (texts, labels) = labelled::object(name, file)?;
                read.store(size, Relaxed);
                (Box::new(texts), Some(Box::new(labels)))
            }
            "txt" if choice.field.is_some() => return Err(TextsError::Plain { name: name.into() }),
            "txt" | "json" | "jsonl" | "ndjson" => {
                let bytes = BufReader::with_capacity(1 << 16, Counted { file, read: read.clone() });
                match format {
                    "json" => (Box::new(array::Elements::open(name, bytes)?), None),
                    _ => (Box::new(lines::Lines::new(name, bytes)), None),
                }
            }
            _ => {
                let texts = |names: &[String]| {
                    choose(name, names, choice.places(|place| names.iter().any(|name| name == place)).0)
                        .map(Some)
                };
                let source = column(name, format, file, texts, read.clone())?;
                let source = source.ok_or_else(|| TextsError::Format { name: name.into() })?;
                let labels = labels.map(|file| {
                    let of_labels = |names: &[String]| {
                        let (_, label) = choice.places(|place| names.iter().any(|name| name == place));
                        label.map(|label| choose(name, names, Some(label))).transpose()
                    };
                    match column(name, format, file, of_labels, Arc::default()) {
                        // Numbers, most likely, where nobody asked for labels.
                        Err(TextsError::Parquet { .. }) if choice.label == Label::Usual => Ok(None),
                        column => column,
                    }
                });
                (source, labels.transpose()?.flatten())
            }
        };
        let name = name.to_string();
        let skipped = Skipped::default();
        Ok(Texts { name, source, labels, json, choice, row: 0, skipped, read, size, ended: false })
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
    pub fn group(&mut self, most: usize, bytes: usize) -> Result<Vec<Text>> {
        let (mut group, mut held) = (Vec::new(), 0);
        while group.len() < most && held < bytes {
            let Some(text) = self.next() else { break };
            let text = text?;
            held += text.text.len();
            group.push(text);
        }
        Ok(group)
    }

    /// Goes on with the row of this number, if it is not behind: what lies between is not looked at.
    pub fn seek(&mut self, row: usize) -> Result<()> {
        let rows = row.saturating_sub(self.row);
        if let Some(labels) = &mut self.labels {
            labels.pass(rows)?;
        }
        self.row += self.source.pass(rows)?;
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Text>> {
        self.seek(self.choice.from)?;
        while self.choice.to.is_none_or(|to| self.row < to) {
            let row = self.row;
            let Some(raw) = self.source.next(row)? else { break };
            let beside = self.labels.as_mut().map(|labels| labels.next(row)).transpose()?.flatten();
            self.row += 1;
            match self.text(row, raw, beside)? {
                Ok(text) => return Ok(Some(text)),
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

    /// The text of a row, with the label that lies beside it, or what keeps it from being one.
    fn text(&self, row: usize, raw: Raw, beside: Option<Raw>) -> Result<std::result::Result<Text, Flaw>> {
        let (text, label) = match (raw.text(), beside.map(Raw::text).transpose()) {
            (Ok(Some(text)), Ok(label)) => (text, label.flatten()),
            (Ok(None), Ok(_)) => return Ok(Err(Flaw::Empty)),
            (Err(flaw), _) | (_, Err(flaw)) => return Ok(Err(flaw)),
        };
        let (text, label) = match self.json && !text.trim().is_empty() {
            false => (Some(text), label),
            true => self.of_json(row, &text)?,
        };
        Ok(match text.filter(|text| !text.trim().is_empty()) {
            Some(text) => Ok(Text::new(row, text, label)),
            None => Err(Flaw::Empty),
        })
    }

    /// The string that a row of JSON is, or has, and its label; `None` where that is `null`.
    fn of_json(&self, row: usize, text: &str) -> Result<(Option<String>, Option<String>)> {
        let name = || self.name.clone();
        let not_json =
            |error: serde_json::Error| TextsError::NotJson { name: name(), row, reason: error.to_string() };
        let mut value: Value = serde_json::from_str(text).map_err(not_json)?;
        let mut label = None;
        if let Value::Object(entries) = &mut value {
            let (field, of_label) = self.choice.places(|key| entries.contains_key(key));
            let mut take = |field: &str| {
                entries.remove(field).ok_or_else(|| {
                    let keys = entries.keys().take(MOST_NAMED).cloned().collect();
                    TextsError::NoField { name: name(), row, field: field.into(), keys }
                })
            };
            label = match of_label.map(&mut take).transpose()? {
                None | Some(Value::Null) => None,
                Some(Value::String(label)) => Some(label),
                Some(label @ (Value::Bool(_) | Value::Number(_))) => Some(label.to_string()),
                Some(other) => {
                    return Err(TextsError::NotLabel { name: name(), row, found: kind(&other) });
                }
            };
            value = take(field.unwrap_or(FIELD))?;
        }
        match value {
            Value::String(text) => Ok((Some(text), label)),
            Value::Null => Ok((None, label)),
            other => Err(TextsError::NotText { name: name(), row, found: kind(&other) }),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl Raw {
    fn text(self) -> std::result::Result<Option<String>, Flaw> {
        match self {
            Raw::Bytes(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| Flaw::NotUtf8),
            Raw::Null => Ok(None),
            Raw::Huge => Err(Flaw::Huge),
        }
    }
}

/// The rows of the column that `pick` chooses of those that there are, if it chooses one.
fn column(
    name: &str,
    format: &str,
    file: File,
    pick: impl FnOnce(&[String]) -> Result<Option<usize>>,
    read: Arc<AtomicU64>,
) -> Result<Option<Box<dyn Source>>> {
    let boxed = |source| Box::new(source) as Box<dyn Source>;
    if format == "parquet" {
        let column = parquet::Column::open(name, file, pick, read)?;
        return Ok(column.map(|column| Box::new(column) as Box<dyn Source>));
    }
    let bytes = BufReader::with_capacity(1 << 16, Counted { file, read });
    let separator = if format == "csv" { b',' } else { b'\t' };
    Ok(cells::Cells::open(name, bytes, separator, pick)?.map(boxed))
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
    type Item = Result<Text>;

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
