//! How long a user waits: limits that the real binary keeps on two cores, and limits beside a plain product in the same
//! process, which hold on slower ones too and would not if a kernel fell back to scalar code.

mod common;

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::{id_tokens, random, run, smollm2, smollm2_path};
use patchscript::model::Model;
use patchscript::run::Control;
use patchscript::run::generate::{GenerateOptions, generate};

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

#[test]
fn the_first_script_of_the_readme_takes_under_500_ms() {
    let readme = std::fs::read_to_string("README.md").expect("the README");
    let script = readme.split("## A script").nth(1).and_then(|text| text.split("```").nth(1));
    let script = script.and_then(|text| text.strip_prefix("rhai\n")).expect("a script");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("capital.rhai");
    std::fs::write(&path, script).expect("the script");
    let time = quickest(5, &[&path.display().to_string()]);
    assert!(time < Duration::from_millis(500), "{time:?}");
}

/// The least of some times of `work`, over the time that as many operations take in a plain product just before.
fn beside_a_product(operations: f64, mut work: impl FnMut()) -> f64 {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (a, b) = (random(&[512, 512], 1), random(&[512, 512], 2));
    let seconds = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    work();
    let ratio = |_| {
        let product = (0..5).map(|_| seconds(&mut || drop(a.matmul(&b).expect("a product"))));
        let product = product.fold(f64::INFINITY, f64::min) / (2.0 * 512f64.powi(3));
        seconds(&mut work) / (operations * product)
    };
    (0..5).map(ratio).fold(f64::INFINITY, f64::min)
}

/// Operations that one token needs: two for each entry of a matrix.
fn operations(model: &Model) -> f64 {
    let config = model.config();
    let attention = 2 * config.d_model * (config.n_heads + config.n_kv_heads) * config.d_head;
    let layer = attention + 3 * config.d_model * config.d_mlp;
    2.0 * (config.n_layers * layer) as f64
}

#[test]
fn prompts_keep_pace_with_a_plain_product() {
    let Some(model) = smollm2() else { return };
    // Scalar code takes 50 to 90 times as long.
    for (len, most) in [(6u32, 20.0), (58, 5.0)] {
        let prompt = id_tokens(&model, &(0..len).map(|i| 100 + 7 * i).collect::<Vec<_>>());
        let work = || drop(run(&model, &prompt, vec![], &[]));
        let ratio = beside_a_product(f64::from(len) * operations(&model), work);
        println!("{len} tokens: {ratio:.1} times a plain product");
        assert!(ratio < most, "{len} tokens: {ratio}");
    }
}

#[test]
fn decoding_keeps_pace_with_a_plain_product() {
    let Some(model) = smollm2() else { return };
    let prompt = id_tokens(&model, &[100, 200, 300]);
    let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
    let work = || {
        let made = generate(&model, &[(prompt.clone(), vec![])], &options, &Control::default());
        assert_eq!(made.expect("a text")[0].ids.len(), 16, "a text that ends sooner");
    };
    let table = (2 * model.config().d_vocab * model.config().d_model) as f64;
    let ratio = beside_a_product(16.0 * (operations(&model) + table), work);
    println!("decoding: {ratio:.1} times a plain product");
    // Bound by memory, and at 190 with scalar code.
    assert!(ratio < 40.0, "{ratio}");
}
