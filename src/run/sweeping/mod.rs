//! Many patched runs of one prompt: [`plan`] checks and merges cells, [`sweep`] computes those that are left;
//! [`explain`] and [`cost`] say beforehand what that takes.

pub mod cost;
pub mod explain;
pub mod plan;
pub mod sweep;
