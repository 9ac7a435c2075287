//! What is asked of a run: [`tokens`] is the prompt, [`site`] a place in it ([`names`]: its spellings, [`select`]: its rows
//! and columns), [`patch`] what to change there, [`metric`] how to judge it.

pub mod metric;
pub mod names;
pub mod patch;
pub mod select;
pub mod site;
pub mod tokens;
