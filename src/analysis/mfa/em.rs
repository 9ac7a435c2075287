//! Expectation and maximisation for mixtures of factor analysers (Ghahramani and Hinton 1996), one pass over all rows.

use rayon::prelude::*;

use super::Sizes;
use super::adam::{Noise, TASK};
use super::density::{Block, Densities, block_rows};
use super::error::{MfaError, Result};
use super::forms::{Forms, product_of_transpose, whiten};
use super::gradient::{Component, Sums, shares};
use super::parameters::Parameters;
use super::real::softplus_inverse;
use crate::data::rows::Rows;
use crate::model::cpu::simd::widest;

/// The least noise, as a share of the variance of all rows: without it a component with few rows becomes a point.
const LEAST_NOISE: f64 = 1e-5;
/// The least that softplus gives, and the least weight of a component.
const LEAST_SCALE: f64 = 1e-6;
const LEAST_WEIGHT: f64 = 1e-20;

/// What all rows say about one component, as in [`Sums`], but in float64.
#[derive(Clone)]
struct Whole {
    n: f64,
    z: Vec<f64>,
    zz: Vec<f64>,
    /// `[1 + q, D]`
    rows: Vec<f64>,
}

/// One epoch: the parameters that make the rows most likely, given their posteriors under the present ones. The mean
/// negative log likelihood under the present ones. `go_on` is asked before every block: its number, how many there are,
/// the mean so far.
pub fn epoch(
    parameters: &mut Parameters<f32>,
    rows: &dyn Rows,
    shift: &[f32],
    epoch: usize,
    go_on: &mut dyn FnMut(usize, usize, f64) -> bool,
) -> Result<f64> {
    let sizes = parameters.sizes;
    let (width, q) = (sizes.width, sizes.rank);
    let away = |step| MfaError::Diverged { epoch, step };
    let forms = Forms::new(parameters).ok_or(away(0))?;
    let zeros = |len| vec![0.0; len];
    let whole = Whole { n: 0.0, z: zeros(q), zz: zeros(q * q), rows: zeros(sizes.block()) };
    let mut wholes = vec![whole; sizes.components];
    // Of each component where it has noise of its own, else of all.
    let mut squares = zeros(sizes.noise());
    let (mut variance, mut nll) = (zeros(width), 0.0);
    let (mut block, mut densities) = (Block::default(), Densities::default());
    let together = block_rows(sizes);
    let steps = rows.len().div_ceil(together);
    for step in 0..steps {
        let first = step * together;
        if !go_on(step, steps, nll / first as f64) {
            return Err(MfaError::Interrupted);
        }
        let which = first..rows.len().min(first + together);
        block.gather(rows, which, shift).map_err(|(row, value)| MfaError::Row { row, value })?;
        densities.compute_likely(parameters, &forms, &block);
        nll -= densities.responsibilities(1.0).into_iter().sum::<f64>();
        if !nll.is_finite() {
            return Err(away(step));
        }
        for x in block.x.chunks(width) {
            variance.iter_mut().zip(x).for_each(|(to, x)| *to += f64::from(*x).powi(2));
        }
        let tasks =
            wholes.par_chunks_mut(TASK).enumerate().map_init(Sums::default, |sums, (task, wholes)| {
                let mut noise = Noise::of(sizes, wholes.len());
                for (i, whole) in wholes.iter_mut().enumerate() {
                    let k = task * TASK + i;
                    let list = shares(&densities, k);
                    if list.is_empty() {
                        continue;
                    }
                    widest(
                        #[inline(always)]
                        || {
                            sums.gather(Component::of(parameters, &forms, k), &block, &densities, &list);
                            whole.add(sums);
                            noise.add(i, sums, 0.0);
                        },
                    );
                }
                noise
            });
        let tasks: Vec<Noise> = tasks.collect();
        add_noise(&mut squares, tasks.iter().map(|task| &task.squares), sizes);
    }
    let least: Vec<f64> = variance.iter().map(|x| LEAST_NOISE * x / rows.len() as f64).collect();
    maximise(parameters, &wholes, squares, &least, rows.len());
    Ok(nll / rows.len() as f64)
}

impl Whole {
    fn add(&mut self, sums: &Sums<f32>) {
        fn add(to: &mut [f64], x: &[f32]) {
            to.iter_mut().zip(x).for_each(|(to, x)| *to += f64::from(*x));
        }
        self.n += f64::from(sums.n);
        add(&mut self.z, &sums.z);
        add(&mut self.zz, &sums.zz);
        add(&mut self.rows, &sums.rows);
    }

    /// What is to be added to the mean, and W: `[delta, W] = Σ r y [1, z]ᵀ (Σ r E[[1, z] [1, z]ᵀ])⁻¹`, `[1 + q, D]`. None
    /// where hardly a row says anything.
    fn solve(&self) -> Option<Vec<f64>> {
        let (q, width) = (self.z.len(), self.rows.len() / (1 + self.z.len()));
        let entry = |at: usize| match (at / (1 + q), at % (1 + q)) {
            (0, 0) => self.n,
            (0, j) => self.z[j - 1],
            (i, 0) => self.z[i - 1],
            (i, j) => self.zz[(i - 1) * q + j - 1],
        };
        let both: Vec<f64> = (0..(1 + q) * (1 + q)).map(entry).collect();
        let (whiten, _) = whiten(&both, 1 + q)?;
        let inverse = product_of_transpose(&whiten, 1 + q);
        let mut out = vec![0.0; self.rows.len()];
        for (to, weights) in out.chunks_mut(width).zip(inverse.chunks(1 + q)) {
            for (weight, from) in weights.iter().zip(self.rows.chunks(width)) {
                to.iter_mut().zip(from).for_each(|(to, x)| *to += weight * x);
            }
        }
        out.iter().all(|x| x.is_finite()).then_some(out)
    }
}

/// Adds what tasks say about noise, in their order: of all components, or of some each.
fn add_noise<'a, T: Copy + Into<f64> + 'a>(
    to: &mut [f64],
    tasks: impl Iterator<Item = &'a Vec<T>>,
    sizes: Sizes,
) {
    let mut first = 0;
    for task in tasks {
        to[first..][..task.len()].iter_mut().zip(task).for_each(|(to, x)| *to += (*x).into());
        first += if sizes.psi_per_component { task.len() } else { 0 };
    }
}

fn maximise(
    parameters: &mut Parameters<f32>,
    wholes: &[Whole],
    mut squares: Vec<f64>,
    least: &[f64],
    count: usize,
) {
    let (sizes, eps) = (parameters.sizes, parameters.eps_floor);
    let (width, q) = (sizes.width, sizes.rank);
    let arrays = &mut parameters.arrays;
    let rows = arrays.rows.par_chunks_mut(TASK * sizes.block());
    let tasks = rows.zip(arrays.scale_rho.par_chunks_mut(TASK * q)).zip(wholes.par_chunks(TASK));
    let explained: Vec<Vec<f64>> = tasks
        .map(|((rows, scales), wholes)| {
            let own = if sizes.psi_per_component { wholes.len() } else { 1 };
            let mut explained = vec![0.0; own * width];
            let components = rows.chunks_mut(sizes.block()).zip(scales.chunks_mut(q)).zip(wholes);
            for (i, ((block, rho), whole)) in components.enumerate() {
                let Some(solved) = whole.solve() else { continue };
                for (solved, rows) in solved.chunks(width).zip(whole.rows.chunks(width)) {
                    let to = explained[i % own * width..][..width].iter_mut();
                    to.zip(solved.iter().zip(rows)).for_each(|(to, (a, b))| *to -= a * b);
                }
                put(block, rho, &solved);
            }
            explained
        })
        .collect();
    add_noise(&mut squares, explained.iter(), sizes);
    for (logit, whole) in arrays.pi_logits.iter_mut().zip(wholes) {
        *logit = (whole.n / count as f64).max(LEAST_WEIGHT).ln() as f32;
    }
    let noises = arrays.psi_rho.chunks_mut(width).zip(squares.chunks(width)).zip(wholes);
    for ((rho, squares), whole) in noises {
        let n = if sizes.psi_per_component { whole.n } else { count as f64 };
        if n > 0.0 {
            for ((rho, squares), least) in rho.iter_mut().zip(squares).zip(least) {
                let psi = (squares / n).max(*least) - eps;
                *rho = softplus_inverse(psi.max(eps).max(LEAST_SCALE)) as f32;
            }
        }
    }
}

/// Moves a component's mean, and makes directions and scales of its W: what [`Whole::solve`] found.
fn put(block: &mut [f32], rho: &mut [f32], solved: &[f64]) {
    let width = block.len() / (1 + rho.len());
    let (mean, directions) = block.split_at_mut(width);
    let (delta, w) = solved.split_at(width);
    mean.iter_mut().zip(delta).for_each(|(to, x)| *to = (f64::from(*to) + x) as f32);
    for ((direction, w), rho) in directions.chunks_mut(width).zip(w.chunks(width)).zip(rho) {
        let length = w.iter().map(|x| x * x).sum::<f64>().sqrt();
        *rho = softplus_inverse(length.max(LEAST_SCALE)) as f32;
        if length > LEAST_SCALE {
            direction.iter_mut().zip(w).for_each(|(to, x)| *to = (x / length) as f32);
        }
    }
}
