//! What a plane of numbers has beside its data: ends, logarithms and lines to compare with.

use super::PlotError;
use super::figure::{check_near, check_range};

/// How the axes run, and lines across them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Guides {
    /// The ends of the horizontal axis; from the data if `None`.
    pub xlim: Option<(f64, f64)>,
    /// The ends of the vertical axis; from the data if `None`.
    pub ylim: Option<(f64, f64)>,
    /// Whether equal factors are equal lengths.
    pub x_log: bool,
    pub y_log: bool,
    /// Dashed lines from top to bottom.
    pub vlines: Vec<f64>,
    /// Dashed lines from left to right.
    pub hlines: Vec<f64>,
}

/// Where a value lies along an axis.
pub(super) fn along(value: f64, log: bool) -> f64 {
    if log { value.log10() } else { value }
}

impl Guides {
    /// Refuses ends that leave out data or lines, and logarithms of what has none. `x` and `y` are all that the axes must reach.
    pub(super) fn check(
        &self,
        x: impl Iterator<Item = f64>,
        y: impl Iterator<Item = f64>,
    ) -> Result<(), PlotError> {
        one("xlim", "vlines", self.xlim, self.x_log, &self.vlines, x)?;
        one("ylim", "hlines", self.ylim, self.y_log, &self.hlines, y)
    }
}

fn one(
    limits: &'static str,
    lines: &'static str,
    ends: Option<(f64, f64)>,
    log: bool,
    at: &[f64],
    values: impl Iterator<Item = f64>,
) -> Result<(), PlotError> {
    if let Some((index, value)) = at.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(PlotError::NoPlace { name: lines, index, value: *value });
    }
    check_near(lines, at)?;
    if let Some((low, high)) = ends {
        check_range(limits, low, high)?;
    }
    let (low, high) = ends.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    for value in
        values.chain(at.iter().copied()).filter(|value| value.is_finite()).chain(ends.map(|(low, _)| low))
    {
        if log && value <= 0.0 {
            return Err(PlotError::NoLogarithm { value });
        }
        if !(low..=high).contains(&value) {
            return Err(PlotError::OutOfRange { name: limits, low, high, value });
        }
    }
    Ok(())
}
