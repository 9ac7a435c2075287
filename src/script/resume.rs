//! `--resume`: which logs of an interrupted run this one may take up.
//!
//! Beside its logs a run keeps notes, a JSON value a line: what it is made of (the program, the parameters, the seed, …),
//! every script, file and model that it reads, with checksums and before the first line that may depend on it, the logs
//! that it begins, and the end and checksum of each line before it is written. A run that resumes takes up those logs
//! if all of that is as it was and the logs are as they were left, and else is refused: rows of two experiments must
//! not meet in one file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::context::Context;
use super::error::{Failure, ScriptResult, fail, refused};
use crate::data::files::Read;
use crate::data::log::{self, Mark};
use crate::model::chat::DEFAULT_DATE;
use crate::plain;

const AGAIN: &str = "run without `--resume` to start again";

/// One note.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Note {
    /// By names for messages, as JSON.
    MadeOf(BTreeMap<String, String>),
    Source {
        name: String,
        sum: String,
    },
    Read(Read),
    Model {
        file: PathBuf,
        sum: String,
    },
    Log {
        name: String,
    },
    Line {
        log: String,
        mark: Mark,
    },
}

impl Note {
    /// What the note is about, for messages; nothing of a log.
    fn subject(&self) -> Option<String> {
        match self {
            Note::Source { name, .. } => Some(format!("the script or module `{name}`")),
            Note::Read(read) => Some(format!("the file `{}`", read.path)),
            Note::Model { file, .. } => Some(format!("the model's file `{}`", file.display())),
            Note::MadeOf(_) | Note::Log { .. } | Note::Line { .. } => None,
        }
    }

    fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The logs of this run.
#[derive(Debug, Default)]
pub struct Resume(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    notes: Option<Notes>,
    open: Vec<Open>,
    /// The files of the models loaded so far.
    models: Vec<PathBuf>,
    /// Whether the script is over, and the prompt goes on with what it left.
    over: bool,
}

/// A log that this run writes.
#[derive(Debug)]
struct Open {
    path: String,
    real: PathBuf,
    file: File,
}

#[derive(Debug)]
struct Notes {
    file: File,
    written: HashSet<Note>,
    /// The note about each subject, where another would be a change.
    resumed: HashMap<String, Note>,
    /// The logs of the interrupted run that this one has yet to take up.
    logs: BTreeSet<String>,
    /// How many sources, readings and models are noted.
    noted: (usize, usize, usize),
    /// Checksums of models that were compared a moment ago.
    sums: HashMap<PathBuf, String>,
}

impl Resume {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a model that was loaded.
    pub fn loaded(&self, files: &[PathBuf]) {
        self.lock().models.extend_from_slice(files);
    }

    /// The files of the models that were loaded.
    pub fn models(&self) -> BTreeSet<PathBuf> {
        self.lock().models.iter().cloned().collect()
    }

    /// Begins the log at `path`: gives its file, with the lines of the interrupted run if this one resumes it, and its
    /// name for [`Resume::announce`].
    pub fn begin(&self, context: &Context, path: &str) -> ScriptResult<(File, String)> {
        let state = &mut *self.lock();
        let files = context.files()?;
        let real = files.write_path(path).map_err(|error| refused(&error))?;
        if state.open.iter().any(|open| open.real == real || same_file(&open.file, &real)) {
            return Err(fail(format!("the log `{path}` is open already"))
                .help("keep it in a variable, or write to another file")
                .into());
        }
        let name = real.strip_prefix(files.out_dir()).unwrap_or(&real).display().to_string();
        let mut keep = false;
        // The REPL cannot be resumed, so its logs may be begun again and again.
        let resumable = context.options.script.is_some() && !state.over;
        if resumable {
            if state.notes.is_none() {
                state.notes = Some(Notes::begin(context)?);
            }
            state.note(context)?;
            if let Some(notes) = &mut state.notes {
                keep = notes.logs.remove(&name);
                if !keep {
                    notes.write(Note::Log { name: name.clone() }).map_err(unwritten)?;
                }
            }
        }
        let file = files.stream(path, keep).map_err(|error| refused(&error))?;
        if resumable {
            let watched = file.try_clone().map_err(unwritten)?;
            state.open.push(Open { path: path.into(), real, file: watched });
        }
        Ok((file, name))
    }

    /// The script is over, and its logs are in the hands of the prompt.
    pub fn leave(&self) {
        let state = &mut *self.lock();
        state.over = true;
        state.notes = None;
        state.open.clear();
    }

    /// Notes what was read by now. Comes before each line of a log, which may depend on it.
    pub fn note(&self, context: &Context) -> ScriptResult<()> {
        self.lock().note(context)
    }

    /// Notes the line that a log is about to get.
    pub fn announce(&self, name: &str, mark: Mark) -> io::Result<()> {
        match &mut self.lock().notes {
            Some(notes) => notes.write(Note::Line { log: name.into(), mark }),
            None => Ok(()),
        }
    }

    /// At the end of a run: its logs must still be there. Puts the notes in an order that is the same however often
    /// the run was interrupted.
    pub fn finish(&self, context: &Context) -> ScriptResult<()> {
        let mut state = self.lock();
        if let Some(Open { path, .. }) = state.open.iter().find(|open| log::is_gone(&open.file)) {
            return Err(refused(&log::LogError::Gone { name: path.clone() }).into());
        }
        let files = context.files()?;
        if state.notes.take().is_some()
            && let Some(text) = files.record().map_err(|error| refused(&error))?
        {
            let mut notes =
                parse(&text).map_err(|error| fail(format!("`.resume.json` is damaged: {error}")))?;
            notes.sort();
            files.begin_record(&lines(&notes).map_err(unwritten)?).map_err(|error| refused(&error))?;
        }
        Ok(())
    }
}

impl State {
    fn note(&mut self, context: &Context) -> ScriptResult<()> {
        let Some(notes) = &mut self.notes else { return Ok(()) };
        let (sources, reads, models) = notes.noted;
        let mut new = Vec::new();
        if context.sources.count() > sources {
            let texts = context.sources.texts();
            new.extend(
                texts.into_iter().map(|(name, text)| Note::Source { name, sum: plain::sum(text.as_bytes()) }),
            );
        }
        let read = context.files()?.reads_after(reads);
        let read_now = reads + read.len();
        new.extend(read.into_iter().map(Note::Read));
        for file in self.models.get(models..).unwrap_or_default() {
            let sum = match notes.sums.remove(file) {
                Some(sum) => sum,
                None => plain::file_sum(file).map_err(|error| unreadable(file, &error))?,
            };
            new.push(Note::Model { file: file.clone(), sum });
        }
        for note in new {
            if notes.written.contains(&note) {
                continue;
            }
            if let Some(subject) = note.subject().filter(|subject| notes.resumed.contains_key(subject)) {
                return Err(changed(&subject).into());
            }
            notes.write(note).map_err(unwritten)?;
        }
        notes.noted = (context.sources.count(), read_now, self.models.len());
        Ok(())
    }
}

impl Notes {
    /// New ones, or those of the interrupted run.
    fn begin(context: &Context) -> ScriptResult<Notes> {
        let made_of = made_of(context);
        let files = context.files()?;
        let old =
            if context.options.resume { files.record().map_err(|error| refused(&error))? } else { None };
        let mut notes = vec![Note::MadeOf(made_of.clone())];
        let mut sums = HashMap::new();
        let mut logs = BTreeSet::new();
        // There are none if it was interrupted before its first log.
        if let Some(text) = &old {
            notes = read(text, &made_of)?;
            for note in &notes {
                alike(context, note, &mut sums)?;
            }
            logs = take_up(files.out_dir(), &mut notes)?;
        }
        let file = files.begin_record(&lines(&notes).map_err(unwritten)?).map_err(|error| refused(&error))?;
        let resumed = match old {
            Some(_) => notes.iter().filter_map(|note| Some((note.subject()?, note.clone()))).collect(),
            None => HashMap::new(),
        };
        Ok(Notes { file, written: notes.into_iter().collect(), resumed, logs, noted: (0, 0, 0), sums })
    }

    /// Adds a note, in one write.
    fn write(&mut self, note: Note) -> io::Result<()> {
        log::write_whole(&mut self.file, &note.line()?)?;
        if note.subject().is_some() {
            self.written.insert(note);
        }
        Ok(())
    }
}

/// The notes of the interrupted run, which must be made of the same.
fn read(text: &[u8], made_of: &BTreeMap<String, String>) -> ScriptResult<Vec<Note>> {
    let damaged =
        |reason: String| fail(format!("cannot resume: `.resume.json` is damaged: {reason}")).help(AGAIN);
    let notes = parse(text).map_err(|error| damaged(error.to_string()))?;
    let Some(Note::MadeOf(old)) = notes.first() else {
        return Err(damaged("it does not begin with what the run is made of".into()).into());
    };
    match made_of.iter().find(|(name, value)| old.get(*name) != Some(value)) {
        Some((name, _)) => Err(changed(name).into()),
        None => Ok(notes),
    }
}

fn parse(text: &[u8]) -> serde_json::Result<Vec<Note>> {
    // A last line without its end was cut off.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect()
}

fn lines(notes: &[Note]) -> io::Result<Vec<u8>> {
    Ok(notes.iter().map(Note::line).collect::<io::Result<Vec<_>>>()?.concat())
}

/// Refuses a note that is no longer true.
fn alike(context: &Context, note: &Note, sums: &mut HashMap<PathBuf, String>) -> ScriptResult<()> {
    let alike = match note {
        Note::Source { name, sum } => match context.sources.get(name) {
            Some(text) => plain::sum(text.as_bytes()) == *sum,
            // Imported later than now; the stdlib is part of the program.
            None => {
                name.starts_with("stdlib/") || plain::file_sum(name.as_ref()).is_ok_and(|now| now == *sum)
            }
        },
        Note::Read(read) => context.files()?.reads_alike(read),
        Note::Model { file, sum } => match plain::file_sum(file) {
            Ok(now) => *sums.entry(file.clone()).or_insert(now) == *sum,
            Err(_) => false,
        },
        Note::MadeOf(_) | Note::Log { .. } | Note::Line { .. } => true,
    };
    match note.subject().filter(|_| !alike) {
        Some(subject) => Err(changed(&subject).into()),
        None => Ok(()),
    }
}

/// The logs that were begun, which must be as they were left. Drops the notes of lines that were not written.
fn take_up(out_dir: &Path, notes: &mut Vec<Note>) -> ScriptResult<BTreeSet<String>> {
    let mut logs: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
    for note in notes.iter() {
        match note {
            Note::Log { name } => drop(logs.insert(name.clone(), Vec::new())),
            Note::Line { log, mark } => logs.entry(log.clone()).or_default().push(*mark),
            _ => {}
        }
    }
    let mut kept = BTreeMap::new();
    for (name, marks) in &logs {
        let path = out_dir.join(name);
        let text = match plain::read(&path, u64::MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            text => text.map_err(|error| unreadable(&path, &error))?,
        };
        let Some(lines) = log::kept(&text, marks) else {
            let message = format!("cannot resume: the log `{name}` is not as the interrupted run left it");
            return Err(fail(message).help(format!("undo the change, or {AGAIN}")).into());
        };
        kept.insert(name.clone(), lines);
    }
    notes.retain(|note| match note {
        Note::Line { log, .. } => match kept.get_mut(log) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        },
        _ => true,
    });
    Ok(logs.into_keys().collect())
}

fn made_of(context: &Context) -> BTreeMap<String, String> {
    let options = &context.options;
    let sets: BTreeMap<_, _> = options.sets.iter().cloned().collect();
    let parts = [
        ("the version of patchscript", json!(env!("CARGO_PKG_VERSION"))),
        ("a parameter", json!(sets)),
        ("the model", json!(options.model)),
        ("the device", json!(options.device)),
        ("the number type", json!(options.dtype)),
        ("the precision", json!(options.precision)),
        ("the seed", json!(options.seed)),
        ("the default date of chats", json!(DEFAULT_DATE)),
    ];
    parts.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn changed(what: &str) -> Failure {
    fail(format!("cannot resume: {what} changed since the interrupted run"))
        .help(format!("undo the change, or {AGAIN}"))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    fail(format!("cannot read `{}`: {error}", path.display()))
}

fn unwritten(error: io::Error) -> Failure {
    fail(format!("cannot write `.resume.json`: {error}")).help("make room, and go on with `--resume`")
}

/// Whether a path names an open file by another name.
fn same_file(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let id = |data: std::fs::Metadata| (data.dev(), data.ino());
        file.metadata().ok().map(id).is_some_and(|open| path.metadata().ok().map(id) == Some(open))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        false
    }
}
