//! The header of a file: where its metadata and tensors are, all checked against the file's length.

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::{Problem, types};
use crate::model::cpu::blocks::Format;

type Result<T> = std::result::Result<T, Problem>;

/// Real files have below a hundred keys; the cap bounds what a corrupt one can make us store.
const MAX_KEYS: u64 = 1 << 16;
const MAX_DIMS: u32 = 4;

pub struct Header {
    /// Where each value starts: at its type tag.
    pub metadata: BTreeMap<String, usize>,
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// One tensor and its bytes in the file.
#[derive(Debug)]
pub struct TensorInfo {
    pub format: Format,
    pub type_name: &'static str,
    /// Slowest axis first, as candle has it.
    pub shape: Vec<usize>,
    pub start: usize,
    pub end: usize,
    /// Which of the model's files holds it.
    pub part: usize,
}

impl Header {
    /// Reads the header of a whole file; tensors are said to be in the first part.
    pub fn read(bytes: &[u8]) -> Result<Self> {
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
    fn read(cursor: &mut Cursor) -> Result<Self> {
        let name = cursor.text()?;
        let n_dims = cursor.u32()?;
        if n_dims > MAX_DIMS {
            return Err(Problem::Corrupt(format!(
                "tensor `{name}` has {n_dims} dimensions, at most {MAX_DIMS} are possible"
            )));
        }
        let dims = (0..n_dims).map(|_| cursor.u64()).collect::<Result<_>>()?;
        Ok(Self { name, dims, type_id: cursor.u32()?, offset: cursor.u64()? })
    }

    fn locate(self, data_start: u64, alignment: u64, file_len: u64) -> Result<TensorInfo> {
        let Self { name, dims, type_id, offset } = self;
        let corrupt = |what: String| Problem::Corrupt(format!("tensor `{name}` {what}"));
        let Some((format, type_name)) = types::readable(type_id) else {
            return Err(Problem::TensorType { tensor: name, found: types::name(type_id) });
        };
        let block = format.block_size() as u64;
        if dims.first().is_none_or(|width| width % block != 0) || dims.contains(&0) {
            return Err(corrupt(format!("has shape {dims:?}, but {type_name} comes in blocks of {block}")));
        }
        if offset % alignment != 0 {
            return Err(corrupt(format!("starts at {offset}, not a multiple of {alignment}")));
        }
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let size = count.and_then(|n| (n / block).checked_mul(format.type_size() as u64));
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
        Ok(TensorInfo { format, type_name, shape, start: start as usize, end: end as usize, part: 0 })
    }
}
