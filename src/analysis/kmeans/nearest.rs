//! Which centre a row is nearest to.

use rayon::prelude::*;

use super::Metric;
use crate::analysis::mfa::real::{Real, dot};
use crate::model::cpu::simd::widest;

/// Centres, and what distances to them need.
pub struct Centres<'a> {
    centres: &'a [f32],
    width: usize,
    metric: Metric,
    /// Half of each squared length.
    halves: Vec<f32>,
}

impl<'a> Centres<'a> {
    pub fn new(centres: &'a [f32], width: usize, metric: Metric) -> Self {
        let halves = centres.chunks(width).map(|c| squares(c) / 2.0).collect();
        Centres { centres, width, metric, halves }
    }

    /// Of each row `[n, width]` the centre and the distance, by one product: `|x - c|² = |x|² - 2 (x c - |c|² / 2)`.
    pub fn nearest(&self, rows: &[f32]) -> Vec<(u32, f32)> {
        let (n, k) = (rows.len() / self.width, self.halves.len());
        let mut products = vec![0.0; n * k];
        f32::product_transposed([n, self.width, k], &mut products, rows, self.centres);
        let work = rows.par_chunks(self.width).zip(products.par_chunks(k)).with_min_len(16);
        work.map(|(row, products)| self.best(row, products)).collect()
    }

    fn best(&self, row: &[f32], products: &[f32]) -> (u32, f32) {
        let (mut at, mut most) = (0, f32::NEG_INFINITY);
        for (k, (product, half)) in products.iter().zip(&self.halves).enumerate() {
            let near = product - if self.metric == Metric::Cosine { 0.0 } else { *half };
            if near > most {
                (at, most) = (k as u32, near);
            }
        }
        let distance = match self.metric {
            Metric::Euclidean => squares(row) - 2.0 * most,
            Metric::Cosine => 1.0 - most,
        };
        (at, distance.max(0.0))
    }
}

/// The squared length of a row.
pub fn squares(x: &[f32]) -> f32 {
    widest(
        #[inline(always)]
        || dot(x, x),
    )
}

/// False where a row has no length.
pub fn to_length_1(x: &mut [f32]) -> bool {
    let length = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    x.iter_mut().filter(|_| length > 0.0).for_each(|x| *x = (f64::from(*x) / length) as f32);
    length > 0.0
}

/// How far the centre moved that moved farthest.
pub fn farthest_move(before: &[f32], after: &[f32], width: usize) -> f64 {
    let pairs = before.chunks(width).zip(after.chunks(width));
    let moved = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>());
    moved.fold(0.0, f64::max).sqrt()
}
