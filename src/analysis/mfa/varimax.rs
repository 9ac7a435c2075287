//! The directions of a component turned so that each number of a row belongs to few of them.

use super::Mfa;
use super::error::Result;
use super::real::Real;

const ROUNDS: usize = 100;
/// Angles that are as good as none.
const TOLERANCE: f64 = 1e-9;

/// A rotation of a component's directions, which changes no likelihood: `W R` for W, and `Rᵀ z` for a place z.
#[derive(Debug, Clone, PartialEq)]
pub struct Varimax {
    /// R `[q, q]`, row after row.
    pub rotation: Vec<f64>,
    /// `W R` `[D, q]`, row after row.
    pub loadings: Vec<f64>,
}

impl<F: Real> Mfa<F> {
    /// Kaiser 1958: two directions at a time by the best angle, with rows of W made length 1 while it is looked for.
    /// `gamma` 1 is varimax, 0 quartimax.
    ///
    /// # Errors
    /// A component that does not exist.
    pub fn varimax(&self, k: usize, gamma: f64) -> Result<Varimax> {
        let q = self.rank();
        let mut loadings: Vec<f64> = self.loadings(k)?.iter().map(|x| x.f64()).collect();
        let mut unit = loadings.clone();
        for row in unit.chunks_mut(q) {
            let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().filter(|_| length > 0.0).for_each(|x| *x /= length);
        }
        let mut rotation: Vec<f64> = (0..q * q).map(|at| f64::from(at / q == at % q)).collect();
        for _ in 0..ROUNDS {
            let mut largest = 0.0_f64;
            for (i, j) in (0..q).flat_map(|i| (i + 1..q).map(move |j| (i, j))) {
                let angle = best_angle(&unit, q, [i, j], gamma);
                largest = largest.max(angle.abs());
                for matrix in [&mut unit, &mut rotation, &mut loadings] {
                    turn(matrix, q, [i, j], angle);
                }
            }
            if largest < TOLERANCE {
                break;
            }
        }
        Ok(Varimax { rotation, loadings })
    }
}

/// The angle by which two columns have the largest variance of squares.
fn best_angle(matrix: &[f64], q: usize, [i, j]: [usize; 2], gamma: f64) -> f64 {
    let (mut a, mut b, mut c, mut d) = (0.0, 0.0, 0.0, 0.0);
    for row in matrix.chunks(q) {
        let (u, v) = (row[i] * row[i] - row[j] * row[j], 2.0 * row[i] * row[j]);
        a += u;
        b += v;
        c += u * u - v * v;
        d += 2.0 * u * v;
    }
    let part = gamma / (matrix.len() / q) as f64;
    0.25 * (d - 2.0 * part * a * b).atan2(c - part * (a * a - b * b))
}

fn turn(matrix: &mut [f64], q: usize, [i, j]: [usize; 2], angle: f64) {
    let (sin, cos) = angle.sin_cos();
    for row in matrix.chunks_mut(q) {
        (row[i], row[j]) = (row[i] * cos + row[j] * sin, row[j] * cos - row[i] * sin);
    }
}
