//! What scripts can call, one file a type; each fills the table through [`Api`].

mod arrays;
mod closure;
mod core;
mod data;
pub(super) mod data_json;
mod data_numbers;
mod data_table;
mod explanation;
mod generation;
mod grid;
mod list;
mod log;
mod metric;
mod model;
mod order;
mod patch;
mod plot;
mod plot_chart;
mod plot_options;
mod progress;
mod prompt;
mod random;
mod refusal;
mod runs;
mod site;
mod strings;
pub mod tensor;
mod tensor_file;
mod tensor_index;
mod tensor_linear;
mod tensor_mask;
mod tensor_ops;
mod tensor_reduce;
mod tensor_show;
#[cfg(test)]
pub(super) mod testing;
mod tokens;
mod trace;

pub use model::layers_of;
pub use plot_options::check_colormap;
pub use site::check as check_site;

use super::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    core::register(api);
    strings::register(api);
    order::register(api);
    arrays::register(api);
    list::register(api);
    model::register(api);
    runs::register(api);
    tokens::register(api);
    site::register(api);
    patch::register(api);
    trace::register(api);
    metric::register(api);
    generation::register(api);
    grid::register(api);
    explanation::register(api);
    tensor::register(api);
    data::register(api);
    data_table::register(api);
    data_numbers::register(api);
    log::register(api);
    progress::register(api);
    random::register(api);
    plot::register(api);
    plot_chart::register(api);
}
