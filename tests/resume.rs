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

/// Every file below a folder, by its path there, but the record, which tells what the run took.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else if name != "run.json" {
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
    refused(&run(house.path(), "out", &["--resume"]), &changed("the file `words.txt`"));
    fs::write(at("words.txt"), words).expect("the data");
    fs::write(at("a.rhai"), SCRIPT.replace("\"resid_post.1\"", "\"resid_post.2\"")).expect("another script");
    refused(&run(house.path(), "out", &["--resume"]), &changed("the script or module `a.rhai`"));
    assert_eq!(files(&at("out")), before, "a refused run changes nothing");
    fs::write(at("a.rhai"), SCRIPT).expect("the script");
    succeeds(&run(house.path(), "out", &["--resume"]));
    assert_eq!(files(&at("out")), before);
}

/// A script that reads a module, a file and a model only after its log was begun, in the function of `fill` too.
const LATE: &str = r#"
let log = jsonl("log.jsonl");
let extra = read_text("early.txt");
log.fill(0..8, 2, |part| {
    import "late" as late;
    let m = load("m");
    part.map(|i| #{i: i, d: read_text(`data${i / 4}.txt`), e: extra, f: late::f(i), n: m.trace("John").last.norm()})
});
"#;

/// A folder with the script, what it reads and a copy of the tiny model.
fn late_house() -> TempDir {
    let house = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| house.path().join(name);
    let texts = [
        ("a.rhai", LATE),
        ("late.rhai", "fn f(i) { i + 1 }"),
        ("early.txt", "one"),
        ("data0.txt", "one"),
        ("data1.txt", "two"),
    ];
    for (name, text) in texts {
        fs::write(at(name), text).expect("a file");
    }
    fs::create_dir(at("m")).expect("a folder");
    for entry in fs::read_dir("tests/fixtures/tiny").expect("the model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, at("m").join(path.file_name().expect("a name"))).expect("a copy");
    }
    house
}

/// Leaves the log as an interruption after `lines` lines would.
fn shorten(log: &Path, lines: usize) {
    let text = fs::read_to_string(log).expect("the log");
    let kept: String = text.lines().take(lines).map(|line| format!("{line}\n")).collect();
    fs::write(log, kept).expect("the log");
}

#[test]
fn whatever_a_run_read_and_whenever_is_part_of_it() {
    let house = late_house();
    let at = |name: &str| house.path().join(name);
    let start = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
        command.current_dir(house.path()).args(["run", "a.rhai", "--offline", "--out", "out"]).args(more);
        command.stdin(Stdio::null()).output().expect("the binary starts")
    };
    succeeds(&start(&[]));
    let whole = files(&at("out"));
    let weights = at("m/model.safetensors");
    let time = fs::metadata(&weights).and_then(|data| data.modified()).expect("a time");
    let edit = |name: &str| -> Vec<u8> {
        let mut bytes = fs::read(at(name)).expect("a file");
        let half = bytes.len() / 2;
        if name.ends_with(".safetensors") {
            bytes.swap(half, half + 4);
            bytes[half] ^= 1;
        } else if name == "m/config.json" {
            bytes.push(b'\n');
        } else {
            bytes = [&bytes[..], b" "].concat();
        }
        bytes
    };
    for (name, what) in [
        ("early.txt", "the file `early.txt`"),
        ("data0.txt", "the file `data0.txt`"),
        ("late.rhai", "the script or module `"),
        ("a.rhai", "the script or module `"),
        ("m/model.safetensors", "the model's file `"),
        ("m/config.json", "the model's file `"),
        ("m/tokenizer.json", "the model's file `"),
    ] {
        // Of all that was read, also of what only a line that is there already was made of.
        for lines in [0, 5, 8] {
            shorten(&at("out/log.jsonl"), lines);
            let before = fs::read(at(name)).expect("a file");
            fs::write(at(name), edit(name)).expect("another file");
            let file = fs::File::options().write(true).open(at(name)).expect("the file");
            file.set_modified(time).expect("the time of another");
            let log = fs::read(at("out/log.jsonl")).expect("the log");
            refused(&start(&["--resume"]), &format!("cannot resume: {what}"));
            assert_eq!(fs::read(at("out/log.jsonl")).expect("the log"), log, "a refused run changes nothing");
            fs::write(at(name), before).expect("the file");
            succeeds(&start(&["--resume"]));
            assert_eq!(files(&at("out")), whole, "{name}, {lines} lines");
        }
    }
    // What was not there counts too.
    fs::write(
        at("a.rhai"),
        "let x = try_it(); fn try_it() { try { read_text(\"x\") } catch { \"-\" } }\nlet l = jsonl(\"l\"); \
        for i in 0..3 { l.append(#{i: i, x: x}); }",
    )
    .expect("the script");
    succeeds(&start(&[]));
    shorten(&at("out/l"), 2);
    fs::write(at("x"), "here").expect("a file");
    refused(&start(&["--resume"]), "cannot resume: the file `x` changed since the interrupted run");
}

#[test]
fn a_log_that_was_changed_is_not_taken_up() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    succeeds(&run(house.path(), "out", &[]));
    let whole = files(&at("out"));
    let (log, second) = (at("out/log.jsonl"), at("out/second.jsonl"));
    let text = fs::read_to_string(&log).expect("the log");
    let first = text.lines().next().expect("a line").to_string() + "\n";
    for changed in [
        text.replace('\n', "\r\n"),
        text.replacen("\"word\":\" ", "\"word\":\"  ", 1),
        text.clone() + &first,
        text.clone() + "\n",
        text.clone() + "{",
        text[first.len()..].to_string(),
        format!("{first}{text}"),
        text.lines().rev().map(|line| format!("{line}\n")).collect(),
    ] {
        fs::write(&log, &changed).expect("another log");
        let refusal = "cannot resume: the log `log.jsonl` is not as the interrupted run left it";
        refused(&run(house.path(), "out", &["--resume"]), refusal);
        assert_eq!(fs::read_to_string(&log).expect("the log"), changed, "a refused run changes nothing");
    }
    fs::write(&log, &text).expect("the log");
    // The other one, which the run would come to late.
    let other = fs::read_to_string(&second).expect("the log");
    fs::write(&second, other.clone() + "{}\n").expect("another log");
    refused(&run(house.path(), "out", &["--resume"]), "cannot resume: the log `second.jsonl` is not as");
    fs::write(&second, other).expect("the log");
    for lines in [0, 1, 13, 29] {
        shorten(&log, lines);
        fs::remove_file(&second).expect("the log");
        succeeds(&run(house.path(), "out", &["--resume"]));
        assert_eq!(files(&at("out")), whole, "what was cut is made again");
    }
    for damaged in ["", "{", "{}\n", "{\"log\":{\"name\":\"log.jsonl\"}}\n", "[1]\n"] {
        fs::write(at("out/.resume.json"), damaged).expect("other notes");
        refused(&run(house.path(), "out", &["--resume"]), "cannot resume: `.resume.json` is damaged");
    }
}

#[cfg(unix)]
#[test]
fn a_log_has_one_writer() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    fs::write(
        at("a.rhai"),
        "let a = jsonl(\"l.jsonl\"); a.append(#{a: 1}); let e = \"\"; \
         for p in [\"l.jsonl\", \"./l.jsonl\", \"x/../l.jsonl\", \"hard.jsonl\"] { try { jsonl(p); print(`opened ${p}`); } catch (e) {} }",
    )
    .expect("the script");
    fs::create_dir_all(at("out")).expect("a folder");
    fs::write(at("out/l.jsonl"), "").expect("a log");
    fs::hard_link(at("out/l.jsonl"), at("out/hard.jsonl")).expect("another name");
    let output = run(house.path(), "out", &[]);
    succeeds(&output);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(fs::read_to_string(at("out/l.jsonl")).expect("the log"), "{\"a\":1}\n");

    // Two runs into one folder: the second ends at once, and the first does not notice.
    fs::write(
        at("a.rhai"),
        "let a = jsonl(\"l.jsonl\"); for i in 0..60 { a.append(#{i: i}); for k in 0..60000 {} }",
    )
    .expect("the script");
    fs::remove_file(at("out/l.jsonl")).expect("the log");
    let mut first = command(house.path(), "out", &[]).spawn().expect("the binary starts");
    while fs::metadata(at("out/l.jsonl")).map_or(0, |data| data.len()) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    for more in [&[][..], &["--resume"]] {
        refused(&run(house.path(), "out", more), "another run is writing to `");
    }
    assert!(first.wait().expect("the end").success());
    assert_eq!(fs::read_to_string(at("out/l.jsonl")).expect("the log").lines().count(), 60);
}

/// The folder is removed under a run, between lines and after the last one.
#[cfg(unix)]
#[test]
fn a_log_that_is_removed_ends_the_run() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    for more in ["l.append(#{i: 2});", ""] {
        let text =
            "let l = jsonl(\"l.jsonl\"); l.append(#{i: 1}); for k in 0..3000000 {}\n".to_string() + more;
        fs::write(at("a.rhai"), text).expect("the script");
        let child = command(house.path(), "out", &[]).spawn().expect("the binary starts");
        while fs::metadata(at("out/l.jsonl")).map_or(0, |data| data.len()) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::remove_dir_all(at("out")).expect("the folder");
        let output = child.wait_with_output().expect("the end");
        refused(&output, "`l.jsonl` was removed while the run was writing to it");
    }
}

/// Where a run looks for files there are pipes, links out and folders of others.
#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_refused_at_once() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    let pipe = |name: &str| assert!(Command::new("mkfifo").arg(at(name)).status().expect("mkfifo").success());
    fs::create_dir_all(at("out")).expect("a folder");
    for name in ["pipe.rhai", "pipe.txt", "out/.resume.json", "out/pipe.jsonl"] {
        pipe(name);
    }
    let started = Instant::now();
    for (text, message) in [
        ("import \"pipe\" as p;", "it is not a regular file"),
        ("read_text(\"pipe.txt\");", "`pipe.txt` is not a regular file"),
        ("jsonl(\"pipe.jsonl\");", "`pipe.jsonl` is not a regular file"),
        ("jsonl(\"a.jsonl\");", "`.resume.json` is not a regular file"),
        ("write_text(\".resume.json\", \"\");", "`.resume.json` is not a regular file"),
    ] {
        fs::write(at("a.rhai"), text).expect("the script");
        for more in [&[][..], &["--resume"]] {
            refused(&run(house.path(), "out", more), message);
        }
    }
    fs::remove_file(at("a.rhai")).expect("the script");
    pipe("a.rhai");
    let output = run(house.path(), "out", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("it is not a regular file"));
    assert!(started.elapsed() < Duration::from_secs(20));

    fs::create_dir_all(at("work/out")).expect("a folder");
    fs::create_dir_all(at("elsewhere")).expect("a folder");
    std::os::unix::fs::symlink(at("elsewhere"), at("work/out/b")).expect("a link");
    for (script, message) in [
        ("b.rhai", "outside the working folder"),
        ("...rhai", "the script's name is dots"),
        ("..rhai", "the script's name is dots"),
    ] {
        fs::write(at("work").join(script), "write_text(\"words.txt\", \"new\");").expect("the script");
        let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
        refused(
            &command.current_dir(at("work")).args(["run", script]).output().expect("the binary starts"),
            message,
        );
    }
    assert_eq!(files(&at("elsewhere")).len() + files(&at("work/out")).len(), 0);
}

/// A model whose files lead out of its folder, or are pipes.
#[cfg(unix)]
#[test]
fn a_model_is_made_of_plain_files_of_its_folder() {
    let house = late_house();
    let at = |name: &str| house.path().join(name);
    fs::write(at("secret"), "TOPSECRET").expect("a file");
    let read = "let m = load(\"m\"); print(m.chat([#{role: \"user\", content: \"x\"}]));";
    fs::write(at("a.rhai"), read).expect("the script");
    let start = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
        command.current_dir(house.path()).args(["run", "a.rhai", "--offline"]).env("HF_TOKEN", "TOPSECRET");
        command.stdin(Stdio::null()).output().expect("the binary starts")
    };
    for name in [
        "chat_template.jinja",
        "generation_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
        "model.safetensors",
    ] {
        let path = at("m").join(name);
        let before = fs::read(&path).ok();
        for kind in ["secret", "/proc/self/environ", "pipe"] {
            let _ = fs::remove_file(&path);
            if kind == "pipe" {
                assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
            } else {
                std::os::unix::fs::symlink(house.path().join(kind), &path).expect("a link");
            }
            let started = Instant::now();
            let output = start();
            assert_eq!(output.status.code(), Some(1), "{name}: {kind}");
            let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!told.contains("TOPSECRET") && !told.contains("panicked"), "{name}: {told}");
            let reason = if kind == "pipe" { "" } else { "outside the model's folder" };
            assert!(told.contains(name) && told.contains(reason), "{name}: {told}");
            assert!(started.elapsed() < Duration::from_secs(10));
        }
        fs::remove_file(&path).expect("a file");
        if let Some(before) = before {
            fs::write(&path, before).expect("the file");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let house = house();
    fs::write(house.path().join("a.rhai"), "let n = param(\"n\", 3); print(n);").expect("the script");
    let program = env!("CARGO_BIN_EXE_patchscript");
    let bash = |line: &str| {
        let line = line.replace("PS", program);
        let output = Command::new("bash").current_dir(house.path()).args(["-c", &line]).output();
        output.expect("bash starts")
    };
    for call in [
        "PS run a.rhai",
        "PS run a.rhai --params",
        "PS models info demo",
        "PS models list",
        "PS check-model demo",
        "echo 1 + 1 | PS",
    ] {
        let output = bash(&format!("{call} > /dev/full"));
        refused(&output, "cannot write to standard output: No space left on device");
        let closed = bash(&format!("set -o pipefail; {call} | true"));
        let told = String::from_utf8_lossy(&closed.stderr);
        assert!(closed.status.code() == Some(0) && !told.contains("panicked"), "{call}: {told}");
    }
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
            assert!(text.ends_with("}\n") && text.len() > 1000, "{} bytes", text.len());
        }
    }
}

/// Every shipped script, small, is stopped at random moments by every signal, and goes on with `--resume`: equal bytes,
/// and no other file. `PATCHSCRIPT_TEST_MOMENTS` says how many moments a signal and script.
#[cfg(unix)]
#[test]
fn any_moment_is_good_enough_to_stop() {
    let moments = std::env::var("PATCHSCRIPT_TEST_MOMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let house = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| house.path().join(name);
    // A generator of its own: the moments are the same every time.
    let mut state = 20261127_u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    };
    for (script, settings) in [
        ("ioi_patching", &["prompts=2"][..]),
        ("patchscope", &["draws=3"]),
        ("patchscope_layers", &["tokens=3"]),
        ("power_heatmap", &["pairs=2"]),
        ("percentage_patching", &["n=32", "subset=all", "sweep_rows=2", "batch=8", "patched_tokens=3"]),
    ] {
        let start = |out: &str, more: &[&str]| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/{script}.rhai"));
            let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
            command
                .current_dir(house.path())
                .arg("run")
                .arg(path)
                .args(["--offline", "--out", out])
                .args(more);
            command.args(settings.iter().flat_map(|value| ["--set", value]));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().expect("the binary starts")
        };
        let whole = format!("{script}-whole");
        let began = Instant::now();
        succeeds(&start(&whole, &[]).wait_with_output().expect("the end"));
        let takes = began.elapsed();
        for signal in ["-INT", "-TERM", "-KILL"] {
            for moment in 0..moments {
                let out = format!("{script}{signal}{moment}");
                let child = start(&out, &[]);
                std::thread::sleep(takes.mul_f64(random()));
                // It may have ended by now.
                let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
                let output = child.wait_with_output().expect("the end");
                let code = output.status.code();
                let expected = if signal == "-KILL" { [None, Some(0)] } else { [Some(130), Some(0)] };
                // Before the handler stands, a signal does what it always does.
                assert!(expected.contains(&code) || code.is_none(), "{out}: {code:?}");
                if code != Some(0) && at(&out).exists() {
                    for (name, bytes) in files(&at(&out)).iter().filter(|(name, _)| name.ends_with(".jsonl"))
                    {
                        assert!(
                            bytes.is_empty() || bytes.ends_with(b"\n"),
                            "{out}: {name} ends within a line"
                        );
                    }
                }
                succeeds(&start(&out, &["--resume"]).wait_with_output().expect("the end"));
                same(&at(&whole), &at(&out));
            }
        }
    }
}
