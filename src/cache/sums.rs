//! Checksums of large files, which are computed again only where a file may have changed.

use std::fs::Metadata;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Cache, Key};
use crate::plain;

/// The clock of a file system stands still for so long at most; within it, two changes have one time.
const GRAIN: Duration = Duration::from_millis(50);

impl Cache {
    /// The [`plain::file_sum`] of a file.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn file_sum(&self, path: &Path) -> io::Result<String> {
        let before = Stamp::of(path)?;
        let Some(key) = before.key(SystemTime::now()) else { return plain::file_sum(path) };
        if let Some(sum) = self.read(&key).and_then(|sum| String::from_utf8(sum).ok()) {
            return Ok(sum);
        }
        let sum = plain::file_sum(path)?;
        if Stamp::of(path)? == before {
            // It is computed again if it cannot be kept.
            let _ = self.write(&key, sum.as_bytes());
        }
        Ok(sum)
    }

    /// The same of a file as it was at `time`; `None` if it may have changed since, or cannot be read.
    pub fn file_sum_at(&self, path: &Path, time: SystemTime) -> Option<String> {
        let unchanged = || Stamp::of(path).is_ok_and(|stamp| stamp.settled(time));
        let sum = if unchanged() { self.file_sum(path).ok() } else { None };
        sum.filter(|_| unchanged())
    }
}

/// What changes with a file.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Stamp {
    path: std::path::PathBuf,
    bytes: u64,
    modified: SystemTime,
    /// Where and since when its node is as it is, which no program sets as it likes.
    node: (u64, u64, i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Stamp> {
        let path = path.canonicalize()?;
        let data = path.metadata()?;
        Ok(Stamp { path, bytes: data.len(), modified: data.modified()?, node: node(&data) })
    }

    /// Whether it had last changed when it was `time`, and long enough before that another change would show.
    fn settled(&self, time: SystemTime) -> bool {
        let (.., seconds, nanos) = self.node;
        let changed = u64::try_from(seconds).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::new(changed, u32::try_from(nanos).unwrap_or(0));
        changed.max(self.modified) + GRAIN < time
    }

    fn key(&self, now: SystemTime) -> Option<Key> {
        let mut key = Key::new("sum");
        (env!("CARGO_PKG_VERSION"), self).hash(&mut key);
        self.settled(now).then_some(key)
    }
}

/// Device, number and time of change.
#[cfg(unix)]
fn node(data: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (data.dev(), data.ino(), data.ctime(), data.ctime_nsec())
}

#[cfg(not(unix))]
fn node(_: &Metadata) -> (u64, u64, i64, i64) {
    (0, 0, 0, 0)
}
