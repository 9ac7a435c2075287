//! What a run has read, for the runs that resume it.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One reading of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Read {
    /// As the script wrote it.
    pub path: String,
    /// Where that was, as seen from the working folder, and the checksum of what was there; `None` if nothing was.
    pub file: Option<(PathBuf, String)>,
}

/// Readings in their order, equal ones once.
#[derive(Debug, Default)]
pub struct Reads {
    all: Vec<Read>,
    known: HashSet<Read>,
}

impl Reads {
    pub fn add(&mut self, read: Read) {
        if self.known.insert(read.clone()) {
            self.all.push(read);
        }
    }

    /// All but the first `n`.
    pub fn after(&self, n: usize) -> Vec<Read> {
        self.all.get(n..).unwrap_or_default().to_vec()
    }
}
