//! What a model is, from its config alone: how many parameters, how much memory, what each site's shape is.

use super::config::Config;
use super::error::Result;
use super::files::assemble::{self, Layout};
use super::point::{Axes, Point};
use candle_core::DType;

#[derive(Debug, Clone)]
pub struct Info {
    /// Name and shape of every tensor of the checkpoint, by name.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// Points that exist on this architecture, in the order of the pass, and their shapes.
    pub points: Vec<(Point, Axes)>,
}

/// Reads no weights.
pub fn info(config: &Config) -> Result<Info> {
    let tensors = assemble::survey(config, Layout::published(config))?.into_iter().collect();
    let points = Point::ALL.into_iter().filter(|point| point.absent(config).is_none());
    Ok(Info { tensors, points: points.map(|point| (point, point.axes(config))).collect() })
}

impl Info {
    /// All parameters; an unembedding that is the embedding counts once.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Bytes of the weights.
    pub fn bytes(&self, dtype: DType) -> usize {
        self.parameters() * dtype.size_in_bytes()
    }
}
