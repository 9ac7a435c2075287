//! Named tensors of files, as float32 in main memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device, Tensor};
use memmap2::Mmap;
use serde_json::Value;

use crate::data::npz::Npz;
use crate::model::files::checkpoint::Files;
use crate::model::files::inside;
use crate::model::ops;
use crate::model::sae::error::{Result, SaeError};

/// All tensors of a safetensors file.
pub fn safetensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&Files::open(folder, &[path.to_path_buf()])?)
}

/// The same of one inside the program.
pub fn embedded(bytes: &'static [u8]) -> Result<BTreeMap<String, Tensor>> {
    read(&Files::Embedded(SliceSafetensors::new(bytes)?))
}

fn read(files: &Files) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (name, stored) in files.stored()? {
        if let Some(dtype) = stored.unreadable {
            return Err(SaeError::TensorType { name, dtype });
        }
        let tensor = ops::to_dtype(&files.read(&name, &Device::Cpu)?, DType::F32)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// All arrays of NumPy's archive of them.
pub fn npz(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let io = |source| SaeError::Io { path: path.into(), source };
    let file = inside::open(path).map_err(io)?;
    // SAFETY: the map is read-only and dropped at the end; as with every memory-mapped checkpoint, another program
    // must not change the file while it is being loaded.
    let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
    let name = path.display().to_string();
    let mut npz = Npz::open(&name, &bytes)?;
    let mut tensors = BTreeMap::new();
    for member in npz.members() {
        let (shape, values) = npz.read(&member)?;
        tensors.insert(member, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok(tensors)
}

/// The longest header of a safetensors file that is looked into, in bytes.
const LONGEST_HEADER: u64 = 1 << 20;

/// What a safetensors file says of itself under `key`.
pub fn metadata(path: &Path, key: &str) -> Result<Option<String>> {
    let io = |source| SaeError::Io { path: path.into(), source };
    let mut file = inside::open(path).map_err(io)?;
    let mut start = [0; 8];
    // Whatever is wrong with the file, its reader says it better.
    let Ok(()) = file.read_exact(&mut start) else { return Ok(None) };
    let length = u64::from_le_bytes(start);
    if length > LONGEST_HEADER {
        return Ok(None);
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).map_err(io)?;
    let header: Value = serde_json::from_slice(&header).unwrap_or_default();
    Ok(header["__metadata__"][key].as_str().map(String::from))
}

/// A matrix in the other order of axes; what is no matrix stays, for whoever checks shapes.
pub fn transposed(tensor: Tensor) -> Result<Tensor> {
    match tensor.rank() {
        2 => Ok(ops::transpose(&tensor.contiguous()?)?),
        _ => Ok(tensor),
    }
}
