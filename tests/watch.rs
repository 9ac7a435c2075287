//! `run --watch`, through the real binary.
#![cfg(unix)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The lines of a stream as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

/// The next line; a run takes a moment, and others run beside it.
#[track_caller]
fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(Duration::from_secs(30)).expect("a line")
}

#[test]
fn a_script_runs_again_when_anything_that_decides_it_changes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    let script = "import \"own\" as own; let m = load(); write_text(\"n.txt\", \"x\");\n\
                  print(`${own::sign()} ${m.n_layers} ${read_text(\"words.txt\")} ${read_text(\"n.txt\")}`);";
    write("a.rhai", script);
    write("own.rhai", "fn sign() { \"+\" }");
    write("words.txt", "one");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let mut child = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(folder.path())
        .args(["run", "--watch", "a.rhai", "--no-cache", "--model"])
        .arg(model)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let (out, err) = (lines(child.stdout.take().expect("piped")), lines(child.stderr.take().expect("piped")));
    let waits = "note: waits for a change of a.rhai; Ctrl-C ends";
    assert_eq!((next(&out).as_str(), next(&err).as_str()), ("+ 3 one x", waits));
    for (name, text, printed) in [
        ("words.txt", "two", "+ 3 two x"),
        ("own.rhai", "fn sign() { \"-\" }", "- 3 two x"),
        ("a.rhai", &script.replace("m.n_layers", "m.d_model"), "- 64 two x"),
    ] {
        write(name, text);
        assert_eq!((next(&err), next(&out).as_str()), (format!("note: {name} changed"), printed));
        assert_eq!(next(&err), waits);
    }
    // An error is told, and the next change is waited for.
    for (text, error) in [("let a = ;", "error: "), ("print([1][4]);", "error: ")] {
        write("a.rhai", text);
        assert_eq!(next(&err), "note: a.rhai changed");
        assert!(next(&err).starts_with(error));
        while next(&err) != waits {}
    }
    // As editors do it.
    write("new", script);
    fs::remove_file(folder.path().join("a.rhai")).expect("removed");
    std::thread::sleep(Duration::from_millis(500));
    fs::rename(folder.path().join("new"), folder.path().join("a.rhai")).expect("renamed");
    assert_eq!((next(&err).as_str(), next(&out).as_str()), ("note: a.rhai changed", "- 3 two x"));
    assert_eq!(next(&err), waits);
    // What it writes is no reason to run again.
    assert!(err.recv_timeout(Duration::from_millis(900)).is_err());
    let sent = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success());
    assert_eq!(child.wait().expect("the end").code(), Some(130));
    // Twice the time that is promised: other tests run beside this one.
    assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
}

#[test]
fn what_cannot_change_is_not_watched() {
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .args(["run", "--watch", "-"])
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: standard input does not change\n"));
}
