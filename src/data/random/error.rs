//! Draws that cannot be made.

/// Why a draw was refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RandomError {
    #[error("no int lies between {low} and {high}, which itself is left out")]
    EmptyRange { low: i64, high: i64 },
    #[error("a normal distribution cannot have the deviation {std}")]
    Deviation { std: f64 },
    #[error("there is nothing to choose from")]
    NothingToChoose,
    #[error("cannot draw {size} of {n} without replacement")]
    TooFew { size: usize, n: usize },
    #[error("{found} probabilities for {n} items")]
    ProbabilityCount { found: usize, n: usize },
    #[error("probability {index} is {p}")]
    Probability { index: usize, p: f64 },
    #[error("the probabilities sum to {sum}, not 1")]
    ProbabilitySum { sum: f64 },
    #[error("cannot split {n} items: {test} for the test, {train} for training")]
    EmptySplit { n: usize, test: usize, train: usize },
    #[error("a test set cannot be {size} of {n} items")]
    TestSize { size: f64, n: usize },
    #[error("seed {seed} is too large: the Mersenne Twister of scikit-learn takes 32 bits")]
    Seed { seed: u64 },
}
