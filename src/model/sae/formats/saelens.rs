//! SAELens: a folder with `cfg.json` and `sae_weights.safetensors`, as version 6 writes it and as earlier ones did.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::{CFG, Draft, Named, of_config, tensors};
use crate::model::config::reader::Reader;
use crate::model::sae::error::{Result, SaeError};
use crate::model::sae::{Kind, Normalize};

pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

/// What only training read, or whoever made the activations. Before version 6 all settings stood side by side.
const HARMLESS: &[&str] = &[
    "act_store_device",
    "adam_beta1",
    "adam_beta2",
    "apply_b_dec_to_input",
    "autocast",
    "autocast_lm",
    "b_dec_init_method",
    "cached_activations_path",
    "checkpoint_path",
    "compile_llm",
    "compile_sae",
    "context_size",
    "d_head",
    "dataset_path",
    "dataset_trust_remote_code",
    "dead_feature_threshold",
    "dead_feature_window",
    "decoder_heuristic_init",
    "decoder_orthogonal_init",
    "device",
    "eval_batch_size_prompts",
    "eval_every_n_wandb_logs",
    "exclude_special_tokens",
    "expansion_factor",
    "feature_sampling_method",
    "feature_sampling_window",
    "finetuning_method",
    "finetuning_tokens",
    "from_pretrained_path",
    "hook_eval",
    "hook_layer",
    "hook_point_layer",
    "init_encoder_as_decoder_transpose",
    "is_dataset_tokenized",
    "l1_coefficient",
    "l1_warm_up_steps",
    "llm_compilation_mode",
    "log_activations_store_to_wandb",
    "log_optimizer_state_to_wandb",
    "log_to_wandb",
    "lp_norm",
    "lr",
    "lr_decay_steps",
    "lr_end",
    "lr_scheduler_name",
    "lr_warm_up_steps",
    "model_batch_size",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "model_kwargs",
    "mse_loss_normalization",
    "n_batches_in_buffer",
    "n_checkpoints",
    "n_eval_batches",
    "n_restart_cycles",
    "noise",
    "normalize_sae_decoder",
    "prepend_bos",
    "resume",
    "run_name",
    "sae_compilation_mode",
    "sae_lens_training_version",
    "sae_lens_version",
    "scale_sparsity_penalty_by_decoder_norm",
    "seed",
    "seqpos_slice",
    "sparsity_penalty",
    "store_batch_size",
    "store_batch_size_prompts",
    "streaming",
    "tokens_per_buffer",
    "total_training_steps",
    "total_training_tokens",
    "train_batch_size",
    "train_batch_size_tokens",
    "training_tokens",
    "use_cached_activations",
    "use_ghost_grads",
    "verbose",
    "wandb_entity",
    "wandb_log_frequency",
    "wandb_project",
];

pub(super) fn read(folder: &Path) -> Result<Draft> {
    let (cfg_path, path) = (folder.join(CFG), folder.join(WEIGHTS));
    let cfg = super::json(&cfg_path)?;
    draft(&cfg_path.display().to_string(), cfg, tensors::safetensors(&path)?, vec![cfg_path, path])
}

/// What the config says of the tensors; `file` is what errors call it.
pub(super) fn draft(
    file: &str,
    cfg: Value,
    mut tensors: BTreeMap<String, Tensor>,
    files: Vec<PathBuf>,
) -> Result<Draft> {
    let refused = of_config(file);
    let map = super::object(file, &cfg)?;
    let reader = Reader::new(map);
    // What version 6 keeps apart is free to hold anything: it describes the training.
    let metadata = reader.object("metadata").map_err(&refused)?;
    let about = metadata.unwrap_or(map);
    let text = |keys: &[&str]| -> Option<&str> {
        keys.iter().find_map(|key| {
            reader.get(key);
            about.get(*key)?.as_str()
        })
    };
    let (model, neuronpedia) = (text(&["model_name"]), text(&["neuronpedia_id"]));
    let (hook, hook_out) = (text(&["hook_name", "hook_point"]), text(&["hook_name_out"]));
    for key in ["hook_head_index", "hook_point_head_index", "hook_head_index_out"] {
        reader.get(key);
        if let Some(head) = about.get(key).filter(|head| !head.is_null()) {
            let (file, key, found) = (file.into(), key.into(), format!("`{head}`"));
            return Err(SaeError::BadKey { file, key, found, expected: "null: one head alone is not read" });
        }
    }
    reader.expect(&[("finetuning_scaling_factor", "false")]).map_err(&refused)?;
    let architecture = reader.get("architecture").map(|_| reader.str("architecture")).transpose();
    let architecture = architecture.map_err(&refused)?.unwrap_or("standard");
    let transcodes = architecture.ends_with("transcoder");
    let skips = architecture.ends_with("skip_transcoder");
    let kind = kind(file, &reader, map, architecture)?;
    let normalize = normalize(file, reader.get("normalize_activations"))?;
    let apply_b_dec_to_input = reader.bool_or("apply_b_dec_to_input", !transcodes).map_err(&refused)?;
    if transcodes && apply_b_dec_to_input {
        return Err(reader.bad("apply_b_dec_to_input", "false for a transcoder")).map_err(&refused);
    }
    let flat = reader.get("reshape_activations").and_then(Value::as_str).unwrap_or("none");
    if flat != "none" && !(flat == "hook_z" && hook.is_some_and(|hook| hook.ends_with("hook_z"))) {
        return Err(reader.bad("reshape_activations", "`none`, or `hook_z` at such a hook"))
            .map_err(&refused);
    }
    let sizes = ["d_in", "d_sae"].map(|key| reader.size(key).map_err(&refused));
    let d_out = reader.optional_size("d_out").map_err(&refused)?;
    reader.refuse_unread(HARMLESS).map_err(&refused)?;

    let [d_in, d_sae] = sizes;
    let (d_in, d_sae) = (d_in?, d_sae?);
    drop_ones(file, &mut tensors)?;
    let wanted = [("W_enc", [d_in, d_sae]), ("W_dec", [d_sae, d_out.unwrap_or(d_in)])];
    for (name, want) in wanted {
        let tensor = tensors.get(name).ok_or(SaeError::MissingTensor { name })?;
        if *tensor.dims() != want {
            return Err(SaeError::Shape { name, want: want.to_vec(), found: tensor.dims().to_vec() });
        }
    }
    if skips && !tensors.contains_key("W_skip") {
        return Err(SaeError::MissingTensor { name: "W_skip" });
    }
    if !skips && tensors.contains_key("W_skip") {
        return Err(SaeError::ExtraTensor { name: "W_skip".into(), kind: kind.name() });
    }
    let unnamed = || Named { text: "the transcoder's output".into(), at: None };
    Ok(Draft {
        kind,
        normalize,
        apply_b_dec_to_input,
        reads: hook.map(Named::parse),
        writes: transcodes.then(|| hook_out.map_or_else(unnamed, Named::parse)),
        model: model.map(String::from),
        neuronpedia: neuronpedia.map(String::from),
        tensors,
        files,
        cfg,
    })
}

/// The kind by its name, before version 6 by that of the activation function.
fn kind(file: &str, reader: &Reader, map: &Map<String, Value>, architecture: &str) -> Result<Kind> {
    let refused = of_config(file);
    let function = ["activation_fn", "activation_fn_str"].map(|key| reader.get(key).map(|_| reader.str(key)));
    let [a, b] = function.map(Option::transpose);
    let function = a.map_err(&refused)?.or(b.map_err(&refused)?).unwrap_or("relu");
    let arguments = reader.object("activation_fn_kwargs").map_err(&refused)?;
    let base = architecture.trim_end_matches("transcoder").trim_end_matches('_');
    let base = base.trim_end_matches("skip").trim_end_matches('_');
    match (base, function) {
        ("standard", "topk") | ("topk", _) => {
            let stated = reader.get("k").or_else(|| arguments?.get("k"));
            let k = stated.and_then(Value::as_u64);
            let k = k.ok_or_else(|| SaeError::MissingKey { file: file.into(), key: "k".into() })?;
            let by_decoder_norm = reader.bool_or("rescale_acts_by_decoder_norm", false).map_err(&refused)?;
            Ok(Kind::TopK { k: usize::try_from(k).unwrap_or(usize::MAX), by_decoder_norm })
        }
        ("standard" | "", "relu") => Ok(Kind::Standard),
        ("jumprelu", "relu") => Ok(Kind::JumpRelu),
        ("gated", "relu") => Ok(Kind::Gated),
        (_, "relu" | "topk") => Err(SaeError::BadKey {
            file: file.into(),
            key: "architecture".into(),
            found: format!("`{architecture}`"),
            expected: "`standard`, `jumprelu`, `topk` or `gated`, or a transcoder",
        }),
        _ => Err(SaeError::BadKey {
            file: file.into(),
            key: if map.contains_key("activation_fn") { "activation_fn" } else { "activation_fn_str" }.into(),
            found: format!("`{function}`"),
            expected: "`relu` or `topk`",
        }),
    }
}

fn normalize(file: &str, stated: Option<&Value>) -> Result<Normalize> {
    let Some(stated) = stated else { return Ok(Normalize::None) };
    match stated {
        Value::Bool(false) => return Ok(Normalize::None),
        Value::Bool(true) => return Ok(Normalize::ExpectedAverageOnlyIn),
        _ => {}
    }
    serde_json::from_value(stated.clone()).map_err(|_| SaeError::BadKey {
        file: file.into(),
        key: "normalize_activations".into(),
        found: format!("`{stated}`"),
        expected: "`none`, `constant_norm_rescale`, `layer_norm` or `expected_average_only_in`",
    })
}

/// For a time every file had factors of features, which were all 1.
fn drop_ones(file: &str, tensors: &mut BTreeMap<String, Tensor>) -> Result<()> {
    let Some(factors) = tensors.remove("scaling_factor") else { return Ok(()) };
    let factors: Vec<f32> = factors.flatten_all()?.to_vec1()?;
    match factors.iter().find(|factor| (**factor - 1.0).abs() > 1e-5) {
        None => Ok(()),
        Some(factor) => Err(SaeError::UnknownKey {
            file: file.into(),
            key: "scaling_factor".into(),
            value: format!("`{}`", json!(factor)),
        }),
    }
}
