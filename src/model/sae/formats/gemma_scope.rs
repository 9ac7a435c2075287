//! Gemma Scope, JumpReLU throughout: `params.npz` in folders whose names are all that tells what it is of, and since
//! Gemma 3 `params.safetensors` with a `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::{Draft, Named, object, of_config, tensors};
use crate::model::config::reader::Reader;
use crate::model::hook::At;
use crate::model::point::Point;
use crate::model::sae::error::{Result, SaeError};
use crate::model::sae::{Kind, Normalize};

pub(super) const NPZ: &str = "params.npz";
pub(super) const SAFETENSORS: &str = "params.safetensors";
pub(super) const CONFIG: &str = "config.json";

/// The autoencoders of 16,384 features of Gemma 2 2B's residual stream that Neuronpedia shows, by their active
/// features; one a layer.
const SHOWN_L0: [usize; 26] = [
    105, 102, 141, 59, 124, 68, 70, 69, 71, 73, 77, 80, 82, 84, 84, 78, 78, 77, 74, 73, 71, 70, 72, 75, 73,
    116,
];

/// Reads `google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82/params.npz` and its like.
pub(super) fn read_npz(path: &Path) -> Result<Draft> {
    let mut tensors = renamed(tensors::npz(path)?);
    // The Hub's cache keeps the repository's name in a folder's, and links lead to neither.
    let named = std::path::absolute(path).unwrap_or_else(|_| path.into()).display().to_string();
    let told = Told::read(&named);
    if told.embedding
        && let Some(width) = tensors.get("b_dec").map(|b_dec| b_dec.elem_count() as f64)
    {
        // Trained on embeddings before they are multiplied by `sqrt(d_model)`, which `embed` is after.
        for (name, by) in [("W_enc", width.powf(-0.5)), ("W_dec", width.sqrt()), ("b_dec", width.sqrt())] {
            if let Some(tensor) = tensors.get_mut(name) {
                *tensor = tensor.affine(by, 0.0)?;
            }
        }
    }
    Ok(Draft {
        cfg: told.cfg(),
        neuronpedia: told.neuronpedia(),
        ..jump_relu(tensors, told.reads().map(Named::of), told.model, path)
    })
}

/// Reads `google/gemma-scope-2-270m-pt/resid_post/layer_9_width_16k_l0_medium` and its like.
pub(super) fn read_safetensors(folder: &Path) -> Result<Draft> {
    let (cfg_path, path) = (folder.join(CONFIG), folder.join(SAFETENSORS));
    let cfg = super::json(&cfg_path)?;
    let file = cfg_path.display().to_string();
    let refused = of_config(&file);
    let reader = Reader::new(object(&file, &cfg)?);
    reader.expect(&[("architecture", "\"jump_relu\"")]).map_err(&refused)?;
    let reads = reader.str("hf_hook_point_in").map_err(&refused)?;
    let writes = reader.get("hf_hook_point_out").map(|_| reader.str("hf_hook_point_out")).transpose();
    let writes = writes.map_err(&refused)?.filter(|writes| *writes != reads);
    let affine = reader.bool_or("affine_connection", false).map_err(&refused)?;
    let d_sae = reader.optional_size("width").map_err(&refused)?;
    let model = reader.get("model_name").and_then(Value::as_str).map(String::from);
    match reader.get("type").map_or("sae", |kind| kind.as_str().unwrap_or_default()) {
        "sae" | "transcoder" => {}
        _ => return Err(reader.bad("type", "`sae` or `transcoder`")).map_err(&refused),
    }
    reader.refuse_unread(&["l0"]).map_err(&refused)?;

    let mut tensors = renamed(tensors::safetensors(&path)?);
    let skip = tensors.remove("affine_skip_connection");
    if affine != skip.is_some() {
        return Err(reader.bad("affine_connection", "true just where there is `affine_skip_connection`"))
            .map_err(&refused);
    }
    if let Some(skip) = skip {
        // Kept as `[d_in, d_out]` there.
        tensors.insert("W_skip".into(), tensors::transposed(skip)?);
    }
    if let (Some(d_sae), Some(b_enc)) = (d_sae, tensors.get("b_enc"))
        && *b_enc.dims() != [d_sae]
    {
        return Err(SaeError::Shape { name: "b_enc", want: vec![d_sae], found: b_enc.dims().to_vec() });
    }
    let (reads, writes) = (Named::parse(reads), writes.map(Named::parse));
    let mut draft = jump_relu(tensors, Some(reads), model, &path);
    draft.files.insert(0, cfg_path);
    Ok(Draft { writes, cfg, ..draft })
}

fn jump_relu(
    tensors: BTreeMap<String, Tensor>,
    reads: Option<Named>,
    model: Option<String>,
    path: &Path,
) -> Draft {
    Draft {
        kind: Kind::JumpRelu,
        normalize: Normalize::None,
        apply_b_dec_to_input: false,
        reads,
        writes: None,
        model,
        neuronpedia: None,
        cfg: Value::Null,
        tensors,
        files: vec![path.into()],
    }
}

fn renamed(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let name = |name: String| match name.strip_prefix("w_") {
        Some(rest) => format!("W_{rest}"),
        None => name,
    };
    tensors.into_iter().map(|(key, tensor)| (name(key), tensor)).collect()
}

/// What the names of folders tell.
#[derive(Debug, Default, PartialEq)]
struct Told {
    /// `2b`
    size: Option<String>,
    /// `res`, `mlp`, `att` or `transcoders`
    part: Option<String>,
    model: Option<String>,
    layer: Option<usize>,
    /// `16k`
    width: Option<String>,
    l0: Option<usize>,
    embedding: bool,
}

impl Told {
    fn read(path: &str) -> Told {
        let mut told = Told::default();
        for part in path.split(['/', '\\']) {
            if let Some((_, repository)) = part.split_once("gemma-scope-") {
                let words: Vec<&str> = repository.split('-').collect();
                if let [size, tuning @ ("pt" | "it"), part, ..] = words[..] {
                    let tuning = if tuning == "it" { "-it" } else { "" };
                    told.model = Some(format!("google/gemma-2-{size}{tuning}"));
                    told.size = Some(size.into());
                    told.part = Some(part.into());
                }
            } else if let Some(layer) = part.strip_prefix("layer_") {
                told.layer = layer.parse().ok();
            } else if let Some(width) = part.strip_prefix("width_") {
                told.width = Some(width.into());
            } else if let Some(l0) = part.strip_prefix("average_l0_") {
                told.l0 = l0.parse().ok();
            }
            told.embedding |= part == "embedding";
        }
        told
    }

    fn reads(&self) -> Option<At> {
        if self.embedding {
            return Some(At { point: Point::Embed, layer: 0 });
        }
        let point = match self.part.as_deref()? {
            "res" => Point::ResidPost,
            "mlp" => Point::MlpOut,
            "att" => Point::Z,
            _ => return None,
        };
        Some(At { point, layer: self.layer? })
    }

    fn neuronpedia(&self) -> Option<String> {
        let shown = self.model.as_deref() == Some("google/gemma-2-2b")
            && self.part.as_deref() == Some("res")
            && self.width.as_deref() == Some("16k")
            && SHOWN_L0.get(self.layer?) == self.l0.as_ref();
        shown.then(|| format!("gemma-2-2b/{}-gemmascope-res-16k", self.layer.unwrap_or_default()))
    }

    fn cfg(&self) -> Value {
        json!({
            "architecture": "jumprelu",
            "model_name": self.model,
            "layer": self.layer,
            "width": self.width,
            "average_l0": self.l0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_what_a_file_is_of() {
        let path = "/c/models--google--gemma-scope-2b-pt-res/snapshots/0a/layer_12/width_16k/average_l0_82/params.npz";
        let told = Told::read(path);
        assert_eq!(told.reads().unwrap().to_string(), "resid_post.12");
        assert_eq!(told.model.as_deref(), Some("google/gemma-2-2b"));
        assert_eq!(told.neuronpedia().as_deref(), Some("gemma-2-2b/12-gemmascope-res-16k"));
        assert_eq!(Told::read(&path.replace("l0_82", "l0_22")).neuronpedia(), None);
        for (path, reads) in [
            ("gemma-scope-9b-it-mlp/layer_3/width_16k/average_l0_9/params.npz", "mlp_out.3"),
            ("gemma-scope-2b-pt-att/layer_0/width_65k/average_l0_9/params.npz", "z.0"),
            ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_9/params.npz", "embed"),
        ] {
            assert_eq!(Told::read(path).reads().unwrap().to_string(), reads);
        }
        for path in ["layer_12/width_16k/average_l0_82/params.npz", "gemma-scope-2b-pt-transcoders/layer_1/x"]
        {
            assert_eq!(Told::read(path).reads(), None);
        }
    }
}
