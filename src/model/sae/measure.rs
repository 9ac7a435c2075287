//! How much of activations an autoencoder explains.

use candle_core::{DType, Tensor};

use super::error::{Result, SaeError};
use super::{Kind, Normalize, Sae};

/// Rows whose features are held at once.
const ROWS: usize = 1024;

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
        let mean = mean(y, rows)?;
        let (mut left, mut all, mut active) = (0.0, 0.0, 0usize);
        let mut ever = vec![false; self.d_sae()];
        for from in (0..rows).step_by(ROWS) {
            let part = |t: &Tensor| t.narrow(0, from, ROWS.min(rows - from));
            let (x, y) = (part(x)?, part(y)?.to_dtype(DType::F32)?);
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
        if found.variance < 0.0 {
            Some(format!(
                "the autoencoder explains {:.2} of the variance, less than the mean would: it may be of another place or \
                 model, or of another position than the first",
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

/// The mean row, in float64.
fn mean(y: &Tensor, rows: usize) -> Result<Vec<f64>> {
    let width = y.dims()[1];
    let mut sum = vec![0.0; width];
    for from in (0..rows).step_by(ROWS) {
        let part = y.narrow(0, from, ROWS.min(rows - from))?.to_dtype(DType::F32)?;
        for (i, y) in part.flatten_all()?.to_vec1::<f32>()?.into_iter().enumerate() {
            sum[i % width] += f64::from(y);
        }
    }
    Ok(sum.into_iter().map(|sum| sum / rows as f64).collect())
}
