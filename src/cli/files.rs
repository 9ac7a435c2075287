//! Files that a person asks for by their path, whole or not at all. What scripts may write is [`crate::script`]'s business.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::help::Help;

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("there is a file `{}` already", path.display())]
    Exists { path: PathBuf },
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl Help for WriteError {
    fn help(&self) -> Option<String> {
        Some(match self {
            WriteError::Exists { path } => {
                format!("give another name or folder, or move `{}`", path.display())
            }
            WriteError::Write { .. } => "make room there, or name another place".into(),
        })
    }
}

/// Writes a file where there is none.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let fill = filled(path, bytes).and_then(|file| Ok(file.persist_noclobber(path).map(drop)?));
    fill.map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => WriteError::Exists { path: path.into() },
        _ => WriteError::Write { path: path.into(), source },
    })
}

/// Writes a file in the place of another.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let fill = filled(path, bytes).and_then(|file| Ok(file.persist(path).map(drop)?));
    fill.map_err(|source| WriteError::Write { path: path.into(), source })
}

/// A whole file beside `path`.
fn filled(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    // Like any other file that a person makes: temporary ones are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    Ok(file)
}
