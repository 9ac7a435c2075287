//! Where tensors come from: safetensors files or one GGUF, read by the names of a family's checkpoint.

use super::config::{Config, Rotary, RotaryScaling};
use super::error::{ModelError, Result};
use super::family::{MlpKind, Names, NormKind, PositionKind, QkvNames};
use super::gguf::{Gguf, optional};
use super::ops;
use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files behind a model.
pub enum Files {
    Safetensors(MmapedSafetensors),
    Gguf(Gguf),
}

impl Files {
    /// Opens `model.safetensors`, or every file that `model.safetensors.index.json` names.
    pub fn open_folder(folder: &Path) -> Result<Files> {
        let paths = safetensors_files(folder)?;
        let broken = |path: &Path, e: candle_core::Error| {
            // candle names the path too.
            let reason = match e {
                candle_core::Error::WithPath { inner, .. } => inner.to_string(),
                e => e.to_string(),
            };
            let reason = reason.lines().next().unwrap_or_default().to_string();
            ModelError::Safetensors { path: path.into(), reason }
        };
        // One file at a time first, so that the error names the file.
        for path in &paths {
            // SAFETY: the map is read-only and dropped at once.
            unsafe { MmapedSafetensors::new(path) }.map_err(|e| broken(path, e))?;
        }
        // SAFETY: the maps are read-only; as with every memory-mapped checkpoint, another program must not
        // change the files while they are being loaded.
        let files = unsafe { MmapedSafetensors::multi(&paths) }.map_err(|e| broken(folder, e))?;
        Ok(Files::Safetensors(files))
    }

    fn names(&self) -> BTreeSet<String> {
        match self {
            Files::Safetensors(files) => files.tensors().into_iter().map(|(name, _)| name).collect(),
            Files::Gguf(gguf) => gguf.tensor_names().map(str::to_string).collect(),
        }
    }

    fn read(&self, name: &str, device: &Device) -> Result<Tensor> {
        match self {
            Files::Safetensors(files) => Ok(files.load(name, device)?),
            Files::Gguf(gguf) => Ok(gguf.tensor(name, device)?),
        }
    }
}

fn safetensors_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        return Err(ModelError::NotFound(single.display().to_string()));
    }
    let json = super::load::read_json(&index)?;
    let Some(map) = json.get("weight_map").and_then(|m| m.as_object()) else {
        return Err(ModelError::Safetensors { path: index, reason: "it has no `weight_map`".into() });
    };
    let files: BTreeSet<&str> = map.values().filter_map(|v| v.as_str()).collect();
    for name in &files {
        if Path::new(name).components().count() != 1 {
            return Err(ModelError::Safetensors {
                path: index,
                reason: format!("`{name}` is not a file name"),
            });
        }
        if !folder.join(name).is_file() {
            return Err(ModelError::NotFound(folder.join(name).display().to_string()));
        }
    }
    Ok(files.into_iter().map(|name| folder.join(name)).collect())
}

/// Hands out tensors by role, checks every shape and collects all that is missing into one error.
pub struct Loader<'a> {
    files: &'a Files,
    present: BTreeSet<String>,
    root: &'static str,
    names: &'static Names,
    config: &'a Config,
    device: &'a Device,
    dtype: DType,
    missing: Vec<String>,
}

impl<'a> Loader<'a> {
    pub fn new(files: &'a Files, config: &'a Config, device: &'a Device, dtype: DType) -> Loader<'a> {
        let names = match files {
            Files::Safetensors(_) => &config.family.names,
            Files::Gguf(_) => &config.family.gguf_names,
        };
        let present = files.names();
        let has_root = |root: &&&str| present.contains(&format!("{root}{}.weight", names.embed));
        let root = names.roots.iter().find(has_root).copied().unwrap_or(names.roots[0]);
        Loader { files, present, root, names, config, device, dtype, missing: Vec::new() }
    }

    pub fn names(&self) -> &'static Names {
        self.names
    }

    /// Fails if anything that was asked for is missing.
    pub fn finish(self) -> Result<()> {
        if self.missing.is_empty() { Ok(()) } else { Err(ModelError::Weights(self.missing)) }
    }

    /// The full name of a role in layer `layer`.
    pub fn in_layer(&self, layer: usize, role: &str) -> String {
        format!("{}{}{role}", self.root, self.names.layer.replace("{}", &layer.to_string()))
    }

    pub fn in_model(&self, role: &str) -> String {
        format!("{}{role}", self.root)
    }

    pub fn has(&self, name: &str) -> bool {
        self.present.contains(name)
    }

    /// A tensor of exactly this shape. What is missing is noted and replaced by zeros until `finish` fails.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if !self.has(name) {
            self.missing.push(format!("no `{name}`"));
            return Ok(Tensor::zeros(1, self.dtype, self.device)?.broadcast_as(shape)?);
        }
        let tensor = self.files.read(name, self.device)?;
        if tensor.dims() != shape {
            self.missing.push(format!("`{name}` is {:?}, expected {shape:?}", tensor.dims()));
            return Ok(Tensor::zeros(1, self.dtype, self.device)?.broadcast_as(shape)?);
        }
        Ok(tensor.to_dtype(self.dtype)?)
    }

    pub fn vector(&mut self, name: &str, len: usize) -> Result<Tensor> {
        self.tensor(name, &[len])
    }

    /// A weight matrix as `[in, out]`, whichever way the checkpoint stores it.
    pub fn matrix(&mut self, name: &str, inp: usize, out: usize) -> Result<Tensor> {
        if self.names.in_out {
            self.tensor(name, &[inp, out])
        } else {
            ops::transpose(&self.tensor(name, &[out, inp])?.contiguous()?)
        }
    }

    /// `W_Q`, `W_K`, `W_V` as `[in, out]`, and their biases, of one layer.
    pub fn qkv(&mut self, layer: usize, biases: bool) -> Result<[(Tensor, Option<Tensor>); 3]> {
        let Config { d_model, d_head, n_heads, n_kv_heads, .. } = *self.config;
        let heads = [n_heads, n_kv_heads, n_kv_heads];
        let widths = heads.map(|h| h * d_head);
        let mut parts = match self.names.qkv {
            QkvNames::Separate(names) => {
                let mut parts = Vec::with_capacity(3);
                for (name, width) in names.into_iter().zip(widths) {
                    let name = self.in_layer(layer, name);
                    let weight = self.matrix(&format!("{name}.weight"), d_model, width)?;
                    let bias = if biases { Some(self.vector(&format!("{name}.bias"), width)?) } else { None };
                    parts.push((weight, bias));
                }
                parts
            }
            QkvNames::Fused(name) => {
                let name = self.in_layer(layer, name);
                let total = widths.iter().sum();
                let weight = self.matrix(&format!("{name}.weight"), d_model, total)?;
                let bias = if biases { Some(self.vector(&format!("{name}.bias"), total)?) } else { None };
                let mut start = 0;
                let mut parts = Vec::with_capacity(3);
                for width in widths {
                    // Copies, so that each part owns its entries and the fused tensor can go.
                    let bias = bias.as_ref().map(|b| b.narrow(0, start, width)?.copy()).transpose()?;
                    parts.push((weight.narrow(1, start, width)?.contiguous()?, bias));
                    start += width;
                }
                parts
            }
        };
        if matches!(self.files, Files::Gguf(_)) && self.config.family.gguf_permutes_qk {
            for (part, heads) in parts.iter_mut().zip(heads).take(2) {
                part.0 = unpermute(&part.0, heads)?;
            }
        }
        parts.try_into().map_err(|_| ModelError::Tensor("queries, keys and values are three".into()))
    }
}

/// Undoes GGUF's order of the columns of `W_Q` and `W_K` `[in, out]`: there the two halves of a head alternate
/// (for interleaved rotary), here they follow one another.
fn unpermute(weight: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, cols) = weight.dims2()?;
    let half = cols / heads / 2;
    Ok(weight.reshape((rows, heads, half, 2))?.transpose(2, 3)?.contiguous()?.reshape((rows, cols))?)
}

/// A `Config` from GGUF metadata.
pub fn gguf_config(gguf: &Gguf, device: &Device) -> Result<Config> {
    let arch = gguf.arch();
    let family = super::family::find(arch).ok_or_else(|| ModelError::UnknownFamily(arch.into()))?;
    let key = |name: &str| format!("{arch}.{name}");
    let k = &family.keys;
    let mut json = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value| drop(json.insert(key.into(), value));
    put("model_type", arch.into());
    put(k.n_layers, gguf.u32(&key("block_count"))?.into());
    put(k.d_model, gguf.u32(&key("embedding_length"))?.into());
    put(k.n_heads, gguf.u32(&key("attention.head_count"))?.into());
    put(k.d_mlp, gguf.u32(&key("feed_forward_length"))?.into());
    put(k.n_ctx, gguf.u32(&key("context_length"))?.into());
    let embed = format!("{}.weight", family.gguf_names.embed);
    let missing = || ModelError::Weights(vec![format!("no `{embed}`")]);
    put(
        "vocab_size",
        gguf.shape(&embed).and_then(|shape| shape.first()).copied().ok_or_else(missing)?.into(),
    );
    let eps = match family.norm {
        NormKind::RmsNorm => gguf.f32(&key("attention.layer_norm_rms_epsilon"))?,
        NormKind::LayerNorm => gguf.f32(&key("attention.layer_norm_epsilon"))?,
    };
    put(k.norm_eps, f64::from(eps).into());
    // GGUF does not name the activation: all files of a family share one.
    put(k.activation, if family.mlp == MlpKind::Plain { "gelu_new" } else { "silu" }.into());
    let names = gguf.tensor_names().collect::<BTreeSet<_>>();
    put("tie_word_embeddings", (!names.contains("output.weight")).into());
    if let (Some(kv_key), Some(heads)) = (k.n_kv_heads, optional(gguf.u32(&key("attention.head_count_kv")))?)
    {
        put(kv_key, heads.into());
    }
    if let Some(d_head) = optional(gguf.u32(&key("attention.key_length")))? {
        put("head_dim", d_head.into());
    }
    if family.positions == PositionKind::Rotary {
        let theta = optional(gguf.f32(&key("rope.freq_base")))?.unwrap_or(10_000.0);
        put("rope_theta", f64::from(theta).into());
        if let Some(kind) = optional(gguf.str(&key("rope.scaling.type")))?.filter(|kind| kind != "none") {
            let factor = optional(gguf.f32(&key("rope.scaling.factor")))?.unwrap_or(1.0);
            put("rope_scaling", serde_json::json!({"rope_type": kind, "factor": factor}));
        }
    }
    let mut config = Config::from_json(serde_json::Value::Object(json))?;
    if names.contains("rope_freqs.weight")
        && let Some(Rotary { scaling, .. }) = &mut config.rotary
    {
        *scaling = RotaryScaling::Factors(gguf.tensor("rope_freqs.weight", device)?.to_vec1()?);
    }
    let rotated = optional(gguf.u32(&key("rope.dimension_count")))?.map_or(config.d_head, |n| n as usize);
    if config.rotary.is_some() && rotated != config.d_head {
        return Err(ModelError::UnknownKey { key: key("rope.dimension_count"), value: rotated.to_string() });
    }
    Ok(config)
}
