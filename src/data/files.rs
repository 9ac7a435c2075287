//! The only door to the file system for scripts: which paths they may read and write.
//!
//! A path is judged by where it really leads, all links followed. Reads must end inside the script's
//! folder, the working folder, the output folder or what `--allow-read` adds; writes inside the output
//! folder or what `--allow-write` adds. A file appears whole or not at all ([`replace`](mod@replace)), and one run at a
//! time writes to an output folder. What was read is remembered ([`reads`]), for runs that are resumed.

use crate::help::Help;
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nearest::nearest;
use crate::plain::{self, NotPlain};
use crate::utf8::{self, NotUtf8};

mod reads;
pub(crate) mod replace;

pub use reads::{Read, Reads};
use replace::{clear, create_parent, replace};

/// The longest file that is read, unless the host says otherwise.
const LONGEST: u64 = 4 << 30;

/// A script's view of the file system.
#[derive(Debug)]
pub struct Files {
    script_dir: Option<PathBuf>,
    working_dir: PathBuf,
    out_dir: PathBuf,
    read_roots: Vec<PathBuf>,
    write_roots: Vec<PathBuf>,
    resumes: bool,
    /// Whether the output folder must lie in the working folder, since nobody named it.
    confined: bool,
    /// The longest file that is read, in bytes.
    longest: u64,
    written: Mutex<BTreeSet<PathBuf>>,
    reads: Mutex<Reads>,
    held: Mutex<Held>,
}

/// What keeps this run from others.
#[derive(Debug, Default)]
struct Held {
    /// The output folder, locked as long as this lives.
    out: Option<File>,
    /// Folders that are free of what dead runs left there.
    clear: BTreeSet<PathBuf>,
}

/// What a run that can be resumed is made of, in its output folder. No script writes it.
const RECORD: &str = ".resume.json";

/// What a run was made of and what it gave, in its output folder. No script writes it.
const RUN: &str = "run.json";

/// How such a file begins; another one of that name is somebody's own.
const RUN_HEAD: &[u8] = b"{\n  \"patchscript\": ";

/// Why a path was refused or a file could not be read or written. `path` is always as the user wrote it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("no file `{path}`; looked for {}", list(looked_for))]
    Missing { path: String, looked_for: Vec<PathBuf>, nearest: Option<String> },
    #[error("may not read `{path}`: it {} outside the readable folders", leads(path, real))]
    ReadOutside { path: String, real: PathBuf },
    #[error("may not write `{path}`: it {} outside the output folder", leads(path, real))]
    WriteOutside { path: String, real: PathBuf },
    #[error("may not write `{path}`: a link in it leads nowhere")]
    DeadLink { path: String },
    #[error("may not write `{path}`: `..` is not allowed in a path to write")]
    WriteParent { path: String, out_dir: PathBuf },
    #[error("`{path}` is not a regular file")]
    NotAFile { path: String },
    #[error("`{path}` has {size} bytes, more than the limit of {limit}")]
    Large { path: String, size: u64, limit: u64 },
    #[error("may not write `{path}`: {}", if path.ends_with(RUN) { "the record of the run goes there" } else { "`--resume` keeps its notes there" })]
    Reserved { path: String },
    #[error("`{}` is no record of a run", path.display())]
    Foreign { path: PathBuf },
    #[error("another run is writing to `{}`", out_dir.display())]
    Busy { out_dir: PathBuf },
    #[error("the output folder `{}` leads to `{}`, outside the working folder", out_dir.display(), real.display())]
    OutLeadsOut { out_dir: PathBuf, real: PathBuf },
    #[error("`{path}` is {reason}")]
    NotUtf8 { path: String, reason: NotUtf8 },
    #[error("cannot read `{path}`: {reason}")]
    Read { path: String, reason: io::Error },
    #[error("cannot write `{path}`: {reason}")]
    Write { path: String, reason: io::Error },
}

/// Where a path leads, if that is elsewhere.
fn leads(path: &str, real: &Path) -> String {
    if Path::new(path) == real { "lies".into() } else { format!("leads to `{}`,", real.display()) }
}

impl Help for FileError {
    fn help(&self) -> Option<String> {
        match self {
            FileError::Missing { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            FileError::Missing { path, .. } if Path::new(path).is_relative() => {
                Some("write the path as seen from the script or from the working folder".into())
            }
            FileError::Missing { .. } => None,
            FileError::ReadOutside { real, .. } => {
                let dir = if real.is_dir() { real } else { real.parent().unwrap_or(real) };
                Some(format!("allow it with `--allow-read {}`", dir.display()))
            }
            FileError::WriteOutside { real, .. } => {
                let dir = real.parent().unwrap_or(real);
                Some(format!(
                    "allow it with `--allow-write {}`, or write a path relative to the output folder",
                    dir.display()
                ))
            }
            FileError::DeadLink { .. } => Some("remove the link, or write under another name".into()),
            FileError::WriteParent { out_dir, .. } => Some(format!(
                "paths are relative to `{}`; move it with `--out DIR`, or add a folder with \
                 `--allow-write DIR` and write the absolute path",
                out_dir.display()
            )),
            FileError::NotAFile { .. } => Some("name a file, not a folder or a pipe".into()),
            FileError::Large { .. } => Some("split it, or keep only what the script needs".into()),
            FileError::Reserved { .. } => Some("write under another name".into()),
            FileError::Foreign { .. } => {
                Some("move it, or write the results elsewhere with `--out DIR`".into())
            }
            FileError::Busy { .. } => Some("wait for its end, or write elsewhere with `--out DIR`".into()),
            FileError::OutLeadsOut { real, .. } => {
                Some(format!("if that is meant, name it: `--out {}`", real.display()))
            }
            FileError::NotUtf8 { path, reason } => Some(format!(
                "convert it first, for example with `iconv -f {} -t utf-8 {path}`",
                reason.encoding()
            )),
            FileError::Read { .. } | FileError::Write { .. } => None,
        }
    }
}

impl Files {
    /// Reads below `working_dir` (an absolute path), writes below `out_dir` (relative to `working_dir`).
    /// Neither folder is touched or created here.
    pub fn new(working_dir: impl Into<PathBuf>, out_dir: impl AsRef<Path>) -> Files {
        let working_dir = working_dir.into();
        Files {
            script_dir: None,
            out_dir: working_dir.join(out_dir),
            working_dir,
            read_roots: Vec::new(),
            write_roots: Vec::new(),
            resumes: false,
            confined: false,
            longest: LONGEST,
            written: Mutex::default(),
            reads: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// The folder of the script, where relative reads look first; the REPL has none.
    pub fn with_script_dir(mut self, dir: impl AsRef<Path>) -> Files {
        // By components, which drop a `./` in the middle.
        self.script_dir = Some(self.working_dir.join(dir).components().collect());
        self
    }

    /// Also read below `dir` (`--allow-read`).
    pub fn with_read_root(mut self, dir: impl AsRef<Path>) -> Files {
        self.read_roots.push(self.working_dir.join(dir));
        self
    }

    /// Also write below `dir` (`--allow-write`), by absolute paths.
    pub fn with_write_root(mut self, dir: impl AsRef<Path>) -> Files {
        self.write_roots.push(self.working_dir.join(dir));
        self
    }

    /// What lies in the output folder was written by this run, before it was interrupted (`--resume`).
    pub fn resuming(mut self, resumes: bool) -> Files {
        self.resumes = resumes;
        self
    }

    /// The output folder must lie in the working folder: nobody named it, so no link decides where it is.
    pub fn confined(mut self, confined: bool) -> Files {
        self.confined = confined;
        self
    }

    /// Files of more bytes are not read.
    pub fn with_longest(mut self, bytes: u64) -> Files {
        self.longest = bytes;
        self
    }

    /// The folder that relative writes go to. It exists only once something is written.
    pub fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// The files written so far, sorted.
    pub fn written(&self) -> Vec<PathBuf> {
        lock(&self.written).iter().cloned().collect()
    }

    /// What was read so far that this run did not write itself, but for the first `n`.
    pub fn reads_after(&self, n: usize) -> Vec<Read> {
        lock(&self.reads).after(n)
    }

    /// Whether reading what another run read gives the same today.
    pub fn reads_alike(&self, read: &Read) -> bool {
        match &read.file {
            Some((real, sum)) => plain::file_sum(&self.working_dir.join(real)).is_ok_and(|now| now == *sum),
            None => matches!(self.read_path(&read.path), Err(FileError::Missing { .. })),
        }
    }

    /// The real path of the file or folder `path`, if it exists and may be read.
    ///
    /// A relative path is looked for among the files that this run wrote, then in the script's folder, the
    /// working folder and the output folder. The first that exists decides: if it leads outside, that is
    /// an error and no other is tried.
    pub fn read_path(&self, path: &str) -> Result<PathBuf, FileError> {
        let mut looked_for = Vec::new();
        let mut outside = None;
        for candidate in self.candidates(path) {
            let exists = candidate.symlink_metadata().is_ok();
            match resolve(&candidate) {
                Ok(real) if !self.may_read(&real) && exists => {
                    return Err(FileError::ReadOutside { path: path.into(), real });
                }
                Ok(real) if !self.may_read(&real) => outside = outside.or(Some(real)),
                Ok(real) if exists => return Ok(real),
                _ => looked_for.push(candidate),
            }
        }
        match outside {
            // Whether a file exists outside is not for the script to know.
            Some(real) if looked_for.is_empty() => Err(FileError::ReadOutside { path: path.into(), real }),
            _ => {
                Err(FileError::Missing { path: path.into(), nearest: sibling(path, &looked_for), looked_for })
            }
        }
    }

    /// The bytes of the regular file `path`; see [`Files::read_path`] for where it is looked for.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let real = self.find(path)?;
        let bytes = plain::read(&real, self.longest).map_err(|error| unread(path, error))?;
        self.note_read(path, &real, || Ok(plain::sum(&bytes)))?;
        Ok(bytes)
    }

    /// The regular file `path`, to be read piece by piece, however long it is.
    pub fn open(&self, path: &str) -> Result<File, FileError> {
        let real = self.find(path)?;
        let file = plain::open(&real).map_err(|error| unread(path, error))?;
        self.note_read(path, &real, || plain::file_sum(&real))?;
        Ok(file)
    }

    /// [`Files::read_path`]; that there is no such file is remembered too.
    fn find(&self, path: &str) -> Result<PathBuf, FileError> {
        let found = self.read_path(path);
        if let Err(FileError::Missing { .. }) = found {
            lock(&self.reads).add(Read { path: path.into(), file: None });
        }
        found
    }

    fn note_read(
        &self,
        path: &str,
        real: &Path,
        sum: impl FnOnce() -> io::Result<String>,
    ) -> Result<(), FileError> {
        // What an interrupted run wrote is not read from outside by the one that resumes it.
        let own = self.resumes && inside_any(real, [&self.out_dir]);
        if !own && !lock(&self.written).contains(real) {
            let sum = sum().map_err(|error| unread(path, error))?;
            // So that an experiment may move as a whole.
            let here = self.working_dir.canonicalize().unwrap_or_default();
            let real = real.strip_prefix(here).unwrap_or(real);
            lock(&self.reads).add(Read { path: path.into(), file: Some((real.into(), sum)) });
        }
        Ok(())
    }

    /// The text of `path`, which must be UTF-8; a byte order mark is dropped.
    pub fn read_text(&self, path: &str) -> Result<String, FileError> {
        let bytes = self.read(path)?;
        utf8::text(bytes).map_err(|reason| FileError::NotUtf8 { path: path.into(), reason })
    }

    /// The real path that writing to `path` would fill, if that is allowed. Creates nothing.
    ///
    /// A relative path is relative to the output folder; an absolute one must lie inside the output folder or
    /// a folder given by `--allow-write`.
    pub fn write_path(&self, path: &str) -> Result<PathBuf, FileError> {
        let target = self.target(path)?;
        let reserved = |name| self.target(name).is_ok_and(|reserved| reserved == target);
        match reserved(RECORD) || reserved(RUN) {
            true => Err(FileError::Reserved { path: path.into() }),
            false => Ok(target),
        }
    }

    fn target(&self, path: &str) -> Result<PathBuf, FileError> {
        let wanted = Path::new(path);
        if climbs(wanted) {
            return Err(FileError::WriteParent { path: path.into(), out_dir: self.out_dir.clone() });
        }
        let real =
            resolve(&self.out_dir.join(wanted)).map_err(|_| FileError::DeadLink { path: path.into() })?;
        if self.confined
            && let Ok(out) = resolve(&self.out_dir)
            && !inside_any(&out, [&self.working_dir])
        {
            return Err(FileError::OutLeadsOut { out_dir: self.out_dir.clone(), real: out });
        }
        if !inside_any(&real, self.write_roots.iter().chain([&self.out_dir])) {
            return Err(FileError::WriteOutside { path: path.into(), real });
        }
        let names_a_file = wanted.file_name().is_some() && !path.ends_with(std::path::is_separator);
        if !names_a_file || (real.exists() && !real.is_file()) {
            return Err(FileError::NotAFile { path: path.into() });
        }
        Ok(real)
    }

    /// Write `path` whole or not at all: if `body` fails, whatever was there before stays.
    ///
    /// Missing folders are created. Returns the real path of the file.
    pub fn write(
        &self,
        path: &str,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<PathBuf, FileError> {
        let target = self.write_path(path)?;
        self.fill(path, &target, body)?;
        lock(&self.written).insert(target.clone());
        Ok(target)
    }

    fn fill(
        &self,
        path: &str,
        target: &Path,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), FileError> {
        self.hold(target)?;
        replace(target, body).map_err(|reason| FileError::Write { path: path.into(), reason })
    }

    /// Removes the regular file `path`, which may be written; says whether there was one.
    pub fn remove(&self, path: &str) -> Result<bool, FileError> {
        let target = self.write_path(path)?;
        self.hold(&target)?;
        match fs::remove_file(&target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(reason) => Err(FileError::Write { path: path.into(), reason }),
            Ok(()) => Ok(true),
        }
    }

    /// The file at `path` to add to while the script runs: for logs, whose lines so far must survive an
    /// interruption. All else goes through [`Files::write`]. It is empty, unless `keep` asks for what is there.
    pub fn stream(&self, path: &str, keep: bool) -> Result<File, FileError> {
        let target = self.write_path(path)?;
        let file = self.grow(path, &target, keep)?;
        lock(&self.written).insert(target);
        Ok(file)
    }

    fn grow(&self, path: &str, target: &Path, keep: bool) -> Result<File, FileError> {
        self.hold(target)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(!keep);
        let file = create_parent(target).and_then(|_| plain::open_with(target, &mut options));
        file.map_err(|reason| FileError::Write { path: path.into(), reason })
    }

    /// The notes of the run that wrote to the output folder before; `None` if there are none.
    pub fn record(&self) -> Result<Option<Vec<u8>>, FileError> {
        let target = self.target(RECORD)?;
        if target.symlink_metadata().is_err() {
            return Ok(None);
        }
        // Held from here on: notes that another run goes on writing are worth nothing.
        self.hold(&target)?;
        let read = plain::read(&target, self.longest).map(Some);
        read.map_err(|reason| FileError::Read { path: RECORD.into(), reason })
    }

    /// A file for the notes of this run, which begin with `text`.
    pub fn begin_record(&self, text: &[u8]) -> Result<File, FileError> {
        let target = self.target(RECORD)?;
        self.fill(RECORD, &target, |to| to.write_all(text))?;
        let mut file = self.grow(RECORD, &target, true)?;
        let end = file.seek(SeekFrom::End(0));
        end.map_err(|reason| FileError::Write { path: RECORD.into(), reason })?;
        Ok(file)
    }

    /// Writes the record of this run.
    pub fn write_run(&self, text: &[u8]) -> Result<(), FileError> {
        let target = self.target(RUN)?;
        self.hold(&target)?;
        if target.symlink_metadata().is_ok() && !is_run(&target) {
            return Err(FileError::Foreign { path: target });
        }
        self.fill(RUN, &target, |to| to.write_all(text))
    }

    /// Keeps other runs from writing to the output folder, if `target` is in it, until this one ends, and clears up
    /// after dead ones.
    fn hold(&self, target: &Path) -> Result<(), FileError> {
        let mut held = lock(&self.held);
        if cfg!(unix) && held.out.is_none() && inside_any(target, [&self.out_dir]) {
            let failed = |reason| FileError::Write { path: self.out_dir.display().to_string(), reason };
            fs::create_dir_all(&self.out_dir).map_err(failed)?;
            // The lock is on the folder itself: it leaves nothing behind and ends with the process, however that ends.
            let out = File::open(&self.out_dir).map_err(failed)?;
            match out.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    return Err(FileError::Busy { out_dir: self.out_dir.clone() });
                }
                // Some file systems have no locks.
                Ok(()) | Err(TryLockError::Error(_)) => held.out = Some(out),
            }
            // From here on the results are not those of an earlier run.
            let earlier = self.out_dir.join(RUN);
            if is_run(&earlier) {
                fs::remove_file(&earlier).map_err(failed)?;
            }
        }
        if let Some(folder) = target.parent()
            && !held.clear.contains(folder)
        {
            clear(folder);
            held.clear.insert(folder.into());
        }
        Ok(())
    }

    /// Where a relative path may lie, best first; an absolute path stands for itself.
    fn candidates(&self, path: &str) -> Vec<PathBuf> {
        let ours = self.out_dir.join(path);
        // A script that writes a file and reads it back means its own, whatever lies beside the script.
        let written = self.resumes || resolve(&ours).is_ok_and(|real| lock(&self.written).contains(&real));
        let dirs = self.script_dir.iter().chain([&self.working_dir]);
        let mut candidates: Vec<PathBuf> = written.then(|| ours.clone()).into_iter().collect();
        candidates.extend(dirs.map(|dir| dir.join(path)));
        if !climbs(Path::new(path)) {
            candidates.push(ours);
        }
        candidates.dedup();
        candidates
    }

    fn may_read(&self, real: &Path) -> bool {
        let own = self.script_dir.iter().chain([&self.working_dir, &self.out_dir]);
        inside_any(real, own.chain(&self.read_roots))
    }
}

/// Whether a file is the record of a run.
fn is_run(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = plain::open(path).and_then(|file| file.take(RUN_HEAD.len() as u64).read_to_end(&mut head));
    read.is_ok() && head == RUN_HEAD
}

/// What is kept of paths is valid at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why the file at `path` cannot be read.
fn unread(path: &str, error: io::Error) -> FileError {
    match NotPlain::of(&error) {
        Some(NotPlain::Kind) => FileError::NotAFile { path: path.into() },
        Some(&NotPlain::Large { size, limit }) => FileError::Large { path: path.into(), size, limit },
        None => FileError::Read { path: path.into(), reason: error },
    }
}

/// Whether `path` has a `..` in it.
fn climbs(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// `path` with all links followed as far as it exists; the rest is appended as written.
///
/// Fails on links that lead nowhere or in circles.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    for ancestor in path.ancestors() {
        // Unlike `exists`, this also sees a link that leads nowhere, which `canonicalize` then refuses.
        if ancestor.symlink_metadata().is_ok() {
            let rest = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            // `components` keeps `join` from adding a separator for an empty rest.
            return Ok(ancestor.canonicalize()?.components().chain(rest.components()).collect());
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Whether the real path `real` lies in one of `roots`, which may themselves be links or not exist yet.
fn inside_any<'a>(real: &Path, roots: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    roots.into_iter().any(|root| resolve(root).is_ok_and(|root| real.starts_with(root)))
}

/// `path` with the file name of the file beside one of `looked_for` that its own name comes closest to.
fn sibling(path: &str, looked_for: &[PathBuf]) -> Option<String> {
    let wanted = Path::new(path).file_name()?.to_str()?;
    let names: Vec<String> = looked_for
        .iter()
        .filter_map(|candidate| fs::read_dir(candidate.parent()?).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let name = nearest(wanted, names.iter().map(String::as_str))?;
    Some(Path::new(path).with_file_name(name).display().to_string())
}

/// `a`, `b`, each in backticks.
fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
