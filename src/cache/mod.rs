//! Results that outlive a run: a folder of entries, each named by a [`key`] of all that decides its bytes, so that what is
//! found there is what would be computed. [`sums`], checksums of large files, are kept the same way.
//!
//! An entry appears whole or not at all, and one whose own checksum does not hold is removed, so runs may share the folder
//! and may be killed. Where the entries have more than so many bytes together, those whose last use is longest ago go.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::data::files::replace;
use crate::plain;

pub mod key;
pub mod sums;
#[cfg(test)]
mod tests;

pub use key::Key;

/// The environment variable that names the program's folder of what can be had again.
pub const FOLDER: &str = "PATCHSCRIPT_CACHE";

/// Bytes of all entries together, unless somebody says otherwise.
pub const LIMIT: u64 = 2 << 30;

/// Entries at most: a folder of more is slow to look through.
const MOST: usize = 20_000;

/// Bytes of an entry's checksum and the end of its line.
const HEAD: usize = 17;

/// Where results are kept, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub folder: PathBuf,
    /// Bytes of all of them together.
    pub limit: u64,
    /// What took less to compute is not kept, nor what is hardly slower to compute than to read; all is if this is zero.
    pub least: Duration,
}

/// The usual [`Place::least`].
const LEAST: Duration = Duration::from_millis(10);

/// Bytes that are read, checked and laid out in a second.
const RATE: f64 = 256e6;

impl Place {
    /// In the program's own folder: `PATCHSCRIPT_CACHE`, else `patchscript` in the user's folder for caches; `None` where
    /// there is none.
    pub fn usual(limit: u64) -> Option<Place> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = folder(FOLDER)
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("patchscript")))
            .or_else(|| Some(std::env::home_dir()?.join(".cache/patchscript")))?;
        Some(Place { folder: own.join("results"), limit, least: LEAST })
    }
}

/// The open folder.
#[derive(Debug)]
pub struct Cache {
    place: Place,
    /// What was there when this process looked, and what it has added since; `None` before.
    held: Mutex<Option<Held>>,
    found: AtomicU64,
    added: AtomicU64,
    /// Bytes that this process has added.
    bytes: AtomicU64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: u64,
    entries: usize,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    /// The word that its name begins with.
    pub kind: String,
    pub bytes: u64,
    pub used: SystemTime,
}

impl Cache {
    /// Nothing is read or created.
    pub fn new(place: Place) -> Cache {
        let [found, added, bytes] = [(); 3].map(|()| AtomicU64::new(0));
        Cache { place, held: Mutex::default(), found, added, bytes }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How many results this process has found, and how many it has added.
    pub fn counts(&self) -> (u64, u64) {
        (self.found.load(Ordering::Relaxed), self.added.load(Ordering::Relaxed))
    }

    /// Bytes of an entry at most: one that takes the place of too many others is not worth it.
    pub fn largest(&self) -> u64 {
        self.place.limit / 8
    }

    /// Whether a result of so many bytes is to be kept. One run adds half of the limit at most: a long walk over a corpus
    /// does not take the place of everything else.
    pub fn wants(&self, bytes: usize, took: Duration) -> bool {
        let slow = took >= self.place.least && bytes as f64 <= took.as_secs_f64() * RATE;
        let all = self.bytes.load(Ordering::Relaxed).saturating_add(bytes as u64);
        (slow || self.place.least.is_zero()) && bytes as u64 <= self.largest() && all <= self.place.limit / 2
    }

    /// The bytes of what is kept under this key.
    pub fn size(&self, key: &Key) -> Option<u64> {
        Some(self.place.folder.join(key.name()).metadata().ok()?.len())
    }

    /// What is kept under this key.
    pub fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let found = self.read(key);
        self.found.fetch_add(u64::from(found.is_some()), Ordering::Relaxed);
        found
    }

    /// Keeps bytes under a key, unless they are too many.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn put(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        self.added.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.write(key, bytes)
    }

    fn read(&self, key: &Key) -> Option<Vec<u8>> {
        let path = self.place.folder.join(key.name());
        let mut bytes = plain::read(&path, self.largest().saturating_add(HEAD as u64)).ok()?;
        if !is_whole(&bytes) {
            // It is as good as not there even if it stays.
            let _ = fs::remove_file(&path);
            return None;
        }
        bytes.drain(..HEAD);
        // Whoever may only read the folder goes without.
        let _ =
            File::options().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(bytes)
    }

    fn write(&self, key: &Key, bytes: &[u8]) -> io::Result<()> {
        let size = (bytes.len() + HEAD) as u64;
        if size > self.largest() {
            return Ok(());
        }
        fs::create_dir_all(&self.place.folder)?;
        self.make_room(size)?;
        // A torn entry is known by its checksum, so nobody waits for the disk.
        replace::unsynced(&self.place.folder.join(key.name()), |to| {
            writeln!(to, "{}", plain::sum(bytes))?;
            to.write_all(bytes)
        })
    }

    /// Takes `more` bytes into account and, where they are too many, removes the entries whose last use is longest ago.
    fn make_room(&self, more: u64) -> io::Result<()> {
        let Place { folder, limit, .. } = &self.place;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |held: Held| held.bytes <= *limit && held.entries <= MOST;
        let with = |held: Held| Held { bytes: held.bytes.saturating_add(more), entries: held.entries + 1 };
        let known = held.map(with);
        if let Some(known) = known.filter(|known| fits(*known)) {
            *held = Some(known);
            return Ok(());
        }
        replace::clear(folder);
        let mut entries = list(folder)?;
        entries.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        let mut now = with(Held { bytes, entries: entries.len() });
        if !fits(now) {
            // An eighth more than must go, so that the next one need not look again.
            let less = |held: Held| held.bytes <= limit - limit / 8 && held.entries <= MOST - MOST / 8;
            for entry in entries {
                if less(now) {
                    break;
                }
                // Another process may have been faster.
                let _ = fs::remove_file(&entry.path);
                now = Held { bytes: now.bytes.saturating_sub(entry.bytes), entries: now.entries - 1 };
            }
        }
        *held = Some(now);
        Ok(())
    }
}

/// Whether an entry is what its checksum says.
fn is_whole(entry: &[u8]) -> bool {
    entry
        .split_at_checked(HEAD)
        .is_some_and(|(head, bytes)| head == format!("{}\n", plain::sum(bytes)).as_bytes())
}

/// All entries in a folder; none if there is no such folder.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut entries = Vec::new();
    for file in read {
        let file = file?;
        let name = file.file_name();
        let Some((kind, sum)) = name.to_str().and_then(|name| name.split_once('-')) else { continue };
        let ours = sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        // One that another process removes meanwhile is none.
        let Ok(data) = file.metadata() else { continue };
        if ours && data.is_file() {
            let used = data.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(Entry { path: file.path(), kind: kind.into(), bytes: data.len(), used });
        }
    }
    Ok(entries)
}

/// Removes all entries in a folder; gives how many there were, and their bytes.
///
/// # Errors
/// An entry that cannot be removed.
pub fn clear(folder: &Path) -> io::Result<(usize, u64)> {
    replace::clear(folder);
    let entries = list(folder)?;
    for entry in &entries {
        match fs::remove_file(&entry.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok((entries.len(), entries.iter().map(|entry| entry.bytes).sum()))
}
