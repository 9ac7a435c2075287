//! What donors have recorded, on the card that reads it.

use crate::model::{Model, Stage, Transformer, card};
use crate::run::error::Result;
use crate::run::tracing::again::Wanted;
use candle_core::{Tensor, TensorId};
use std::collections::HashMap;

/// A copy of the weights, and beside it what runs read of others that lies elsewhere.
pub struct Near<'a> {
    pub model: &'a Model,
    pub transformer: &'a Transformer,
    copies: HashMap<TensorId, Tensor>,
}

impl<'a> Near<'a> {
    /// Copies what is `wanted` and recorded, each activation once, before anything is computed that a copy would wait for.
    pub fn new(model: &'a Model, transformer: &'a Transformer, wanted: &Wanted) -> Result<Near<'a>> {
        let mut copies = HashMap::new();
        for (donor, ats) in wanted {
            for at in ats.iter().filter(|at| at.point.stage() != Stage::Ending) {
                let device = transformer.device_of(*at);
                let Some(whole) = donor.held(*at).filter(|_| !device.is_cpu()) else { continue };
                if !whole.device().same_device(device) && !copies.contains_key(&whole.id()) {
                    copies.insert(whole.id(), card::moved(&whole, device)?);
                }
            }
        }
        Ok(Near { model, transformer, copies })
    }

    /// A recorded activation, beside the weights if it was wanted there.
    pub fn of(&self, whole: Tensor) -> Tensor {
        self.copies.get(&whole.id()).cloned().unwrap_or(whole)
    }
}
