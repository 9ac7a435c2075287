//! What a checkpoint says about itself, read strictly: a key that would change the computation and is not
//! understood is an error, because a model that runs with a setting ignored gives wrong numbers. [`reader`] is the
//! tripwire; [`rotary`] and [`windows`] read what families spell in many ways; [`gguf`] puts the metadata of a GGUF file
//! into the words of `config.json`.

mod gguf;
pub(in crate::model) mod reader;
pub mod rotary;
mod windows;

pub use rotary::{Rotary, RotaryScaling};

use super::error::{ModelError, Result};
use super::family::{self, Choice, Family, PositionKind};
use reader::Reader;
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    Silu,
    /// The exact `x Φ(x)`.
    Gelu,
    /// The tanh approximation (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    Relu,
}

/// How layers of one kind attend.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerKind {
    /// A query sees this many keys, up to its own; else all up to its own.
    pub window: Option<usize>,
    pub rotary: Option<Rotary>,
}

/// Which linear maps have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Biases {
    pub qkv: bool,
    pub attn_out: bool,
    pub mlp: bool,
    pub unembed: bool,
}

/// The sizes and choices of one model, in the field's words.
#[derive(Debug, Clone)]
pub struct Config {
    pub family: &'static Family,
    pub n_layers: usize,
    pub d_model: usize,
    pub n_heads: usize,
    pub n_kv_heads: usize,
    pub d_head: usize,
    pub d_mlp: usize,
    pub d_vocab: usize,
    pub n_ctx: usize,
    pub norm_eps: f64,
    pub activation: Activation,
    /// What queries times keys are multiplied by.
    pub attn_scale: f64,
    /// Scores are bounded: `c tanh(score / c)`.
    pub attn_softcap: Option<f64>,
    /// Logits likewise.
    pub logit_softcap: Option<f64>,
    /// What embeddings are multiplied by before they enter the stream.
    pub embed_scale: f64,
    /// Attention and MLP read the same stream, side by side.
    pub parallel: bool,
    /// The kinds of layers there are; see [`Config::kind`].
    pub kinds: Vec<LayerKind>,
    /// Each layer's index into `kinds`.
    pub layer_kinds: Vec<usize>,
    pub tied: bool,
    pub biases: Biases,
    /// `config.json` as it was read (or made, from GGUF metadata).
    pub raw: Value,
}

impl Config {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// An unsupported family, a missing or ill-typed key, or a key that is not understood.
    pub fn from_json(raw: Value) -> Result<Config> {
        let map = raw.as_object().ok_or(ModelError::BadKey {
            key: "config.json".into(),
            expected: "an object",
            found: raw.to_string(),
        })?;
        let reader = Reader::new(map);
        let arch = reader.str("model_type")?;
        let family = family::find(arch).ok_or_else(|| ModelError::UnknownFamily(arch.into()))?;
        let k = &family.keys;
        let (d_model, n_heads) = (reader.size(k.d_model)?, reader.size(k.n_heads)?);
        let n_kv_heads = k.n_kv_heads.map(|key| reader.optional_size(key)).transpose()?.flatten();
        let n_kv_heads = n_kv_heads.unwrap_or(n_heads);
        if n_heads % n_kv_heads != 0 {
            return Err(reader.bad(k.n_kv_heads.unwrap_or(k.n_heads), "a divisor of the number of heads"));
        }
        let d_head = match reader.optional_size("head_dim")? {
            Some(d_head) => d_head,
            None if d_model % n_heads == 0 => d_model / n_heads,
            None => return Err(reader.bad(k.n_heads, "a divisor of the model's width")),
        };
        if n_heads * d_head > reader::LARGEST {
            return Err(reader.bad(k.n_heads, "such that heads times their width is at most 16777216"));
        }
        let n_layers = reader.size(k.n_layers)?;
        if n_layers > 1024 {
            return Err(reader.bad(k.n_layers, "at most 1024"));
        }
        let n_ctx = reader.size(k.n_ctx)?;
        let (kinds, layer_kinds) = layer_kinds(&reader, family, n_layers, d_head, n_ctx)?;
        let reach = kinds.iter().filter_map(|kind| Some(kind.rotary.as_ref()?.n_ctx)).min();
        let softcap = |key| if family.softcaps { reader.stated_positive(key) } else { Ok(None) };
        let choose = |choice| match choice {
            Choice::Always => Ok(true),
            Choice::Never => Ok(false),
            Choice::Key(key, default) => reader.bool_or(key, default),
        };
        let config = Config {
            family,
            n_layers,
            d_model,
            n_heads,
            n_kv_heads,
            d_head,
            d_mlp: reader.optional_size(k.d_mlp)?.unwrap_or(4 * d_model),
            d_vocab: reader.size("vocab_size")?,
            n_ctx: reach.unwrap_or(n_ctx),
            norm_eps: reader.positive(k.norm_eps)?,
            activation: activation(&reader, k.activation)?,
            attn_scale: match k.attn_scale {
                Some(key) => 1.0 / reader.positive(key)?.sqrt(),
                None => 1.0 / (d_head as f64).sqrt(),
            },
            attn_softcap: softcap("attn_logit_softcapping")?,
            logit_softcap: softcap("final_logit_softcapping")?,
            embed_scale: if family.scales_embeddings { (d_model as f64).sqrt() } else { 1.0 },
            parallel: choose(family.parallel)?,
            kinds,
            layer_kinds,
            tied: reader.bool_or("tie_word_embeddings", family.tied_by_default)?,
            biases: Biases {
                qkv: choose(family.biases.qkv)?,
                attn_out: choose(family.biases.attn_out)?,
                mlp: choose(family.biases.mlp)?,
                unembed: choose(family.biases.unembed)?,
            },
            raw: raw.clone(),
        };
        reader.expect(k.fixed)?;
        reader.refuse_unread(k.harmless)?;
        Ok(config)
    }

    /// How layer `layer` attends.
    pub fn kind(&self, layer: usize) -> &LayerKind {
        &self.kinds[self.layer_kinds[layer]]
    }

    /// Query heads that share one key and value head.
    pub fn heads_per_kv(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// The kinds of layers, and which each layer is.
fn layer_kinds(
    reader: &Reader,
    family: &Family,
    n_layers: usize,
    d_head: usize,
    n_ctx: usize,
) -> Result<(Vec<LayerKind>, Vec<usize>)> {
    let [full, local] = match &family.positions {
        PositionKind::Learned => [None, None],
        PositionKind::Rotary(keys) => rotary::read(reader, keys, d_head, n_ctx)?.map(Some),
    };
    let (window, windowed) = windows::read(reader, family.windows, n_layers)?;
    let full = LayerKind { window: None, rotary: full };
    if !windowed.contains(&true) {
        return Ok((vec![full], vec![0; n_layers]));
    }
    let window = Some(window.ok_or_else(|| reader.bad("sliding_window", "a whole number above 0"))?);
    let kinds = vec![full, LayerKind { window, rotary: local }];
    Ok((kinds, windowed.into_iter().map(usize::from).collect()))
}

fn activation(reader: &Reader, key: &str) -> Result<Activation> {
    match reader.str(key)? {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        _ => Err(reader.bad(key, "one of `silu`, `gelu`, `gelu_new`, `gelu_pytorch_tanh`, `relu`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn llama() -> Value {
        json!({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 320, "max_position_embeddings": 256,
            "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 5e5, "torch_dtype": "bfloat16"})
    }

    fn error(change: impl Fn(&mut Map<String, Value>)) -> String {
        let mut config = llama();
        change(config.as_object_mut().unwrap());
        Config::from_json(config).unwrap_err().to_string()
    }

    #[test]
    fn both_spellings_of_rotary_agree() {
        let old = Config::from_json(llama()).unwrap();
        let mut new = llama();
        new.as_object_mut().unwrap().remove("rope_theta");
        new["rope_parameters"] = json!({"rope_theta": 5e5, "rope_type": "default"});
        assert_eq!(old.kinds, Config::from_json(new).unwrap().kinds);
        assert_eq!(old.d_head, 16);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            error(|c| drop(c.insert("attention_sink".into(), json!(3)))),
            "`config.json` sets `attention_sink` to `3`, which patchscript does not understand"
        );
        assert_eq!(
            error(|c| drop(
                c.insert("rope_scaling".into(), json!({"rope_type": "proportional", "factor": 2.0}))
            )),
            "`config.json`: `rope_type` is `\"proportional\"`, expected `default`, `linear`, `dynamic`, `yarn`, `llama3` or `longrope`"
        );
        assert_eq!(error(|c| drop(c.remove("hidden_size"))), "`config.json` lacks `hidden_size`");
        assert_eq!(
            error(|c| drop(c.insert("pretraining_tp".into(), json!(2)))),
            "`config.json` sets `pretraining_tp` to `2`, which patchscript does not understand"
        );
    }
}
