//! Runs that stop in the middle, through the real binary: what they leave, and how `--resume` goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Two logs over a data file, one of them in batches, then results of all of it.
const SCRIPT: &str = r#"
let m = load();
let words = read_lines("words.txt");
let n = param("n", 30);
let noise = rng(1).normal(0, 1, #{size: n});
let items = [];
for i in 0..n { items.push(#{n: i, word: words[i % words.len], scale: noise[i]}); }
let log = jsonl("log.jsonl", #{keys: ["word", "ids", "norm"]});
let rows = log.fill(items, 4, |part| {
    let made = m.generate(part.map(|item| item.word), #{max_new_tokens: param("tokens", 12), watch: "resid_post.1"});
    let out = [];
    for i in 0..part.len {
        let resid = made[i].watched["resid_post.1"] * part[i].scale;
        save_npy(`acts/${part[i].n}.npy`, resid);
        out.push(#{word: part[i].word, ids: made[i].ids, norm: resid.norm()});
    }
    out
});
let second = jsonl("second.jsonl");
for row in rows { second.append(#{first: row.ids[0]}); }
heatmap(tensor([rows.map(|row| row.norm)])).save("norms.png");
write_json("results.json", #{rows: rows, first: second.rows});
"#;

fn house() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.rhai"), SCRIPT).expect("the script");
    let words = ["John", "Mary", "gave", "half", "Paris", "is", "and", "the", "TRUE", "one"];
    let text: String = (0..30).map(|i| format!(" {}{}\n", words[i % 10], " and".repeat(i / 10))).collect();
    fs::write(folder.path().join("words.txt"), text).expect("the data");
    folder
}

fn command(folder: &Path, out: &str, more: &[&str]) -> Command {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(folder).args(["run", "a.rhai", "--offline", "--out", out, "--model"]).arg(model);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, out: &str, more: &[&str]) -> Output {
    command(folder, out, more).output().expect("the binary starts")
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn refused(output: &Output, message: &str) {
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains(message), "{err}\nlacks\n{message}");
}

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).expect("a file"));
        }
    }
    found
}

#[track_caller]
fn same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(*bytes == b[name], "{name} differs");
    }
}

/// Sends a signal as soon as the log has a line, and waits for the end.
#[cfg(unix)]
#[track_caller]
fn stop(child: &mut Child, log: &Path, signal: &str, code: Option<i32>) {
    let started = Instant::now();
    while fs::metadata(log).map_or(0, |data| data.len()) == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "no line was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill starts").success());
    assert_eq!(child.wait().expect("the end").code(), code);
}

/// A kill may leave the temporary file that it caught.
#[cfg(unix)]
fn remove_parts(folder: &Path) {
    for (name, _) in files(folder).iter().filter(|(name, _)| name.ends_with(".part")) {
        fs::remove_file(folder.join(name)).expect("a temporary file");
    }
}

#[test]
fn a_resumed_run_ends_with_the_files_of_an_uninterrupted_one() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    succeeds(&run(house.path(), "whole", &[]));
    let log = fs::read(at("whole/log.jsonl")).expect("the log");
    // Inside a line, at the end of a batch, inside a batch, before the first line, and nothing missing.
    let ends: Vec<_> = log.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    for (i, cut) in [ends[4] + 7, ends[7], ends[9], 0, log.len()].into_iter().enumerate() {
        let out = format!("cut{i}");
        succeeds(&run(house.path(), &out, &[]));
        fs::write(at(&out).join("log.jsonl"), &log[..cut]).expect("a log that was cut");
        for late in ["results.json", "norms.png", "second.jsonl"] {
            fs::remove_file(at(&out).join(late)).expect("a result");
        }
        if cut < log.len() {
            fs::remove_file(at(&out).join("acts/29.npy")).expect("an array");
        }
        succeeds(&run(house.path(), &out, &["--resume"]));
        same(&at("whole"), &at(&out));
    }
    // Without the option everything starts again.
    fs::write(at("cut0/log.jsonl"), "stale\n").expect("a log");
    succeeds(&run(house.path(), "cut0", &[]));
    same(&at("whole"), &at("cut0"));
}

#[cfg(unix)]
#[test]
fn what_a_stopped_run_leaves_is_whole() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    let more = ["--set", "tokens=150", "--set", "n=240"];
    succeeds(&run(house.path(), "whole", &more));
    for (signal, code) in [("-INT", Some(130)), ("-KILL", None)] {
        let out = format!("stopped{signal}");
        let mut child = command(house.path(), &out, &more).spawn().expect("the binary starts");
        let log = at(&out).join("log.jsonl");
        stop(&mut child, &log, signal, code);
        let text = fs::read_to_string(&log).expect("the log");
        assert!(text.ends_with('\n') && text.lines().count() < 240, "{} lines", text.lines().count());
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("a whole line");
        }
        assert!(!at(&out).join("results.json").exists());
        succeeds(&run(house.path(), &out, &[&more[..], &["--resume"]].concat()));
        remove_parts(&at(&out));
        same(&at("whole"), &at(&out));
    }
}

/// The shipped experiment, stopped while it asks, while it patches and while it sweeps.
#[cfg(unix)]
#[test]
fn the_percentage_experiment_is_resumed() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    let start = |out: &str, more: &[&str]| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/percentage_patching.rhai");
        let small = ["n=64", "subset=all", "sweep_rows=8", "batch=8", "patched_tokens=4"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
        command.current_dir(house.path()).arg("run").arg(script).args(["--offline", "--out", out]).args(more);
        command.args(small.iter().flat_map(|value| ["--set", value]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    };
    succeeds(&start("whole", &[]).wait_with_output().expect("the end"));
    for (log, signal, code) in [
        ("metadata.jsonl", "-INT", Some(130)),
        ("patched.jsonl", "-KILL", None),
        ("control.jsonl", "-INT", Some(130)),
        ("sweep.jsonl", "-KILL", None),
    ] {
        let mut child = start(log, &[]);
        stop(&mut child, &at(log).join(log), signal, code);
        assert!(!at(log).join("results.json").exists(), "{log}");
        succeeds(&start(log, &["--resume"]).wait_with_output().expect("the end"));
        remove_parts(&at(log));
        same(&at("whole"), &at(log));
    }
}

#[test]
fn another_experiment_is_not_taken_up() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    succeeds(&run(house.path(), "out", &[]));
    let before = files(&at("out"));
    let changed = |what: &str| format!("cannot resume: {what} changed since the interrupted run");
    refused(&run(house.path(), "out", &["--resume", "--set", "tokens=3"]), &changed("a parameter"));
    refused(&run(house.path(), "out", &["--resume", "--seed", "3"]), &changed("the seed"));
    let words = fs::read_to_string(at("words.txt")).expect("the data");
    fs::write(at("words.txt"), words.replace("Mary", "Paris")).expect("other data");
    refused(&run(house.path(), "out", &["--resume"]), &changed("a file that the script reads"));
    fs::write(at("words.txt"), words).expect("the data");
    fs::write(at("a.rhai"), SCRIPT.replace("\"resid_post.1\"", "\"resid_post.2\"")).expect("another script");
    refused(&run(house.path(), "out", &["--resume"]), &changed("the script or one of its modules"));
    assert_eq!(files(&at("out")), before, "a refused run changes nothing");
    fs::write(at("a.rhai"), SCRIPT).expect("the script");
    succeeds(&run(house.path(), "out", &["--resume"]));
    assert_eq!(files(&at("out")), before);
}

#[test]
fn rows_that_could_not_be_repeated_are_refused() {
    let house = house();
    for (text, message) in [
        (
            "let r = rng(0); jsonl(\"a.jsonl\").fill(0..3, 1, |part| [#{x: r.random()}]);",
            "a draw inside `fill` would be missing when the run is resumed",
        ),
        ("jsonl(\"a.jsonl\").fill(0..3, 2, |part| [#{x: 1}]);", "1 rows for 2 items"),
        ("jsonl(\"a.jsonl\").fill(0..3, 0, |part| []);", "a batch of 0 items"),
        ("jsonl(\"a.jsonl\"); jsonl(\"a.jsonl\");", "the log `a.jsonl` is open already"),
        ("jsonl(\"a.jsonl\", #{keys: [\"x\"]}).append(#{x: 1, y: 2});", "`keys` does not list `y`"),
        ("jsonl(\"a.jsonl\", #{keys: [\"x\"]}).append(#{});", "there is no `x`, which `keys` lists"),
        ("jsonl(\"a.jsonl\").append(#{x: 0.0 / 0.0});", "`.x` is NaN, which json cannot express"),
    ] {
        fs::write(house.path().join("a.rhai"), text).expect("the script");
        refused(&run(house.path(), "out", &[]), message);
        assert_eq!(fs::read_to_string(house.path().join("out/a.jsonl")).expect("the log"), "", "{text}");
    }
    let inside = "jsonl(\"a.jsonl\").fill(0..3, 2, |part| part.map(|i| #{x: rng(i).random()}));";
    fs::write(house.path().join("a.rhai"), inside).expect("the script");
    succeeds(&run(house.path(), "out", &[]));
}

/// A full disk, played by a limit on the size of files: neither a half line nor a half file is left.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_whole_files() {
    let house = house();
    let log = "let log = jsonl(\"a.jsonl\"); for i in 0..1000 { log.append(#{i: i, text: \"0123456789\"}); }";
    let big = "let text = \"0123456789\"; for i in 0..9 { text += text; } write_text(\"a.txt\", text);";
    for (script, file, whole) in [(log, "a.jsonl", true), (big, "a.txt", false)] {
        fs::write(house.path().join("a.rhai"), script).expect("the script");
        let program = env!("CARGO_BIN_EXE_patchscript");
        let limited = format!("trap '' XFSZ; ulimit -f 4; exec {program} run a.rhai --out out");
        let output = Command::new("bash").current_dir(house.path()).args(["-c", &limited]).output();
        refused(&output.expect("bash starts"), &format!("cannot write `{file}`: "));
        let left = files(&house.path().join("out"));
        assert!(left.keys().all(|name| !name.ends_with(".part")), "{:?}", left.keys());
        assert_eq!(left.contains_key(file), whole);
        if whole {
            let text = String::from_utf8(left[file].clone()).expect("UTF-8");
            assert!(text.ends_with("}\n") && text.len() > 3000, "{} bytes", text.len());
        }
    }
}
