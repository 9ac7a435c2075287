//! The REPL's terminal; what an input means is in [`crate::script::session`].
//!
//! This file takes inputs one after the other and prints what they give; they come from [`talk`], a conversation with a
//! person, or from a pipe. A person's editor is helped by [`assistant`], which completes and hints, and which shows a
//! line by [`highlight`]; [`history`] finds what was typed before. Commands that touch files are in [`commands`].

mod assistant;
mod commands;
mod highlight;
mod history;
mod talk;

use std::io::{BufRead, ErrorKind, IsTerminal, stdin};

use crate::script::entry::Entry;
use crate::script::session::Reply;
use crate::script::{Error, Host, HostOptions, Session, interrupt, output, source};

use super::args::Settings;
use super::{advise, report};
use commands::{edit, save};
use talk::talk;

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
