//! Densities of the pairs of row and component that matter, where these are few.
//!
//! With y = x - mu and `a = yᵀ P y`, what the directions of a component take from a, `vᵀ M⁻¹ v`, lies between 0 and
//! `(1 - 1/λ) a`, λ at least the largest eigenvalue of M. So that one product with the means alone tells of most pairs that
//! their share is 0 in floats, and the directions of those need no product.

use rayon::prelude::*;

use super::density::{Block, Densities, finish};
use super::forms::Forms;
use super::parameters::{Parameters, Sizes};
use super::real::{Real, dots};
use crate::model::cpu::simd::widest;

/// Of so many pairs one must matter, at most, for it to be worth while to look.
const RARE: usize = 4;
/// Rows that tell whether it is.
const SAMPLE: usize = 8;

/// Memory for the bounds of a block.
#[derive(Debug, Default)]
pub struct Bounds<F> {
    /// The means, with noise of each component times the inverse of it, `[K, D]`.
    means: Vec<F>,
    /// Rows times the inverse of the noise that all share, or squared, `[n, D]`.
    scaled: Vec<F>,
    /// `xᵀ P x` of every pair where noise is each component's, `[K, n]`, else of every row, `[n]`.
    squares: Vec<F>,
    sample: Block<F>,
}

impl<F: Real> Densities<F> {
    /// [`Densities::compute`], but pairs whose share is 0 may have a `joint` of minus infinity and any `v`. Which path is
    /// taken follows from the block and the parameters alone.
    pub fn compute_likely(&mut self, parameters: &Parameters<F>, forms: &Forms<F>, block: &Block<F>) {
        if block.len == 0 {
            return self.compute(parameters, forms, block);
        }
        let mut bounds = std::mem::take(&mut self.bounds);
        bounds.take_means(parameters, forms);
        let rare = |kept: usize, rows: usize| kept * RARE <= parameters.sizes.components * rows;
        let sampled = block.len < 2 * SAMPLE || {
            let mut sample = std::mem::take(&mut bounds.sample);
            sample.every(block, block.len / SAMPLE, parameters.sizes.width);
            let kept = self.bound(&mut bounds, parameters.sizes, forms, &sample);
            let rare = rare(kept, sample.len);
            bounds.sample = sample;
            rare
        };
        if sampled && rare(self.bound(&mut bounds, parameters.sizes, forms, block), block.len) {
            self.fill(&bounds, parameters, forms, block);
        } else {
            self.compute(parameters, forms, block);
        }
        self.bounds = bounds;
    }

    /// Puts into `joint` the least that it can be, or minus infinity where the pair has no share: how many have one.
    fn bound(&mut self, bounds: &mut Bounds<F>, sizes: Sizes, forms: &Forms<F>, block: &Block<F>) -> usize {
        let (n, width, own) = (block.len, sizes.width, sizes.psi_per_component);
        self.len = n;
        self.joint.resize(sizes.components * n, F::default());
        bounds.scaled.resize(n * width, F::default());
        self.shared.clear();
        self.shared.resize(n, forms.base);
        let dims = [sizes.components, width, n];
        if own {
            bounds.scaled.iter_mut().zip(&block.x).for_each(|(to, x)| *to = *x * *x);
            bounds.squares.resize(sizes.components * n, F::default());
            F::product_transposed(dims, &mut bounds.squares, &forms.precision, &bounds.scaled);
            F::product_transposed(dims, &mut self.joint, &bounds.means, &block.x);
        } else {
            bounds.squares.clear();
            let rows = bounds.scaled.chunks_mut(width).zip(block.x.chunks(width)).zip(&mut self.shared);
            for ((to, x), shared) in rows {
                let mut sum = 0.0;
                for ((to, x), p) in to.iter_mut().zip(x).zip(&forms.precision) {
                    *to = *x * *p;
                    sum += (*to * *x).f64();
                }
                *shared -= 0.5 * sum;
                bounds.squares.push(F::of(sum));
            }
            F::product_transposed(dims, &mut self.joint, &bounds.means, &bounds.scaled);
        }
        let half = F::of(0.5);
        let squares = |k: usize| &bounds.squares[if own { k * n } else { 0 }..][..n];
        let mut most = vec![F::of(f64::NEG_INFINITY); n];
        widest(
            #[inline(always)]
            || {
                for (k, joint) in self.joint.chunks(n).enumerate() {
                    let constant = forms.constant[k];
                    for ((most, cross), square) in most.iter_mut().zip(joint).zip(squares(k)) {
                        let least = constant + *cross - if own { half * *square } else { F::default() };
                        *most = most.max(least);
                    }
                }
            },
        );
        let nothing = F::of(f64::NEG_INFINITY);
        // Of sums of that size so much may be rounding.
        let (margin, rounding) = (F::of(1.0 - F::LEAST), F::of(1e-6));
        let mut kept = 0;
        for (k, joint) in self.joint.chunks_mut(n).enumerate() {
            let (constant, gain, mean) = (forms.constant[k], forms.gain[k], forms.mean_square[k]);
            let mut own_kept = 0u32;
            widest(
                #[inline(always)]
                || {
                    for ((joint, most), square) in joint.iter_mut().zip(&most).zip(squares(k)) {
                        let cross = *joint;
                        let least = constant + cross - if own { half * *square } else { F::default() };
                        let apart = *square + mean - cross - cross;
                        let bound = least + gain * apart + margin + rounding * (*square + mean);
                        // What is no number stays, and is seen by whoever adds up.
                        let out = bound < *most;
                        *joint = if out { nothing } else { least };
                        own_kept += u32::from(!out);
                    }
                },
            );
            kept += own_kept as usize;
        }
        kept
    }

    /// The densities of the pairs that are left.
    fn fill(&mut self, bounds: &Bounds<F>, parameters: &Parameters<F>, forms: &Forms<F>, block: &Block<F>) {
        let Sizes { width, rank: q, psi_per_component: own, components } = parameters.sizes;
        let n = block.len;
        self.v.resize(components * (1 + q) * n, F::default());
        let pairs = self.v.par_chunks_mut((1 + q) * n).zip(self.joint.par_chunks_mut(n)).enumerate();
        pairs.with_min_len(8).for_each_init(Few::default, |few, (k, (v, joint))| {
            few.which.clear();
            few.which.extend((0..n).filter(|b| joint[*b] != F::of(f64::NEG_INFINITY)));
            if few.which.is_empty() {
                return;
            }
            let whiten = &forms.whiten[k * q * q..][..q * q];
            let (scale, offset) = (&forms.scale[k * q..][..q], &forms.offset[k * q..][..q]);
            let directions = &parameters.block(k)[width..];
            widest(
                #[inline(always)]
                || {
                    let m = few.which.len();
                    few.v.resize((1 + q) * m, F::default());
                    few.joint.resize(m, F::default());
                    for (i, b) in few.which.iter().enumerate() {
                        few.joint[i] = F::default();
                        few.v[i] = joint[*b];
                        let x = match own {
                            true => {
                                let (x, p) = (
                                    &block.x[b * width..][..width],
                                    parameters.noise_of(k, &forms.precision),
                                );
                                few.x.clear();
                                few.x.extend(x.iter().zip(p).map(|(x, p)| *x * *p));
                                &few.x[..]
                            }
                            false => &bounds.scaled[b * width..][..width],
                        };
                        products(x, directions, &mut few.v[m..], m, i);
                    }
                    // All but the part of the directions is in it already.
                    finish(&mut few.v, &mut few.joint, false, F::default(), whiten, scale, offset);
                },
            );
            let m = few.which.len();
            for (i, b) in few.which.iter().enumerate() {
                joint[*b] = few.joint[i];
                for j in 1..=q {
                    v[j * n + b] = few.v[j * m + i];
                }
            }
        });
    }
}

/// A component's pairs, without gaps.
#[derive(Default)]
struct Few<F> {
    which: Vec<usize>,
    v: Vec<F>,
    joint: Vec<F>,
    x: Vec<F>,
}

/// `to[j, i] = directions[j] x`, `to` `[q, m]`.
#[inline(always)]
fn products<F: Real>(x: &[F], directions: &[F], to: &mut [F], m: usize, i: usize) {
    let width = x.len();
    let mut four = directions.chunks_exact(4 * width);
    let mut j = 0;
    for some in &mut four {
        let (ab, cd) = some.split_at(2 * width);
        let ((a, b), (c, d)) = (ab.split_at(width), cd.split_at(width));
        for sum in dots(x, [a, b, c, d]) {
            to[j * m + i] = sum;
            j += 1;
        }
    }
    for direction in four.remainder().chunks_exact(width) {
        let [sum] = dots(x, [direction]);
        to[j * m + i] = sum;
        j += 1;
    }
}

impl<F: Real> Bounds<F> {
    fn take_means(&mut self, parameters: &Parameters<F>, forms: &Forms<F>) {
        let sizes = parameters.sizes;
        self.means.resize(sizes.components * sizes.width, F::default());
        for (k, to) in self.means.chunks_mut(sizes.width).enumerate() {
            let mean = &parameters.block(k)[..sizes.width];
            match sizes.psi_per_component {
                false => to.copy_from_slice(mean),
                true => {
                    let precision = parameters.noise_of(k, &forms.precision);
                    to.iter_mut().zip(mean).zip(precision).for_each(|((to, x), p)| *to = *x * *p);
                }
            }
        }
    }
}

impl<F: Real> Block<F> {
    /// Every `apart`-th row of another.
    fn every(&mut self, other: &Block<F>, apart: usize, width: usize) {
        self.x.clear();
        self.len = 0;
        for row in other.x.chunks(width).step_by(apart.max(1)) {
            self.x.extend_from_slice(row);
            self.len += 1;
        }
    }
}
