//! What a mixture is made of, as it is trained.

use super::error::{MfaError, Result};
use super::real::{Real, softplus, softplus_inverse};
use crate::data::random::Generator;

/// The least length by which a direction is divided.
pub const SHORTEST: f64 = 1e-12;
/// What is added to noise so that it is never 0.
pub const EPS_FLOOR: f64 = 1e-5;

/// The sizes of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// K
    pub components: usize,
    /// Numbers a row, D.
    pub width: usize,
    /// Directions a component, q.
    pub rank: usize,
    /// Has each component noise of its own, or do all share it?
    pub psi_per_component: bool,
}

impl Sizes {
    /// # Errors
    /// No components, or a rank outside 1 to the width.
    pub fn check(self) -> Result<Self> {
        let Sizes { components, width, rank, .. } = self;
        match (components, width, rank) {
            (0, _, _) | (_, 0, _) | (_, _, 0) => Err(MfaError::Empty { components, rank, width }),
            _ if rank > width => Err(MfaError::Rank { rank, width }),
            // The products of sizes below must not overflow.
            _ => match components.checked_mul(width).and_then(|size| size.checked_mul(rank + 1)) {
                Some(size) if size <= isize::MAX as usize / 16 => Ok(self),
                _ => Err(MfaError::Empty { components, rank, width }),
            },
        }
    }

    /// Numbers of a component's mean and directions.
    pub fn block(self) -> usize {
        (1 + self.rank) * self.width
    }

    /// Numbers of noise.
    pub fn noise(self) -> usize {
        if self.psi_per_component { self.components * self.width } else { self.width }
    }
}

/// Numbers of which there is one a parameter: the parameters themselves, or an average of their gradients.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrays<F> {
    /// `[K, 1 + q, D]`: of each component its mean, then its directions, whose lengths say nothing.
    pub rows: Vec<F>,
    /// `[K, q]`
    pub scale_rho: Vec<F>,
    /// `[D]`, or `[K, D]`.
    pub psi_rho: Vec<F>,
    /// `[K]`
    pub pi_logits: Vec<F>,
}

impl<F: Real> Arrays<F> {
    pub fn zeros(sizes: Sizes) -> Self {
        let zeros = |len| vec![F::default(); len];
        Arrays {
            rows: zeros(sizes.components * sizes.block()),
            scale_rho: zeros(sizes.components * sizes.rank),
            psi_rho: zeros(sizes.noise()),
            pi_logits: zeros(sizes.components),
        }
    }

    /// All of them by name, in the order of files.
    pub fn named(&self) -> [(&'static str, &[F]); 4] {
        [
            ("rows", &self.rows),
            ("scale_rho", &self.scale_rho),
            ("psi_rho", &self.psi_rho),
            ("pi_logits", &self.pi_logits),
        ]
    }

    pub fn named_mut(&mut self) -> [(&'static str, &mut [F]); 4] {
        [
            ("rows", &mut self.rows),
            ("scale_rho", &mut self.scale_rho),
            ("psi_rho", &mut self.psi_rho),
            ("pi_logits", &mut self.pi_logits),
        ]
    }
}

/// The parameters of Shafran et al. 2026 (arXiv 2602.02464): component k is a Gaussian around `mu_k` with covariance
/// `W_k W_kᵀ + diag(psi)`, where column j of `W_k` is direction j, made unit length, times `softplus(scale_rho_kj)`;
/// `psi = softplus(psi_rho) + eps_floor`, and weights are `softmax(pi_logits)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters<F> {
    pub sizes: Sizes,
    pub arrays: Arrays<F>,
    pub eps_floor: f64,
}

impl<F: Real> Parameters<F> {
    /// Around given means `[K, D]`: scales and noise 1, equal weights, directions drawn from a normal distribution.
    pub fn around(means: &[F], sizes: Sizes, eps_floor: f64, rng: &mut Generator) -> Self {
        let mut arrays = Arrays::zeros(sizes);
        let per_direction = 1.0 / (sizes.width as f64).sqrt();
        let one = softplus_inverse(1.0);
        for (block, mean) in arrays.rows.chunks_mut(sizes.block()).zip(means.chunks(sizes.width)) {
            let (to, directions) = block.split_at_mut(sizes.width);
            to.copy_from_slice(mean);
            directions.fill_with(|| F::of(rng.standard_normal() * per_direction));
        }
        arrays.scale_rho.fill(F::of(one));
        arrays.psi_rho.fill(F::of(one));
        Parameters { sizes, arrays, eps_floor }
    }

    /// The mean and the directions of component `k`, `[1 + q, D]`.
    pub fn block(&self, k: usize) -> &[F] {
        &self.arrays.rows[k * self.sizes.block()..][..self.sizes.block()]
    }

    /// The logarithms of the weights, `[K]`.
    pub fn log_pi(&self) -> Vec<f64> {
        let most = self.arrays.pi_logits.iter().fold(f64::NEG_INFINITY, |most, x| most.max(x.f64()));
        let sum: f64 = self.arrays.pi_logits.iter().map(|x| (x.f64() - most).exp()).sum();
        self.arrays.pi_logits.iter().map(|x| x.f64() - most - sum.ln()).collect()
    }

    /// The noise, `[D]`, or `[K, D]`.
    pub fn psi(&self) -> Vec<f64> {
        self.arrays.psi_rho.iter().map(|x| softplus(x.f64()) + self.eps_floor).collect()
    }

    /// The noise of component `k` within what [`Parameters::psi`] or anything of its shape holds.
    pub fn noise_of<'a, T>(&self, k: usize, psi: &'a [T]) -> &'a [T] {
        let first = if self.sizes.psi_per_component { k * self.sizes.width } else { 0 };
        &psi[first..first + self.sizes.width]
    }

    /// # Errors
    /// Numbers that are not finite, or none for an array of these sizes.
    pub fn check(&self) -> Result<()> {
        self.sizes.check()?;
        let expected = [
            self.sizes.components * self.sizes.block(),
            self.sizes.components * self.sizes.rank,
            self.sizes.noise(),
            self.sizes.components,
        ];
        for ((name, values), expected) in self.arrays.named().into_iter().zip(expected) {
            if values.len() != expected {
                return Err(MfaError::Size { name, found: values.len(), expected });
            }
            if let Some(x) = values.iter().find(|x| !x.f64().is_finite()) {
                return Err(MfaError::NotFinite { name, value: x.f64() });
            }
        }
        if !(self.eps_floor.is_finite() && self.eps_floor >= 0.0) {
            return Err(MfaError::NotFinite { name: "eps_floor", value: self.eps_floor });
        }
        Ok(())
    }
}
