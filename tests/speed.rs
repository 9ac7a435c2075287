//! How long a user waits: limits that the real binary keeps on two cores.

mod common;

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::smollm2_path;

/// Only one test is timed at once.
static ALONE: Mutex<()> = Mutex::new(());

/// The least time of some runs that a script took: other programs may slow down single ones.
fn quickest(runs: usize, args: &[&str]) -> Duration {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let time = |_| {
        let out = tempfile::tempdir().expect("a temporary folder");
        let start = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
            .args(["run", "--out"])
            .arg(out.path())
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        start.elapsed()
    };
    (0..runs).map(time).min().expect("a run")
}

#[test]
fn one_print_takes_under_100_ms() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("print.rhai");
    std::fs::write(&script, "print(1);").expect("the script");
    let time = quickest(10, &[&script.display().to_string()]);
    assert!(time < Duration::from_millis(100), "{time:?}");
}

#[test]
fn a_patchscope_of_all_layers_takes_under_10_s() {
    let Some(model) = smollm2_path() else { return };
    let time = quickest(3, &["scripts/patchscope.rhai", "--model", &model.display().to_string()]);
    assert!(time < Duration::from_secs(10), "{time:?}");
}
