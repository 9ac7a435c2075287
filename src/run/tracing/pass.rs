//! A packed pass of whole prompts, each with its patches.

use crate::model::{At, Model, Point};
use crate::run::asking::patch::{self, Patch, Write};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::{Result, RunError};
use crate::run::walking::apply::{self, Changes, PackedWrite};
use crate::run::walking::ledger::{Ledger, LedgerEntry};
use crate::run::walking::logits::{LastRead, Logits};
use crate::run::walking::rows::own_rows;
use crate::run::walking::walk::{End, Past, Walk, Walker};
use candle_core::Tensor;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Every prompt's writes, in their canonical order.
pub fn resolve(model: &Model, prompts: &[(Tokens, Vec<Patch>)]) -> Result<Vec<Vec<Write>>> {
    let of_prompt = |(tokens, patches): &(Tokens, Vec<Patch>)| {
        patch::resolve(patches, |patch| patch.steps.in_prompt(), |patch| patch.resolve(model, tokens))
    };
    prompts.iter().map(of_prompt).collect()
}

/// What a pass left.
pub struct Pass<'a> {
    model: &'a Model,
    control: &'a Control,
    prompts: &'a [(Tokens, Vec<Patch>)],
    writes: &'a [Vec<Write>],
    end: End<'a>,
    /// What patches of the logits did.
    changes: Vec<Changes>,
}

impl<'a> Pass<'a> {
    /// Runs the first `depth` layers and records `ats`.
    pub fn run(
        model: &'a Model,
        prompts: &'a [(Tokens, Vec<Patch>)],
        writes: &'a [Vec<Write>],
        ats: &[At],
        depth: usize,
        control: &'a Control,
    ) -> Result<Pass<'a>> {
        let walker = |((tokens, _), writes): (&'a (Tokens, Vec<Patch>), &'a Vec<Write>)| Walker {
            ids: tokens.ids(),
            first: 0,
            past: 0,
            entry: 0,
            tail: 0,
            writes,
        };
        let walkers: Vec<Walker> = prompts.iter().zip(writes).map(walker).collect();
        let keep = ats.iter().copied().collect();
        let walk = Walk { model, control, past: Past::default(), from: None, depth, keep, keep_kv: false };
        let end = walk.run(&walkers, |_| {})?;
        Ok(Pass { model, control, prompts, writes, end, changes: Vec::new() })
    }

    /// What was recorded, prompt by prompt.
    pub fn records(&mut self) -> Result<Vec<BTreeMap<At, Tensor>>> {
        self.end.records()
    }

    /// The rows of all prompts after the last layer that was gone through, packed in their order.
    pub fn rows(&self) -> Tensor {
        self.end.x.clone()
    }

    /// What every prompt's logits are made of, and what patches of the logits made of them. `first` is the place of
    /// the first prompt in its call.
    pub fn logits(&mut self, last_read: &LastRead, first: usize) -> Result<Vec<Logits>> {
        let normed = self.end.normed()?;
        let mut all = Vec::new();
        for (segment, writes) in self.writes.iter().enumerate() {
            let own = own_rows(&normed, &self.end.batch.rows_of(segment))?;
            let mut logits = Logits::new(own, last_read.clone(), first + segment);
            let writes = writes.iter().enumerate();
            let placed: Vec<PackedWrite> = writes
                .filter(|(_, write)| write.selection.at.point == Point::Logits)
                .map(|(index, write)| PackedWrite {
                    write: Cow::Borrowed(write),
                    entry: (segment, index),
                    segment,
                    start: 0,
                    first: 0,
                })
                .collect();
            if !placed.is_empty() {
                self.changes.push(logits.patch(&self.model.transformer, &placed, self.control)?);
            }
            all.push(logits);
        }
        Ok(all)
    }

    /// What each prompt's patches did.
    ///
    /// # Errors
    /// A patch that did nothing, with the place of its prompt.
    pub fn ledgers(&self) -> std::result::Result<Vec<Vec<LedgerEntry>>, (usize, RunError)> {
        let mut ledgers: Vec<Ledger> = self.prompts.iter().map(|(_, patches)| Ledger::new(patches)).collect();
        let changes: Result<Vec<_>> = self.end.changes().and_then(|mut changes| {
            changes.extend(apply::read(&self.changes)?);
            Ok(changes)
        });
        for ((prompt, write), change) in changes.map_err(|error| (0, error))? {
            ledgers[prompt].note(self.writes[prompt][write].index, change);
        }
        let ledgers = ledgers.into_iter().enumerate();
        ledgers
            .map(|(prompt, ledger)| match ledger.refuse_idle() {
                Ok(()) => Ok(ledger.into_entries()),
                Err(error) => Err((prompt, error)),
            })
            .collect()
    }
}
