//! The hook of every run: applies the run's writes and keeps the activations it was asked for.

use super::apply::{self, Changes, PackedWrite};
use super::pieces;
use super::rows::own;
use crate::model::hook::one_by_one;
use crate::model::{At, Hook, ModelError, Packed, Result};
use crate::run::control::Control;
use crate::run::error::RunError;
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet};

pub struct Recorder<'a> {
    control: &'a Control,
    writes: BTreeMap<At, Vec<PackedWrite<'a>>>,
    keep: BTreeSet<At>,
    /// Kept activations of all rows, `[rows, width]`.
    pub kept: BTreeMap<At, Tensor>,
    /// Kept scores, by segment, `[head, query, key]`.
    pub kept_scores: BTreeMap<(At, usize), Tensor>,
    /// Kept scores of all segments, on a card.
    pub kept_at_once: BTreeMap<At, Packed>,
    pub changes: Vec<Changes>,
}

impl<'a> Recorder<'a> {
    pub fn new(control: &'a Control, keep: BTreeSet<At>) -> Recorder<'a> {
        Recorder {
            control,
            writes: BTreeMap::new(),
            keep,
            kept: BTreeMap::new(),
            kept_scores: BTreeMap::new(),
            kept_at_once: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Forgets the writes, whose rows may lie elsewhere from now on.
    pub fn clear_writes(&mut self) {
        self.writes.clear();
    }

    /// Adds a write; writes of one place are applied in the order in which they were added.
    pub fn write(&mut self, placed: PackedWrite<'a>) {
        self.writes.entry(placed.write.selection.at).or_default().push(placed);
    }
}

fn refused(error: RunError) -> ModelError {
    match error {
        RunError::Model(error) => error,
        other => ModelError::Hook(Box::new(other)),
    }
}

impl Hook for Recorder<'_> {
    fn wants(&self, at: At) -> bool {
        self.keep.contains(&at) || self.writes.contains_key(&at)
    }

    fn rows(&mut self, at: At, x: Tensor) -> Result<Tensor> {
        let x = match self.writes.get(&at) {
            None => x,
            Some(placed) => {
                let (x, changes) = apply::rows(&x, placed).map_err(refused)?;
                self.changes.push(changes);
                x
            }
        };
        if self.keep.contains(&at) {
            self.kept.insert(at, x.clone());
        }
        Ok(x)
    }

    fn scores(&mut self, at: At, segment: usize, mut x: Tensor) -> Result<Tensor> {
        for placed in self.writes.get(&at).into_iter().flatten().filter(|p| p.segment == segment) {
            let (patched, change) = apply::scores(&x, placed).map_err(refused)?;
            self.changes.push(change);
            x = patched;
        }
        if self.keep.contains(&at) {
            self.kept_scores.insert((at, segment), own(&x).map_err(refused)?);
        }
        Ok(x)
    }

    fn all_scores(&mut self, at: At, x: &Packed) -> Result<Option<Packed>> {
        let patched = match self.writes.get(&at) {
            None => None,
            Some(placed) => match pieces::scores(x, placed).map_err(refused)? {
                None => return one_by_one(self, at, x),
                Some((patched, changes)) => {
                    self.changes.push(changes);
                    Some(patched)
                }
            },
        };
        if self.keep.contains(&at) {
            self.kept_at_once.insert(at, patched.as_ref().unwrap_or(x).clone());
        }
        Ok(patched)
    }

    fn before_layer(&mut self, _layer: usize) -> Result<()> {
        self.control.check()
    }
}
