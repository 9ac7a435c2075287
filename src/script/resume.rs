//! `--resume`: which logs of an interrupted run this one may take up.
//!
//! Beside its logs a run leaves `.resume.json`: what it is made of (the program, the script and its modules, the
//! parameters, the model, the data read before the first log) and which logs it has begun. A run that resumes takes up
//! those logs if it is made of the same, and else is refused: rows of two experiments must not meet in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::Context;
use super::error::{ScriptResult, fail};
use crate::data::DataError;

const RECORD: &str = ".resume.json";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// What the run is made of, by a name for messages.
    made_of: BTreeMap<String, serde_json::Value>,
    /// The logs that were begun, and not yet taken up by a run that resumes.
    logs: BTreeSet<String>,
}

/// The logs of this run.
#[derive(Debug, Default)]
pub struct Resume(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    record: Option<Record>,
    open: BTreeSet<String>,
}

impl Resume {
    /// Begins the log at `path`: gives its file, with the lines of the interrupted run if this one resumes it.
    pub fn begin(&self, context: &Context, path: &str) -> ScriptResult<fs::File> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.open.contains(path) {
            return Err(fail(format!("the log `{path}` is open already"))
                .help("keep it in a variable, or write to another file")
                .into());
        }
        let refused = |error: DataError| fail(error.to_string()).maybe_help(error.help());
        let files = context.files()?;
        if context.options.script.is_none() {
            // The REPL cannot be resumed, so its logs may be begun again and again.
            return Ok(files.stream(path, false).map_err(|error| refused(error.into()))?);
        }
        if state.record.is_none() {
            state.record = Some(record(context)?);
        }
        let State { record: Some(record), open } = &mut *state else {
            return Err(fail("the logs of this run are unknown").into());
        };
        let file = files.stream(path, record.logs.contains(path)).map_err(|error| refused(error.into()))?;
        record.logs.insert(path.into());
        let text = serde_json::to_vec(record).map_err(|error| fail(error.to_string()))?;
        files.write(RECORD, |to| to.write_all(&text)).map_err(|error| refused(error.into()))?;
        open.insert(path.into());
        Ok(file)
    }
}

/// A new record, or that of the interrupted run.
fn record(context: &Context) -> ScriptResult<Record> {
    let new = Record { made_of: made_of(context)?, logs: BTreeSet::new() };
    if !context.options.resume {
        return Ok(new);
    }
    let Ok(text) = fs::read(context.files()?.out_dir().join(RECORD)) else {
        // It was interrupted before its first log.
        return Ok(new);
    };
    let again = "run without `--resume` to start again";
    let old: Record = serde_json::from_slice(&text)
        .map_err(|error| fail(format!("cannot resume: `{RECORD}` is damaged: {error}")).help(again))?;
    match new.made_of.iter().find(|(name, value)| old.made_of.get(*name) != Some(value)) {
        Some((name, _)) => {
            let message = format!("cannot resume: {name} changed since the interrupted run");
            Err(fail(message).help(format!("undo the change, or {again}")).into())
        }
        None => Ok(old),
    }
}

fn made_of(context: &Context) -> ScriptResult<BTreeMap<String, serde_json::Value>> {
    let options = &context.options;
    let sets: BTreeMap<_, _> = options.sets.iter().cloned().collect();
    let parts = [
        ("the version of patchscript", json!(env!("CARGO_PKG_VERSION"))),
        ("the script or one of its modules", json!(context.sources.texts())),
        ("a parameter", json!(sets)),
        ("the model", json!(options.model.as_deref().map(model))),
        ("the device", json!(options.device)),
        ("the number type", json!(options.dtype)),
        ("the seed", json!(options.seed)),
        ("a file that the script reads", json!(context.files()?.read_sums())),
    ];
    Ok(parts.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// What tells one model from another without reading it: its name, and the sizes and times of its files.
fn model(id: &str) -> (String, Vec<(String, u64, Option<u64>)>) {
    let path = Path::new(id);
    let mut files: Vec<_> = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_path_buf()],
    };
    files.sort();
    let stamp = |file: &std::path::PathBuf| {
        let data = fs::metadata(file).ok()?;
        let time = data.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some((file.display().to_string(), data.len(), time.map(|time| time.as_nanos() as u64)))
    };
    (id.into(), files.iter().filter_map(stamp).collect())
}
