//! Regular files, and nothing else: a pipe, a device or a socket in the place of a file is refused, not waited for.

use std::fs::{File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rayon::prelude::*;

/// Why a path cannot be read as a file of reasonable size. Carried by an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub enum NotPlain {
    #[error("it is not a regular file")]
    Kind,
    #[error("it has {size} bytes, more than the limit of {limit}")]
    Large { size: u64, limit: u64 },
}

impl NotPlain {
    /// What an error carries, if that is it.
    pub fn of(error: &io::Error) -> Option<&NotPlain> {
        error.get_ref()?.downcast_ref()
    }

    fn check(data: &Metadata) -> io::Result<()> {
        if data.is_file() { Ok(()) } else { Err(io::Error::other(NotPlain::Kind)) }
    }
}

/// Opens a file to read it.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens a file as `options` say.
pub fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // Before it is opened, which alone can rewind a tape or wait for the other end of a pipe.
    match path.metadata() {
        Ok(data) => NotPlain::check(&data)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    // And after, since another may stand there by now.
    NotPlain::check(&file.metadata()?)?;
    Ok(file)
}

/// The bytes of a file that has at most `limit` of them.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    let large = |size| io::Error::other(NotPlain::Large { size, limit });
    if size > limit {
        return Err(large(size));
    }
    let mut bytes = Vec::new();
    // Files grow, and those of `/proc` are longer than they say.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// Hashed apart, so that a large file is hashed by all cores.
const PIECE: usize = 32 << 20;

/// A checksum of bytes, which tells changes by accident, not by intent.
pub fn sum(bytes: &[u8]) -> String {
    whole(&bytes.par_chunks(PIECE).map(piece).collect::<Vec<_>>())
}

/// The [`sum`] of a file's bytes, of which few are held at a time.
pub fn file_sum(path: &Path) -> io::Result<String> {
    let size = open(path)?.metadata()?.len();
    let pieces = (0..size.div_ceil(PIECE as u64)).into_par_iter().map(|i| {
        let mut file = open(path)?;
        file.seek(SeekFrom::Start(i * PIECE as u64))?;
        let mut bytes = Vec::new();
        file.take(PIECE as u64).read_to_end(&mut bytes)?;
        Ok(piece(&bytes))
    });
    Ok(whole(&pieces.collect::<io::Result<Vec<_>>>()?))
}

fn piece(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn whole(pieces: &[u64]) -> String {
    let mut hasher = DefaultHasher::new();
    pieces.iter().for_each(|piece| hasher.write_u64(*piece));
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_sum_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut bytes: Vec<u8> = (0..PIECE as u64 + 77).map(|i| (i * i % 251) as u8).collect();
        for len in [0, 1, PIECE, bytes.len()] {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert_eq!(file_sum(&path).unwrap(), sum(&bytes[..len]), "{len}");
        }
        let before = sum(&bytes);
        bytes[PIECE + 3] ^= 1;
        assert_ne!(sum(&bytes), before);
        assert_ne!(sum(&[]), sum(&[0]));
    }

    #[test]
    fn a_limit_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!(error.to_string(), "it has 5 bytes, more than the limit of 4");
        File::options().write(true).open(&path).unwrap().set_len(7 << 30).unwrap();
        assert!(matches!(NotPlain::of(&read(&path, 1 << 30).unwrap_err()), Some(NotPlain::Large { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_folders_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let socket = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&pipe, &socket, Path::new("/dev/zero"), Path::new("/dev/tty"), folder.path()] {
            let error = read(path, 1 << 20).unwrap_err();
            assert!(matches!(NotPlain::of(&error), Some(NotPlain::Kind)), "{}: {error}", path.display());
            assert!(file_sum(path).is_err());
        }
    }
}
