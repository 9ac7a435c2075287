//! Rows moved toward a component, or along its directions.

use super::Mfa;
use super::error::{MfaError, Result};
use super::read::Read;
use super::real::{Real, add};
use crate::data::rows::Rows;

/// How far to go along the directions of components.
#[derive(Debug, Clone, Copy)]
pub enum Latent<'a, F = f32> {
    /// `[q]`: the same for every row.
    Same(&'a [F]),
    /// `[n, q]`
    PerRow(&'a [F]),
    /// `[K, q]`: each component's share of a row goes its own way.
    PerComponent(&'a [F]),
}

/// What a step of 1 along a direction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// A standard deviation, as posterior means are given in.
    Posterior,
    /// A length of 1, as in the coordinates of a projection.
    Plotted,
}

impl<F: Real> Mfa<F> {
    /// `(1 - alpha) x + alpha t`, `[n, D]`: toward the mean of component `k`, or without one toward the mean `Σ r mu` of
    /// all, by the row's own responsibilities.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; a component that does not exist; a strength that is not finite.
    pub fn steer(&self, x: &dyn Rows, k: Option<usize>, alpha: F) -> Result<Vec<F>> {
        self.moved(x, k, alpha, None)
    }

    /// The same, then along the directions: `W z`, or in plotted units `U z`, with directions U of length 1. This second
    /// step is not times `alpha`. Without `k` it is `Σ r W z`, by the responsibilities of the row before the first step.
    ///
    /// # Errors
    /// As [`Mfa::steer`], and a `z` of another size or that is not finite.
    pub fn steer_latent(
        &self,
        x: &dyn Rows,
        k: Option<usize>,
        alpha: F,
        z: Latent<'_, F>,
        units: Units,
    ) -> Result<Vec<F>> {
        let (values, rows) = match z {
            Latent::Same(z) => (z, 1),
            Latent::PerRow(z) => (z, x.len()),
            Latent::PerComponent(z) => (z, self.components()),
        };
        let (found, expected) = (values.len(), rows * self.rank());
        if found != expected {
            return Err(MfaError::Size { name: "z", found, expected });
        }
        if let Some(z) = values.iter().find(|z| !z.f64().is_finite()) {
            return Err(MfaError::NotFinite { name: "z", value: z.f64() });
        }
        self.moved(x, k, alpha, Some((z, units)))
    }

    fn moved(
        &self,
        x: &dyn Rows,
        k: Option<usize>,
        alpha: F,
        along: Option<(Latent<'_, F>, Units)>,
    ) -> Result<Vec<F>> {
        if !alpha.f64().is_finite() {
            return Err(MfaError::NotFinite { name: "alpha", value: alpha.f64() });
        }
        let k = k.map(|k| self.component(k)).transpose()?;
        let rest = F::of(1.0) - alpha;
        let mut out = Vec::with_capacity(x.len().saturating_mul(self.width()));
        let mut step = |i: usize, row: &[F], shares: &mut dyn Iterator<Item = (usize, F)>| {
            let at = out.len();
            out.extend(row.iter().map(|x| rest * *x));
            let to = &mut out[at..];
            for (k, r) in shares {
                add(to, alpha * r, &self.mu[k * self.width()..][..self.width()]);
                if let Some((latent, units)) = along {
                    self.along(to, k, i, r, latent, units);
                }
            }
        };
        let Some(k) = k else {
            self.each_block(x, |Read { first, densities, .. }| {
                densities.responsibilities(F::of(1.0));
                for b in 0..densities.len {
                    let row: Vec<F> = x.row(first + b).iter().map(|x| F::of_f32(*x)).collect();
                    step(first + b, &row, &mut densities.shares(b));
                }
                Ok(())
            })?;
            return Ok(out);
        };
        let (found, expected) = (x.width(), self.width());
        if found != expected {
            return Err(MfaError::Width { found, expected });
        }
        for i in 0..x.len() {
            if let Some(value) = x.row(i).iter().copied().find(|x| !x.is_finite()) {
                return Err(MfaError::Row { row: i, value });
            }
            let row: Vec<F> = x.row(i).iter().map(|x| F::of_f32(*x)).collect();
            step(i, &row, &mut std::iter::once((k, F::of(1.0))));
        }
        Ok(out)
    }

    /// `to += r W z` for row `i`.
    fn along(&self, to: &mut [F], k: usize, i: usize, r: F, latent: Latent<'_, F>, units: Units) {
        let q = self.rank();
        let z = match latent {
            Latent::Same(z) => z,
            Latent::PerRow(z) => &z[i * q..][..q],
            Latent::PerComponent(z) => &z[k * q..][..q],
        };
        for ((j, z), scale) in z.iter().enumerate().zip(self.scales(k)) {
            let unit = match units {
                Units::Posterior => *scale,
                Units::Plotted => self.unit(k, j),
            };
            add(to, r * *z * unit, self.raw(k, j));
        }
    }
}
