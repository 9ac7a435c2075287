//! Mixtures of factor analysers: rows of numbers as some Gaussians, each with a few directions along which it varies.
//!
//! Shafran et al. 2026 (arXiv 2602.02464), whose parameters these are; Ghahramani and Hinton 1996 for the model and EM.
//! Read [`parameters`], then [`forms`] (the small matrices of a component) and [`density`] (a block of rows under all
//! components, by one product): all else stands on these three; [`likely`] spares it pairs that are far apart. [`Mfa`] reads rows: [`read`] (likelihoods,
//! responsibilities, posterior means), [`project`] (coordinates of a subspace), [`steer`] (rows moved), [`strongest`]
//! (whose each row is, and which are most a component's own), [`shape`] (what components are like) with [`varimax`].
//! [`file`](mod@file) keeps it.
//!
//! [`mod@train`] is the training: a step of [`adam`] on the [`gradient`] by a [`change`] of each component, the same on
//! a card in [`tensors`], an epoch of [`em`], and what is [`kept`] after each to go on from. [`real`] is float32 or float64, [`error`] what can be wrong.

pub mod adam;
pub mod change;
pub mod density;
pub mod em;
pub mod error;
pub mod file;
pub mod forms;
pub mod gradient;
pub mod kept;
pub mod likely;
pub mod parameters;
pub mod project;
pub mod read;
pub mod real;
pub mod shape;
pub mod steer;
pub mod strongest;
pub mod tensors;
pub mod train;
pub mod varimax;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::{MfaError, Result};
use forms::Forms;
pub use kept::Kept;
pub use parameters::Sizes;
use parameters::{Arrays, Parameters};
pub use project::Projection;
use real::Real;
pub use steer::{Latent, Units};
pub use train::{TrainOptions, train};
pub use varimax::Varimax;

/// A mixture's parameters as files hold them, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<F = f32> {
    pub sizes: Sizes,
    /// The means, `[K, D]`.
    pub mu: Vec<F>,
    /// Directions of any length, `[K, D, q]`.
    pub dir_raw: Vec<F>,
    /// What softplus makes the scales of, `[K, q]`.
    pub scale_rho: Vec<F>,
    /// What softplus makes the noise of, `[D]`, or `[K, D]` where each component has its own.
    pub psi_rho: Vec<F>,
    /// What softmax makes the weights of, `[K]`.
    pub pi_logits: Vec<F>,
    /// Added to the noise.
    pub eps_floor: f64,
}

/// What one epoch of training did, in nats a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// The mean negative log likelihood while the epoch went on.
    pub train_nll: f64,
    /// Of the validation rows, at its end.
    pub val_nll: Option<f64>,
}

/// A mixture of factor analysers, ready to read rows.
#[derive(Debug, Clone)]
pub struct Mfa<F = f32> {
    /// Their means are less `shift`.
    parameters: Parameters<F>,
    forms: Forms<F>,
    /// `[K, D]`
    mu: Vec<F>,
    /// The mean of the whole mixture, `[D]`: taken from rows and means, it changes nothing but saves digits.
    shift: Vec<F>,
    /// One entry an epoch of training.
    pub history: Vec<Epoch>,
    /// What else is known of it, kept in its file.
    pub metadata: BTreeMap<String, String>,
}

impl<F: Real> Mfa<F> {
    /// # Errors
    /// Arrays of other sizes, numbers that are not finite, a rank outside 1 to the width, noise that is 0.
    pub fn new(stored: Stored<F>) -> Result<Self> {
        let Stored { sizes, mu, dir_raw, scale_rho, psi_rho, pi_logits, eps_floor } = stored;
        let Sizes { components, width, rank, .. } = sizes.check()?;
        let expected = |name, values: &[F], expected| match values.len() {
            found if found == expected => match values.iter().find(|x| !x.f64().is_finite()) {
                Some(x) => Err(MfaError::NotFinite { name, value: x.f64() }),
                None => Ok(()),
            },
            found => Err(MfaError::Size { name, found, expected }),
        };
        expected("mu", &mu, components * width)?;
        expected("dir_raw", &dir_raw, components * width * rank)?;
        let mut rows = Vec::with_capacity(components * sizes.block());
        for (mu, directions) in mu.chunks(width).zip(dir_raw.chunks(width * rank)) {
            rows.extend_from_slice(mu);
            for j in 0..rank {
                rows.extend(directions.iter().skip(j).step_by(rank));
            }
        }
        let arrays = Arrays { rows, scale_rho, psi_rho, pi_logits };
        Self::of(Parameters { sizes, arrays, eps_floor }, &vec![F::default(); width])
    }

    /// Of parameters whose means are less `from`, `[D]`.
    pub(super) fn of(mut parameters: Parameters<F>, from: &[F]) -> Result<Self> {
        parameters.check()?;
        let sizes = parameters.sizes;
        let log_pi = parameters.log_pi();
        let blocks = || parameters.arrays.rows.chunks(sizes.block()).map(|block| &block[..sizes.width]);
        let mut mean = vec![0.0; sizes.width];
        for (mu, log_pi) in blocks().zip(&log_pi) {
            mean.iter_mut().zip(mu).for_each(|(mean, mu)| *mean += log_pi.exp() * mu.f64());
        }
        let mu = blocks().flat_map(|mu| mu.iter().zip(from).map(|(mu, from)| *mu + *from)).collect();
        let shift: Vec<F> = mean.iter().zip(from).map(|(mean, from)| F::of(*mean + from.f64())).collect();
        for block in parameters.arrays.rows.chunks_mut(sizes.block()) {
            for ((mu, from), shift) in block.iter_mut().zip(from).zip(&shift) {
                // In float64: the result may be a small difference of large numbers.
                *mu = F::of(mu.f64() + (from.f64() - shift.f64()));
            }
        }
        let smallest = parameters.psi().into_iter().fold(f64::INFINITY, f64::min);
        let forms = Forms::new(&parameters).ok_or(MfaError::NotFinite { name: "psi", value: smallest })?;
        Ok(Mfa { parameters, forms, mu, shift, history: Vec::new(), metadata: BTreeMap::new() })
    }

    pub fn sizes(&self) -> Sizes {
        self.parameters.sizes
    }

    /// K
    pub fn components(&self) -> usize {
        self.sizes().components
    }

    /// Numbers a row, D.
    pub fn width(&self) -> usize {
        self.sizes().width
    }

    /// Directions a component, q.
    pub fn rank(&self) -> usize {
        self.sizes().rank
    }

    /// Added to the noise, so that it is never 0.
    pub fn eps_floor(&self) -> f64 {
        self.parameters.eps_floor
    }

    /// The weight of each component, `[K]`; they sum to 1.
    pub fn weights(&self) -> Vec<f64> {
        self.forms.log_pi.iter().map(|log| log.exp()).collect()
    }

    /// The mean of component `k`, `[D]`.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn mean(&self, k: usize) -> Result<&[F]> {
        let k = self.component(k)?;
        Ok(&self.mu[k * self.width()..][..self.width()])
    }

    /// The directions of component `k` times their scales, W `[D, q]`, row after row.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn loadings(&self, k: usize) -> Result<Vec<F>> {
        let scale = self.scales(self.component(k)?);
        Ok(self.transposed(k, scale))
    }

    /// The directions of component `k`, each of length 1, `[D, q]`, row after row.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn directions(&self, k: usize) -> Result<Vec<F>> {
        let k = self.component(k)?;
        let units: Vec<F> = (0..self.rank()).map(|j| self.unit(k, j)).collect();
        Ok(self.transposed(k, &units))
    }

    /// The scale of each direction of component `k`, which is the standard deviation along it, `[q]`.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn spreads(&self, k: usize) -> Result<Vec<f64>> {
        let k = self.component(k)?;
        Ok((0..self.rank()).map(|j| self.spread(k, j)).collect())
    }

    /// The noise of component `k`: variances `[D]`.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn noise(&self, k: usize) -> Result<Vec<F>> {
        let k = self.component(k)?;
        Ok(self.parameters.noise_of(k, &self.parameters.psi()).iter().map(|psi| F::of(*psi)).collect())
    }

    fn component(&self, k: usize) -> Result<usize> {
        let components = self.components();
        if k < components { Ok(k) } else { Err(MfaError::Component { k, components }) }
    }

    fn spread(&self, k: usize, j: usize) -> f64 {
        real::softplus(self.parameters.arrays.scale_rho[k * self.rank() + j].f64())
    }

    /// What makes raw direction `j` of component `k` length 1.
    fn unit(&self, k: usize, j: usize) -> F {
        let raw = self.raw(k, j);
        F::of(1.0 / real::dot(raw, raw).f64().sqrt().max(parameters::SHORTEST))
    }

    /// What makes W of the raw directions of component `k`.
    fn scales(&self, k: usize) -> &[F] {
        &self.forms.scale[k * self.rank()..][..self.rank()]
    }

    /// Raw direction `j` of component `k`, `[D]`.
    fn raw(&self, k: usize, j: usize) -> &[F] {
        &self.parameters.block(k)[(1 + j) * self.width()..][..self.width()]
    }

    /// The raw directions times these, `[D, q]`.
    fn transposed(&self, k: usize, scale: &[F]) -> Vec<F> {
        let q = self.rank();
        let mut out = vec![F::default(); self.width() * q];
        for (j, scale) in scale.iter().enumerate() {
            out.iter_mut().skip(j).step_by(q).zip(self.raw(k, j)).for_each(|(to, x)| *to = *x * *scale);
        }
        out
    }
}

#[cfg(test)]
mod tests;
