//! Writes on a card: all of a place at once, as pieces of rows that one kernel changes.

use super::apply::{Changes, PackedWrite};
use crate::model::card::patch::{self, Act, Piece, Place};
use crate::run::asking::patch::Edit;
use crate::run::asking::select::Cols;
use crate::run::error::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Rows and column ranges that a write touches, and its round.
type Touched<'a> = (Vec<usize>, Vec<(usize, usize)>, usize);

/// `x` `[rows, width]` with the writes applied and what they did; `None` where no kernel serves: elsewhere than on a card,
/// or where a closure or an autoencoder makes the values.
pub fn rows(x: &Tensor, placed: &[PackedWrite]) -> Result<Option<(Tensor, Changes)>> {
    let plain = |p: &PackedWrite| {
        !matches!(p.write.edit, Edit::Each(_) | Edit::Func(_))
            && !matches!(p.write.selection.cols, Cols::Features(_))
    };
    if !patch::applies(x) || !placed.iter().all(plain) {
        return Ok(None);
    }
    let mut values = Values { near: x, host: Vec::new() };
    let mut rounds: Vec<Vec<Piece>> = Vec::new();
    let mut touched: BTreeMap<usize, Vec<Touched>> = BTreeMap::new();
    for (change, p) in placed.iter().enumerate() {
        let (rows, ranges) = (p.packed_rows().collect::<Vec<_>>(), p.write.selection.column_ranges());
        // Writes of one place come in the order in which they were added.
        let before = touched.entry(p.segment).or_default();
        let meets = |(other, columns, _): &&Touched| {
            rows.iter().any(|row| other.contains(row))
                && ranges.iter().any(|a| columns.iter().any(|b| meet(*a, *b)))
        };
        let round = before.iter().filter(meets).map(|(_, _, round)| round + 1).max().unwrap_or(0);
        rounds.resize_with(rounds.len().max(round + 1), Vec::new);
        let (act, value) = match &p.write.edit {
            Edit::Set(value) => (Act::Set, Some(value)),
            Edit::Add(value) => (Act::Add, Some(value)),
            Edit::Lerp(value, a) => (Act::Lerp(*a as f32), Some(value)),
            Edit::ProjectOut(direction) => (Act::ProjectOut, Some(direction)),
            Edit::Scale(0.0) | Edit::Zero => (Act::Zero, None),
            Edit::Scale(a) => (Act::Scale(*a as f32), None),
            Edit::Each(_) | Edit::Func(_) => return Ok(None),
        };
        let value = value.map(|value| values.lay(value)).transpose()?;
        for (i, &row) in rows.iter().enumerate() {
            let mut from = 0;
            for &(start, len) in &ranges {
                // A direction goes through each of the heads that lie side by side.
                let step = match &p.write.edit {
                    Edit::ProjectOut(direction) => direction.elem_count(),
                    _ => len,
                };
                for column in (start..start + len).step_by(step.max(1)) {
                    let value = match &value {
                        Some(value) if act == Act::ProjectOut => Some(value.at(0, 0)),
                        Some(value) => Some(value.at(i, from)),
                        None => None,
                    };
                    rounds[round].push(Piece { row, column, len: step, act, value, change });
                }
                from += len;
            }
        }
        before.push((rows, ranges, round));
    }
    let (patched, most) = patch::patch(x, &rounds, values.host, placed.len())?;
    let entries = placed.iter().map(|p| p.entry).collect();
    Ok(Some((patched, Changes { entries, most })))
}

fn meet(a: (usize, usize), b: (usize, usize)) -> bool {
    a.0 < b.0 + b.1 && b.0 < a.0 + a.1
}

/// What patches bring: on the card where it lies there, else gathered for one copy.
struct Values<'a> {
    near: &'a Tensor,
    host: Vec<f32>,
}

/// One patch's values, `[rows, width]`.
struct Laid {
    first: Place,
    /// Numbers from a row to the next.
    stride: usize,
    /// Bytes of a number on the card.
    size: usize,
}

impl Values<'_> {
    fn lay(&mut self, value: &Tensor) -> Result<Laid> {
        let stride = if value.rank() > 1 { value.stride()[0] } else { 0 };
        if let Some(first) = patch::place(value, self.near) {
            return Ok(Laid { first, stride, size: value.dtype().size_in_bytes() });
        }
        let first = Place::Host(self.host.len());
        self.host.extend(value.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?);
        let stride = if value.rank() > 1 { value.elem_count() / value.dim(0)? } else { 0 };
        Ok(Laid { first, stride, size: size_of::<f32>() })
    }
}

impl Laid {
    fn at(&self, row: usize, column: usize) -> Place {
        let entry = row * self.stride + column;
        match self.first {
            Place::Host(first) => Place::Host(first + entry),
            Place::Card(first, wide) => Place::Card(first + (entry * self.size) as u64, wide),
        }
    }
}
