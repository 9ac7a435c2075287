//! The type `Model`, and the types of what goes into a run and of what comes out.
//!
//! Read in this order:
//! - a model, its sizes, tokens and weights: [`loaded`] (for the next run, too: [`shelf`]), and its end as a direction: [`direction`];
//! - what goes in: [`tokens`] and [`prompt`] (what counts as one), [`site`], [`patch`], [`metric`];
//! - the methods that run: [`runs`];
//! - what comes out: [`trace`], [`generation`], [`grid`] and, of a run that is only planned, [`explanation`];
//! - over a whole corpus, [`mod@corpus`]: [`atlas`], and all activations of a site: [`acts`], made by [`mod@collect`];
//! - what activations are made of: [`sae`], whose features are sites: [`features`]; and [`mixture`].

mod acts;
mod atlas;
mod collect;
mod corpus;
mod direction;
mod explanation;
mod features;
mod generation;
pub mod grid;
mod loaded;
mod metric;
mod mixture;
mod patch;
mod prompt;
mod runs;
mod sae;
mod shelf;
pub mod site;
pub mod tokens;
mod trace;

pub use loaded::layers_of;
pub use shelf::Shelf;
pub use site::check as check_site;

use crate::script::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    loaded::register(api);
    direction::register(api);
    runs::register(api);
    tokens::register(api);
    site::register(api);
    patch::register(api);
    trace::register(api);
    metric::register(api);
    generation::register(api);
    grid::register(api);
    explanation::register(api);
    sae::register(api);
    features::register(api);
    atlas::register(api);
    acts::register(api);
    mixture::register(api);
}
