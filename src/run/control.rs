//! How a run is watched and stopped from outside.

use crate::model::{ModelError, Result};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Called with (done, total, unit); shared by all steps of one piece of work.
pub type ProgressFn = Arc<dyn Fn(usize, usize, &str) + Send + Sync>;

/// Stop flag, progress and limits of a run.
#[derive(Clone, Default)]
pub struct Control {
    pub interrupted: Arc<AtomicBool>,
    pub progress: Option<ProgressFn>,
    /// Bytes that one pass of a sweep may hold beyond weights and base run; `None`: half of what is free.
    pub memory: Option<usize>,
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

    pub fn report(&self, done: usize, total: usize, unit: &str) {
        if let Some(progress) = &self.progress {
            progress(done, total, unit);
        }
    }
}
