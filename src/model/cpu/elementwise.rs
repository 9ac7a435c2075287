//! Row-wise kernels: sums, norms, activations and rotary, one parallel pass each.

use super::simd::{exp, sigmoid, tanh, widest};
use super::with_slice;
use crate::model::config::Activation;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Entries that one task takes: enough to pay for starting it, few enough for the nearest cache.
const TASK: usize = 16_384;

/// Fills a tensor shaped like `x`, several rows of length `width` a task: `f(first entry, output rows)`.
fn fill(x: &Tensor, width: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Result<Tensor> {
    let len = x.elem_count();
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let task = (TASK / width.max(1)).max(1) * width.max(1);
    // Zeroed by the tasks themselves, in parallel and in cache, not by one thread beforehand.
    let spare = &mut out.spare_capacity_mut()[..len];
    let work = |(i, spare): (usize, &mut [std::mem::MaybeUninit<f32>])| {
        spare.fill(std::mem::MaybeUninit::new(0.0));
        // SAFETY: every entry of `spare` was just initialised, and `MaybeUninit<f32>` has the layout of `f32`.
        let rows = unsafe { &mut *(std::ptr::from_mut(spare) as *mut [f32]) };
        f(i * task, rows);
    };
    if len <= task {
        work((0, spare));
    } else {
        spare.par_chunks_mut(task).enumerate().for_each(work);
    }
    // SAFETY: the tasks together initialised the first `len` entries.
    unsafe { out.set_len(len) };
    Tensor::from_vec(out, x.shape(), x.device())
}

/// `a + b`, of equal shapes.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    zip(a, b, |a, b| a + b)
}

/// `x + bias`, `x` `[rows, width]`, `bias` `[width]`.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    by_row(x, bias, |x, bias, out| {
        for ((o, x), b) in out.iter_mut().zip(x).zip(bias) {
            *o = x + b;
        }
    })
}

/// `x / sqrt(mean(x²) + eps) * gain` over rows.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f32) -> Result<Tensor> {
    by_row(x, gain, move |x, gain, out| {
        let scale = 1.0 / (sum(x, |x| x * x) / x.len() as f32 + eps).sqrt();
        for ((o, x), g) in out.iter_mut().zip(x).zip(gain) {
            *o = x * scale * g;
        }
    })
}

/// `(x - mean) / sqrt(var + eps) * gain + bias` over rows.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    with_slice(bias, |bias| {
        by_row(x, gain, move |x, gain, out| {
            let mean = sum(x, |x| x) / x.len() as f32;
            let var = sum(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
            let scale = 1.0 / (var + eps).sqrt();
            for (((o, x), g), b) in out.iter_mut().zip(x).zip(gain).zip(bias) {
                *o = (x - mean) * scale * g + b;
            }
        })
    })
}

/// Calls `f(row of x, parameter, output row)` for every row.
fn by_row(x: &Tensor, parameter: &Tensor, f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    with_slice(x, |x_| {
        with_slice(parameter, |parameter| {
            fill(x, width, |from, out| {
                let x = &x_[from..from + out.len()];
                widest(
                    #[inline(always)]
                    || {
                        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                            f(x, parameter, out);
                        }
                    },
                );
            })
        })
    })
}

/// Sum of `f(x)`, in 16 partial sums: a fixed order that vector units can follow.
#[inline(always)]
pub(super) fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut parts = [0f32; 16];
    let chunks = x.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().map(|&x| f(x)).sum();
    for chunk in chunks {
        for (part, &x) in parts.iter_mut().zip(chunk) {
            *part += f(x);
        }
    }
    parts.iter().sum::<f32>() + rest
}

/// `act(x)`; `None` for activations without a kernel.
pub fn activation(x: &Tensor, kind: Activation) -> Option<Result<Tensor>> {
    Some(match kind {
        Activation::Silu => map(x, silu),
        Activation::GeluTanh => map(x, gelu_tanh),
        Activation::Relu => map(x, |x| x.max(0.0)),
        Activation::Gelu => return None,
    })
}

/// `act(gate) * up`, the neurons of a gated MLP; `None` for activations without a kernel.
pub fn gated(gate: &Tensor, up: &Tensor, kind: Activation) -> Option<Result<Tensor>> {
    Some(match kind {
        Activation::Silu => zip(gate, up, |g, u| silu(g) * u),
        Activation::GeluTanh => zip(gate, up, |g, u| gelu_tanh(g) * u),
        Activation::Relu => zip(gate, up, |g, u| g.max(0.0) * u),
        Activation::Gelu => return None,
    })
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `x Φ(x)` by the tanh formula, written as `x σ(2u)` since `(1 + tanh u) / 2 = σ(2u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_8_OVER_PI: f32 = 1.595_769;
    x / (1.0 + exp(-SQRT_8_OVER_PI * (x + 0.044_715 * x * x * x)))
}

fn map(x: &Tensor, f: impl Fn(f32) -> f32 + Sync) -> Result<Tensor> {
    with_slice(x, |x_| {
        fill(x, 1, |from, out| {
            let x = &x_[from..from + out.len()];
            widest(
                #[inline(always)]
                || {
                    for (o, &x) in out.iter_mut().zip(x) {
                        *o = f(x);
                    }
                },
            );
        })
    })
}

fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    with_slice(a, |a_| {
        with_slice(b, |b_| {
            fill(a, 1, |from, out| {
                let (a, b) = (&a_[from..from + out.len()], &b_[from..from + out.len()]);
                widest(
                    #[inline(always)]
                    || {
                        for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
                            *o = f(a, b);
                        }
                    },
                );
            })
        })
    })
}

/// `cap tanh(x / cap)`
pub fn softcap(x: &Tensor, cap: f32) -> Result<Tensor> {
    map(x, |x| cap * tanh(x / cap))
}

/// Rotates the halves of the first dimensions of every head: `x` `[rows, heads * d_head]`, `cos`, `sin`
/// `[rows, half]`, where `2 half <= d_head`.
pub fn rotary(x: &Tensor, cos: &Tensor, sin: &Tensor, d_head: usize) -> Result<Tensor> {
    let width = x.dim(1)?;
    let half = cos.dim(1)?;
    with_slice(x, |x_| {
        with_slice(cos, |cos| {
            with_slice(sin, |sin| {
                fill(x, width, |from, out| {
                    let x = &x_[from..from + out.len()];
                    widest(
                        #[inline(always)]
                        || {
                            let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
                            for (i, (x, out)) in rows.enumerate() {
                                let row = from / width + i;
                                let cos = &cos[row * half..(row + 1) * half];
                                let sin = &sin[row * half..(row + 1) * half];
                                let heads = x.chunks_exact(d_head).zip(out.chunks_exact_mut(d_head));
                                for (x, out) in heads {
                                    let (x, kept) = x.split_at(2 * half);
                                    let (out, rest) = out.split_at_mut(2 * half);
                                    rest.copy_from_slice(kept);
                                    let ((x1, x2), (o1, o2)) = (x.split_at(half), out.split_at_mut(half));
                                    for j in 0..half {
                                        o1[j] = x1[j] * cos[j] - x2[j] * sin[j];
                                        o2[j] = x2[j] * cos[j] + x1[j] * sin[j];
                                    }
                                }
                            }
                        },
                    );
                })
            })
        })
    })
}
