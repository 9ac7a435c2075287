//! What a running script shares with its bindings.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::io::{self, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult, Position};

use super::bind::Shelf;
use super::caught::Caught;
use super::diagnostic::{Diagnostic, Place};
use super::error::{Error, Failure, ScriptResult, fail, refused};
use super::key_order::KeyOrders;
use super::limits::{Limits, reserve_values};
use super::output;
use super::panics;
use super::params::Params;
use super::progress::Progress;
use super::record::Record;
use super::results::Names;
use super::resume::Resume;
use super::source::Sources;
use super::stack::Stack;
use super::tally::Tally;
use super::terminal;
use crate::cache::{self, Cache};
use crate::data::Files;
use crate::memory;
use crate::model::Model;

/// Everything the command line decides, as plain data.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// What `load()` loads; the embedded model if none.
    pub model: Option<String>,
    pub device: Option<String>,
    pub dtype: Option<String>,
    pub precision: Option<String>,
    pub seed: Option<u64>,
    /// `--set name=value`, in the order given.
    pub sets: Vec<(String, String)>,
    /// The script's path; none in the REPL.
    pub script: Option<PathBuf>,
    /// Where the script may write; `out/<script name>/` if none.
    pub out: Option<PathBuf>,
    pub allow_read: Vec<PathBuf>,
    pub allow_write: Vec<PathBuf>,
    /// Refuse all network access.
    pub offline: bool,
    /// Bytes that one step of a run may hold beyond the weights; half of what is free if none.
    pub memory: Option<usize>,
    /// Where results are kept for later runs; nowhere if none.
    pub cache: Option<cache::Place>,
    /// Print the plan of each sweep to standard error before it runs.
    pub explain: bool,
    /// Take up the logs of an interrupted run.
    pub resume: bool,
    /// Whether the process may end while a native call does not answer to Ctrl-C or a limit: the REPL lives on.
    pub may_exit: bool,
    pub limits: Limits,
}

impl HostOptions {
    /// The folder that holds the script, and in which its imports live.
    pub fn script_folder(&self) -> PathBuf {
        let folder = self.script.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_path_buf() }
    }

    /// The folder for results; nothing is created.
    pub fn out_folder(&self) -> PathBuf {
        let name = self.script.as_deref().and_then(Path::file_stem).unwrap_or("repl".as_ref());
        self.out.clone().unwrap_or_else(|| Path::new("out").join(name))
    }

    fn files(&self) -> ScriptResult<Files> {
        let working_dir = std::env::current_dir()
            .map_err(|error| fail(format!("the working folder cannot be found: {error}")))?;
        let name = self.script.as_deref().and_then(Path::file_stem);
        if self.out.is_none() && name.is_some_and(|name| name == "." || name == "..") {
            return Err(fail("the script's name is dots, which give no folder for results")
                .help("rename the script, or name the folder with `--out DIR`")
                .into());
        }
        let longest = self.limits.memory() as u64;
        let mut files = Files::new(working_dir, self.out_folder()).with_longest(longest);
        files = files.confined(self.out.is_none());
        if self.script.is_some() {
            files = files.with_script_dir(self.script_folder());
        }
        files = files.resuming(self.resume);
        files = self.allow_read.iter().fold(files, Files::with_read_root);
        Ok(self.allow_write.iter().fold(files, Files::with_write_root))
    }
}

/// The stack of a thread for work apart.
const APART_STACK: usize = 64 << 20;

/// Steps of some nanoseconds each that are over before anybody could interrupt them.
const LONG: usize = 1 << 22;

/// Bytes that are written between two looks at Ctrl-C.
const PIECE: usize = 1 << 20;

/// A writer that fails once the user asked to stop.
struct Stoppable<'a> {
    to: &'a mut dyn Write,
    context: &'a Context,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.context.interrupted() {
            true => Err(io::Error::other("interrupted")),
            false => self.to.write(&bytes[..bytes.len().min(PIECE)]),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

thread_local! {
    /// The run whose script is on this thread.
    static CURRENT: RefCell<Option<Arc<Context>>> = const { RefCell::new(None) };
}

/// [`Context::apart`] for the script on this thread, for functions that know no context.
pub fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ScriptResult<T> {
    match CURRENT.with_borrow(Clone::clone) {
        Some(context) => context.apart(work),
        None => Ok(work()),
    }
}

/// The same where `size` steps take long, else at once: a thread costs more than little work.
pub fn apart_if_long<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> ScriptResult<T> {
    if size > LONG { apart(work) } else { Ok(work()) }
}

/// Options, parameters and the signals that stop a run; shared by the engine and all bindings.
#[derive(Debug, Default)]
pub struct Context {
    pub options: HostOptions,
    pub params: Params,
    pub sources: Sources,
    /// In which order the scripts write the keys of maps.
    pub key_orders: KeyOrders,
    /// What the engine's errors become where a script catches them.
    pub caught: Caught,
    pub resume: Resume,
    pub record: Record,
    pub cache: Option<Arc<Cache>>,
    /// The models that the next run of the script finds loaded.
    pub shelf: Arc<Shelf>,
    pub tally: Tally,
    /// Whether rows are being made that a run which resumes may not make again.
    pub filling: AtomicBool,
    /// Whether the user knows that characters have no font.
    pub told_of_fonts: AtomicBool,
    files: OnceLock<Files>,
    /// Paths of models that a person typed at the prompt.
    typed: Mutex<BTreeSet<String>>,
    interrupt: Arc<AtomicBool>,
    /// Why nothing more can be printed; nothing if the reader left.
    output: OnceLock<Option<String>>,
    /// Whether the interrupt is that of the time limit.
    timed_out: AtomicBool,
    stack: Stack,
    /// Line and column of the last call of a native function in the script itself; 0 in a module.
    called: AtomicU32,
    notes: Mutex<BTreeSet<String>>,
    results: Arc<Names>,
    /// The model that was loaded last.
    model: Mutex<Option<Arc<Model>>>,
    /// Whether the next sweep prints its plan.
    explain_next: AtomicBool,
    /// Where warnings were given.
    warned: Mutex<HashSet<(String, Position)>>,
}

impl Context {
    pub fn new(options: HostOptions) -> Self {
        let params = Params::new(&options.sets);
        let cache = options.cache.clone().map(|place| Arc::new(Cache::new(place)));
        Self { options, params, cache, ..Self::default() }
    }

    /// For the same script once more: of this run only its models and Ctrl-C are left.
    pub(super) fn again(&self) -> Self {
        let (shelf, interrupt) = (self.shelf.clone(), self.interrupt.clone());
        Self { shelf, interrupt, ..Self::new(self.options.clone()) }
    }

    /// The files that this run may read and write; nothing is created.
    pub fn files(&self) -> ScriptResult<&Files> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = self.options.files()?;
        Ok(self.files.get_or_init(|| files))
    }

    /// Lets `load` read these paths, which a person typed at the prompt.
    pub(super) fn allow_typed(&self, paths: Vec<String>) {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).extend(paths);
    }

    /// Whether a person typed this path at the prompt.
    pub fn was_typed(&self, path: &str) -> bool {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    /// The flag that Ctrl-C sets, for layers that know nothing of scripts.
    pub fn interrupt_flag(&self) -> Arc<AtomicBool> {
        self.interrupt.clone()
    }

    /// Whether the user asked to stop: long native calls look between layers and chunks.
    pub fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Ends the native call if the user asked to stop; scripts cannot catch this error.
    pub fn check_interrupt(&self) -> ScriptResult<()> {
        match self.interrupted() {
            true => Err(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into()),
            false => Ok(()),
        }
    }

    /// Makes this the run of this thread.
    pub(super) fn enter(self: &Arc<Self>) {
        CURRENT.set(Some(self.clone()));
    }

    /// Does `work` that cannot be interrupted on a thread of its own, and leaves it there if the user asks to stop.
    /// For calls into libraries that are over in seconds, or not worth waiting for.
    pub fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ScriptResult<T> {
        let (done, result) = mpsc::channel();
        let work = move || {
            // The other side may have left.
            let _ = done.send(panics::caught(work));
        };
        let thread = thread::Builder::new().stack_size(APART_STACK).spawn(work);
        thread.map_err(|error| fail(format!("cannot start a thread: {error}")))?;
        loop {
            match result.recv_timeout(Duration::from_millis(10)) {
                Ok(value) => return Ok(value?),
                Err(RecvTimeoutError::Timeout) => self.check_interrupt()?,
                Err(RecvTimeoutError::Disconnected) => return Err(fail("a thread ended early").into()),
            }
        }
    }

    /// Writes a file in pieces, and stops between two of them if the user asks to.
    pub fn write(
        &self,
        path: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> ScriptResult<PathBuf> {
        let written = self.files()?.write(path, |to| fill(&mut Stoppable { to, context: self }));
        written.map_err(|error| match self.check_interrupt() {
            Err(stopped) => stopped,
            Ok(()) => refused(&error).into(),
        })
    }

    /// Refuses an array of `len` values before it is made.
    pub fn check_len(&self, len: usize) -> ScriptResult<()> {
        let most = self.options.limits.array_len;
        if len > most {
            return Err(fail(format!("an array of {len} values is too long: it may have {most}"))
                .help("take fewer at once, or allow more: `--max-array`")
                .into());
        }
        reserve_values(len)
    }

    /// Forgets an earlier Ctrl-C or time limit, before the next input of the REPL.
    pub fn clear_interrupt(&self) {
        self.interrupt.store(false, Ordering::Relaxed);
        self.timed_out.store(false, Ordering::Relaxed);
    }

    /// Interrupts the script because its time is over.
    pub(super) fn time_out(&self) {
        self.timed_out.store(true, Ordering::Relaxed);
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// The failure of a script that its time limit ended.
    pub(super) fn timed_out(&self) -> Option<Failure> {
        let limit = self.options.limits.time.filter(|_| self.timed_out.load(Ordering::Relaxed))?;
        let longer = limit.saturating_mul(4);
        Some(
            fail(format!("the script took longer than {limit:?}"))
                .help(format!("if that is meant, allow more: `--max-time {longer:?}`")),
        )
    }

    /// Notes where a native function is called.
    pub(super) fn note_call(&self, position: Position, source: Option<&str>) {
        let main = self.options.script.as_deref().and_then(Path::to_str);
        let (line, column) = (position.line().unwrap_or(0), position.position().unwrap_or(0));
        let here = source.is_none() || source == main;
        // Both are kept in sixteen bits by the engine.
        let place = if here { (line as u32) << 16 | (column as u32 & 0xffff) } else { 0 };
        self.called.store(place, Ordering::Relaxed);
    }

    /// Where a native function was called last, if that was in the script itself.
    pub(super) fn last_call(&self) -> Option<Place> {
        let place = self.called.load(Ordering::Relaxed);
        let (line, column) = ((place >> 16) as u16, (place & 0xffff) as u16);
        let source = self.options.script.as_deref().and_then(Path::to_str)?.to_string();
        (line > 0).then(|| Place { source, position: Position::new(line, column) })
    }

    /// The stack of the thread that runs the script.
    pub(super) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What the engine asks on every step: why the script must end here, if it must. No script can catch that.
    pub(super) fn stop(&self) -> Option<Dynamic> {
        if self.interrupted() || self.output_closed() {
            return Some(Dynamic::UNIT);
        }
        let full = || memory::limit::over().map(Failure::from);
        self.stack.low().or_else(full).map(Dynamic::from)
    }

    /// Whether no warning was given for this place yet.
    pub fn is_news(&self, warning: &Diagnostic) -> bool {
        let Some(place) = &warning.place else { return true };
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        warned.insert((place.source.clone(), place.position))
    }

    /// Prints a warning of a running script to standard error, once a place.
    pub fn advise(&self, warning: &Diagnostic) {
        if self.is_news(warning) {
            let color = terminal::has_color(&stderr());
            output::tell_as(|| warning.render(&self.sources, color), || warning.json(&self.sources));
        }
    }

    /// A bar on standard error, when that is a terminal. `total` counts steps, whose plural is `unit`.
    pub fn progress(&self, label: &str, total: u64, unit: &str) -> Progress {
        Progress::new(label, total, unit)
    }

    /// Says once on standard error what a user should know of a run that goes well.
    pub fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.insert(text.into()) {
            output::tell(format_args!("note: {text}"));
        }
    }

    /// How inputs of the REPL name earlier values.
    pub(super) fn results(&self) -> Arc<Names> {
        self.results.clone()
    }

    /// A script has loaded a model, now or before.
    pub fn loaded(&self, model: &Arc<Model>) {
        *self.model.lock().unwrap_or_else(PoisonError::into_inner) = Some(model.clone());
    }

    /// The model that was loaded last.
    pub fn model(&self) -> Option<Arc<Model>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the next sweep print its plan, or no longer.
    pub(super) fn explain_next(&self, explain: bool) {
        self.explain_next.store(explain, Ordering::Relaxed);
    }

    /// Whether the sweep that begins prints its plan.
    pub fn explains(&self) -> bool {
        self.explain_next.swap(false, Ordering::Relaxed) || self.options.explain
    }

    /// Nothing more can be printed, which ends the run.
    pub(super) fn close_output(&self, error: &std::io::Error) {
        let left = error.kind() == std::io::ErrorKind::BrokenPipe;
        let _ = self.output.set((!left).then(|| error.to_string()));
    }

    pub(super) fn output_closed(&self) -> bool {
        self.output.get().is_some()
    }

    /// How a run ends whose output is closed.
    pub(super) fn output_error(&self) -> Option<Error> {
        self.output.get().map(|reason| match reason {
            None => Error::OutputClosed,
            Some(reason) => Error::Output(reason.clone()),
        })
    }
}
