//! Rows under a mixture: likelihoods, responsibilities, posterior means, what the mixture makes of them.

use super::Mfa;
use super::density::{Block, Densities, block_rows};
use super::error::{MfaError, Result};
use super::parameters::{Arrays, Parameters, Sizes};
use super::real::{Real, add};
use crate::data::rows::Rows;

/// A block of rows that was read.
pub(super) struct Read<'a, F> {
    /// The first of them.
    pub first: usize,
    pub block: &'a Block<F>,
    pub densities: &'a mut Densities<F>,
}

impl<F: Real> Mfa<F> {
    /// Shows all rows to `see`, in blocks that fit a bounded memory whatever their number is.
    pub(super) fn each_block(
        &self,
        x: &dyn Rows,
        mut see: impl FnMut(Read<'_, F>) -> Result<()>,
    ) -> Result<()> {
        let (found, expected) = (x.width(), self.width());
        if found != expected {
            return Err(MfaError::Width { found, expected });
        }
        let (mut block, mut densities) = (Block::default(), Densities::default());
        let together = block_rows(self.sizes());
        for first in (0..x.len()).step_by(together) {
            let which = first..x.len().min(first + together);
            block.gather(x, which, &self.shift).map_err(|(row, value)| MfaError::Row { row, value })?;
            densities.compute(&self.parameters, &self.forms, &block);
            see(Read { first, block: &block, densities: &mut densities })?;
        }
        Ok(())
    }

    /// The negative logarithm of the mixture's density of each row, in nats, `[n]`.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite.
    pub fn nll(&self, x: &dyn Rows) -> Result<Vec<f64>> {
        let mut out = Vec::with_capacity(x.len());
        self.each_block(x, |read| {
            out.extend(read.densities.log_likelihoods().into_iter().map(|log| -log));
            Ok(())
        })?;
        Ok(out)
    }

    /// The logarithm of the density of each row under each component, in nats, `[n, K]`; weights are no part of it.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite.
    pub fn log_likelihoods(&self, x: &dyn Rows) -> Result<Vec<F>> {
        let mut out = Vec::with_capacity(x.len().saturating_mul(self.components()));
        self.each_log_likelihoods(x, |_, block| {
            out.extend_from_slice(block);
            true
        })?;
        Ok(out)
    }

    /// The same block by block, for rows so many that `[n, K]` would fill the memory: `see(first row, [rows, K])`, until
    /// it says no.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; [`MfaError::Interrupted`] where `see` said no.
    pub fn each_log_likelihoods(&self, x: &dyn Rows, mut see: impl FnMut(usize, &[F]) -> bool) -> Result<()> {
        let mut out = Vec::new();
        self.each_block(x, |Read { first, densities, .. }| {
            out.clear();
            for b in 0..densities.len {
                let joint = densities.joint.iter().skip(b).step_by(densities.len);
                let shared = densities.shared[b];
                let rows = joint.zip(&self.forms.log_pi);
                out.extend(rows.map(|(joint, log_pi)| F::of(joint.f64() - log_pi + shared)));
            }
            if see(first, &out) { Ok(()) } else { Err(MfaError::Interrupted) }
        })
    }

    /// The share of each component in each row, `[n, K]`: the posterior, which sums to 1, of densities and weights to
    /// the power of `1 / tau`.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; a temperature that is not above 0.
    pub fn responsibilities(&self, x: &dyn Rows, tau: f64) -> Result<Vec<F>> {
        let mut out = Vec::with_capacity(x.len().saturating_mul(self.components()));
        self.each_responsibilities(x, tau, |_, block| {
            out.extend_from_slice(block);
            true
        })?;
        Ok(out)
    }

    /// The same block by block: `see(first row, [rows, K])`, until it says no.
    ///
    /// # Errors
    /// As [`Mfa::responsibilities`]; [`MfaError::Interrupted`] where `see` said no.
    pub fn each_responsibilities(
        &self,
        x: &dyn Rows,
        tau: f64,
        mut see: impl FnMut(usize, &[F]) -> bool,
    ) -> Result<()> {
        if !(tau.is_finite() && tau > 0.0) {
            let (found, expected) = (tau.to_string(), "a number above 0".into());
            return Err(MfaError::Option { name: "tau", found, expected });
        }
        let mut out = Vec::new();
        self.each_block(x, |Read { first, densities, .. }| {
            densities.responsibilities(F::of(tau));
            out.clear();
            for b in 0..densities.len {
                out.extend(densities.joint.iter().skip(b).step_by(densities.len));
            }
            if see(first, &out) { Ok(()) } else { Err(MfaError::Interrupted) }
        })
    }

    /// The posterior mean of each row's place along the directions of component `k`, in standard deviations, `[n, q]`.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; a component that does not exist.
    pub fn latent(&self, x: &dyn Rows, k: usize) -> Result<Vec<F>> {
        let k = self.component(k)?;
        let alone = self.alone(k)?;
        let mut out = Vec::with_capacity(x.len() * self.rank());
        let mut z = vec![F::default(); self.rank()];
        alone.each_block(x, |read| {
            for b in 0..read.block.len {
                read.densities.latent(&alone.forms, 0, b, &mut z);
                out.extend_from_slice(&z);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// What the mixture makes of each row, `[n, D]`: `Σ r (mu + W z)` over components, with their posterior means z.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite.
    pub fn reconstruct(&self, x: &dyn Rows) -> Result<Vec<F>> {
        let mut out = Vec::with_capacity(x.len().saturating_mul(self.width()));
        let mut z = vec![F::default(); self.rank()];
        self.each_block(x, |read| {
            read.densities.responsibilities(F::of(1.0));
            for b in 0..read.block.len {
                let at = out.len();
                out.extend(&self.shift);
                for (k, r) in read.densities.shares(b) {
                    read.densities.latent(&self.forms, k, b, &mut z);
                    self.toward(&mut out[at..], k, r, &z);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// `to += r (mu + W z)`, with the mean less the shift.
    fn toward(&self, to: &mut [F], k: usize, r: F, z: &[F]) {
        add(to, r, &self.parameters.block(k)[..self.width()]);
        for ((j, z), scale) in z.iter().enumerate().zip(self.scales(k)) {
            add(to, r * *z * *scale, self.raw(k, j));
        }
    }

    /// The mixture of component `k` alone.
    fn alone(&self, k: usize) -> Result<Mfa<F>> {
        let (q, arrays) = (self.rank(), &self.parameters.arrays);
        let sizes = Sizes { components: 1, psi_per_component: false, ..self.sizes() };
        let arrays = Arrays {
            rows: self.parameters.block(k).to_vec(),
            scale_rho: arrays.scale_rho[k * q..][..q].to_vec(),
            psi_rho: self.parameters.noise_of(k, &arrays.psi_rho).to_vec(),
            pi_logits: vec![F::default()],
        };
        Mfa::of(Parameters { sizes, arrays, eps_floor: self.parameters.eps_floor }, &self.shift)
    }
}
