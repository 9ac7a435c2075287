//! What a script may use before it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rhai::Engine;

use super::error::{ScriptResult, fail};

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
            tensor_bytes: 8 << 30,
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

/// The bytes of all tensors that a script holds, against [`Limits::tensor_bytes`]. Two views of the same
/// numbers count twice.
#[derive(Debug)]
pub struct TensorBytes {
    limit: u64,
    held: AtomicU64,
}

/// Bytes that count until this is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    bytes: u64,
    account: Arc<TensorBytes>,
}

impl TensorBytes {
    pub fn new(limit: u64) -> Self {
        Self { limit, held: AtomicU64::new(0) }
    }

    /// Refuses a tensor of `bytes` if the script would then hold too much. Ask before computing it.
    pub fn check(&self, bytes: u64) -> ScriptResult<()> {
        let held = self.held.load(Ordering::Relaxed);
        let wanted = held.saturating_add(bytes);
        if wanted <= self.limit {
            return Ok(());
        }
        let limit = self.limit;
        Err(fail(format!("a tensor of {bytes} bytes does not fit: {held} of {limit} bytes are in use"))
            .help(format!("keep fewer tensors, or raise the limit with `--max-tensor-bytes {wanted}`"))
            .into())
    }

    /// Counts `bytes` for as long as the result lives.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> ScriptResult<HeldBytes> {
        self.check(bytes)?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(HeldBytes { bytes, account: self.clone() })
    }
}

impl Default for TensorBytes {
    fn default() -> Self {
        Self::new(Limits::default().tensor_bytes)
    }
}

impl HeldBytes {
    pub fn account(&self) -> &Arc<TensorBytes> {
        &self.account
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_tensors_make_room() {
        let account = Arc::new(TensorBytes::new(10));
        let first = account.hold(8).unwrap();
        assert!(account.check(4).is_err());
        drop(first);
        account.hold(10).unwrap();
    }
}
