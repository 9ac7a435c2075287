//! The binary's allocator: the system's, with a count of the bytes that are out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::limit;

/// Counts what it hands out, and asks [`limit`] about it after every [`STRIDE`] bytes or so.
pub struct Counting;

/// Bytes, as a power of two, between two looks at the limit.
const STRIDE: u32 = 20;

/// Counters, so that threads seldom write to the same one.
const SHARDS: usize = 16;

/// One to a cache line. A thread may free what another took, so that only the sum is a count.
#[repr(align(128))]
struct Shard(AtomicUsize);

static TAKEN: [Shard; SHARDS] = [const { Shard(AtomicUsize::new(0)) }; SHARDS];

thread_local! {
    /// This thread's counter. Without a destructor, so that the allocator may use it at any time.
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

fn shard() -> &'static AtomicUsize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = SHARD.try_with(|own| {
        own.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
            own.set(Some(new));
            new
        })
    });
    &TAKEN[own.unwrap_or(0)].0
}

/// Bytes that the program holds; 0 where [`Counting`] is not its allocator.
pub fn in_use() -> usize {
    TAKEN.iter().fold(0usize, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)))
}

/// What an allocation of `bytes` costs: most allocators keep a word beside it, and round up.
fn cost(bytes: usize) -> usize {
    bytes.saturating_add(size_of::<usize>()).saturating_add(15) & !15
}

fn take(bytes: usize) {
    let bytes = cost(bytes);
    let before = shard().fetch_add(bytes, Ordering::Relaxed);
    if (before ^ before.wrapping_add(bytes)) >> STRIDE != 0 {
        limit::look(bytes);
    }
}

fn give(bytes: usize) {
    shard().fetch_sub(cost(bytes), Ordering::Relaxed);
}

/// What the system could not give.
fn failed(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        give(bytes);
        limit::refused_by_system(bytes);
    }
    pointer
}

// SAFETY: every call goes to the system's allocator with the arguments that came; counting changes none of them and
// does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: the caller's promises about `layout` are those that the system's allocator asks for.
        failed(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as for `alloc`.
        failed(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from the system's allocator with this layout, as all pointers of this one.
        unsafe { System.dealloc(pointer, layout) }
        give(layout.size());
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // For a moment both may exist.
        take(size);
        // SAFETY: as for `dealloc`; the caller's promises about `size` are passed on.
        let moved = failed(unsafe { System.realloc(pointer, layout, size) }, size);
        if !moved.is_null() {
            give(layout.size());
        }
        moved
    }
}
