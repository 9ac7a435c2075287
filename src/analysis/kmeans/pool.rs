//! A few of many rows, each with a chance by its weight, in one pass (Efraimidis and Spirakis 2006, algorithm A-ES).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::data::random::Generator;

/// The logarithm of a row's key `u^(1/w)`, and the row.
#[derive(PartialEq)]
struct Key(f64, usize);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// Those `size` of `rows` rows whose keys are largest, in order; without weights each has the same chance.
pub fn draw(rows: usize, size: usize, weights: Option<&[f64]>, rng: &mut Generator) -> Vec<usize> {
    if size >= rows {
        return (0..rows).collect();
    }
    let mut kept = BinaryHeap::with_capacity(size + 1);
    for i in 0..rows {
        let weight = weights.map_or(1.0, |weights| weights[i]);
        kept.push(Reverse(Key(rng.random().ln() / weight, i)));
        if kept.len() > size {
            kept.pop();
        }
    }
    let mut chosen: Vec<usize> = kept.into_iter().map(|Reverse(Key(_, i))| i).collect();
    chosen.sort_unstable();
    chosen
}
