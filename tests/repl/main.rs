//! The prompt as a person meets it, through a pseudo-terminal.
#![cfg(target_os = "linux")]

#[path = "../common/pty.rs"]
mod pty;
mod speed;

use std::process::Command;
use std::time::{Duration, Instant};

use pty::Terminal;
use tempfile::TempDir;

fn start_sized(args: &[&str], cols: u16, rows: u16) -> (Terminal, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(folder.path())
        .args(args)
        .env("XDG_STATE_HOME", folder.path())
        .env("PATCHSCRIPT_CACHE", folder.path())
        .env("NO_COLOR", "1");
    (Terminal::start(command, cols, rows), folder)
}

fn start(args: &[&str]) -> (Terminal, TempDir) {
    let (mut terminal, folder) = start_sized(args, 100, 40);
    terminal.waits_for("`:quit` leaves");
    terminal.waits_for("[1] demo> ");
    (terminal, folder)
}

/// A terminal with colours.
fn start_in_color() -> (Terminal, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .env("PATCHSCRIPT_CACHE", folder.path())
        .env_remove("NO_COLOR");
    let mut terminal = Terminal::start(command, 100, 40);
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
        (":run a.rhai", "there is no command `:run`"),
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

#[test]
fn what_was_tried_becomes_a_script() {
    let (mut terminal, folder) = start(&[]);
    let lines = [
        ("let m = load();", ""),
        ("m.n_lyers", "has no field `n_lyers`"),
        ("let p = \"The capital of France is\"; m.trace(p).top(1)[0].token", "Paris"),
        ("`${_}!`", "Paris!"),
        (":save first", "patchscript run first.rhai"),
        ("m.n_layers + 100", "\n108"),
        (":save first.rhai", "patchscript run first.rhai"),
        ("\"changed\"", "changed"),
    ];
    for (line, answer) in lines {
        terminal.types(&format!("{line}\r"));
        terminal.waits_for(answer);
    }
    let script = std::fs::read_to_string(folder.path().join("first.rhai")).expect("the script");
    let expected = "//! What ran at the prompt.\n\nlet m = load();\nlet p = \"The capital of France is\"; \
                    let last_1 = m.trace(p).top(1)[0].token;\nprint(last_1);\nprint(`${last_1}!`);\n\
                    print(m.n_layers + 100);\n";
    assert_eq!(script, expected);
    let run = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(folder.path())
        .args(["run", "first.rhai"])
        .output()
        .expect("the binary starts");
    assert_eq!(String::from_utf8_lossy(&run.stdout), " Paris\n Paris!\n108\n");
    // A file of somebody else stays.
    std::fs::write(folder.path().join("mine.rhai"), "let other = 6 * 7;\nother + 400").expect("written");
    for (line, answer) in [
        (":save mine.rhai", "there is a file `mine.rhai` already"),
        (":load mine.rhai", "\n442"),
        ("other + 200", "\n242"),
        (":load none.rhai", "cannot read script `none.rhai`"),
    ] {
        terminal.types(&format!("{line}\r"));
        terminal.waits_for(answer);
    }
    leave(terminal);
}

#[test]
fn the_last_input_is_edited() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .env("PATCHSCRIPT_CACHE", folder.path())
        .env("NO_COLOR", "1");
    command.env_remove("VISUAL").env("EDITOR", "sed -i s/20/41/");
    let mut terminal = Terminal::start(command, 100, 40);
    terminal.waits_for("`:quit` leaves");
    for (line, answer) in [
        ("let x = 20; x + 1", "\n21"),
        (":edit", "let x = 41; x + 1\r\n42"),
        (":time x + 100", "\n141"),
        (":limits", "--max-call-levels"),
    ] {
        terminal.waits_for("> ");
        terminal.types(&format!("{line}\r"));
        terminal.waits_for(answer);
    }
    leave(terminal);
}

#[test]
fn the_prompt_goes_on_after_a_script() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "import \"lib\" as lib;\nlet log = jsonl(\"rows.jsonl\");\nlet a = lib::f();\nfn twice(x) { 2 * x }\n\
                  log.append(#{a: a});\nlet c = a.b;\nlet d = 1;\n";
    std::fs::write(folder.path().join("a.rhai"), script).expect("written");
    std::fs::write(folder.path().join("lib.rhai"), "fn f() { 41 }").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(folder.path()).args(["run", "-i", "a.rhai"]);
    command.env("XDG_STATE_HOME", folder.path()).env("PATCHSCRIPT_CACHE", folder.path()).env("NO_COLOR", "1");
    let mut terminal = Terminal::start(command, 100, 40);
    terminal.waits_for("`int` has no field `b`");
    for (line, answer) in [
        ("twice(a) + lib::f()", "\n123"),
        ("log.append(#{a: 2}); log.rows.len", "\n2"),
        ("jsonl(\"more.jsonl\").append(#{a: 3}); 7 * 11", "\n77"),
        ("d", "unknown variable `d`"),
        (":save b", "patchscript run b.rhai"),
    ] {
        terminal.waits_for("> ");
        terminal.types(&format!("{line}\r"));
        terminal.waits_for(answer);
    }
    let (status, seen) = {
        terminal.waits_for("> ");
        terminal.types("\x04");
        terminal.ends()
    };
    assert_eq!(status.code(), Some(1), "{seen}");
    let saved = std::fs::read_to_string(folder.path().join("b.rhai")).expect("the script");
    assert!(saved.contains("log.append(#{a: a});\nprint(twice(a) + lib::f());\n"), "{saved}");
    assert!(folder.path().join("out/a/more.jsonl").is_file());
}

#[test]
fn a_line_is_painted_where_there_are_colours() {
    let (mut terminal, _folder) = start_in_color();
    terminal.types("let x = join([2], \"a\") // b");
    for part in ["\x1b[35mlet", "\x1b[34mjoin", "\x1b[36m2", "\x1b[32m\"a\"", "\x1b[2m// b"] {
        terminal.waits_for(part);
    }
    // The cursor goes back to the last bracket, which stands out with its partner.
    terminal.types(&"\x1b[D".repeat(5));
    terminal.waits_for("\x1b[1;4m(\x1b[0m");
    terminal.types("\r");
    terminal.types("load().trace(\" John\").tokens.len\r");
    terminal.waits_for("\n2");
    terminal.waits_for("\x1b[2m16 rows, ");
    leave(terminal);
    let (mut terminal, _folder) = start(&[]);
    terminal.types("let x = [2];\r");
    terminal.waits_for("[2] demo");
    let seen = leave(terminal);
    assert!(!seen.contains("\x1b[35m") && !seen.contains("\x1b[1;4m"), "{seen}");
}

#[test]
fn tab_completes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = folder.path().join("hub");
    std::fs::create_dir_all(cache.join("models--some-org--some-model/snapshots")).expect("a cache");
    std::fs::write(folder.path().join("prompts.txt"), "a\n").expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(folder.path())
        .env("XDG_STATE_HOME", folder.path())
        .env("PATCHSCRIPT_CACHE", folder.path())
        .env("NO_COLOR", "1");
    command.env("HF_HUB_CACHE", cache);
    let mut terminal = Terminal::start(command, 100, 40);
    terminal.waits_for("> ");
    terminal.types("let m = load(); import \"lens\" as lens;\r");
    terminal.waits_for("[2] demo> ");
    for (keys, seen) in [
        ("heatm\t", &["heatmap("][..]),
        ("load().tra\t", &["load().trace("]),
        ("m.trace(\"a\").to\t", &["tokens", "top()"]),
        ("m.generate(\"a\", #{max_\t", &["max_new_tokens: "]),
        ("m.trace(\"a\")[\"mlp_p\t", &["mlp_post.", "mlp_pre."]),
        ("resid_post(\t", &["0", "1", "6", "7"]),
        ("read_lines(\"pro\t", &["prompts.txt"]),
        ("load(\"some\t", &["some-org/some-model"]),
        ("lens::logit\t", &["lens::logit_lens("]),
        (":lim\t", &[":limits"]),
    ] {
        terminal.types(keys);
        for text in seen {
            terminal.waits_for(text);
        }
        terminal.types("\x15");
    }
    // What was completed runs.
    terminal.types("m.n_l\t * 100\r");
    terminal.waits_for("\n800");
    leave(terminal);
}

#[test]
fn earlier_inputs_are_found_by_a_few_letters() {
    let (mut terminal, _folder) = start(&[]);
    for (input, gave) in
        [("let alpha = 11; alpha", "\n11"), ("12", "\n12"), ("let beta = 13; beta * 10", "\n130")]
    {
        terminal.types(&format!("{input}\r"));
        terminal.waits_for(gave);
    }
    terminal.waits_for("[4] demo> ");
    terminal.types("\x12btt");
    terminal.types("\x7f\x7f\x7falph");
    terminal.waits_for("let alpha = 11; alpha");
    terminal.types("\x05 + 500\r");
    terminal.waits_for("\n511");
    leave(terminal);
}

#[test]
fn values_are_numbered_and_the_prompt_names_the_model() {
    let (mut terminal, _folder) = start(&[]);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny");
    for (input, gave) in [
        ("40 + 2", "\n42"),
        ("let x = _ + 100;", "[3] demo> "),
        ("x + _1", "\n184"),
        ("_1 + _3", "\n226"),
        ("_2", "unknown variable `_2`"),
        ("let m = load(); m.n_layers + 300", "\n308"),
        (&format!("let s = load(\"{model}\");"), "[8] tiny> "),
        ("m = load();", "[9] demo"),
    ] {
        terminal.types(&format!("{input}\r"));
        terminal.waits_for(gave);
    }
    leave(terminal);
}

/// The rows of a line as `1,024 rows (planned 1,024), …`.
#[track_caller]
fn rows_of(seen: &str) -> (u64, Option<u64>) {
    let line = seen.lines().rev().find(|line| line.contains(" rows")).unwrap_or_else(|| panic!("{seen}"));
    let number = |text: &str| {
        let start = text.rfind(|c: char| !(c.is_ascii_digit() || c == ',')).map_or(0, |at| at + 1);
        text[start..].replace(',', "").parse().unwrap_or_else(|_| panic!("`{text}` of {line}"))
    };
    match line.split_once(" rows (planned ") {
        Some((rows, rest)) => (number(rows), rest.split(')').next().map(number)),
        None => (number(line.split(" rows").next().unwrap_or_default()), None),
    }
}

#[test]
fn a_line_that_computes_says_what_it_took_and_was_planned_to() {
    let (mut terminal, _folder) = start(&[]);
    let mut rows = |input: &str| {
        terminal.types(&format!("{input}\r"));
        terminal.waits_for(" rows");
        terminal.waits_for(" s\r\n");
        rows_of(terminal.seen())
    };
    // The bos, four tokens; eight layers.
    assert_eq!(rows("let m = load(); m.trace(\" John gave Mary half\");"), (40, None));
    // Three tokens once through all layers, and for each head through the last two.
    let heads = "m.sweep(\" John gave\", [z(6).head(0).zero(), z(6).head(1).zero()], logit(5)).len";
    assert_eq!(rows(heads), (36, Some(36)));
    // A donor runs again up to the site that it lacks.
    let donor = "let mary = m.trace(\" Mary gave\"); \
                 m.sweep(\" John gave\", 0..3, 0..3, |l, p| mlp_out(l).at(p).set(mary), logit(5)).values.shape";
    let (took, planned) = rows(donor);
    assert_eq!(Some(took), planned);
    assert!(took > 24 + 9, "{took}");
    terminal.types("1 + 1\r");
    terminal.waits_for("\n2");
    terminal.waits_for("> ");
    assert_eq!(terminal.seen().matches(" MiB").count(), 5, "what computes nothing says nothing");
    terminal.types(":explain m.sweep(\" John gave\", [z(6).head(0).zero()], logit(5)).len\r");
    terminal.waits_for("sweep of 1 cells");
    terminal.waits_for("time ");
    leave(terminal);
}

#[test]
fn figures_traces_and_long_values_fit_the_window() {
    let (mut terminal, _folder) = start(&[]);
    for (input, lines) in [
        ("heatmap([[1, 2], [3, 4]])", &["0 1  2", "1 3  4"][..]),
        (
            "load().trace(\" John gave\")",
            &["Trace(3 tokens, 8 sites)", "site ", "resid_post  0 to 7  [pos, 256]"],
        ),
        ("load().tokens(\" John gave\")", &["pos  token", "\" John\"", "\" gave\""]),
        ("load().config", &["hidden_size"]),
        (
            "let s = \"\"; for i in 0..100 { s += \"line \" + i + \"\\n\"; } s",
            &["line 0", "line 35", "… 64 more lines"],
        ),
        ("print(_)", &["line 99"]),
    ] {
        terminal.types(&format!("{input}\r"));
        for line in lines {
            terminal.waits_for(line);
        }
    }
    leave(terminal);
}
