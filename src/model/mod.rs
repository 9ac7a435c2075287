//! A language model: its files, its tokens and one forward pass over a packed batch.
//!
//! Read in this order:
//! - [`config`] and [`family`]: what a model is, and what differs between architectures, as data; [`info`] says how
//!   large it is before a weight is read;
//! - from a name to weights, [`files`]; text to ids and back and chat templates, [`text`];
//! - [`weight`] and [`layer`]: what a layer holds, and `named` the names that TransformerLens has for it;
//! - [`precision`]: how exactly its numbers are multiplied;
//! - [`point`] and [`hook`]: where a run can stand, and who stands there;
//! - [`sae`]: sparse autoencoders of what stands there;
//! - [`batch`], [`attention`] (with [`rope`]) and [`transformer`]: the pass, cut at layer boundaries. [`ops`] is its
//!   arithmetic, [`cpu`] and [`card`] the same by kernels;
//! - [`direct`]: its end, frozen, as a direction in the residual stream;
//! - [`identity`](mod@identity): what decides its numbers, for those who keep them.
//!
//! [`error`] is what can go wrong in all of them. What to run, and what to change on the way, is the business of
//! [`crate::run`].

pub mod attention;
pub mod batch;
pub mod card;
pub mod config;
pub mod cpu;
pub mod direct;
pub mod error;
pub mod family;
pub mod files;
pub mod hook;
pub mod identity;
pub mod info;
pub mod layer;
mod named;
pub mod ops;
pub mod point;
pub mod precision;
pub mod rope;
pub mod sae;
pub mod text;
pub mod transformer;
pub mod weight;

pub use batch::{Batch, Kv, Packed, Segment};
pub use config::Config;
pub use direct::Direction;
pub use error::{ModelError, Result};
pub use files::open::{LoadOptions, load_config, parse_device, parse_devices, read_json, split_made};
pub use files::{embedded, gguf, hub, inside};
pub use hook::{At, Hook, NoHook};
pub use point::{Axes, Point, Stage};
pub use precision::Precision;
pub use sae::Sae;
pub use text::{chat, tokenizer};
pub use transformer::{Prepared, Transformer};

use candle_core::{Device, DeviceLocation};
use chat::ChatTemplate;
use tokenizer::{Piece, Tokenizer};

/// A loaded model. Immutable: runs borrow it and keep their own state.
pub struct Model {
    /// What it was loaded by.
    pub id: String,
    pub transformer: Transformer,
    /// Further copies of the weights, on other cards.
    pub others: Vec<Transformer>,
    tokenizer: Option<Tokenizer>,
    chat: Option<ChatTemplate>,
    /// What `generation_config.json` says; empty where there is none.
    pub generation_config: serde_json::Value,
    /// The files that it was read from; none for the embedded one.
    pub files: Vec<std::path::PathBuf>,
    /// What decides the numbers of its runs, where that is known; see [`identity`](mod@identity).
    pub identity: Option<String>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({})", self.id)
    }
}

impl Model {
    pub fn config(&self) -> &Config {
        &self.transformer.config
    }

    /// All copies of the weights, the first before the others.
    pub fn copies(&self) -> impl Iterator<Item = &Transformer> {
        std::iter::once(&self.transformer).chain(&self.others)
    }

    /// Where it computes: `cpu`, `cuda`, or several cards: `cuda:0,cuda:1`, with `+` between those that share the layers of
    /// one copy.
    pub fn place(&self) -> String {
        let card = |device: &Device| match device.location() {
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            _ => "cpu".into(),
        };
        let copy = |t: &Transformer| t.stages.iter().map(card).collect::<Vec<_>>().join("+");
        match (self.copies().count(), &self.transformer.stages[..]) {
            (1, [Device::Cpu]) => "cpu".into(),
            (1, [_]) => "cuda".into(),
            _ => self.copies().map(copy).collect::<Vec<_>>().join(","),
        }
    }

    /// # Errors
    /// A model folder without `tokenizer.json`.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        self.tokenizer.as_ref().ok_or_else(|| ModelError::NoTokenizer(self.id.clone()))
    }

    /// # Errors
    /// A model without a chat template.
    pub fn chat(&self) -> Result<&ChatTemplate> {
        self.chat.as_ref().ok_or_else(|| ModelError::NoChatTemplate(self.id.clone()))
    }

    /// Ids that end a generation.
    pub fn end_ids(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&[], Tokenizer::eos_ids)
    }

    /// Each id's own text; `<12>` for ids of a model without a tokenizer.
    pub fn texts(&self, ids: &[u32]) -> Vec<String> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode_each(ids),
            None => ids.iter().map(|id| format!("<{id}>")).collect(),
        }
    }

    /// Each id's own text and bytes, as [`Model::texts`].
    pub fn pieces(&self, ids: &[u32]) -> Vec<Piece> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.pieces(ids),
            None => self.texts(ids).into_iter().map(Piece::from).collect(),
        }
    }
}
