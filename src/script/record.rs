//! `run.json`, beside the results: what a run was made of, how it ended, what it took and what it left.
//!
//! A [`Record`] is filled while the script runs and written at the end, also of a run that failed or was stopped. The
//! checksums are those of [`plain::sum`]: they tell changes by accident, not by intent. [`compare`] reads two of them, and
//! [`alike`] the results of two machines.

use std::collections::BTreeMap;
use std::env::consts;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rhai::Dynamic;
use serde_json::{Map, Value, json};

use super::bind::data::to_json;
use super::context::{Context, HostOptions};
use super::error::{Error, ScriptResult, refused};
use super::limits::Limits;
use super::modules;
use super::spent::Watch;
use crate::model::cpu::isa;
use crate::plain;
use crate::run::explain::CellCounts;
use crate::run::sweep::Sweep;

pub mod alike;
pub mod compare;

/// What the script did so far.
#[derive(Debug, Default)]
pub struct Record(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since the script began; none before.
    watch: Option<Watch>,
    printed: Printed,
    parameters: BTreeMap<String, Value>,
    models: Vec<Value>,
    sweeps: Sweeps,
    /// By model and metric, how far one cell is from itself, computed alone.
    noise: BTreeMap<(String, String), f64>,
}

/// Standard output: its sum, and as much of its text as is worth keeping.
#[derive(Debug, Default)]
struct Printed {
    bytes: usize,
    sum: DefaultHasher,
    text: String,
}

/// Bytes of standard output that are kept.
const KEPT: usize = 1 << 20;

/// All sweeps together.
#[derive(Clone, Copy, Debug, Default)]
struct Sweeps {
    count: usize,
    counts: CellCounts,
    /// Cells whose patches changed nothing though they should.
    idle: usize,
    largest_change: f32,
    /// How far a cell whose patches changed nothing is from the unpatched run: what rounding makes of its neighbours.
    largest_noop: f64,
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The script begins.
    pub fn begin(&self) {
        self.lock().watch = Some(Watch::start());
    }

    /// A line on standard output.
    pub fn print(&self, text: &str) {
        let printed = &mut self.lock().printed;
        for part in [text, "\n"] {
            printed.bytes += part.len();
            printed.sum.write(part.as_bytes());
        }
        if printed.bytes <= KEPT {
            printed.text += text;
            printed.text.push('\n');
        }
    }

    /// The value that a parameter has.
    pub fn parameter(&self, name: &str, value: &Dynamic) {
        let value = to_json(value).unwrap_or_else(|_| Value::String(value.to_string()));
        self.lock().parameters.insert(name.into(), value);
    }

    /// A model that was loaded.
    pub fn model(&self, model: &crate::model::Model) {
        let transformer = &model.transformer;
        self.lock().models.push(json!({
            "id": model.id,
            "family": model.config().family.arch,
            "device": model.place(),
            "dtype": transformer.dtype.as_str(),
            "precision": transformer.precision.to_string(),
        }));
    }

    /// A sweep that was run, of which so many cells were idle.
    pub fn sweep(&self, sweep: &Sweep, idle: usize) {
        let sweeps = &mut self.lock().sweeps;
        let counts = CellCounts::count(&sweep.statuses);
        sweeps.count += 1;
        sweeps.counts.computed += counts.computed;
        sweeps.counts.merged += counts.merged;
        sweeps.counts.known += counts.known;
        sweeps.counts.unreachable += counts.unreachable;
        sweeps.idle += idle;
        sweeps.largest_change = sweep.max_change.iter().copied().fold(sweeps.largest_change, f32::max);
        let cells = sweep.unchanged().zip(&sweep.values);
        let noops = cells.filter(|(unchanged, _)| *unchanged).map(|(_, value)| (value - sweep.base).abs());
        sweeps.largest_noop = noops.fold(sweeps.largest_noop, f64::max);
    }

    /// Whether nobody has measured yet how exact this metric is on this model.
    pub fn lacks_noise(&self, model: &str, metric: &str) -> bool {
        !self.lock().noise.contains_key(&(model.into(), metric.into()))
    }

    /// How far one cell of a sweep is from itself, computed alone.
    pub fn noise(&self, model: &str, metric: &str, noise: f64) {
        self.lock().noise.insert((model.into(), metric.into()), noise);
    }
}

/// Writes the record of a run that ended so; nothing if the script never began.
///
/// # Errors
/// A file of the run cannot be read any more, or the record cannot be written.
pub fn write(context: &Context, result: &Result<(), Error>) -> ScriptResult<()> {
    let Some(record) = of(context, result)? else { return Ok(()) };
    let mut text = serde_json::to_string_pretty(&record).unwrap_or_default();
    text.push('\n');
    context.files()?.write_run(text.as_bytes()).map_err(|error| refused(&error))?;
    Ok(())
}

fn of(context: &Context, result: &Result<(), Error>) -> ScriptResult<Option<Value>> {
    let state = context.record.lock();
    let Some(watch) = state.watch else { return Ok(None) };
    let spent = watch.spent();
    let files = context.files()?;
    // Whoever stopped a run does not wait for sums of large files.
    let stopped = matches!(result, Err(Error::Interrupted));
    let sum = |file: &PathBuf| match &context.cache {
        _ if stopped => None,
        Some(cache) => cache.file_sum(file).ok(),
        None => plain::file_sum(file).ok(),
    };
    let sweeps = state.sweeps;
    let name = context.options.script.as_deref().unwrap_or(Path::new("")).display().to_string();
    Ok(Some(json!({
        "patchscript": env!("CARGO_PKG_VERSION"),
        "ended": match result {
            Ok(()) => "done",
            Err(Error::Interrupted | Error::OutputClosed) => "stopped",
            Err(_) => "failed",
        },
        "error": result.as_ref().err().map(|error| error.json(&context.sources)),
        "folder": folder(files.out_dir()),
        "script": source(context, &name),
        "modules": context.sources.texts().keys().filter(|other| **other != name).map(|other| source(context, other)).collect::<Vec<_>>(),
        "parameters": state.parameters,
        "options": options(&context.options),
        "data": files.reads_after(0).into_iter().map(|read| json!({
            "path": read.path,
            "file": read.file.as_ref().map(|(file, _)| file),
            "sum": read.file.as_ref().map(|(_, sum)| sum),
        })).collect::<Vec<_>>(),
        "models": state.models,
        "model_files": context.resume.models().iter().map(|file| json!({"file": file, "sum": sum(file)})).collect::<Vec<_>>(),
        "machine": {
            "arch": consts::ARCH,
            "os": consts::OS,
            "instructions": isa::description(),
            "cores": std::thread::available_parallelism().map_or(1, |cores| cores.get()),
        },
        "sweeps": {
            "sweeps": sweeps.count,
            "cells": sweeps.counts.cells(),
            "computed": sweeps.counts.computed,
            "merged": sweeps.counts.merged,
            "known": sweeps.counts.known,
            "unreachable": sweeps.counts.unreachable,
            "idle": sweeps.idle,
            "largest_change": sweeps.largest_change,
            "largest_noop": sweeps.largest_noop,
            "noise": state.noise.iter().map(|((model, metric), noise)| json!({
                "model": model, "metric": metric, "noise": noise,
            })).collect::<Vec<_>>(),
        },
        "cache": context.cache.as_ref().map(|cache| {
            let (found, added) = cache.counts();
            json!({"found": found, "added": added})
        }),
        "took": {
            "seconds": spent.wall.as_secs_f64(),
            "processor_seconds": spent.processor.as_secs_f64(),
            "peak_bytes": spent.peak,
        },
        "printed": {
            "bytes": state.printed.bytes,
            "sum": format!("{:016x}", state.printed.sum.finish()),
            "text": (state.printed.bytes <= KEPT).then_some(&state.printed.text),
        },
        "artefacts": artefacts(files.out_dir(), files.written(), stopped),
    })))
}

/// The working folder, as seen from the folder of the results where that lies in it, so that both may move.
fn folder(out: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    match out.strip_prefix(&here) {
        Ok(below) => below.components().map(|_| "..").collect(),
        Err(_) => here,
    }
}

/// A script or module: those inside the program are known by their name.
fn source(context: &Context, name: &str) -> Value {
    let text = context.sources.get(name).unwrap_or_default();
    let own = modules::STDLIB.iter().any(|(module, _)| format!("stdlib/{module}.rhai") == name);
    json!({"name": name, "sum": plain::sum(text.as_bytes()), "text": (!own).then_some(&*text)})
}

fn artefacts(out: &Path, written: Vec<PathBuf>, stopped: bool) -> Vec<Value> {
    let out = out.canonicalize().unwrap_or(out.into());
    let artefact = |path: PathBuf| {
        json!({
            "path": path.strip_prefix(&out).unwrap_or(&path),
            "bytes": path.metadata().map_or(0, |data| data.len()),
            // One that is gone by now has none.
            "sum": if stopped { None } else { plain::file_sum(&path).ok() },
        })
    };
    written.into_iter().map(artefact).collect()
}

/// What the command line said, by the names of its options: `--allow-read DIR` is in the list `allow-read`.
fn options(options: &HostOptions) -> Value {
    let mut said = Map::new();
    let mut say = |name: &str, value: Value| {
        let empty = value.is_null() || value == json!(false) || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            said.insert(name.into(), value);
        }
    };
    let sets = options.sets.iter().map(|(name, value)| format!("{name}={value}"));
    say("set", sets.collect::<Vec<_>>().into());
    say("model", json!(options.model));
    say("device", json!(options.device));
    say("dtype", json!(options.dtype));
    say("precision", json!(options.precision));
    say("seed", json!(options.seed));
    say("allow-read", json!(options.allow_read));
    say("allow-write", json!(options.allow_write));
    say("offline", json!(options.offline));
    say("memory", json!(options.memory));
    let (limits, usual) = (&options.limits, Limits::default());
    let changed = |changed: bool, value: Value| if changed { value } else { Value::Null };
    say("max-ops", changed(limits.operations != usual.operations, json!(limits.operations)));
    say("max-call-levels", changed(limits.call_levels != usual.call_levels, json!(limits.call_levels)));
    say("max-string", changed(limits.string_bytes != usual.string_bytes, json!(limits.string_bytes)));
    say("max-array", changed(limits.array_len != usual.array_len, json!(limits.array_len)));
    say("max-map", changed(limits.map_len != usual.map_len, json!(limits.map_len)));
    say("max-memory", json!(limits.memory));
    say("max-time", json!(limits.time.map(|time| time.as_secs_f64())));
    Value::Object(said)
}
