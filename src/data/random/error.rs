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

impl RandomError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::EmptyRange { .. } => "the first bound must be less than the second".into(),
            Self::Deviation { .. } => "give a finite number that is not negative".into(),
            Self::NothingToChoose => "check what filtered the items".into(),
            Self::TooFew { n, .. } => format!("draw at most {n}, or allow repeats: `replace: true`"),
            Self::ProbabilityCount { n, .. } => format!("give {n}, one an item"),
            Self::Probability { .. } => "probabilities are finite and not negative".into(),
            Self::ProbabilitySum { .. } => "divide each by their sum".into(),
            Self::EmptySplit { .. } => "both sides need an item: collect more, or change `test_size`".into(),
            Self::TestSize { .. } => {
                "give a fraction between 0 and 1, or a count less than the number of items".into()
            }
            Self::Seed { .. } => format!("use a seed up to {}", u32::MAX),
        })
    }
}
