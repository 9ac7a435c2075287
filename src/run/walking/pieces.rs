//! Writes on a card: all of a place at once, as pieces of rows that one kernel changes.

use super::apply::{Changes, PackedWrite};
use crate::model::Packed;
use crate::model::card::patch::{self, Act, Piece, Place};
use crate::run::asking::patch::Edit;
use crate::run::asking::select::Cols;
use crate::run::error::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Rows and column ranges that a write touches, and its round.
type Touched = (Vec<usize>, Vec<(usize, usize)>, usize);

/// `x` `[rows, width]` with the writes applied and what they did; `None` where no kernel serves: elsewhere than on a card,
/// or where a closure or an autoencoder makes the values.
pub fn rows(x: &Tensor, placed: &[PackedWrite]) -> Result<Option<(Tensor, Changes)>> {
    if !patch::applies(x) || !placed.iter().all(plain) {
        return Ok(None);
    }
    let mut pieces = Pieces::new(x);
    for p in placed {
        let (rows, ranges) = (p.packed_rows().collect::<Vec<_>>(), p.write.selection.column_ranges());
        let round = pieces.round(p.segment, &rows, &ranges);
        let value = pieces.value(&p.write.edit)?;
        for (i, &row) in rows.iter().enumerate() {
            let mut from = 0;
            for &(start, len) in &ranges {
                // A direction goes through each of the heads that lie side by side.
                let step = match &p.write.edit {
                    Edit::ProjectOut(direction) => direction.elem_count(),
                    _ => len,
                };
                for column in (start..start + len).step_by(step.max(1)) {
                    pieces.add(round, (row, column, step), &p.write.edit, value.as_ref(), (i, from));
                }
                from += len;
            }
        }
        pieces.written += 1;
    }
    pieces.patch(placed, false).map(Some)
}

/// Scores or pattern of all segments with the writes applied, in the same way; minus infinity, which a query does not see,
/// stays.
pub fn scores(x: &Packed, placed: &[PackedWrite]) -> Result<Option<(Packed, Changes)>> {
    let numbers = x.numbers.reshape(((), 1))?;
    if !patch::applies(&numbers) || !placed.iter().all(|p| plain(p) && lies_whole(&p.write.edit)) {
        return Ok(None);
    }
    let mut pieces = Pieces::new(&numbers);
    for p in placed {
        let (start, [all_heads, queries, keys]) = x.place(p.segment);
        let heads: Vec<usize> = match &p.write.selection.cols {
            Cols::Heads { heads, .. } => heads.clone(),
            _ => (0..all_heads).collect(),
        };
        let rows: Vec<usize> = p.own_rows().collect();
        let ranges: Vec<_> = heads.iter().map(|&head| (head, 1)).collect();
        let round = pieces.round(p.segment, &rows, &ranges);
        let value = pieces.value(&p.write.edit)?;
        for (i, head) in heads.iter().enumerate() {
            for (j, row) in rows.iter().enumerate() {
                let place = start + (head * queries + row) * keys;
                let from = (0, (i * rows.len() + j) * keys);
                pieces.add(round, (place, 0, keys), &p.write.edit, value.as_ref(), from);
            }
        }
        pieces.written += 1;
    }
    let (patched, changes) = pieces.patch(placed, true)?;
    Ok(Some((x.with(patched.flatten_all()?), changes)))
}

/// Does a kernel know the edit?
fn plain(p: &PackedWrite) -> bool {
    !matches!(p.write.edit, Edit::Each(_) | Edit::Func(_))
        && !matches!(p.write.selection.cols, Cols::Features(_))
}

/// Does what it brings lie as it is read, number after number?
fn lies_whole(edit: &Edit<Tensor>) -> bool {
    match edit {
        Edit::Set(value) | Edit::Add(value) | Edit::Lerp(value, _) => value.is_contiguous(),
        Edit::ProjectOut(_) => false,
        _ => true,
    }
}

/// The pieces of all writes of a place.
struct Pieces<'a> {
    x: &'a Tensor,
    values: Values<'a>,
    rounds: Vec<Vec<Piece>>,
    touched: BTreeMap<usize, Vec<Touched>>,
    /// How many writes are laid.
    written: usize,
}

impl<'a> Pieces<'a> {
    fn new(x: &'a Tensor) -> Pieces<'a> {
        let values = Values { near: x, host: Vec::new() };
        Pieces { x, values, rounds: Vec::new(), touched: BTreeMap::new(), written: 0 }
    }

    /// The round of a write: those of one place come in the order in which they were added.
    fn round(&mut self, segment: usize, rows: &[usize], ranges: &[(usize, usize)]) -> usize {
        let before = self.touched.entry(segment).or_default();
        let meets = |(other, columns, _): &&Touched| {
            rows.iter().any(|row| other.contains(row))
                && ranges.iter().any(|a| columns.iter().any(|b| meet(*a, *b)))
        };
        let round = before.iter().filter(meets).map(|(_, _, round)| round + 1).max().unwrap_or(0);
        before.push((rows.to_vec(), ranges.to_vec(), round));
        self.rounds.resize_with(self.rounds.len().max(round + 1), Vec::new);
        round
    }

    fn value(&mut self, edit: &Edit<Tensor>) -> Result<Option<Laid>> {
        match edit {
            Edit::Set(value) | Edit::Add(value) | Edit::Lerp(value, _) | Edit::ProjectOut(value) => {
                self.values.lay(value).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// A piece at `(row, column)` with `len` columns, which gets what lies in the value at `from`.
    fn add(
        &mut self,
        round: usize,
        (row, column, len): (usize, usize, usize),
        edit: &Edit<Tensor>,
        value: Option<&Laid>,
        from: (usize, usize),
    ) {
        let (act, from) = match edit {
            Edit::Set(_) => (Act::Set, from),
            Edit::Add(_) => (Act::Add, from),
            Edit::Lerp(_, a) => (Act::Lerp(*a as f32), from),
            Edit::ProjectOut(_) => (Act::ProjectOut, (0, 0)),
            Edit::Scale(a) if *a != 0.0 => (Act::Scale(*a as f32), from),
            _ => (Act::Zero, from),
        };
        let value = value.map(|value| value.at(from.0, from.1));
        self.rounds[round].push(Piece { row, column, len, act, value, change: self.written });
    }

    fn patch(self, placed: &[PackedWrite], hides: bool) -> Result<(Tensor, Changes)> {
        let (patched, most) = patch::patch(self.x, &self.rounds, self.values.host, placed.len(), hides)?;
        Ok((patched, Changes { entries: placed.iter().map(|p| p.entry).collect(), most }))
    }
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
