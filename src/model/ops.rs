//! Norms, softmax, rotary and activations, each in two forms: a fused kernel, and plain tensor operations where
//! a gradient is tracked (candle's fused kernels drop gradients silently). Nothing else calls candle's fused ops.

use super::config::Activation;
use super::error::Result;
use candle_core::{D, Tensor};
use candle_nn::{ops, rotary_emb};

/// `x / rms(x) * gain` over the last axis.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if x.track_op() {
        ops::rms_norm_slow(&x, gain, eps as f32)?
    } else {
        ops::rms_norm(&x, gain, eps as f32)?
    })
}

/// `(x - mean) / std * gain + bias` over the last axis.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if x.track_op() {
        ops::layer_norm_slow(&x, gain, bias, eps as f32)?
    } else {
        ops::layer_norm(&x, gain, bias, eps as f32)?
    })
}

/// Softmax over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if x.track_op() { ops::softmax(&x, D::Minus1)? } else { ops::softmax_last_dim(&x)? })
}

/// Rotates the two halves of every head: `x [rows, heads, d_head]`, `cos` and `sin` `[rows, d_head / 2]`.
pub fn rotary(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let x = x.unsqueeze(0)?.contiguous()?;
    let rotated = if x.track_op() {
        rotary_emb::rope_slow(&x.transpose(1, 2)?.contiguous()?, cos, sin)?.transpose(1, 2)?
    } else {
        rotary_emb::rope_thd(&x, cos, sin)?
    };
    Ok(rotated.squeeze(0)?)
}

pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    Ok(match kind {
        Activation::Silu => x.silu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
    })
}
