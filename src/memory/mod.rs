//! Memory: how much this process may take ([`machine`]).

pub mod machine;

pub use machine::{free, total};
