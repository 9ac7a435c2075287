//! The shipped scripts through the real binary, against the reference values of `tests/golden`; and scripts that must
//! be refused, word for word.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{golden, smollm2_path};
use serde_json::Value as Json;
use tempfile::TempDir;

const TOLERANCE: f64 = 5e-3;
const TINY: &str = "tests/fixtures/tiny";

/// Runs a script from the root of the repository; results go to the folder that comes back.
fn run(script: &str, args: &[&str]) -> (Output, TempDir) {
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", script, "--offline", "--out"])
        .arg(out.path().join("results"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    (output, out)
}

/// Asserts that the script is refused with exactly this text and leaves nothing behind.
#[track_caller]
fn refused(script: &str, args: &[&str], expected: &str) {
    let (output, out) = run(script, args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected, "{script}");
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{script}: {}", output.status);
    assert_eq!(fs::read_dir(out.path()).expect("the folder").count(), 0, "{script} left a file");
}

/// Runs a shipped script with the real model; gives its JSON and what it printed.
fn results(script: &str, args: &[&str], json: &str) -> Option<(Json, String)> {
    let model = smollm2_path()?.display().to_string();
    let (output, out) = run(script, &[&["--model", &model], args].concat());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert_eq!(err, "");
    let folder = out.path().join("results");
    for entry in fs::read_dir(&folder).expect("results") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "png") {
            assert!(fs::read(&path).expect("a picture").starts_with(b"\x89PNG"), "{}", path.display());
        }
    }
    let text = fs::read_to_string(folder.join(json)).expect("the script's JSON");
    Some((serde_json::from_str(&text).expect("JSON"), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Numbers within the tolerance, everything else equal.
#[track_caller]
fn close(found: &Json, expected: &Json, place: &str) {
    match (found, expected) {
        (Json::Array(a), Json::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                close(a, b, &format!("{place}[{i}]"));
            }
        }
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
            assert!((a - b).abs() <= TOLERANCE, "{place}: {a}, expected {b}");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn power_heatmap_equals_the_reference() {
    let Some((found, printed)) = results("scripts/power_heatmap.rhai", &[], "power_heatmap.json") else {
        return;
    };
    let golden = golden("smollm2_heatmap.json");
    for (key, reference) in [
        ("entity", "entity"),
        ("source_prompt", "source_prompt"),
        ("base_prompt", "base_prompt"),
        ("source_sentence", "source_sentence"),
        ("base_sentence", "base_sentence"),
        ("sentence_start", "sentence_start"),
        ("token_labels", "labels"),
        ("num_layers", "layers"),
        ("patching_results", "grid"),
    ] {
        close(&found[key], &golden[reference], key);
    }
    for run in ["source", "base"] {
        let values = &golden[run];
        let number = |key: &str| values[key].as_f64().expect("a number");
        let line = format!(
            "{run}: P(TRUE) {:.4}, P(FALSE) {:.4}, log difference {:.3}",
            number("p_true"),
            number("p_false"),
            number("log_diff")
        );
        assert!(printed.contains(&line), "{printed}\nlacks\n{line}");
    }
}

#[test]
fn ioi_patching_equals_the_reference() {
    let Some((found, _)) = results("scripts/ioi_patching.rhai", &[], "ioi.json") else { return };
    let golden = golden("smollm2_ioi.json");
    for key in [
        "clean_prompt",
        "corrupted_prompt",
        "clean_diff",
        "corrupted_diff",
        "layer_raw",
        "layer_norm",
        "noising_raw",
        "noising_norm",
        "position_raw",
        "position_norm",
        "head_raw",
        "head_norm",
    ] {
        close(&found[key], &golden[key], key);
    }
}

#[test]
fn patchscope_reads_every_layer_that_was_asked_for() {
    let args = ["--set", "layers=[8, 20, 29]", "--set", "tokens=4"];
    let Some((found, printed)) = results("scripts/patchscope.rhai", &args, "patchscope.json") else { return };
    let texts = found["texts"].as_array().expect("an array");
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().any(|text| *text != found["unpatched"]), "no vector changed the text: {printed}");
    assert_eq!(found["source_token"], " Paris");
    assert_eq!(found["replaced_token"], " x");
    assert!(printed.contains("unpatched"), "{printed}");
}

#[test]
fn patchscope_decodes_the_next_token_of_its_source() {
    let args = [
        "--set",
        "layers=[29]",
        "--set",
        "tokens=1",
        "--set",
        "target=identity",
        "--set",
        "source=The capital of France is",
    ];
    let Some((found, _)) = results("scripts/patchscope.rhai", &args, "patchscope.json") else { return };
    // The last layer's vector alone decides the next token.
    assert_eq!(found["texts"][0], " Paris");
}

/// A script of one sweep, with the tiny model.
fn tiny_sweep(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("a.rhai");
    let text = "let m = load(); let mary = m.trace(\" Mary gave half\");\n\
                print(m.sweep(\" John gave half\", 0..3, 0..3, |l, p| z(l).at(p).set(mary), logit(5)).ledger.computed);";
    fs::write(&script, text).expect("the script");
    run(script.to_str().expect("UTF-8"), &[&["--model", TINY], args].concat()).0
}

#[test]
fn a_sweep_is_explained_before_it_runs() {
    let output = tiny_sweep(&["--explain", "--memory", "1MiB"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((out.as_ref(), output.status.code()), ("7\n", Some(0)), "{err}");
    let expected = "\
sweep of 9 cells, 3 tokens, 3 layers
  computed     7
  merged       0 (equal to another cell)
  known        0 (the donor is the base run there)
  unreachable  2 (the metric cannot see the patch)
  rows         6..13 a layer (0: 6, 1: 12, 2: 13)
  layers       entered at 3 of 3: 0 to 2
  chunks       1
  donors       1 to run
";
    assert!(err.starts_with(expected), "{err}\nis not\n{expected}");
    let plain = tiny_sweep(&[]);
    assert_eq!((plain.stdout, plain.stderr), (output.stdout, Vec::new()));

    let refused = tiny_sweep(&["--memory", "1GB"]);
    assert_eq!(refused.status.code(), Some(2));
    let err = String::from_utf8_lossy(&refused.stderr);
    assert!(err.contains("write it like `2GiB`, `512MiB` or `800000000`"), "{err}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_sweep_after_its_layer() {
    let Some(model) = smollm2_path() else { return };
    let out = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "scripts/power_heatmap.rhai", "--offline", "--model"])
        .arg(model)
        .arg("--out")
        .arg(out.path().join("results"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The second line stands before the sweep.
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.take(2).last().expect("two lines").expect("text").starts_with("base: "));
    std::thread::sleep(Duration::from_millis(500));
    let sent = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success());
    let ran = child.wait_with_output().expect("the end");
    assert!(sent.elapsed() < Duration::from_secs(2), "{:?}", sent.elapsed());
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "error: interrupted\n");
    assert_eq!(ran.status.code(), Some(130));
    let left = fs::read_dir(out.path().join("results")).map_or(0, |files| files.count());
    assert_eq!(left, 0, "half a result was written");
}

#[test]
fn mistakes_are_refused_before_anything_is_written() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let mut cases = 0;
    for entry in fs::read_dir(&suite).expect("the suite") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rhai") {
            continue;
        }
        let script = format!("tests/suite/{}", path.file_name().expect("a name").to_string_lossy());
        let expected = fs::read_to_string(path.with_extension("stderr")).expect("the expected text");
        refused(&script, &["--model", TINY], &expected);
        cases += 1;
    }
    assert!(cases > 10, "{cases} cases");
}

/// A folder with a copy of the tiny model.
fn tiny_copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join(TINY);
    for entry in fs::read_dir(tiny).expect("the tiny model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    folder
}

/// A refusal of `load` in `tests/suite/load.txt`.
fn refusal(message: &str, help: &str) -> String {
    format!(
        "error: {message}\n  --> tests/suite/load.txt:1:9\n  |\n1 | let m = load();\n  |         ^^^^\n  |\n  = help: {help}\n"
    )
}

/// What a script that only loads its model says about this one.
fn load_error(model: &Path) -> String {
    let (output, out) = run("tests/suite/load.txt", &["--model", &model.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fs::read_dir(out.path()).expect("the folder").count(), 0);
    String::from_utf8_lossy(&output.stderr).replace(&model.display().to_string(), "MODEL")
}

#[test]
fn a_model_that_was_cut_short_is_refused() {
    let Some(model) = smollm2_path() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = folder.path().join("cut.gguf");
    let mut head = Vec::new();
    fs::File::open(model).expect("the model").take(4 << 20).read_to_end(&mut head).expect("its head");
    fs::write(&cut, head).expect("the file");
    let told = load_error(&cut);
    let (before, after) = told.split_once("tensor `").expect("the tensor that is cut off");
    assert_eq!(before, "error: `MODEL` is truncated: ");
    assert!(after.contains("the file has 4194304\n"), "{told}");
    assert!(after.ends_with("= help: download `MODEL` again and compare its checksum\n"), "{told}");
}

#[test]
fn models_that_cannot_be_read_are_refused() {
    let folder = tiny_copy();
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).expect("the weights");
    fs::write(&weights, &bytes[..bytes.len() / 2]).expect("half the weights");
    assert_eq!(
        load_error(folder.path()),
        refusal(
            "`MODEL/model.safetensors` cannot be read as safetensors: \
             incomplete metadata, file not fully covered",
            "the file may have been cut short: fetch it again"
        )
    );

    let gguf = folder.path().join("cut.gguf");
    fs::write(&gguf, b"GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0").expect("the head of a file");
    assert_eq!(
        load_error(&gguf),
        refusal(
            "`MODEL` is truncated: the header ends at byte 24, the file has 16",
            "download `MODEL` again and compare its checksum"
        )
    );

    assert_eq!(
        load_error(&folder.path().join("nothing")),
        refusal(
            "no model at `MODEL`",
            "give a folder in Hugging Face layout, a `.gguf` file, or `org/name` on the Hub, \
             like `openai-community/gpt2`"
        )
    );
}
