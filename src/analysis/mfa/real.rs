//! The two floats in which mixtures compute: float32, and float64, in which tests hold the same code to 1e-9.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use gemm::Parallelism;

use crate::model::cpu::general::{self, At};
use crate::model::cpu::simd;

/// float32 or float64.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Div<Output = Self>
    + Mul<Output = Self>
    + Neg<Output = Self>
    + Sub<Output = Self>
    + 'static
{
    /// The nearest to a float64.
    fn of(x: f64) -> Self;
    fn of_f32(x: f32) -> Self;
    fn f64(self) -> f64;
    fn sqrt(self) -> Self;
    fn max(self, other: Self) -> Self;
    /// `e^x` for `x` that are at most about 0; exactly 0 below [`Real::LEAST`], where the result would have lost digits.
    fn exp(self) -> Self;
    const LEAST: f64;

    /// `ln(1 + e^x)`
    fn softplus(self) -> Self;
    /// Its derivative.
    fn sigmoid(self) -> Self;

    /// `to = a bᵀ` on all cores: `a` `[m, k]`, `b` `[n, k]`, `to` `[m, n]`.
    ///
    /// # Panics
    /// Where the slices are not of these sizes.
    fn product_transposed(dims: [usize; 3], to: &mut [Self], a: &[Self], b: &[Self]);
}

fn check<F>([m, k, n]: [usize; 3], to: &[F], a: &[F], b: &[F]) {
    assert!(to.len() == m * n && a.len() == m * k && b.len() == n * k, "a product of other sizes");
}

fn all_cores() -> Parallelism {
    Parallelism::Rayon(rayon::current_num_threads())
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn of_f32(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    #[inline(always)]
    fn max(self, other: f32) -> f32 {
        f32::max(self, other)
    }

    const LEAST: f64 = -87.0;

    #[inline(always)]
    fn exp(self) -> f32 {
        if self < Self::LEAST as f32 { 0.0 } else { simd::exp(self) }
    }

    /// With `ln(1 + t) = 2 artanh(t / (2 + t))` for t up to 1, whose series falls by 9 a term.
    #[inline(always)]
    fn softplus(self) -> f32 {
        let t = simd::exp(-self.abs());
        let s = t / (2.0 + t);
        let square = s * s;
        let mut series = 1.0 / 15.0;
        for term in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            series = series * square + 1.0 / term;
        }
        f32::max(self, 0.0) + 2.0 * s * series
    }

    #[inline(always)]
    fn sigmoid(self) -> f32 {
        simd::sigmoid(self)
    }

    fn product_transposed(dims: [usize; 3], to: &mut [f32], a: &[f32], b: &[f32]) {
        check(dims, to, a, b);
        let [_, k, n] = dims;
        let to = At { first: to.as_mut_ptr(), row: n, column: 1 };
        let (a, b) =
            (At { first: a.as_ptr(), row: k, column: 1 }, At { first: b.as_ptr(), row: 1, column: k });
        // SAFETY: the slices were checked to hold matrices of these sizes, and `to` is lent to nobody else.
        unsafe { general::multiply(dims, to, a, b, false, all_cores()) };
    }
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }

    fn of_f32(x: f32) -> f64 {
        x.into()
    }

    fn f64(self) -> f64 {
        self
    }

    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }

    fn max(self, other: f64) -> f64 {
        f64::max(self, other)
    }

    const LEAST: f64 = -700.0;

    fn exp(self) -> f64 {
        if self < Self::LEAST { 0.0 } else { f64::exp(self) }
    }

    fn softplus(self) -> f64 {
        softplus(self)
    }

    fn sigmoid(self) -> f64 {
        sigmoid(self)
    }

    fn product_transposed(dims: [usize; 3], to: &mut [f64], a: &[f64], b: &[f64]) {
        check(dims, to, a, b);
        let [m, k, n] = dims;
        let strides = |columns: usize| (1, columns as isize);
        let ((to_column, to_row), (a_column, a_row), (b_row, b_column)) =
            (strides(n), strides(k), strides(k));
        // SAFETY: the slices were checked to hold matrices of these sizes, and `to` is lent to nobody else.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                to.as_mut_ptr(),
                to_column,
                to_row,
                false,
                a.as_ptr(),
                a_column,
                a_row,
                b.as_ptr(),
                b_column,
                b_row,
                0.0,
                1.0,
                false,
                false,
                false,
                all_cores(),
            );
        }
    }
}

/// Numbers that sums below take side by side, so that they become vector instructions.
const LANES: usize = 16;

/// `Σ a b`
#[inline(always)]
pub fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    let [sum] = dots(a, [b]);
    sum
}

/// `Σ a b` for several `b`.
#[inline(always)]
pub fn dots<F: Real, const N: usize>(a: &[F], b: [&[F]; N]) -> [F; N] {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let of_b = b.map(|b| b.as_chunks::<LANES>().0);
    let mut sums = [[F::default(); LANES]; N];
    for (at, a) in chunks.iter().enumerate() {
        for (sums, b) in sums.iter_mut().zip(&of_b) {
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(&b[at])) {
                *sum += *a * *b;
            }
        }
    }
    let mut out = [F::default(); N];
    for ((out, sums), b) in out.iter_mut().zip(&sums).zip(&b) {
        for sum in sums {
            *out += *sum;
        }
        for (a, b) in rest.iter().zip(&b[a.len() - rest.len()..]) {
            *out += *a * *b;
        }
    }
    out
}

/// `to += by x`
#[inline(always)]
pub fn add<F: Real>(to: &mut [F], by: F, x: &[F]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += by * *x;
    }
}

/// `ln(1 + e^x)`
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The `x` whose [`softplus`] is `y`, above 0.
pub fn softplus_inverse(y: f64) -> f64 {
    y + (-(-y).exp_m1()).ln()
}

/// The derivative of [`softplus`].
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
