//! The only door to the file system for scripts: which paths they may read and write.
//!
//! A path is judged by where it really leads, all links followed. Reads must end inside the script's
//! folder, the working folder, the output folder or what `--allow-read` adds; writes inside the output
//! folder or what `--allow-write` adds. A file appears whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::nearest::nearest;
use crate::utf8::{self, NotUtf8};

/// A script's view of the file system.
#[derive(Debug)]
pub struct Files {
    script_dir: Option<PathBuf>,
    working_dir: PathBuf,
    out_dir: PathBuf,
    read_roots: Vec<PathBuf>,
    write_roots: Vec<PathBuf>,
    resumes: bool,
    written: Mutex<BTreeSet<PathBuf>>,
    /// The checksum of each file that was read, by the path as the user wrote it.
    read_sums: Mutex<BTreeMap<String, u32>>,
}

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

impl FileError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
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
            written: Mutex::default(),
            read_sums: Mutex::default(),
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

    /// The folder that relative writes go to. It exists only once something is written.
    pub fn out_dir(&self) -> &Path {
        &self.out_dir
    }

    /// The files written so far, sorted.
    pub fn written(&self) -> Vec<PathBuf> {
        lock(&self.written).iter().cloned().collect()
    }

    /// The CRC-32 of each file read so far, by the path as it was asked for.
    pub fn read_sums(&self) -> BTreeMap<String, u32> {
        lock(&self.read_sums).clone()
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
        let real = self.read_path(path)?;
        // Refuses pipes too: reading one would wait for ever.
        if !real.is_file() {
            return Err(FileError::NotAFile { path: path.into() });
        }
        let bytes = fs::read(real).map_err(|reason| FileError::Read { path: path.into(), reason })?;
        lock(&self.read_sums).insert(path.into(), crc32fast::hash(&bytes));
        Ok(bytes)
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
        let wanted = Path::new(path);
        if climbs(wanted) {
            return Err(FileError::WriteParent { path: path.into(), out_dir: self.out_dir.clone() });
        }
        let real =
            resolve(&self.out_dir.join(wanted)).map_err(|_| FileError::DeadLink { path: path.into() })?;
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
        replace(&target, body).map_err(|reason| FileError::Write { path: path.into(), reason })?;
        lock(&self.written).insert(target.clone());
        Ok(target)
    }

    /// The file at `path` to add to while the script runs: for logs, whose lines so far must survive an
    /// interruption. All else goes through [`Files::write`]. It is empty, unless `keep` asks for what is there.
    pub fn stream(&self, path: &str, keep: bool) -> Result<File, FileError> {
        let target = self.write_path(path)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(!keep);
        let file = create_parent(&target)
            .and_then(|_| options.open(&target))
            .map_err(|reason| FileError::Write { path: path.into(), reason })?;
        lock(&self.written).insert(target);
        Ok(file)
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

/// What is kept of paths is valid at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Fill a file beside `target` by `body`, make sure it is on disk, then rename it to `target`.
fn replace(target: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".part");
    // A result file is as readable as any other: temporary files are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(create_parent(target)?)?;
    let mut writer = BufWriter::new(&mut file);
    body(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// The folder that `target` lies in, created if need be.
fn create_parent(target: &Path) -> io::Result<&Path> {
    let dir = target.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(dir)?;
    Ok(dir)
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
