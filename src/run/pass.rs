//! A packed pass of whole prompts, each with its patches.

use super::apply::{Placed, larger};
use super::control::Control;
use super::error::{Result, RunError};
use super::logits::{LastRead, Logits};
use super::patch::{self, Patch, Write};
use super::recorder::Recorder;
use super::rows::own_rows;
use super::tokens::Tokens;
use super::trace::LedgerEntry;
use crate::model::{At, Batch, Model, ModelError, Point};
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Every prompt's writes, in their canonical order.
pub fn resolve(model: &Model, prompts: &[(Tokens, Vec<Patch>)]) -> Result<Vec<Vec<Write>>> {
    let of_prompt = |(tokens, patches): &(Tokens, Vec<Patch>)| {
        let patches: Vec<Patch> = patches.iter().filter(|p| p.steps.in_prompt()).cloned().collect();
        let writes = patches.iter().map(|p| p.resolve(model.config(), tokens)).collect::<Result<_>>()?;
        patch::order(&patches, writes)
    };
    prompts.iter().map(of_prompt).collect()
}

/// What a pass left.
pub struct Pass<'a> {
    model: &'a Model,
    control: &'a Control,
    batch: Batch,
    recorder: Recorder<'a>,
    /// Segment and write of each entry of the ledgers.
    entries: Vec<(usize, &'a Write)>,
    /// `ln_final` of all rows, if the pass went so far, `[rows, d_model]`.
    normed: Option<Tensor>,
}

impl<'a> Pass<'a> {
    /// Runs the first `depth` layers, and the final norm after the last one; logits are left to [`logits`](Self::logits).
    pub fn run(
        model: &'a Model,
        prompts: &[(Tokens, Vec<Patch>)],
        writes: &'a [Vec<Write>],
        ats: &[At],
        depth: usize,
        control: &'a Control,
    ) -> Result<Pass<'a>> {
        let batch = Batch::prompts(&prompts.iter().map(|(tokens, _)| tokens.len()).collect::<Vec<_>>());
        let mut recorder = Recorder::new(control, ats.iter().copied().collect());
        let mut entries: Vec<(usize, &Write)> = Vec::new();
        for (segment, writes) in writes.iter().enumerate() {
            let start = batch.rows_of(segment).start;
            for write in writes {
                recorder.write(Placed { write, entry: entries.len(), segment, start, first: 0 });
                entries.push((segment, write));
            }
        }
        let ids: Vec<u32> = prompts.iter().flat_map(|(tokens, _)| tokens.ids().iter().copied()).collect();
        let transformer = &model.transformer;
        let prepared = transformer.prepare(batch)?;
        let mut x = transformer.embed(&ids, &prepared, &mut recorder)?;
        for layer in 0..depth {
            (x, _) = transformer.layer(layer, x, &prepared, &[], &mut recorder)?;
        }
        let all = depth == model.config().n_layers;
        let normed = if all { Some(transformer.final_norm(&x, &mut recorder)?) } else { None };
        Ok(Pass { model, control, batch: prepared.batch, recorder, entries, normed })
    }

    /// What was recorded, prompt by prompt. Site by site, so that only one at a time lies there twice.
    pub fn records(&mut self) -> Result<Vec<BTreeMap<At, Tensor>>> {
        let mut records = vec![BTreeMap::new(); self.batch.segments().len()];
        for (at, x) in std::mem::take(&mut self.recorder.kept) {
            for (segment, record) in records.iter_mut().enumerate() {
                record.insert(at, own_rows(&x, &self.batch.rows_of(segment))?);
            }
        }
        for ((at, segment), x) in std::mem::take(&mut self.recorder.kept_scores) {
            records[segment].insert(at, x);
        }
        Ok(records)
    }

    /// What every prompt's logits are made of, and what patches of the logits made of them. `first` is the place of
    /// the first prompt in its call.
    pub fn logits(&mut self, last_read: &LastRead, first: usize) -> Result<Vec<Logits>> {
        let unfinished = || ModelError::Tensor("a pass did not reach its end".into());
        let normed = self.normed.take().ok_or_else(unfinished)?;
        let mut all = Vec::new();
        for segment in 0..self.batch.segments().len() {
            let own = own_rows(&normed, &self.batch.rows_of(segment))?;
            let mut logits = Logits::new(own, last_read.clone(), first + segment);
            let entries = self.entries.iter().enumerate();
            let here = entries
                .filter(|(_, (of, write))| *of == segment && write.selection.at.point == Point::Logits);
            let placed: Vec<Placed> = here
                .map(|(entry, (_, write))| Placed { write, entry, segment, start: 0, first: 0 })
                .collect();
            if !placed.is_empty() {
                let changes = logits.patch(&self.model.transformer, &placed, self.control)?;
                self.recorder.changes.extend(changes);
            }
            all.push(logits);
        }
        Ok(all)
    }

    /// What each prompt's patches did.
    ///
    /// # Errors
    /// A patch that changed nothing, with the segment of its prompt.
    pub fn ledgers(&self) -> std::result::Result<Vec<Vec<LedgerEntry>>, (usize, RunError)> {
        let mut changes: Vec<(usize, f32)> = vec![(0, 0.0); self.entries.len()];
        for (entry, change) in &self.recorder.changes {
            let change = change.to_dtype(DType::F32).and_then(|change| change.to_scalar::<f32>());
            let change = change.map_err(|error| (self.entries[*entry].0, error.into()))?;
            let (fired, max_change) = &mut changes[*entry];
            *fired += 1;
            *max_change = larger(*max_change, change);
        }
        let mut ledgers = vec![Vec::new(); self.batch.segments().len()];
        for ((segment, write), (fired, max_change)) in self.entries.iter().zip(changes) {
            let site = write.selection.site.clone();
            if max_change == 0.0 && !write.allow_noop {
                return Err((*segment, RunError::Noop { site }));
            }
            ledgers[*segment].push(LedgerEntry { patch: site, fired, max_change });
        }
        Ok(ledgers)
    }
}
