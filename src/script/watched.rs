//! The files that decide what a script does: itself, its imports, what it read and what it looked for in vain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::context::Context;

/// How often somebody looks.
const LOOK: Duration = Duration::from_millis(200);

/// Length and date; none where there is no file.
type Stamp = Option<(u64, SystemTime)>;

/// Files as they were.
#[derive(Debug, Default)]
pub struct Watched(BTreeMap<PathBuf, Stamp>);

impl Watched {
    /// The script alone, before it runs.
    pub fn script(path: &Path) -> Watched {
        Watched([(path.to_path_buf(), stamp(path))].into())
    }

    /// Adds what a run that began at `began` turned out to read. What changed since then counts as changed.
    pub fn add(&mut self, context: &Context, began: SystemTime) {
        let mut files: Vec<PathBuf> = context.sources.texts().into_keys().map(PathBuf::from).collect();
        if let Ok(door) = context.files() {
            for read in door.reads_after(0) {
                match read.file {
                    Some((file, _)) => files.push(file),
                    None => {
                        files.extend([context.options.script_folder().join(&read.path), read.path.into()])
                    }
                }
            }
            let written = door.written();
            // What it writes itself would make it run for ever.
            files.retain(|file| !file.canonicalize().is_ok_and(|real| written.contains(&real)));
        }
        for file in files {
            let then = stamp(&file).filter(|(_, modified)| *modified < began);
            self.0.entry(file).or_insert(then);
        }
    }

    /// Waits until one of them changed, all of them rest and `script` is there; `None` once `stopped`.
    pub fn wait(&self, script: &Path, stopped: impl Fn() -> bool) -> Option<PathBuf> {
        let mut before = None;
        loop {
            if stopped() {
                return None;
            }
            let now: BTreeMap<&PathBuf, Stamp> = self.0.keys().map(|file| (file, stamp(file))).collect();
            let changed = self.0.iter().find(|(file, was)| now[file] != **was);
            // An editor may take a file away before it puts the new one there, or write in several pieces.
            let rests = before.as_ref() == Some(&now) && stamp(script).is_some();
            if let (Some((file, _)), true) = (changed, rests) {
                return Some(file.clone());
            }
            before = Some(now);
            std::thread::sleep(LOOK);
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let data = file.metadata().ok()?;
    Some((data.len(), data.modified().ok()?))
}
