//! Wall time, the share of the machine that others took meanwhile, and peak memory.

use std::fs::read_to_string;
use std::time::Instant;

/// Clock ticks a second in `/proc`, on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

pub struct Timing {
    /// Seconds of every repeat, sorted.
    pub all: Vec<f64>,
    /// CPU seconds of one repeat, all threads together: what little depends on what else the machine does, if this
    /// process has one thread.
    pub cpu: f64,
    /// Share of the machine's cores that other processes used meanwhile, 0 to 1.
    pub other_cpu: f64,
}

impl Timing {
    pub fn median(&self) -> f64 {
        self.all[self.all.len() / 2]
    }
}

/// Runs `f` `repeats` times.
pub fn timed<R>(repeats: usize, mut f: impl FnMut() -> R) -> Timing {
    let (start, busy_before, own_before) = (Instant::now(), busy_seconds(), own_seconds());
    let mut all: Vec<f64> = (0..repeats)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(f());
            start.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_by(f64::total_cmp);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
    let own = own_seconds() - own_before;
    let others = busy_seconds() - busy_before - own;
    Timing {
        all,
        cpu: own / repeats as f64,
        other_cpu: (others / (start.elapsed().as_secs_f64() * cores)).max(0.0),
    }
}

/// Seconds that all cores together have been busy, by `/proc/stat`.
fn busy_seconds() -> f64 {
    let text = read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = ticks.take(8).filter_map(|n| n.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().sum::<f64>() - idle) / TICKS
}

/// Seconds of CPU time of this process.
fn own_seconds() -> f64 {
    let text = read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|n| n.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// The largest resident set so far, megabytes.
pub fn peak_megabytes() -> f64 {
    let text = read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0 / 1e6
}
