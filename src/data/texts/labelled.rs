//! Labels of texts: in which fields or columns the two lie, and objects of texts by their labels.
//!
//! The names are those that the published experiment on mixtures looks for, in its order.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::vec::IntoIter;

use serde_json::{Map, Value};

use super::{Choice, Raw, Result, Source, TextsError, kind};

/// Whether labels are read beside the texts, and where they lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Label {
    #[default]
    None,
    /// Where they mostly do, if there are any.
    Usual,
    /// In this field or column.
    Field(String),
}

/// Where a text and its label lie beside each other, the first that are there.
const PAIRS: [(&str, &str); 4] =
    [("prompt", "label"), ("text", "label"), ("sentence", "concept"), ("sentence", "label")];
/// The same of each alone.
const TEXTS: [&str; 3] = ["prompt", "text", "sentence"];
const LABELS: [&str; 2] = ["label", "concept"];

impl Choice {
    /// The names of the field of the text and of that of the label, as far as they are known, where `has` says which
    /// there are.
    pub fn places(&self, has: impl Fn(&str) -> bool) -> (Option<&str>, Option<&str>) {
        let field = self.field.as_deref();
        if self.label == Label::None {
            return (field, None);
        }
        let pair = PAIRS
            .into_iter()
            .find(|(text, label)| field.is_none_or(|field| field == *text) && has(text) && has(label));
        let first = |names: &[&'static str]| names.iter().copied().find(|name| has(name));
        let label = match &self.label {
            Label::Field(label) => Some(label.as_str()),
            _ => pair.map(|(_, label)| label).or_else(|| first(&LABELS)),
        };
        (field.or(pair.map(|(text, _)| text)).or_else(|| first(&TEXTS)), label)
    }
}

/// The longest object that is read, in bytes: it is held whole.
const LONGEST: u64 = 16 << 20;

/// Is a JSON file an object? It is left as it was.
pub fn is_object(file: &mut File) -> io::Result<bool> {
    let mut start = Vec::new();
    file.by_ref().take(1024).read_to_end(&mut start)?;
    file.rewind()?;
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&start);
    Ok(start.trim_ascii_start().first() == Some(&b'{'))
}

/// Rows that are in memory.
pub struct Ready(IntoIter<Raw>);

impl Source for Ready {
    fn next(&mut self, _: usize) -> Result<Option<Raw>> {
        Ok(self.0.next())
    }
}

/// The texts of an object `{label: [text, …]}`, and their labels.
pub fn object(name: &str, file: File) -> Result<(Ready, Ready)> {
    let mut bytes = Vec::new();
    let unread = |reason| TextsError::Read { name: name.into(), reason };
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > LONGEST {
        return Err(TextsError::LargeObject { name: name.into(), most: LONGEST });
    }
    let json = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    let by_label: Map<String, Value> = serde_json::from_slice(json).map_err(|error| TextsError::NotJson {
        name: name.into(),
        row: 0,
        reason: error.to_string(),
    })?;
    for (label, of_label) in by_label {
        let Value::Array(of_label) = of_label else {
            return Err(TextsError::NoTexts { name: name.into(), label });
        };
        for text in of_label {
            texts.push(match text {
                Value::String(text) => Raw::Bytes(text.into()),
                Value::Null => Raw::Null,
                other => {
                    let (row, found) = (texts.len(), kind(&other));
                    return Err(TextsError::NotText { name: name.into(), row, found });
                }
            });
            labels.push(Raw::Bytes(label.clone().into()));
        }
    }
    Ok((Ready(texts.into_iter()), Ready(labels.into_iter())))
}
