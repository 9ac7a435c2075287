//! Tests that are skipped: none silently, and none under CI.

use std::path::{Path, PathBuf};

/// Says why the running test is skipped, now and (by `tests/zz_skipped.rs`) at the end. Under CI nothing may be.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    let program = std::env::current_exe().unwrap();
    let program = program.file_stem().unwrap().to_string_lossy();
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    let thread = std::thread::current();
    let line = format!("{program}::{}: {why}\n", thread.name().unwrap_or_default());
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(skipped()).unwrap();
    std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
    eprint!("SKIPPED: {line}");
}

/// Where the lines of one `cargo test`, which starts every test program, are.
pub fn skipped() -> PathBuf {
    let cargo = std::os::unix::process::parent_id();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped-{cargo}"))
}
