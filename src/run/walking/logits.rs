//! The logits of one run, computed when somebody reads them: a vocabulary is many times as wide as the stream, and most
//! runs are asked for one row of it or for none.

use super::apply::{self, Changes, PackedWrite};
use crate::model::{NoHook, Transformer};
use crate::run::control::Control;
use crate::run::error::Result;
use candle_core::{DType, Tensor};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Rows of one product, after which a run looks whether it should stop.
const PIECE_ROWS: usize = 256;

/// The logits that were read last among the runs of one call, and of which of them: scripts read one position after the
/// other.
pub type LastRead = Arc<Mutex<Option<(usize, Tensor)>>>;

#[derive(Debug)]
pub struct Logits {
    /// `ln_final`, `[pos, d_model]`
    normed: Tensor,
    /// Rows that patches of the logits reached, in order, and what they left there, `[rows, d_vocab]`.
    patched: Option<(Vec<usize>, Tensor)>,
    /// The last row, once it was read, `[1, d_vocab]`.
    last: Mutex<Option<Tensor>>,
    last_read: LastRead,
    /// Which of the runs of its call it is.
    index: usize,
}

impl Logits {
    pub fn new(normed: Tensor, last_read: LastRead, index: usize) -> Logits {
        Logits { normed, patched: None, last: Mutex::new(None), last_read, index }
    }

    /// `ln_final` of every position, `[pos, d_model]`.
    pub fn normed(&self) -> &Tensor {
        &self.normed
    }

    fn len(&self) -> usize {
        self.normed.dims()[0]
    }

    /// Applies writes at the logits; what they change is computed now, and kept.
    pub fn patch(
        &mut self,
        transformer: &Transformer,
        placed: &[PackedWrite],
        control: &Control,
    ) -> Result<Changes> {
        let (all, changes) = apply::rows(&self.plain(transformer, control)?, placed)?;
        let touched: BTreeSet<usize> = placed.iter().flat_map(PackedWrite::packed_rows).collect();
        let index = Tensor::from_iter(touched.iter().map(|&row| row as u32), all.device())?;
        self.patched = Some((touched.into_iter().collect(), all.index_select(&index, 0)?));
        Ok(changes)
    }

    /// `[pos, d_vocab]`
    pub fn all(&self, transformer: &Transformer, control: &Control) -> Result<Tensor> {
        let mut last_read = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, all)) = last_read.as_ref().filter(|(index, _)| *index == self.index) {
            return Ok(all.clone());
        }
        // Not both at once.
        *last_read = None;
        let all = self.with_patched(self.plain(transformer, control)?, 0..self.len())?;
        *last_read = Some((self.index, all.clone()));
        Ok(all)
    }

    /// The last row, `[1, d_vocab]`: the same numbers as in [`all`](Self::all).
    pub fn last(&self, transformer: &Transformer) -> Result<Tensor> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*last {
            return Ok(last.clone());
        }
        let row = self.len() - 1;
        let computed = self.product(transformer, row..row + 1)?;
        Ok(last.insert(self.with_patched(computed, row..row + 1)?).clone())
    }

    /// Some rows, `[rows, d_vocab]`.
    pub fn rows(&self, transformer: &Transformer, control: &Control, rows: Range<usize>) -> Result<Tensor> {
        match rows == (self.len() - 1..self.len()) {
            true => self.last(transformer),
            false => self.with_patched(self.products(transformer, control, rows.clone())?, rows),
        }
    }

    /// All rows as the model gives them. The last one is a product of its own, as in [`last`](Self::last): the
    /// number of rows shows in rounding.
    fn plain(&self, transformer: &Transformer, control: &Control) -> Result<Tensor> {
        let last = self.len() - 1;
        let row = self.product(transformer, last..self.len())?;
        if last == 0 {
            return Ok(row);
        }
        let all = Tensor::zeros((self.len(), row.dim(1)?), row.dtype(), row.device())?;
        all.slice_set(&row, 0, last)?;
        self.fill(&all, transformer, control, 0..last)?;
        Ok(all)
    }

    fn products(&self, transformer: &Transformer, control: &Control, rows: Range<usize>) -> Result<Tensor> {
        if rows.len() <= PIECE_ROWS {
            return self.product(transformer, rows);
        }
        let d_vocab = transformer.config.d_vocab;
        let all = Tensor::zeros((rows.len(), d_vocab), transformer.dtype, self.normed.device())?;
        self.fill(&all, transformer, control, rows)?;
        Ok(all)
    }

    /// Writes rows into `all`, from its first on.
    fn fill(
        &self,
        all: &Tensor,
        transformer: &Transformer,
        control: &Control,
        rows: Range<usize>,
    ) -> Result<()> {
        for first in rows.clone().step_by(PIECE_ROWS) {
            control.check()?;
            let piece = self.product(transformer, first..rows.end.min(first + PIECE_ROWS))?;
            all.slice_set(&piece, 0, first - rows.start)?;
        }
        Ok(())
    }

    fn product(&self, transformer: &Transformer, rows: Range<usize>) -> Result<Tensor> {
        let normed = self.normed.narrow(0, rows.start, rows.len())?;
        Ok(transformer.unembed(&normed, &mut NoHook)?)
    }

    /// `logits` of these rows with what patches left there.
    fn with_patched(&self, logits: Tensor, rows: Range<usize>) -> Result<Tensor> {
        let Some((touched, patched)) = &self.patched else { return Ok(logits) };
        let mut source: Vec<u32> = (0..rows.len() as u32).collect();
        for (i, row) in touched.iter().enumerate().filter(|(_, row)| rows.contains(row)) {
            source[row - rows.start] = (rows.len() + i) as u32;
        }
        let both = Tensor::cat(&[&logits, patched], 0)?;
        Ok(both.index_select(&Tensor::new(source, logits.device())?, 0)?)
    }
}

/// The numbers of logits, row after row.
pub fn numbers(logits: &Tensor) -> Result<Vec<f32>> {
    Ok(logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
