//! A patch: a site and what to do there. Resolving it for a prompt reads its values and checks every shape,
//! before anything is computed.

use super::error::{Result, RunError};
use super::select::Selection;
use super::site::Site;
use super::tokens::Tokens;
use super::trace::Trace;
use crate::model::{At, Config};
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
}

/// A script's closure: the selected values in their script shape, to new values of the same shape.
pub type EditFn = Arc<dyn Fn(Tensor) -> std::result::Result<Tensor, String> + Send + Sync>;

#[derive(Clone)]
pub enum Edit {
    Set(Value),
    Add(Value),
    Scale(f64),
    /// `(1 - a) x + a v`
    Lerp(Value, f64),
    Zero,
    /// The mean over these runs.
    Mean(Vec<Arc<Trace>>),
    /// `x - (x · r) r` with `r` the unit vector along the given direction.
    ProjectOut(Tensor),
    Func(EditFn),
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
            Edit::Set(_) => "set",
            Edit::Add(_) => "add",
            Edit::Scale(_) => "scale",
            Edit::Lerp(..) => "lerp",
            Edit::Zero => "zero",
            Edit::Mean(_) => "mean",
            Edit::ProjectOut(_) => "project_out",
            Edit::Func(_) => "edit",
        }
    }
}

/// What a resolved patch does to its packed rows.
#[derive(Clone)]
pub enum Op {
    Set(Tensor),
    Add(Tensor),
    Scale(f64),
    Lerp(Tensor, f64),
    ProjectOut(Tensor),
    Func(EditFn),
}

/// A patch resolved for one prompt.
#[derive(Clone)]
pub struct Write {
    pub selection: Selection,
    pub op: Op,
    pub allow_noop: bool,
    /// Which of the caller's patches it was.
    pub index: usize,
}

impl Write {
    /// The same write on one of its rows alone; `None` for a closure that sees several rows at once.
    pub fn only_row(&self, row: usize) -> Result<Option<Write>> {
        let Some(index) = self.selection.rows.iter().position(|&r| r == row) else { return Ok(None) };
        let one = |value: &Tensor| value.narrow(0, index, 1);
        let op = match &self.op {
            Op::Func(_) if self.selection.rows.len() > 1 => return Ok(None),
            Op::Set(value) => Op::Set(one(value)?),
            Op::Add(value) => Op::Add(one(value)?),
            Op::Lerp(value, a) => Op::Lerp(one(value)?, *a),
            other => other.clone(),
        };
        let mut selection = self.selection.clone();
        selection.rows = vec![row];
        Ok(Some(Write { selection, op, ..self.clone() }))
    }
}

impl Patch {
    pub fn new(site: Site, edit: Edit) -> Patch {
        Patch { site, edit, steps: Steps::Prompt, allow_noop: false }
    }

    /// Resolves the patch for the rows of a prompt.
    pub fn resolve(&self, config: &Config, tokens: &Tokens) -> Result<Write> {
        let selection = Selection::new(&self.site, config, tokens)?;
        self.write(selection, tokens.len())
    }

    /// Resolves the patch for one new token, whose row is `row` of its segment.
    pub fn resolve_step(&self, config: &Config, row: usize, keys: usize) -> Result<Write> {
        let mut selection = Selection::at_rows(&self.site, config, vec![row]);
        selection.site = self.site.to_string();
        self.write(selection, keys)
    }

    fn write(&self, selection: Selection, keys: usize) -> Result<Write> {
        let pack = |value: &Value| -> Result<Tensor> {
            match value {
                Value::Tensor(tensor) => selection.pack(tensor, keys),
                Value::Trace(trace) => self.read_trace(trace, &selection, keys),
            }
        };
        let op = match &self.edit {
            Edit::Set(value) => Op::Set(pack(value)?),
            Edit::Add(value) => Op::Add(pack(value)?),
            Edit::Lerp(value, a) => Op::Lerp(pack(value)?, *a),
            Edit::Scale(a) => Op::Scale(*a),
            Edit::Zero => Op::Scale(0.0),
            Edit::Mean(traces) => {
                let values = traces.iter().map(|t| self.read_trace(t, &selection, keys));
                let values = values.collect::<Result<Vec<_>>>()?;
                if values.is_empty() {
                    return Err(RunError::NoTraces);
                }
                Op::Set(Tensor::stack(&values, 0)?.mean(0)?)
            }
            Edit::ProjectOut(direction) => {
                let norm = direction.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
                let site = selection.site.clone();
                if norm == 0.0 {
                    return Err(RunError::ZeroDirection { site });
                }
                let want = selection.shape(keys).last().map_or(vec![], |&n| vec![n]);
                if direction.dims() != want {
                    return Err(RunError::ValueShape { site, want, found: direction.dims().to_vec() });
                }
                Op::ProjectOut((direction / f64::from(norm))?)
            }
            Edit::Func(f) => Op::Func(f.clone()),
        };
        Ok(Write { selection, op, allow_noop: self.allow_noop, index: 0 })
    }

    fn read_trace(&self, trace: &Trace, selection: &Selection, keys: usize) -> Result<Tensor> {
        let value = trace.read(&self.site)?;
        let refuse = |found: usize| RunError::TraceLength {
            site: selection.site.clone(),
            want: selection.rows.len(),
            found,
        };
        match selection.pack(&value, keys) {
            Err(RunError::ValueShape { .. }) if !self.site.pos.is_single() => {
                Err(refuse(value.dim(if selection.is_scores() { value.rank() - 2 } else { 0 })?))
            }
            packed => packed,
        }
    }
}

/// Refuses patches whose order would matter, and sorts the others so that the order in which they were written
/// cannot show, not even in rounding.
pub fn order(patches: &[Patch], writes: Vec<Write>) -> Result<Vec<Write>> {
    for (i, a) in writes.iter().enumerate() {
        for (j, b) in writes.iter().enumerate().take(i) {
            let commute = matches!((&a.op, &b.op), (Op::Add(_), Op::Add(_)) | (Op::Scale(_), Op::Scale(_)));
            let together = patches.get(i).zip(patches.get(j)).is_none_or(|(p, q)| p.steps.overlaps(q.steps));
            if !commute && together && a.selection.overlaps(&b.selection) {
                return Err(RunError::Overlap { a: b.selection.site.clone(), b: a.selection.site.clone() });
            }
        }
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
    let value = match &write.op {
        Op::Add(value) => value.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?,
        Op::Scale(a) => vec![*a as f32],
        _ => Vec::new(),
    };
    let selection = &write.selection;
    Ok(SortKey { at: selection.at, rows: selection.rows.clone(), columns: selection.column_ranges(), value })
}
