//! Rows made short by a random projection, which nearly keeps distances (Johnson and Lindenstrauss 1984).

use nalgebra::DMatrix;

use crate::analysis::mfa::real::Real;
use crate::data::random::Generator;

/// Orthonormal columns `[D, d]`, spread evenly over all that there are.
#[derive(Debug)]
pub struct Projection {
    /// `[d, D]`
    columns: Vec<f32>,
    /// `[D, d]`
    rows: Vec<f32>,
    from: usize,
    to: usize,
}

impl Projection {
    /// Q of a matrix of normal numbers, with the signs for which R has a positive diagonal.
    pub fn new(from: usize, to: usize, rng: &mut Generator) -> Projection {
        let numbers: Vec<f64> = (0..from * to).map(|_| rng.standard_normal()).collect();
        let (mut q, r) = DMatrix::from_row_slice(from, to, &numbers).qr().unpack();
        for (mut column, sign) in q.column_iter_mut().zip(r.diagonal().iter().map(|x| x.signum())) {
            column *= sign;
        }
        let columns = q.iter().map(|x| *x as f32).collect();
        let rows = q.transpose().iter().map(|x| *x as f32).collect();
        Projection { columns, rows, from, to }
    }

    /// Numbers of a short row.
    pub fn width(&self) -> usize {
        self.to
    }

    /// `[n, D]` to `[n, d]`.
    pub fn shorten(&self, x: &[f32]) -> Vec<f32> {
        product(x, self.from, &self.columns, self.to)
    }

    /// `[n, d]` to the `[n, D]` of least length that are shortened to it.
    pub fn lift(&self, x: &[f32]) -> Vec<f32> {
        product(x, self.to, &self.rows, self.from)
    }
}

fn product(x: &[f32], width: usize, by: &[f32], to: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut out = vec![0.0; rows * to];
    f32::product_transposed([rows, width, to], &mut out, x, by);
    out
}
