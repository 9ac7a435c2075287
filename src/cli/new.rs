//! `patchscript new`: a script to start from, with the data that it reads.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::New;
use super::files::{WriteError, create};
use super::shipped::{Data, SHIPPED, STARTER};
use super::{fail, put, refuse};

/// Writes a script and its data where there are none; gives the exit code.
pub fn run(new: &New) -> u8 {
    if new.name.as_deref().is_some_and(|name| name.file_name().is_none_or(|name| name == ".rhai")) {
        fail("that gives a script no name", Some("name a file, such as `patching.rhai`".into()));
        return 2;
    }
    match write(new) {
        Ok(path) => put(&format!("{0}\nrun it with `patchscript run {0}`\n", path.display())),
        Err(error) => {
            refuse(&error);
            2
        }
    }
}

fn write(new: &New) -> Result<PathBuf, WriteError> {
    let shipped = new.from.as_ref().and_then(|from| SHIPPED.iter().find(|script| script.name == from));
    let (text, data) = shipped.map_or((STARTER, &[][..]), |script| (script.text, script.data));
    let mut path = new.name.clone().or(shipped.map(|script| script.name.into())).unwrap_or_default();
    if path.extension().is_none_or(|extension| extension != "rhai") {
        path.as_mut_os_string().push(".rhai");
    }
    if path.symlink_metadata().is_ok() {
        return Err(WriteError::Exists { path });
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let missing: Vec<(PathBuf, &Data)> = data
        .iter()
        .map(|file| (folder.join(file.0), file))
        // Several scripts read the same.
        .filter(|(path, file)| fs::read(path).map_or(true, |there| there != file.1))
        .collect();
    if let Some((path, _)) = missing.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
        return Err(WriteError::Exists { path: path.clone() });
    }
    for (path, (_, bytes)) in missing {
        create(&path, bytes)?;
    }
    // Last, so that a script that is there has its data.
    create(&path, text.as_bytes())?;
    Ok(path)
}
