//! `patchscript cache`: what runs keep of what they computed, and how much they may.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;
use serde_json::json;

use crate::cache::{self, Entry, LIMIT, Place};
use crate::count::count;
use crate::help::Help;
use crate::script::output;

use super::args::{CacheAction, bytes};
use super::{fail, put, table};

/// The environment variable that says how many bytes are kept.
pub const SIZE: &str = "PATCHSCRIPT_CACHE_SIZE";

/// A value of [`SIZE`] that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{SIZE}` is `{0}`, which is no size")]
pub struct BadSize(String);

impl Help for BadSize {
    fn help(&self) -> Option<String> {
        Some("write it like `2GiB`, or `0` to keep nothing".into())
    }
}

/// Where results are kept; `None` where none are to be.
///
/// # Errors
/// A value of [`SIZE`] that is no size.
pub fn place() -> Result<Option<Place>, BadSize> {
    let Some(size) = std::env::var_os(SIZE).filter(|size| !size.is_empty()) else {
        return Ok(Place::usual(LIMIT));
    };
    let size = size.to_string_lossy();
    match (&*size, bytes(&size)) {
        ("0", _) => Ok(None),
        (_, Ok(limit)) => Ok(Place::usual(limit as u64)),
        _ => Err(BadSize(size.into_owned())),
    }
}

/// Runs the action; gives the exit code.
pub fn run(action: &CacheAction) -> u8 {
    let Some(place) = Place::usual(LIMIT) else {
        return fail("there is no folder for caches", Some(format!("set {} to one", cache::FOLDER)));
    };
    let folder = place.folder.display();
    let unusable = |error| {
        fail(format!("cannot use `{folder}`: {error}"), Some(format!("set {} to a folder", cache::FOLDER)))
    };
    match action {
        CacheAction::List { .. } => match cache::list(&place.folder) {
            Ok(entries) => list(&folder.to_string(), &entries),
            Err(error) => unusable(error),
        },
        CacheAction::Clear => match cache::clear(&place.folder) {
            Ok((entries, bytes)) => {
                put(&format!("{} removed, {} freed\n", count(entries, "result"), HumanBytes(bytes)))
            }
            Err(error) => unusable(error),
        },
    }
}

/// What is kept, by kind.
fn list(folder: &str, entries: &[Entry]) -> u8 {
    let mut kinds: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    entries.iter().for_each(|entry| kinds.entry(&entry.kind).or_default().push(entry));
    let bytes = |entries: &[&Entry]| entries.iter().map(|entry| entry.bytes).sum::<u64>();
    if output::for_programs() {
        let kinds: Vec<_> = kinds
            .iter()
            .map(|(kind, of)| json!({"kind": kind, "results": of.len(), "bytes": bytes(of)}))
            .collect();
        return super::put_json(&json!({"folder": folder, "kinds": kinds}));
    }
    let mut rows = vec![[folder.to_string(), String::new(), String::new(), String::new()]];
    for (kind, of) in &kinds {
        let latest = of.iter().map(|entry| entry.used).max().unwrap_or(SystemTime::UNIX_EPOCH);
        let ago = latest.elapsed().unwrap_or_default();
        rows.push([
            format!("  {kind}"),
            count(of.len(), "result"),
            HumanBytes(bytes(of)).to_string(),
            used(ago),
        ]);
    }
    if kinds.is_empty() {
        rows[0][1] = "nothing is kept".into();
    }
    put(&table(&rows))
}

fn used(ago: Duration) -> String {
    match ago.as_secs() {
        0..3600 => "used within the hour".into(),
        seconds if seconds < 2 * 86400 => format!("used {} ago", count((seconds / 3600) as usize, "hour")),
        seconds => format!("used {} days ago", seconds / 86400),
    }
}
