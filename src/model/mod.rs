//! A language model: its files, its tokens and one forward pass over a packed batch.
//!
//! Read in this order:
//! - [`config`] and [`family`]: what a model is, and what differs between architectures, as data; [`info`] says how
//!   large it is before a weight is read;
//! - from a name to weights, [`files`]; text to ids and back and chat templates, [`text`];
//! - [`weight`] and [`layer`]: what a layer holds;
//! - [`point`] and [`hook`]: where a run can stand, and who stands there;
//! - [`sae`]: sparse autoencoders of what stands there;
//! - [`batch`], [`attention`] (with [`rope`]) and [`transformer`]: the pass, cut at layer boundaries. [`ops`] is its
//!   arithmetic, [`cpu`] and [`card`] the same by kernels;
//! - [`direct`]: its end, frozen, as a direction in the residual stream.
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
pub mod info;
pub mod layer;
pub mod ops;
pub mod point;
pub mod rope;
pub mod sae;
pub mod text;
pub mod transformer;
pub mod weight;

pub use batch::{Batch, Kv, Segment};
pub use config::Config;
pub use direct::Direction;
pub use error::{ModelError, Result};
pub use files::open::{LoadOptions, load_config, parse_device, read_json, split_made};
pub use files::{embedded, gguf, hub, inside};
pub use hook::{At, Hook, NoHook};
pub use point::{Axes, Point, Stage};
pub use sae::Sae;
pub use text::{chat, tokenizer};
pub use transformer::{Prepared, Transformer};

use candle_core::Tensor;
use chat::ChatTemplate;
use layer::Mlp;
use tokenizer::{Piece, Tokenizer};

/// A loaded model. Immutable: runs borrow it and keep their own state.
pub struct Model {
    /// What it was loaded by.
    pub id: String,
    pub transformer: Transformer,
    tokenizer: Option<Tokenizer>,
    chat: Option<ChatTemplate>,
    /// What `generation_config.json` says; empty where there is none.
    pub generation_config: serde_json::Value,
    /// The files that it was read from; none for the embedded one.
    pub files: Vec<std::path::PathBuf>,
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

    /// A weight by its TransformerLens name and in its shape: `embed.W_E` `[d_vocab, d_model]` (as it
    /// enters the stream: on Gemma times `sqrt(d_model)`), `unembed.W_U`
    /// `[d_model, d_vocab]`, `blocks.3.attn.W_Q` `[n_heads, d_model, d_head]` (`W_K`, `W_V`: `n_kv_heads`),
    /// `blocks.3.attn.W_O` `[n_heads, d_head, d_model]`, `blocks.3.mlp.W_in`, `W_gate` `[d_model, d_mlp]`,
    /// `blocks.3.mlp.W_out` `[d_mlp, d_model]`.
    pub fn weight(&self, name: &str) -> Result<Tensor> {
        let t = &self.transformer;
        let Config { d_model, d_head, n_heads, n_kv_heads, .. } = t.config;
        let missing = || ModelError::NoWeight(name.into());
        match name {
            "embed.W_E" => return t.scaled(t.embed.dense()?),
            "unembed.W_U" => return Ok(t.unembed.dense()?.t()?.contiguous()?),
            "pos_embed.W_pos" => return t.pos_embed.clone().ok_or_else(missing),
            _ => {}
        }
        let (layer, role) =
            name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')).ok_or_else(missing)?;
        let layer = layer.parse::<usize>().ok().and_then(|l| t.layers.get(l)).ok_or_else(missing)?;
        let per_head = |w: &Tensor, heads: usize| -> Result<Tensor> {
            Ok(w.reshape((d_model, heads, d_head))?.transpose(0, 1)?.contiguous()?)
        };
        match role {
            "attn.W_Q" => per_head(&layer.q.weight.dense()?, n_heads),
            "attn.W_K" => per_head(&layer.k.weight.dense()?, n_kv_heads),
            "attn.W_V" => per_head(&layer.v.weight.dense()?, n_kv_heads),
            "attn.W_O" => Ok(layer.attn_out.weight.dense()?.reshape((n_heads, d_head, d_model))?),
            "mlp.W_in" => match &layer.mlp {
                Mlp::Plain { w_in, .. } | Mlp::Gated { w_in, .. } => w_in.weight.dense(),
            },
            "mlp.W_out" => match &layer.mlp {
                Mlp::Plain { w_out, .. } | Mlp::Gated { w_out, .. } => w_out.weight.dense(),
            },
            "mlp.W_gate" => match &layer.mlp {
                Mlp::Plain { .. } => Err(missing()),
                Mlp::Gated { w_gate, .. } => w_gate.weight.dense(),
            },
            _ => Err(missing()),
        }
    }
}
