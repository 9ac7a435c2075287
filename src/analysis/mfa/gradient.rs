//! What rows say about one component: sums over those that have a share in it, and of these its gradient.
//!
//! Shares are softmax of logarithms that lie far apart, so that in float32 most are exactly 0 and their rows are not
//! looked at.

use super::density::{Block, Densities};
use super::forms::Forms;
use super::parameters::Parameters;
use super::real::{Real, add, dot};
use crate::model::cpu::simd::widest;

/// One component: its parameters and its small matrices.
#[derive(Clone, Copy)]
pub struct Component<'a, F> {
    pub k: usize,
    /// Its mean and directions, `[1 + q, D]`.
    pub rows: &'a [F],
    /// `[q]`
    pub scale_rho: &'a [F],
    pub forms: &'a Forms<F>,
    /// The inverse of its noise, `[D]`.
    pub precision: &'a [F],
}

impl<'a, F: Real> Component<'a, F> {
    pub fn of(parameters: &'a Parameters<F>, forms: &'a Forms<F>, k: usize) -> Self {
        let q = parameters.sizes.rank;
        Component {
            k,
            rows: parameters.block(k),
            scale_rho: &parameters.arrays.scale_rho[k * q..][..q],
            forms,
            precision: parameters.noise_of(k, &forms.precision),
        }
    }
}

/// Columns that are worked on together: of all sums of a component, so many stay in the nearest cache.
const COLUMNS: usize = 64;

/// Sums over the rows of a block of what one component makes of them: with r its share of a row x, y = x - mu, and z the
/// posterior mean. Its memory serves the next component.
#[derive(Debug, Default)]
pub struct Sums<F> {
    /// `Σ r`
    pub n: F,
    /// `Σ r z`, `[q]`.
    pub z: Vec<F>,
    /// `Σ r E[z zᵀ] = Σ r z zᵀ + n M⁻¹`, `[q, q]`.
    pub zz: Vec<F>,
    /// `Σ r y`, then `Σ r z y`, `[1 + q, D]`; after [`Sums::gradient`] the gradients by mean and raw directions.
    pub rows: Vec<F>,
    /// `Σ r y²`, `[D]`; after [`Sums::gradient`] the squares `Σ r E[(y - W z)²]` that noise has to explain.
    pub squares: Vec<F>,
    /// The gradients by `scale_rho`, `[q]`.
    pub scale: Vec<F>,
    /// r, then r z, of each row.
    pub(super) shares: Vec<F>,
    /// W, a few columns at a time.
    pub(super) w: Vec<F>,
}

/// A component, and what a block of rows has been found to be under it.
#[derive(Clone, Copy)]
pub(super) struct Weighed<'a> {
    pub k: usize,
    pub forms: &'a Forms<f32>,
    pub block: &'a Block<f32>,
    pub densities: &'a Densities<f32>,
}

impl<F: Real> Sums<F> {
    /// The sums over rows `(b, r)` of a block that are no longer than the directions are many.
    #[inline(always)]
    pub(super) fn weigh(
        &mut self,
        forms: &Forms<F>,
        k: usize,
        densities: &Densities<F>,
        rows: &[(u32, F)],
        q: usize,
    ) {
        refill(&mut self.z, q);
        refill(&mut self.zz, q * q);
        refill(&mut self.shares, (1 + q) * rows.len());
        self.n = F::default();
        for ((b, r), shares) in rows.iter().zip(self.shares.chunks_mut(1 + q)) {
            let (first, z) = shares.split_at_mut(1);
            densities.latent(forms, k, *b as usize, z);
            first[0] = *r;
            self.n += *r;
            add(&mut self.z, *r, z);
            for (to, zi) in self.zz.chunks_mut(q).zip(z.iter()) {
                add(to, *r * *zi, z);
            }
            z.iter_mut().for_each(|z| *z = *r * *z);
        }
        add(&mut self.zz, self.n, &forms.covariance[k * q * q..][..q * q]);
    }

    /// All sums over rows `(b, r)` of a block.
    #[inline(always)]
    pub fn gather(
        &mut self,
        component: Component<'_, F>,
        block: &Block<F>,
        densities: &Densities<F>,
        rows: &[(u32, F)],
    ) {
        let (q, width) = (component.scale_rho.len(), component.precision.len());
        let zero = F::default();
        self.weigh(component.forms, component.k, densities, rows, q);
        refill(&mut self.rows, (1 + q) * width);
        refill(&mut self.squares, width);
        let mean = &component.rows[..width];
        for at in (0..width).step_by(COLUMNS) {
            let some = at..width.min(at + COLUMNS);
            let mut y = [zero; COLUMNS];
            let y = &mut y[..some.len()];
            for ((b, r), shares) in rows.iter().zip(self.shares.chunks(1 + q)) {
                let x = &block.x[*b as usize * width..][..width];
                for ((y, x), mean) in y.iter_mut().zip(&x[some.clone()]).zip(&mean[some.clone()]) {
                    *y = *x - *mean;
                }
                for (to, y) in self.squares[some.clone()].iter_mut().zip(y.iter()) {
                    *to += *r * *y * *y;
                }
                for (share, to) in shares.iter().zip(self.rows.chunks_mut(width)) {
                    add(&mut to[some.clone()], *share, y);
                }
            }
        }
    }

    /// Makes of sums the gradients of the mean negative log likelihood of `count` rows, by the component's mean, raw
    /// directions and scales; gives their squared length. The gradient by noise needs all components: what there is to
    /// know for it stands in `squares` and `n`.
    #[inline(always)]
    pub fn gradient(&mut self, component: Component<'_, F>, count: usize) -> F {
        let (q, width) = (component.scale_rho.len(), component.precision.len());
        let scale = &component.forms.scale[component.k * q..][..q];
        let directions = &component.rows[width..];
        let part = F::of(-1.0 / count as f64);
        let two = F::of(2.0);
        self.w.resize(q * COLUMNS, F::default());
        let mut h = [F::default(); COLUMNS];
        for at in (0..width).step_by(COLUMNS) {
            let some = at..width.min(at + COLUMNS);
            let h = &mut h[..some.len()];
            let precision = &component.precision[some.clone()];
            let squares = &mut self.squares[some.clone()];
            for ((w, direction), scale) in self.w.chunks_mut(COLUMNS).zip(directions.chunks(width)).zip(scale)
            {
                w.iter_mut().zip(&direction[some.clone()]).for_each(|(w, x)| *w = *x * *scale);
            }
            let (of_mean, of_directions) = self.rows.split_at_mut(width);
            h.fill(F::default());
            for (z, w) in self.z.iter().zip(self.w.chunks(COLUMNS)) {
                add(h, *z, w);
            }
            for ((g, h), p) in of_mean[some.clone()].iter_mut().zip(h.iter()).zip(precision) {
                *g = (*g - *h) * *p * part;
            }
            for ((j, zz), g) in self.zz.chunks(q).enumerate().zip(of_directions.chunks_mut(width)) {
                h.fill(F::default());
                for (zz, w) in zz.iter().zip(self.w.chunks(COLUMNS)) {
                    add(h, *zz, w);
                }
                let (g, w) = (&mut g[some.clone()], &self.w[j * COLUMNS..]);
                for (((g, h), w), squares) in g.iter().zip(h.iter()).zip(w).zip(squares.iter_mut()) {
                    *squares += *w * (*h - two * *g);
                }
                for ((g, h), p) in g.iter_mut().zip(h.iter()).zip(precision) {
                    *g = (*g - *h) * *p * part;
                }
            }
        }
        self.raw_gradients(component, scale)
    }

    /// From gradients by W to those by raw directions and scales.
    #[inline(always)]
    fn raw_gradients(&mut self, component: Component<'_, F>, scale: &[F]) -> F {
        let width = component.precision.len();
        let (of_mean, of_directions) = self.rows.split_at_mut(width);
        let mut norm = dot(of_mean, of_mean);
        self.scale.clear();
        let directions = component.rows[width..].chunks(width).zip(component.scale_rho);
        for ((g, (raw, rho)), scale) in of_directions.chunks_mut(width).zip(directions).zip(scale) {
            let length = dot(raw, raw).sqrt().max(F::of(super::parameters::SHORTEST));
            let along = dot(g, raw) / length;
            let back = along / length;
            for (g, raw) in g.iter_mut().zip(raw) {
                *g = *scale * (*g - *raw * back);
            }
            norm += dot(g, g);
            let slope = along * rho.sigmoid();
            norm += slope * slope;
            self.scale.push(slope);
        }
        norm
    }
}

fn refill<F: Real>(values: &mut Vec<F>, len: usize) {
    values.clear();
    values.resize(len, F::default());
}

/// Makes of the squares that noise has to explain the gradients by `psi_rho` of the mean negative log likelihood of
/// `count` rows, `[D]`; `n` are the shares that it has in them.
pub fn noise_gradient<F: Real>(squares: &mut [F], psi_rho: &[F], precision: &[F], n: F, count: usize) {
    let part = F::of(0.5 / count as f64);
    widest(
        #[inline(always)]
        || {
            for ((to, rho), p) in squares.iter_mut().zip(psi_rho).zip(precision) {
                *to = part * (n * *p - *to * *p * *p) * rho.sigmoid();
            }
        },
    );
}

/// The rows that have a share in each component, and it, of responsibilities `[K, n]`.
pub fn shares<F: Real>(densities: &Densities<F>, k: usize) -> Vec<(u32, F)> {
    let shares = densities.joint[k * densities.len..][..densities.len].iter().enumerate();
    shares.filter(|(_, r)| **r > F::default()).map(|(b, r)| (b as u32, *r)).collect()
}
