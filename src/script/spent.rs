//! What a run took: time on the wall and of the processor, and memory. Scripts have no clock; who watches them has one.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

use crate::memory;

/// The time since a start.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    started: Instant,
    /// Of the processor, before the start.
    before: Duration,
}

/// What was taken since the start, and the most that the process has held so far.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub wall: Duration,
    /// Of all threads together.
    pub processor: Duration,
    /// Bytes, with those of models; where the system tells.
    pub peak: Option<usize>,
}

impl Watch {
    pub fn start() -> Self {
        Self { started: Instant::now(), before: processor() }
    }

    pub fn spent(&self) -> Spent {
        Spent {
            wall: self.started.elapsed(),
            processor: processor().saturating_sub(self.before),
            peak: memory::machine::peak(),
        }
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, processor) = (self.wall.as_secs_f64(), self.processor.as_secs_f64());
        write!(f, "{wall:.3} s, {processor:.3} s of all cores together")?;
        match self.peak {
            Some(peak) => write!(f, ", the process held {} at most", HumanBytes(peak as u64)),
            None => Ok(()),
        }
    }
}

/// What the threads of this process have computed.
#[cfg(unix)]
fn processor() -> Duration {
    // SAFETY: a value of zeros is one of this plain struct, and the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |time: libc::timeval| {
        let micros = Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0));
        Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0)) + micros
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

#[cfg(not(unix))]
fn processor() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_time_of_the_processor_and_rest_does_not() {
        let watch = Watch::start();
        std::thread::sleep(Duration::from_millis(30));
        let mut sum = 0u64;
        while watch.spent().wall < Duration::from_millis(120) {
            sum = std::hint::black_box(sum + 1);
        }
        let spent = watch.spent();
        assert!(spent.processor >= Duration::from_millis(10) && sum > 0, "{spent}");
        assert!(spent.peak.is_none_or(|peak| peak > 1 << 20));
    }
}
