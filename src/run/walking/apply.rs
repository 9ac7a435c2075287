//! Carrying out writes on packed activations.

use super::pieces;
use crate::model::card;
use crate::run::asking::patch::{Edit, Write};
use crate::run::asking::select::{Cols, on_processor};
use crate::run::asking::site::Features;
use crate::run::error::{Result, RunError};
use candle_core::{D, DType, Tensor};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A write on the rows of one segment.
pub struct PackedWrite<'a> {
    pub write: Cow<'a, Write>,
    /// Whose it is, and which of its writes.
    pub entry: (usize, usize),
    pub segment: usize,
    /// The packed row at which the segment starts.
    pub start: usize,
    /// The position of the segment's first row.
    pub first: usize,
}

impl PackedWrite<'_> {
    /// The write's rows, counted within its segment.
    pub fn own_rows(&self) -> impl Iterator<Item = usize> {
        self.write.selection.rows.iter().map(|&row| row - self.first)
    }

    pub fn packed_rows(&self) -> impl Iterator<Item = usize> {
        self.own_rows().map(|row| row + self.start)
    }
}

/// What writes did: whose each was and which, and `max |Δ|` of each, `[writes]` left on the device.
pub struct Changes {
    pub entries: Vec<(usize, usize)>,
    pub most: Tensor,
}

impl Changes {
    /// `max |Δ|` as scalars.
    fn new(changes: Vec<((usize, usize), Tensor)>) -> Result<Changes> {
        let (entries, most): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        Ok(Changes { entries, most: Tensor::stack(&most, 0)? })
    }
}

/// Whose and which each write was, and its `max |Δ|`, of all of them read at once.
pub fn read<'a>(changes: impl IntoIterator<Item = &'a Changes>) -> Result<Vec<((usize, usize), f32)>> {
    let (mut entries, mut most) = (Vec::new(), Vec::new());
    for changes in changes {
        entries.extend_from_slice(&changes.entries);
        let more = changes.most.to_dtype(DType::F32)?;
        // Layers may lie on several devices.
        let first = most.first().map_or(more.device(), Tensor::device);
        most.push(card::moved(&more, first)?);
    }
    if most.is_empty() {
        return Ok(Vec::new());
    }
    Ok(entries.into_iter().zip(Tensor::cat(&most, 0)?.to_vec1::<f32>()?).collect())
}

/// The larger of two changes, NaN if one is: a patch that brings NaN has not changed nothing.
pub fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

/// Applies writes to `x` `[rows, width]`, all of them in one copy of `x`.
pub fn rows(x: &Tensor, placed: &[PackedWrite]) -> Result<(Tensor, Changes)> {
    if let Some(patched) = pieces::rows(x, placed)? {
        return Ok(patched);
    }
    let mut segments: BTreeMap<usize, Vec<&PackedWrite>> = BTreeMap::new();
    for p in placed {
        segments.entry(p.segment).or_default().push(p);
    }
    let n_rows = x.dim(0)?;
    let mut source: Vec<u32> = (0..n_rows as u32).collect();
    let mut pieces = vec![x.clone()];
    let mut changes = Vec::new();
    let mut next = n_rows as u32;
    for placed in segments.into_values() {
        let mut touched: Vec<usize> = placed.iter().flat_map(|p| p.packed_rows()).collect();
        touched.sort_unstable();
        touched.dedup();
        let index = Tensor::from_iter(touched.iter().map(|&r| r as u32), x.device())?;
        let mut piece = x.index_select(&index, 0)?;
        for p in &placed {
            let local: Vec<usize> = p.packed_rows().map(|r| touched.partition_point(|&t| t < r)).collect();
            let (new, change) = write_rows(&piece, &local, &p.write)?;
            piece = new;
            changes.push((p.entry, change));
        }
        for &row in &touched {
            source[row] = next;
            next += 1;
        }
        pieces.push(piece);
    }
    let all = Tensor::cat(&pieces, 0)?;
    Ok((all.index_select(&Tensor::new(source, x.device())?, 0)?, Changes::new(changes)?))
}

/// One write on `piece` `[n, width]`; `local` are its rows there.
fn write_rows(piece: &Tensor, local: &[usize], write: &Write) -> Result<(Tensor, Tensor)> {
    let (n, width) = piece.dims2()?;
    let index = Tensor::from_iter(local.iter().map(|&r| r as u32), piece.device())?;
    let all_in_order = local.iter().copied().eq(0..n);
    let rows = if all_in_order { piece.clone() } else { piece.index_select(&index, 0)? };
    let ranges = write.selection.column_ranges();
    if let Cols::Features(features) = &write.selection.cols {
        let new = through(features, &rows, write)?;
        let change = (&new - &rows)?.abs()?.max_all()?;
        return Ok((if all_in_order { new } else { put_rows(piece, local, &new)? }, change));
    }
    let whole = ranges.len() == 1 && ranges[0] == (0, width);
    let old = if whole {
        rows.clone()
    } else {
        let parts = ranges.iter().map(|&(start, len)| rows.narrow(1, start, len));
        Tensor::cat(&parts.collect::<candle_core::Result<Vec<_>>>()?, 1)?
    };
    let new = apply(&old, write, 0)?;
    let change = (&new - &old)?.abs()?.max_all()?;
    let rows = if whole { new } else { put_columns(&rows, &ranges, &new)? };
    Ok((if all_in_order { rows } else { put_rows(piece, local, &rows)? }, change))
}

/// Rows `[rows, width]` whose features were changed: with what the autoencoder does not explain of them, or without.
fn through(features: &Features, rows: &Tensor, write: &Write) -> Result<Tensor> {
    let sae = &features.sae;
    let x = on_processor(rows)?;
    let old = sae.encode(&x)?;
    let new = match features.listed() {
        None => apply(&old, write, 0)?,
        Some(listed) => {
            let index = Tensor::from_iter(listed.iter().map(|&feature| feature as u32), old.device())?;
            let ranges: Vec<_> = listed.iter().map(|&feature| (feature, 1)).collect();
            put_columns(&old, &ranges, &apply(&old.index_select(&index, 1)?, write, 0)?)?
        }
    };
    let decoded = sae.decode(&new, Some(&x))?;
    let rows_after = match features.keep_error {
        // Features that stay as they are leave every bit as it is.
        true => (&x + (decoded - sae.decode(&old, Some(&x))?)?)?,
        false => decoded,
    };
    Ok(rows_after.to_dtype(rows.dtype())?.to_device(rows.device())?)
}

/// `piece` with the rows `local` replaced by those of `new`.
fn put_rows(piece: &Tensor, local: &[usize], new: &Tensor) -> Result<Tensor> {
    let n = piece.dim(0)?;
    let mut source: Vec<u32> = (0..n as u32).collect();
    for (i, &row) in local.iter().enumerate() {
        source[row] = (n + i) as u32;
    }
    let all = Tensor::cat(&[piece, new], 0)?;
    Ok(all.index_select(&Tensor::new(source, piece.device())?, 0)?)
}

/// `rows` with the columns `ranges` replaced, in the order of `ranges`, by those of `new`.
fn put_columns(rows: &Tensor, ranges: &[(usize, usize)], new: &Tensor) -> Result<Tensor> {
    let width = rows.dim(1)?;
    let mut sorted: Vec<(usize, usize, usize)> = Vec::new();
    let mut from = 0;
    for &(start, len) in ranges {
        sorted.push((start, len, from));
        from += len;
    }
    sorted.sort_unstable();
    let mut parts = Vec::new();
    let mut at = 0;
    for (start, len, from) in sorted {
        if start > at {
            parts.push(rows.narrow(1, at, start - at)?);
        }
        parts.push(new.narrow(1, from, len)?);
        at = start + len;
    }
    if at < width {
        parts.push(rows.narrow(1, at, width - at)?);
    }
    Ok(Tensor::cat(&parts, 1)?)
}

/// Applies a write to one segment's scores `[head, query, key]`.
pub fn scores(x: &Tensor, p: &PackedWrite) -> Result<(Tensor, Changes)> {
    let (n_heads, n_queries, keys) = x.dims3()?;
    let mut selection = p.write.selection.clone();
    selection.rows = p.own_rows().collect();
    let old = selection.pick(x)?;
    let new = apply(&old, &p.write, keys)?;
    // Hidden keys hold -inf, and stay hidden whatever is put there: they count as unchanged.
    let hidden = old.eq(f64::NEG_INFINITY)?;
    let change = hidden.where_cond(&old.zeros_like()?, &(&new - &old)?)?.abs()?.max_all()?;
    let heads = match &selection.cols {
        Cols::Heads { heads, .. } => heads.clone(),
        _ => (0..n_heads).collect(),
    };
    let mut source: Vec<u32> = (0..(n_heads * n_queries) as u32).collect();
    for (i, head) in heads.iter().enumerate() {
        for (j, row) in selection.rows.iter().enumerate() {
            source[head * n_queries + row] = (n_heads * n_queries + i * selection.rows.len() + j) as u32;
        }
    }
    let all = Tensor::cat(&[x.reshape((n_heads * n_queries, keys))?, new.reshape(((), keys))?], 0)?;
    let patched =
        all.index_select(&Tensor::new(source, x.device())?, 0)?.reshape((n_heads, n_queries, keys))?;
    Ok((patched, Changes::new(vec![(p.entry, change)])?))
}

/// New packed values from old ones. `keys` is the key axis of scores.
fn apply(old: &Tensor, write: &Write, keys: usize) -> Result<Tensor> {
    let value = |v: &Tensor| -> Result<Tensor> { Ok(card::moved(v, old.device())?.to_dtype(old.dtype())?) };
    Ok(match &write.edit {
        Edit::Set(v) => value(v)?,
        Edit::Add(v) => (old + value(v)?)?,
        Edit::Zero => old.zeros_like()?,
        Edit::Scale(a) if *a == 0.0 => old.zeros_like()?,
        Edit::Scale(a) => (old * *a)?,
        Edit::Lerp(v, a) => ((old * (1.0 - a))? + (value(v)? * *a)?)?,
        Edit::ProjectOut(r) => {
            let r = value(r)?;
            let x = old.reshape(((), r.dim(0)?))?;
            let along = x.broadcast_mul(&r)?.sum_keepdim(D::Minus1)?;
            (&x - along.broadcast_mul(&r)?)?.reshape(old.shape())?
        }
        Edit::Each(each) => {
            let rows = on_processor(&old.reshape(((), each.width))?)?;
            value(&(each.map)(&rows)?)?.reshape(old.shape())?
        }
        Edit::Func(f) => {
            let want = write.selection.shape(keys);
            let new = f(old.reshape(want.clone())?).map_err(RunError::Closure)?;
            if new.dims() != want {
                return Err(RunError::EditShape {
                    site: write.selection.site.clone(),
                    want,
                    found: new.dims().to_vec(),
                });
            }
            value(&new)?.reshape(old.shape())?
        }
    })
}
