//! Centres of rows that are in memory: k-means++ (Arthur and Vassilvitskii 2007), then Lloyd's rounds.

use rayon::prelude::*;

use super::nearest::{Centres, farthest_move, squares, to_length_1};
use super::{BLOCK, KMeansError, KMeansOptions, Means, Metric, Result};
use crate::data::random::Generator;

/// What one beginning led to.
pub struct Found {
    /// `[clusters, width]`
    pub centroids: Vec<f32>,
    /// The sum of distances to the nearest centre.
    pub inertia: f64,
}

/// One restart on rows `[n, width]`.
pub fn run(
    rows: &[f32],
    width: usize,
    options: &KMeansOptions,
    restart: usize,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Found> {
    let KMeansOptions { clusters, metric, tolerance, .. } = *options;
    let mut rng = Generator::new(options.seed.wrapping_add(restart as u64));
    if !go_on(0) {
        return Err(KMeansError::Interrupted);
    }
    let mut centroids = plus_plus(rows, width, options, &mut rng);
    for round in 0..options.rounds {
        if !go_on(round + 1) {
            return Err(KMeansError::Interrupted);
        }
        let mut means = Means::new(clusters, width);
        each_nearest(rows, width, &centroids, metric, |k, _, row| means.add(k, row));
        let before = centroids.clone();
        for empty in means.put(&mut centroids) {
            let row = draw(&mut rng, rows.len() / width);
            centroids[empty * width..][..width].copy_from_slice(&rows[row * width..][..width]);
        }
        if metric == Metric::Cosine {
            centroids.chunks_mut(width).for_each(|c| _ = to_length_1(c));
        }
        if farthest_move(&before, &centroids, width) < tolerance {
            break;
        }
    }
    let mut inertia = 0.0;
    each_nearest(rows, width, &centroids, metric, |_, distance, _| inertia += f64::from(distance));
    Ok(Found { centroids, inertia })
}

/// Tells the nearest centre of each row, and how far it is.
fn each_nearest(
    rows: &[f32],
    width: usize,
    centroids: &[f32],
    metric: Metric,
    mut see: impl FnMut(u32, f32, &[f32]),
) {
    let centres = Centres::new(centroids, width, metric);
    for block in rows.chunks(BLOCK * width) {
        let nearest = centres.nearest(block);
        nearest.into_iter().zip(block.chunks(width)).for_each(|((k, d), row)| see(k, d, row));
    }
}

/// An index below `n`.
fn draw(rng: &mut Generator, n: usize) -> usize {
    ((rng.random() * n as f64) as usize).min(n - 1)
}

/// Rows as centres, each drawn by its distance to the nearest of those before it: squared, or 1 - cosine.
fn plus_plus(rows: &[f32], width: usize, options: &KMeansOptions, rng: &mut Generator) -> Vec<f32> {
    let n = rows.len() / width;
    let row = |i: usize| &rows[i * width..][..width];
    let mut distances = vec![f32::INFINITY; n];
    let mut next = draw(rng, n);
    let mut centroids = Vec::with_capacity(options.clusters * width);
    loop {
        let centre = row(next);
        centroids.extend_from_slice(centre);
        if centroids.len() == options.clusters * width {
            return centroids;
        }
        distances.par_iter_mut().zip(rows.par_chunks(width)).with_min_len(256).for_each(|(nearest, row)| {
            let distance = match options.metric {
                Metric::Euclidean => difference(row, centre),
                // Of rows of length 1 half of the squared distance.
                Metric::Cosine => difference(row, centre) / 2.0,
            };
            *nearest = nearest.min(distance);
        });
        let sum: f64 = distances.iter().map(|d| f64::from(*d)).sum();
        let mut left = rng.random() * sum;
        let chosen = distances.iter().position(|d| {
            left -= f64::from(*d);
            left < 0.0
        });
        // Where all rows that are left are centres already, any will do.
        next = chosen.unwrap_or_else(|| draw(rng, n));
    }
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    let mut parts = [0.0; 64];
    let (mut sum, a, b) = (0.0, a.chunks(64), b.chunks(64));
    for (a, b) in a.zip(b) {
        let parts = &mut parts[..a.len()];
        parts.iter_mut().zip(a.iter().zip(b)).for_each(|(to, (a, b))| *to = a - b);
        sum += squares(parts);
    }
    sum
}
