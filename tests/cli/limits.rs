//! What a script may reach, hold and take, and what stops it.

use std::collections::BTreeSet;

use super::*;

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
    let written = fs::read_dir(folder.path().join("out/a")).expect("results");
    let written: BTreeSet<_> = written.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(written, BTreeSet::from(["a.txt".into(), "run.json".into()]));
    let record = fs::read_to_string(folder.path().join("out/a/run.json")).expect("the record");
    assert!(record.contains("\"ended\": \"stopped\""), "{record}");
    assert_eq!(fs::read_to_string(folder.path().join("out/a/a.txt")).expect("the file"), "whole");
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
        "let p = \" John\"; for i in 0..9 { p += p; } \
         load().sweep(p, 0..8, 0..500, |l, t| resid_post(l).at(t).zero(), logit(5));",
    ] {
        let here = folder(&[]);
        let mut repl = command(here.path(), &["--max-memory", "3GiB", "--no-cache"])
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
