//! From a name to a model: the embedded one, a folder, a `.gguf` file, or `org/name` on the Hub.

use super::SIDE_FILES;
use super::assemble::{self, Target};
use super::checkpoint::{Files, safetensors_files};
use super::embedded;
use super::folder;
use super::gguf::Gguf;
use super::hub::{self, Need};
use super::inside;
use crate::model::Model;
use crate::model::card;
use crate::model::chat::ChatTemplate;
use crate::model::config::Config;
use crate::model::cpu::isa;
use crate::model::error::{ModelError, Result};
use crate::model::tokenizer::{Tokenizer, TokenizerError};
use candle_core::{DType, Device};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoadOptions {
    /// `cpu`, `cuda`, `cuda:1` or `auto`.
    pub device: String,
    /// `f32`, and on a card `f16` or `bf16`.
    pub dtype: String,
    /// Never ask the network.
    pub offline: bool,
    /// Matrices stay in the blocks of a GGUF file, for less memory and longer products with many rows. The numbers
    /// are the same.
    pub quantized: bool,
    /// What decides weights that are made or shuffled.
    pub seed: u64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions { device: "auto".into(), dtype: "f32".into(), offline: false, quantized: false, seed: 0 }
    }
}

impl Model {
    /// Loads the embedded model (`demo`), a folder in Hugging Face layout, a `.gguf` file, or `org/name[@revision]` from the Hub's cache or
    /// the Hub; after `shuffled:` with each tensor's entries in another order; after `random:` with random weights, of
    /// which only the config must be there.
    pub fn load(id: &str, options: &LoadOptions) -> Result<Model> {
        isa::chosen()?;
        let device = parse_device(&options.device)?;
        let dtype = parse_dtype(&options.dtype, &device)?;
        let target = Target { device, dtype, quantized: options.quantized, shuffled: None };
        let (made, of) = Made::of(id);
        match made {
            Made::No => open(id, &target, options.offline),
            _ if target.quantized => {
                Err(ModelError::NotQuantized("the weights of a file as they are".into()))
            }
            Made::Shuffled => open(of, &Target { shuffled: Some(options.seed), ..target }, options.offline),
            Made::Random => random(of, &target, options),
        }
        .map(|model| Model { id: id.into(), ..model })
    }
}

/// How the weights of an id are made.
enum Made {
    No,
    Random,
    Shuffled,
}

impl Made {
    /// What an id says before its colon, and of which model.
    fn of(id: &str) -> (Made, &str) {
        match id.split_once(':') {
            Some(("random", of)) => (Made::Random, of),
            Some(("shuffled", of)) => (Made::Shuffled, of),
            _ => (Made::No, id),
        }
    }
}

/// The word with its colon that says how an id's weights are made, if one does, and the id of the model that it is made of.
pub fn split_made(id: &str) -> (&str, &str) {
    id.split_at(id.len() - Made::of(id).1.len())
}

/// A model of random weights, with the tokenizer that lies beside its config.
fn random(id: &str, target: &Target, options: &LoadOptions) -> Result<Model> {
    let config = load_config(id, options.offline)?;
    if id == embedded::ID {
        let transformer = assemble::random(config, options.seed, target)?;
        return Ok(Model { transformer, ..embedded::load(target)? });
    }
    let folder = Path::new(id);
    let (tokenizer, chat) = match folder.is_dir() {
        true => (optional_tokenizer(folder)?, ChatTemplate::from_folder(folder)?),
        false => (None, None),
    };
    let files = match folder.is_dir() {
        true => present(folder),
        false => [folder].into_iter().filter(|path| path.is_file()).map(PathBuf::from).collect(),
    };
    let transformer = assemble::random(config, options.seed, target)?;
    Ok(Model { id: id.into(), transformer, tokenizer, chat, generation_config: json!({}), files })
}

fn optional_tokenizer(folder: &Path) -> Result<Option<Tokenizer>> {
    match Tokenizer::from_folder(folder) {
        Err(TokenizerError::Missing { .. }) => Ok(None),
        found => Ok(Some(found?)),
    }
}

/// The files beside the weights.
fn present(folder: &Path) -> Vec<PathBuf> {
    let names = ["config.json"].iter().chain(&SIDE_FILES);
    names.map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
}

fn open(id: &str, target: &Target, offline: bool) -> Result<Model> {
    let path = Path::new(id);
    let is_gguf = id != embedded::ID && path.is_file();
    if target.quantized && !is_gguf {
        return Err(ModelError::NotQuantized(format!("a GGUF file, which `{id}` is not")));
    }
    if target.quantized && !target.device.is_cpu() {
        return Err(ModelError::NotQuantized("the CPU".into()));
    }
    if id == embedded::ID {
        embedded::load(target)
    } else if path.is_dir() {
        load_folder(id, path, target)
    } else if is_gguf {
        load_gguf(id, path, target)
    } else {
        load_folder(id, &from_hub(id, Need::Model, offline)?, target)
    }
}

/// What a model is, without its weights: of the embedded model, a folder, its `config.json` itself, a `.gguf` file, or
/// `org/name[@revision]`.
pub fn load_config(id: &str, offline: bool) -> Result<Config> {
    let (_, id) = Made::of(id);
    let path = Path::new(id);
    if id == embedded::ID {
        embedded::config()
    } else if path.is_file() && path.extension().is_some_and(|extension| extension == "json") {
        Config::from_json(read_json(path)?)
    } else if path.is_file() {
        Config::from_gguf(&Gguf::open(path)?)
    } else if path.is_dir() {
        folder_config(path)
    } else {
        folder_config(&from_hub(id, Need::Config, offline)?)
    }
}

fn folder_config(folder: &Path) -> Result<Config> {
    let path = folder.join("config.json");
    Config::from_json(optional_json(&path)?.ok_or_else(|| folder::missing(folder, "config.json"))?)
}

fn load_folder(id: &str, folder: &Path, target: &Target) -> Result<Model> {
    let config = folder_config(folder)?;
    folder::refuse_adapter(folder)?;
    let tokenizer = optional_tokenizer(folder)?;
    let chat = ChatTemplate::from_folder(folder)?;
    let generation_config =
        optional_json(&folder.join("generation_config.json"))?.unwrap_or_else(|| json!({}));
    let weights = safetensors_files(folder)?;
    let transformer = assemble::load(config, &Files::open(folder, &weights)?, target)?;
    let files = present(folder).into_iter().chain(weights).collect();
    Ok(Model { id: id.into(), transformer, tokenizer, chat, generation_config, files })
}

fn load_gguf(id: &str, path: &Path, target: &Target) -> Result<Model> {
    let gguf = Gguf::open(path)?;
    if target.quantized && gguf.quantization() == "F32" {
        return Err(ModelError::NotQuantized(format!(
            "a GGUF file of fewer bits, while `{id}` holds float32"
        )));
    }
    let config = Config::from_gguf(&gguf)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let chat = ChatTemplate::from_gguf(&gguf)?;
    let transformer = assemble::load(config, &Files::Gguf(gguf), target)?;
    let files = vec![path.into()];
    Ok(Model { id: id.into(), transformer, tokenizer, chat, generation_config: json!({}), files })
}

fn from_hub(id: &str, need: Need, offline: bool) -> Result<PathBuf> {
    // Two plain words with one slash between can be a repository; anything else was meant as a path.
    let name = id.split('@').next().unwrap_or_default();
    let is_repository = name.split('/').count() == 2
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
        && !name.ends_with(".gguf");
    if is_repository { Ok(hub::fetch(id, need, offline)?) } else { Err(ModelError::NotFound(id.into())) }
}

/// # Errors
/// A file that cannot be read or is no JSON.
pub fn read_json(path: &Path) -> Result<Value> {
    let missing = || ModelError::Io { path: path.into(), source: std::io::ErrorKind::NotFound.into() };
    optional_json(path)?.ok_or_else(missing)
}

/// The value in a file of a model, if there is one.
fn optional_json(path: &Path) -> Result<Option<Value>> {
    let text = inside::read(path).map_err(|source| ModelError::Io { path: path.into(), source })?;
    let parse =
        |text: Vec<u8>| serde_json::from_slice(text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&text));
    text.map(parse).transpose().map_err(|source| ModelError::Json { path: path.into(), source })
}

/// `cpu`, `cuda`, `cuda:1`, or `auto`: the first card if there is one.
pub fn parse_device(name: &str) -> Result<Device> {
    let unavailable = |e: candle_core::Error| {
        let reason = ModelError::from(e).to_string();
        ModelError::Device(name.into(), reason.trim_start_matches("tensor operation failed: ").into())
    };
    match name {
        "cpu" => Ok(Device::Cpu),
        "auto" => Ok(card::open(0).unwrap_or(Device::Cpu)),
        "cuda" => card::open(0).map_err(unavailable),
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
            Some(ordinal) => card::open(ordinal).map_err(unavailable),
            None => Err(ModelError::Device(name.into(), "expected `cpu`, `cuda`, `cuda:1` or `auto`".into())),
        },
    }
}

fn parse_dtype(name: &str, device: &Device) -> Result<DType> {
    let on = if device.is_cpu() { "the CPU" } else { "a card" };
    match name {
        "f32" | "float32" => Ok(DType::F32),
        "f16" | "float16" if !device.is_cpu() => Ok(DType::F16),
        "bf16" | "bfloat16" if !device.is_cpu() => Ok(DType::BF16),
        _ => Err(ModelError::Dtype(name.into(), on.into())),
    }
}
