//! The prompt as a person meets it, through a pseudo-terminal.
#![cfg(target_os = "linux")]

#[path = "common/pty.rs"]
mod pty;

use std::process::Command;
use std::time::{Duration, Instant};

use pty::Terminal;
use tempfile::TempDir;

fn start_sized(args: &[&str], cols: u16, rows: u16) -> (Terminal, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(folder.path()).args(args).env("XDG_STATE_HOME", folder.path()).env("NO_COLOR", "1");
    (Terminal::start(command, cols, rows), folder)
}

fn start(args: &[&str]) -> (Terminal, TempDir) {
    let (mut terminal, folder) = start_sized(args, 100, 40);
    terminal.waits_for("`:quit` leaves");
    terminal.waits_for("> ");
    (terminal, folder)
}

/// Leaves by Ctrl-D, and gives all that was on the screen.
#[track_caller]
fn leave(mut terminal: Terminal) -> String {
    // Before the prompt is there the system itself would take Ctrl-D.
    terminal.waits_for("> ");
    terminal.types("\x04");
    let (status, seen) = terminal.ends();
    assert!(status.success(), "{status}: {seen}");
    assert!(!seen.contains("panicked"), "{seen}");
    seen
}

#[test]
fn lines_pasted_without_brackets_are_all_run() {
    let (mut terminal, _folder) = start(&[]);
    let lines: String = (0..40).map(|i| format!("let x{i} = {i} * 1000 + 7;\r")).collect();
    terminal.types(&lines);
    terminal.types("x39 + x0\r");
    terminal.waits_for("39014");
    leave(terminal);
}

#[test]
fn lines_typed_while_a_run_works_are_run_after_it() {
    let (mut terminal, _folder) = start(&[]);
    terminal.types("let s = 0; for i in 0..3000000 { s += 1; }\r");
    std::thread::sleep(Duration::from_millis(150));
    terminal.types("s + 1\r");
    terminal.types("s + 2\r");
    terminal.waits_for("3000001");
    terminal.waits_for("3000002");
    leave(terminal);
}

#[test]
fn a_pasted_block_is_one_entry() {
    let (mut terminal, _folder) = start(&[]);
    terminal.types("\x1b[200~let a = 20;\nlet b = 22;\nfn add(x, y) {\n  x + y\n}\nadd(a, b)\x1b[201~\r");
    terminal.waits_for("\n42");
    leave(terminal);
}

#[test]
fn an_open_bracket_goes_on_under_its_own_prompt() {
    let (mut terminal, folder) = start(&[]);
    terminal.types("fn twice(x) {\r");
    terminal.waits_for(". ");
    terminal.types("2 * x\r");
    terminal.types("}\r");
    terminal.types("twice(21)\r");
    terminal.waits_for("\n42");
    // Ctrl-C drops an entry that is not whole.
    terminal.types("let y = [1,\r");
    terminal.waits_for(". ");
    terminal.types("\x03");
    terminal.waits_for("> ");
    terminal.types("1 + 1\r");
    terminal.waits_for("\n2");
    leave(terminal);
    let history = std::fs::read_to_string(folder.path().join("patchscript/history")).expect("the history");
    assert!(history.contains("fn twice(x) {\\n2 * x\\n}"), "{history}");
}

#[test]
fn what_ran_before_an_error_or_ctrl_c_is_kept() {
    let (mut terminal, _folder) = start(&[]);
    terminal.types("let a = 41; let t = load().trace(\" John\"); let b = t[\"zz.1\"];\r");
    terminal.waits_for("unknown site `zz.1`");
    terminal.types("a + 1\r");
    terminal.waits_for("\n42");
    terminal.types("let c = 5; loop {}\r");
    std::thread::sleep(Duration::from_millis(200));
    let sent = Instant::now();
    terminal.types("\x03");
    terminal.waits_for("interrupted");
    assert!(sent.elapsed() < Duration::from_secs(5));
    terminal.types("c + 95\r");
    terminal.waits_for("\n100");
    leave(terminal);
}

#[test]
fn a_path_that_was_typed_may_be_read_and_one_in_a_script_may_not() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny");
    let (mut terminal, folder) = start(&[]);
    std::fs::write(folder.path().join("inner.rhai"), format!("fn layers() {{ load(\"{model}\").n_layers }}"))
        .expect("written");
    terminal.types("import \"inner\" as inner;\r");
    terminal.types("inner::layers()\r");
    terminal.waits_for("may not read");
    // Put together at run time it was not typed.
    terminal.types(&format!("let p = \"{model}\"; load(p).n_layers\r"));
    terminal.waits_for("may not read");
    terminal.types(&format!("let s = load(\"{model}\"); s.n_layers + 100\r"));
    terminal.waits_for("\n103");
    leave(terminal);
}

#[test]
fn values_are_drawn() {
    let (mut terminal, folder) = start(&[]);
    std::fs::write(folder.path().join("t.csv"), "name,age\nAda,36\nIda,7\n").expect("written");
    for (input, lines) in [
        ("load().trace(\" John gave\").top(3)", &["token", "id", "logit", "prob"][..]),
        ("read_csv(\"t.csv\")", &["Table of 2 rows", "name  age", "Ada    36", "Ida     7"]),
        ("resid_post(1).info(load())", &["resid_post.1: [pos, 256]\r\n", "the residual stream"]),
        (
            "(0..10).map(|i| (0..10).map(|j| i + j / 3.0))",
            &["[[0.0, 0.3333, 0.6667, … 4 more …, 2.3333, 2.6667, 3.0],"],
        ),
    ] {
        terminal.types(&format!("{input}\r"));
        terminal.waits_for("\r\n");
        for line in lines {
            terminal.waits_for(line);
        }
    }
    leave(terminal);
}

#[test]
fn questions_are_answered() {
    let (mut terminal, _folder) = start(&[]);
    for (question, answer) in [
        ("help sweep", "Model.sweep("),
        ("help(Model.sweep)", "Model.sweep("),
        ("help(string)", "string.to_upper("),
        ("help(array)", "array.push("),
        ("help(map)", "map.keys("),
        (":load a.rhai", "there is no command `:load`"),
        ("help", "Ctrl-C stops what"),
    ] {
        terminal.types(&format!("{question}\r"));
        terminal.waits_for(answer);
    }
    leave(terminal);
}

#[test]
fn a_terminal_of_any_size_serves() {
    for (cols, rows) in [(1, 1), (2, 1), (0, 0), (3, 65535), (65535, 1), (65535, 65535)] {
        let (mut terminal, _folder) = start_sized(&[], cols, rows);
        for keys in [
            "let x = 1200 + 34;\r",
            "heatmap([[1, 2], [3, 4]]).show()\r",
            "[#{a: 1, b: \"é\"}, #{a: 2, b: \"日本\"}]\r",
            "hea\t\t\x03",
            "write_text(\"done.txt\", `${x}`);\r",
            "\x04",
        ] {
            terminal.waits_for("> ");
            terminal.types(keys);
            terminal.waits_for("\x1b[?2004l");
        }
        let (status, seen) = terminal.ends();
        assert!(status.success() && !seen.contains("panicked"), "{cols} x {rows}: {status}\n{seen}");
        let done = _folder.path().join("out/repl/done.txt");
        assert_eq!(std::fs::read_to_string(done).ok().as_deref(), Some("1234"), "{cols} x {rows}\n{seen}");
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_it() {
    let (mut terminal, _folder) = start(&[]);
    terminal.types("let x = 1;\r");
    terminal.hangs_up();
    let start = Instant::now();
    while terminal.child.try_wait().expect("its state").is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "it goes on without a terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_long_function_takes_no_square_time() {
    let (mut terminal, _folder) = start(&[]);
    terminal.types("fn long() {\r");
    let lines = 3000;
    let begin = Instant::now();
    for part in 0..lines / 100 {
        let text: String = (0..100).map(|i| format!("  let v = {part} + {i};\r")).collect();
        terminal.types(&text);
    }
    terminal.types("  4200 + 42\r}\rlong()\r");
    terminal.waits_for("\n4242");
    assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", begin.elapsed());
    leave(terminal);
}
