//! What a sweep costs: its arithmetic, the weights that it brings in, and how long both take, nominally and on this
//! machine.

use crate::model::family::MlpKind;
use crate::model::weight::Weight;
use crate::model::{Config, Precision, Transformer, ops};
use crate::run::error::Result;
use candle_core::{DType, Device, DeviceLocation, Tensor};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Operations of one layer for the positions `first..len` of a sequence.
pub fn run_flops(config: &Config, len: usize, first: usize) -> f64 {
    let Config { d_head, n_heads, .. } = *config;
    // Position p reads p + 1 keys, once for the scores and once for the values.
    let keys: usize = (first..len).map(|position| position + 1).sum();
    let read = 2 * (len - first) * read_weights(config) + 4 * keys * n_heads * d_head;
    read as f64 + write_flops(config, len - first)
}

/// The part of a layer that is row by row: `W_O` and the MLP.
pub fn write_flops(config: &Config, rows: usize) -> f64 {
    2.0 * (rows * write_weights(config)) as f64
}

/// Logits of one row.
pub fn unembed_flops(config: &Config, columns: usize) -> f64 {
    2.0 * (config.d_model * columns) as f64
}

/// Weights of one layer.
pub fn layer_weights(config: &Config) -> usize {
    read_weights(config) + write_weights(config)
}

/// `W_Q`, `W_K`, `W_V`.
fn read_weights(config: &Config) -> usize {
    config.d_model * (config.n_heads + 2 * config.n_kv_heads) * config.d_head
}

/// `W_O` and the MLP.
fn write_weights(config: &Config) -> usize {
    let Config { d_model, d_head, d_mlp, n_heads, .. } = *config;
    let maps = match config.family.mlp {
        MlpKind::Gated => 3,
        MlpKind::Plain => 2,
    };
    d_model * (n_heads * d_head + maps * d_mlp)
}

/// How fast a device is at the products of a forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Seconds a floating-point operation.
    per_flop: f64,
    /// Seconds a weight, however many rows it meets.
    per_weight: f64,
}

impl Speed {
    /// Seconds of `flops` operations in passes over `weights` weights in all.
    pub fn seconds(&self, flops: f64, weights: f64) -> f64 {
        flops * self.per_flop + weights * self.per_weight
    }

    /// A round figure, the same on every machine: of two cores, or of a card.
    pub fn nominal(device: &Device) -> Speed {
        match device.is_cpu() {
            true => Speed { per_flop: 1.0 / 100e9, per_weight: 1.0 / 2e9 },
            false => Speed { per_flop: 1.0 / 50e12, per_weight: 1.0 / 500e9 },
        }
    }

    /// Measured once a process, on a product of few rows and one of many.
    pub fn measured(of: &Transformer) -> Result<Speed> {
        type Speeds = HashMap<(DeviceLocation, DType, Precision), Speed>;
        static SPEEDS: Mutex<Option<Speeds>> = Mutex::new(None);
        let Transformer { ref device, dtype, precision, .. } = *of;
        let mut speeds = SPEEDS.lock().unwrap_or_else(PoisonError::into_inner);
        let speeds = speeds.get_or_insert_default();
        let key = (device.location(), dtype, precision);
        if let Some(&speed) = speeds.get(&key) {
            return Ok(speed);
        }
        // Large enough that a card does not only wait for its launch.
        let (width, few, many) = if device.is_cpu() { (768, 64, 1024) } else { (4096, 64, 4096) };
        let weight = Weight::Dense(Tensor::ones((width, width), dtype, device)?, None);
        let weights = (width * width) as f64;
        let seconds = |rows: usize| -> Result<f64> {
            let x = Tensor::ones((rows, width), dtype, device)?;
            let mut best = f64::INFINITY;
            for _ in 0..5 {
                device.synchronize()?;
                let start = Instant::now();
                let product = ops::products(&x, [&weight], precision)?;
                device.synchronize()?;
                drop(product);
                best = best.min(start.elapsed().as_secs_f64());
            }
            Ok(best.max(1e-9))
        };
        let (at_few, at_many) = (seconds(few)?, seconds(many)?);
        let flops = |rows: usize| 2.0 * rows as f64 * weights;
        // A noisy moment must not make it negative, or infinitely fast.
        let per_flop = ((at_many - at_few) / (flops(many) - flops(few))).max(at_many / flops(many) / 2.0);
        let per_weight = ((at_few - flops(few) * per_flop) / weights).max(0.0);
        let speed = Speed { per_flop, per_weight };
        speeds.insert(key, speed);
        Ok(speed)
    }
}
