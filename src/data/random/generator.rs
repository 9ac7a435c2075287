//! NumPy's `default_rng`: PCG64 and the ways it is drawn from.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::RngCore;

use super::error::RandomError;
use super::{seed, shuffle, ziggurat};

/// `numpy.random.default_rng(seed)`: the same draws give the same numbers.
#[derive(Debug, Clone)]
pub struct Generator {
    pcg: Pcg64,
    /// The upper half of the word that the last 32-bit draw took its lower half from. It outlives draws of whole
    /// words.
    spare: Option<u32>,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        let [a, b, c, d] = seed::state(seed);
        let join = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        Generator { pcg: Pcg64::new(join(a, b), join(c, d)), spare: None }
    }

    fn next_u64(&mut self) -> u64 {
        self.pcg.next_u64()
    }

    fn next_u32(&mut self) -> u32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let word = self.next_u64();
        self.spare = Some((word >> 32) as u32);
        word as u32
    }

    /// A float in [0, 1).
    pub fn random(&mut self) -> f64 {
        ziggurat::unit(self.next_u64())
    }

    pub fn standard_normal(&mut self) -> f64 {
        ziggurat::standard_normal(|| self.next_u64())
    }

    /// # Errors
    /// A deviation that is negative or not finite.
    pub fn normal(&mut self, mean: f64, std: f64) -> Result<f64, RandomError> {
        if !(std >= 0.0 && std.is_finite()) {
            return Err(RandomError::Deviation { std });
        }
        Ok(mean + std * self.standard_normal())
    }

    /// An int from `low` up to, not including, `high`.
    pub fn integers(&mut self, low: i64, high: i64) -> Result<i64, RandomError> {
        if low >= high {
            return Err(RandomError::EmptyRange { low, high });
        }
        let draw = self.up_to(high.wrapping_sub(1).wrapping_sub(low) as u64);
        Ok(low.wrapping_add(draw as i64))
    }

    /// An int from 0 to `max` inclusive, by Lemire's method (2019) on 32 bits where they suffice.
    fn up_to(&mut self, max: u64) -> u64 {
        match (u32::try_from(max), max.checked_add(1)) {
            (Ok(0), _) => 0,
            (Ok(u32::MAX), _) => u64::from(self.next_u32()),
            (Ok(max), _) => {
                let n = max + 1;
                let too_low = n.wrapping_neg() % n;
                loop {
                    let product = u64::from(self.next_u32()) * u64::from(n);
                    if product as u32 >= too_low {
                        return product >> 32;
                    }
                }
            }
            (Err(_), None) => self.next_u64(),
            (Err(_), Some(n)) => {
                let too_low = n.wrapping_neg() % n;
                loop {
                    let product = u128::from(self.next_u64()) * u128::from(n);
                    if product as u64 >= too_low {
                        return (product >> 64) as u64;
                    }
                }
            }
        }
    }

    /// An index below `n`, which must not be 0.
    fn below(&mut self, n: usize) -> usize {
        self.up_to(n as u64 - 1) as usize
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        shuffle(items, || self.next_u32());
    }

    /// The shuffle inside `choice`, which draws otherwise: from the end down to index `first`.
    fn shuffle_from<T>(&mut self, items: &mut [T], first: usize) {
        for i in (first.max(1)..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }

    /// The ints below `n` in a random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<_> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }

    /// `size` indices below `n`, as `Generator.choice(n, size, replace, p)`.
    pub fn choice(
        &mut self,
        n: usize,
        size: usize,
        replace: bool,
        p: Option<&[f64]>,
    ) -> Result<Vec<usize>, RandomError> {
        if n == 0 && size > 0 {
            return Err(RandomError::NothingToChoose);
        }
        if !replace && size > n {
            return Err(RandomError::TooFew { size, n });
        }
        match (p, replace) {
            (None, true) => Ok((0..size).map(|_| self.below(n)).collect()),
            (None, false) => Ok(self.distinct(n, size)),
            (Some(p), true) => {
                check_probabilities(p, n)?;
                let cumulative = cumulative(p);
                Ok((0..size).map(|_| find(&cumulative, self.random())).collect())
            }
            (Some(p), false) => {
                check_probabilities(p, n)?;
                let possible = p.iter().filter(|p| **p > 0.0).count();
                if possible < size {
                    return Err(RandomError::TooFew { size, n: possible });
                }
                Ok(self.distinct_weighted(p.to_vec(), size))
            }
        }
    }

    /// Distinct indices: the end of a shuffle where many are wanted of very many, else Floyd's method.
    fn distinct(&mut self, n: usize, size: usize) -> Vec<usize> {
        if n > 10_000 && size > n / 50 {
            let mut order: Vec<_> = (0..n).collect();
            self.shuffle_from(&mut order, n - size);
            return order.split_off(n - size);
        }
        let mut seen = std::collections::HashSet::with_capacity(size);
        let mut chosen = Vec::with_capacity(size);
        for last in n - size..n {
            let draw = self.below(last + 1);
            let index = if seen.contains(&draw) { last } else { draw };
            seen.insert(index);
            chosen.push(index);
        }
        self.shuffle_from(&mut chosen, 1);
        chosen
    }

    /// Draws until enough are distinct; what was drawn before has no weight in the next round.
    fn distinct_weighted(&mut self, mut p: Vec<f64>, size: usize) -> Vec<usize> {
        let mut chosen: Vec<usize> = Vec::with_capacity(size);
        while chosen.len() < size {
            let draws: Vec<_> = (chosen.len()..size).map(|_| self.random()).collect();
            for i in &chosen {
                p[*i] = 0.0;
            }
            let cumulative = cumulative(&p);
            for draw in draws {
                let index = find(&cumulative, draw);
                if !chosen.contains(&index) {
                    chosen.push(index);
                }
            }
        }
        chosen
    }
}

fn check_probabilities(p: &[f64], n: usize) -> Result<(), RandomError> {
    if p.len() != n {
        return Err(RandomError::ProbabilityCount { found: p.len(), n });
    }
    if let Some(index) = p.iter().position(|p| !(*p >= 0.0 && p.is_finite())) {
        return Err(RandomError::Probability { index, p: p[index] });
    }
    let sum: f64 = p.iter().sum();
    // NumPy's own tolerance.
    if (sum - 1.0).abs() > f64::EPSILON.sqrt() {
        return Err(RandomError::ProbabilitySum { sum });
    }
    Ok(())
}

/// The running sum, scaled to end at 1.
fn cumulative(p: &[f64]) -> Vec<f64> {
    let sums = p.iter().scan(0.0, |sum, p| {
        *sum += p;
        Some(*sum)
    });
    let sums: Vec<f64> = sums.collect();
    let last = sums.last().copied().unwrap_or(1.0);
    sums.into_iter().map(|sum| sum / last).collect()
}

/// The first index whose sum exceeds `draw`.
fn find(cumulative: &[f64], draw: f64) -> usize {
    cumulative.partition_point(|sum| *sum <= draw)
}

/// What `tests/fixtures/make_random.py` wrote.
#[cfg(test)]
pub(crate) fn golden() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/random.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[cfg(test)]
mod tests;
