//! The command line. Read [`args`] first: it says what can be typed. Then one file runs each subcommand: [`run`],
//! [`check`], [`check_model`], [`models`], and [`repl`] (with [`complete`]) where there is none.
//!
//! Exit codes: 0 done, 1 the script failed, 2 it could not be run (usage, syntax, parameters),
//! 130 interrupted.

mod args;
mod check;
mod check_model;
mod complete;
mod models;
mod repl;
mod run;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use crate::help::Help;
use crate::model::cpu::isa;
use crate::script::source::Sources;
use crate::script::{Diagnostic, Error, Host, output, panics, terminal};

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    panics::install();
    let code = panics::caught(run_command).unwrap_or_else(|fault| fail(fault.message, fault.help));
    ExitCode::from(code)
}

fn run_command() -> u8 {
    let args = args::parse();
    if let Err(error) = isa::chosen() {
        refuse(&error);
        return 2;
    }
    match args.command {
        _ if args.version => put(&args::version(args.verbose)),
        Some(args::Command::Run(run)) => run::run(run),
        Some(args::Command::Check(check)) => check::run(&check),
        Some(args::Command::Repl(settings)) => repl::run(settings),
        Some(args::Command::Models(models)) => models::run(&models),
        Some(args::Command::CheckModel(given)) => check_model::run(&given),
        None => repl::run(args.settings),
    }
}

/// Prints an error to standard error and gives its exit code.
fn report(host: &Host, error: &Error) -> u8 {
    if !matches!(error, Error::OutputClosed) {
        output::tell(host.render(error, terminal::has_color(&stderr())).trim_end());
    }
    error.exit_code()
}

/// Prints what a script most likely does not mean to standard error.
fn advise(host: &Host, warnings: &[Diagnostic]) {
    for warning in warnings {
        output::tell(host.draw(warning, terminal::has_color(&stderr())).trim_end());
    }
}

/// The same as [`report`] for an error that no script has a part in.
fn fail(message: impl Into<String>, help: Option<String>) -> u8 {
    output::tell(
        Diagnostic::new(message, help).render(&Sources::default(), terminal::has_color(&stderr())).trim_end(),
    );
    1
}

/// The same for an error of a layer below.
fn refuse(error: &dyn Help) -> u8 {
    fail(error.to_string(), error.help())
}

/// Text on standard output; whoever closed that has seen enough. Gives the exit code.
fn put(text: &str) -> u8 {
    let mut to = stdout().lock();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => refuse(&Error::Output(error.to_string())),
        _ => 0,
    }
}

/// Rows in columns as wide as they need.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}
