//! Rotary position tables.

use super::batch::Batch;
use super::config::{Rotary, RotaryScaling};
use super::error::Result;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::f64::consts::PI;
use std::sync::{Mutex, PoisonError};

/// Angular frequencies of a sequence of `len` positions, one a pair of dimensions.
///
/// `theta^(-2i/d)` for d rotated dimensions, scaled as the config says; ramps follow transformers' `modeling_rope_utils`.
fn frequencies(rotary: &Rotary, len: usize) -> Vec<f32> {
    let dims = rotary.dims;
    let theta = match rotary.scaling {
        RotaryScaling::Dynamic { factor, original } if len > original => {
            let stretch = factor * len as f64 / original as f64 - (factor - 1.0);
            rotary.theta * stretch.powf(dims as f64 / (dims as f64 - 2.0))
        }
        _ => rotary.theta,
    };
    let plain = (0..dims / 2).map(|i| 1.0 / theta.powf(2.0 * i as f64 / dims as f64));
    let scaled: Vec<f64> = match &rotary.scaling {
        RotaryScaling::None | RotaryScaling::Dynamic { .. } => plain.collect(),
        RotaryScaling::Yarn { factor, low, high } => {
            let width = if low == high { 0.001 } else { high - low };
            let divided = |pair: usize| ((pair as f64 - low) / width).clamp(0.0, 1.0);
            plain
                .enumerate()
                .map(|(pair, f)| f / factor * divided(pair) + f * (1.0 - divided(pair)))
                .collect()
        }
        RotaryScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
        RotaryScaling::Factors(factors) => plain.zip(factors).map(|(f, &by)| f / f64::from(by)).collect(),
        RotaryScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_n_ctx } => plain
            .map(|f| {
                let wavelength = 2.0 * PI / f;
                if wavelength < original_n_ctx / high_freq_factor {
                    f
                } else if wavelength > original_n_ctx / low_freq_factor {
                    f / factor
                } else {
                    let ramp = (original_n_ctx / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - ramp) * f / factor + ramp * f
                }
            })
            .collect(),
    };
    scaled.into_iter().map(|f| f as f32).collect()
}

/// Cosines and sines of angles, `[rows, dims / 2]` each, one row a row of a batch; or a position each, and which position
/// each row of the batch has.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    pub cos: Tensor,
    pub sin: Tensor,
    /// `[rows]` of `u32`
    pub positions: Option<Tensor>,
}

/// Tables by position that lie on a card for good, one a kind of layer and card.
#[derive(Debug, Default)]
pub struct Tables(Mutex<BTreeMap<usize, RotaryTable>>);

impl Tables {
    /// The table of a kind of layers on a card, for rows at these positions, of which the last is `len - 1`; one kept from before
    /// where that is long enough.
    pub fn by_position(
        &self,
        kind: usize,
        rotary: &Rotary,
        len: usize,
        positions: &Tensor,
    ) -> Result<RotaryTable> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.get(&kind).filter(|table| table.cos.dims()[0] >= len);
        let table = match known {
            Some(table) => table.clone(),
            None => {
                let all = Batch::prompts(&[len.next_power_of_two().max(256)]);
                let table = RotaryTable::new(rotary, &all, DType::F32, positions.device())?;
                tables.insert(kind, table.clone());
                table
            }
        };
        Ok(RotaryTable { positions: Some(positions.clone()), ..table })
    }
}

impl RotaryTable {
    /// The angles of every row of the batch.
    pub fn of_rows(&self, dtype: DType) -> Result<(Tensor, Tensor)> {
        let rows = |table: &Tensor| -> Result<Tensor> {
            Ok(match &self.positions {
                Some(positions) => table.index_select(positions, 0)?.to_dtype(dtype)?,
                None => table.clone(),
            })
        };
        Ok((rows(&self.cos)?, rows(&self.sin)?))
    }

    /// Tables for the rows of a batch. Angles are float32 products, as in the reference implementations.
    pub fn new(rotary: &Rotary, batch: &Batch, dtype: DType, device: &Device) -> Result<Self> {
        let usual = frequencies(rotary, 0);
        let magnitude = rotary.magnitude as f32;
        let mut angles = Vec::with_capacity(batch.rows() * usual.len());
        for segment in batch.segments() {
            let len = segment.past_len + segment.len;
            let own = rotary.turns_with_length(len).then(|| frequencies(rotary, len));
            let frequencies = own.as_ref().unwrap_or(&usual);
            angles
                .extend((segment.past_len..len).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f)));
        }
        let shape = (batch.rows(), usual.len());
        let table = |f: fn(f32) -> f32| -> Result<Tensor> {
            let values = angles.iter().map(|&a| f(a) * magnitude).collect::<Vec<f32>>();
            Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
        };
        Ok(RotaryTable { cos: table(f32::cos)?, sin: table(f32::sin)?, positions: None })
    }
}
