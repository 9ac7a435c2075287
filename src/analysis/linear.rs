//! Least squares, singular values and principal components, in float64 whatever the numbers came as.

use crate::help::Help;
use nalgebra::{DMatrix, DVector};

/// Rows and columns of float32 numbers, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

/// Why a matrix was refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LinearError {
    #[error("`{method}` of a matrix with no rows or columns")]
    Empty { method: &'static str },
    #[error("`{method}` of a matrix that holds {value}, in row {row}")]
    NotFinite { method: &'static str, value: f32, row: usize },
    #[error("`lstsq`: {rows} equations, but {found} values to reach")]
    Equations { rows: usize, found: usize },
    #[error("`pca` of {rows} rows of {cols} numbers has 1 to {most} components, not {k}")]
    Components { rows: usize, cols: usize, most: usize, k: usize },
    #[error("`pca`: the rows vary along {found} directions, not {k}")]
    Rank { found: usize, k: usize },
    #[error("`{method}` did not converge")]
    NotConverged { method: &'static str },
}

impl Help for LinearError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Empty { .. } => "check what filtered the rows".into(),
            Self::NotFinite { .. } => "leave out rows that are not numbers".into(),
            Self::Equations { .. } => "give one value, or one row of values, a row of the matrix".into(),
            Self::Components { most, .. } if *most > 0 => {
                format!("ask for at most {most}, or give more rows")
            }
            Self::Components { .. } => "give at least two rows".into(),
            Self::Rank { found: 0, .. } => "all rows are the same: check what computed them".into(),
            Self::Rank { found, .. } => format!("ask for at most {found}"),
            Self::NotConverged { .. } => "scale the numbers to a common size".into(),
        })
    }
}

type Result<T> = std::result::Result<T, LinearError>;

impl Matrix {
    fn read(&self, method: &'static str) -> Result<DMatrix<f64>> {
        if self.rows == 0 || self.cols == 0 {
            return Err(LinearError::Empty { method });
        }
        if let Some(at) = self.values.iter().position(|x| !x.is_finite()) {
            return Err(LinearError::NotFinite { method, value: self.values[at], row: at / self.cols });
        }
        let values = self.values.iter().copied().map(f64::from);
        Ok(DMatrix::from_row_iterator(self.rows, self.cols, values))
    }

    fn write(matrix: &DMatrix<f64>) -> Matrix {
        let values = matrix.row_iter().flat_map(|row| row.iter().map(|x| *x as f32).collect::<Vec<_>>());
        Matrix { rows: matrix.nrows(), cols: matrix.ncols(), values: values.collect() }
    }
}

/// `a = u diag(s) vt` with orthonormal columns in `u` `[rows, k]` and rows in `vt` `[k, cols]`; `s` `[k]` falls, and
/// k is the smaller side.
#[derive(Debug)]
pub struct Svd {
    pub u: Matrix,
    pub s: Vec<f32>,
    pub vt: Matrix,
}

struct Decomposed {
    u: DMatrix<f64>,
    s: DVector<f64>,
    vt: DMatrix<f64>,
}

fn decompose(a: DMatrix<f64>, method: &'static str) -> Result<Decomposed> {
    let svd = a.try_svd(true, true, f64::EPSILON, 10_000).ok_or(LinearError::NotConverged { method })?;
    match (svd.u, svd.v_t) {
        (Some(u), Some(vt)) => Ok(Decomposed { u, s: svd.singular_values, vt }),
        _ => Err(LinearError::NotConverged { method }),
    }
}

pub fn svd(a: &Matrix) -> Result<Svd> {
    let Decomposed { u, s, vt } = decompose(a.read("svd")?, "svd")?;
    Ok(Svd { u: Matrix::write(&u), s: s.iter().map(|x| *x as f32).collect(), vt: Matrix::write(&vt) })
}

/// The `x` `[cols, targets]` of least norm among those that bring `a x` `[rows, targets]` closest to `b`. Directions
/// whose singular value is lost in the rounding of float32 numbers count as none.
pub fn lstsq(a: &Matrix, b: &Matrix) -> Result<Matrix> {
    if a.rows != b.rows {
        return Err(LinearError::Equations { rows: a.rows, found: b.rows });
    }
    let Decomposed { u, s, vt } = decompose(a.read("lstsq")?, "lstsq")?;
    let smallest = s.max() * f64::from(f32::EPSILON) * a.rows.max(a.cols) as f64;
    let mut along = u.transpose() * b.read("lstsq")?;
    for (mut row, s) in along.row_iter_mut().zip(&s) {
        row *= if *s > smallest { 1.0 / s } else { 0.0 };
    }
    Ok(Matrix::write(&(vt.transpose() * along)))
}

/// Principal components, the one of largest variance first.
#[derive(Debug)]
pub struct Pca {
    /// `[cols]`
    pub mean: Vec<f32>,
    /// Orthonormal rows `[k, cols]`; the largest entry of each is positive.
    pub components: Matrix,
    /// The variance along each component (ddof 1), `[k]`.
    pub variance: Vec<f32>,
    /// The rows along the components `[rows, k]`.
    pub scores: Matrix,
}

/// Variances this much smaller than the largest are lost in rounding, and their directions with them.
const LOST: f64 = 1e-10;

/// # Errors
/// More components than directions along which the rows vary.
pub fn pca(x: &Matrix, k: usize) -> Result<Pca> {
    let mut centred = x.read("pca")?;
    let most = (x.rows - 1).min(x.cols);
    if k == 0 || k > most {
        return Err(LinearError::Components { rows: x.rows, cols: x.cols, most, k });
    }
    let mean = centred.row_mean();
    for mut row in centred.row_iter_mut() {
        row -= &mean;
    }
    // The eigenvectors of the smaller of the two products, both of which have the squared singular values.
    let wide = x.cols > x.rows;
    let product = if wide { &centred * centred.transpose() } else { centred.transpose() * &centred };
    let eigen = product
        .try_symmetric_eigen(f64::EPSILON, 10_000)
        .ok_or(LinearError::NotConverged { method: "pca" })?;
    let mut order: Vec<_> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    // Nor is there a direction in what is left of equal rows when their mean is taken away.
    let rest = f64::EPSILON * f64::from(x.values.iter().fold(0.0_f32, |most, x| most.max(x.abs())));
    let smallest = (eigen.eigenvalues.max() * LOST).max(rest * rest * x.values.len() as f64);
    let found = eigen.eigenvalues.iter().filter(|square| **square > smallest).count();
    if found < k {
        return Err(LinearError::Rank { found, k });
    }
    let mut components = DMatrix::zeros(k, x.cols);
    for (mut row, at) in components.row_iter_mut().zip(order.iter().take(k)) {
        let vector = eigen.eigenvectors.column(*at);
        let vector = if wide { centred.transpose() * vector } else { vector.into_owned() };
        let largest = vector[vector.icamax()];
        row.tr_copy_from(&(&vector * (largest.signum() / vector.norm())));
    }
    let scores = &centred * components.transpose();
    let variance = scores.column_iter().map(|scores| (scores.norm_squared() / (x.rows - 1) as f64) as f32);
    Ok(Pca {
        mean: mean.iter().map(|x| *x as f32).collect(),
        variance: variance.collect(),
        components: Matrix::write(&components),
        scores: Matrix::write(&scores),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::Generator;

    fn random(rows: usize, cols: usize, seed: u64) -> Matrix {
        let mut rng = Generator::new(seed);
        Matrix { rows, cols, values: (0..rows * cols).map(|_| rng.standard_normal() as f32).collect() }
    }

    fn product(a: &Matrix, b: &Matrix) -> Matrix {
        Matrix::write(&(a.read("svd").unwrap() * b.read("svd").unwrap()))
    }

    fn transposed(a: &Matrix) -> Matrix {
        Matrix::write(&a.read("svd").unwrap().transpose())
    }

    #[track_caller]
    fn close(a: &Matrix, b: &Matrix) {
        assert_eq!((a.rows, a.cols), (b.rows, b.cols));
        for (x, y) in a.values.iter().zip(&b.values) {
            assert!((x - y).abs() < 2e-6, "{x}, expected {y}");
        }
    }

    fn identity(n: usize) -> Matrix {
        Matrix::write(&DMatrix::identity(n, n))
    }

    #[test]
    fn singular_values_give_the_matrix_back() {
        for (rows, cols) in [(7, 4), (4, 7), (5, 5), (1, 3)] {
            let a = random(rows, cols, 3);
            let Svd { u, s, vt } = svd(&a).unwrap();
            let mut scaled = vt.clone();
            scaled.values.chunks_mut(cols).zip(&s).for_each(|(row, s)| row.iter_mut().for_each(|x| *x *= s));
            close(&product(&u, &scaled), &a);
            close(&product(&transposed(&u), &u), &identity(rows.min(cols)));
            assert!(s.is_sorted_by(|a, b| a >= b), "{s:?}");
        }
    }

    #[test]
    fn least_squares_leave_nothing_in_the_columns() {
        let (a, b) = (random(9, 4, 1), random(9, 2, 2));
        let x = lstsq(&a, &b).unwrap();
        let mut rest = product(&a, &x);
        rest.values.iter_mut().zip(&b.values).for_each(|(x, b)| *x -= b);
        close(&product(&transposed(&a), &rest), &Matrix { rows: 4, cols: 2, values: vec![0.0; 8] });
        // Of many solutions the shortest: it lies in the rows.
        let wide = random(2, 5, 4);
        let b = random(2, 1, 5);
        let x = lstsq(&wide, &b).unwrap();
        close(&product(&wide, &x), &b);
        let across = svd(&wide).unwrap().vt;
        close(&product(&transposed(&across), &product(&across, &x)), &x);
        // A column that is another one's copy, up to the rounding of float32, shares its weight.
        let twice = Matrix { rows: 3, cols: 2, values: vec![0.1, 0.3, 0.2, 0.6, 0.7, 2.1] };
        let x = lstsq(&twice, &Matrix { rows: 3, cols: 1, values: vec![1.0, 2.0, 7.0] }).unwrap();
        close(&x, &Matrix { rows: 2, cols: 1, values: vec![1.0, 3.0] });
    }

    #[test]
    fn principal_components_are_the_centred_singular_vectors() {
        for (rows, cols) in [(30, 5), (5, 30)] {
            let x = random(rows, cols, 8);
            let found = pca(&x, 3).unwrap();
            close(&product(&found.components, &transposed(&found.components)), &identity(3));
            let mut centred = x.clone();
            for row in centred.values.chunks_mut(cols) {
                row.iter_mut().zip(&found.mean).for_each(|(x, mean)| *x -= mean);
            }
            let Svd { s, vt, .. } = svd(&centred).unwrap();
            for (i, (variance, s)) in found.variance.iter().zip(s).enumerate() {
                assert!((variance - s * s / (rows - 1) as f32).abs() < 1e-5 * found.variance[0]);
                let ours = &found.components.values[i * cols..(i + 1) * cols];
                let theirs = &vt.values[i * cols..(i + 1) * cols];
                let same: f32 = ours.iter().zip(theirs).map(|(a, b)| a * b).sum();
                assert!((same.abs() - 1.0).abs() < 1e-5, "component {i}: {same}");
                let largest = ours.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
                assert!(largest > 0.0);
            }
            close(&product(&centred, &transposed(&found.components)), &found.scores);
        }
    }

    #[test]
    fn what_has_no_answer_is_refused() {
        let mut x = random(3, 2, 0);
        assert_eq!(pca(&x, 3).unwrap_err(), LinearError::Components { rows: 3, cols: 2, most: 2, k: 3 });
        assert_eq!(lstsq(&x, &random(2, 1, 0)).unwrap_err(), LinearError::Equations { rows: 3, found: 2 });
        x.values[4] = f32::INFINITY;
        let refused = svd(&x).unwrap_err();
        assert_eq!(refused.to_string(), "`svd` of a matrix that holds inf, in row 2");
        let line = Matrix { rows: 3, cols: 4, values: (0..12).map(|i| (i / 4) as f32).collect() };
        assert_eq!(pca(&line, 2).unwrap_err(), LinearError::Rank { found: 1, k: 2 });
        let point = Matrix { rows: 3, cols: 2, values: vec![0.3; 6] };
        let same = pca(&point, 1).unwrap_err();
        assert_eq!(same.help().unwrap(), "all rows are the same: check what computed them");
        let empty = Matrix { rows: 0, cols: 2, values: Vec::new() };
        assert_eq!(pca(&empty, 1).unwrap_err(), LinearError::Empty { method: "pca" });
    }
}
