//! The binary: hand the command line over, exit with its code.

use std::process::ExitCode;

use patchscript::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    keep_memory();
    outlive_full_disks();
    patchscript::cli::main()
}

/// Keeps freed memory for the next layer: the system's allocator would give every large tensor back at once, and fresh
/// pages cost up to half of the time of short passes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    // SAFETY: there are no other threads yet; what the allocator does not know it ignores.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}

/// Where files may not grow any further, writing is an error and not the end of the process.
#[cfg(unix)]
fn outlive_full_disks() {
    // SAFETY: ignoring a signal runs no code of ours, and there are no other threads yet.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(not(unix))]
fn outlive_full_disks() {}
