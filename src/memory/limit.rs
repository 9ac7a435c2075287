//! How much a script may hold, and what happens beyond that.
//!
//! Three lines of defence. Native functions whose size comes from an argument [`reserve`] it before they begin. The
//! interpreter looks at [`over`] on every step, so that a script that grows stops where it stands. What slips through
//! both, an allocation inside a library, meets the allocator's own look a little above the limit: it cannot refuse
//! without ending the process, so that it holds its thread for good and leaves it to the thread that waits for the
//! script to say so and to end the process in order.

use crate::help::Help;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use indicatif::HumanBytes;

use super::{count, machine};

/// The script's limit; none while no script was started.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// What was held when the first script started.
static BASE: AtomicUsize = AtomicUsize::new(0);
/// What models hold, which is not the script's.
static WEIGHTS: AtomicUsize = AtomicUsize::new(0);
/// Models that are being loaded now.
static LOADING: AtomicUsize = AtomicUsize::new(0);
/// Is a script running?
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Bytes in all at which the script is over its limit.
static SOFT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Bytes in all that no allocation may pass.
static HARD: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Was [`SOFT`] passed since the last look of the script?
static PASSED: AtomicBool = AtomicBool::new(false);
/// What was held when the last measurement started, with the models that were loaded since.
static START: AtomicUsize = AtomicUsize::new(0);
/// The most that was held since then.
static MOST: AtomicUsize = AtomicUsize::new(0);
/// The allocation that was one too many; 0 if there was none.
static EXHAUSTED: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are kept for saying that there are no more.
static SPARE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What does not fit beside what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct Full {
    /// Bytes that were asked for.
    pub wanted: usize,
    /// Bytes that the script holds.
    pub used: usize,
    pub limit: usize,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [wanted, used, limit] =
            [self.wanted, self.used, self.limit].map(|bytes| HumanBytes(bytes as u64));
        match self.wanted {
            0 => write!(f, "the script holds {used}, and may hold {limit}"),
            _ => write!(f, "{wanted} do not fit: {used} of {limit} are in use"),
        }
    }
}

impl Help for Full {
    fn help(&self) -> Option<String> {
        let all = machine::total();
        let needed = self.used.saturating_add(self.wanted);
        if needed > all {
            return Some(format!("ask for less: there are {} in all", HumanBytes(all as u64)));
        }
        let unit = if needed < 1 << 30 { (1 << 20, "MiB") } else { (1 << 30, "GiB") };
        Some(format!("keep less at once, or allow more: `--max-memory {}{}`", (needed / unit.0 + 1), unit.1))
    }
}

/// What a script may hold where nobody said so: three quarters of what there is, whatever is free just now, so that a
/// script ends in the same way every time.
pub fn default() -> usize {
    machine::total() / 4 * 3
}

/// Holds a script to `limit` bytes until dropped.
#[must_use]
pub struct Watched(());

/// Starts to hold a script to `limit` bytes beyond what the process held before the first script.
pub fn watch(limit: usize) -> Watched {
    if LIMIT.swap(limit, Relaxed) == usize::MAX {
        // Touched, so that the system gives it now.
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = vec![1; 1 << 20];
        BASE.store(count::in_use(), Relaxed);
    }
    measure();
    RUNNING.store(true, Relaxed);
    set();
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        RUNNING.store(false, Relaxed);
        set();
    }
}

/// Works out [`SOFT`] and [`HARD`] from what they stand on.
fn set() {
    let (mut soft, mut hard) = (usize::MAX, usize::MAX);
    if RUNNING.load(Relaxed) {
        let all = machine::total();
        hard = all - all / 16;
        if LOADING.load(Relaxed) == 0 {
            let limit = LIMIT.load(Relaxed);
            let others = BASE.load(Relaxed).saturating_add(WEIGHTS.load(Relaxed));
            soft = limit.saturating_add(others);
            // Room for a step that is about to be caught, and for the cure.
            hard = hard.min(soft.saturating_add((limit / 8).max(16 << 20)));
        }
    }
    SOFT.store(soft, Relaxed);
    HARD.store(hard, Relaxed);
}

/// Bytes that the script holds: all but models and what was there before it.
pub fn used() -> usize {
    let others = BASE.load(Relaxed).saturating_add(WEIGHTS.load(Relaxed));
    count::in_use().saturating_sub(others)
}

/// Starts to look for the most that is held.
pub fn measure() {
    let held = count::in_use();
    START.store(held, Relaxed);
    MOST.store(held, Relaxed);
}

/// The most bytes that were held since then, beyond what was there before and models that were loaded. Up to a few
/// mebibytes may be missing.
pub fn most() -> usize {
    MOST.load(Relaxed).saturating_sub(START.load(Relaxed))
}

/// Bytes that the script may still take.
pub fn left() -> usize {
    LIMIT.load(Relaxed).saturating_sub(used())
}

/// Asks for room before `bytes` are taken.
///
/// # Errors
/// If the script would then hold more than it may.
pub fn reserve(bytes: usize) -> Result<(), Full> {
    let (used, limit) = (used(), LIMIT.load(Relaxed));
    match used.saturating_add(bytes) <= limit {
        true => Ok(()),
        false => Err(Full { wanted: bytes, used, limit }),
    }
}

/// Asks for room for `count` things of `each` bytes.
pub fn reserve_many(count: usize, each: usize) -> Result<(), Full> {
    reserve(count.saturating_mul(each))
}

/// Whether the script holds more than it may. Costs nothing while it does not.
pub fn over() -> Option<Full> {
    if !PASSED.load(Relaxed) {
        return None;
    }
    let (used, limit) = (used(), LIMIT.load(Relaxed));
    match LOADING.load(Relaxed) == 0 && used > limit {
        true => Some(Full { wanted: 0, used, limit }),
        false => {
            PASSED.store(false, Relaxed);
            None
        }
    }
}

/// Loads a model, or part of one, whose bytes count as the machine's and not as the script's.
pub fn load<T>(load: impl FnOnce() -> T) -> T {
    struct Loading(usize);
    impl Drop for Loading {
        fn drop(&mut self) {
            let held = count::in_use();
            let weights = held.saturating_sub(self.0);
            WEIGHTS.fetch_add(weights, Relaxed);
            START.fetch_add(weights, Relaxed);
            // What reading the files took beside them is over.
            MOST.store(held, Relaxed);
            LOADING.fetch_sub(1, Relaxed);
            set();
        }
    }
    LOADING.fetch_add(1, Relaxed);
    set();
    let _loading = Loading(count::in_use());
    load()
}

/// The allocator's look at the limit before it hands out the last of `bytes`.
pub(super) fn look(bytes: usize) {
    let total = count::in_use();
    MOST.fetch_max(total, Relaxed);
    if total > SOFT.load(Relaxed) {
        PASSED.store(true, Relaxed);
    }
    if total > HARD.load(Relaxed) {
        hold(bytes);
    }
}

/// The system has no `bytes` for a script. Without a script this returns, and the program ends as programs do.
pub(super) fn refused_by_system(bytes: usize) {
    if RUNNING.load(Relaxed) {
        hold(bytes);
    }
}

/// Keeps this thread from going on.
fn hold(bytes: usize) {
    EXHAUSTED.store(bytes.max(1), Relaxed);
    loop {
        // Allocates nothing.
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// Whether a thread is held because of its allocation: the script cannot go on, nor end. Then nothing is looked at any
/// more, so that the process can say so.
pub fn exhausted() -> Option<Full> {
    let wanted = EXHAUSTED.load(Relaxed);
    (wanted > 0).then(|| {
        RUNNING.store(false, Relaxed);
        set();
        *SPARE.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        Full { wanted, used: used().saturating_sub(wanted), limit: LIMIT.load(Relaxed) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_how_much_and_what_to_do() {
        let full = Full { wanted: 3 << 30, used: 200 << 20, limit: 1 << 30 };
        assert_eq!(full.to_string(), "3.00 GiB do not fit: 200.00 MiB of 1.00 GiB are in use");
        assert_eq!(full.help().unwrap(), "keep less at once, or allow more: `--max-memory 4GiB`");
        let absurd = Full { wanted: usize::MAX, used: 1, limit: 2 };
        assert!(absurd.help().unwrap().starts_with("ask for less: there are "));
        let over = Full { wanted: 0, used: 2 << 30, limit: 1 << 30 };
        assert_eq!(over.to_string(), "the script holds 2.00 GiB, and may hold 1.00 GiB");
    }
}
