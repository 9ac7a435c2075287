//! The command line. Read [`args`] first: it says what can be typed. Then one file runs each subcommand: [`run`]
//! ([`watch`]: again and again), [`verify`], [`show`], [`check`], [`test`](mod@test), [`check_model`], [`models`],
//! [`cache`], [`new`] (from [`shipped`]), [`docs`] (the reference, definitions, completions and the manual), and
//! [`repl`] where there is none. [`files`]
//! writes what a person asks for.
//!
//! Exit codes: 0 done, 1 the script failed, 2 it could not be run (usage, syntax, parameters),
//! 130 interrupted.

mod args;
mod cache;
mod check;
mod check_model;
mod docs;
mod files;
mod models;
mod new;
mod repl;
mod run;
mod shipped;
mod show;
mod test;
mod verify;
mod watch;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use serde_json::Value;

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
    if let Err(error) = cache::place() {
        refuse(&error);
        return 2;
    }
    if args.command.as_ref().is_some_and(args::Command::is_for_programs) {
        output::tell_programs();
    }
    match args.command {
        _ if args.version => put(&args::version(args.verbose)),
        Some(args::Command::Run(run)) => run::run(run),
        Some(args::Command::Check(check)) => check::run(&check),
        Some(args::Command::Verify(given)) => verify::run(&given),
        Some(args::Command::Show(given)) => show::run(&given),
        Some(args::Command::New(given)) => new::run(&given),
        Some(args::Command::Test(given)) => test::run(given),
        Some(args::Command::Doc(given)) => docs::doc(&given),
        Some(args::Command::Definitions(given)) => docs::definitions(&given),
        Some(args::Command::Completions { shell }) => docs::completions(shell),
        Some(args::Command::Man) => docs::man(),
        Some(args::Command::Repl(settings)) => repl::run(settings),
        Some(args::Command::Models(models)) => models::run(&models),
        Some(args::Command::Cache(given)) => cache::run(&given.action),
        Some(args::Command::CheckModel(given)) => check_model::run(&given),
        None if !args.eval.is_empty() => repl::eval(args.settings, &args.eval),
        None => repl::run(args.settings),
    }
}

/// Prints an error to standard error and gives its exit code.
fn report(host: &Host, error: &Error) -> u8 {
    if !matches!(error, Error::OutputClosed) {
        let color = terminal::has_color(&stderr());
        output::tell_as(|| host.render(error, color), || error.json(&host.context().sources));
    }
    error.exit_code()
}

/// Prints what a script most likely does not mean to standard error.
fn advise(host: &Host, warnings: &[Diagnostic]) {
    let color = terminal::has_color(&stderr());
    for warning in warnings {
        output::tell_as(|| host.draw(warning, color), || warning.json(&host.context().sources));
    }
}

/// The same as [`report`] for an error that no script has a part in.
fn fail(message: impl Into<String>, help: Option<String>) -> u8 {
    let (error, nowhere) = (Diagnostic::new(message, help), Sources::default());
    output::tell_as(|| error.render(&nowhere, terminal::has_color(&stderr())), || error.json(&nowhere));
    1
}

/// The same for an error of a layer below.
fn refuse(error: &dyn Help) -> u8 {
    fail(error.to_string(), error.help())
}

/// A value for programs on standard output; gives the exit code.
fn put_json(value: &Value) -> u8 {
    put(&format!("{value:#}\n"))
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
