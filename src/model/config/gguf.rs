//! The metadata of a GGUF file in the words of the `config.json` that it was made from.
//!
//! What the files leave out, because all models of a family share it, comes from llama.cpp (`llama-model.cpp`).

use super::{Config, RotaryScaling};
use crate::model::error::{ModelError, Result};
use crate::model::family::{self, NormKind, PositionKind, Windows};
use crate::model::gguf::{Gguf, optional};
use candle_core::Device;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The rotary base of layers with a window, where they have one of their own.
const LOCAL_THETA: f32 = 10_000.0;

/// Keys that touch no forward pass, in any family.
const HARMLESS: &[&str] = &["vocab_size", "tensor_data_layout", "rope.scaling.finetuned"];

impl Config {
    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    /// As [`Config::from_json`], and a key of the file that is not understood.
    pub fn from_gguf(gguf: &Gguf) -> Result<Config> {
        let arch = gguf.arch();
        let found = family::find_gguf(arch);
        let (family, format) = found.ok_or_else(|| ModelError::NoGguf(arch.into()))?;
        let keys = Keys { gguf, used: RefCell::default() };
        let k = &family.keys;
        let mut config = Map::new();
        let mut put = |key: &str, value: Value| drop(config.insert(key.into(), value));

        put("model_type", family.arch.into());
        let n_layers = keys.u32("block_count")?;
        let d_model = keys.u32("embedding_length")?;
        let n_heads = keys.u32("attention.head_count")?;
        let n_ctx = keys.u32("context_length")?;
        put(k.n_layers, n_layers.into());
        put(k.d_model, d_model.into());
        put(k.n_heads, n_heads.into());
        put(k.n_ctx, n_ctx.into());
        put(k.d_mlp, keys.u32("feed_forward_length")?.into());
        let kv_heads = keys.optional_u32("attention.head_count_kv")?.unwrap_or(n_heads);
        match k.n_kv_heads {
            Some(key) => put(key, kv_heads.into()),
            None => keys.expect("attention.head_count_kv", Some(kv_heads), n_heads)?,
        }
        let d_head = keys.optional_u32("attention.key_length")?.unwrap_or(d_model / n_heads.max(1));
        put("head_dim", d_head.into());
        keys.expect("attention.value_length", keys.optional_u32("attention.value_length")?, d_head)?;
        let embed = format!("{}.weight", format.names.embed);
        let vocab = gguf.shape(&embed).and_then(|shape| shape.first());
        put("vocab_size", (*vocab.ok_or_else(|| ModelError::Weights(vec![format!("no `{embed}`")]))?).into());
        let tied = !format.names.unembed.iter().any(|name| gguf.shape(&format!("{name}.weight")).is_some());
        put("tie_word_embeddings", tied.into());
        put(k.activation, format.activation.into());
        put(
            k.norm_eps,
            f64::from(keys.f32(match family.norm {
                NormKind::RmsNorm | NormKind::RmsNormLessOne => "attention.layer_norm_rms_epsilon",
                NormKind::LayerNorm => "attention.layer_norm_epsilon",
            })?)
            .into(),
        );
        if let Some(key) = k.attn_scale {
            let square = if format.by_width == Some(n_layers) { d_model / n_heads.max(1) } else { d_head };
            put(key, square.into());
        }
        if family.softcaps {
            for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
                put(key, if format.softcaps { f64::from(keys.f32(key)?).into() } else { Value::Null });
            }
        }
        match family.windows {
            Windows::None | Windows::Late => {}
            Windows::All => {
                put("sliding_window", keys.optional_u32("attention.sliding_window")?.into());
            }
            Windows::AllBut(..) => put("sliding_window", keys.u32("attention.sliding_window")?.into()),
        }
        let rotated = keys.optional_u32("rope.dimension_count")?;
        if let PositionKind::Rotary(rotary) = family.positions {
            let theta = keys.optional_f32("rope.freq_base")?.unwrap_or(10_000.0);
            put(rotary.theta, f64::from(theta).into());
            if let Some(key) = rotary.local_theta {
                let theta = keys.optional_f32("rope.freq_base_swa")?.unwrap_or(LOCAL_THETA);
                put(key, f64::from(theta).into());
            }
            if let (Some((key, _)), Some(rotated)) = (rotary.part, rotated) {
                put(key, (f64::from(rotated) / f64::from(d_head)).into());
            }
            if let Some(scaling) = keys.scaling(n_ctx)? {
                put("rope_scaling", scaling);
            }
        }
        keys.refuse_unread()?;

        let mut config = Config::from_json(Value::Object(config))?;
        let factors = factors(gguf, "rope_freqs.weight")?;
        for rotary in config.kinds.iter_mut().filter_map(|kind| kind.rotary.as_mut()) {
            if let Some(factors) = &factors {
                if factors.len() != rotary.dims / 2 {
                    let (found, expected) = (factors.len(), rotary.dims / 2);
                    let problem = format!("`rope_freqs.weight` is [{found}], expected [{expected}]");
                    return Err(ModelError::Weights(vec![problem]));
                }
                rotary.scaling = RotaryScaling::Factors(factors.clone());
            }
            keys.expect("rope.dimension_count", rotated, rotary.dims as u32)?;
        }
        Ok(config)
    }
}

/// Divisors of rotary frequencies, one a pair, if the file has such a tensor.
fn factors(gguf: &Gguf, name: &str) -> Result<Option<Vec<f32>>> {
    match gguf.shape(name) {
        Some(_) => Ok(Some(gguf.tensor(name, &Device::Cpu)?.flatten_all()?.to_vec1()?)),
        None => Ok(None),
    }
}

/// Reads the keys of the file's family, and remembers which.
struct Keys<'a> {
    gguf: &'a Gguf,
    used: RefCell<BTreeSet<String>>,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.gguf.arch());
        self.used.borrow_mut().insert(key.clone());
        key
    }

    fn u32(&self, name: &str) -> Result<u32> {
        Ok(self.gguf.u32(&self.key(name))?)
    }

    fn f32(&self, name: &str) -> Result<f32> {
        Ok(self.gguf.f32(&self.key(name))?)
    }

    fn optional_u32(&self, name: &str) -> Result<Option<u32>> {
        Ok(optional(self.gguf.u32(&self.key(name)))?)
    }

    fn optional_f32(&self, name: &str) -> Result<Option<f32>> {
        Ok(optional(self.gguf.f32(&self.key(name)))?)
    }

    /// # Errors
    /// A value that is given and is not the one that the forward pass has.
    fn expect(&self, name: &str, found: Option<u32>, expected: u32) -> Result<()> {
        match found {
            Some(found) if found != expected => Err(self.gguf.unknown_key(&self.key(name)).into()),
            _ => Ok(()),
        }
    }

    /// What `config.json` would have under `rope_scaling`.
    fn scaling(&self, n_ctx: u32) -> Result<Option<Value>> {
        let original = self.optional_u32("rope.scaling.original_context_length")?;
        let short = factors(self.gguf, "rope_factors_short.weight")?;
        let long = factors(self.gguf, "rope_factors_long.weight")?;
        let kind = optional(self.gguf.str(&self.key("rope.scaling.type")))?;
        let factor = self.optional_f32("rope.scaling.factor")?.map(f64::from);
        if let (Some(short), Some(long)) = (short, long) {
            let mut scaling = json!({
                "rope_type": "longrope", "short_factor": short, "long_factor": long,
                "original_max_position_embeddings": original.unwrap_or(n_ctx),
            });
            if let Some(factor) = self.optional_f32("rope.scaling.attn_factor")? {
                scaling["attention_factor"] = f64::from(factor).into();
            }
            return Ok(Some(scaling));
        }
        Ok(match kind.as_deref() {
            None | Some("none") => None,
            Some("yarn") => Some(self.yarn(original.unwrap_or(n_ctx), factor.unwrap_or(1.0))?),
            Some(kind) => Some(json!({ "rope_type": kind, "factor": factor.unwrap_or(1.0) })),
        })
    }

    /// llama.cpp's own word for how much is extrapolated, 1 with YaRN, is not in `config.json`; its attention factors
    /// multiply the one that follows from `factor`.
    fn yarn(&self, original: u32, factor: f64) -> Result<Value> {
        let mut scaling = json!({
            "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
        });
        for (key, name) in [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")] {
            if let Some(beta) = self.optional_f32(&format!("rope.scaling.{name}"))? {
                scaling[key] = f64::from(beta).into();
            }
        }
        if self.optional_f32("rope.scaling.yarn_ext_factor")?.is_some_and(|extrapolated| extrapolated != 1.0)
        {
            return Err(self.gguf.unknown_key(&self.key("rope.scaling.yarn_ext_factor")).into());
        }
        let names = ["rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"];
        let factors = [self.optional_f32(names[0])?, self.optional_f32(names[1])?];
        if factors.iter().any(Option::is_some) {
            let given: f64 = factors.into_iter().flatten().map(f64::from).product();
            scaling["attention_factor"] = (given * (1.0 + 0.1 * factor.max(1.0).ln())).into();
        }
        Ok(scaling)
    }

    /// # Errors
    /// A key of the family that nobody read and that is not known to be harmless.
    fn refuse_unread(&self) -> Result<()> {
        let prefix = format!("{}.", self.gguf.arch());
        let used = self.used.borrow();
        for key in self.gguf.keys() {
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            if !used.contains(key) && !HARMLESS.contains(&name) {
                return Err(self.gguf.unknown_key(key).into());
            }
        }
        Ok(())
    }
}
