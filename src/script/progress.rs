//! A progress bar that hides itself.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error. It is drawn only when standard error is a terminal and is cleared when
/// dropped, so results are never mixed with it.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(label: &str, total: u64, unit: &str) -> Self {
        let bar = ProgressBar::new(total).with_prefix(label.to_string()).with_message(unit.to_string());
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} {msg}, {eta} left");
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Counts `steps` more as done.
    pub fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Sets how many are done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// The same, of how many of what.
    pub fn show(&self, done: u64, total: u64, unit: &str) {
        self.0.set_length(total);
        self.0.set_message(unit.to_string());
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
