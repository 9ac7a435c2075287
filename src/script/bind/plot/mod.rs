//! The type `Plot`.
//!
//! Read [`figure`] (what a figure is, how it is saved and shown, heatmaps), then [`chart`] (the other kinds), [`stack`] (several
//! as one) and [`options`] (what the options of all kinds have in common).

mod chart;
mod figure;
mod options;
mod stack;

pub use options::check_colormap;

use crate::script::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    figure::register(api);
    chart::register(api);
    stack::register(api);
}
