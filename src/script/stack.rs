//! The stack of the thread that runs a script: how large it is, and how much is left.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::error::{Failure, fail};
use crate::memory;

/// Room for deeply nested calls and values; only what is used takes memory.
const BYTES: usize = 512 << 20;

/// Room that native functions may need at the deepest call.
const MARGIN: usize = 16 << 20;

/// Bytes of the stack of a script: less where little address space is allowed.
pub fn bytes() -> usize {
    BYTES.min(memory::total() / 16).max(4 * MARGIN)
}

/// The address below which no further step is taken; 0 before a script ran.
#[derive(Debug, Default)]
pub struct Stack(AtomicUsize);

impl Stack {
    /// Call at the start of a thread whose stack has [`bytes`].
    pub fn begin(&self) {
        self.0.store(here().saturating_sub(bytes() - MARGIN), Ordering::Relaxed);
    }

    /// Why no further step can be taken, if so.
    pub fn low(&self) -> Option<Failure> {
        (here() < self.0.load(Ordering::Relaxed)).then(|| {
            fail("calls are nested deeper than the stack has room for")
                .help("end the recursion, or do with a loop what it does")
        })
    }
}

/// An address in the frame of the caller: stacks grow downwards on every machine that this program knows.
#[inline(always)]
fn here() -> usize {
    let local = 0u8;
    std::ptr::from_ref(std::hint::black_box(&local)).addr()
}
