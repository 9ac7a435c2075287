//! Coordinates in the subspace of a component, as Shafran et al. 2026 plot them.

use super::Mfa;
use super::error::{MfaError, Result};
use super::forms::{product_of_transpose, whiten};
use super::real::Real;
use crate::data::rows::Rows;

/// What is added to the products of directions with themselves until they can be inverted, and how often ten times more
/// is tried.
const JITTER: f64 = 1e-8;
const TRIES: i32 = 6;

/// Rows along the directions of one component.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// Least-squares coordinates in directions of length 1, `[n, q]`, in the units of the rows. They are not the
    /// posterior mean, and the component's mean is part of them.
    pub coordinates: Vec<f32>,
    /// The squared length of what the subspace holds of each row, `[n]`.
    pub energy: Vec<f32>,
    /// Its share of the row's squared length, `[n]`.
    pub ratio: Vec<f32>,
    /// The coordinates of the component's mean, `[q]`; zeros where rows are centred.
    pub centroid: Vec<f32>,
}

/// The directions U of a component, `[q, D]`, and `(Uᵀ U)⁻¹`.
struct Subspace {
    directions: Vec<Vec<f64>>,
    inverse: Vec<f64>,
}

impl Subspace {
    fn coordinates(&self, x: &[f64]) -> Vec<f64> {
        let along: Vec<f64> = self.directions.iter().map(|u| dot(u, x)).collect();
        self.inverse.chunks(along.len()).map(|row| dot(row, &along)).collect()
    }

    fn place(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut place = vec![0.0; self.directions[0].len()];
        for (c, u) in coordinates.iter().zip(&self.directions) {
            place.iter_mut().zip(u).for_each(|(to, u)| *to += c * u);
        }
        place
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl<F: Real> Mfa<F> {
    /// The rows in the subspace of component `k`. With `center`, the part of the component's mean that lies outside the
    /// subspace is taken from them first, which changes their length alone.
    ///
    /// # Errors
    /// Rows of another width, or that are not finite; a component that does not exist, or whose directions are one.
    pub fn project(&self, x: &dyn Rows, k: usize, center: bool) -> Result<Projection> {
        let (found, expected) = (x.width(), self.width());
        if found != expected {
            return Err(MfaError::Width { found, expected });
        }
        let space = self.subspace(k)?;
        let mean: Vec<f64> = self.mean(k)?.iter().map(|x| x.f64()).collect();
        let of_mean = space.coordinates(&mean);
        let inside = space.place(&of_mean);
        let outside: Vec<f64> = match center {
            true => mean.iter().zip(inside).map(|(mean, inside)| mean - inside).collect(),
            false => vec![0.0; expected],
        };
        let mut out = Projection {
            coordinates: Vec::with_capacity(x.len() * self.rank()),
            energy: Vec::with_capacity(x.len()),
            ratio: Vec::with_capacity(x.len()),
            centroid: of_mean.iter().map(|c| if center { 0.0 } else { *c as f32 }).collect(),
        };
        for i in 0..x.len() {
            let row = x.row(i);
            if let Some(value) = row.iter().copied().find(|x| !x.is_finite()) {
                return Err(MfaError::Row { row: i, value });
            }
            let row: Vec<f64> =
                row.iter().zip(&outside).map(|(x, outside)| f64::from(*x) - outside).collect();
            let coordinates = space.coordinates(&row);
            let place = space.place(&coordinates);
            let energy = dot(&place, &place);
            out.energy.push(energy as f32);
            out.ratio.push((energy / dot(&row, &row).max(1e-6)) as f32);
            out.coordinates.extend(coordinates.iter().map(|c| *c as f32));
        }
        Ok(out)
    }

    fn subspace(&self, k: usize) -> Result<Subspace> {
        let q = self.rank();
        let flat = self.directions(k)?;
        let directions: Vec<Vec<f64>> =
            (0..q).map(|j| flat.iter().skip(j).step_by(q).map(|x| x.f64()).collect()).collect();
        let gram: Vec<f64> = (0..q * q).map(|at| dot(&directions[at / q], &directions[at % q])).collect();
        for times in 0..TRIES {
            let jitter = JITTER * 10f64.powi(times);
            let entry = |(at, x): (usize, &f64)| x + if at / q == at % q { jitter } else { 0.0 };
            let gram: Vec<f64> = gram.iter().enumerate().map(entry).collect();
            if let Some((whiten, _)) = whiten(&gram, q) {
                return Ok(Subspace { directions, inverse: product_of_transpose(&whiten, q) });
            }
        }
        Err(MfaError::Dependent { k })
    }
}
