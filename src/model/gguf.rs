//! GGUF files: metadata and quantised tensors of one model in one file.
//!
//! The header is checked against the file before anything is allocated from its numbers: every length, every tensor's
//! extent, no two tensors on the same bytes. Metadata values stay in the mapped file until they are asked for.
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::cpu::blocks::{self, Blocks};
use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use memmap2::Mmap;

use cursor::Cursor;

mod cursor;

/// The tensor types that can be de-quantised: the file's number, candle's name, llama.cpp's name.
const TENSOR_TYPES: [(u32, GgmlDType, &str); 13] = [
    (0, GgmlDType::F32, "F32"),
    (1, GgmlDType::F16, "F16"),
    (2, GgmlDType::Q4_0, "Q4_0"),
    (3, GgmlDType::Q4_1, "Q4_1"),
    (6, GgmlDType::Q5_0, "Q5_0"),
    (7, GgmlDType::Q5_1, "Q5_1"),
    (8, GgmlDType::Q8_0, "Q8_0"),
    (10, GgmlDType::Q2K, "Q2_K"),
    (11, GgmlDType::Q3K, "Q3_K"),
    (12, GgmlDType::Q4K, "Q4_K"),
    (13, GgmlDType::Q5K, "Q5_K"),
    (14, GgmlDType::Q6K, "Q6_K"),
    (30, GgmlDType::BF16, "BF16"),
];

/// Real files have below a hundred keys; the cap bounds what a corrupt one can make us store.
const MAX_KEYS: u64 = 1 << 16;
const MAX_DIMS: u32 = 4;

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
    #[error("has tensor `{tensor}` of type {type_id}, which cannot be read")]
    TensorType { tensor: String, type_id: u32 },
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

    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match *self.problem {
            Problem::Truncated { .. } | Problem::Corrupt(_) => {
                Some(format!("download `{}` again and compare its checksum", self.path.display()))
            }
            Problem::NotGguf => Some("give a `.gguf` file or a folder with `config.json`".into()),
            Problem::Version(_) => Some("convert the model again with a current llama.cpp".into()),
            Problem::TensorType { .. } => {
                let names: Vec<_> = TENSOR_TYPES.iter().map(|(_, _, name)| *name).collect();
                Some(format!("use a file quantised to one of {}", names.join(", ")))
            }
            Problem::UnknownKey(_) => Some(
                "a setting that is not understood may change every number, so the model is refused".into(),
            ),
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

/// An open GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    arch: String,
    /// Where each value starts: at its type tag.
    metadata: BTreeMap<String, usize>,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Debug)]
struct TensorInfo {
    dtype: GgmlDType,
    type_name: &'static str,
    /// Slowest axis first, as candle has it.
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl Gguf {
    /// Opens a file and checks its whole header, and that every tensor lies inside the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Problem::Io);
        // SAFETY: like every mapped model file, it must not be changed while it is in use.
        let map = file.and_then(|file| unsafe { Mmap::map(&file) }.map_err(Problem::Io));
        let map = map.map_err(|problem| GgufError::new(path, problem))?;
        let header = Header::read(&map).map_err(|problem| GgufError::new(path, problem))?;
        let mut gguf = Self {
            path: path.into(),
            map,
            arch: String::new(),
            metadata: header.metadata,
            tensors: header.tensors,
        };
        gguf.arch = gguf.str("general.architecture")?;
        Ok(gguf)
    }

    pub fn path(&self) -> &Path {
        &self.path
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
        match (info.dtype, info.shape[..].try_into()) {
            (GgmlDType::F32, _) | (_, Err(_)) => Ok(None),
            (dtype, Ok(shape)) => {
                Blocks::new(dtype, shape, bytes).map(Some).map_err(|error| self.unreadable(name, error))
            }
        }
    }

    fn bytes(&self, name: &str) -> Result<(&TensorInfo, &[u8])> {
        let info = self.tensors.get(name);
        // Always in the file: `Header::read` checked it.
        let found = info.and_then(|info| Some((info, self.map.get(info.start..info.end)?)));
        found.ok_or_else(|| self.error(Problem::MissingTensor(name.into())))
    }

    /// A tensor de-quantised to float32. By the processor, so that the weights are the same on every device.
    pub fn tensor(&self, name: &str, device: &Device) -> Result<Tensor> {
        let (info, bytes) = self.bytes(name)?;
        blocks::dequantised(info.dtype, bytes, &info.shape)
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
        let mut cursor = Cursor::new(&self.map, *at);
        let kind = cursor.u32().map_err(|problem| self.error(problem))?;
        let value = read(&mut cursor, kind).map_err(|problem| self.error(problem))?;
        let found = cursor::kind_name(kind);
        value.ok_or_else(|| self.error(Problem::KeyType { key: key.into(), expected, found }))
    }

    fn error(&self, problem: Problem) -> GgufError {
        GgufError::new(&self.path, problem)
    }
}

struct Header {
    metadata: BTreeMap<String, usize>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        if !bytes.starts_with(b"GGUF") {
            return Err(Problem::NotGguf);
        }
        let mut cursor = Cursor::new(bytes, 4);
        let version = cursor.u32()?;
        if !matches!(version, 2 | 3) {
            return Err(Problem::Version(version));
        }
        let n_tensors = cursor.u64()?;
        let n_keys = cursor.u64()?;
        if n_keys > MAX_KEYS {
            return Err(Problem::Corrupt(format!(
                "it declares {n_keys} metadata keys, more than {MAX_KEYS}"
            )));
        }

        let mut metadata = BTreeMap::new();
        for _ in 0..n_keys {
            let key = cursor.text()?;
            let at = cursor.position();
            cursor.skip_value()?;
            if metadata.insert(key.clone(), at).is_some() {
                return Err(Problem::Corrupt(format!("metadata key `{key}` appears twice")));
            }
        }

        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(&at) => {
                let mut value = Cursor::new(bytes, at);
                let kind = value.u32()?;
                value.integer(kind)?.unwrap_or(0)
            }
        };
        // The format asks for a multiple of 8; candle reads floats in place and relies on it.
        if !(8..=1 << 16).contains(&alignment) || alignment % 8 != 0 {
            return Err(Problem::Corrupt(format!(
                "`general.alignment` is {alignment}, expected a multiple of 8"
            )));
        }
        let alignment = alignment as u64;

        let mut declared = Vec::new();
        for _ in 0..n_tensors {
            declared.push(Declared::read(&mut cursor)?);
        }
        let data_start = (cursor.position() as u64).next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for tensor in declared {
            let name = tensor.name.clone();
            let info = tensor.locate(data_start, alignment, bytes.len() as u64)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(Problem::Corrupt(format!("tensor `{name}` appears twice")));
            }
        }
        let mut extents: Vec<_> = tensors.iter().map(|(name, info)| (info.start, info.end, name)).collect();
        extents.sort();
        if let Some((a, b)) = extents.iter().zip(extents.iter().skip(1)).find(|(a, b)| a.1 > b.0) {
            return Err(Problem::Corrupt(format!("tensors `{}` and `{}` overlap", a.2, b.2)));
        }
        Ok(Self { metadata, tensors })
    }
}

/// A tensor as the header declares it, not yet checked.
struct Declared {
    name: String,
    /// Fastest axis first, as the file has it.
    dims: Vec<u64>,
    type_id: u32,
    offset: u64,
}

impl Declared {
    fn read(cursor: &mut Cursor) -> Result<Self, Problem> {
        let name = cursor.text()?;
        let n_dims = cursor.u32()?;
        if n_dims > MAX_DIMS {
            return Err(Problem::Corrupt(format!(
                "tensor `{name}` has {n_dims} dimensions, at most {MAX_DIMS} are possible"
            )));
        }
        let dims = (0..n_dims).map(|_| cursor.u64()).collect::<Result<_, _>>()?;
        Ok(Self { name, dims, type_id: cursor.u32()?, offset: cursor.u64()? })
    }

    fn locate(self, data_start: u64, alignment: u64, file_len: u64) -> Result<TensorInfo, Problem> {
        let Self { name, dims, type_id, offset } = self;
        let corrupt = |what: String| Problem::Corrupt(format!("tensor `{name}` {what}"));
        let Some(&(_, dtype, type_name)) = TENSOR_TYPES.iter().find(|(id, _, _)| *id == type_id) else {
            return Err(Problem::TensorType { tensor: name, type_id });
        };
        let block = dtype.block_size() as u64;
        if dims.first().is_none_or(|width| width % block != 0) || dims.contains(&0) {
            return Err(corrupt(format!("has shape {dims:?}, but {type_name} comes in blocks of {block}")));
        }
        if offset % alignment != 0 {
            return Err(corrupt(format!("starts at {offset}, not a multiple of {alignment}")));
        }
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let size = count.and_then(|n| (n / block).checked_mul(dtype.type_size() as u64));
        let start = data_start.checked_add(offset);
        let Some((start, end)) =
            start.zip(size).and_then(|(start, size)| Some((start, start.checked_add(size)?)))
        else {
            return Err(corrupt(format!("has the impossible shape {dims:?}")));
        };
        if end > file_len {
            return Err(Problem::Truncated { what: format!("tensor `{name}`"), end, len: file_len });
        }
        let shape = dims.iter().rev().map(|d| *d as usize).collect();
        Ok(TensorInfo { dtype, type_name, shape, start: start as usize, end: end as usize })
    }
}

#[cfg(test)]
mod tests;
