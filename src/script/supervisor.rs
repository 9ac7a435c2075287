//! The thread that waits for a script: it counts the time, and ends the process in order where the script can no more.

use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::diagnostic::Diagnostic;
use super::error::{Error, Failure};
use super::host::Host;
use super::output;
use super::record;
use super::terminal;
use crate::memory;

/// Between two looks.
const TICK: Duration = Duration::from_millis(10);

/// How long a native call may go on after Ctrl-C before the process ends without it.
const PATIENCE: Duration = Duration::from_millis(120);

/// How long after the time limit: there the place in the script is worth waiting for.
const LONG_PATIENCE: Duration = Duration::from_secs(2);

impl Host {
    /// Waits for what the script's thread gives.
    pub(super) fn supervise<T>(&self, results: &Receiver<T>) -> Option<T> {
        let context = self.context();
        let (started, mut stopped) = (Instant::now(), None);
        loop {
            match results.recv_timeout(TICK) {
                Ok(result) => return Some(result),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(full) = memory::limit::exhausted() {
                self.give_up(self.at_last_call(full.into()));
            }
            if context.options.limits.time.is_some_and(|limit| started.elapsed() > limit) && stopped.is_none()
            {
                context.time_out();
            }
            if !context.interrupted() {
                continue;
            }
            let since = *stopped.get_or_insert_with(Instant::now);
            let late = context.timed_out();
            let patience = if late.is_some() { LONG_PATIENCE } else { PATIENCE };
            if context.options.may_exit && since.elapsed() > patience {
                self.give_up(late.map_or(Error::Interrupted, |failure| self.at_last_call(failure)));
            }
        }
    }

    /// A failure of the native function that the script is in.
    fn at_last_call(&self, failure: Failure) -> Error {
        let Failure { message, help } = failure;
        let place = self.context().last_call();
        Error::Failed(Box::new(Diagnostic { place, ..Diagnostic::new(message, help) }))
    }

    /// Ends the process with an error: the script's thread is where nothing reaches it.
    fn give_up(&self, error: Error) -> ! {
        let stderr = std::io::stderr();
        let text = match output::for_programs() {
            true => format!("{}\n", error.json(&self.context().sources)),
            false => self.render(&error, terminal::has_color(&stderr)),
        };
        // The thread that is left behind may hold the lock of standard error.
        write_past_lock(&text);
        let code = i32::from(error.exit_code());
        // And any other, so that the record is tried apart and not waited for.
        let (context, (done, written)) = (self.context().clone(), mpsc::channel());
        let record = move || {
            let _ = record::write(&context, &Err(error));
            let _ = done.send(());
        };
        if memory::limit::exhausted().is_none() && thread::Builder::new().spawn(record).is_ok() {
            let _ = written.recv_timeout(PATIENCE);
        }
        std::process::exit(code)
    }
}

#[cfg(unix)]
fn write_past_lock(text: &str) {
    use std::os::fd::AsFd;
    if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
        // Nothing is lost when standard error is closed.
        let _ = std::fs::File::from(stderr).write_all(text.as_bytes());
    }
}

#[cfg(not(unix))]
fn write_past_lock(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
