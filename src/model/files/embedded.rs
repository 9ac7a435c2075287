//! The model inside the program, so that a script runs at once, anywhere: the files of `demo/`, described in
//! `demo/README.md`.

use candle_core::safetensors::SliceSafetensors;
use serde_json::Value;

use super::assemble::{self, Target};
use super::checkpoint::Files;
use crate::model::Model;
use crate::model::ModelError;
use crate::model::chat::ChatTemplate;
use crate::model::config::Config;
use crate::model::error::Result;
use crate::model::tokenizer::Tokenizer;

/// What `load` knows it by.
pub const ID: &str = "demo";

/// Where its numbers are aligned, they are read without a copy of the file first.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../demo/model.safetensors"));
const TOKENIZER: &[u8] = include_bytes!("../../../demo/tokenizer.json");
const TOKENIZER_CONFIG: (&str, &str) =
    ("demo/tokenizer_config.json", include_str!("../../../demo/tokenizer_config.json"));
const CONFIG: (&str, &str) = ("demo/config.json", include_str!("../../../demo/config.json"));
const GENERATION_CONFIG: (&str, &str) =
    ("demo/generation_config.json", include_str!("../../../demo/generation_config.json"));

/// The autoencoder of `demo/sae`.
static SAE_WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../demo/sae/sae_weights.safetensors"));
pub const SAE_CFG: (&str, &str) = ("demo/sae/cfg.json", include_str!("../../../demo/sae/cfg.json"));

pub fn sae_weights() -> &'static [u8] {
    &SAE_WEIGHTS.0
}

pub(super) fn load(target: &Target) -> Result<Model> {
    let sources = [json(TOKENIZER_CONFIG)?, json(CONFIG)?, json(GENERATION_CONFIG)?];
    let chat = ChatTemplate::from_config(&sources[0])?;
    let config = config()?;
    // Side by side, since each takes half of the time that a first command may take.
    let (tokenizer, transformer) = rayon::join(
        || Tokenizer::from_json("demo/tokenizer.json".as_ref(), TOKENIZER, &sources),
        || assemble::load(config, &Files::Embedded(SliceSafetensors::new(&WEIGHTS.0)?), target),
    );
    let (tokenizer, (transformer, others)) = (tokenizer?, transformer?);
    let [.., generation_config] = sources;
    Ok(Model {
        id: ID.into(),
        transformer,
        others,
        tokenizer: Some(tokenizer),
        chat,
        generation_config,
        files: Vec::new(),
        identity: None,
    })
}

pub(super) fn config() -> Result<Config> {
    Config::from_json(json(CONFIG)?)
}

fn json((path, text): (&str, &str)) -> Result<Value> {
    serde_json::from_str(text).map_err(|source| ModelError::Json { path: path.into(), source })
}
