//! How a run looks into a forward pass: the model offers every activation to one hook, which reads it, changes
//! it or lets it pass.

use super::batch::Packed;
use super::error::Result;
use super::point::Point;
use candle_core::Tensor;
use std::fmt;

/// Where in the pass an activation stands. `layer` is 0 for points that stand once in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub point: Point,
    pub layer: usize,
}

impl fmt::Display for At {
    /// The canonical text, `resid_post.4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.point.name())?;
        if self.point.in_layer() { write!(f, ".{}", self.layer) } else { Ok(()) }
    }
}

/// The one door to activations. The model asks `wants` first, so what nobody reads need not be built.
pub trait Hook {
    /// Does this run read or change the activation at `at`?
    fn wants(&self, at: At) -> bool;

    /// Sees the activation of all rows, `[rows, width]` (heads side by side), and returns what the pass goes on
    /// with.
    fn rows(&mut self, at: At, x: Tensor) -> Result<Tensor>;

    /// Sees scores or pattern of one segment, `[head, query, key]`.
    fn scores(&mut self, at: At, segment: usize, x: Tensor) -> Result<Tensor>;

    /// Sees scores or pattern of all segments at once, where they lie on a card; what they become, if that is something else.
    fn all_scores(&mut self, at: At, x: &Packed) -> Result<Option<Packed>> {
        one_by_one(self, at, x)
    }

    /// Called before every layer; an error stops the pass.
    fn before_layer(&mut self, _layer: usize) -> Result<()> {
        Ok(())
    }
}

/// Shows all segments' scores one after the other.
pub fn one_by_one<H: Hook + ?Sized>(hook: &mut H, at: At, x: &Packed) -> Result<Option<Packed>> {
    let mut changed = false;
    let mut parts = Vec::with_capacity(x.segments());
    for segment in 0..x.segments() {
        let shown = x.segment(segment)?;
        let seen = hook.scores(at, segment, shown.clone())?;
        changed |= seen.id() != shown.id();
        parts.push(seen.flatten_all()?);
    }
    Ok(if changed { Some(x.with(Tensor::cat(&parts, 0)?)) } else { None })
}

/// A hook that wants nothing.
pub struct NoHook;

impl Hook for NoHook {
    fn wants(&self, _: At) -> bool {
        false
    }
    fn rows(&mut self, _: At, x: Tensor) -> Result<Tensor> {
        Ok(x)
    }
    fn scores(&mut self, _: At, _: usize, x: Tensor) -> Result<Tensor> {
        Ok(x)
    }
}
