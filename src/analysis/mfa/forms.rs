//! The small matrices of each component, of which all densities, posteriors and gradients are made.

use rayon::prelude::*;

use super::parameters::{Parameters, SHORTEST};
use super::real::{Real, dot, dots, softplus};
use crate::model::cpu::simd::widest;

/// With W the directions of a component times their scales and P the inverse of its noise: what depends on parameters
/// alone. The covariance's inverse and determinant come from `M = I + Wᵀ P W` `[q, q]` (Woodbury).
#[derive(Debug, Clone)]
pub struct Forms<F> {
    /// The inverse of the noise, `[D]` or `[K, D]`.
    pub precision: Vec<F>,
    /// What makes W of the raw directions, `[K, q]`.
    pub scale: Vec<F>,
    /// `Wᵀ P mu`, `[K, q]`.
    pub offset: Vec<F>,
    /// The inverse of the lower triangle L of `M = L Lᵀ`, `[K, q, q]`.
    pub whiten: Vec<F>,
    /// The posterior covariance `M⁻¹`, `[K, q, q]`.
    pub covariance: Vec<F>,
    /// The logarithm of each weight, `[K]`.
    pub log_pi: Vec<f64>,
    /// Of each component, what of the logarithm of weight times density depends on no row, less [`Forms::base`] `[K]`.
    pub constant: Vec<F>,
    /// The same, of all components.
    pub base: f64,
    /// `muᵀ P mu`, `[K]`.
    pub mean_square: Vec<F>,
    /// `(1 - 1/λ) / 2` with λ at least the largest eigenvalue of M, `[K]`.
    pub gain: Vec<F>,
}

/// Of one component.
struct Form {
    offset: Vec<f64>,
    whiten: Vec<f64>,
    covariance: Vec<f64>,
    determinant: f64,
    /// `muᵀ P mu`
    mean_square: f64,
    gain: f64,
}

impl<F: Real> Forms<F> {
    /// None where noise is 0 or numbers are not finite.
    pub fn new(parameters: &Parameters<F>) -> Option<Self> {
        let sizes = parameters.sizes;
        let (components, q) = (sizes.components, sizes.rank);
        let (precision, log_psi) = noise(parameters)?;
        let mut scale = vec![F::default(); components * q];
        let found: Vec<Option<Form>> = scale
            .par_chunks_mut(q)
            .enumerate()
            .map_init(Vec::new, |scratch, (k, scale)| {
                widest(
                    #[inline(always)]
                    || form(parameters, k, parameters.noise_of(k, &precision), scale, scratch),
                )
            })
            .collect();
        let log_pi = parameters.log_pi();
        let normal = sizes.width as f64 * std::f64::consts::TAU.ln();
        let (mut whiten, mut covariance) =
            (Vec::with_capacity(components * q * q), Vec::with_capacity(components * q * q));
        let (mut offset, mut constant) = (Vec::with_capacity(components * q), Vec::with_capacity(components));
        let (mut mean_square, mut gain) = (Vec::with_capacity(components), Vec::with_capacity(components));
        for (k, form) in found.into_iter().enumerate() {
            let form = form?;
            offset.extend(form.offset.into_iter().map(F::of));
            whiten.extend(form.whiten.into_iter().map(F::of));
            covariance.extend(form.covariance.into_iter().map(F::of));
            let own = if sizes.psi_per_component { log_psi[k] } else { 0.0 };
            constant.push(F::of(log_pi[k] - 0.5 * (form.determinant + form.mean_square + own)));
            mean_square.push(F::of(form.mean_square));
            gain.push(F::of(form.gain));
        }
        let shared = if sizes.psi_per_component { 0.0 } else { log_psi[0] };
        let base = -0.5 * (normal + shared);
        Some(Forms {
            precision,
            scale,
            offset,
            whiten,
            covariance,
            log_pi,
            constant,
            base,
            mean_square,
            gain,
        })
    }
}

/// Noises of which one logarithm is taken: their product is far from the ends of float64.
const TOGETHER: usize = 4;

/// The inverse of the noise, and the sum of its logarithms of each that there is.
fn noise<F: Real>(parameters: &Parameters<F>) -> Option<(Vec<F>, Vec<f64>)> {
    let (width, eps) = (parameters.sizes.width, F::of(parameters.eps_floor));
    let mut precision = parameters.arrays.psi_rho.clone();
    let logs: Vec<f64> = precision
        .par_chunks_mut(width)
        .map(|noise| {
            widest(
                #[inline(always)]
                || noise.iter_mut().for_each(|x| *x = x.softplus() + eps),
            );
            let product = |some: &[F]| some.iter().map(|psi| psi.f64()).product::<f64>().ln();
            let logs = noise.chunks(TOGETHER).map(product).sum();
            noise.iter_mut().for_each(|x| *x = F::of(1.0) / *x);
            logs
        })
        .collect();
    let usable = |x: &F| x.f64() > 0.0 && x.f64().is_finite();
    (logs.iter().all(|log| log.is_finite()) && precision.iter().all(usable)).then_some((precision, logs))
}

/// Where M is larger, sums in float32 would lose the 1 of its identity matrix.
const LARGE: f64 = 1e4;

#[inline(always)]
fn form<F: Real>(
    parameters: &Parameters<F>,
    k: usize,
    precision: &[F],
    scale: &mut [F],
    scratch: &mut Vec<F>,
) -> Option<Form> {
    let (width, q) = (parameters.sizes.width, parameters.sizes.rank);
    let (mean, directions) = parameters.block(k).split_at(width);
    let direction = |j: usize| &directions[j * width..][..width];
    for (j, scale) in scale.iter_mut().enumerate() {
        let rho = parameters.arrays.scale_rho[k * q + j].f64();
        *scale = F::of(softplus(rho) / dot(direction(j), direction(j)).f64().sqrt().max(SHORTEST));
    }
    let (mut m, mut offset) = (vec![0.0; q * q], vec![0.0; q]);
    scratch.resize(width, F::default());
    multiply(scratch, mean, precision);
    let mean_square = dot(scratch, mean).f64();
    for i in 0..q {
        let by = scale[i].f64();
        multiply(scratch, direction(i), precision);
        offset[i] = by * dot(scratch, mean).f64();
        let entry = |m: &mut Vec<f64>, j: usize, sum: F| {
            m[i * q + j] = by * scale[j].f64() * sum.f64() + if i == j { 1.0 } else { 0.0 };
        };
        let mut j = 0;
        while j + 4 <= i + 1 {
            let sums = dots(scratch, [direction(j), direction(j + 1), direction(j + 2), direction(j + 3)]);
            sums.into_iter().enumerate().for_each(|(n, sum)| entry(&mut m, j + n, sum));
            j += 4;
        }
        for j in j..=i {
            let sum = dot(scratch, direction(j));
            entry(&mut m, j, sum);
        }
    }
    if (0..q).any(|i| m[i * q + i] > LARGE) {
        exact(&mut m, directions, precision, scale);
    }
    let (whiten, determinant) = whiten(&m, q)?;
    let covariance = product_of_transpose(&whiten, q);
    let gain = 0.5 * (1.0 - 1.0 / (1.0 + largest(&m, q)));
    let constant = determinant + mean_square;
    constant.is_finite().then_some(Form { offset, whiten, covariance, determinant, mean_square, gain })
}

/// No less than the largest eigenvalue of `B = M - I`, of which the lower half is read: the root of norms of its square.
#[inline(always)]
fn largest(m: &[f64], q: usize) -> f64 {
    let entry = |i: usize, j: usize| m[i.max(j) * q + i.min(j)] - if i == j { 1.0 } else { 0.0 };
    let b: Vec<f64> = (0..q * q).map(|at| entry(at / q, at % q)).collect();
    let (mut squares, mut longest) = (0.0, 0.0f64);
    let mut row = vec![0.0; q];
    for i in 0..q {
        row.fill(0.0);
        for (by, b) in b[i * q..][..q].iter().zip(b.chunks(q)) {
            row.iter_mut().zip(b).for_each(|(to, x)| *to += by * x);
        }
        squares += row.iter().map(|x| x * x).sum::<f64>();
        longest = longest.max(row.iter().map(|x| x.abs()).sum());
    }
    f64::min(squares.sqrt(), longest).sqrt()
}

#[inline(always)]
fn multiply<F: Real>(to: &mut [F], a: &[F], b: &[F]) {
    for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
        *to = *a * *b;
    }
}

/// The lower half of M, summed in float64.
fn exact<F: Real>(m: &mut [f64], directions: &[F], precision: &[F], scale: &[F]) {
    let (width, q) = (precision.len(), scale.len());
    let direction = |j: usize| &directions[j * width..][..width];
    for (i, j) in (0..q).flat_map(|i| (0..=i).map(move |j| (i, j))) {
        let terms = direction(i).iter().zip(direction(j)).zip(precision);
        let sum: f64 = terms.map(|((a, b), p)| a.f64() * b.f64() * p.f64()).sum();
        m[i * q + j] = scale[i].f64() * scale[j].f64() * sum + if i == j { 1.0 } else { 0.0 };
    }
}

/// The inverse of the lower triangle L of a positive definite `L Lᵀ`, of which the lower half is read, and the
/// logarithm of its determinant.
pub fn whiten(m: &[f64], q: usize) -> Option<(Vec<f64>, f64)> {
    let (mut l, mut inverse, mut determinant) = (vec![0.0; q * q], vec![0.0; q * q], 0.0);
    for i in 0..q {
        for j in 0..=i {
            let rest = m[i * q + j] - (0..j).map(|n| l[i * q + n] * l[j * q + n]).sum::<f64>();
            if i > j {
                l[i * q + j] = rest / l[j * q + j];
            } else if rest > 0.0 && rest.is_finite() {
                l[i * q + i] = rest.sqrt();
                determinant += rest.ln();
            } else {
                return None;
            }
        }
        inverse[i * q + i] = 1.0 / l[i * q + i];
        for j in 0..i {
            let sum: f64 = (j..i).map(|n| l[i * q + n] * inverse[n * q + j]).sum();
            inverse[i * q + j] = -sum / l[i * q + i];
        }
    }
    Some((inverse, determinant))
}

/// `aᵀ a` of a lower triangle.
pub fn product_of_transpose(a: &[f64], q: usize) -> Vec<f64> {
    let entry = |i: usize, j: usize| (i.max(j)..q).map(|n| a[n * q + i] * a[n * q + j]).sum();
    (0..q * q).map(|at| entry(at / q, at % q)).collect()
}
