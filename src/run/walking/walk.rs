//! The one loop over layers. Sequences go down packed: each enters with its tokens, or at a later layer with rows that
//! another run had there; after the last layer only those rows go on that somebody wants.

use super::apply::{self, PackedWrite};
use super::recorder::Recorder;
use super::rows::own_rows_of_all;
use crate::model::{At, Batch, Config, Hook, Kv, ModelError, Point, Segment, Transformer, card, ops};
use crate::run::asking::patch::Write;
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::sweeping::plan::acts_on_tail;
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A sequence on its way down.
#[derive(Clone, Copy)]
pub struct Walker<'a> {
    /// The tokens of its rows.
    pub ids: &'a [u32],
    /// The position of its first row. Earlier positions are another run's.
    pub first: usize,
    /// The row of [`Past::kv`] at which those start; meaningless where `first` is 0.
    pub past: usize,
    /// The layer at which it enters: 0 with its tokens, a later one with the rows of [`Past::resid`], `n_layers` only
    /// after the last.
    pub entry: usize,
    /// The position of the first row that goes on where rows meet no more.
    pub tail: usize,
    /// What changes on its way, by position, in canonical order.
    pub writes: &'a [Write],
}

/// What other runs left.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past<'a> {
    /// `resid_pre` of every layer and, last, the final `resid_post`, `[pos, d_model]` each.
    pub resid: &'a [Tensor],
    /// Keys and values, by layer; those of several runs end to end.
    pub kv: &'a [Kv],
}

/// A way down the layers.
pub struct Walk<'a> {
    pub transformer: &'a Transformer,
    pub control: &'a Control,
    pub past: Past<'a>,
    /// The packed rows of all walkers where they have been through so many layers already.
    pub from: Option<(usize, Tensor)>,
    /// How many layers to go through, from the first.
    pub depth: usize,
    /// What to record of all rows; only of walkers that enter with their tokens and keep all rows.
    pub keep: BTreeSet<At>,
    pub keep_kv: bool,
}

/// What a walk left.
pub struct End<'a> {
    transformer: &'a Transformer,
    /// What was seen before rows meet no more, and after.
    recorders: [Recorder<'a>; 2],
    /// Which walker each segment of `batch` is.
    pub order: Vec<usize>,
    /// The rows that went on.
    pub batch: Batch,
    /// Their residual stream after the last layer that was gone through, `[rows, d_model]`.
    pub x: Tensor,
    /// By layer, keys and values of all rows.
    pub kv: Vec<Kv>,
}

impl Walker<'_> {
    fn rows(&self) -> Segment {
        Segment { len: self.ids.len(), past: self.past, past_len: self.first }
    }

    /// How many rows go on to the end.
    fn tail_len(&self) -> usize {
        self.first + self.ids.len() - self.tail
    }
}

impl<'a> Walk<'a> {
    /// Goes down; `passed` hears how many rows have passed a layer.
    pub fn run(self, walkers: &[Walker<'a>], passed: impl Fn(usize)) -> Result<End<'a>> {
        let transformer = self.transformer;
        let config = &transformer.config;
        let prepare =
            |now: &[usize]| transformer.prepare(Batch::new(now.iter().map(|&i| walkers[i].rows()).collect()));
        let entered = |layer: usize| -> Vec<usize> {
            (0..walkers.len()).filter(|&i| walkers[i].entry <= layer).collect()
        };
        let [mut reads, mut tails] = [(); 2].map(|()| Recorder::new(self.control, self.keep.clone()));
        let mut kv = Vec::new();
        // Those that have entered, and their packed rows.
        let mut now = entered(0);
        let mut packed = match now.is_empty() {
            true => None,
            false => {
                let shape = prepare(&now)?;
                place(&mut reads, walkers, &now, &shape.batch, config);
                let x = match &self.from {
                    Some((_, rows)) => rows.clone(),
                    None => {
                        let ids: Vec<u32> = now.iter().flat_map(|&i| walkers[i].ids).copied().collect();
                        transformer.embed(&ids, &shape, &mut reads)?
                    }
                };
                Some((shape, x))
            }
        };
        let begin = self.from.as_ref().map_or(0, |(layer, _)| *layer);
        for layer in begin..self.depth {
            let next = entered(layer);
            if next.len() > now.len() {
                let before = packed.as_ref().map(|(shape, x)| (now.as_slice(), &shape.batch, x));
                let x = self.enter(before, layer, walkers, &next)?;
                let shape = prepare(&next)?;
                place(&mut reads, walkers, &next, &shape.batch, config);
                packed = Some((shape, x));
                now = next;
            }
            let Some((shape, before)) = packed.take() else { continue };
            let past = self.past.kv.get(layer);
            let (after, own) = if layer + 1 < config.n_layers {
                transformer.layer(layer, before, &shape, past, &mut reads)?
            } else {
                let rows = tail_rows(walkers, &now, &shape.batch, before.device())?;
                place_tails(&mut tails, walkers, &now, |at| at.point.in_layer(), config)?;
                let hooks: [&mut dyn Hook; 2] = [&mut reads, &mut tails];
                transformer.layer_at_rows(layer, before, &shape, past, rows.as_ref(), hooks)?
            };
            if self.keep_kv {
                kv.push(own);
            }
            passed(shape.batch.rows());
            self.control.passed(shape.batch.rows());
            packed = Some((shape, after));
        }
        let mut x = packed.map(|(_, x)| x);
        let mut order = now;
        if self.depth == config.n_layers {
            let late: Vec<usize> = (0..walkers.len()).filter(|&i| walkers[i].entry == self.depth).collect();
            if !late.is_empty() {
                let late_rows = self.enter_late(walkers, &late, &mut tails)?;
                x = Some(match x {
                    Some(x) => Tensor::cat(&[x, late_rows], 0)?,
                    None => late_rows,
                });
                order.extend(late);
            }
            place_tails(&mut tails, walkers, &order, |at| !at.point.in_layer(), config)?;
        }
        let x = x.ok_or_else(|| ModelError::Tensor("a walk without rows".into()))?;
        let batch = tail_batch(walkers, &order);
        Ok(End { transformer, recorders: [reads, tails], order, batch, x, kv })
    }

    /// Rows of the walkers `next`: those that walk already from their packed rows, the others from the run that they
    /// leave at `layer`.
    fn enter(
        &self,
        before: Option<(&[usize], &Batch, &Tensor)>,
        layer: usize,
        walkers: &[Walker],
        next: &[usize],
    ) -> Result<Tensor> {
        let base = &self.past.resid[layer];
        let mut starts = BTreeMap::new();
        let base_row = before.map_or(0, |(_, packed, _)| packed.rows());
        if let Some((now, packed, _)) = before {
            starts.extend(now.iter().enumerate().map(|(segment, &i)| (i, packed.rows_of(segment).start)));
        }
        let mut source: Vec<u32> = Vec::new();
        for i in next {
            let from = starts.get(i).copied().unwrap_or(base_row + walkers[*i].first);
            source.extend((from..from + walkers[*i].ids.len()).map(|row| row as u32));
        }
        let source = Tensor::new(source, base.device())?;
        Ok(match before {
            Some((_, _, x)) => ops::take(&card::moved(x, base.device())?, Some(base), &source)?,
            None => ops::take(base, None, &source)?,
        })
    }

    /// The tails of those that enter only after the last layer.
    fn enter_late(&self, walkers: &[Walker<'a>], late: &[usize], tails: &mut Recorder<'a>) -> Result<Tensor> {
        let last = At { point: Point::ResidPost, layer: self.depth - 1 };
        let base = &self.past.resid[self.depth];
        let rows = late.iter().flat_map(|&i| {
            let Walker { tail, .. } = walkers[i];
            tail as u32..(tail + walkers[i].tail_len()) as u32
        });
        let rows = ops::take(base, None, &Tensor::from_iter(rows, base.device())?)?;
        place_tails(tails, walkers, late, |at| at == last, &self.transformer.config)?;
        Ok(if tails.wants(last) { tails.rows(last, rows)? } else { rows })
    }
}

/// Registers the writes of the walkers `now` that act before tails are left, in place of all others.
fn place<'a>(
    recorder: &mut Recorder<'a>,
    walkers: &[Walker<'a>],
    now: &[usize],
    batch: &Batch,
    config: &Config,
) {
    recorder.clear_writes();
    for (segment, &i) in now.iter().enumerate() {
        let Walker { writes, first, .. } = walkers[i];
        let start = batch.rows_of(segment).start;
        let here = writes.iter().enumerate().filter(|(_, write)| !acts_on_tail(write.selection.at, config));
        for (index, write) in here {
            let write = Cow::Borrowed(write);
            recorder.write(PackedWrite { write, entry: (i, index), segment, start, first });
        }
    }
}

/// Registers what the walkers `of` still change on their packed tails, in place of all other writes.
fn place_tails<'a>(
    recorder: &mut Recorder<'a>,
    walkers: &[Walker<'a>],
    of: &[usize],
    here: impl Fn(At) -> bool,
    config: &Config,
) -> Result<()> {
    recorder.clear_writes();
    let batch = tail_batch(walkers, of);
    for (segment, &i) in of.iter().enumerate() {
        let Walker { writes, tail, .. } = walkers[i];
        let start = batch.rows_of(segment).start;
        for (index, write) in writes.iter().enumerate() {
            let at = write.selection.at;
            if !acts_on_tail(at, config) || !here(at) {
                continue;
            }
            let alone = match walkers[i].tail_len() == 1 && write.selection.rows.len() > 1 {
                true => write.only_row(tail)?,
                false => None,
            };
            let write = alone.map_or(Cow::Borrowed(write), Cow::Owned);
            recorder.write(PackedWrite { write, entry: (i, index), segment, start, first: tail });
        }
    }
    Ok(())
}

/// The packed rows that are tails, unless all are.
fn tail_rows(walkers: &[Walker], now: &[usize], packed: &Batch, device: &Device) -> Result<Option<Tensor>> {
    if now.iter().all(|&i| walkers[i].tail == walkers[i].first) {
        return Ok(None);
    }
    let rows = now.iter().enumerate().flat_map(|(segment, &i)| {
        let Range { end, .. } = packed.rows_of(segment);
        (end - walkers[i].tail_len()) as u32..end as u32
    });
    Ok(Some(Tensor::from_iter(rows, device)?))
}

/// The tails of these walkers, one segment each.
fn tail_batch(walkers: &[Walker], of: &[usize]) -> Batch {
    let segment = |&i: &usize| Segment { len: walkers[i].tail_len(), past: 0, past_len: 0 };
    Batch::new(of.iter().map(segment).collect())
}

impl<'a> End<'a> {
    /// The same beside another copy of the weights, where everything that is still computed of it then is.
    pub fn beside(mut self, other: &'a Transformer) -> Result<End<'a>> {
        let leave = |x: &mut Tensor, at| -> Result<()> {
            *x = card::moved(x, other.device_of(at))?;
            Ok(())
        };
        for recorder in &mut self.recorders {
            recorder.kept.iter_mut().try_for_each(|(at, x)| leave(x, *at))?;
            recorder.kept_scores.iter_mut().try_for_each(|((at, _), x)| leave(x, *at))?;
        }
        self.x = card::moved(&self.x, &other.device)?;
        Ok(End { transformer: other, ..self })
    }

    /// The final norm's output for all rows, with what patches do there, `[rows, d_model]`.
    pub fn normed(&mut self) -> Result<Tensor> {
        let x = card::moved(&self.x, &self.transformer.device)?;
        Ok(self.transformer.final_norm(&x, &mut self.recorders[1])?)
    }

    /// Logits of these rows, with what patches do there, `[rows, d_vocab]`, or of these tokens only, `[rows, tokens]`.
    /// What nobody looks at is not computed.
    pub fn logits(&mut self, rows: &[u32], tokens: Option<&[u32]>) -> Result<Tensor> {
        let transformer = self.transformer;
        let x = card::moved(&self.x, &transformer.device)?;
        let hook = &mut self.recorders[1];
        let rows = Tensor::new(rows, x.device())?;
        let looked_at = |hook: &Recorder, point| hook.wants(At { point, layer: 0 });
        if looked_at(hook, Point::Logits) {
            // Patches may reach the wanted tokens from any other.
            let normed = transformer.final_norm(&x, hook)?;
            let logits = ops::take(&transformer.unembed(&normed, hook)?, None, &rows)?;
            return Ok(match tokens {
                Some(ids) => logits.index_select(&Tensor::new(ids, logits.device())?, 1)?,
                None => logits,
            });
        }
        let normed = match looked_at(hook, Point::LnFinal) {
            true => ops::take(&transformer.final_norm(&x, hook)?, None, &rows)?,
            false => transformer.final_norm(&ops::take(&x, None, &rows)?, hook)?,
        };
        Ok(match tokens {
            Some(ids) => transformer.unembed_columns(&normed, ids)?,
            None => transformer.unembed(&normed, hook)?,
        })
    }

    /// What was recorded, walker by walker. Site by site, so that only one at a time lies there twice.
    pub fn records(&mut self) -> Result<Vec<BTreeMap<At, Tensor>>> {
        let mut records = vec![BTreeMap::new(); self.order.len()];
        let ranges: Vec<_> = (0..self.order.len()).map(|segment| self.batch.rows_of(segment)).collect();
        for recorder in &mut self.recorders {
            for (at, x) in std::mem::take(&mut recorder.kept) {
                for (&i, own) in self.order.iter().zip(own_rows_of_all(&x, &ranges)?) {
                    records[i].insert(at, own);
                }
            }
            for (at, x) in std::mem::take(&mut recorder.kept_at_once) {
                let views = (0..x.segments()).map(|segment| x.segment(segment));
                let views = views.collect::<candle_core::Result<Vec<_>>>()?;
                for (&i, own) in self.order.iter().zip(ops::own_all(&views.iter().collect::<Vec<_>>())?) {
                    records[i].insert(at, own);
                }
            }
            for ((at, segment), x) in std::mem::take(&mut recorder.kept_scores) {
                records[self.order[segment]].insert(at, x);
            }
        }
        Ok(records)
    }

    /// `max |Δ|` of every time that a write was carried out: walker, its write, and the change.
    pub fn changes(&self) -> Result<Vec<((usize, usize), f32)>> {
        apply::read(self.recorders.iter().flat_map(|recorder| &recorder.changes))
    }
}
