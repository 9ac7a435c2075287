//! What scripts can call, one file a type; each fills the table through [`Api`].

mod core;
mod data;
mod data_json;
mod data_numbers;
mod data_table;
mod plot;
pub mod tensor;
mod tensor_file;
mod tensor_index;
mod tensor_ops;
mod tensor_reduce;
mod tensor_show;
#[cfg(test)]
mod testing;

use super::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    core::register(api);
    tensor::register(api);
    data::register(api);
    data_table::register(api);
    data_numbers::register(api);
    plot::register(api);
}
