//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// What the file beside a file is called until it is whole.
const PREFIX: &str = ".patchscript-";
const SUFFIX: &str = ".part";

/// Fill a file beside `target` by `body`, make sure it is on disk, then rename it to `target`.
pub fn replace(target: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let file = filled(target, body)?;
    file.as_file().sync_all()?;
    file.persist(target)?;
    Ok(())
}

/// The same without waiting for the disk: what appears is whole as long as the machine runs.
pub fn unsynced(target: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    filled(target, body)?.persist(target)?;
    Ok(())
}

fn filled(target: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<NamedTempFile> {
    let folder = create_parent(target)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // A result file is as readable as any other: temporary files are private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    // Tells it from those of dead runs; a file system without locks keeps them all.
    let _ = file.as_file().try_lock();
    let mut writer = BufWriter::new(&mut file);
    body(&mut writer)?;
    writer.flush()?;
    drop(writer);
    Ok(file)
}

/// The folder that `target` lies in, created if need be.
pub fn create_parent(target: &Path) -> io::Result<&Path> {
    let dir = target.parent().ok_or(io::ErrorKind::NotFound)?;
    fs::create_dir_all(dir)?;
    Ok(dir)
}

/// Removes what runs that were killed left in a folder.
pub fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        // Who writes one holds its lock.
        if ours
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}
