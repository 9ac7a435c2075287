//! What stands on the Mersenne Twister: Python's `random.Random` and scikit-learn's `train_test_split`.

use std::collections::HashSet;

use rand_mt::Mt;

use super::error::RandomError;

/// `random.Random(seed)` of Python: the same draws give the same numbers.
#[derive(Debug, Clone)]
pub struct PythonRandom(Mt);

impl PythonRandom {
    pub fn new(seed: u64) -> PythonRandom {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        PythonRandom(Mt::new_with_key([low, high].into_iter().take(if high == 0 { 1 } else { 2 })))
    }

    /// A float in [0, 1).
    pub fn random(&mut self) -> f64 {
        let (a, b) = (self.0.next_u32() >> 5, self.0.next_u32() >> 6);
        (f64::from(a) * 67_108_864.0 + f64::from(b)) / (1_u64 << 53) as f64
    }

    /// An index below `n`, which must be 1 to 2^32 - 1.
    fn below(&mut self, n: usize) -> usize {
        let shift = (n as u32).leading_zeros();
        loop {
            let draw = (self.0.next_u32() >> shift) as usize;
            if draw < n {
                return draw;
            }
        }
    }

    /// The index of one of `n` items.
    pub fn choice(&mut self, n: usize) -> Result<usize, RandomError> {
        if n == 0 { Err(RandomError::NothingToChoose) } else { Ok(self.below(n)) }
    }

    /// The indices of `k` different ones of `n` items.
    pub fn sample(&mut self, n: usize, k: usize) -> Result<Vec<usize>, RandomError> {
        if k > n {
            return Err(RandomError::TooFew { size: k, n });
        }
        // The size at which a set takes less room than a list, which decides the method and so the draws.
        let mut set_size = 21;
        if k > 5 {
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            set_size += power;
        }
        if n <= set_size {
            let mut pool: Vec<_> = (0..n).collect();
            let take = |i| {
                let j = self.below(n - i);
                let taken = pool[j];
                pool[j] = pool[n - i - 1];
                taken
            };
            return Ok((0..k).map(take).collect());
        }
        let mut seen = HashSet::with_capacity(k);
        let draw = |_| {
            loop {
                let j = self.below(n);
                if seen.insert(j) {
                    return j;
                }
            }
        };
        Ok((0..k).map(draw).collect())
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

/// `train_test_split(range(n), test_size=.., random_state=seed)` of scikit-learn: the indices for training and for
/// the test. Below 1, `test_size` is a fraction, rounded up; from 1 on, a count.
pub fn train_test_split(
    n: usize,
    test_size: f64,
    seed: u64,
) -> Result<(Vec<usize>, Vec<usize>), RandomError> {
    let whole = test_size >= 1.0 && test_size.fract() == 0.0;
    if !(test_size > 0.0 && (test_size < 1.0 || whole && test_size <= n as f64)) {
        return Err(RandomError::TestSize { size: test_size, n });
    }
    let test = if test_size < 1.0 { (test_size * n as f64).ceil() } else { test_size } as usize;
    if test == 0 || test >= n {
        return Err(RandomError::EmptySplit { n, test, train: n.saturating_sub(test) });
    }
    let seed = u32::try_from(seed).map_err(|_| RandomError::Seed { seed })?;
    let mut twister = Mt::new(seed);
    let mut order: Vec<_> = (0..n).collect();
    super::shuffle(&mut order, || twister.next_u32());
    let train = order.split_off(test);
    Ok((train, order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::generator::golden;

    #[test]
    fn draws_are_pythons() {
        let golden = golden();
        let golden = &golden["python"];
        for case in golden["seeds"].as_array().unwrap() {
            let mut random = PythonRandom::new(case["seed"].as_u64().unwrap());
            let sample = random.sample(50, 10).unwrap();
            assert_eq!(serde_json::json!(sample), case["sample_50_10"]);
            assert_eq!(serde_json::json!(random.sample(1000, 8).unwrap()), case["sample_1000_8"]);
            assert_eq!(serde_json::json!(random.random()), case["random"]);
            assert_eq!(serde_json::json!(random.choice(7).unwrap()), case["choice_7"]);
            let mut items: Vec<_> = (0..9).collect();
            random.shuffle(&mut items);
            assert_eq!(serde_json::json!(items), case["shuffle_9"]);
        }
    }

    #[test]
    fn splits_are_scikit_learns() {
        for case in golden()["splits"].as_array().unwrap() {
            let [n, seed] = ["n", "seed"].map(|key| case[key].as_u64().unwrap());
            let (train, test) =
                train_test_split(n as usize, case["test_size"].as_f64().unwrap(), seed).unwrap();
            assert_eq!(serde_json::json!(train), case["train"], "{n}");
            assert_eq!(serde_json::json!(test), case["test"], "{n}");
        }
        let refused = |n, size| train_test_split(n, size, 0).unwrap_err().to_string();
        assert_eq!(refused(1, 0.2), "cannot split 1 items: 1 for the test, 0 for training");
        assert_eq!(refused(5, 1.5), "a test set cannot be 1.5 of 5 items");
        assert_eq!(refused(5, f64::NAN), "a test set cannot be NaN of 5 items");
        assert_eq!(train_test_split(9, 0.5, 1 << 32).unwrap_err(), RandomError::Seed { seed: 1 << 32 });
    }
}
