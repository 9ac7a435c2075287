//! How activations lie in a folder: a safetensors file a part, and beside them what they are, in JSON.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Acts, ActsError, Origin, Part, VERSION};

/// What says what the parts are.
pub const INDEX: &str = "acts.json";

/// The file of a part.
pub fn part_file(part: usize) -> String {
    format!("{part:05}.safetensors")
}

/// What a folder says of its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    pub origin: Origin,
    /// Rows of each part.
    pub rows: Vec<usize>,
    /// The row of the corpus to go on with; none once the collection is through.
    pub next: Option<usize>,
    /// What each token says.
    tokens: Vec<(u32, Piece)>,
}

/// What a token says: text, or bytes that are none alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

impl Index {
    /// Of parts with so many rows, after which the corpus goes on at `next`.
    pub fn new(
        origin: &Origin,
        rows: Vec<usize>,
        next: Option<usize>,
        tokens: &BTreeMap<u32, Vec<u8>>,
    ) -> Index {
        let piece = |bytes: &Vec<u8>| match String::from_utf8(bytes.clone()) {
            Ok(text) => Piece::Text(text),
            Err(error) => Piece::Bytes(error.into_bytes()),
        };
        let tokens = tokens.iter().map(|(id, bytes)| (*id, piece(bytes))).collect();
        Index { version: VERSION, origin: origin.clone(), rows, next, tokens }
    }

    /// JSON; the same bytes for the same parts.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What the bytes of the file `name` say.
    ///
    /// # Errors
    /// Bytes that are no such index.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Index, ActsError> {
        let wrong = |reason: String| ActsError::Damaged { name: name.into(), reason };
        let index: Index = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        if index.version != VERSION {
            return Err(wrong(format!("it is of version {}, not {VERSION}", index.version)));
        }
        if index.origin.width == 0 {
            return Err(wrong("its rows have no numbers".into()));
        }
        Ok(index)
    }

    /// The part of this number, whose file is `name`.
    ///
    /// # Errors
    /// A file that is not that part.
    pub fn part(&self, part: usize, name: &str, file: io::Result<File>) -> Result<Part, ActsError> {
        let wrong = |reason: String| ActsError::Damaged { name: name.into(), reason };
        let file = file.map_err(|error| wrong(error.to_string()))?;
        let read = Part::map(&file, &self.origin, part).map_err(wrong)?;
        match self.rows.get(part) {
            Some(rows) if *rows == read.rows() => Ok(read),
            rows => Err(wrong(format!("it has {} rows, not {}", read.rows(), rows.unwrap_or(&0)))),
        }
    }

    /// All activations of the folder `name`. `open` gives the file of a part by its name.
    ///
    /// # Errors
    /// A collection that is not through, a part that is missing or is not what it should be.
    pub fn acts(self, name: &str, open: impl Fn(&str) -> io::Result<File>) -> Result<Acts, ActsError> {
        if self.next.is_some() {
            return Err(ActsError::Unfinished { name: name.into() });
        }
        let part = |part: usize| {
            let file = part_file(part);
            self.part(part, &format!("{name}/{file}"), open(&file))
        };
        let parts = (0..self.rows.len()).map(part).collect::<Result<Vec<_>, _>>()?;
        let bytes = |piece: Piece| match piece {
            Piece::Text(text) => text.into_bytes(),
            Piece::Bytes(bytes) => bytes,
        };
        let tokens = self.tokens.into_iter().map(|(id, piece)| (id, bytes(piece))).collect();
        Ok(Acts::new(self.origin, parts, Arc::new(tokens)))
    }
}
