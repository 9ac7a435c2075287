//! The two streams of a process: what was asked for goes to standard output, what is good to know to standard error.

use std::fmt::Display;
use std::io::{self, Write};

/// A line that was asked for.
///
/// # Errors
/// Nobody reads standard output, or it cannot hold the line.
pub fn print(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A line that is good to know: nothing is lost where standard error is closed.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
