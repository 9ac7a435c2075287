//! The real binary in fresh folders: output, errors word for word, exit codes.

mod editors;
mod errors;
mod limits;
mod models;
mod new;
mod streams;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a subfolder");
        fs::write(path, text).expect("a file");
    }
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(folder).args(args).stdin(Stdio::null()).env("XDG_STATE_HOME", folder);
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn patchscript(folder: &Path, args: &[&str]) -> Ran {
    command(folder, args).output().expect("the binary starts").into()
}

/// Runs `a.rhai` with this text.
fn run(text: &str, more: &[&str]) -> Ran {
    let folder = folder(&[("a.rhai", text)]);
    patchscript(folder.path(), &[&["run", "a.rhai"], more].concat())
}

#[track_caller]
fn fails(ran: &Ran, code: i32, err: &str) {
    assert_eq!(ran.err, err.strip_prefix('\n').unwrap_or(err));
    assert_eq!(ran.code, Some(code));
}

#[track_caller]
fn prints(ran: &Ran, out: &str) {
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (out, "", Some(0)));
}

#[test]
fn print_prints() {
    prints(&run("print(\"hello\"); print([1, 2.0, \"a\"]);", &[]), "hello\n[1, 2.0, \"a\"]\n");
}

#[test]
fn debug_goes_to_standard_error_with_its_line() {
    let ran = run("\ndebug(1);", &[]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", "a.rhai:2: 1\n"));
}

#[test]
fn parameters_are_set_and_listed() {
    let text =
        "let l = param(\"layer\", 6, \"which layer\");\nlet a = param(\"alpha\", 0.5);\nprint([l, a]);\n";
    prints(&run(text, &[]), "[6, 0.5]\n");
    prints(&run(text, &["--set", "layer=8", "--set", "alpha=2"]), "[8, 2.0]\n");
    prints(&run(text, &["--params"]), "layer = 6    which layer\nalpha = 0.5\n");
    fails(
        &run(text, &["--set", "lyaer=8"]),
        2,
        "
error: the script has no parameter `lyaer`; did you mean `layer`?
 = help: its parameters are `layer`, `alpha`
",
    );
    fails(
        &run(text, &["--set", "layer=x"]),
        2,
        r#"
error: parameter `layer` is an int, found `x`
  --> a.rhai:1:9
  |
1 | let l = param("layer", 6, "which layer");
  |         ^^^^^
  |
  = help: write `--set layer=…` with an int, like the default
"#,
    );
    assert_eq!(run(text, &["--set", "layer"]).code, Some(2));
}

#[test]
fn there_is_no_clock() {
    for (text, code) in [("let start = timestamp();", 2), ("sleep(10);", 2), ("Fn(\"sleep\").call(0.5);", 1)]
    {
        let function = if text.contains("sleep") { "sleep" } else { "timestamp" };
        let ran = run(text, &[]);
        let message = format!("error: `{function}` is switched off\n  --> a.rhai:1:");
        assert!(ran.err.starts_with(&message), "{}", ran.err);
        let help = "help: scripts have no clock, so that every run gives the same result: drop this call\n";
        assert!(ran.err.ends_with(help), "{}", ran.err);
        assert_eq!(ran.code, Some(code), "{text}");
    }
    prints(&run("fn sleep(x) { x + 1 }\nprint(sleep(1));", &[]), "2\n");
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let folder = folder(&[("a.rhai", "let i = 0; loop { print(i); i += 1; }")]);
    let mut child = command(folder.path(), &["run", "a.rhai"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let ran: Ran = child.wait_with_output().expect("the end").into();
    prints(&ran, "");
}

#[test]
fn the_repl_reads_lines_from_a_pipe() {
    let folder = folder(&[("lib.rhai", "fn f() { 41 }")]);
    let mut child = command(folder.path(), &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let input = "import \"lib\" as lib;\nlet x = \nlib::f();\nx + 1\n_ + 1\nx.y\nfn g(a) {\n  a + 1\n}\ng(x)\n:quit\n0\n";
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let ran: Ran = child.wait_with_output().expect("the end").into();
    assert_eq!(ran.out, "42\n43\n42\n");
    fails(
        &ran,
        1,
        "
error: `int` has no field `y`
  --> repl[5]:1:3
  |
1 | x.y
  |   ^
  |
  = help: see `help(int)`
",
    );
}

#[test]
fn characters_without_a_font_are_told_once() {
    let text = "let map = heatmap([[1, 2]], #{x: [\"東京\", \"é\"], title: \"南\"});\n\
                map.save(\"a.png\"); map.save(\"b.png\"); map.save(\"c.svg\");";
    let drawn = |fonts: &str| {
        let folder = folder(&[("a.rhai", text)]);
        let mut command = command(folder.path(), &["run", "a.rhai", "--out", "."]);
        let ran: Ran = command.env("PATCHSCRIPT_FONTS", fonts).output().expect("the binary starts").into();
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        (
            ran.err,
            ["a.png", "b.png", "c.svg"].map(|file| fs::read(folder.path().join(file)).expect("a picture")),
        )
    };
    let (err, [first, second, svg]) = drawn("");
    assert_eq!(
        err,
        "note: no font of this machine draws `京`, `南`, `東`: `a.png` has boxes with their numbers\n = help: save it as \
         `.svg` or `.html`, which have the text; or install a font, such as Noto Sans CJK, or name a font file in \
         PATCHSCRIPT_FONTS\n"
    );
    assert!(first == second && String::from_utf8_lossy(&svg).contains("東京"));
    let blocks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blocks.ttf");
    let (err, [with_font, _, same]) = drawn(&blocks.display().to_string());
    assert!(err.starts_with("note: no font of this machine draws `南`: "), "{err}");
    assert!(with_font != first && same == svg);
}
