//! The layouts that autoencoders come in, each a config and tensors by other names.
//!
//! [`tensors`] reads the numbers of any of them; [`sparsify`], [`saelens`] and [`gemma_scope`] are those of these
//! projects, [`own`] is what `.save` writes. All give a [`Draft`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Map, Value};

use super::error::{Result, SaeError};
use super::{Kind, Normalize, place};
use crate::model::ModelError;
use crate::model::files::{embedded, inside};
use crate::model::hook::At;

pub mod gemma_scope;
pub mod own;
pub mod saelens;
pub mod sparsify;
pub mod tensors;

/// What files say, before what the user knows is added.
pub struct Draft {
    pub kind: Kind,
    pub normalize: Normalize,
    pub apply_b_dec_to_input: bool,
    /// `None` where the files do not say.
    pub reads: Option<Named>,
    /// Of transcoders alone.
    pub writes: Option<Named>,
    pub model: Option<String>,
    pub neuronpedia: Option<String>,
    pub cfg: Value,
    /// As [`super::Sae::new`] takes them.
    pub tensors: BTreeMap<String, Tensor>,
    pub files: Vec<PathBuf>,
}

/// A place as a file names it, and what that means, where it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub text: String,
    pub at: Option<At>,
}

impl Named {
    fn parse(text: &str) -> Named {
        Named { text: text.into(), at: place::parse(text) }
    }

    fn of(at: At) -> Named {
        Named { text: at.to_string(), at: Some(at) }
    }
}

const CFG: &str = "cfg.json";

/// The files of each layout that is a folder: its weights, and the config without which they say nothing.
const LAYOUTS: &[(&str, Option<&str>)] = &[
    (sparsify::WEIGHTS, Some(CFG)),
    (saelens::WEIGHTS, Some(CFG)),
    (gemma_scope::SAFETENSORS, Some(gemma_scope::CONFIG)),
    (gemma_scope::NPZ, None),
];

/// What to fetch from a folder of a repository, or the file itself: the first of these sets that is whole.
pub fn file_sets(folder: &str) -> Vec<Vec<String>> {
    if [".safetensors", ".npz"].iter().any(|end| folder.ends_with(end)) {
        return vec![vec![folder.into()]];
    }
    let path = |file: &str| if folder.is_empty() { file.into() } else { format!("{folder}/{file}") };
    let set = |(weights, config): &(&str, Option<&str>)| -> Vec<String> {
        // Weights last, so that their presence means that all is there.
        config.iter().map(|config| path(config)).chain([path(weights)]).collect()
    };
    // The config of sparsify's whole run, a folder above, names the model.
    let above = folder.rsplit_once('/').map_or(String::new(), |(above, _)| format!("{above}/"));
    let run = (!folder.is_empty())
        .then(|| vec![format!("{above}{}", sparsify::RUN_CONFIG), path(CFG), path(sparsify::WEIGHTS)]);
    run.into_iter().chain(LAYOUTS.iter().map(set)).collect()
}

/// Reads a folder, or a file of one.
pub fn read(path: &Path) -> Result<Draft> {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if path.is_dir() {
        let weights = LAYOUTS.iter().map(|(weights, _)| weights).find(|weights| path.join(weights).is_file());
        return read_layout(path, weights.ok_or_else(|| SaeError::Unreadable(path.into()))?);
    }
    if own::is_one(path)? {
        return own::read(path);
    }
    if file.ends_with(".npz") {
        return gemma_scope::read_npz(path);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    match LAYOUTS.iter().any(|(weights, _)| *weights == file) {
        true => read_layout(folder, &file),
        false => Err(SaeError::Unreadable(path.into())),
    }
}

fn read_layout(folder: &Path, weights: &str) -> Result<Draft> {
    match weights {
        sparsify::WEIGHTS => sparsify::read(folder),
        saelens::WEIGHTS => saelens::read(folder),
        gemma_scope::SAFETENSORS => gemma_scope::read_safetensors(folder),
        _ => gemma_scope::read_npz(&folder.join(weights)),
    }
}

/// The autoencoder of the embedded model.
pub fn embedded() -> Result<Draft> {
    let (path, text) = embedded::SAE_CFG;
    let cfg = serde_json::from_str(text).map_err(|source| ModelError::Json { path: path.into(), source })?;
    saelens::draft(path, cfg, tensors::embedded(embedded::sae_weights())?, Vec::new())
}

/// The object in a JSON file of an autoencoder.
fn json(path: &Path) -> Result<Value> {
    let bytes = inside::read(path).map_err(|source| SaeError::Io { path: path.into(), source })?;
    let bytes = bytes.ok_or_else(|| SaeError::NotFound(path.display().to_string()))?;
    Ok(serde_json::from_slice(&bytes).map_err(|source| ModelError::Json { path: path.into(), source })?)
}

fn object<'a>(file: &str, cfg: &'a Value) -> Result<&'a Map<String, Value>> {
    cfg.as_object().ok_or_else(|| SaeError::BadKey {
        file: file.into(),
        key: String::new(),
        found: "no object".into(),
        expected: "an object",
    })
}

/// An error of a reader of a model's config, as of this file.
fn of_config(file: &str) -> impl Fn(ModelError) -> SaeError + '_ {
    move |error| match error {
        ModelError::MissingKey(key) => SaeError::MissingKey { file: file.into(), key },
        ModelError::BadKey { key, expected, found } => {
            SaeError::BadKey { file: file.into(), key, found, expected }
        }
        ModelError::UnknownKey { key, value } => SaeError::UnknownKey { file: file.into(), key, value },
        other => other.into(),
    }
}
