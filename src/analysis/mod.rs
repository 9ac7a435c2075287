//! Numerics on arrays of numbers, beyond what tensors do themselves. Knows no script and no path of a file.
//!
//! [`linear`]: least squares, singular values, principal components; [`sae_train`]: sparse autoencoders; [`atlas`]: where
//! neurons are strongest; [`kmeans`]: centres of clusters; [`mfa`]: mixtures of factor analysers.

pub mod atlas;
pub mod kmeans;
pub mod linear;
pub mod mfa;
pub mod sae_train;

pub use atlas::Atlas;
pub use mfa::Mfa;
