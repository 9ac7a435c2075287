//! A model's weights by the names that TransformerLens has for them.

use candle_core::Tensor;

use super::layer::{Layer, Linear, Mlp, Norm};
use super::{Config, Model, ModelError, Result};

impl Model {
    /// A weight by its TransformerLens name and in its shape: `embed.W_E` `[d_vocab, d_model]` (as it
    /// enters the stream: on Gemma times `sqrt(d_model)`), `unembed.W_U`
    /// `[d_model, d_vocab]`, `blocks.3.attn.W_Q` `[n_heads, d_model, d_head]` (`W_K`, `W_V`: `n_kv_heads`),
    /// `blocks.3.attn.W_O` `[n_heads, d_head, d_model]`, `blocks.3.mlp.W_in`, `W_gate` `[d_model, d_mlp]`,
    /// `blocks.3.mlp.W_out` `[d_mlp, d_model]`. Biases have a `b` for the `W` and no `d_model` in front.
    ///
    /// Gains and biases of norms `[d_model]`: `ln_final.w`, `ln_final.b`, `blocks.3.ln1.w`, `ln2`, and where the family has
    /// them `ln1_post`, `ln2_post`, `attn.q_norm`, `attn.k_norm`. A gain is what the norm multiplies by: on Gemma one more than
    /// what its file holds.
    ///
    /// # Errors
    /// [`ModelError::NoWeight`] for another name, or one that this model lacks.
    pub fn weight(&self, name: &str) -> Result<Tensor> {
        let t = &self.transformer;
        let found = match name {
            "embed.W_E" => Some(t.scaled(t.embed.dense()?)?),
            "unembed.W_U" => Some(t.unembed.dense()?.t()?.contiguous()?),
            "unembed.b_U" => t.unembed_bias.clone(),
            "pos_embed.W_pos" => t.pos_embed.clone(),
            _ => match name.strip_prefix("ln_final.") {
                Some(part) => of_norm(Some(&t.final_norm), part),
                None => {
                    let in_layer = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.'));
                    let layer = in_layer
                        .and_then(|(layer, role)| Some((t.layers.get(layer.parse::<usize>().ok()?)?, role)));
                    layer.map(|(layer, role)| of_layer(layer, &t.config, role)).transpose()?.flatten()
                }
            },
        };
        found.ok_or_else(|| ModelError::NoWeight(name.into()))
    }
}

/// What a layer calls `role`, such as `attn.W_Q`; `None` if it has nothing of that name.
fn of_layer(layer: &Layer, config: &Config, role: &str) -> Result<Option<Tensor>> {
    let (part, name) = role.rsplit_once('.').unwrap_or(("", role));
    let map = |map: Option<&Linear>| -> Result<Option<Tensor>> {
        match map {
            Some(map) if name.starts_with("W_") => Ok(Some(map.weight.dense()?.contiguous()?)),
            map => Ok(map.and_then(|map| map.bias.clone())),
        }
    };
    let (w_gate, w_in, w_out) = match &layer.mlp {
        Mlp::Plain { w_in, w_out } => (None, w_in, w_out),
        Mlp::Gated { w_gate, w_in, w_out } => (Some(w_gate), w_in, w_out),
    };
    match (part, name) {
        ("attn", "W_Q" | "b_Q") => {
            map(Some(&layer.q))?.map(|w| per_head(&w, config.n_heads, config)).transpose()
        }
        ("attn", "W_K" | "b_K") => {
            map(Some(&layer.k))?.map(|w| per_head(&w, config.n_kv_heads, config)).transpose()
        }
        ("attn", "W_V" | "b_V") => {
            map(Some(&layer.v))?.map(|w| per_head(&w, config.n_kv_heads, config)).transpose()
        }
        ("attn", "W_O") => {
            let w = layer.attn_out.weight.dense()?.contiguous()?;
            Ok(Some(w.reshape((config.n_heads, config.d_head, config.d_model))?))
        }
        ("attn", "b_O") => map(Some(&layer.attn_out)),
        ("mlp", "W_gate" | "b_gate") => map(w_gate),
        ("mlp", "W_in" | "b_in") => map(Some(w_in)),
        ("mlp", "W_out" | "b_out") => map(Some(w_out)),
        ("ln1", part) => Ok(of_norm(layer.ln1.as_ref(), part)),
        ("ln2", part) => Ok(of_norm(layer.ln2.as_ref(), part)),
        ("ln1_post", part) => Ok(of_norm(layer.post_attn.as_ref(), part)),
        ("ln2_post", part) => Ok(of_norm(layer.post_mlp.as_ref(), part)),
        ("attn.q_norm", part) => Ok(of_norm(layer.q_norm.as_ref(), part)),
        ("attn.k_norm", part) => Ok(of_norm(layer.k_norm.as_ref(), part)),
        _ => Ok(None),
    }
}

/// `[d_model, heads * d_head]` as `[heads, d_model, d_head]`, a bias as `[heads, d_head]`.
fn per_head(w: &Tensor, heads: usize, config: &Config) -> Result<Tensor> {
    match w.rank() {
        1 => Ok(w.reshape((heads, config.d_head))?),
        _ => Ok(w.reshape((config.d_model, heads, config.d_head))?.transpose(0, 1)?.contiguous()?),
    }
}

fn of_norm(norm: Option<&Norm>, part: &str) -> Option<Tensor> {
    match part {
        "w" => norm.map(|norm| norm.gain.clone()),
        "b" => norm.and_then(|norm| norm.bias.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::{D, safetensors};

    use super::super::LoadOptions;
    use super::*;

    fn tiny(family: &str) -> (Model, std::collections::HashMap<String, Tensor>) {
        let folder = Path::new("tests/golden/tiny").join(family);
        let model = Model::load(&folder.display().to_string(), &LoadOptions::default()).unwrap();
        let file = safetensors::load(folder.join("model.safetensors"), &candle_core::Device::Cpu).unwrap();
        (model, file)
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(D::Minus1).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn names_find_what_the_file_holds() {
        let (model, file) = tiny("gpt2");
        for (name, whose) in [
            ("ln_final.w", "ln_f.weight"),
            ("ln_final.b", "ln_f.bias"),
            ("blocks.1.ln1.w", "h.1.ln_1.weight"),
            ("blocks.1.ln2.b", "h.1.ln_2.bias"),
            ("blocks.2.attn.b_O", "h.2.attn.c_proj.bias"),
            ("blocks.0.mlp.W_in", "h.0.mlp.c_fc.weight"),
            ("blocks.0.mlp.b_in", "h.0.mlp.c_fc.bias"),
            ("blocks.0.mlp.b_out", "h.0.mlp.c_proj.bias"),
        ] {
            let stored = file.get(whose).or_else(|| file.get(&format!("transformer.{whose}"))).expect(whose);
            assert_eq!(apart(&model.weight(name).unwrap(), stored), 0.0, "{name}");
        }
        let qkv = file
            .get("h.1.attn.c_attn.bias")
            .or_else(|| file.get("transformer.h.1.attn.c_attn.bias"))
            .unwrap();
        let keys = model.weight("blocks.1.attn.b_K").unwrap();
        let width = keys.elem_count();
        let part = qkv.narrow(0, width, width).unwrap().reshape(keys.dims()).unwrap();
        assert_eq!(apart(&keys, &part), 0.0);
        for name in [
            "unembed.b_U",
            "blocks.0.mlp.W_gate",
            "blocks.9.ln1.w",
            "blocks.0.ln3.w",
            "ln_final.x",
            "blocks.0",
        ] {
            assert!(matches!(model.weight(name), Err(ModelError::NoWeight(_))), "{name}");
        }
    }

    #[test]
    fn a_gain_is_what_the_norm_multiplies_by() {
        let (model, file) = tiny("gemma3_text");
        let stored = (&file["model.layers.1.post_attention_layernorm.weight"] + 1.0).unwrap();
        assert!(apart(&model.weight("blocks.1.ln1_post.w").unwrap(), &stored) < 1e-6);
        assert_eq!(model.weight("blocks.1.attn.q_norm.w").unwrap().dims(), [model.config().d_head]);
        assert!(model.weight("blocks.1.ln1.b").is_err());
    }
}
