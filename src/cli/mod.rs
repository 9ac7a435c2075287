//! The command line: [`args`] describes it, one file a subcommand runs it.
//!
//! Exit codes: 0 done, 1 the script failed, 2 it could not be run (usage, syntax, parameters),
//! 130 interrupted.

mod args;
mod check;
mod complete;
mod repl;
mod run;

use std::io::{Write, stderr};
use std::process::ExitCode;

use crate::script::{Error, Host, terminal};

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let args = args::parse();
    let code = match args.command {
        Some(args::Command::Run(run)) => run::run(run),
        Some(args::Command::Check(check)) => check::run(&check),
        Some(args::Command::Repl(settings)) => repl::run(settings),
        None => repl::run(args.settings),
    };
    ExitCode::from(code)
}

/// Prints an error to standard error and gives its exit code.
fn report(host: &Host, error: &Error) -> u8 {
    if !matches!(error, Error::OutputClosed) {
        warn(host.render(error, terminal::has_color(&stderr())).trim_end());
    }
    error.exit_code()
}

/// A line on standard error; nothing is lost if that is closed.
fn warn(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}
