//! EleutherAI's sparsify: a folder a module of the model, named after it, with `cfg.json` and `sae.safetensors`.

use std::path::Path;

use serde_json::Value;

use super::{CFG, Draft, Named, json, object, of_config, tensors};
use crate::model::config::reader::Reader;
use crate::model::sae::error::{Result, SaeError};
use crate::model::sae::place;
use crate::model::sae::{Kind, Normalize};

pub(super) const WEIGHTS: &str = "sae.safetensors";
pub(super) const RUN_CONFIG: &str = "config.json";

/// What only training read.
const TRAINING: &[&str] = &["multi_topk", "normalize_decoder", "init_seed"];

pub(super) fn read(folder: &Path) -> Result<Draft> {
    let (cfg_path, path) = (folder.join(CFG), folder.join(WEIGHTS));
    let cfg = json(&cfg_path)?;
    let file = cfg_path.display().to_string();
    let refused = of_config(&file);
    let map = object(&file, &cfg)?;
    let reader = Reader::new(map);
    reader.expect(&[("activation", "\"topk\""), ("signed", "false")]).map_err(&refused)?;
    let d_in = reader.size("d_in").map_err(&refused)?;
    let k = reader.size("k").map_err(&refused)?;
    let skip = reader.bool_or("skip_connection", false).map_err(&refused)?;
    // Transcoders from before there was this key took the bias from their input, as autoencoders do. A skip connection
    // tells them: around an autoencoder it would do all of its work.
    let stated = reader.bool_or("transcode", false).map_err(&refused)?;
    let transcode = stated || skip;
    let expansion = reader.optional_size("expansion_factor").map_err(&refused)?;
    let latents = reader.get("num_latents").and_then(Value::as_u64).filter(|latents| *latents > 0);
    let d_sae = latents.map(|latents| latents as usize).or(expansion.map(|factor| factor * d_in));
    let named = match reader.get("hookpoint") {
        Some(_) => Some(reader.str("hookpoint").map_err(&refused)?.to_string()),
        None => folder
            .canonicalize()
            .ok()
            .and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()))
            .filter(|name| place::module_sides(name).is_some()),
    };
    let model = reader.get("model").and_then(Value::as_str).map(String::from).or_else(|| run_model(folder));
    reader.refuse_unread(TRAINING).map_err(&refused)?;

    let mut tensors = tensors::safetensors(&path)?;
    for (theirs, ours) in [("encoder.weight", "W_enc"), ("encoder.bias", "b_enc")] {
        if let Some(tensor) = tensors.remove(theirs) {
            tensors.insert(ours.into(), tensors::transposed(tensor)?);
        }
    }
    if skip != tensors.contains_key("W_skip") {
        return Err(SaeError::BadKey {
            file: file.clone(),
            key: "skip_connection".into(),
            found: format!("`{skip}`"),
            expected: if skip { "a tensor `W_skip` beside it" } else { "true beside a tensor `W_skip`" },
        });
    }
    if let (Some(d_sae), Some(w_enc)) = (d_sae, tensors.get("W_enc"))
        && *w_enc.dims() != [d_in, d_sae]
    {
        return Err(SaeError::Shape { name: "W_enc", want: vec![d_in, d_sae], found: w_enc.dims().to_vec() });
    }
    let side = |input: bool| -> Option<Named> {
        let text = named.as_ref()?;
        let (before, after) = place::module_sides(text).unwrap_or_default();
        let side = if input { "input" } else { "output" };
        Some(Named { text: format!("{text}.{side}"), at: if input { before } else { after } })
    };
    let unnamed = || Named { text: "the module's output".into(), at: None };
    Ok(Draft {
        kind: Kind::TopK { k, by_decoder_norm: false },
        normalize: Normalize::None,
        apply_b_dec_to_input: !stated,
        reads: side(transcode),
        writes: transcode.then(|| side(false).unwrap_or_else(unnamed)),
        model,
        neuronpedia: None,
        tensors,
        files: vec![cfg_path, path],
        cfg,
    })
}

/// The model that the config of the whole training run names, which lies a folder above.
fn run_model(folder: &Path) -> Option<String> {
    let run = json(&folder.canonicalize().ok()?.parent()?.join(RUN_CONFIG)).ok()?;
    run.get("model")?.as_str().map(String::from)
}
