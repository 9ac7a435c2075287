//! A traced run: its tokens, its patches, its logits, and any activation on request. What it keeps is its own.

use super::again::{self, Wanted};
use super::ending::{Ending, State, Stopped};
use super::pass::{Pass, resolve};
use crate::count;
use crate::model::{At, Model, ModelError, Point, Stage};
use crate::run::asking::metric;
use crate::run::asking::patch::{self, Patch, Write};
use crate::run::asking::select::Selection;
use crate::run::asking::site::Site;
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::divide::{self, divided};
use crate::run::error::{Result, RunError};
use crate::run::memory;
use crate::run::walking::ledger::LedgerEntry;
use crate::run::walking::logits::LastRead;
use crate::run::walking::near::Near;
use candle_core::{DType, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LOGITS: At = At { point: Point::Logits, layer: 0 };

/// A token that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NextToken {
    pub id: u32,
    pub prob: f64,
    pub logit: f32,
}

/// What a run recorded. A site that was not asked for at first is recorded when it is read, by running the same
/// prompt with the same patches again: once for all layers of its point.
pub struct Trace {
    model: Arc<Model>,
    tokens: Tokens,
    patches: Vec<Patch>,
    record: Mutex<BTreeMap<At, Tensor>>,
    ending: Ending,
    ledger: Vec<LedgerEntry>,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Trace({}, {})",
            count::count(self.tokens.len(), "token"),
            count::count(self.sites().len(), "site")
        )
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

    /// Logits at every position, `[pos, d_vocab]`, computed now.
    pub fn logits(&self, control: &Control) -> Result<Tensor> {
        self.ending.logits()?.all(&self.model.transformer, control)
    }

    /// Logits at some positions, `[rows, d_vocab]`, computed now.
    pub fn logits_at(&self, rows: Range<usize>, control: &Control) -> Result<Tensor> {
        self.ending.logits()?.rows(&self.model.transformer, control, rows)
    }

    /// Logits at the last position, `[d_vocab]`, float32.
    pub fn last(&self) -> Result<Tensor> {
        Ok(self.ending.logits()?.last(&self.model.transformer)?.get(0)?.to_dtype(DType::F32)?)
    }

    /// The `k` most probable next tokens, the most probable first; of equal ones that with the lower id.
    ///
    /// # Errors
    /// A logit is NaN, so that there is no order.
    pub fn top(&self, k: usize) -> Result<Vec<NextToken>> {
        let logits = self.last()?.to_vec1::<f32>()?;
        let logprobs = metric::log_softmax(&logits);
        if logprobs.iter().any(|logprob| logprob.is_nan()) {
            return Err(RunError::NanLogits { reader: "top" });
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        let next = |id: usize| NextToken { id: id as u32, prob: logprobs[id].exp(), logit: logits[id] };
        Ok(order.into_iter().take(k).map(next).collect())
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

    /// The activation at `site`, in the site's shape. One that is not recorded is recorded now, and
    /// [`Control::note`] hears of it.
    pub fn read(&self, site: &Site, control: &Control) -> Result<Tensor> {
        // A site that does not exist is refused before anything runs.
        Selection::new(site, &self.model, &self.tokens)?;
        let lacked = again::record(&vec![(self, BTreeSet::from([site.at]))], control)?;
        control.note_unrecorded(lacked);
        self.recorded(site, control)
    }

    /// The activation at a site that is recorded, in the site's shape.
    pub(crate) fn recorded(&self, site: &Site, control: &Control) -> Result<Tensor> {
        Selection::new(site, &self.model, &self.tokens)?.read(&self.whole(site, control)?)
    }

    /// The same as what a patch brings to `selection`, packed.
    pub(crate) fn packed(
        &self,
        site: &Site,
        selection: &Selection,
        keys: usize,
        near: &Near,
    ) -> Result<Tensor> {
        let (own, control) = (Selection::new(site, &self.model, &self.tokens)?, Control::default());
        let picked = own.pick(&near.of(self.whole(site, &control)?))?;
        match picked.dims() == [selection.rows.len(), selection.packed_width()] {
            true => Ok(picked),
            false => selection.pack(&own.shaped(&picked)?, keys),
        }
    }

    /// The activation of all rows and heads at a site that is recorded.
    fn whole(&self, site: &Site, control: &Control) -> Result<Tensor> {
        match self.held(site.at) {
            Some(whole) => Ok(whole),
            None if site.at.point == Point::Logits => self.logits(control),
            None if site.at.point == Point::LnFinal => Ok(self.ending.logits()?.normed().clone()),
            None => Err(ModelError::Tensor(format!("`{site}` was not recorded")).into()),
        }
    }

    /// What is recorded at `at`, if it is.
    pub(crate) fn held(&self, at: At) -> Option<Tensor> {
        self.record().get(&at).cloned()
    }

    /// Which of `ats` it can only tell by running again.
    pub fn missing(&self, ats: &BTreeSet<At>) -> Vec<At> {
        let record = self.record();
        let known = |at: &At| at.point.stage() == Stage::Ending || record.contains_key(at);
        ats.iter().copied().filter(|at| !known(at)).collect()
    }

    pub(super) fn add(&self, mut record: BTreeMap<At, Tensor>) {
        self.record().append(&mut record);
    }

    fn record(&self) -> MutexGuard<'_, BTreeMap<At, Tensor>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs prompts, each with its patches, and records `sites` (all positions and heads): packed, in as few passes as fit
/// the memory budget.
///
/// # Errors
/// Everything about sites, patches and positions is checked before computing; after a pass, a patch that changed
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
        site.check(model)?;
    }
    for (index, (tokens, patches)) in prompts.iter().enumerate() {
        control.check()?;
        check(model, tokens, patches).map_err(|error| error.in_prompt(index, prompts.len()))?;
    }
    control.note_unrecorded(again::record(&donors(prompts), control)?);
    let ats: BTreeSet<At> = sites.iter().map(|site| site.at).collect();
    let ats: Vec<At> = ats.into_iter().collect();
    let passes = memory::passes(model, prompts, &ats, memory::budget(control, model));
    let (count, last_read) = (prompts.len(), LastRead::default());
    let mut traces = Vec::with_capacity(count);
    let asks = divide::ask(prompts.iter().flat_map(|(_, patches)| patches));
    let copies = divide::near(model, asks, &donors(prompts))?;
    let work = |near: &Near, pass: usize| {
        run_pass(model, near, prompts, passes[pass].clone(), &ats, &last_read, control)
    };
    let take = |_, some: Vec<Trace>| {
        traces.extend(some);
        if traces.len() < count {
            control.report(traces.len(), count, "prompts");
        }
        Ok(())
    };
    divided(copies, passes.len(), Ok, work, take)?;
    Ok(traces)
}

/// Some of the prompts, in one pass by one copy of the weights. What they leave lies beside the first copy.
fn run_pass(
    model: &Arc<Model>,
    near: &Near,
    prompts: &[(Tokens, Vec<Patch>)],
    range: Range<usize>,
    ats: &[At],
    last_read: &LastRead,
    control: &Control,
) -> Result<Vec<Trace>> {
    control.check()?;
    let (count, first) = (prompts.len(), range.start);
    let prompts = &prompts[range];
    let kept = prompts.iter().map(|(tokens, _)| memory::recorded(model, tokens.len(), ats));
    crate::memory::reserve(kept.sum())?;
    let writes = resolve(model, prompts, near)?;
    let depth = depth(ats, &writes, model.config().n_layers);
    let mut pass = Pass::run(near, prompts, &writes, ats, depth, true, control)?;
    let endings: Vec<Ending> = if depth == model.config().n_layers {
        pass.logits(last_read, first)?.into_iter().map(Ending::there).collect()
    } else {
        let stopped = Arc::new(Stopped {
            model: model.clone(),
            prompts: prompts.iter().map(|(tokens, _)| tokens.clone()).collect(),
            depth,
            first,
            last_read: last_read.clone(),
            state: Mutex::new(State::Rows(pass.rows()?.clone())),
            cache: control.cache.clone(),
        });
        (0..prompts.len()).map(|prompt| Ending::later(stopped.clone(), prompt)).collect()
    };
    let ledgers = pass.ledgers().map_err(|(index, error)| error.in_prompt(first + index, count))?;
    let records = pass.records();
    let mut traces = Vec::with_capacity(prompts.len());
    for ((((tokens, patches), ledger), record), ending) in
        prompts.iter().zip(ledgers).zip(records).zip(endings)
    {
        let (tokens, patches, record) = (tokens.clone(), patches.clone(), Mutex::new(record));
        let trace = Trace { model: model.clone(), tokens, patches, record, ending, ledger };
        if ats.contains(&LOGITS) {
            trace.add(BTreeMap::from([(LOGITS, trace.logits(control)?)]));
        }
        traces.push(trace);
    }
    Ok(traces)
}

/// The layers that a pass goes through at first: those of its patches and of the sites that were asked for, or all where
/// none was, since then it is the logits that are wanted.
fn depth(ats: &[At], writes: &[Vec<Write>], n_layers: usize) -> usize {
    if ats.is_empty() {
        return n_layers;
    }
    let patched = writes.iter().flatten().map(|write| write.selection.at.depth(n_layers));
    again::depth(ats, n_layers).max(patched.max().unwrap_or(0))
}

/// All that can be said of a prompt and its patches before anything is computed.
fn check(model: &Model, tokens: &Tokens, patches: &[Patch]) -> Result<()> {
    let (len, n_ctx) = (tokens.len(), model.config().n_ctx);
    if len > n_ctx {
        return Err(ModelError::TooLong { len, n_ctx }.into());
    }
    // A trace reads no new token.
    if let Some(patch) = patches.iter().find(|p| !p.steps.in_prompt() && !p.allow_noop) {
        return Err(RunError::NeverFired { site: patch.site.to_string() });
    }
    let patches: Vec<Patch> = patches.iter().filter(|p| p.steps.in_prompt()).cloned().collect();
    let selections = patches.iter().map(|p| p.check(model, tokens)).collect::<Result<Vec<_>>>()?;
    patch::check_overlaps(&patches, selections.iter())
}

/// Which runs the patches read, and where.
pub(super) fn donors(prompts: &[(Tokens, Vec<Patch>)]) -> Wanted<'_> {
    let patches = prompts.iter().flat_map(|(_, patches)| patches).filter(|patch| patch.steps.in_prompt());
    again::wanted(patches.flat_map(|patch| patch.edit.donors().iter().map(|donor| (&**donor, patch.site.at))))
}
