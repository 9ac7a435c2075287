//! What is written to the residual stream, as part of a logit: the final norm with its scale frozen, and the
//! unembedding, are one affine map.

use super::error::Result;
use super::transformer::Transformer;
use candle_core::{DType, Tensor};

/// `logit = direction · resid + constant`, before any soft cap.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    /// `[d_model]`
    pub direction: Vec<f64>,
    /// What the biases of norm and unembedding add.
    pub constant: f64,
}

impl Transformer {
    /// The logit of token `plus`, less that of `minus` if there is one, as an affine function of the last layer's
    /// `resid_post`, with the norm's scale as it is for `resid` `[d_model]`. It is linear in what was added up to make
    /// `resid`, so that the parts' shares (their products with the direction) and the constant sum to the logits'
    /// difference: direct logit attribution.
    ///
    /// With gain γ, bias β, unembedding u = W_U[plus] - W_U[minus] and its bias b: γ ⊙ u / σ, where σ is the
    /// root of resid's mean square (RMSNorm), or of its variance, the direction then losing its mean (LayerNorm); and
    /// β · u + b.
    pub fn direction(&self, resid: &Tensor, plus: u32, minus: Option<u32>) -> Result<Direction> {
        let ids: Vec<u32> = [plus].into_iter().chain(minus).collect();
        let difference =
            |values: &[f64]| values.first().copied().unwrap_or(0.0) - values.get(1).unwrap_or(&0.0);
        let rows = ids.iter().map(|id| doubles(&self.unembed.rows(&[*id])?)).collect::<Result<Vec<_>>>()?;
        let unembed: Vec<f64> = (0..self.config.d_model)
            .map(|i| difference(&rows.iter().map(|row| row[i]).collect::<Vec<_>>()))
            .collect();
        let mut constant = match &self.unembed_bias {
            Some(bias) => difference(&doubles(&bias.index_select(&Tensor::new(ids, &self.device)?, 0)?)?),
            None => 0.0,
        };
        let norm = &self.final_norm;
        let gained = doubles(&norm.gain)?.into_iter().zip(&unembed).map(|(gain, u)| gain * u);
        let mut direction: Vec<f64> = gained.collect();
        let mut resid = doubles(resid)?;
        if let Some(bias) = &norm.bias {
            centre(&mut resid);
            centre(&mut direction);
            constant += doubles(bias)?.iter().zip(&unembed).map(|(bias, u)| bias * u).sum::<f64>();
        }
        let scale = (resid.iter().map(|x| x * x).sum::<f64>() / resid.len() as f64 + norm.eps).sqrt();
        direction.iter_mut().for_each(|x| *x /= scale);
        Ok(Direction { direction, constant })
    }
}

fn doubles(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn centre(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter_mut().for_each(|x| *x -= mean);
}
