//! From activations to features and back, row by row: no row's result depends on another row.

use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

use super::error::{Result, SaeError};
use super::{Normalize, Sae};
use crate::model::{Precision, ops};

/// What SAELens adds to a standard deviation before it divides by it.
const LAYER_NORM_EPS: f64 = 1e-5;

/// From what the encoder's matrix gives to features; vectors are `[d_sae]`.
#[derive(Debug, Clone)]
pub(super) enum Encoder {
    /// `relu(pre + b_enc)`
    Relu { b_enc: Vec<f32> },
    /// `relu(pre + b_enc)` where that is above `threshold`, else 0 (Rajamanoharan et al. 2024, arXiv 2407.14435).
    JumpRelu { b_enc: Vec<f32>, threshold: Vec<f32> },
    /// The `k` largest of `pre + b_enc`, not below 0, else 0 (Gao et al. 2024, arXiv 2406.04093); each times the
    /// norm of its decoder row, if there are `norms`. Of equal ones the first counts as larger.
    TopK { b_enc: Vec<f32>, k: usize, norms: Option<Vec<f32>> },
    /// `relu(pre exp(r_mag) + b_mag)` where `pre + b_gate` is above 0, else 0 (Rajamanoharan et al. 2024, arXiv
    /// 2404.16014).
    Gated { b_gate: Vec<f32>, b_mag: Vec<f32>, r_mag: Vec<f32> },
}

impl Encoder {
    /// The vectors by their names in files.
    pub(super) fn vectors(&self) -> Vec<(&'static str, &[f32])> {
        match self {
            Encoder::Relu { b_enc } | Encoder::TopK { b_enc, .. } => vec![("b_enc", b_enc)],
            Encoder::JumpRelu { b_enc, threshold } => vec![("b_enc", b_enc), ("threshold", threshold)],
            Encoder::Gated { b_gate, b_mag, r_mag } => {
                vec![("b_gate", b_gate), ("b_mag", b_mag), ("r_mag", r_mag)]
            }
        }
    }

    /// Makes features of a row of what the matrix gives.
    fn activate(&self, row: &mut [f32]) {
        match self {
            Encoder::Relu { b_enc } => row.iter_mut().zip(b_enc).for_each(|(x, b)| *x = relu(*x + b)),
            Encoder::JumpRelu { b_enc, threshold } => {
                for ((x, b), threshold) in row.iter_mut().zip(b_enc).zip(threshold) {
                    let pre = *x + b;
                    *x = if pre <= *threshold { 0.0 } else { relu(pre) };
                }
            }
            Encoder::TopK { b_enc, k, norms } => {
                row.iter_mut().zip(b_enc).for_each(|(x, b)| *x += b);
                if let Some(norms) = norms {
                    row.iter_mut().zip(norms).for_each(|(x, norm)| *x *= norm);
                }
                keep_largest(row, *k);
            }
            Encoder::Gated { b_gate, b_mag, r_mag } => {
                for ((x, gate), (b, r)) in row.iter_mut().zip(b_gate).zip(b_mag.iter().zip(r_mag)) {
                    *x = if *x + gate <= 0.0 { 0.0 } else { relu(*x * r.exp() + b) };
                }
            }
        }
    }
}

/// Unlike `max`, this keeps NaN.
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

/// Sets all but the `k` largest to 0, and what is below 0; NaN counts as largest.
fn keep_largest(row: &mut [f32], k: usize) {
    let rank = |x: f32| if x.is_nan() { f32::INFINITY } else { x };
    let mut order: Vec<usize> = (0..row.len()).collect();
    if let Some(last) = k.checked_sub(1)
        && last < row.len()
    {
        order.select_nth_unstable_by(last, |a, b| rank(row[*b]).total_cmp(&rank(row[*a])).then(a.cmp(b)));
    }
    let (kept, dropped) = order.split_at(k.min(row.len()));
    kept.iter().for_each(|i| row[*i] = relu(row[*i]));
    dropped.iter().for_each(|i| row[*i] = 0.0);
}

impl Sae {
    /// The features of activations: `x` `[rows, d_in]` to `[rows, d_sae]`, on the device of `x`, in float32.
    ///
    /// # Errors
    /// Rows of another width.
    pub fn encode(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.input(x)?;
        let (rows, device) = (x.dim(0)?, x.device().clone());
        if rows == 0 {
            return Ok(Tensor::zeros((0, self.d_sae), DType::F32, &device)?);
        }
        let mut centred = self.about.normalize.of(&x)?.map_or(Ok(x.clone()), |norm| norm.apply(&x))?;
        if self.about.apply_b_dec_to_input {
            centred = centred.broadcast_sub(&self.b_dec)?;
        }
        let [pre] = ops::products(&centred.contiguous()?, [&self.w_enc], Precision::Highest)?;
        let mut features: Vec<f32> = pre.flatten_all()?.to_vec1()?;
        features.par_chunks_mut(self.d_sae).for_each(|row| self.encoder.activate(row));
        Ok(Tensor::from_vec(features, (rows, self.d_sae), &device)?)
    }

    /// What features stand for: `f` `[rows, d_sae]` to `[rows, d_out]`. `x` `[rows, d_in]` is what they were
    /// encoded from; it undoes a normalisation and feeds a skip connection.
    ///
    /// # Errors
    /// Rows of another width, or no `x` where it is needed.
    pub fn decode(&self, f: &Tensor, x: Option<&Tensor>) -> Result<Tensor> {
        let f = rows_of("features", f, self.d_sae)?;
        let (rows, device) = (f.dim(0)?, f.device().clone());
        let x = x.map(|x| self.input(x)).transpose()?;
        if x.as_ref().is_none_or(|x| x.dims()[0] != rows) && self.needs_input() {
            return Err(SaeError::NeedsInput { rows });
        }
        if rows == 0 {
            return Ok(Tensor::zeros((0, self.d_out), DType::F32, &device)?);
        }
        let f = match &self.encoder {
            Encoder::TopK { norms: Some(norms), .. } => {
                // A feature whose decoder row is 0 is 0 itself.
                let inverse = norms.iter().map(|norm| if *norm > 0.0 { 1.0 / norm } else { 0.0 });
                f.broadcast_mul(&Tensor::from_iter(inverse, &device)?)?
            }
            _ => f,
        };
        let [y] = ops::products(&f.contiguous()?, [&self.w_dec], Precision::Highest)?;
        let mut y = y.broadcast_add(&self.b_dec)?;
        if let Some(x) = x {
            if let Some(norm) = self.about.normalize.of(&x)?
                && !self.about.transcodes()
            {
                y = norm.undo(&y)?;
            }
            if let Some(skip) = &self.w_skip {
                let [past] = ops::products(&x, [skip], Precision::Highest)?;
                y = (y + past)?;
            }
        }
        Ok(y)
    }

    /// What an activation becomes on its way through the features, `[rows, d_out]`.
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        self.decode(&self.encode(x)?, Some(x))
    }

    /// Does decoding take the activations that were encoded?
    pub fn needs_input(&self) -> bool {
        let undone = matches!(self.about.normalize, Normalize::ConstantNormRescale | Normalize::LayerNorm);
        self.w_skip.is_some() || undone && !self.about.transcodes()
    }

    fn input(&self, x: &Tensor) -> Result<Tensor> {
        rows_of("activations", x, self.d_in)
    }
}

/// Contiguous float32 rows of this width.
fn rows_of(what: &'static str, x: &Tensor, width: usize) -> Result<Tensor> {
    match *x.dims() {
        [_, found] if found == width => Ok(ops::to_dtype(x, DType::F32)?.contiguous()?),
        _ => Err(SaeError::Rows { what, width, found: x.dims().to_vec() }),
    }
}

/// What is done to each row: `(x - shift) / scale`, and back by `y back + shift`; all `[rows, 1]`.
struct Norm {
    shift: Option<Tensor>,
    scale: Tensor,
    back: Tensor,
}

impl Normalize {
    /// How it changes these rows, if it does.
    fn of(self, x: &Tensor) -> Result<Option<Norm>> {
        let width = x.dim(D::Minus1)? as f64;
        Ok(match self {
            Normalize::None | Normalize::ExpectedAverageOnlyIn => None,
            Normalize::ConstantNormRescale => {
                let scale = (x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? / width.sqrt())?;
                Some(Norm { shift: None, back: scale.clone(), scale })
            }
            Normalize::LayerNorm => {
                let mean = x.mean_keepdim(D::Minus1)?;
                let squares = x.broadcast_sub(&mean)?.sqr()?.sum_keepdim(D::Minus1)?;
                let std = (squares / (width - 1.0))?.sqrt()?;
                Some(Norm { shift: Some(mean), scale: (&std + LAYER_NORM_EPS)?, back: std })
            }
        })
    }
}

impl Norm {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.shift.as_ref().map_or(Ok(x.clone()), |shift| x.broadcast_sub(shift))?;
        Ok(x.broadcast_div(&self.scale)?)
    }

    fn undo(&self, y: &Tensor) -> Result<Tensor> {
        let y = y.broadcast_mul(&self.back)?;
        Ok(self.shift.as_ref().map_or(Ok(y.clone()), |shift| y.broadcast_add(shift))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_and_of_equal_ones_the_first() {
        let kept = |row: &[f32], k| {
            let mut row = row.to_vec();
            keep_largest(&mut row, k);
            row
        };
        assert_eq!(kept(&[1.0, 3.0, 2.0, 3.0], 2), [0.0, 3.0, 0.0, 3.0]);
        assert_eq!(kept(&[2.0, 2.0, 2.0], 2), [2.0, 2.0, 0.0]);
        assert_eq!(kept(&[-1.0, -2.0, 0.5], 2), [0.0, 0.0, 0.5]);
        assert_eq!(kept(&[1.0, 2.0], 2), [1.0, 2.0]);
        let odd = kept(&[1.0, -f32::NAN, 2.0], 1);
        assert!(odd[1].is_nan() && odd[0] == 0.0 && odd[2] == 0.0);
    }
}
