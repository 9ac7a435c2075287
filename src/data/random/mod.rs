//! Random numbers, draw for draw those of NumPy, Python and scikit-learn.
//!
//! An experiment that was first written in Python can be repeated exactly, and compared row by row. Read
//! [`seed`] and [`generator`] (NumPy's `default_rng`), with [`ziggurat`] for its normal numbers; then [`mt`]:
//! Python's `random.Random` and the split of scikit-learn, which both stand on the Mersenne Twister. [`error`] is
//! a draw that cannot be made.

pub mod error;
pub mod generator;
pub mod mt;
mod seed;
mod ziggurat;

pub use error::RandomError;
pub use generator::Generator;
pub use mt::{PythonRandom, train_test_split};

/// Puts the items in a random order: Fisher and Yates, with draws that are masked and, if too high, rejected.
fn shuffle<T>(items: &mut [T], mut next_u32: impl FnMut() -> u32) {
    for i in (1..items.len()).rev() {
        let mask = u32::MAX >> (i as u32).leading_zeros();
        let j = loop {
            let draw = (next_u32() & mask) as usize;
            if draw <= i {
                break draw;
            }
        };
        items.swap(i, j);
    }
}
