//! A component changed by the rows that have a share in it, in one pass over its columns: sums, gradient and step of a few
//! columns stay in the nearest cache, and all that a step of Adam must read and write is gone through once.
//!
//! A direction's length has no say, so that the part of a gradient along it has to go; it needs no sum over columns: with
//! W the directions times their scales s and y = x - mu, `Wᵀ P y = M z` makes the gradient by W along raw direction j
//! `(Σ r E[z_j²] - Σ r) / s_j`.

use super::adam::Rates;
use super::gradient::{Sums, Weighed};
use super::real::{Real, add, dot};

/// Columns that are worked on together.
const COLUMNS: usize = 128;

/// One number a parameter of a component: the parameters, and the averages of gradients and of their squares.
pub(super) type Three<'a> = [&'a mut [f32]; 3];

impl Sums<f32> {
    /// A step on component `k`, whose inverse noise is `precision`, by rows `(b, r)` of a block; gives the squared length of
    /// its gradient. What noise has to explain stands in `squares` afterwards.
    #[inline(always)]
    pub(super) fn learn(
        &mut self,
        Weighed { k, forms, block, densities }: Weighed<'_>,
        precision: &[f32],
        list: &[(u32, f32)],
        rates: Rates,
        [values, first, second]: Three<'_>,
        [rho, rho_first, rho_second]: Three<'_>,
    ) -> f32 {
        let (q, width) = (rho.len(), precision.len());
        self.weigh(forms, k, densities, list, q);
        let scale = &forms.scale[k * q..][..q];
        let part = -1.0 / block.len as f32;
        self.scale.clear();
        let mut back = vec![0.0; q];
        for (j, back) in back.iter_mut().enumerate() {
            let spread = Real::softplus(rho[j]);
            // A scale that is no longer a number above 0 has no slope.
            let along = if spread > 0.0 { part * (self.zz[j * q + j] - self.n) / spread } else { 0.0 };
            *back = if spread > 0.0 { along * scale[j] / spread } else { 0.0 };
            self.scale.push(along * Real::sigmoid(rho[j]));
        }
        let mut norm = dot(&self.scale, &self.scale);
        self.squares.clear();
        self.squares.resize(width, 0.0);
        self.rows.resize((1 + q) * COLUMNS, 0.0);
        self.w.resize(q * COLUMNS, 0.0);
        let (mut y, mut h) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for at in (0..width).step_by(COLUMNS) {
            let some = at..width.min(at + COLUMNS);
            let (y, h) = (&mut y[..some.len()], &mut h[..some.len()]);
            let (squares, p) = (&mut self.squares[some.clone()], &precision[some.clone()]);
            self.rows.fill(0.0);
            for ((b, r), shares) in list.iter().zip(self.shares.chunks(1 + q)) {
                let x = &block.x[*b as usize * width..][..width];
                for ((y, x), mean) in y.iter_mut().zip(&x[some.clone()]).zip(&values[some.clone()]) {
                    *y = *x - *mean;
                }
                for (to, y) in squares.iter_mut().zip(y.iter()) {
                    *to += *r * *y * *y;
                }
                for (share, to) in shares.iter().zip(self.rows.chunks_mut(COLUMNS)) {
                    add(to, *share, y);
                }
            }
            for ((w, raw), scale) in self.w.chunks_mut(COLUMNS).zip(values[width..].chunks(width)).zip(scale)
            {
                w.iter_mut().zip(&raw[some.clone()]).for_each(|(w, x)| *w = *x * *scale);
            }
            for (row, g) in self.rows.chunks_mut(COLUMNS).enumerate() {
                let g = &mut g[..some.len()];
                let by = if row == 0 { &self.z[..] } else { &self.zz[(row - 1) * q..][..q] };
                h.fill(0.0);
                for (by, w) in by.iter().zip(self.w.chunks(COLUMNS)) {
                    add(h, *by, w);
                }
                let at = row * width + at..row * width + at + some.len();
                if row == 0 {
                    for ((g, h), p) in g.iter_mut().zip(h.iter()).zip(p) {
                        *g = (*g - *h) * *p * part;
                    }
                } else {
                    let (scale, back, w) = (scale[row - 1], back[row - 1], &self.w[(row - 1) * COLUMNS..]);
                    for (((g, h), w), squares) in g.iter().zip(h.iter()).zip(w).zip(squares.iter_mut()) {
                        *squares += *w * (*h - 2.0 * *g);
                    }
                    for (((g, h), p), raw) in g.iter_mut().zip(h.iter()).zip(p).zip(&values[at.clone()]) {
                        *g = scale * ((*g - *h) * *p * part - *raw * back);
                    }
                }
                norm += dot(g, g);
                rates.update(&mut values[at.clone()], &mut first[at.clone()], &mut second[at], g);
            }
        }
        rates.update(rho, rho_first, rho_second, &self.scale);
        norm
    }
}
