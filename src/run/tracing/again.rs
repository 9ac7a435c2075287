//! Recording what traces lack when somebody reads it: their prompts run again, packed, as far as it takes.

use super::pass::{Pass, resolve};
use super::trace::{Trace, donors};
use crate::model::{At, Model, Point};
use crate::run::asking::patch::Patch;
use crate::run::asking::site::Site;
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::divide::{self, divided};
use crate::run::error::Result;
use crate::run::memory;
use crate::run::walking::near::Near;
use candle_core::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Some traces, and what is read of each.
pub type Wanted<'a> = Vec<(&'a Trace, BTreeSet<At>)>;

/// What is read of each trace, in the order in which they are named first, so that the same script packs them the same
/// way.
pub fn wanted<'a>(reads: impl Iterator<Item = (&'a Trace, At)>) -> Wanted<'a> {
    let mut wanted: Wanted = Vec::new();
    let mut places: HashMap<*const Trace, usize> = HashMap::new();
    for (trace, at) in reads {
        let place = *places.entry(trace).or_insert(wanted.len());
        if place == wanted.len() {
            wanted.push((trace, BTreeSet::new()));
        }
        wanted[place].1.insert(at);
    }
    wanted
}

/// What traces have to record before `wanted` can be read, for those that lack something: every layer of its points,
/// since who reads one layer often reads the next, or only what is wanted where more would not fit the memory budget.
pub fn lacking<'a>(wanted: &Wanted<'a>, control: &Control) -> Vec<(&'a Trace, Vec<At>)> {
    let exact = wanted.iter().map(|(trace, ats)| (*trace, trace.missing(ats)));
    let exact: Vec<_> = exact.filter(|(_, ats)| !ats.is_empty()).collect();
    let Some((first, _)) = exact.first() else { return exact };
    let every_layer = |(trace, ats): &(&'a Trace, Vec<At>)| {
        let points: BTreeSet<Point> = ats.iter().map(|at| at.point).collect();
        let layers = |point: Point| if point.in_layer() { trace.model().config().n_layers } else { 1 };
        let ats =
            points.into_iter().flat_map(|point| (0..layers(point)).map(move |layer| At { point, layer }));
        (*trace, trace.missing(&ats.collect()))
    };
    let all: Vec<_> = exact.iter().map(every_layer).collect();
    let bytes = all.iter().map(|(trace, ats)| memory::recorded(trace.model(), trace.tokens().len(), ats));
    let fit = bytes.sum::<usize>() <= memory::budget(control, first.model());
    if fit { all } else { exact }
}

/// Records what is wanted, and says which points traces lacked. Traces of one model that lack the same sites are run
/// packed.
///
/// # Errors
/// A site that a trace's model does not have, before anything runs.
pub fn record(wanted: &Wanted, control: &Control) -> Result<BTreeSet<Point>> {
    for (trace, ats) in wanted {
        for at in ats {
            Site::new(at.point, at.layer).validate(trace.model().config())?;
        }
    }
    let mut points = BTreeSet::new();
    let mut groups: BTreeMap<(*const Model, Vec<At>), Vec<&Trace>> = BTreeMap::new();
    for (trace, missing) in lacking(wanted, control) {
        points.extend(missing.iter().map(|at| at.point));
        groups.entry((Arc::as_ptr(trace.model()), missing)).or_default().push(trace);
    }
    for ((_, missing), traces) in groups {
        let Some(model) = traces.first().map(|trace| trace.model()) else { continue };
        let prompts: Vec<(Tokens, Vec<Patch>)> =
            traces.iter().map(|trace| (trace.tokens().clone(), trace.patches().to_vec())).collect();
        let depth = depth(&missing, model.config().n_layers);
        let passes = memory::passes(model, &prompts, &missing, memory::budget(control, model));
        let work = |near: &Near, pass: usize| {
            control.check()?;
            let prompts = &prompts[passes[pass].clone()];
            let kept = prompts.iter().map(|(tokens, _)| memory::recorded(model, tokens.len(), &missing));
            crate::memory::reserve(kept.sum())?;
            let writes = resolve(model, prompts, near)?;
            Ok(Pass::run(near, prompts, &writes, &missing, depth, false, control)?.records())
        };
        let take = |pass: usize, records: Vec<BTreeMap<At, Tensor>>| {
            for (trace, record) in traces[passes[pass].clone()].iter().zip(records) {
                trace.add(record);
            }
            Ok(())
        };
        let asks = divide::ask(prompts.iter().flat_map(|(_, patches)| patches));
        divided(divide::near(model, asks, &donors(&prompts))?, passes.len(), Ok, work, take)?;
    }
    Ok(points)
}

/// The layers that a pass needs to reach `ats`.
pub fn depth(ats: &[At], n_layers: usize) -> usize {
    ats.iter().map(|at| at.depth(n_layers)).max().unwrap_or(0)
}
