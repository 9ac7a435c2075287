//! Densities of a block of rows under every component, by one product.

use rayon::prelude::*;

use super::forms::Forms;
use super::likely::Bounds;
use super::parameters::{Parameters, Sizes};
use super::real::{Real, add};
use crate::data::rows::Rows;
use crate::model::cpu::simd::widest;

/// Rows, less what the means of a mixture were lessened by too: large numbers that all rows share would cost digits.
#[derive(Debug, Default)]
pub struct Block<F> {
    pub len: usize,
    /// `[n, D]`
    pub x: Vec<F>,
}

impl<F: Real> Block<F> {
    /// The rows of these numbers; the first that is not finite, as an error.
    pub fn gather(
        &mut self,
        rows: &dyn Rows,
        which: impl Iterator<Item = usize>,
        shift: &[F],
    ) -> Result<(), (usize, f32)> {
        self.len = 0;
        self.x.clear();
        for i in which {
            let row = rows.row(i);
            if let Some(x) = row.iter().find(|x| !x.is_finite()) {
                return Err((i, *x));
            }
            self.x.extend(row.iter().zip(shift).map(|(x, shift)| F::of_f32(*x) - *shift));
            self.len += 1;
        }
        Ok(())
    }
}

/// What is known of a block of rows once [`Densities::compute`] has looked at them; its memory serves the next block.
#[derive(Debug, Default)]
pub struct Densities<F> {
    pub len: usize,
    /// `[K, 1 + q, n]`: of each component and row `muᵀ P x`, then `v = Wᵀ P (x - mu)`.
    pub v: Vec<F>,
    /// Logarithm of weight times density, less what all components share, `[K, n]`.
    pub joint: Vec<F>,
    /// What they share, `[n]`.
    pub shared: Vec<f64>,
    scaled: Vec<F>,
    block: Vec<F>,
    squares: Vec<F>,
    pub(super) bounds: Bounds<F>,
}

/// Numbers of scratch for components that have noise of their own.
const SCRATCH: usize = 1 << 21;
/// Numbers that a block of rows may hold of a mixture.
const MOST: usize = 1 << 23;

/// Rows that are read together.
pub fn block_rows(sizes: Sizes) -> usize {
    (MOST / (sizes.components * (1 + sizes.rank) + sizes.width)).clamp(8, 512)
}

impl<F: Real> Densities<F> {
    pub fn compute(&mut self, parameters: &Parameters<F>, forms: &Forms<F>, block: &Block<F>) {
        let sizes = parameters.sizes;
        let n = block.len;
        self.len = n;
        self.v.resize(sizes.components * (1 + sizes.rank) * n, F::default());
        self.joint.resize(sizes.components * n, F::default());
        if sizes.psi_per_component {
            self.multiply_own(parameters, forms, block);
        } else {
            self.multiply_shared(parameters, forms, block);
        }
        let q = sizes.rank;
        let components = self.v.par_chunks_mut((1 + q) * n.max(1)).zip(self.joint.par_chunks_mut(n.max(1)));
        let own = sizes.psi_per_component;
        components.enumerate().with_min_len(8).for_each(|(k, (v, joint))| {
            let whiten = &forms.whiten[k * q * q..][..q * q];
            let (scale, offset) = (&forms.scale[k * q..][..q], &forms.offset[k * q..][..q]);
            widest(
                #[inline(always)]
                || finish(v, joint, own, forms.constant[k], whiten, scale, offset),
            );
        });
    }

    /// Noise that all share goes into the rows once.
    fn multiply_shared(&mut self, parameters: &Parameters<F>, forms: &Forms<F>, block: &Block<F>) {
        let sizes = parameters.sizes;
        self.scaled.resize(block.x.len(), F::default());
        self.shared.clear();
        let base = forms.base;
        let rows = self.scaled.par_chunks_mut(sizes.width).zip(block.x.par_chunks(sizes.width));
        let shared = rows.map(|(to, x)| {
            let mut sum = 0.0;
            for ((to, x), p) in to.iter_mut().zip(x).zip(&forms.precision) {
                *to = *x * *p;
                sum += (*to * *x).f64();
            }
            base - 0.5 * sum
        });
        shared.collect_into_vec(&mut self.shared);
        let dims = [parameters.arrays.rows.len() / sizes.width, sizes.width, block.len];
        F::product_transposed(dims, &mut self.v, &parameters.arrays.rows, &self.scaled);
    }

    /// Noise of each component goes into its mean and directions; and `xᵀ P x`, which is another of each, into `joint`.
    fn multiply_own(&mut self, parameters: &Parameters<F>, forms: &Forms<F>, block: &Block<F>) {
        let (sizes, n) = (parameters.sizes, block.len);
        self.shared.clear();
        self.shared.resize(n, forms.base);
        self.squares.clear();
        self.squares.extend(block.x.iter().map(|x| *x * *x));
        F::product_transposed(
            [sizes.components, sizes.width, n],
            &mut self.joint,
            &forms.precision,
            &self.squares,
        );
        let together = (SCRATCH / sizes.block()).max(1);
        let rows = parameters.arrays.rows.chunks(together * sizes.block());
        let precision = forms.precision.chunks(together * sizes.width);
        let to = self.v.chunks_mut((together * (1 + sizes.rank) * n).max(1));
        for ((rows, precision), to) in rows.zip(precision).zip(to) {
            self.block.resize(rows.len(), F::default());
            let blocks = self.block.par_chunks_mut(sizes.block()).zip(rows.par_chunks(sizes.block()));
            blocks.zip(precision.par_chunks(sizes.width)).for_each(|((to, rows), precision)| {
                for (to, row) in to.chunks_mut(sizes.width).zip(rows.chunks(sizes.width)) {
                    for ((to, x), p) in to.iter_mut().zip(row).zip(precision) {
                        *to = *x * *p;
                    }
                }
            });
            F::product_transposed([rows.len() / sizes.width, sizes.width, n], to, &self.block, &block.x);
        }
    }

    /// The logarithm of the mixture's density of each row.
    pub fn log_likelihoods(&self) -> Vec<f64> {
        let most = self.most();
        let mut sums = vec![0.0; self.len];
        for joint in self.joint.chunks(self.len.max(1)) {
            for ((sum, joint), most) in sums.iter_mut().zip(joint).zip(&most) {
                *sum += (*joint - *most).exp().f64();
            }
        }
        let rows = sums.iter().zip(&most).zip(&self.shared);
        rows.map(|((sum, most), shared)| shared + most.f64() + sum.ln()).collect()
    }

    fn most(&self) -> Vec<F> {
        let mut most = vec![F::of(f64::NEG_INFINITY); self.len];
        for joint in self.joint.chunks(self.len.max(1)) {
            most.iter_mut().zip(joint).for_each(|(most, joint)| *most = most.max(*joint));
        }
        most
    }

    /// Puts responsibilities `[K, n]`, at temperature `tau`, in the place of `joint`, and gives the logarithm of the
    /// mixture's density of each row (at temperature 1, where `tau` is 1).
    pub fn responsibilities(&mut self, tau: F) -> Vec<f64> {
        let n = self.len.max(1);
        let most = self.most();
        let mut sums = vec![F::default(); self.len];
        widest(
            #[inline(always)]
            || {
                for joint in self.joint.chunks_mut(n) {
                    for ((joint, most), sum) in joint.iter_mut().zip(&most).zip(&mut sums) {
                        *joint = ((*joint - *most) / tau).exp();
                        *sum += *joint;
                    }
                }
                for joint in self.joint.chunks_mut(n) {
                    joint.iter_mut().zip(&sums).for_each(|(joint, sum)| *joint = *joint / *sum);
                }
            },
        );
        let rows = sums.iter().zip(&most).zip(&self.shared);
        rows.map(|((sum, most), shared)| shared + most.f64() + sum.f64().ln()).collect()
    }

    /// The components of row `b` that have a share in it, and it, once responsibilities are in the place of `joint`.
    pub fn shares(&self, b: usize) -> impl Iterator<Item = (usize, F)> + '_ {
        let shares = self.joint.iter().skip(b).step_by(self.len.max(1)).copied().enumerate();
        shares.filter(|(_, r)| *r > F::default())
    }

    /// The posterior mean `z = M⁻¹ v` of row `b` under component `k`.
    #[inline(always)]
    pub fn latent(&self, forms: &Forms<F>, k: usize, b: usize, z: &mut [F]) {
        let (q, n) = (z.len(), self.len);
        let v = &self.v[k * (1 + q) * n..][..(1 + q) * n];
        let covariance = &forms.covariance[k * q * q..][..q * q];
        for (z, row) in z.iter_mut().zip(covariance.chunks(q)) {
            *z = F::default();
            for (j, c) in row.iter().enumerate() {
                *z += *c * v[(1 + j) * n + b];
            }
        }
    }
}

/// Of one component: `v` of the product, and `joint`, which holds `xᵀ P x` where noise is its `own`.
#[inline(always)]
pub(super) fn finish<F: Real>(
    v: &mut [F],
    joint: &mut [F],
    own: bool,
    constant: F,
    whiten: &[F],
    scale: &[F],
    offset: &[F],
) {
    let (n, q) = (joint.len(), scale.len());
    let half = F::of(0.5);
    let (cross, v) = v.split_at_mut(n);
    for (joint, cross) in joint.iter_mut().zip(cross.iter()) {
        *joint = constant + *cross - if own { half * *joint } else { F::default() };
    }
    for ((v, scale), offset) in v.chunks_mut(n).zip(scale).zip(offset) {
        v.iter_mut().for_each(|v| *v = *v * *scale - *offset);
    }
    let mut whitened = vec![F::default(); n];
    for i in 0..q {
        whitened.fill(F::default());
        for (v, l) in v.chunks(n).zip(&whiten[i * q..][..=i]) {
            add(&mut whitened, *l, v);
        }
        for (joint, w) in joint.iter_mut().zip(&whitened) {
            *joint += half * *w * *w;
        }
    }
}
