//! A traced run: its tokens, its patches, its logits, and any activation on request.

use super::apply::{Placed, larger};
use super::control::Control;
use super::error::{Result, RunError};
use super::memory::PASS_ROWS;
use super::patch::{self, Patch, Write};
use super::recorder::Recorder;
use super::select::Selection;
use super::site::Site;
use super::tokens::Tokens;
use crate::count::count;
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
        write!(f, "Trace({}, {})", count(self.tokens.len(), "token"), count(self.sites().len(), "site"))
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
        repeat(&[self], &[at])?;
        let record = self.record();
        record
            .get(&at)
            .cloned()
            .ok_or_else(|| ModelError::Tensor("a pass did not reach a site".into()).into())
    }

    /// Which of `ats` it has not recorded.
    pub fn missing(&self, ats: &BTreeSet<At>) -> Vec<At> {
        let record = self.record();
        ats.iter().copied().filter(|at| at.point != Point::Logits && !record.contains_key(at)).collect()
    }

    fn record(&self) -> MutexGuard<'_, BTreeMap<At, Tensor>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records sites of traces where they are missing. Traces of one model that miss the same sites are run packed.
pub fn record(wanted: &[(Arc<Trace>, BTreeSet<At>)]) -> Result<()> {
    let mut groups: BTreeMap<(*const Model, Vec<At>), Vec<&Trace>> = BTreeMap::new();
    for (trace, ats) in wanted {
        let missing = trace.missing(ats);
        if !missing.is_empty() {
            groups.entry((Arc::as_ptr(&trace.model), missing)).or_default().push(trace);
        }
    }
    for ((_, missing), mut traces) in groups {
        while !traces.is_empty() {
            let mut rows = 0;
            let fits = |trace: &&&Trace| {
                rows += trace.tokens.len();
                rows <= PASS_ROWS
            };
            let together = traces.iter().take_while(fits).count().max(1);
            let rest = traces.split_off(together);
            repeat(&traces, &missing)?;
            traces = rest;
        }
    }
    Ok(())
}

/// The layers that a pass needs to reach `ats`.
pub fn depth(ats: &[At], n_layers: usize) -> usize {
    let depth = |at: &At| match at.point {
        Point::Embed | Point::PosEmbed => 0,
        Point::LnFinal | Point::Logits => n_layers,
        _ => at.layer + 1,
    };
    ats.iter().map(depth).max().unwrap_or(0)
}

/// Runs traces of one model again, as far as it takes to record `ats`.
fn repeat(traces: &[&Trace], ats: &[At]) -> Result<()> {
    let Some(Trace { model, control, .. }) = traces.first() else { return Ok(()) };
    let prompts: Vec<(Tokens, Vec<Patch>)> =
        traces.iter().map(|trace| (trace.tokens.clone(), trace.patches.clone())).collect();
    let writes = resolve(model, &prompts)?;
    let pass = Pass::run(model, &prompts, &writes, ats, depth(ats, model.config().n_layers), control)?;
    for (segment, trace) in traces.iter().enumerate() {
        trace.record().append(&mut pass.record_of(segment)?);
    }
    Ok(())
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
    if prompts.is_empty() || prompts.iter().any(|(tokens, _)| tokens.is_empty()) {
        return Err(ModelError::EmptyPrompt.into());
    }
    for site in sites {
        site.validate(model.config())?;
    }
    // A trace reads no new token.
    let idle = |p: &&Patch| !p.steps.in_prompt() && !p.allow_noop;
    if let Some(patch) = prompts.iter().flat_map(|(_, patches)| patches).find(idle) {
        return Err(RunError::NeverFired { site: patch.site.to_string() });
    }
    let ats: Vec<At> = sites.iter().map(|site| site.at).collect();
    let writes = resolve(model, prompts)?;
    let mut pass = Pass::run(model, prompts, &writes, &ats, model.config().n_layers, control)?;
    let normed =
        pass.normed.take().ok_or_else(|| ModelError::Tensor("a pass did not reach its end".into()))?;
    let logits = model.transformer.unembed(&normed, &mut pass.recorder)?;
    let ledgers = pass.ledgers()?;
    let trace = |(segment, ((tokens, patches), ledger)): (usize, (&(Tokens, Vec<Patch>), _))| {
        Ok(Trace {
            model: model.clone(),
            control: control.clone(),
            tokens: tokens.clone(),
            patches: patches.clone(),
            record: Mutex::new(pass.record_of(segment)?),
            logits: own_rows(&logits, &pass.batch.rows_of(segment))?,
            ledger,
        })
    };
    prompts.iter().zip(ledgers).enumerate().map(trace).collect()
}

/// Every prompt's writes, in their canonical order.
fn resolve(model: &Model, prompts: &[(Tokens, Vec<Patch>)]) -> Result<Vec<Vec<Write>>> {
    let of_prompt = |(tokens, patches): &(Tokens, Vec<Patch>)| {
        let patches: Vec<Patch> = patches.iter().filter(|p| p.steps.in_prompt()).cloned().collect();
        let writes = patches.iter().map(|p| p.resolve(model.config(), tokens)).collect::<Result<_>>()?;
        patch::order(&patches, writes)
    };
    prompts.iter().map(of_prompt).collect()
}

/// A packed pass of whole prompts.
struct Pass<'a> {
    batch: Batch,
    recorder: Recorder<'a>,
    /// Segment and write of each entry of the ledgers.
    entries: Vec<(usize, &'a Write)>,
    /// `ln_final` of all rows, if the pass went so far, `[rows, d_model]`.
    normed: Option<Tensor>,
}

impl<'a> Pass<'a> {
    /// Runs the first `depth` layers, and the final norm after the last one.
    fn run(
        model: &Model,
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
        Ok(Pass { batch: prepared.batch, recorder, entries, normed })
    }

    fn record_of(&self, segment: usize) -> Result<BTreeMap<At, Tensor>> {
        let rows = self.batch.rows_of(segment);
        let mut record = BTreeMap::new();
        for (at, x) in &self.recorder.kept {
            record.insert(*at, own_rows(x, &rows)?);
        }
        for ((at, of), x) in &self.recorder.kept_scores {
            if *of == segment {
                record.insert(*at, x.clone());
            }
        }
        Ok(record)
    }

    /// What each prompt's patches did.
    fn ledgers(&self) -> Result<Vec<Vec<LedgerEntry>>> {
        let mut ledgers = vec![Vec::new(); self.batch.segments().len()];
        for (entry, (segment, write)) in self.entries.iter().enumerate() {
            let changes = self.recorder.changes.iter().filter(|(of, _)| *of == entry);
            let mut max_change = 0f32;
            let mut fired = 0;
            for (_, change) in changes {
                max_change = larger(max_change, change.to_dtype(DType::F32)?.to_scalar::<f32>()?);
                fired += 1;
            }
            let site = write.selection.site.clone();
            if max_change == 0.0 && !write.allow_noop {
                return Err(RunError::Noop { site });
            }
            ledgers[*segment].push(LedgerEntry { patch: site, fired, max_change });
        }
        Ok(ledgers)
    }
}

/// The rows of one prompt; a copy unless they are all, so that a kept slice does not keep the whole batch.
fn own_rows(x: &Tensor, rows: &Range<usize>) -> Result<Tensor> {
    if rows.len() == x.dim(0)? { Ok(x.clone()) } else { Ok(x.narrow(0, rows.start, rows.len())?.copy()?) }
}
