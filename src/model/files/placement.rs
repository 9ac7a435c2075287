//! Which of several devices holds which weights: each a copy of all where one has room for that, else some together a copy,
//! each with a part of the layers.

use super::assemble::Target;
use crate::model::card;
use crate::model::config::Config;
use crate::model::error::{ModelError, Result};
use crate::model::info::info;
use candle_core::{DType, Device};

/// One part in so many of what is free is left to what is computed, where more devices could hold the rest.
const ROOM: usize = 10;

/// The devices among which weights are placed, beside the first.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    pub others: Vec<Device>,
    /// The most bytes of weights that one device may hold; `None`: what is free there.
    pub most: Option<usize>,
}

/// Groups of devices that hold a copy of the weights each: as many as can be.
///
/// # Errors
/// Weights that all devices together have no room for.
pub fn groups(config: &Config, target: &Target) -> Result<Vec<Vec<Device>>> {
    let Spread { others, most } = &target.spread;
    let devices: Vec<Device> = std::iter::once(&target.device).chain(others).cloned().collect();
    let free = devices.iter().filter_map(card::free).min().unwrap_or(usize::MAX);
    let limit = most.unwrap_or(usize::MAX);
    if limit.min(free) == usize::MAX {
        return Ok(devices.chunks(1).map(<[Device]>::to_vec).collect());
    }
    let stages = Stages::of(config, target.dtype)?;
    let fits = |size: &usize| {
        let left = if *size < devices.len() { free / ROOM } else { 0 };
        stages.largest(*size) <= limit.min(free - left)
    };
    let sizes = (1..=devices.len()).filter(|size| devices.len().is_multiple_of(*size));
    match sizes.filter(fits).min() {
        Some(size) => Ok(devices.chunks(size).map(<[Device]>::to_vec).collect()),
        None => Err(ModelError::NoRoom {
            weights: stages.outside + config.n_layers * stages.layer,
            room: limit.min(free).saturating_mul(devices.len()),
        }),
    }
}

/// How layers are divided over the devices of one copy.
pub struct Stages {
    /// Bytes of one layer, and of what is in no layer: the first device has that.
    layer: usize,
    outside: usize,
    n_layers: usize,
}

impl Stages {
    pub fn of(config: &Config, dtype: DType) -> Result<Stages> {
        let Config { d_vocab, d_model, n_ctx, n_layers, tied, .. } = *config;
        let tables = if tied { d_vocab } else { 2 * d_vocab };
        let positions = if config.family.names.pos_embed.is_some() { n_ctx } else { 0 };
        let outside = (tables + positions) * d_model * dtype.size_in_bytes();
        let layer = info(config)?.bytes(dtype).saturating_sub(outside).div_ceil(n_layers.max(1));
        Ok(Stages { layer, outside, n_layers })
    }

    /// Which of so many devices holds a layer: one after the other, each about as many bytes.
    pub fn of_layer(&self, layer: usize, devices: usize) -> usize {
        let total = (self.outside + self.n_layers * self.layer).max(1);
        let before = self.outside + layer * self.layer + self.layer / 2;
        ((before as u128 * devices as u128 / total as u128) as usize).min(devices - 1)
    }

    /// The most bytes that one of so many devices holds.
    fn largest(&self, devices: usize) -> usize {
        let mut held = vec![0; devices];
        held[0] = self.outside;
        for layer in 0..self.n_layers {
            held[self.of_layer(layer, devices)] += self.layer;
        }
        held.into_iter().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_one_another_and_weigh_the_same() {
        let stages = |outside| Stages { layer: 400, outside, n_layers: 32 };
        for (outside, devices, most) in
            [(0, 1, 12_800), (0, 2, 6400), (0, 3, 4400), (2000, 2, 7600), (9000, 4, 9000)]
        {
            let stages = stages(outside);
            let of: Vec<usize> = (0..32).map(|layer| stages.of_layer(layer, devices)).collect();
            assert!(of.is_sorted() && of.iter().all(|stage| *stage < devices), "{of:?}");
            assert_eq!(*of.last().unwrap(), devices - 1);
            assert_eq!(stages.largest(devices), most, "{outside} {devices}");
        }
    }

    #[test]
    fn weights_are_copied_where_they_fit_and_divided_where_not() {
        let config = crate::model::load_config("tests/golden/tiny/llama", true).unwrap();
        let bytes = info(&config).unwrap().bytes(DType::F32);
        let groups = |devices: usize, most: Option<usize>| {
            let spread = Spread { others: vec![Device::Cpu; devices - 1], most };
            let target =
                Target { device: Device::Cpu, dtype: DType::F32, quantized: false, shuffled: None, spread };
            groups(&config, &target).map(|groups| groups.iter().map(Vec::len).collect::<Vec<_>>())
        };
        assert_eq!(groups(1, None).unwrap(), [1]);
        assert_eq!(groups(3, Some(bytes + 64)).unwrap(), [1, 1, 1]);
        assert_eq!(groups(4, Some(bytes - 64)).unwrap(), [2, 2]);
        assert_eq!(groups(3, Some(bytes - 64)).unwrap(), [3], "all copies on equally many devices");
        let refused = groups(2, Some(bytes / 4)).unwrap_err();
        assert!(matches!(refused, ModelError::NoRoom { .. }), "{refused}");
        assert!(groups(1, Some(bytes - 64)).is_err());
    }
}
