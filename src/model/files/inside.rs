//! The files of a model on disk. None may lead out of the model's folder: what was downloaded or unpacked is not to
//! choose what else is read. Only the links that the Hub's cache itself makes lead elsewhere.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::plain;

/// The longest file beside the weights, in bytes; the largest vocabularies take a tenth.
const LONGEST: u64 = 256 << 20;

/// A link that leads out of the folder that it is in. Carried by an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("it leads to `{}`, outside the model's folder", real.display())]
pub struct LeadsOut {
    pub real: PathBuf,
}

impl LeadsOut {
    /// What the user can do about an error, if it carries one.
    pub fn help(error: &io::Error) -> Option<String> {
        let LeadsOut { real } = error.get_ref()?.downcast_ref()?;
        Some(format!("if that is meant, put `{}` itself there, in place of the link", real.display()))
    }
}

/// The bytes of a file of a model; `None` if nothing is there.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => plain::read(&real(path)?, LONGEST).map(Some),
    }
}

/// Opens a file of a model.
pub fn open(path: &Path) -> io::Result<File> {
    plain::open(&real(path)?)
}

/// Where a file really is, which must be in the folder that it is named in.
pub fn real(path: &Path) -> io::Result<PathBuf> {
    let real = path.canonicalize()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize()?;
    if real.starts_with(&folder) || blobs(&folder).is_some_and(|blobs| real.starts_with(blobs)) {
        Ok(real)
    } else {
        Err(io::Error::other(LeadsOut { real }))
    }
}

/// Where the Hub's cache keeps the files of the commit that a folder is of.
fn blobs(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.ancestors().skip(1).find(|parent| parent.ends_with("snapshots"))?;
    let blobs = snapshots.parent()?.join("blobs");
    // Itself no link, or it would lead anywhere.
    (blobs.canonicalize().ok()? == blobs).then_some(blobs)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_but_into_the_hubs_blobs() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().canonicalize().unwrap().join(path);
        for (file, text) in [
            ("secret", "secret"),
            ("m/config.json", "own"),
            ("hub/models--a--b/blobs/0a", "blob"),
            ("hub/models--a--b/snapshots/c0/x", ""),
            ("fake/snapshots/c0/x", ""),
        ] {
            create_dir_all(at(file).parent().unwrap()).unwrap();
            write(at(file), text).unwrap();
        }
        symlink("config.json", at("m/inside")).unwrap();
        symlink("../secret", at("m/outside")).unwrap();
        symlink("../m", at("m/all")).unwrap();
        symlink("nowhere", at("m/gone")).unwrap();
        symlink("/proc/self/environ", at("m/environ")).unwrap();
        symlink("../../blobs/0a", at("hub/models--a--b/snapshots/c0/y")).unwrap();
        create_dir_all(at("hub/models--a--b/snapshots/c0/layer/x")).unwrap();
        symlink("../../../../blobs/0a", at("hub/models--a--b/snapshots/c0/layer/x/y")).unwrap();
        symlink("../../../../../../secret", at("hub/models--a--b/snapshots/c0/layer/x/z")).unwrap();
        symlink("../../../../secret", at("hub/models--a--b/snapshots/c0/z")).unwrap();
        symlink("../../secret", at("hub/models--a--b/blobs/0b")).unwrap();
        symlink("../../blobs/0b", at("hub/models--a--b/snapshots/c0/w")).unwrap();
        symlink("..", at("fake/blobs")).unwrap();
        symlink("../../blobs/secret", at("fake/snapshots/c0/y")).unwrap();
        let text =
            |path: &str| read(&at(path)).map(|bytes| bytes.map(|bytes| String::from_utf8(bytes).unwrap()));
        assert_eq!(text("m/config.json").unwrap().unwrap(), "own");
        assert_eq!(text("m/inside").unwrap().unwrap(), "own");
        assert_eq!(text("hub/models--a--b/snapshots/c0/y").unwrap().unwrap(), "blob");
        assert_eq!(text("hub/models--a--b/snapshots/c0/layer/x/y").unwrap().unwrap(), "blob");
        assert_eq!(text("m/absent").unwrap(), None);
        for path in [
            "m/outside",
            "m/environ",
            "m/gone",
            "m/all",
            "hub/models--a--b/snapshots/c0/z",
            "hub/models--a--b/snapshots/c0/layer/x/z",
            "hub/models--a--b/snapshots/c0/w",
            "fake/snapshots/c0/y",
        ] {
            assert!(text(path).is_err(), "{path}");
            assert!(open(&at(path)).is_err(), "{path}");
        }
        let error = read(&at("m/outside")).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("it leads to `{}`, outside the model's folder", at("secret").display())
        );
        assert!(LeadsOut::help(&error).unwrap().contains("in place of the link"));
    }
}
