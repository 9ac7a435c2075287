//! What a run's patches did, and the one rule for those that change nothing: it is an error in a run of one prompt, is
//! counted over the cells of a sweep, and is allowed to a patch that says so.

use super::apply::larger;
use crate::run::asking::patch::Patch;
use crate::run::error::{Result, RunError};

/// What one patch did.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    pub patch: String,
    pub fired: usize,
    pub max_change: f32,
}

/// What the patches of one run did, in the order in which they were given.
#[derive(Debug, Clone)]
pub struct Ledger {
    entries: Vec<LedgerEntry>,
    allowed: Vec<bool>,
}

impl Ledger {
    pub fn new(patches: &[Patch]) -> Ledger {
        let entry = |patch: &Patch| LedgerEntry { patch: patch.site.to_string(), fired: 0, max_change: 0.0 };
        Ledger {
            entries: patches.iter().map(entry).collect(),
            allowed: patches.iter().map(|patch| patch.allow_noop).collect(),
        }
    }

    /// Takes down that a patch was carried out.
    pub fn note(&mut self, patch: usize, change: f32) {
        let entry = &mut self.entries[patch];
        entry.fired += 1;
        entry.max_change = larger(entry.max_change, change);
    }

    /// # Errors
    /// A patch that was carried out and changed nothing, unless it may.
    pub fn refuse_unchanged(&self) -> Result<()> {
        let mut entries = self.entries.iter().zip(&self.allowed);
        match entries.find(|(entry, allowed)| entry.fired > 0 && changed_nothing(entry.max_change, **allowed))
        {
            Some((entry, _)) => Err(RunError::Noop { site: entry.patch.clone() }),
            None => Ok(()),
        }
    }

    /// # Errors
    /// At the end of a run: a patch that was never carried out or changed nothing, unless it may.
    pub fn refuse_idle(&self) -> Result<()> {
        match self.entries.iter().zip(&self.allowed).find(|(entry, allowed)| entry.fired == 0 && !**allowed) {
            Some((entry, _)) => Err(RunError::NeverFired { site: entry.patch.clone() }),
            None => self.refuse_unchanged(),
        }
    }

    pub fn into_entries(self) -> Vec<LedgerEntry> {
        self.entries
    }
}

/// Did a patch that must change something change nothing?
pub fn changed_nothing(max_change: f32, allowed: bool) -> bool {
    max_change == 0.0 && !allowed
}
