//! What an input of the prompt computed, beside what its sweeps were planned to take: for the person who watches. No
//! script may learn of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount};

use crate::memory;
use crate::run::Explanation;

/// Of the input that runs now.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whether anybody wants to know.
    watched: AtomicBool,
    /// Rows that have passed a layer.
    rows: Arc<AtomicUsize>,
    counted: Mutex<Counted>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    /// The most bytes held at once.
    bytes: usize,
    /// Sums of all sweeps, but for bytes the most.
    swept: Cost,
    planned: Cost,
    /// Whether all plans know their seconds: not all are worth the measurement that it takes.
    timed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    rows: usize,
    bytes: usize,
    seconds: f64,
}

/// What an input took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    rows: usize,
    wall: Duration,
    counted: Counted,
}

impl Tally {
    pub fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    pub fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Where runs count their rows.
    pub fn rows(&self) -> Arc<AtomicUsize> {
        self.rows.clone()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An input begins.
    pub fn begin(&self) {
        self.rows.store(0, Ordering::Relaxed);
        *self.counted() = Counted { timed: true, ..Counted::default() };
    }

    /// A sweep will run, in so many seconds if that is known.
    pub fn plan(&self, plan: &Explanation, seconds: Option<f64>) {
        let mut counted = self.counted();
        counted.planned.add(Cost {
            rows: plan.passing,
            bytes: plan.peak_bytes,
            seconds: seconds.unwrap_or(0.0),
        });
        counted.timed &= seconds.is_some();
    }

    /// Runs a sweep.
    pub fn sweep<T>(&self, run: impl FnOnce() -> T) -> T {
        if !self.is_watched() {
            return run();
        }
        // What was held before is no part of the plan.
        let earlier = memory::limit::most();
        memory::limit::measure();
        let (start, rows) = (Instant::now(), self.rows.load(Ordering::Relaxed));
        let result = run();
        let rows = self.rows.load(Ordering::Relaxed) - rows;
        let bytes = memory::limit::most();
        let mut counted = self.counted();
        counted.swept.add(Cost { rows, bytes, seconds: start.elapsed().as_secs_f64() });
        counted.bytes = counted.bytes.max(earlier).max(bytes);
        result
    }

    /// What the input took; nothing where no model computed, or nobody wants to know.
    pub fn took(&self, wall: Duration) -> Option<Took> {
        let rows = self.rows.load(Ordering::Relaxed);
        let mut counted = *self.counted();
        counted.bytes = counted.bytes.max(memory::limit::most());
        // A sweep whose result was kept by an earlier run computes nothing, and says so.
        let ran = rows > 0 || counted.planned.rows > 0;
        (self.is_watched() && ran).then_some(Took { rows, wall, counted })
    }
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.max(other.bytes);
        self.seconds += other.seconds;
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = |rows: usize| HumanCount(rows as u64).to_string();
        // Less is not measured.
        let bytes = |bytes: usize| match bytes >> 20 {
            0 => "under 1 MiB".to_string(),
            _ => HumanBytes(bytes as u64).to_string(),
        };
        let seconds = |seconds: f64| format!("{seconds:.2} s");
        let Counted { swept, planned, timed, .. } = self.counted;
        let (all, wall) = (self.rows, self.wall.as_secs_f64());
        if planned.rows == 0 {
            return write!(f, "{} rows, {}, {}", rows(all), bytes(self.counted.bytes), seconds(wall));
        }
        // A line that does more than to sweep says that apart.
        if all > swept.rows {
            let rest = rows(all - swept.rows);
            write!(f, "{rest} rows and in sweeps ")?;
        }
        let time = if timed { format!(" (planned {})", seconds(planned.seconds)) } else { String::new() };
        write!(
            f,
            "{} rows (planned {}), {} (planned {}), {}{time}",
            rows(swept.rows),
            rows(planned.rows),
            bytes(swept.bytes),
            bytes(planned.bytes),
            seconds(if timed { swept.seconds } else { wall }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_planned_stands_beside_what_was_taken() {
        let cost = |rows, mib: usize, seconds| Cost { rows, bytes: mib << 20, seconds };
        let mut counted = Counted { bytes: 7 << 20, timed: true, ..Counted::default() };
        let told = |counted| Took { rows: 12345, wall: Duration::from_millis(1234), counted }.to_string();
        assert_eq!(told(counted), "12,345 rows, 7.00 MiB, 1.23 s");
        counted.swept = cost(12345, 0, 1.2);
        counted.planned = cost(12345, 5, 1.0);
        let line = "12,345 rows (planned 12,345), under 1 MiB (planned 5.00 MiB), 1.20 s (planned 1.00 s)";
        assert_eq!(told(counted), line);
        counted.swept.rows = 12340;
        counted.timed = false;
        let line =
            "5 rows and in sweeps 12,340 rows (planned 12,345), under 1 MiB (planned 5.00 MiB), 1.23 s";
        assert_eq!(told(counted), line);
    }

    #[test]
    fn nobody_is_told_unasked() {
        let tally = Tally::default();
        let compute = || tally.rows().fetch_add(3, Ordering::Relaxed);
        tally.begin();
        tally.sweep(compute);
        assert!(tally.took(Duration::ZERO).is_none());
        tally.watch();
        tally.sweep(compute);
        let took = tally.took(Duration::ZERO).unwrap();
        assert_eq!((took.rows, took.counted.swept.rows), (6, 3));
        tally.begin();
        assert!(tally.took(Duration::ZERO).is_none());
    }
}
