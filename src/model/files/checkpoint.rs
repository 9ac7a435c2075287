//! Where tensors come from: safetensors files, the ones inside the program, or one GGUF.

use super::gguf::Gguf;
use super::inside;
use crate::model::cpu::blocks::Blocks;
use crate::model::error::{ModelError, Result};
use candle_core::safetensors::{MmapedSafetensors, SliceSafetensors};
use candle_core::{Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files behind a model.
pub enum Files {
    Safetensors(MmapedSafetensors),
    Embedded(SliceSafetensors<'static>),
    Gguf(Gguf),
}

impl Files {
    /// Opens the [`safetensors_files`] of a folder.
    pub fn open(folder: &Path, paths: &[PathBuf]) -> Result<Files> {
        let broken = |path: &Path, e: candle_core::Error| {
            // candle names the path too.
            let reason = match e {
                candle_core::Error::WithPath { inner, .. } => inner.to_string(),
                e => e.to_string(),
            };
            let reason = reason.lines().next().unwrap_or_default().to_string();
            ModelError::Safetensors { path: path.into(), reason }
        };
        // One file at a time first, so that the error names the file.
        for path in paths {
            check_header(path)?;
            // SAFETY: the map is read-only and dropped at once.
            unsafe { MmapedSafetensors::new(path) }.map_err(|e| broken(path, e))?;
        }
        // SAFETY: the maps are read-only; as with every memory-mapped checkpoint, another program must not
        // change the files while they are being loaded.
        let files = unsafe { MmapedSafetensors::multi(paths) }.map_err(|e| broken(folder, e))?;
        Ok(Files::Safetensors(files))
    }

    /// What the files hold.
    ///
    /// # Errors
    /// A tensor that two files hold.
    pub fn stored(&self) -> Result<BTreeMap<String, Stored>> {
        let mut stored = BTreeMap::new();
        match self {
            Files::Safetensors(files) => {
                let mut twice = Vec::new();
                for (name, view) in files.tensors() {
                    if stored.insert(name.clone(), Stored::of(&view)).is_some() {
                        twice.push(format!("`{name}` is in two files"));
                    }
                }
                if !twice.is_empty() {
                    return Err(ModelError::Weights(twice));
                }
            }
            Files::Embedded(files) => {
                stored.extend(files.tensors().iter().map(|(name, view)| (name.clone(), Stored::of(view))));
            }
            Files::Gguf(gguf) => {
                for name in gguf.tensor_names() {
                    let shape = gguf.shape(name).unwrap_or_default().to_vec();
                    stored.insert(name.into(), Stored { shape, unreadable: None });
                }
            }
        }
        Ok(stored)
    }

    pub fn read(&self, name: &str, device: &Device) -> Result<Tensor> {
        match self {
            Files::Safetensors(files) => Ok(files.load(name, device)?),
            Files::Embedded(files) => Ok(files.load(name, device)?),
            Files::Gguf(gguf) => Ok(gguf.tensor(name, device)?),
        }
    }

    /// A matrix as a GGUF file keeps it, where products can use that.
    pub fn blocks(&self, name: &str) -> Result<Option<Blocks>> {
        match self {
            Files::Safetensors(_) | Files::Embedded(_) => Ok(None),
            Files::Gguf(gguf) => Ok(gguf.blocks(name)?),
        }
    }

    /// Do two tensors of safetensors files hold the same entries?
    pub fn equal(&self, a: &str, b: &str) -> bool {
        let Files::Safetensors(files) = self else { return false };
        let (Ok(a), Ok(b)) = (files.get(a), files.get(b)) else { return false };
        a.dtype() == b.dtype() && a.shape() == b.shape() && a.data() == b.data()
    }
}

/// One tensor of a file, unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub shape: Vec<usize>,
    /// Its type, if weights are never of it.
    pub unreadable: Option<String>,
}

impl Stored {
    fn of(view: &TensorView<'_>) -> Stored {
        let readable = matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16);
        let unreadable = (!readable).then(|| view.dtype().to_string());
        Stored { shape: view.shape().to_vec(), unreadable }
    }
}

/// The longest header of a safetensors file, in bytes: room for 100,000 tensors, more than any model keeps in one file.
const LONGEST_HEADER: u64 = 16 << 20;

/// Refuses what is no plain file of the model, or describes more tensors than models have.
fn check_header(path: &Path) -> Result<()> {
    let io = |source| ModelError::Io { path: path.into(), source };
    let mut start = [0; 8];
    let mut file = inside::open(path).map_err(io)?;
    // What is shorter is told better by its reader.
    let header = file.read_exact(&mut start).map_or(0, |()| u64::from_le_bytes(start));
    if header <= LONGEST_HEADER {
        return Ok(());
    }
    let reason = format!("its header has {header} bytes, more than the limit of {LONGEST_HEADER}");
    Err(ModelError::Safetensors { path: path.into(), reason })
}

/// `model.safetensors`, or every file that `model.safetensors.index.json` names.
pub(super) fn safetensors_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        return Err(super::folder::missing(folder, "model.safetensors"));
    }
    let json = super::open::read_json(&index)?;
    let Some(map) = json.get("weight_map").and_then(|m| m.as_object()) else {
        return Err(ModelError::Safetensors { path: index, reason: "it has no `weight_map`".into() });
    };
    let files: BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
    for name in &files {
        if Path::new(name).components().count() != 1 {
            return Err(ModelError::Safetensors {
                path: index,
                reason: format!("`{name}` is not a file name"),
            });
        }
    }
    let missing = files.iter().filter(|name| !folder.join(name).is_file());
    let missing: Vec<String> = missing.map(|name| format!("no file `{name}`")).collect();
    if !missing.is_empty() {
        return Err(ModelError::Weights(missing));
    }
    Ok(files.into_iter().map(|name| folder.join(name)).collect())
}
