//! The REPL's terminal; what an input means is in [`crate::script::session`].

use std::io::{BufRead, ErrorKind, IsTerminal, stdin};
use std::path::PathBuf;
use std::{env, fs};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::script::entry::Entry;
use crate::script::session::Reply;
use crate::script::{Error, Host, Session, interrupt, output};

use super::args::Settings;
use super::complete::Assistant;
use super::{advise, report};

/// Talks until the input ends; gives the exit code.
pub fn run(settings: Settings) -> u8 {
    let host = Host::new(settings.options());
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        output::tell(format_args!("warning: Ctrl-C will not stop a run cleanly: {error}"));
    }
    match stdin().is_terminal() {
        true => talk(&mut Session::with_person(host)),
        false => listen(&mut Session::new(host)),
    }
}

/// Reads lines from a pipe. The code is that of the first input that failed.
fn listen(session: &mut Session) -> u8 {
    let mut code = 0;
    let mut entry = Entry::default();
    let mut lines = stdin().lock().split(b'\n');
    loop {
        let input = match lines.next() {
            Some(Ok(line)) => match entry.add(String::from_utf8_lossy(&line).trim_end_matches('\r')) {
                Some(input) => input,
                None => continue,
            },
            _ if entry.is_empty() => return code,
            _ => entry.take(),
        };
        match step(session, &input) {
            Step::Next => {}
            Step::Failed(failed) => code = if code == 0 { failed } else { code },
            Step::Leave => return code,
        }
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
        Ok(Reply::Text(text)) => match output::print(text) {
            Ok(()) => Step::Next,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Step::Leave,
            Err(error) => Step::Failed(report(session.host(), &Error::Output(error.to_string()))),
        },
        Err(Error::OutputClosed) => Step::Leave,
        Err(error) => Step::Failed(report(session.host(), &error)),
    }
}

fn talk(session: &mut Session) -> u8 {
    let config = Config::builder().bracketed_paste(true).completion_type(CompletionType::List).build();
    let mut editor = match Editor::<Assistant, FileHistory>::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            output::tell(format_args!("error: cannot use this terminal: {error}"));
            return 1;
        }
    };
    editor.set_helper(Some(Assistant::new(session)));
    let history = history_file();
    if let Some(history) = &history {
        // There is none at the first start.
        let _ = editor.load_history(history);
    }
    say(&format!("patchscript {}: `help` lists what there is, `:quit` leaves", env!("CARGO_PKG_VERSION")));
    let mut entry = Entry::default();
    loop {
        let prompt = if entry.is_empty() { "> " } else { ". " };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                entry = Entry::default();
                continue;
            }
            // The end of the input, or a terminal that is gone.
            Err(_) => break,
        };
        let Some(input) = entry.add(&line) else { continue };
        // A whole entry comes back at once. A history that takes no more is no reason to stop.
        let _ = editor.add_history_entry(input.trim_end());
        if matches!(step(session, &input), Step::Leave) {
            break;
        }
        if let Some(assistant) = editor.helper_mut() {
            assistant.learn(session);
        }
    }
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        output::tell(format_args!("warning: the history was not saved to `{}`: {error}", history.display()));
    }
    0
}

/// A line on standard output; nothing is lost if that is closed.
fn say(text: &str) {
    let _ = output::print(text);
}

/// `history` in the XDG state folder, which is created.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| env::home_dir().map(|home| home.join(".local/state")))?;
    let folder = state.join("patchscript");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
