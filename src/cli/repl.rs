//! The REPL's terminal; what an input means is in [`crate::script::session`].

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;
use std::{env, fs};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::script::session::{Reply, is_complete};
use crate::script::{Error, Host, Session, interrupt};

use super::args::Settings;
use super::complete::Assistant;
use super::{advise, report, warn};

/// Talks until the input ends; gives the exit code.
pub fn run(settings: Settings) -> u8 {
    let host = Host::new(settings.options());
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        warn(&format!("warning: Ctrl-C will not stop a run cleanly: {error}"));
    }
    let mut session = Session::new(host);
    match stdin().is_terminal() {
        true => talk(&mut session),
        false => listen(&mut session),
    }
}

/// Reads lines from a pipe. The code is that of the first input that failed.
fn listen(session: &mut Session) -> u8 {
    let mut code = 0;
    let mut input = String::new();
    for line in stdin().lock().lines().map_while(Result::ok) {
        input += &line;
        input.push('\n');
        // An empty line ends an input even if it is not whole.
        if !line.trim().is_empty() && !is_complete(&input) {
            continue;
        }
        match step(session, &std::mem::take(&mut input)) {
            Step::Next => {}
            Step::Failed(failed) => code = if code == 0 { failed } else { code },
            Step::Leave => return code,
        }
    }
    match step(session, &input) {
        Step::Failed(failed) if code == 0 => failed,
        _ => code,
    }
}

enum Step {
    Next,
    Failed(u8),
    Leave,
}

/// One input: print what it gave.
fn step(session: &mut Session, input: &str) -> Step {
    let reply = session.submit(input);
    let warnings = session.take_warnings();
    advise(session.host(), &warnings);
    match reply {
        Ok(Reply::Quit) => Step::Leave,
        Ok(Reply::Nothing) => Step::Next,
        Ok(Reply::Text(text)) => match writeln!(stdout().lock(), "{text}") {
            Ok(()) => Step::Next,
            Err(_) => Step::Leave,
        },
        Err(Error::OutputClosed) => Step::Leave,
        Err(error) => Step::Failed(report(session.host(), &error)),
    }
}

fn talk(session: &mut Session) -> u8 {
    let config = Config::builder()
        .auto_add_history(true)
        .bracketed_paste(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = match Editor::<Assistant, FileHistory>::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            warn(&format!("error: cannot use this terminal: {error}"));
            return 1;
        }
    };
    editor.set_helper(Some(Assistant::new(session)));
    let history = history_file();
    if let Some(history) = &history {
        // There is none at the first start.
        let _ = editor.load_history(history);
    }
    println!("patchscript {}: `help` lists what there is, `:quit` leaves", env!("CARGO_PKG_VERSION"));
    loop {
        match editor.readline("> ") {
            Ok(input) => {
                if matches!(step(session, &input), Step::Leave) {
                    break;
                }
                if let Some(assistant) = editor.helper_mut() {
                    assistant.learn(session);
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => {
                warn(&format!("error: cannot read from the terminal: {error}"));
                return 1;
            }
        }
    }
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        warn(&format!("warning: the history was not saved to `{}`: {error}", history.display()));
    }
    0
}

/// `history` in the XDG state folder, which is created.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| env::home_dir().map(|home| home.join(".local/state")))?;
    let folder = state.join("patchscript");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
