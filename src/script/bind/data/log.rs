//! The type `Log`: a JSONL file that grows by a line at a time. With `--resume` an interrupted run goes on in it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};

use super::json::{from_json, ordered};
use super::text::keys_of;
use crate::data;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::model::grid;
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// A log of a script; copies share it.
#[derive(Clone)]
struct Log {
    inner: Arc<Mutex<data::Log>>,
    path: String,
    /// What its lines are announced by.
    name: String,
    /// The keys of every line, in their order; alphabetical if none.
    keys: Option<Vec<String>>,
    context: Arc<Context>,
}

impl Log {
    fn open(context: &Arc<Context>, path: &str, options: Map) -> ScriptResult<Self> {
        let mut options = Options::new(options, "jsonl");
        let keys = keys_of(&mut options)?;
        options.finish()?;
        let (file, name) = context.resume.begin(context, path)?;
        let inner = data::Log::new(path, file).map_err(refusal::of)?;
        let inner = Arc::new(Mutex::new(inner));
        Ok(Self { inner, path: path.into(), name, keys, context: context.clone() })
    }

    /// A log is valid between any two lines, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, data::Log> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, row: &Dynamic) -> ScriptResult<()> {
        let value = ordered(row, self.keys.as_deref())?;
        let resume = &self.context.resume;
        resume.note(&self.context)?;
        self.lock().append(value, |mark| resume.announce(&self.name, mark)).map_err(refusal::of)
    }

    fn rows(&self) -> Array {
        self.lock().rows().iter().cloned().map(from_json).collect()
    }

    /// Adds the lines that `f` makes of the items, `batch` at a time. Whole batches of an interrupted run are not
    /// asked for again; one that was cut is, so that its lines are computed in the company they had.
    fn fill(&self, call: &NativeCallContext, items: &Array, batch: usize, f: &FnPtr) -> ScriptResult<Array> {
        if batch == 0 {
            return Err(fail("a batch of 0 items").help("give the number of items a call, 1 or more").into());
        }
        let before = self.lock().rows().len();
        let ahead = self.lock().ahead();
        let done = if ahead >= items.len() { items.len() } else { ahead / batch * batch };
        self.lock().accept(done).map_err(refusal::of)?;
        let bar = self.context.progress(&self.path, items.len() as u64, "rows");
        bar.set(done as u64);
        for part in items[done..].chunks(batch) {
            self.context.check_interrupt()?;
            let rows = self.ask(call, part, f)?;
            rows.iter().try_for_each(|row| self.append(row))?;
            bar.advance(part.len() as u64);
        }
        Ok(self.rows().split_off(before))
    }

    fn ask(&self, call: &NativeCallContext, part: &[Dynamic], f: &FnPtr) -> ScriptResult<Array> {
        self.context.filling.store(true, Ordering::Relaxed);
        let rows: ScriptResult<Dynamic> = f.call_within_context(call, (part.to_vec(),));
        self.context.filling.store(false, Ordering::Relaxed);
        let rows = args::array(&rows?).map_err(|error| args::within("the function of `fill`", error))?;
        match rows.len() == part.len() {
            true => Ok(rows),
            false => Err(fail(format!("{} rows for {} items", rows.len(), part.len()))
                .help(
                    "the function of `fill` takes an array of items and returns a map for each, in an array",
                )
                .into()),
        }
    }
}

/// Registers the type.
pub fn register(api: &mut Api) {
    api.ty::<Log>("Log", "a jsonl file that grows by a line at a time", |log| {
        format!("Log {}: {} rows", log.path, log.lock().rows().len())
    });
    let context = api.context();
    let plain = context.clone();
    api.function(
        "jsonl(path: string, options?: map) -> Log",
        "begins a jsonl file to which lines are added one by one; `#{keys: [..]}` are the keys of every line, in this \
         order. With `--resume` the lines of an interrupted run count as added where this run makes the same",
    )
    .example(
        "let log = jsonl(\"log.jsonl\", #{keys: [\"n\", \"a\"]}); log.append(#{a: 0.5, n: 1}); read_lines(\"log.jsonl\")",
        "[\"{\\\"n\\\":1,\\\"a\\\":0.5}\"]",
    )
    .native(move |path: &str| Log::open(&plain, path, Map::new()))
    .native(move |path: &str, options: Map| Log::open(&context, path, options));
    api.method("Log", "append(row: map)", "adds a line, which is on its way to the disk when this returns")
        .example(
            "let log = jsonl(\"log.jsonl\"); log.append(#{a: 1}); log.append(#{a: 2}); log.rows.len",
            "2",
        )
        .native(|log: &mut Log, row: Dynamic| log.append(&row));
    api.method(
        "Log",
        "fill(items: array | range, batch: int, f: function) -> array",
        "adds a line for each item: `f` takes `batch` items at a time and returns their rows, which must depend on \
         nothing else, since a run that resumes does not ask for rows that are there. Returns the rows",
    )
    .example(
        "let log = jsonl(\"log.jsonl\"); log.fill([\"a\", \"bc\", \"d\"], 2, |words| words.map(|word| #{len: word.len})).len",
        "3",
    )
    .native(|call: NativeCallContext, log: &mut Log, items: Dynamic, batch: Dynamic, f: FnPtr| {
        log.fill(&call, &grid::axis(&items)?, args::size(&batch)?, &f)
    });
    api.getter("Log", "rows -> array", "the rows of the lines so far")
        .example("let log = jsonl(\"log.jsonl\"); log.append(#{a: 1}); log.rows", "[#{a: 1}]")
        .native(|log: &mut Log| log.rows());
}
