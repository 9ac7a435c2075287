//! How a run is watched and stopped from outside.

use crate::cache::Cache;
use crate::model::{ModelError, Point, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Called with (done, total, unit); shared by all steps of one piece of work.
pub type ProgressFn = Arc<dyn Fn(usize, usize, &str) + Send + Sync>;

/// Called with what a user should know of a run that goes well.
pub type NoteFn = Arc<dyn Fn(&str) + Send + Sync>;

/// Stop flag, progress, notes and limits of a run.
#[derive(Clone, Default)]
pub struct Control {
    pub interrupted: Arc<AtomicBool>,
    pub progress: Option<ProgressFn>,
    pub note: Option<NoteFn>,
    /// Bytes that one pass may hold beyond weights, a sweep's base run and what the results keep; `None`: half of what
    /// is free.
    pub memory: Option<usize>,
    /// Where results are found that an earlier run computed, and kept for later ones.
    pub cache: Option<Arc<Cache>>,
    /// Rows that have passed a layer.
    pub rows: Arc<AtomicUsize>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Control {
    /// # Errors
    /// [`ModelError::Interrupted`] once the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) { Err(ModelError::Interrupted) } else { Ok(()) }
    }

    /// Says that points were read which no run had recorded.
    pub fn note_unrecorded(&self, points: impl IntoIterator<Item = Point>) {
        let Some(note) = &self.note else { return };
        for point in points {
            let name = point.name();
            let sites = if point.in_layer() { format!("{name}.*") } else { name.into() };
            note(&format!(
                "`{name}` was not recorded: the run is repeated to read it; `m.trace(prompt, \"{sites}\")` records it at once"
            ));
        }
    }

    /// So many rows more have passed a layer.
    pub fn passed(&self, rows: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    pub fn report(&self, done: usize, total: usize, unit: &str) {
        if let Some(progress) = &self.progress {
            progress(done, total, unit);
        }
    }
}
