//! A packed pass of whole prompts, each with its patches.

use crate::model::{At, Model, ModelError, Point, Transformer};
use crate::run::asking::patch::{self, Patch, Write};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::{Result, RunError};
use crate::run::keeping::{self, Keep, Named, key};
use crate::run::walking::apply::{self, Changes, PackedWrite};
use crate::run::walking::ledger::{Ledger, LedgerEntry};
use crate::run::walking::logits::{LastRead, Logits};
use crate::run::walking::near::Near;
use crate::run::walking::rows::{in_turn, own_rows_of_all};
use crate::run::walking::walk::{Past, Walk, Walker};
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::Hash;

/// Every prompt's writes, in their canonical order.
pub fn resolve(model: &Model, prompts: &[(Tokens, Vec<Patch>)], near: &Near) -> Result<Vec<Vec<Write>>> {
    let of_prompt = |(tokens, patches): &(Tokens, Vec<Patch>)| {
        patch::resolve(patches, |patch| patch.steps.in_prompt(), |patch| patch.resolve(model, tokens, near))
    };
    prompts.iter().map(of_prompt).collect()
}

/// What a pass leaves.
#[derive(Default)]
pub struct Left {
    /// What was recorded, prompt by prompt.
    pub records: Vec<BTreeMap<At, Tensor>>,
    /// Where somebody goes on: the rows of all prompts after the last layer that was gone through, packed in their order;
    /// after the model's last one, behind the final norm.
    pub rows: Option<Tensor>,
    /// Whose and which each write was, and its `max |Δ|`.
    pub changes: Vec<((usize, usize), f32)>,
}

/// A prompt as its tokens, and what changes in its pass.
pub type Prompt<'a> = (&'a [u32], &'a [Write]);

/// Goes through the first `depth` layers with `prompts` and records `ats`; `goes_on` says whether somebody goes on from
/// there. One copy of the weights does it, and what it leaves comes to lie beside another.
pub fn pass(
    model: &Model,
    [copy, beside]: [&Transformer; 2],
    prompts: &[Prompt],
    ats: &[At],
    depth: usize,
    goes_on: bool,
    control: &Control,
) -> Result<Left> {
    keeping::once(control, key_of(model, prompts, ats, depth, goes_on, control), || {
        let walker = |&(ids, writes)| Walker { ids, first: 0, past: 0, entry: 0, tail: 0, writes };
        let walkers: Vec<Walker> = prompts.iter().map(walker).collect();
        let keep = ats.iter().copied().collect();
        let (transformer, past) = (copy, Past::default());
        let walk = Walk { transformer, control, past, from: None, depth, keep, keep_kv: false };
        let mut end = walk.run(&walkers, |_| {})?.beside(beside)?;
        let rows = match goes_on {
            true if depth == model.config().n_layers => Some(end.normed()?),
            true => Some(end.x.clone()),
            false => None,
        };
        Ok(Left { records: end.records()?, rows, changes: end.changes()? })
    })
}

fn key_of(
    model: &Model,
    prompts: &[Prompt],
    ats: &[At],
    depth: usize,
    goes_on: bool,
    control: &Control,
) -> Option<crate::cache::Key> {
    let mut key = key::of(control, model, "pass")?;
    (ats, depth, goes_on, prompts.len()).hash(&mut key);
    for (ids, writes) in prompts {
        ids.hash(&mut key);
        key::writes(&mut key, writes)?;
    }
    Some(key)
}

/// The name under which `rows` are kept.
const ROWS: &str = "rows";
/// Those of the two halves of `changes`.
const WRITES: &str = "writes";
const CHANGES: &str = "changes";

impl Keep for Left {
    fn tensors(&self) -> Result<Named> {
        let mut tensors = Named::new();
        for (prompt, record) in self.records.iter().enumerate() {
            for (at, x) in record {
                tensors.insert(format!("{prompt} {} {}", at.point.name(), at.layer), x.clone());
            }
        }
        tensors.extend(self.rows.iter().map(|rows| (ROWS.to_string(), rows.clone())));
        if !self.changes.is_empty() {
            let writes = self.changes.iter().flat_map(|((of, write), _)| [*of as u32, *write as u32]);
            let changes = self.changes.iter().map(|(_, change)| *change);
            tensors.insert(WRITES.into(), Tensor::from_iter(writes, &Device::Cpu)?);
            tensors.insert(CHANGES.into(), Tensor::from_iter(changes, &Device::Cpu)?);
        }
        Ok(tensors)
    }

    fn of(mut tensors: Named) -> Option<Left> {
        let rows = tensors.remove(ROWS);
        let mut changes = Vec::new();
        if let (Some(writes), Some(found)) = (tensors.remove(WRITES), tensors.remove(CHANGES)) {
            let writes = writes.to_vec1::<u32>().ok()?;
            let writes = writes.chunks(2).map(|of| (of[0] as usize, of[of.len() - 1] as usize));
            changes = writes.zip(found.to_vec1::<f32>().ok()?).collect();
        }
        let (mut records, most): (Vec<BTreeMap<At, Tensor>>, _) = (Vec::new(), tensors.len());
        for (name, x) in tensors {
            let mut parts = name.split(' ');
            let (prompt, point, layer) = (parts.next()?, parts.next()?, parts.next()?);
            let point = Point::ALL.into_iter().find(|known| known.name() == point)?;
            let (prompt, layer): (usize, usize) = (prompt.parse().ok()?, layer.parse().ok()?);
            // Each has some.
            if prompt >= most {
                return None;
            }
            if records.len() <= prompt {
                records.resize_with(prompt + 1, BTreeMap::new);
            }
            records[prompt].insert(At { point, layer }, x);
        }
        Some(Left { records, rows, changes })
    }
}

/// A pass of prompts with patches, and what becomes of it.
pub struct Pass<'a> {
    model: &'a Model,
    control: &'a Control,
    prompts: &'a [(Tokens, Vec<Patch>)],
    writes: &'a [Vec<Write>],
    left: Left,
    /// What patches of the logits did.
    changes: Vec<Changes>,
}

impl<'a> Pass<'a> {
    /// Runs the first `depth` layers and records `ats`; `goes_on` says whether logits are read at some time.
    pub fn run(
        near: &Near<'a>,
        prompts: &'a [(Tokens, Vec<Patch>)],
        writes: &'a [Vec<Write>],
        ats: &[At],
        depth: usize,
        goes_on: bool,
        control: &'a Control,
    ) -> Result<Pass<'a>> {
        let of_prompts: Vec<Prompt> =
            prompts.iter().zip(writes).map(|((tokens, _), writes)| (tokens.ids(), &writes[..])).collect();
        let model = near.model;
        let copies = [near.transformer, &model.transformer];
        let mut left = pass(model, copies, &of_prompts, ats, depth, goes_on, control)?;
        // Of prompts at the end of which nothing was recorded there is none.
        left.records.resize_with(prompts.len(), BTreeMap::new);
        Ok(Pass { model, control, prompts, writes, left, changes: Vec::new() })
    }

    /// What was recorded, prompt by prompt.
    pub fn records(&mut self) -> Vec<BTreeMap<At, Tensor>> {
        std::mem::take(&mut self.left.records)
    }

    /// The rows of all prompts after the last layer that was gone through, packed in their order; after the model's last
    /// one, behind the final norm.
    pub fn rows(&self) -> Result<&Tensor> {
        let lost = || ModelError::Tensor("a pass has no end".into());
        Ok(self.left.rows.as_ref().ok_or_else(lost)?)
    }

    /// What every prompt's logits are made of, and what patches of the logits made of them. `first` is the place of
    /// the first prompt in its call.
    pub fn logits(&mut self, last_read: &LastRead, first: usize) -> Result<Vec<Logits>> {
        let normed = self.rows()?.clone();
        let mut all = Vec::new();
        let own = own_rows_of_all(&normed, &in_turn(self.prompts.iter().map(|(tokens, _)| tokens.len())))?;
        for ((segment, writes), own) in self.writes.iter().enumerate().zip(own) {
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
        let changes = apply::read(&self.changes).map_err(|error| (0, error))?;
        for &((prompt, write), change) in self.left.changes.iter().chain(&changes) {
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
