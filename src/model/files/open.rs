//! From a name to a model: the embedded one, a folder, a `.gguf` file, or `org/name` on the Hub.

use super::SIDE_FILES;
use super::assemble::{self, Target};
use super::checkpoint::{Files, safetensors_files};
use super::embedded;
use super::folder;
use super::gguf::Gguf;
use super::hub::{self, Need};
use super::inside;
use super::placement::Spread;
use crate::model::Model;
use crate::model::card;
use crate::model::chat::ChatTemplate;
use crate::model::config::Config;
use crate::model::cpu::isa;
use crate::model::error::{ModelError, Result};
use crate::model::precision::Precision;
use crate::model::tokenizer::{Tokenizer, TokenizerError};
use crate::model::transformer::Transformer;
use candle_core::{DType, Device};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoadOptions {
    /// `cpu`, `cuda`, `cuda:1`, `auto`, or several cards, `cuda:0,cuda:1`.
    pub device: String,
    /// `f32`, and on a card `f16` or `bf16`.
    pub dtype: String,
    /// `highest`, or `high` for products that are less exact where they are faster.
    pub precision: String,
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
        LoadOptions {
            device: "auto".into(),
            dtype: "f32".into(),
            precision: Precision::default().to_string(),
            offline: false,
            quantized: false,
            seed: 0,
        }
    }
}

impl Model {
    /// Loads the embedded model (`demo`), a folder in Hugging Face layout, a `.gguf` file, or `org/name[@revision]` from the Hub's cache or
    /// the Hub; after `shuffled:` with each tensor's entries in another order; after `random:` with random weights, of
    /// which only the config must be there.
    pub fn load(id: &str, options: &LoadOptions) -> Result<Model> {
        Model::load_on(id, options, parse_devices(&options.device)?, most_weights()?)
    }

    /// The same on these devices, with a copy of the weights on each, or, where one would hold more than `most` bytes of them,
    /// on as few as do not. Results are the same bytes however many there are.
    pub fn load_on(
        id: &str,
        options: &LoadOptions,
        mut devices: Vec<Device>,
        most: Option<usize>,
    ) -> Result<Model> {
        isa::chosen()?;
        let others = devices.split_off(devices.len().min(1));
        let device = devices.pop().unwrap_or(Device::Cpu);
        let dtype = parse_dtype(&options.dtype, &device)?;
        let precision = Precision::of(&options.precision)?.on(&device);
        let spread = Spread { others, most };
        let target = Target { device, dtype, quantized: options.quantized, shuffled: None, spread };
        let (made, of) = Made::of(id);
        let model = match made {
            Made::No => open(id, &target, options.offline),
            _ if target.quantized => {
                Err(ModelError::NotQuantized("the weights of a file as they are".into()))
            }
            Made::Shuffled => open(of, &Target { shuffled: Some(options.seed), ..target }, options.offline),
            Made::Random => random(of, &target, options),
        }?;
        let with = |copy| Transformer { precision, ..copy };
        let others = model.others.into_iter().map(with).collect();
        Ok(Model { id: id.into(), transformer: with(model.transformer), others, ..model })
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
        let (transformer, others) = assemble::random(config, options.seed, target)?;
        return Ok(Model { transformer, others, ..embedded::load(target)? });
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
    let (transformer, others) = assemble::random(config, options.seed, target)?;
    let (generation_config, identity) = (json!({}), None);
    Ok(Model { id: id.into(), transformer, others, tokenizer, chat, generation_config, files, identity })
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
    let (transformer, others) = assemble::load(config, &Files::open(folder, &weights)?, target)?;
    let files = present(folder).into_iter().chain(weights).collect();
    Ok(Model {
        id: id.into(),
        transformer,
        others,
        tokenizer,
        chat,
        generation_config,
        files,
        identity: None,
    })
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
    let files = gguf.files()?;
    let (transformer, others) = assemble::load(config, &Files::Gguf(gguf), target)?;
    let (generation_config, identity) = (json!({}), None);
    Ok(Model { id: id.into(), transformer, others, tokenizer, chat, generation_config, files, identity })
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

/// The same, or several cards: `cuda:0,cuda:1`.
///
/// # Errors
/// Among several: one that is named twice, another device than a card, cards of two kinds, whose numbers would differ.
pub fn parse_devices(given: &str) -> Result<Vec<Device>> {
    if !given.contains(',') {
        return Ok(vec![parse_device(given)?]);
    }
    let refused = |problem: String| ModelError::Devices { given: given.into(), problem };
    let mut cards: Vec<usize> = Vec::new();
    for name in given.split(',') {
        let card = match name {
            "" => return Err(refused("has an empty place".into())),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
        };
        match card {
            None => return Err(refused(format!("names `{name}` among several"))),
            Some(card) if cards.contains(&card) => return Err(refused(format!("names card {card} twice"))),
            Some(card) => cards.push(card),
        }
    }
    let devices =
        cards.iter().map(|card| parse_device(&format!("cuda:{card}"))).collect::<Result<Vec<_>>>()?;
    let kinds: Vec<String> = devices.iter().filter_map(card::kind).collect();
    match kinds.iter().find(|kind| **kind != kinds[0]) {
        Some(other) => Err(refused(format!("is a {} and a {other}", kinds[0]))),
        None => Ok(devices),
    }
}

/// The variable that says how many bytes of weights one card may hold.
pub const CARD_WEIGHTS: &str = "PATCHSCRIPT_CARD_WEIGHTS";

fn most_weights() -> Result<Option<usize>> {
    let given = std::env::var_os(CARD_WEIGHTS).map(|given| given.to_string_lossy().into_owned());
    let bytes = |given: String| given.trim().parse().map_err(|_| ModelError::CardWeights(given));
    given.map(bytes).transpose()
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
