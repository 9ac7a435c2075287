//! What a script may use before it is stopped.

use rhai::Engine;

/// Limits of one run. Counts are of the engine's own units; sizes are in bytes or elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Steps of the interpreter, not of the model.
    pub operations: u64,
    /// Nested calls of script functions.
    pub call_levels: usize,
    /// Bytes of one string.
    pub string_bytes: usize,
    /// Elements of one array.
    pub array_len: usize,
    /// Entries of one map.
    pub map_len: usize,
    /// Bytes of all tensors that a script holds at once.
    pub tensor_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 10_000_000_000,
            call_levels: 64,
            string_bytes: 64_000_000,
            array_len: 10_000_000,
            map_len: 1_000_000,
            tensor_bytes: 16_000_000_000,
        }
    }
}

impl Limits {
    /// Depth of an expression, at the top level and in a function.
    const EXPR_DEPTHS: (usize, usize) = (128, 64);

    pub(super) fn apply(&self, engine: &mut Engine) {
        let (global, function) = Self::EXPR_DEPTHS;
        engine
            .set_max_operations(self.operations)
            .set_max_call_levels(self.call_levels)
            .set_max_expr_depths(global, function)
            .set_max_string_size(self.string_bytes)
            .set_max_array_size(self.array_len)
            .set_max_map_size(self.map_len);
    }
}
