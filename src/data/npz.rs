//! Several arrays of float32 by name, in NumPy's `.npz` format: a zip of [`npy`](super::npy) files.
//!
//! Members are written as they are and read as they are or deflated, as `np.savez` and `np.savez_compressed` write
//! them. A member is believed only as far as its bytes and its checksum bear out.

use std::io::{self, Cursor, Read, Seek, Write};

use flate2::read::DeflateDecoder;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, NpyError};

/// Deflate packs no more than so many bytes into one.
const MOST_DEFLATED: u64 = 1032;

/// Why an archive or a member of it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    #[error("`{name}` is not an npz file: {reason}")]
    Archive { name: String, reason: String },
    #[error("`{name}` has no member `{member}`")]
    Missing { name: String, member: String, members: Vec<String> },
    #[error("member `{member}` of `{name}` is damaged: {reason}")]
    Damaged { name: String, member: String, reason: String },
    #[error(transparent)]
    Npy(#[from] NpyError),
}

/// Write arrays, each a name, a shape and its numbers, row-major. The same arrays give the same bytes.
pub fn write_npz<'a>(
    to: impl Write + Seek,
    arrays: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> io::Result<()> {
    let mut zip = ZipWriter::new(to);
    for (name, shape, data) in arrays {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(size_of_val(data) as u64 >= u64::from(u32::MAX));
        zip.start_file(format!("{name}.npy"), options)?;
        npy::write_npy(&mut zip, shape, data)?;
    }
    zip.finish()?;
    Ok(())
}

/// An npz file that lies in memory.
pub struct Npz<'a> {
    /// What errors call it.
    name: &'a str,
    zip: ZipArchive<Cursor<&'a [u8]>>,
}

impl<'a> Npz<'a> {
    pub fn open(name: &'a str, bytes: &'a [u8]) -> Result<Npz<'a>, NpzError> {
        let alien = |error: ZipError| NpzError::Archive { name: name.into(), reason: error.to_string() };
        Ok(Npz { name, zip: ZipArchive::new(Cursor::new(bytes)).map_err(alien)? })
    }

    /// The names of its arrays, sorted.
    pub fn members(&self) -> Vec<String> {
        let names =
            self.zip.file_names().filter_map(|name| name.ok()?.strip_suffix(".npy").map(String::from));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Bytes that a member says it takes when unpacked.
    pub fn size(&mut self, member: &str) -> Result<u64, NpzError> {
        Ok(self.find(member)?.size())
    }

    /// A member's shape and numbers, row-major.
    pub fn read(&mut self, member: &str) -> Result<(Vec<usize>, Vec<f32>), NpzError> {
        let name = self.name;
        let damaged = |reason: String| NpzError::Damaged { name: name.into(), member: member.into(), reason };
        let file = self.find(member)?;
        let (packed, size, sum, method) =
            (file.compressed_size(), file.size(), file.crc32(), file.compression());
        if file.encrypted() {
            return Err(damaged("it is encrypted".into()));
        }
        if size > packed.saturating_mul(MOST_DEFLATED) {
            return Err(damaged(format!("{packed} bytes cannot hold {size}")));
        }
        let mut bytes = Vec::new();
        // One byte more than there should be, to notice it.
        let unpacked = match method {
            CompressionMethod::STORE => file.take(size + 1).read_to_end(&mut bytes),
            CompressionMethod::DEFLATE => DeflateDecoder::new(file).take(size + 1).read_to_end(&mut bytes),
            other => return Err(damaged(format!("it is packed by {other}, not stored or deflated"))),
        };
        unpacked.map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(damaged(format!("it should have {size} bytes")));
        }
        if crc32fast::hash(&bytes) != sum {
            return Err(damaged("its checksum is wrong".into()));
        }
        Ok(npy::read_npy(&format!("{name}[{member}]"), &bytes)?)
    }

    /// A member, packed as it is.
    fn find(&mut self, member: &str) -> Result<ZipFile<'_, Cursor<&'a [u8]>>, NpzError> {
        let name = self.name;
        let Some(index) = self.zip.index_for_name(&format!("{member}.npy")) else {
            return Err(NpzError::Missing {
                name: name.into(),
                member: member.into(),
                members: self.members(),
            });
        };
        let damaged = |error: ZipError| NpzError::Damaged {
            name: name.into(),
            member: member.into(),
            reason: error.to_string(),
        };
        self.zip.by_index_raw(index).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use crate::help::Help;
    use proptest::prelude::*;

    use super::*;

    fn written(arrays: &[(&str, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
        let mut to = Cursor::new(Vec::new());
        write_npz(&mut to, arrays.iter().map(|(name, shape, data)| (*name, &shape[..], &data[..]))).unwrap();
        to.into_inner()
    }

    fn two() -> Vec<u8> {
        written(&[("weight", vec![2, 3], vec![0.5, -1.0, 2.5, 3.0, 0.25, 7.0]), ("bias", vec![], vec![4.0])])
    }

    /// Written by `tests/fixtures/make_npz.py`.
    const DEFLATED: &[u8] = include_bytes!("../../tests/fixtures/deflated.npz");

    #[test]
    fn members_read_back() {
        let bytes = two();
        assert_eq!(bytes, two());
        let mut npz = Npz::open("x.npz", &bytes).unwrap();
        assert_eq!(npz.members(), ["bias", "weight"]);
        assert_eq!(npz.read("weight").unwrap(), (vec![2, 3], vec![0.5, -1.0, 2.5, 3.0, 0.25, 7.0]));
        assert_eq!(npz.read("bias").unwrap(), (vec![], vec![4.0]));
        assert_eq!(npz.size("bias").unwrap(), 128 + 4);
    }

    #[test]
    fn numpys_own_files_are_read() {
        let mut npz = Npz::open("deflated.npz", DEFLATED).unwrap();
        assert_eq!(npz.members(), ["a", "names"]);
        let eighths: Vec<f32> = (0..24).map(|i| i as f32 / 8.0).collect();
        assert_eq!(npz.read("a").unwrap(), (vec![4, 6], eighths));
        let error = npz.read("names").unwrap_err();
        assert_eq!(error.to_string(), "`deflated.npz[names]` holds `<U4`, not plain numbers");
    }

    #[test]
    fn what_is_missing_is_named() {
        let bytes = two();
        let mut npz = Npz::open("x.npz", &bytes).unwrap();
        for (member, help) in [("wieght", "did you mean `weight`?"), ("q", "it has `bias`, `weight`")] {
            let error = npz.read(member).unwrap_err();
            assert_eq!(error.to_string(), format!("`x.npz` has no member `{member}`"));
            assert_eq!(error.help().unwrap(), help);
        }
        let empty = written(&[]);
        let error = Npz::open("x.npz", &empty).unwrap().size("q").unwrap_err();
        assert_eq!(error.help().unwrap(), "it has no members");
    }

    #[test]
    fn damage_is_noticed() {
        let told = Npz::open("x.npz", b"\x93NUMPY").err().unwrap().to_string();
        assert!(told.starts_with("`x.npz` is not an npz file: "), "{told}");
        let read = |bytes: &[u8]| Npz::open("x.npz", bytes).and_then(|mut npz| npz.read("weight"));
        let bytes = two();
        // Inside the numbers, where neither the zip nor the npy file has a header.
        let mut flipped = bytes.clone();
        flipped[30 + "weight.npy".len() + 128 + 2] ^= 1;
        let told = read(&flipped).unwrap_err().to_string();
        assert_eq!(told, "member `weight` of `x.npz` is damaged: its checksum is wrong");
        assert!(read(&bytes[..bytes.len() - 30]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            deflated in any::<bool>(),
            cut in 0_usize..40,
            edits in prop::collection::vec((0_usize..1000, any::<u8>()), 0..6),
        ) {
            let mut bytes = if deflated { DEFLATED.to_vec() } else { two() };
            for (at, byte) in edits {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(bytes.len() - cut);
            if let Ok(mut npz) = Npz::open("x", &bytes) {
                for member in npz.members() {
                    let _ = npz.read(&member);
                }
            }
        }
    }
}
