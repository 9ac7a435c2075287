//! A patch: a site and what to do there. For a prompt it is first checked, by shapes alone, and then resolved, which
//! reads its values from what donors have recorded.

use super::select::Selection;
use super::site::Site;
use super::tokens::Tokens;
use crate::model::{At, Config, Model};
use crate::run::error::{Result, RunError};
use crate::run::tracing::trace::Trace;
use crate::run::walking::near::Near;
use candle_core::{DType, Tensor};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Where a patch's value comes from.
#[derive(Debug, Clone)]
pub enum Value {
    Tensor(Tensor),
    /// Read at the patch's own site, in the other run.
    Trace(Arc<Trace>),
    /// The mean over what these runs have there.
    Mean(Vec<Arc<Trace>>),
}

impl Value {
    /// The runs that it is read from.
    pub fn donors(&self) -> &[Arc<Trace>] {
        match self {
            Value::Tensor(_) => &[],
            Value::Trace(trace) => std::slice::from_ref(trace),
            Value::Mean(traces) => traces,
        }
    }
}

/// A script's closure: the selected values in their script shape, to new values of the same shape.
pub type EditFn = Arc<dyn Fn(Tensor) -> std::result::Result<Tensor, String> + Send + Sync>;

/// What a patch does to the values at its site. `V` is a [`Value`] until it is resolved, and then what was read, packed as
/// the selection's rows.
#[derive(Clone)]
pub enum Edit<V = Value> {
    Set(V),
    Add(V),
    Scale(f64),
    /// `(1 - a) x + a v`
    Lerp(V, f64),
    Zero,
    /// `x - (x · r) r` with `r` the unit vector along the given direction, which has length 1 once it is resolved.
    ProjectOut(Tensor),
    /// A map of one row to another, which the engine may call with any rows together.
    Each(RowMap),
    Func(EditFn),
}

/// `[rows, width]` to the same shape, in float32 on the processor.
pub type RowFn = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// A function of one row of numbers: what it makes of a row does not depend on the others beside it.
#[derive(Clone)]
pub struct RowMap {
    pub name: &'static str,
    /// Numbers a row.
    pub width: usize,
    pub map: RowFn,
}

/// Which rows of a generation a patch acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    Prompt,
    /// Every new token's own row.
    Generated,
    All,
    /// New tokens `from..to`, counted from 0.
    Range(usize, usize),
}

impl Steps {
    pub fn in_prompt(self) -> bool {
        matches!(self, Steps::Prompt | Steps::All)
    }

    /// Does it act on the row of new token `step`?
    pub fn at_step(self, step: usize) -> bool {
        match self {
            Steps::Prompt => false,
            Steps::Generated | Steps::All => true,
            Steps::Range(from, to) => (from..to).contains(&step),
        }
    }

    fn overlaps(self, other: Steps) -> bool {
        let span = |steps: Steps| match steps {
            Steps::Prompt => (0, 0),
            Steps::Generated | Steps::All => (0, usize::MAX),
            Steps::Range(from, to) => (from, to),
        };
        let ((a, b), (c, d)) = (span(self), span(other));
        (self.in_prompt() && other.in_prompt()) || a.max(c) < b.min(d)
    }
}

#[derive(Clone)]
pub struct Patch {
    pub site: Site,
    pub edit: Edit,
    pub steps: Steps,
    /// A patch that changes nothing is meant.
    pub allow_noop: bool,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.edit.name(), self.site)
    }
}

impl Edit {
    pub fn name(&self) -> &'static str {
        match self {
            Edit::Set(Value::Mean(_)) => "mean",
            Edit::Set(_) => "set",
            Edit::Add(_) => "add",
            Edit::Scale(_) => "scale",
            Edit::Lerp(..) => "lerp",
            Edit::Zero => "zero",
            Edit::ProjectOut(_) => "project_out",
            Edit::Each(each) => each.name,
            Edit::Func(_) => "edit",
        }
    }

    /// Do both orders give the same?
    fn commutes(&self, other: &Edit) -> bool {
        use Edit::{Add, Scale, Zero};
        matches!((self, other), (Add(_), Add(_)) | (Scale(_) | Zero, Scale(_) | Zero))
    }

    /// The runs it reads.
    pub fn donors(&self) -> &[Arc<Trace>] {
        self.value().map_or(&[], Value::donors)
    }
}

impl<V> Edit<V> {
    /// What it brings, if it brings anything.
    pub fn value(&self) -> Option<&V> {
        match self {
            Edit::Set(value) | Edit::Add(value) | Edit::Lerp(value, _) => Some(value),
            Edit::Scale(_) | Edit::Zero | Edit::ProjectOut(_) | Edit::Each(_) | Edit::Func(_) => None,
        }
    }

    /// The same with another value in place of the one that it brings.
    fn map<W>(&self, to: impl FnOnce(&V) -> Result<W>) -> Result<Edit<W>> {
        Ok(match self {
            Edit::Set(value) => Edit::Set(to(value)?),
            Edit::Add(value) => Edit::Add(to(value)?),
            Edit::Lerp(value, a) => Edit::Lerp(to(value)?, *a),
            Edit::Scale(a) => Edit::Scale(*a),
            Edit::Zero => Edit::Zero,
            Edit::ProjectOut(direction) => Edit::ProjectOut(direction.clone()),
            Edit::Each(each) => Edit::Each(each.clone()),
            Edit::Func(f) => Edit::Func(f.clone()),
        })
    }
}

/// A patch resolved for one prompt.
#[derive(Clone)]
pub struct Write {
    pub selection: Selection,
    pub edit: Edit<Tensor>,
    pub allow_noop: bool,
    /// Which of the caller's patches it was.
    pub index: usize,
}

impl Write {
    /// The same write on one of its rows alone; `None` for a closure that sees several rows at once.
    pub fn only_row(&self, row: usize) -> Result<Option<Write>> {
        let Some(index) = self.selection.rows.iter().position(|&r| r == row) else { return Ok(None) };
        if matches!(self.edit, Edit::Func(_)) && self.selection.rows.len() > 1 {
            return Ok(None);
        }
        let edit = self.edit.map(|value| Ok(value.narrow(0, index, 1)?))?;
        let mut selection = self.selection.clone();
        selection.rows = vec![row];
        Ok(Some(Write { selection, edit, ..self.clone() }))
    }
}

impl Patch {
    pub fn new(site: Site, edit: Edit) -> Patch {
        Patch { site, edit, steps: Steps::Prompt, allow_noop: false }
    }

    /// Checks all that can be known before a value is read: positions, heads and every shape.
    pub fn check(&self, model: &Model, tokens: &Tokens) -> Result<Selection> {
        let selection = Selection::new(&self.site, model, tokens)?;
        self.check_values(&selection, tokens.len())?;
        Ok(selection)
    }

    /// Resolves the patch for the rows of a prompt.
    pub fn resolve(&self, model: &Model, tokens: &Tokens, near: &Near) -> Result<Write> {
        self.write(self.check(model, tokens)?, tokens.len(), near)
    }

    /// Resolves the patch for one new token, at this position.
    pub fn resolve_step(&self, config: &Config, position: usize, near: &Near) -> Result<Write> {
        let selection = Selection::at_rows(&self.site, config, vec![position]);
        let keys = position + 1;
        self.check_values(&selection, keys)?;
        self.write(selection, keys, near)
    }

    fn check_values(&self, selection: &Selection, keys: usize) -> Result<()> {
        if self.site.features.as_ref().is_some_and(|features| features.sae.about.transcodes()) {
            return Err(RunError::Transcoder { site: selection.site.clone() });
        }
        match &self.edit {
            Edit::Set(value) | Edit::Add(value) | Edit::Lerp(value, _) => match value {
                Value::Tensor(tensor) => selection.accepts(tensor.dims(), keys),
                Value::Mean(traces) if traces.is_empty() => Err(RunError::NoTraces),
                Value::Trace(_) | Value::Mean(_) => {
                    value.donors().iter().try_for_each(|donor| self.check_trace(donor, selection, keys))
                }
            },
            Edit::ProjectOut(direction) => {
                let site = selection.site.clone();
                if norm(direction)? == 0.0 {
                    return Err(RunError::ZeroDirection { site });
                }
                let want = selection.shape(keys).last().map_or(vec![], |&n| vec![n]);
                if direction.dims() != want {
                    return Err(RunError::ValueShape { site, want, found: direction.dims().to_vec() });
                }
                Ok(())
            }
            Edit::Each(each) => {
                let found = selection.shape(keys).iter().product::<usize>() / selection.rows.len().max(1);
                match found == each.width && !selection.is_scores() {
                    true => Ok(()),
                    false => Err(RunError::ValueShape {
                        site: selection.site.clone(),
                        want: vec![found],
                        found: vec![each.width],
                    }),
                }
            }
            Edit::Scale(_) | Edit::Zero | Edit::Func(_) => Ok(()),
        }
    }

    /// Would the trace's value fit? Its shape follows from its tokens alone.
    fn check_trace(&self, trace: &Trace, selection: &Selection, keys: usize) -> Result<()> {
        let their_keys = trace.tokens().len();
        let of_donor = |error| RunError::Donor { site: selection.site.clone(), error: Box::new(error) };
        let theirs = Selection::new(&self.site, trace.model(), trace.tokens()).map_err(of_donor)?;
        let (rows, their_rows) = (selection.rows.len(), theirs.rows.len());
        let refuse = |want, found| RunError::TraceLength { site: selection.site.clone(), want, found };
        match selection.accepts(&theirs.shape(their_keys), keys) {
            Err(_) if their_rows != rows => Err(refuse(rows, their_rows)),
            Err(_) if selection.is_scores() && their_keys != keys => Err(refuse(keys, their_keys)),
            fits => fits,
        }
    }

    /// Reads the values for a selection that [`check`](Self::check) gave.
    pub fn write(&self, selection: Selection, keys: usize, near: &Near) -> Result<Write> {
        let read = |trace: &Trace| trace.packed(&self.site, &selection, keys, near);
        let pack = |value: &Value| match value {
            Value::Tensor(tensor) => selection.pack(tensor, keys),
            Value::Trace(trace) => read(trace),
            Value::Mean(traces) => {
                let values = traces.iter().map(|trace| read(trace)).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::stack(&values, 0)?.mean(0)?)
            }
        };
        let edit = match &self.edit {
            Edit::ProjectOut(direction) => Edit::ProjectOut((direction / norm(direction)?)?),
            edit => edit.map(pack)?,
        };
        Ok(Write { selection, edit, allow_noop: self.allow_noop, index: 0 })
    }
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.sqr()?.sum_all()?.sqrt()?.to_dtype(DType::F32)?.to_scalar::<f32>()?))
}

/// Refuses patches of one prompt whose order would matter; `selections` has one entry a patch.
pub fn check_overlaps<'a>(
    patches: &[Patch],
    selections: impl Iterator<Item = &'a Selection> + Clone,
) -> Result<()> {
    let placed = patches.iter().zip(selections);
    for (i, (p, a)) in placed.clone().enumerate() {
        for (q, b) in placed.clone().take(i) {
            // What one feature becomes changes what is read as the next.
            let by_features = p.site.features.is_some() || q.site.features.is_some();
            let in_order = by_features || !p.edit.commutes(&q.edit);
            if in_order && p.steps.overlaps(q.steps) && a.overlaps(b) {
                let both = p.site.features.is_some() && q.site.features.is_some();
                let (a, b) = (b.site.clone(), a.site.clone());
                return Err(if both {
                    RunError::FeatureOverlap { a, b }
                } else {
                    RunError::Overlap { a, b }
                });
            }
        }
    }
    Ok(())
}

/// Resolves those patches of a run that act now, in their canonical order.
///
/// # Errors
/// Patches whose order would matter.
pub fn resolve(
    patches: &[Patch],
    acts: impl Fn(&Patch) -> bool,
    resolve: impl Fn(&Patch) -> Result<Write>,
) -> Result<Vec<Write>> {
    let acting: Vec<usize> = (0..patches.len()).filter(|&i| acts(&patches[i])).collect();
    let chosen: Vec<Patch> = acting.iter().map(|&i| patches[i].clone()).collect();
    let mut writes = chosen.iter().map(resolve).collect::<Result<Vec<_>>>()?;
    for (write, &index) in writes.iter_mut().zip(&acting) {
        write.index = index;
    }
    check_overlaps(&chosen, writes.iter().map(|write| &write.selection))?;
    sorted(writes)
}

/// Sorts writes so that the order in which they were written cannot show, not even in rounding.
pub fn sorted(writes: Vec<Write>) -> Result<Vec<Write>> {
    if writes.len() < 2 {
        return Ok(writes);
    }
    let mut keyed = writes.into_iter().map(|w| Ok((sort_key(&w)?, w))).collect::<Result<Vec<_>>>()?;
    keyed.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(Ordering::Equal));
    Ok(keyed.into_iter().map(|(_, write)| write).collect())
}

/// What decides the order of writes: place, then value. Only sums and products can meet at one place, so only
/// their values count.
#[derive(PartialEq, PartialOrd)]
struct SortKey {
    at: At,
    rows: Vec<usize>,
    columns: Vec<(usize, usize)>,
    value: Vec<f32>,
}

fn sort_key(write: &Write) -> Result<SortKey> {
    let value = match &write.edit {
        Edit::Add(value) => value.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?,
        Edit::Scale(a) => vec![*a as f32],
        Edit::Zero => vec![0.0],
        Edit::Set(_) | Edit::Lerp(..) | Edit::ProjectOut(_) | Edit::Each(_) | Edit::Func(_) => Vec::new(),
    };
    let selection = &write.selection;
    Ok(SortKey { at: selection.at, rows: selection.rows.clone(), columns: selection.column_ranges(), value })
}
