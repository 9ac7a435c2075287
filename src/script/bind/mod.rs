//! What scripts can call, one file a type; each fills the table through [`Api`].

mod core;

use super::api::Api;

/// Registers everything.
pub fn register(api: &mut Api) {
    core::register(api);
}
