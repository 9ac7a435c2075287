//! GGUF files: metadata and quantised tensors of one model, in one file or in several [`parts`].
//!
//! The [`header`] is checked against the file before anything is allocated from its numbers: every length, every
//! tensor's extent, no two tensors on the same bytes. Metadata values stay in the mapped file until they are asked for;
//! [`cursor`] reads them. [`types`] are those of tensors.
//! candle's `gguf_file` (0.11.1) does not do: it refuses a whole file for one tensor of an IQ, TQ or MXFP4 type, copies
//! tensors out of the file in place of mapping it, makes 32 bytes of each element of an array (of a byte, too), divides by
//! zero where `general.alignment` is 0, and of two equal keys or names lets the last win.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::help::Help;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::inside;
use crate::model::cpu::blocks::{self, Blocks, Format};
use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use memmap2::Mmap;

use cursor::Cursor;
use header::{Header, TensorInfo};

mod cursor;
mod header;
mod parts;
mod types;

/// A GGUF file and what is wrong with it, or with a question about it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {problem}", path.display())]
pub struct GgufError {
    pub path: PathBuf,
    pub problem: Box<Problem>,
}

#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Io(#[source] std::io::Error),
    #[error("is not a GGUF file")]
    NotGguf,
    #[error("is GGUF version {0}, expected 2 or 3")]
    Version(u32),
    #[error("is truncated: {what} ends at byte {end}, the file has {len}")]
    Truncated { what: String, end: u64, len: u64 },
    #[error("is corrupt: {0}")]
    Corrupt(String),
    #[error("has tensor `{tensor}` of type {found}, which cannot be read")]
    TensorType { tensor: String, found: String },
    #[error("is part {part} of {count} of a split model, and its name does not say so")]
    PartName { part: u32, count: u32 },
    #[error("is part {part} of {count} of a split model, of which there is no `{}`", missing.display())]
    PartMissing { part: u32, count: u32, missing: PathBuf },
    #[error("is part {part} of a split model, but says that it is another: {reason}")]
    PartForeign { part: usize, reason: String },
    #[error("has no metadata key `{0}`")]
    MissingKey(String),
    #[error("has metadata key `{key}` with {found}, expected {expected}")]
    KeyType { key: String, expected: &'static str, found: &'static str },
    #[error("sets metadata key `{0}`, which patchscript does not understand")]
    UnknownKey(String),
    #[error("has no tensor `{0}`")]
    MissingTensor(String),
    #[error("has tensor `{name}` that cannot be de-quantised: {source}")]
    Dequantize { name: String, source: Box<candle_core::Error> },
}

impl GgufError {
    fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.into(), problem: problem.into() }
    }
}

impl Help for GgufError {
    fn help(&self) -> Option<String> {
        match *self.problem {
            Problem::Truncated { .. } | Problem::Corrupt(_) => {
                Some(format!("download `{}` again and compare its checksum", self.path.display()))
            }
            Problem::NotGguf => Some("give a `.gguf` file or a folder with `config.json`".into()),
            Problem::Version(_) => Some("convert the model again with a current llama.cpp".into()),
            Problem::TensorType { .. } => {
                let names: Vec<_> = types::READABLE.iter().map(|(_, _, name)| *name).collect();
                Some(format!("use a file quantised to one of {}", names.join(", ")))
            }
            Problem::PartName { part, count } => Some(format!(
                "call the files `NAME-{part:05}-of-{count:05}.gguf` and so on, or join them with llama.cpp's \
                 `llama-gguf-split --merge`"
            )),
            Problem::PartMissing { ref missing, .. } => {
                Some(format!("put `{}` beside it: every part of the split is needed", missing.display()))
            }
            Problem::PartForeign { .. } => Some("fetch all parts of the split again from one place".into()),
            Problem::UnknownKey(_) => Some(
                "a setting that is not understood may change every number, so the model is refused".into(),
            ),
            Problem::Io(ref error) => inside::LeadsOut::help(error),
            _ => None,
        }
    }
}

type Result<T, E = GgufError> = std::result::Result<T, E>;

/// Turns "no such key" into `None`: `optional(gguf.u32("llama.vocab_size"))?`.
pub fn optional<T>(value: Result<T>) -> Result<Option<T>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(*error.problem, Problem::MissingKey(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open GGUF file, with all parts of a split model.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    /// Of each part; the first has the metadata.
    maps: Vec<Mmap>,
    arch: String,
    /// Where each value starts: at its type tag.
    metadata: BTreeMap<String, usize>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Opens a file, and where it is one part of a split model all others, and checks their whole headers, and that
    /// every tensor lies inside its file.
    pub fn open(path: &Path) -> Result<Self> {
        let mut gguf = Self::open_one(path)?;
        if let Some(paths) = parts::all(&gguf)? {
            let (first, rest) = paths.split_first().ok_or_else(|| gguf.error(Problem::NotGguf))?;
            let count = paths.len();
            gguf = Self::open_one(first)?;
            gguf.expect_part(0, count)?;
            for (part, path) in rest.iter().enumerate() {
                gguf.join(Self::open_one(path)?, part + 1, count)?;
            }
        }
        gguf.arch = gguf.str("general.architecture")?;
        Ok(gguf)
    }

    fn open_one(path: &Path) -> Result<Self> {
        let file = inside::open(path).map_err(Problem::Io);
        // SAFETY: like every mapped model file, it must not be changed while it is in use.
        let map = file.and_then(|file| unsafe { Mmap::map(&file) }.map_err(Problem::Io));
        let map = map.map_err(|problem| GgufError::new(path, problem))?;
        let Header { metadata, tensors } =
            Header::read(&map).map_err(|problem| GgufError::new(path, problem))?;
        Ok(Self { path: path.into(), maps: vec![map], arch: String::new(), metadata, tensors })
    }

    /// # Errors
    /// Another part than that, or one of another split.
    fn expect_part(&self, part: usize, count: usize) -> Result<()> {
        let found = (self.u32("split.no")?, self.u32("split.count")?);
        if found != (part as u32, count as u32) {
            let reason = format!("part {} of {}", u64::from(found.0) + 1, found.1);
            return Err(self.error(Problem::PartForeign { part: part + 1, reason }));
        }
        Ok(())
    }

    /// Adds the tensors of a later part.
    fn join(&mut self, other: Gguf, part: usize, count: usize) -> Result<()> {
        other.expect_part(part, count)?;
        self.maps.extend(other.maps);
        for (name, info) in other.tensors {
            if self.tensors.insert(name.clone(), TensorInfo { part, ..info }).is_some() {
                let problem = Problem::Corrupt(format!("tensor `{name}` is in an earlier part too"));
                return Err(GgufError::new(&other.path, problem));
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, or all parts of a split model.
    ///
    /// # Errors
    /// A part that is gone by now.
    pub fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(parts::all(self)?.unwrap_or_else(|| vec![self.path.clone()]))
    }

    /// llama.cpp's name of the model family, also the prefix of its metadata keys: `llama`, `gemma3`, ….
    pub fn arch(&self) -> &str {
        &self.arch
    }

    pub fn has(&self, key: &str) -> bool {
        self.metadata.contains_key(key)
    }

    /// Metadata keys in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// The error that refuses a key's value.
    pub fn unknown_key(&self, key: &str) -> GgufError {
        self.error(Problem::UnknownKey(key.into()))
    }

    /// An integer of any width that fits.
    pub fn u32(&self, key: &str) -> Result<u32> {
        self.value(key, "an unsigned 32-bit integer", |c, kind| {
            Ok(c.integer(kind)?.and_then(|v| v.try_into().ok()))
        })
    }

    pub fn f32(&self, key: &str) -> Result<f32> {
        self.value(key, "a float", |c, kind| c.float(kind))
    }

    pub fn bool(&self, key: &str) -> Result<bool> {
        self.value(key, "a bool", |c, kind| c.bool(kind))
    }

    pub fn str(&self, key: &str) -> Result<String> {
        self.value(key, "a string", |c, kind| c.string(kind))
    }

    pub fn array_str(&self, key: &str) -> Result<Vec<String>> {
        self.value(key, "an array of strings", |c, kind| c.array(kind, Cursor::string))
    }

    pub fn array_i64(&self, key: &str) -> Result<Vec<i64>> {
        self.value(key, "an array of integers", |c, kind| c.array(kind, Cursor::integer))
    }

    pub fn array_f32(&self, key: &str) -> Result<Vec<f32>> {
        self.value(key, "an array of floats", |c, kind| c.array(kind, Cursor::float))
    }

    /// Names in alphabetical order.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's shape, slowest axis first (`[out, in]` for a linear map), without reading it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| info.shape.as_slice())
    }

    /// A matrix in the blocks that the file keeps it in; `None` if they are no smaller than float32.
    pub fn blocks(&self, name: &str) -> Result<Option<Blocks>> {
        let (info, bytes) = self.bytes(name)?;
        match (info.format, info.shape[..].try_into()) {
            (Format::Candle(GgmlDType::F32), _) | (_, Err(_)) => Ok(None),
            (format, Ok(shape)) => {
                Blocks::new(format, shape, bytes).map(Some).map_err(|error| self.unreadable(name, error))
            }
        }
    }

    fn bytes(&self, name: &str) -> Result<(&TensorInfo, &[u8])> {
        let info = self.tensors.get(name);
        // Always in the file: `Header::read` checked it.
        let found = info.and_then(|info| Some((info, self.maps.get(info.part)?.get(info.start..info.end)?)));
        found.ok_or_else(|| self.error(Problem::MissingTensor(name.into())))
    }

    /// A tensor de-quantised to float32. By the processor, so that the weights are the same on every device.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let (info, bytes) = self.bytes(name)?;
        blocks::dequantised(info.format, bytes, &info.shape)
            .and_then(|tensor| tensor.to_device(device))
            .map_err(|error| self.unreadable(name, error))
    }

    fn unreadable(&self, name: &str, error: candle_core::Error) -> GgufError {
        self.error(Problem::Dequantize { name: name.into(), source: error.into() })
    }

    /// The type that most weights have: `Q4_1`, `Q4_K`, `F16`, ….
    pub fn quantization(&self) -> String {
        let mut weights: BTreeMap<&str, usize> = BTreeMap::new();
        for info in self.tensors.values() {
            *weights.entry(info.type_name).or_default() += info.shape.iter().product::<usize>();
        }
        weights.into_iter().max_by_key(|(_, count)| *count).map_or("none".into(), |(name, _)| name.into())
    }

    /// Reads the value of `key`; `read` gives `None` when the value is of another type.
    fn value<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&mut Cursor, u32) -> Result<Option<T>, Problem>,
    ) -> Result<T> {
        let at = self.metadata.get(key).ok_or_else(|| self.error(Problem::MissingKey(key.into())))?;
        let mut cursor = Cursor::new(&self.maps[0], *at);
        let kind = cursor.u32().map_err(|problem| self.error(problem))?;
        let value = read(&mut cursor, kind).map_err(|problem| self.error(problem))?;
        let found = cursor::kind_name(kind);
        value.ok_or_else(|| self.error(Problem::KeyType { key: key.into(), expected, found }))
    }

    fn error(&self, problem: Problem) -> GgufError {
        GgufError::new(&self.path, problem)
    }
}

#[cfg(test)]
mod tests;
