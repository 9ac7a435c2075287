//! The REPL's terminal; what an input means is in [`crate::script::session`].

use std::io::{BufRead, ErrorKind, IsTerminal, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::script::entry::Entry;
use crate::script::session::Reply;
use crate::script::{Error, Host, HostOptions, Session, interrupt, output, source};

use super::args::Settings;
use super::complete::Assistant;
use super::files::{create, replace};
use super::{advise, fail, refuse, report};

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

/// The same with a session that has begun, by a script.
pub fn go_on(session: &mut Session) -> u8 {
    if stdin().is_terminal() { talk(session) } else { listen(session) }
}

/// Runs these inputs one after the other, up to the first that fails; gives the exit code.
pub fn eval(settings: Settings, inputs: &[String]) -> u8 {
    let host = Host::new(HostOptions { may_exit: true, ..settings.options() });
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        output::tell(format_args!("warning: Ctrl-C will not stop a run cleanly: {error}"));
    }
    let mut session = Session::new(host);
    for input in inputs {
        match step(&mut session, input) {
            Step::Next => {}
            Step::Failed(code) => return code,
            Step::Leave => break,
        }
    }
    0
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
    answer(session, reply)
}

fn answer(session: &mut Session, reply: Result<Reply, Error>) -> Step {
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
        Ok(Reply::Save(path)) => save(session, &path),
        Ok(Reply::Load(path)) => {
            let reply = source::text(&path).and_then(|text| session.load(&path.display().to_string(), &text));
            answer(session, reply)
        }
        Ok(Reply::Edit) => edit(session),
        Err(Error::OutputClosed) => Step::Leave,
        Err(error) => Step::Failed(report(session.host(), &error)),
    }
}

/// Writes what ran to a new file, or to one with the beginning of it.
fn save(session: &Session, path: &Path) -> Step {
    let script = match session.script() {
        Ok(script) => script,
        Err(error) => return Step::Failed(report(session.host(), &error)),
    };
    let text = format!("{SAVED}{script}");
    let before = fs::read_to_string(path).ok();
    let write = if before.is_some_and(|before| text.starts_with(&before)) { replace } else { create };
    match write(path, text.as_bytes()) {
        Ok(()) => {
            say(&format!("run it with `patchscript run {}`", path.display()));
            Step::Next
        }
        Err(error) => Step::Failed(refuse(&error)),
    }
}

/// The head of a script that was saved.
const SAVED: &str = "//! What ran at the prompt.\n\n";

/// Lets the last input be changed in the editor of the environment, and runs what comes back.
fn edit(session: &mut Session) -> Step {
    match edited(session.last_input()) {
        Ok(text) if text.trim().is_empty() => Step::Next,
        Ok(text) => {
            say(text.trim_end());
            step(session, &text)
        }
        Err(reason) => {
            let help = "set VISUAL or EDITOR to an editor that waits until the file is closed".to_string();
            Step::Failed(fail(format!("nothing was edited: {reason}"), Some(help)))
        }
    }
}

fn edited(text: &str) -> std::io::Result<String> {
    let mut file = tempfile::Builder::new().prefix("patchscript-").suffix(".rhai").tempfile()?;
    file.write_all(text.as_bytes())?;
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var(name).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // By a shell, since an editor may be named with its options.
    let status =
        Command::new("sh").args(["-c", &format!("{editor} \"$1\""), &editor]).arg(file.path()).status()?;
    if !status.success() {
        return Err(std::io::Error::other(format!("`{editor}` ended with {status}")));
    }
    fs::read_to_string(file.path())
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
