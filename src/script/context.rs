//! What a running script shares with its bindings.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rhai::{Dynamic, EvalAltResult, Position};

use super::error::{ScriptResult, fail};
use super::limits::{Limits, TensorBytes};
use super::params::Params;
use super::progress::Progress;
use super::resume::Resume;
use super::source::Sources;
use crate::data::Files;

/// Everything the command line decides, as plain data.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    /// What `load()` loads; the embedded model if none.
    pub model: Option<String>,
    pub device: Option<String>,
    pub dtype: Option<String>,
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
    /// Print the plan of each sweep to standard error before it runs.
    pub explain: bool,
    /// Take up the logs of an interrupted run.
    pub resume: bool,
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
        let mut files = Files::new(working_dir, self.out_folder());
        if self.script.is_some() {
            files = files.with_script_dir(self.script_folder());
        }
        files = files.resuming(self.resume);
        files = self.allow_read.iter().fold(files, Files::with_read_root);
        Ok(self.allow_write.iter().fold(files, Files::with_write_root))
    }
}

/// Options, parameters and the signals that stop a run; shared by the engine and all bindings.
#[derive(Debug, Default)]
pub struct Context {
    pub options: HostOptions,
    pub params: Params,
    pub sources: Sources,
    /// What all tensors of the script occupy.
    pub tensor_bytes: Arc<TensorBytes>,
    pub resume: Resume,
    /// Whether rows are being made that a run which resumes may not make again.
    pub filling: AtomicBool,
    files: OnceLock<Files>,
    interrupt: Arc<AtomicBool>,
    output_closed: AtomicBool,
    last_value: Arc<AtomicBool>,
}

impl Context {
    pub fn new(options: HostOptions) -> Self {
        let params = Params::new(&options.sets);
        let tensor_bytes = Arc::new(TensorBytes::new(options.limits.tensor_bytes));
        Self { options, params, tensor_bytes, ..Self::default() }
    }

    /// The files that this run may read and write; nothing is created.
    pub fn files(&self) -> ScriptResult<&Files> {
        if let Some(files) = self.files.get() {
            return Ok(files);
        }
        let files = self.options.files()?;
        Ok(self.files.get_or_init(|| files))
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

    /// Forgets an earlier Ctrl-C, before the next input of the REPL.
    pub fn clear_interrupt(&self) {
        self.interrupt.store(false, Ordering::Relaxed);
    }

    /// A bar on standard error, when that is a terminal. `total` counts steps, whose plural is `unit`.
    pub fn progress(&self, label: &str, total: u64, unit: &str) -> Progress {
        Progress::new(label, total, unit)
    }

    /// Whether `_` is the last value of the REPL.
    pub(super) fn last_value_flag(&self) -> Arc<AtomicBool> {
        self.last_value.clone()
    }

    pub(super) fn close_output(&self) {
        self.output_closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn output_closed(&self) -> bool {
        self.output_closed.load(Ordering::Relaxed)
    }
}
