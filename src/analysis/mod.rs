//! Numerics on arrays of numbers, beyond what tensors do themselves. Knows no script and reads no files.
//!
//! [`linear`]: least squares, singular values, principal components; [`sae_train`]: sparse autoencoders; [`atlas`]: where
//! neurons are strongest.

pub mod atlas;
pub mod linear;
pub mod sae_train;

pub use atlas::Atlas;
