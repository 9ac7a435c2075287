//! What scripts can call; each file and folder fills the table through [`Api`].
//!
//! Read in this order:
//! - the language's own values, and what the engine lacks or does silently wrong, in [`core`], [`strings`], [`arrays`]
//!   (with [`order`]) and [`list`];
//! - a [`model`], its prompts, sites and patches, what it runs and what comes out; [`closure`] runs a script's functions
//!   inside a run, [`refusal`] hands on what the layers below refuse;
//! - numbers: [`tensor`], and from a seed [`random`];
//! - files, JSON, tables, logs and statistics: [`data`]; loops that show how far they are: [`progress`];
//! - figures: [`plot`].
//!
//! [`testing`] runs lines of script in the tests of these.

mod arrays;
mod closure;
mod core;
pub(super) mod data;
mod list;
mod model;
mod order;
mod plot;
mod progress;
mod random;
mod refusal;
mod strings;
pub mod tensor;
#[cfg(test)]
pub(super) mod testing;

pub use model::{Shelf, check_site, layers_of};
pub use plot::check_colormap;

use super::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    core::register(api);
    strings::register(api);
    order::register(api);
    arrays::register(api);
    list::register(api);
    model::register(api);
    tensor::register(api);
    data::register(api);
    progress::register(api);
    random::register(api);
    plot::register(api);
}
