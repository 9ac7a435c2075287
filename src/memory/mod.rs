//! Memory: how much there is for this process ([`machine`]), how much it holds ([`count`]), and how much of that a
//! script may hold ([`limit`]).

pub mod count;
pub mod limit;
pub mod machine;

pub use count::Counting;
pub use limit::{Full, reserve, reserve_many};
pub use machine::total;

/// Bytes that can still be taken: what is free on the machine, and what the script has left.
pub fn free() -> usize {
    machine::free().min(limit::left())
}
