//! What a checkpoint says about itself, read strictly: a key that would change the computation and is not
//! understood is an error, because a model that runs with a setting ignored gives wrong numbers.

use super::error::{ModelError, Result};
use super::family::{self, Family, MlpKind, PositionKind};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    Silu,
    /// The exact `x Φ(x)`.
    Gelu,
    /// The tanh approximation (`gelu_new`, `gelu_pytorch_tanh`).
    GeluTanh,
    Relu,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    pub theta: f64,
    pub scaling: RotaryScaling,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RotaryScaling {
    None,
    /// Every frequency divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a linear ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_n_ctx: f64,
    },
    /// Frequencies divided by these, one a pair (GGUF's `rope_freqs.weight`).
    Factors(Vec<f32>),
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
    pub rotary: Option<Rotary>,
    pub tied: bool,
    pub attn_bias: bool,
    pub mlp_bias: bool,
    /// `config.json` as it was read (or made, from GGUF metadata).
    pub raw: Value,
}

/// Keys of `config.json` that touch no forward pass, in any family.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "label2id",
    "model_type",
    "name_or_path",
    "_model_name_or_path",
    "_name_or_path",
    "output_past",
    "pad_token_id",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "transformers.js_config",
    "unk_token_id",
    "unsloth_fixed",
    "use_cache",
];

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
        let arch = map
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or(ModelError::MissingKey("model_type".into()))?;
        let family = family::find(arch).ok_or_else(|| ModelError::UnknownFamily(arch.into()))?;
        let reader = Reader { map, used: RefCell::default() };
        let k = &family.keys;
        let d_model = reader.usize(k.d_model)?;
        let n_heads = reader.usize(k.n_heads)?;
        if n_heads == 0 || d_model == 0 {
            return Err(reader.bad(k.n_heads, "a positive number"));
        }
        let n_kv_heads = match k.n_kv_heads {
            Some(key) => reader.usize_or(key, n_heads)?,
            None => n_heads,
        };
        if n_kv_heads == 0 || n_heads % n_kv_heads != 0 {
            return Err(reader.bad(k.n_kv_heads.unwrap_or(k.n_heads), "a divisor of the number of heads"));
        }
        let rotary = match family.positions {
            PositionKind::Learned => None,
            PositionKind::Rotary => Some(rotary(&reader)?),
        };
        let config = Config {
            family,
            n_layers: reader.usize(k.n_layers)?,
            d_model,
            n_heads,
            n_kv_heads,
            d_head: reader.usize_or("head_dim", d_model / n_heads)?,
            d_mlp: reader.usize_or(k.d_mlp, 4 * d_model)?,
            d_vocab: reader.usize("vocab_size")?,
            n_ctx: reader.usize(k.n_ctx)?,
            norm_eps: reader.f64(k.norm_eps)?,
            activation: activation(&reader, k.activation)?,
            rotary,
            tied: reader.bool_or("tie_word_embeddings", family.tied_by_default)?,
            attn_bias: reader.bool_or("attention_bias", family.biases)?,
            mlp_bias: reader.bool_or("mlp_bias", family.biases)?,
            raw: raw.clone(),
        };
        if config.family.mlp == MlpKind::Plain && config.d_mlp == 0 {
            return Err(reader.bad(k.d_mlp, "a positive number"));
        }
        reader.refuse_unknown(family)?;
        Ok(config)
    }

    /// Query heads that share one key and value head.
    pub fn heads_per_kv(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
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

/// Rotary settings in either spelling: `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling`.
fn rotary(reader: &Reader) -> Result<Rotary> {
    let nested = reader.get("rope_parameters").or_else(|| reader.get("rope_scaling"));
    let empty = Map::new();
    let nested = match nested {
        None => &empty,
        Some(Value::Object(map)) => map,
        Some(_) => return Err(reader.bad("rope_parameters", "an object")),
    };
    let scale = Reader { map: nested, used: RefCell::default() };
    let theta = match scale.get("rope_theta").or_else(|| reader.get("rope_theta")) {
        Some(value) => value.as_f64().ok_or_else(|| reader.bad("rope_theta", "a number"))?,
        None => 10_000.0,
    };
    let kind = match scale.get("rope_type").or_else(|| scale.get("type")) {
        None => "default",
        Some(value) => value.as_str().ok_or_else(|| scale.bad("rope_type", "a string"))?,
    };
    let scaling = match kind {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Linear { factor: scale.f64("factor")? },
        "llama3" => RotaryScaling::Llama3 {
            factor: scale.f64("factor")?,
            low_freq_factor: scale.f64("low_freq_factor")?,
            high_freq_factor: scale.f64("high_freq_factor")?,
            original_n_ctx: scale.f64("original_max_position_embeddings")?,
        },
        _ => return Err(scale.bad("rope_type", "`default`, `linear` or `llama3`")),
    };
    scale.refuse_unread(&[])?;
    Ok(Rotary { theta, scaling })
}

/// Reads keys and remembers which were read.
struct Reader<'a> {
    map: &'a Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    /// The value at `key`; `null` counts as absent, as in transformers.
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.used.borrow_mut().insert(key.into());
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn bad(&self, key: &str, expected: &'static str) -> ModelError {
        let found = self.map.get(key).map_or("absent".into(), |value| format!("`{value}`"));
        ModelError::BadKey { key: key.into(), expected, found }
    }

    fn need(&self, key: &str) -> Result<&'a Value> {
        self.get(key).ok_or_else(|| ModelError::MissingKey(key.into()))
    }

    fn usize(&self, key: &str) -> Result<usize> {
        self.need(key)?.as_u64().map(|n| n as usize).ok_or_else(|| self.bad(key, "a whole number"))
    }

    fn usize_or(&self, key: &str, default: usize) -> Result<usize> {
        if self.get(key).is_some() { self.usize(key) } else { Ok(default) }
    }

    fn f64(&self, key: &str) -> Result<f64> {
        self.need(key)?.as_f64().ok_or_else(|| self.bad(key, "a number"))
    }

    fn str(&self, key: &str) -> Result<&'a str> {
        self.need(key)?.as_str().ok_or_else(|| self.bad(key, "a string"))
    }

    fn bool_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    fn refuse_unknown(&self, family: &Family) -> Result<()> {
        for (key, value) in family.keys.fixed {
            if let Some(found) = self.get(key)
                && found != &serde_json::from_str::<Value>(value).unwrap_or(json!(value))
            {
                return Err(ModelError::UnknownKey { key: (*key).into(), value: format!("`{found}`") });
            }
        }
        self.refuse_unread(family.keys.harmless)
    }

    fn refuse_unread(&self, harmless: &[&str]) -> Result<()> {
        let used = self.used.borrow();
        for (key, value) in self.map {
            let known =
                used.contains(key) || HARMLESS.contains(&key.as_str()) || harmless.contains(&key.as_str());
            if !known && !value.is_null() {
                return Err(ModelError::UnknownKey { key: key.clone(), value: format!("`{value}`") });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(old.rotary, Config::from_json(new).unwrap().rotary);
        assert_eq!(old.d_head, 16);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            error(|c| drop(c.insert("attention_sink".into(), json!(3)))),
            "`config.json` sets `attention_sink` to `3`, which patchscript does not understand"
        );
        assert_eq!(
            error(|c| drop(c.insert("rope_scaling".into(), json!({"rope_type": "yarn", "factor": 2.0})))),
            "`config.json`: `rope_type` is `\"yarn\"`, expected `default`, `linear` or `llama3`"
        );
        assert_eq!(error(|c| drop(c.remove("hidden_size"))), "`config.json` lacks `hidden_size`");
        assert_eq!(
            error(|c| drop(c.insert("pretraining_tp".into(), json!(2)))),
            "`config.json` sets `pretraining_tp` to `2`, which patchscript does not understand"
        );
    }
}
