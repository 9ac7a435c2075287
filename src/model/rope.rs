//! Rotary position tables.

use super::config::{Rotary, RotaryScaling};
use super::error::Result;
use candle_core::{DType, Device, Tensor};
use std::f64::consts::PI;

/// Angular frequencies, one a pair of dimensions.
///
/// `theta^(-2i/d)` for d rotated dimensions, scaled as the config says; Llama 3.1's ramp follows transformers' `modeling_rope_utils`.
fn frequencies(rotary: &Rotary) -> Vec<f32> {
    let dims = rotary.dims;
    let plain = (0..dims / 2).map(|i| 1.0 / rotary.theta.powf(2.0 * i as f64 / dims as f64));
    let scaled: Vec<f64> = match &rotary.scaling {
        RotaryScaling::None => plain.collect(),
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

/// Cosines and sines of every row's angles, `[rows, dims / 2]` each.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl RotaryTable {
    /// Tables for rows at `positions`. Angles are float32 products, as in the reference implementations.
    pub fn new(rotary: &Rotary, positions: &[u32], dtype: DType, device: &Device) -> Result<Self> {
        let frequencies = frequencies(rotary);
        let magnitude = rotary.magnitude as f32;
        let angles: Vec<f32> =
            positions.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f)).collect();
        let shape = (positions.len(), frequencies.len());
        let table = |f: fn(f32) -> f32| -> Result<Tensor> {
            let values = angles.iter().map(|&a| f(a) * magnitude).collect::<Vec<f32>>();
            Ok(Tensor::from_vec(values, shape, device)?.to_dtype(dtype)?)
        };
        Ok(RotaryTable { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }
}
