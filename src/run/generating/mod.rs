//! New tokens: [`generate`], with its passes in [`decode`] and its tokens chosen in [`choose`].

pub mod choose;
pub mod decode;
pub mod generate;
