//! The real binary in fresh folders: output, errors word for word, exit codes.

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
fn literals_are_checked_before_the_run() {
    let text = "print(\"first\");\nheatmap([1], #{cmap: \"Purpels\"});\n";
    let expected = "
error: option `cmap`: unknown colour map `Purpels`
  --> a.rhai:2:22
  |
2 | heatmap([1], #{cmap: \"Purpels\"});
  |                      ^^^^^^^^^
  |
  = help: write `Purples`; known are";
    let ran = run(text, &[]);
    assert!(ran.err.starts_with(expected.trim_start()), "{}", ran.err);
    assert_eq!((ran.out.as_str(), ran.code), ("", Some(2)));
}

#[test]
fn a_missing_file_is_a_usage_error() {
    let folder = folder(&[]);
    fails(
        &patchscript(folder.path(), &["run", "b.rhai"]),
        2,
        "
error: cannot read script `b.rhai`: No such file or directory (os error 2)
 = help: check the path `b.rhai`, or name another script
",
    );
}

#[test]
fn a_syntax_error_has_a_line_and_a_caret() {
    fails(
        &run("let x = 1;\nlet y = [1, 2;\n", &[]),
        2,
        "
error: `[` is not closed
  --> a.rhai:2:9
  |
2 | let y = [1, 2;
  |         ^
  |
  = help: add `]` where it ends
",
    );
}

#[test]
fn a_runtime_error_shows_the_way_to_it() {
    fails(
        &run("fn f(a) {\n  a[3]\n}\nprint(\"first\");\nf([1, 2]);\n", &[]),
        1,
        "
error: index 3 is out of range for an array of 2
  --> a.rhai:2:5
  |
2 |   a[3]
  |     ^
  .
5 | f([1, 2]);
  | - in call to `f`
  |
  = help: indices go from 0 to 1, or back from -1 to -2
",
    );
}

#[test]
fn an_unknown_function_suggests_the_nearest() {
    fails(
        &run("print(\"first\");\njion([1], \",\");\n", &[]),
        2,
        r#"
error: unknown function `jion`
  --> a.rhai:2:1
  |
2 | jion([1], ",");
  | ^^^^
  |
  = help: did you mean `join(items: array, separator: string) -> string`?
"#,
    );
}

#[test]
fn wrong_arguments_list_what_is_taken() {
    fails(
        &run("join([1], 2);\n", &[]),
        1,
        "
error: `join` expects (items: array, separator: string), found (array, int)
  --> a.rhai:1:1
  |
1 | join([1], 2);
  | ^^^^
  |
  = help: its form is `join(items: array, separator: string) -> string`
",
    );
}

#[test]
fn an_unknown_variable_is_found_before_the_run() {
    fails(
        &run("let prompt = 1;\nprint(\"first\");\nprint(promt);\n", &[]),
        2,
        "
error: unknown variable `promt`
  --> a.rhai:3:7
  |
3 | print(promt);
  |       ^^^^^
  |
  = help: did you mean `prompt`?
",
    );
}

#[test]
fn an_unknown_map_entry_suggests_the_nearest() {
    fails(
        &run("let m = #{layer: 3};\nprint(m.lyaer);\n", &[]),
        1,
        "
error: the map has no entry `lyaer`
  --> a.rhai:2:9
  |
2 | print(m.lyaer);
  |         ^^^^^
  |
  = help: did you mean `layer`?
",
    );
}

#[test]
fn operators_name_both_sides() {
    fails(
        &run("let a = #{};\na * 2", &[]),
        1,
        "
error: `*` does not work between `map` and `int`
  --> a.rhai:2:3
  |
2 | a * 2
  |   ^
",
    );
}

#[test]
fn a_thrown_text_is_the_message() {
    fails(
        &run("throw \"no good\";", &[]),
        1,
        r#"
error: no good
  --> a.rhai:1:1
  |
1 | throw "no good";
  | ^^^^^
"#,
    );
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
fn check_finds_mistakes_without_running() {
    let folder = folder(&[
        ("good.rhai", "let m = #{f: |x| x};\nfn g(x) { x + 1 }\nprint(g(m.f(1)));\n"),
        ("bad.rhai", "print(1);\nif false { [1].psuh(2) }\n"),
    ]);
    prints(&patchscript(folder.path(), &["check", "good.rhai"]), "");
    prints(&patchscript(folder.path(), &["run", "good.rhai"]), "2\n");
    fails(
        &patchscript(folder.path(), &["check", "bad.rhai"]),
        2,
        "
error: unknown method `psuh`
  --> bad.rhai:2:16
  |
2 | if false { [1].psuh(2) }
  |                ^^^^
  |
  = help: did you mean `push`?
",
    );
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
fn options_without_a_map_are_understood() {
    for (text, message, help) in [
        (
            "heatmap([1], title = 1)",
            "arguments have no names here",
            "options are a map, with a `#` in front: `#{title: …}`",
        ),
        (
            "heatmap([1], {title: 1})",
            "braces without `#` hold lines of code",
            "options are a map with a `#` in front: `#{title: …}`",
        ),
        (
            "round_half_even(0.5, digits = 1)",
            "arguments have no names here",
            "write them in their order: its form is `round_half_even(x: number, digits?: int) -> number`",
        ),
    ] {
        let ran = run(text, &[]);
        assert!(ran.err.starts_with(&format!("error: {message}\n")), "{}", ran.err);
        assert!(ran.err.ends_with(&format!("= help: {help}\n")), "{}", ran.err);
    }
}

#[test]
fn slips_of_other_languages_are_explained() {
    for (text, message, help) in [
        ("print('hello')", "single quotes hold one character", "write text in double quotes: `\"hello\"`"),
        (
            "let n = 3; for i in n {}",
            "this value cannot be looped over",
            "loop over an array, or over a range: `for i in 0..n`",
        ),
        (
            "try { assert(false) } catch (e) { e.message() }",
            "`message` of `Error` is a field, not a method",
            "drop the brackets: `.message`",
        ),
    ] {
        let ran = run(text, &[]);
        assert!(ran.err.starts_with(&format!("error: {message}\n")), "{}", ran.err);
        assert!(ran.err.ends_with(&format!("= help: {help}\n")), "{}", ran.err);
    }
}

#[test]
fn a_script_without_run_is_told_the_command() {
    let folder = folder(&[("a.rhai", "print(1);")]);
    let ran = patchscript(folder.path(), &["a.rhai"]);
    assert!(ran.err.contains("tip: to run this script: `patchscript run a.rhai`"), "{}", ran.err);
    assert_eq!(ran.code, Some(2));
}

#[test]
fn the_seed_decides_what_is_sampled() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny");
    let sample = |more: &[&str]| {
        let text = "print(load().generate(\" John\", #{temperature: 2.0, max_new_tokens: 12}).ids);";
        let ran = run(text, &[&["--model", tiny], more].concat());
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)));
        ran.out
    };
    assert_eq!(sample(&["--seed", "7"]), sample(&["--seed", "7"]));
    assert_ne!(sample(&["--seed", "7"]), sample(&["--seed", "8"]));
    assert_eq!(sample(&[]), sample(&["--seed", "0"]));
}

#[test]
fn imports_stay_in_the_scripts_folder() {
    let folder = folder(&[
        ("s/a.rhai", "import \"lib/b\" as b;\nprint(b::two());\n"),
        ("s/lib/b.rhai", "import \"c\" as c;\nfn two() { c::one() + c::one() }\n"),
        ("s/lib/c.rhai", "fn one() { 1 }\n"),
        ("s/out.rhai", "import \"../secret\" as s;\n"),
        ("s/none.rhai", "import \"nothing\" as s;\n"),
        ("s/cycle.rhai", "import \"cycle\" as s;\n"),
        ("s/fault.rhai", "import \"lib/d\" as d;\n\nd::f(1);\n"),
        ("s/lib/d.rhai", "\nfn f(x) { g(x) }\nfn g(x) { x.y }\n"),
        ("secret.rhai", "print(\"secret\");"),
    ]);
    let run = |file| patchscript(folder.path(), &["run", file]);
    prints(&run("s/a.rhai"), "2\n");
    fails(
        &run("s/out.rhai"),
        1,
        r#"
error: module `../secret` lies outside the script's folder
  --> s/out.rhai:1:8
  |
1 | import "../secret" as s;
  |        ^^^^^^^^^^^
  |
  = help: move `s/../secret.rhai` into `s`
"#,
    );
    fails(
        &run("s/none.rhai"),
        1,
        r#"
error: there is no module `nothing`
  --> s/none.rhai:1:8
  |
1 | import "nothing" as s;
  |        ^^^^^^^^^
  |
  = help: create `s/nothing.rhai`, or import one of the stdlib
"#,
    );
    fails(
        &run("s/cycle.rhai"),
        1,
        r#"
error: module `cycle` imports itself
  --> s/cycle.rhai:1:8
  |
1 | import "cycle" as s;
  |        ^^^^^^^
  |        |
  |        in this import
  |
  = help: break the cycle s/cycle.rhai -> s/cycle.rhai
"#,
    );
    fails(
        &run("s/fault.rhai"),
        1,
        "
error: `int` has no field `y`
  --> s/lib/d.rhai:3:13
  |
2 | fn f(x) { g(x) }
  |           - in call to `g`
3 | fn g(x) { x.y }
  |             ^
  |
  --> s/fault.rhai:3:4
  |
3 | d::f(1);
  |    - in call to `f`
  |
  = help: see `help(int)`
",
    );
}

#[test]
fn limits_stop_a_script() {
    fails(
        &run("loop {}", &["--max-ops", "1000"]),
        1,
        "
error: the script took more than 1000 steps
  --> a.rhai:1:6
  |
1 | loop {}
  |      ^
  |
  = help: if that is meant, allow more: `--max-ops 10000`
",
    );
    fails(
        &run("fn f() { f() }\nf();", &[]),
        1,
        "
error: calls are nested deeper than 64
  --> a.rhai:2:1
  |
2 | f();
  | ^
  |
  = help: end the recursion, or allow more: `--max-call-levels 256`
",
    );
    fails(
        &run("eval(\"1\")", &[]),
        2,
        r#"
error: `eval` is switched off
  --> a.rhai:1:1
  |
1 | eval("1")
  | ^^^^
  |
  = help: write the code itself, or a function
"#,
    );
}

#[test]
fn an_interrupt_ends_the_run_with_130() {
    let text = "write_text(\"a.txt\", \"whole\"); print(\"on\"); try { loop {} } catch { print(\"caught\") }";
    let folder = folder(&[("a.rhai", text)]);
    let mut child = command(folder.path(), &["run", "a.rhai"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut out = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("the first line");
    assert_eq!(line, "on\n");
    let sent = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success());
    let ran: Ran = child.wait_with_output().expect("the end").into();
    assert!(sent.elapsed() < Duration::from_secs(2));
    fails(&ran, 130, "error: interrupted\n");
    // What was written before stays, whole and alone.
    let written: Vec<_> = fs::read_dir(folder.path().join("out/a")).expect("results").collect();
    assert_eq!(written.len(), 1);
    assert_eq!(fs::read_to_string(folder.path().join("out/a/a.txt")).expect("the file"), "whole");
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

/// The tiny checkpoint of a family, with what transformers computes for it beside it.
fn checkpoint(family: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(family);
    let folder = folder(&[]);
    for name in ["config.json", "model.safetensors", "expected.json"] {
        fs::copy(from.join(name), folder.path().join(name)).expect("a file of the checkpoint");
    }
    folder
}

#[test]
fn check_model_keeps_every_promise() {
    for family in ["llama", "gpt2", "gemma2"] {
        let folder = checkpoint(family);
        let ran = patchscript(folder.path(), &["check-model", ".", "--device", "cpu"]);
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)), "{family}: {}", ran.out);
        let promises: Vec<_> =
            ran.out.lines().skip_while(|line| !line.starts_with("promise")).skip(1).collect();
        assert_eq!(promises.len(), 7, "{}", ran.out);
        assert!(promises.iter().all(|line| line.contains("  kept  ")), "{}", ran.out);
    }
}

#[test]
fn check_model_shows_a_broken_promise() {
    let folder = checkpoint("llama");
    let path = folder.path().join("expected.json");
    let mut expected: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("the file")).expect("JSON");
    expected["logits_last"][1][7] = 99.into();
    fs::write(&path, expected.to_string()).expect("written");
    let ran = patchscript(folder.path(), &["check-model", ".", "--device", "cpu"]);
    assert_eq!(ran.code, Some(1));
    let broken: Vec<_> = ran.out.lines().filter(|line| line.contains("BROKEN")).collect();
    assert!(broken.len() == 1 && broken[0].starts_with("logits are those of `expected.json`"), "{}", ran.out);
}

#[test]
fn warnings_leave_the_exit_code() {
    let folder = folder(&[("a.rhai", "print(`a\\nb`);\n")]);
    let warning = r#"warning: `\n` between backticks is a backslash and a letter, not a line break
  --> a.rhai:1:7
  |
1 | print(`a\nb`);
  |       ^^^^^^
  |
  = help: write the line break itself, or the text in double quotes; a backslash that is meant is `\\n` there
"#;
    for (command, out) in [("check", ""), ("run", "a\\nb\n")] {
        let ran = patchscript(folder.path(), &[command, "a.rhai"]);
        assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (out, warning, Some(0)), "{command}");
    }
}

#[test]
fn memory_ends_a_script_at_its_line() {
    let ran = run("let k = [];\nloop {\n    k.push(zeros([1000, 1000]));\n}", &["--max-memory", "100MiB"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(" of 100.00 MiB are in use\n  --> a.rhai:3:12\n"), "{}", ran.err);
    assert!(ran.err.contains("help: keep less at once, or allow more: `--max-memory 10"), "{}", ran.err);
    // Values of the script itself, which no native function sees.
    let grow = "let k = [];\nlet s = blob(500000, 1);\nlet i = 0;\nloop { let t = s; k.push(|| t); i += 1; }";
    let ran = run(grow, &["--max-memory", "100MiB"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.contains(", and may hold 100.00 MiB\n  --> a.rhai:4:"), "{}", ran.err);
    // The texts of all groups count.
    let many = run("let s = \"\"; s.pad(100, \"a\"); regex_find_all(\"()()\", s);", &["--max-array", "50"]);
    assert_eq!(many.code, Some(1), "{}", many.err);
    assert!(
        many.err.starts_with("error: the matches are too many: an array may have 50 values\n"),
        "{}",
        many.err
    );
    fails(
        &run("let r = rng(0);\nr.permutation(1000000000000);", &[]),
        1,
        "
error: an array of 1000000000000 values is too long: it may have 10000000
  --> a.rhai:2:3
  |
2 | r.permutation(1000000000000);
  |   ^^^^^^^^^^^
  |
  = help: take fewer at once, or allow more: `--max-array`
",
    );
}

/// A function of the engine that asks for no room makes 500 MB of 7 MB.
#[test]
fn what_slips_past_the_limit_is_an_error_too() {
    let text = "let s = \"\"; s.pad(7000000, \"ab\"); s.split_rev(\"a\").len";
    let ran = run(text, &["--max-memory", "60MiB"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.err.starts_with("error: ") && ran.err.contains("60.00 MiB"), "{}", ran.err);
}

#[test]
fn time_ends_a_script_at_its_line() {
    // At the loop or at its body, wherever the script is just then.
    let ran = run("let i = 0;\nloop { }", &["--max-time", "200ms"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.starts_with("error: the script took longer than 200ms\n  --> a.rhai:2:"), "{}", ran.err);
    assert!(ran.err.ends_with("  = help: if that is meant, allow more: `--max-time 800ms`\n"), "{}", ran.err);
    let ran = run("permutation_test([1, 2], [3, 4], #{n: 100000000});", &["--max-time", "200ms"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.err.starts_with("error: the script took longer than 200ms\n  --> a.rhai:1:1\n"),
        "{}",
        ran.err
    );
}

#[test]
fn depth_is_an_error_however_it_is_made() {
    for (text, told) in [
        ("fn f(n) { [n].map(|x| f(x + 1)) }\nf(0);", "calls are nested deeper than the stack has room for"),
        (
            "let f = |g, n| g.call(g, n + 1);\nf.call(f, 0);",
            "calls are nested deeper than the stack has room for",
        ),
        (
            "let f = |x| x;\nfor i in 0..1000000 { let g = f; f = |x| g; }",
            "values lie in each other more than 256 deep",
        ),
        (
            "let a = 1;\nfor i in 0..1000000 { let m = [0]; m[0] = take(a); a = take(m); }",
            "values lie in each other more than 256 deep",
        ),
        (
            "let a = 1;\nfor i in 0..1000000 { try { let m = #{}; m.c = take(a); a = take(m); } catch {} }",
            "values lie in each other more than 256 deep",
        ),
        // Values may hold each other in a circle.
        ("let o = #{n: 0}; o.inc = || o.n; for i in 0..100000 { o.n = i; }", ""),
    ] {
        let ran = run(text, &["--max-call-levels", "1000000"]);
        assert!(ran.err.starts_with(&format!("error: {told}\n")) || ran.err == told, "{text}: {}", ran.err);
        assert_eq!(ran.code, Some(i32::from(!told.is_empty())), "{text}");
    }
}

/// Ctrl-C in the middle of native work: the time until the end.
#[test]
fn an_interrupt_is_answered_in_native_calls() {
    for text in [
        "permutation_test([1, 2], [3, 4], #{n: 100000000});",
        "let a = []; a.pad(1000, 0.5); bootstrap(a, #{n: 10000000});",
        "randn([1500, 1500], rng(0)).svd();",
        "let a = randn([4000, 4000], rng(0)); loop { a.matmul(a); }",
        "let a = randn([20000000], rng(0)); loop { a.sort(); }",
        "let s = \"\"; s.pad(20000000, \"ab\"); loop { regex_find_all(\"(a)(b)\", s); }",
        "let a = []; for i in 0..100000 { a.push(i % 97); } loop { a.sort(|x, y| y - x); }",
        "[3, 1, 2].sort(|a, b| { loop {} });",
        "let t = zeros([900, 900]) + 0.5; loop { heatmap(t).save(\"a.png\"); }",
        "let t = zeros([5000, 5000]); loop { save_npz(\"a.npz\", #{t: t}); }",
        "let t = zeros([2000, 2000]); loop { write_json(\"a.json\", t); }",
    ] {
        let here = folder(&[]);
        let mut repl = command(here.path(), &["--max-memory", "3GiB"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let (mut input, output) = (repl.stdin.take().expect("piped"), repl.stdout.take().expect("piped"));
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(output));
        let mut line = || lines.next().and_then(Result::ok);
        writeln!(input, "print(\"on\"); {text}\n\nprint(\"next\")\n").expect("a pipe");
        assert_eq!(line().as_deref(), Some("on"), "{text}");
        std::thread::sleep(Duration::from_millis(700));
        let sent = Instant::now();
        let kill = Command::new("kill").args(["-INT", &repl.id().to_string()]).status();
        assert!(kill.expect("kill starts").success());
        // The prompt lives on. Twice the time that is promised: other tests run beside this one.
        assert_eq!(line().as_deref(), Some("next"), "{text}");
        assert!(sent.elapsed() < Duration::from_millis(400), "{text}: {:?}", sent.elapsed());
        drop(input);
        let ended = repl.wait().expect("the end");
        assert_eq!(ended.code(), Some(130), "{text}");
    }
}

#[test]
fn one_variable_limits_the_instructions() {
    let folder = checkpoint("llama");
    let limited = |to: &str, args: &[&str]| -> Ran {
        command(folder.path(), args).env("PATCHSCRIPT_CPU", to).output().expect("the binary starts").into()
    };
    for args in [&["--version", "--verbose"][..], &["check-model", ".", "--device", "cpu"]] {
        let ran = limited("scalar", args);
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)), "{}", ran.out);
        let line = ran.out.lines().find(|line| line.starts_with("instructions")).expect("the line");
        let said: Vec<_> = line.split_whitespace().collect();
        assert_eq!(said[1].trim_end_matches(','), "scalar", "{line}");
        assert!(said.len() == 2 || line.ends_with("limited by `PATCHSCRIPT_CPU`"), "{line}");
    }
    assert_eq!(limited("", &["--version"]).out, concat!("patchscript ", env!("CARGO_PKG_VERSION"), "\n"));
    let ran = limited("sse9", &["check-model", "."]);
    assert_eq!(ran.code, Some(2));
    let start = "error: `PATCHSCRIPT_CPU` is `sse9`, which names no instructions of this architecture\n = help: it may be `scalar`, ";
    assert!(ran.err.starts_with(start), "{}", ran.err);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_script() {
    let files = folder(&[
        ("a.rhai", "\u{feff}import \"b\" as b;\nprint(b::two() + read_json(\"c.json\").one);"),
        ("b.rhai", "\u{feff}fn two() { 2 }"),
        ("c.json", "\u{feff}{\"one\": 1}"),
    ]);
    prints(&patchscript(files.path(), &["run", "a.rhai"]), "3\n");
    let utf16: Vec<u8> = "\u{feff}print(1);".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(files.path().join("a.rhai"), &utf16).expect("a file");
    fails(
        &patchscript(files.path(), &["run", "a.rhai"]),
        2,
        "error: script `a.rhai` is UTF-16 text, by its byte order mark\n = help: save it as UTF-8 in your editor\n",
    );
    fs::write(files.path().join("a.rhai"), "read_text(\"c.json\")").expect("a file");
    fs::write(files.path().join("c.json"), &utf16).expect("a file");
    let ran = patchscript(files.path(), &["run", "a.rhai"]);
    assert!(
        ran.err.contains("`c.json` is UTF-16 text") && ran.err.contains("-f utf-16 -t utf-8"),
        "{}",
        ran.err
    );
}

#[test]
fn texts_are_found_though_their_characters_are_split() {
    let ran = run(
        "let t = load().tokens(\"The city of 東京 is far from Köln 🙂.\");\n\
         for text in [\"東京\", \"京\", \"Köln\", \"🙂\", \" is\"] {\n\
             let tokens = t[t.span(text)];\n\
             print(text + \" \" + load().decode(tokens).contains(text) + \" \" + (t.find(text) == t.span(text).start));\n\
         }\n\
         try { t.span(\"京東\") } catch (e) { print(e.message); }",
        &[],
    );
    prints(
        &ran,
        "東京 true true\n京 true true\nKöln true true\n🙂 true true\n is true true\nthe prompt does not contain `京東`\n",
    );
}

/// A model folder with this chat template.
fn chatting(template: &str) -> TempDir {
    let folder = folder(&[("model/chat_template.jinja", template)]);
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(format!("tests/fixtures/tiny/{file}"), folder.path().join("model").join(file))
            .expect("a copy");
    }
    folder
}

#[test]
fn a_chat_template_gets_the_keys_of_tools_in_their_order() {
    let files =
        chatting("{% for tool in tools %}{{ tool | tojson }}\r\n{% endfor %}{{ messages[0].content }}");
    let said = |tools: &str| {
        let text = format!(
            "print(load(\"model\").chat([#{{role: \"user\", content: \"hi\"}}], #{{tools: {tools}}}));"
        );
        fs::write(files.path().join("a.rhai"), text).expect("a file");
        patchscript(files.path(), &["run", "a.rhai"])
    };
    let json = r#"[{"type": "function", "function": {"name": "look_up", "description": "é"}}]"#;
    fs::write(files.path().join("tools.json"), json).expect("a file");
    let line = &json[1..json.len() - 1];
    prints(&said("read_json(\"tools.json\")"), &format!("{line}\nhi\n"));
    prints(
        &said("[#{type: \"function\", function: #{name: \"look_up\", description: \"é\"}}]"),
        &format!("{line}\nhi\n"),
    );
    let ran = said("{ let tool = #{}; tool.type = 1; tool.name = 2; [tool] }");
    assert!(
        ran.err.contains("the order of the keys of `tools[0]` is not known: `name`, `type`")
            && ran.err.contains("help:"),
        "{}",
        ran.err
    );
}

#[test]
fn a_folder_says_why_it_is_no_model() {
    let files = chatting("hi");
    let model = files.path().join("model");
    let told = || {
        fs::write(files.path().join("a.rhai"), "load(\"model\")").expect("a file");
        patchscript(files.path(), &["run", "a.rhai"]).err
    };
    assert_eq!(told(), "");
    fs::write(model.join("adapter_config.json"), "{}").expect("a file");
    assert!(told().contains("holds an adapter, `adapter_config.json`"), "{}", told());
    fs::remove_file(model.join("adapter_config.json")).expect("removed");
    fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).expect("renamed");
    assert!(told().contains("`pytorch_model.bin`, whose weights are pickled"), "{}", told());
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
