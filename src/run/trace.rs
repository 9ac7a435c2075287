//! A traced run: its tokens, its patches, its logits, and any activation on request.

use super::apply::Placed;
use super::control::Control;
use super::error::{Result, RunError};
use super::patch::{self, Patch, Write};
use super::recorder::Recorder;
use super::select::Selection;
use super::site::Site;
use super::tokens::Tokens;
use crate::model::{At, Batch, Model, ModelError, Point};
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What one patch did.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerEntry {
    pub patch: String,
    pub fired: usize,
    pub max_change: f32,
}

/// What a run recorded. A site that was not asked for at first is recorded when it is read, by running the same
/// prompt with the same patches again.
pub struct Trace {
    model: Arc<Model>,
    control: Control,
    tokens: Tokens,
    patches: Vec<Patch>,
    record: Mutex<BTreeMap<At, Tensor>>,
    /// `[pos, d_vocab]`
    logits: Tensor,
    ledger: Vec<LedgerEntry>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trace({} tokens, {} sites)", self.tokens.len(), self.sites().len())
    }
}

impl Trace {
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub fn patches(&self) -> &[Patch] {
        &self.patches
    }

    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// Logits at the last position, `[d_vocab]`, float32.
    pub fn last(&self) -> Result<Tensor> {
        Ok(self.logits.get(self.tokens.len() - 1)?.to_dtype(DType::F32)?)
    }

    pub fn ledger(&self) -> &[LedgerEntry] {
        &self.ledger
    }

    /// What is recorded so far, in the order of the pass.
    pub fn sites(&self) -> Vec<Site> {
        let mut ats: Vec<At> = self.record().keys().copied().collect();
        ats.sort_by_key(|at| (at.layer, at.point));
        ats.into_iter().map(|at| Site::new(at.point, at.layer)).collect()
    }

    /// The activation at `site`, in the site's shape.
    pub fn read(&self, site: &Site) -> Result<Tensor> {
        let selection = Selection::new(site, self.model.config(), &self.tokens)?;
        selection.read(&self.whole(site.at)?)
    }

    /// The whole activation: `[pos, width]`, or `[head, query, key]`.
    pub fn whole(&self, at: At) -> Result<Tensor> {
        if at.point == Point::Logits {
            return Ok(self.logits.clone());
        }
        if let Some(found) = self.record().get(&at) {
            return Ok(found.clone());
        }
        let prompts = [(self.tokens.clone(), self.patches.clone())];
        let again = run(&self.model, &prompts, &[at], Checks::Again, &self.control)?;
        let mut record = self.record();
        for trace in again {
            record.append(&mut trace.record());
        }
        record
            .get(&at)
            .cloned()
            .ok_or_else(|| ModelError::Tensor("a pass did not reach a site".into()).into())
    }

    fn record(&self) -> MutexGuard<'_, BTreeMap<At, Tensor>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records several traces' sites in one packed pass where they are missing.
pub fn record_together(traces: &[Arc<Trace>], ats: &BTreeSet<At>) -> Result<()> {
    for trace in traces {
        let missing: Vec<At> = {
            let record = trace.record();
            ats.iter().copied().filter(|at| at.point != Point::Logits && !record.contains_key(at)).collect()
        };
        if missing.is_empty() {
            continue;
        }
        let prompts = [(trace.tokens.clone(), trace.patches.clone())];
        for again in run(&trace.model, &prompts, &missing, Checks::Again, &trace.control)? {
            trace.record().append(&mut again.record());
        }
    }
    Ok(())
}

/// Whether a patch that changed nothing is an error: not when a run is repeated to record more of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    First,
    Again,
}

/// Runs prompts, each with its patches, in one packed pass, and records `sites` (all positions and heads).
///
/// # Errors
/// Everything about sites, patches and positions is checked before computing; after it, a patch that changed
/// nothing and was not marked `allow_noop`.
pub fn trace(
    model: &Arc<Model>,
    prompts: &[(Tokens, Vec<Patch>)],
    sites: &[Site],
    control: &Control,
) -> Result<Vec<Trace>> {
    for site in sites {
        site.validate(model.config())?;
    }
    let ats: Vec<At> = sites.iter().map(|site| site.at).collect();
    run(model, prompts, &ats, Checks::First, control)
}

fn run(
    model: &Arc<Model>,
    prompts: &[(Tokens, Vec<Patch>)],
    ats: &[At],
    checks: Checks,
    control: &Control,
) -> Result<Vec<Trace>> {
    if prompts.is_empty() || prompts.iter().any(|(tokens, _)| tokens.is_empty()) {
        return Err(ModelError::EmptyPrompt.into());
    }
    let config = model.config();
    let mut writes: Vec<Vec<Write>> = Vec::with_capacity(prompts.len());
    for (tokens, patches) in prompts {
        let prompt_patches: Vec<Patch> = patches.iter().filter(|p| p.steps.in_prompt()).cloned().collect();
        let resolved =
            prompt_patches.iter().map(|p| p.resolve(config, tokens)).collect::<Result<Vec<_>>>()?;
        writes.push(patch::order(&prompt_patches, resolved)?);
    }
    let batch = Batch::prompts(&prompts.iter().map(|(tokens, _)| tokens.len()).collect::<Vec<_>>());
    let keep: BTreeSet<At> = ats.iter().copied().collect();
    let mut recorder = Recorder::new(control, keep);
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
    for layer in 0..config.n_layers {
        (x, _) = transformer.layer(layer, x, &prepared, &[], &mut recorder)?;
    }
    let normed = transformer.final_norm(&x, &mut recorder)?;
    let logits = transformer.unembed(&normed, &mut recorder)?;

    let ledgers = ledgers(prompts.len(), &entries, &recorder, checks)?;
    let batch = &prepared.batch;
    prompts
        .iter()
        .zip(ledgers)
        .enumerate()
        .map(|(segment, ((tokens, patches), ledger))| {
            let rows = batch.rows_of(segment);
            Ok(Trace {
                model: model.clone(),
                control: control.clone(),
                tokens: tokens.clone(),
                patches: patches.clone(),
                record: Mutex::new(record_of(&recorder, segment, &rows)?),
                logits: own_rows(&logits, &rows)?,
                ledger,
            })
        })
        .collect()
}

/// The rows of one prompt; a copy unless they are all, so that a kept slice does not keep the whole batch.
fn own_rows(x: &Tensor, rows: &Range<usize>) -> Result<Tensor> {
    if rows.len() == x.dim(0)? { Ok(x.clone()) } else { Ok(x.narrow(0, rows.start, rows.len())?.copy()?) }
}

fn record_of(recorder: &Recorder, segment: usize, rows: &Range<usize>) -> Result<BTreeMap<At, Tensor>> {
    let mut record = BTreeMap::new();
    for (at, x) in &recorder.kept {
        record.insert(*at, own_rows(x, rows)?);
    }
    for ((at, of), x) in &recorder.kept_scores {
        if *of == segment {
            record.insert(*at, x.clone());
        }
    }
    Ok(record)
}

fn ledgers(
    prompts: usize,
    entries: &[(usize, &Write)],
    recorder: &Recorder,
    checks: Checks,
) -> Result<Vec<Vec<LedgerEntry>>> {
    let mut ledgers = vec![Vec::new(); prompts];
    for (entry, (segment, write)) in entries.iter().enumerate() {
        let changes = recorder.changes.iter().filter(|(of, _)| *of == entry);
        let mut max_change = 0f32;
        let mut fired = 0;
        for (_, change) in changes {
            max_change = max_change.max(change.to_dtype(DType::F32)?.to_scalar::<f32>()?);
            fired += 1;
        }
        let site = write.selection.site.clone();
        if max_change == 0.0 && !write.allow_noop && checks == Checks::First {
            return Err(RunError::Noop { site });
        }
        ledgers[*segment].push(LedgerEntry { patch: site, fired, max_change });
    }
    Ok(ledgers)
}
