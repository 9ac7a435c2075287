//! How much of activations an autoencoder explains.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::error::{Result, SaeError};
use super::{Kind, Normalize, Sae};
use crate::data::rows::Rows;

/// Rows whose features are held at once.
const ROWS: usize = 1024;
/// Rows that tell at first sight whether activations are an autoencoder's own, at least and at most.
pub const FIRST_SIGHT: std::ops::RangeInclusive<usize> = 32..=512;
/// Rows longer than this many times the median are left out there.
const LONG: f32 = 4.0;

/// How well an autoencoder does on some activations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Explained {
    /// Share of the variance of what it should give that is in what it gives: 1 is all, 0 as much as their mean.
    pub variance: f64,
    /// Active features a row.
    pub l0: f64,
    /// Squared error a row, summed over its numbers.
    pub error: f64,
    /// Features that are active in no row.
    pub silent: usize,
    pub rows: usize,
}

impl Sae {
    /// How well it gives `y` `[rows, d_out]` for `x` `[rows, d_in]`; an autoencoder's `y` is `x` itself.
    ///
    /// # Errors
    /// Rows of other widths, or without variance.
    pub fn explained(&self, x: &Tensor, y: Option<&Tensor>) -> Result<Explained> {
        let (y, rows) = (y.unwrap_or(x), x.dims().first().copied().unwrap_or(0));
        if *y.dims() != [rows, self.d_out()] {
            return Err(SaeError::Rows {
                what: "activations to compare with",
                width: self.d_out(),
                found: y.dims().to_vec(),
            });
        }
        let part = |t: &Tensor, rows: Range<usize>| -> Result<Tensor> {
            Ok(t.narrow(0, rows.start, rows.len())?.to_dtype(DType::F32)?)
        };
        self.explained_of(rows, |rows| Ok((part(x, rows.clone())?, part(y, rows)?)))
    }

    /// The same of an autoencoder over rows that need not be in memory.
    ///
    /// # Errors
    /// As [`Sae::explained`].
    pub fn explained_rows(&self, x: &dyn Rows) -> Result<Explained> {
        if x.width() != self.d_out() {
            let (what, found) = ("activations to compare with", vec![x.len(), x.width()]);
            return Err(SaeError::Rows { what, width: self.d_out(), found });
        }
        self.explained_of(x.len(), |rows| {
            let shape = (rows.len(), x.width());
            let numbers: Vec<f32> = rows.flat_map(|i| x.row(i)).copied().collect();
            let part = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
            Ok((part.clone(), part))
        })
    }

    /// `part` gives what goes in and what should come out, of some of the rows.
    fn explained_of(
        &self,
        rows: usize,
        part: impl Fn(Range<usize>) -> Result<(Tensor, Tensor)>,
    ) -> Result<Explained> {
        let parts = || (0..rows).step_by(ROWS).map(|from| part(from..(from + ROWS).min(rows)));
        let mut mean = vec![0.0; self.d_out()];
        for part in parts() {
            for (i, y) in part?.1.flatten_all()?.to_vec1::<f32>()?.into_iter().enumerate() {
                mean[i % self.d_out()] += f64::from(y);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= rows as f64);
        let (mut left, mut all, mut active) = (0.0, 0.0, 0usize);
        let mut ever = vec![false; self.d_sae()];
        for part in parts() {
            let (x, y) = part?;
            let features = self.encode(&x)?;
            let given: Vec<f32> = self.decode(&features, Some(&x))?.flatten_all()?.to_vec1()?;
            for (i, feature) in features.flatten_all()?.to_vec1::<f32>()?.into_iter().enumerate() {
                if feature != 0.0 {
                    active += 1;
                    ever[i % self.d_sae()] = true;
                }
            }
            for (i, (y, given)) in y.flatten_all()?.to_vec1::<f32>()?.into_iter().zip(given).enumerate() {
                left += (f64::from(y) - f64::from(given)).powi(2);
                all += (f64::from(y) - mean[i % self.d_out()]).powi(2);
            }
        }
        if all == 0.0 {
            return Err(SaeError::NoVariance { rows });
        }
        let count = rows as f64;
        Ok(Explained {
            variance: 1.0 - left / all,
            l0: active as f64 / count,
            error: left / count,
            silent: ever.iter().filter(|ever| !**ever).count(),
            rows,
        })
    }
}

impl Sae {
    /// What is odd about how it does on activations, if anything is: most likely they are not its own.
    pub fn odd(&self, found: &Explained) -> Option<String> {
        let cfg = &self.about.cfg;
        let said = match self.about.kind {
            Kind::TopK { k, .. } => Some(k as f64),
            _ => cfg["l0"].as_f64().or(cfg["average_l0"].as_f64()),
        };
        let of_l0 = said.filter(|said| found.l0 > 2.0 * said || found.l0 < said / 2.0);
        // Transcoders explain less, and what is typical of them depends on the layer.
        let least = if self.about.transcodes() { 0.0 } else { 0.5 };
        if found.variance < least {
            Some(format!(
                "the autoencoder explains {:.2} of the variance: the activations may be of another place or model, or of \
                 first positions",
                found.variance
            ))
        } else {
            of_l0.map(|said| {
                format!(
                    "{:.1} features a row are active, where the autoencoder is said to have {said}",
                    found.l0
                )
            })
        }
    }

    /// What a user should know of inputs that the autoencoder expects in other units.
    pub fn unscaled(&self) -> Option<String> {
        (self.about.normalize == Normalize::ExpectedAverageOnlyIn).then(|| {
            "the autoencoder was trained on inputs of one average length, and its files do not say which: if they were \
             scaled, add `scale`"
                .into()
        })
    }
}

impl Sae {
    /// What is [odd](Sae::odd) about the first activations that it is given, judged by some of them; of few it cannot be
    /// told. Rows that are much longer than most, as those of the first token in many models, do not count, since few
    /// autoencoders were trained on them. `y` as in [`Sae::explained`].
    ///
    /// # Errors
    /// Rows of other widths.
    pub fn odd_at_first_sight(&self, x: &Tensor, y: Option<&Tensor>) -> Result<Option<String>> {
        if y.is_none() && self.about.transcodes() {
            return Ok(None);
        }
        let norms: Vec<f32> = x.to_dtype(DType::F32)?.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
        let mut sorted = norms.clone();
        sorted.sort_by(f32::total_cmp);
        let Some(median) = sorted.get(sorted.len() / 2) else { return Ok(None) };
        let usual = (0u32..).zip(&norms).filter(|(_, norm)| **norm <= LONG * median).map(|(row, _)| row);
        let usual: Vec<u32> = usual.take(*FIRST_SIGHT.end()).collect();
        if usual.len() < *FIRST_SIGHT.start() {
            return Ok(None);
        }
        let usual = Tensor::new(usual, x.device())?;
        let rows = |t: &Tensor| t.index_select(&usual, 0);
        match self.explained(&rows(x)?, y.map(rows).transpose()?.as_ref()) {
            Ok(found) => Ok(self.odd(&found)),
            Err(SaeError::NoVariance { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
