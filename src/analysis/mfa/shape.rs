//! What components are like, and how far they lie from each other.

use nalgebra::DMatrix;

use super::Mfa;
use super::error::Result;
use super::real::Real;

impl<F: Real> Mfa<F> {
    /// In how many directions component `k` varies, 1 to q: the exponential of the entropy of the shares that the
    /// eigenvalues of `Wᵀ W` have in their sum (Roy and Vetterli 2007).
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn effective_rank(&self, k: usize) -> Result<f64> {
        let w = self.loadings(k)?;
        let w = DMatrix::from_row_iterator(self.width(), self.rank(), w.iter().map(|x| x.f64()));
        let values: Vec<f64> =
            (w.transpose() * w).symmetric_eigenvalues().iter().map(|x| x.max(0.0)).collect();
        let sum: f64 = values.iter().sum();
        let shares = values.iter().map(|x| x / sum).filter(|share| *share > 0.0);
        Ok(shares.map(|share| -share * share.ln()).sum::<f64>().exp())
    }

    /// The distance of each component's mean from that of component `k`, `[K]`.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn distances(&self, k: usize) -> Result<Vec<f64>> {
        let mean = self.mean(k)?;
        let distance = |other: &[F]| {
            let squares = mean.iter().zip(other).map(|(a, b)| (a.f64() - b.f64()).powi(2));
            squares.sum::<f64>().sqrt()
        };
        Ok(self.mu.chunks(self.width()).map(distance).collect())
    }

    /// The `most` components whose means are nearest to that of component `k`, itself left out, with their distances.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn nearest(&self, k: usize, most: usize) -> Result<Vec<(usize, f64)>> {
        let others = self.distances(k)?.into_iter().enumerate().filter(|(other, _)| *other != k);
        let mut others: Vec<_> = others.collect();
        others.sort_by(|a, b| a.1.total_cmp(&b.1));
        others.truncate(most);
        Ok(others)
    }
}
