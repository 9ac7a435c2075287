//! How long a person waits at the prompt: for the prompt itself, for a completion, for Ctrl-C to act. Each figure is the
//! median of several, one after the other; a busy machine gets more than one round.

use std::process::Command;
use std::time::{Duration, Instant};

use super::pty::Terminal;

/// Measurements of a round.
const TIMES: usize = 7;
/// Rounds before it is too slow.
const ROUNDS: usize = 4;

/// Holds the best median of all rounds to a limit.
#[track_caller]
fn within(limit: Duration, what: &str, mut measure: impl FnMut() -> Duration) {
    let mut medians = Vec::new();
    for _ in 0..ROUNDS {
        let mut times: Vec<_> = (0..TIMES).map(|_| measure()).collect();
        times.sort();
        println!("{what}: {times:?}");
        medians.push(times[TIMES / 2]);
        if times[TIMES / 2] < limit {
            return;
        }
    }
    panic!("{what} takes {medians:?} instead of {limit:?}");
}

fn terminal(folder: &std::path::Path) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(folder)
        .env("XDG_STATE_HOME", folder)
        .env("PATCHSCRIPT_CACHE", folder)
        .env_remove("NO_COLOR");
    Terminal::start(command, 100, 40)
}

#[test]
fn a_person_does_not_wait() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    within(Duration::from_millis(100), "the prompt", || {
        let start = Instant::now();
        let mut terminal = terminal(folder.path());
        terminal.waits_for("> ");
        let took = start.elapsed();
        terminal.types("\x04");
        assert!(terminal.ends().0.success());
        took
    });

    let mut terminal = terminal(folder.path());
    terminal.waits_for("> ");
    terminal.types("let m = load(); let t = m.trace(\" John gave\"); 6 * 111\r");
    terminal.waits_for("\n666");
    for (line, seen) in [
        ("m.trace(\"a\").led", "ledger"),
        ("heatm", "heatmap"),
        ("m.generate(\"a\", #{max_", "max_new_tokens"),
        ("t[\"mlp_o", "mlp_out"),
        ("l", "logit_diff()"),
    ] {
        within(Duration::from_millis(20), &format!("a completion of `{line}`"), || {
            terminal.types(line);
            // What was typed is on the screen before it is completed.
            std::thread::sleep(Duration::from_millis(60));
            terminal.skips();
            let start = Instant::now();
            terminal.types("\t");
            terminal.waits_for(seen);
            let took = start.elapsed();
            terminal.types("\x15");
            terminal.waits_for("> ");
            took
        });
    }

    let sweep = "let p = \"\"; for i in 0..200 { p += \" John\"; } \
                 m.sweep(p, 0..8, 0..200, |l, i| resid_pre(l).at(i).zero(), logit(5)).values.shape\r";
    within(Duration::from_millis(200), "Ctrl-C", || {
        terminal.types(sweep);
        terminal.waits_for("/1600 cells");
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        terminal.types("\x03");
        terminal.waits_for("interrupted");
        let took = start.elapsed();
        terminal.waits_for("> ");
        took
    });
    terminal.types("\x04");
    assert!(terminal.ends().0.success());
}
