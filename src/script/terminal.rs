//! What the user's terminal can show.

use std::io::IsTerminal;

/// Characters a line where that cannot be known, as in a file.
const USUAL_WIDTH: usize = 80;

/// Whether colours may be written to `stream`: it is a terminal, which is not dumb, and `NO_COLOR` is empty or unset
/// (<https://no-color.org>).
pub fn has_color(stream: &impl IsTerminal) -> bool {
    let unset = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    stream.is_terminal() && unset && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Lines of the terminal that standard output is.
pub fn height() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(height, _)| usize::from(height))
}

/// Characters in a line of standard output.
pub fn width() -> usize {
    console::Term::stdout().size_checked().map_or(USUAL_WIDTH, |(_, width)| usize::from(width))
}
