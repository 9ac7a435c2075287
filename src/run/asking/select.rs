//! A site resolved for one prompt: which rows and columns of which tensor.

use super::site::{Features, Heads, Site, Which};
use super::tokens::Tokens;
use crate::model::{At, Axes, Config, Model};
use crate::run::error::{Result, RunError};
use crate::run::walking::rows::own;
use candle_core::{DType, Device, Tensor};

/// Rows and columns of one activation. For scores, `rows` are query positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub at: At,
    pub rows: Vec<usize>,
    pub cols: Cols,
    axes: Axes,
    single_pos: bool,
    /// The site as the user wrote it, for messages.
    pub site: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cols {
    All,
    /// Whole heads; `squeeze` drops the axis on reading.
    Heads {
        heads: Vec<usize>,
        squeeze: bool,
    },
    Neuron(usize),
    /// Not columns of the activation but of what an autoencoder makes of it.
    Features(Features),
}

impl Selection {
    /// # Errors
    /// A site that this architecture lacks, or positions that the prompt lacks.
    pub fn new(site: &Site, model: &Model, tokens: &Tokens) -> Result<Selection> {
        site.check(model)?;
        let rows = site.pos.resolve(tokens)?;
        if rows.is_empty() {
            return Err(RunError::NoPositions { site: site.to_string() });
        }
        Ok(Selection::at_rows(site, model.config(), rows))
    }

    /// The site's heads or neuron at given rows, whatever its own positions say.
    pub fn at_rows(site: &Site, config: &Config, rows: Vec<usize>) -> Selection {
        let cols = match (&site.features, &site.heads, site.neuron) {
            (Some(features), ..) => Cols::Features(features.clone()),
            (_, _, Some(neuron)) => Cols::Neuron(neuron),
            (_, Heads::All, _) => Cols::All,
            (_, Heads::One(head), _) => Cols::Heads { heads: vec![*head], squeeze: true },
            (_, Heads::Many(heads), _) => Cols::Heads { heads: heads.clone(), squeeze: false },
        };
        Selection {
            at: site.at,
            rows,
            cols,
            axes: site.at.point.axes(config),
            single_pos: site.pos.is_single(),
            site: site.to_string(),
        }
    }

    pub fn is_scores(&self) -> bool {
        matches!(self.axes, Axes::Scores { .. })
    }

    /// Chosen heads and the width of each; a row without heads is one head.
    fn heads(&self) -> (usize, usize) {
        let (all, width) = match self.axes {
            Axes::Row { width } => (1, width),
            Axes::Heads { heads, width } => (heads, width),
            Axes::Scores { heads } => (heads, 0),
        };
        match &self.cols {
            Cols::All => (all, width),
            Cols::Heads { heads, .. } => (heads.len(), width),
            Cols::Neuron(_) => (1, 1),
            Cols::Features(features) => (1, features.count()),
        }
    }

    /// Width of a row of the whole activation; 0 for scores.
    fn whole_width(&self) -> usize {
        match self.axes {
            Axes::Row { width } => width,
            Axes::Heads { heads, width } => heads * width,
            Axes::Scores { .. } => 0,
        }
    }

    /// Numbers a row that a patch holds beside the activation: its features, before and after.
    pub fn beside(&self) -> usize {
        match &self.cols {
            Cols::Features(features) => 4 * features.sae.d_sae(),
            Cols::All | Cols::Heads { .. } | Cols::Neuron(_) => 0,
        }
    }

    /// Columns of a packed row that this selection covers, as `(start, len)`.
    pub fn column_ranges(&self) -> Vec<(usize, usize)> {
        let width = self.heads().1;
        match &self.cols {
            Cols::All => vec![(0, self.packed_width())],
            Cols::Heads { heads, .. } => heads.iter().map(|h| (h * width, width)).collect(),
            Cols::Neuron(neuron) => vec![(*neuron, 1)],
            Cols::Features(_) => vec![(0, self.whole_width())],
        }
    }

    /// Width of the selection's rows when packed.
    pub fn packed_width(&self) -> usize {
        let (heads, width) = self.heads();
        heads * width
    }

    /// The shape a script sees. `keys` is the length of the key axis of scores.
    pub fn shape(&self, keys: usize) -> Vec<usize> {
        let mut shape = Vec::new();
        let (heads, width) = self.heads();
        let head_axis = match (&self.axes, &self.cols) {
            (Axes::Row { .. }, _) | (_, Cols::Heads { squeeze: true, .. } | Cols::Features(_)) => None,
            _ => Some(heads),
        };
        let pos = (!self.single_pos).then_some(self.rows.len());
        if self.is_scores() {
            shape.extend(head_axis);
            shape.extend(pos);
            shape.push(keys);
        } else {
            shape.extend(pos);
            shape.extend(head_axis);
            if !matches!(&self.cols, Cols::Neuron(_) | Cols::Features(Features { which: Which::One(_), .. }))
            {
                shape.push(width);
            }
        }
        shape
    }

    /// Reads the selection out of one prompt's activation: `[pos, width]`, or `[head, query, key]` for scores.
    pub fn read(&self, full: &Tensor) -> Result<Tensor> {
        self.shaped(&self.pick(full)?)
    }

    /// What [`pick`](Self::pick) gave, in the selection's shape.
    pub fn shaped(&self, picked: &Tensor) -> Result<Tensor> {
        let keys = if self.is_scores() { picked.dim(2)? } else { 0 };
        Ok(picked.reshape(self.shape(keys))?)
    }

    /// The same, packed: `[rows, packed_width]`, or `[heads, rows, key]`.
    pub fn pick(&self, full: &Tensor) -> Result<Tensor> {
        let index = |list: &[usize]| Tensor::from_iter(list.iter().map(|&i| i as u32), full.device());
        if self.is_scores() {
            let heads = match &self.cols {
                Cols::Heads { heads, .. } => full.index_select(&index(heads)?, 0)?,
                _ => full.clone(),
            };
            return Ok(heads.contiguous()?.index_select(&index(&self.rows)?, 1)?);
        }
        let rows = match self.adjacent() {
            // On a card a view, which starts no kernel: the run that it looks into lives on beside it.
            Some((first, len)) if full.device().is_cuda() && full.is_contiguous() => {
                full.narrow(0, first, len)?
            }
            _ => full.contiguous()?.index_select(&index(&self.rows)?, 0)?,
        };
        match &self.cols {
            Cols::All => return Ok(rows),
            Cols::Features(features) => {
                let all = features.sae.encode(&on_processor(&rows)?)?;
                return match features.listed() {
                    None => Ok(all),
                    Some(listed) => {
                        let index = Tensor::from_iter(listed.iter().map(|&i| i as u32), all.device())?;
                        Ok(all.index_select(&index, 1)?)
                    }
                };
            }
            Cols::Heads { .. } | Cols::Neuron(_) => {}
        }
        let parts = self.column_ranges().into_iter().map(|(start, len)| rows.narrow(1, start, len));
        match parts.collect::<candle_core::Result<Vec<_>>>()?.as_slice() {
            [part] if part.device().is_cuda() => Ok(part.clone()),
            [part] => own(part),
            parts => Ok(Tensor::cat(parts, 1)?),
        }
    }

    /// The first row and how many, if they follow one another.
    fn adjacent(&self) -> Option<(usize, usize)> {
        let first = *self.rows.first()?;
        let follow = self.rows.iter().enumerate().all(|(i, &row)| row == first + i);
        follow.then_some((first, self.rows.len()))
    }

    /// Is a value of shape `dims` the selection's own, or one position's for all of them?
    pub fn accepts(&self, dims: &[usize], keys: usize) -> Result<()> {
        let shape = self.shape(keys);
        let one_position = if self.single_pos { &shape[..] } else { &shape[1..] };
        let width = self.packed_width();
        let one =
            || dims == one_position || dims == [width] || (width == 1 && dims.iter().product::<usize>() == 1);
        if dims == shape || (!self.is_scores() && one()) {
            return Ok(());
        }
        Err(RunError::ValueShape { site: self.site.clone(), want: shape, found: dims.to_vec() })
    }

    /// A script's value as packed rows: the selection's own shape, or one position's for all of them.
    pub fn pack(&self, value: &Tensor, keys: usize) -> Result<Tensor> {
        self.accepts(value.dims(), keys)?;
        let (heads, _) = self.heads();
        let (rows, width) = (self.rows.len(), self.packed_width());
        if self.is_scores() {
            return Ok(value.reshape((heads, rows, keys))?);
        }
        if value.elem_count() == rows * width {
            return Ok(value.reshape((rows, width))?);
        }
        Ok(value.reshape((1, width))?.broadcast_as((rows, width))?.contiguous()?)
    }

    /// How many values a patch brings here at most. `keys` is the length of the key axis of scores.
    pub fn values(&self, keys: usize) -> usize {
        self.shape(keys).iter().product()
    }

    /// Do two selections of the same prompt share a value?
    pub fn overlaps(&self, other: &Selection) -> bool {
        if self.at != other.at || !self.rows.iter().any(|row| other.rows.contains(row)) {
            return false;
        }
        match (&self.cols, &other.cols) {
            // Features are made of the whole row, and what changes it changes all of them.
            (Cols::All | Cols::Features(_), _) | (_, Cols::All | Cols::Features(_)) => true,
            (Cols::Neuron(a), Cols::Neuron(b)) => a == b,
            (Cols::Heads { heads: a, .. }, Cols::Heads { heads: b, .. }) => a.iter().any(|h| b.contains(h)),
            _ => false,
        }
    }
}

/// Rows as an autoencoder takes them, which computes on the processor, wherever the model is.
pub fn on_processor(rows: &Tensor) -> Result<Tensor> {
    Ok(rows.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)
}
