//! Weights from safetensors files: split, in half precision, tied, and everything that can be wrong with them.

mod common;

use candle_core::{DType, Device, Tensor};
use common::*;
use patchscript::model::{LoadOptions, Model};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tempfile::TempDir;

type Tensors = HashMap<String, Tensor>;

fn weights(arch: &str) -> Tensors {
    let path = format!("tests/golden/tiny/{arch}/model.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// A model folder with the tiny checkpoint's config and nothing else.
fn folder(arch: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(format!("tests/golden/tiny/{arch}/config.json"), folder.path().join("config.json"))
        .unwrap();
    folder
}

fn save(tensors: &Tensors, folder: &Path, name: &str) {
    candle_core::safetensors::save(tensors, folder.join(name)).unwrap();
}

fn with(arch: &str, tensors: &Tensors) -> TempDir {
    let folder = folder(arch);
    save(tensors, folder.path(), "model.safetensors");
    folder
}

fn logits(folder: &Path) -> Vec<f32> {
    let model = load(folder.to_str().unwrap());
    flat(&common::logits(&run(&model, &pair(&model).0, vec![], &[])))
}

fn error(folder: &Path) -> String {
    let options = LoadOptions { device: device(), ..LoadOptions::default() };
    Model::load(folder.to_str().unwrap(), &options).unwrap_err().to_string()
}

/// Deals the tensors over three files, with an index.
fn shards(tensors: &Tensors, folder: &Path) {
    let mut files: BTreeMap<String, Tensors> = BTreeMap::new();
    let mut names: Vec<&String> = tensors.keys().collect();
    names.sort();
    let file = |i: usize| format!("model-0000{}-of-00003.safetensors", i % 3 + 1);
    for (i, name) in names.iter().enumerate() {
        files.entry(file(i)).or_default().insert((*name).clone(), tensors[*name].clone());
    }
    let map: BTreeMap<&String, String> = names.iter().enumerate().map(|(i, name)| (*name, file(i))).collect();
    let index = serde_json::json!({"metadata": {"total_size": 0}, "weight_map": map});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    for (name, tensors) in files {
        save(&tensors, folder, &name);
    }
}

#[test]
fn split_weights_are_the_same_model() {
    let folder = folder("qwen2");
    shards(&weights("qwen2"), folder.path());
    assert_eq!(logits(folder.path()), logits(Path::new("tests/golden/tiny/qwen2")));

    std::fs::remove_file(folder.path().join("model-00001-of-00003.safetensors")).unwrap();
    std::fs::remove_file(folder.path().join("model-00003-of-00003.safetensors")).unwrap();
    assert_eq!(
        error(folder.path()),
        "weights do not fit `config.json`: no file `model-00001-of-00003.safetensors`; \
         no file `model-00003-of-00003.safetensors`"
    );
}

#[test]
fn a_tensor_in_two_files_is_refused() {
    let folder = folder("llama");
    let tensors = weights("llama");
    shards(&tensors, folder.path());
    let norm = HashMap::from([("model.norm.weight".to_string(), tensors["model.norm.weight"].clone())]);
    let lm_head = HashMap::from([("lm_head.weight".to_string(), tensors["lm_head.weight"].clone())]);
    save(&norm.into_iter().chain(lm_head).collect(), folder.path(), "model-00002-of-00003.safetensors");
    assert!(error(folder.path()).contains("` is in two files"), "{}", error(folder.path()));
}

#[test]
fn half_precision_on_disk_is_read_as_the_numbers_it_holds() {
    for arch in ["llama", "gemma3_text", "gpt_neox"] {
        for dtype in [DType::BF16, DType::F16] {
            let round = |(name, x): (String, Tensor)| (name, x.to_dtype(dtype).unwrap());
            let half: Tensors = weights(arch).into_iter().map(round).collect();
            let widen = |(name, x): (&String, &Tensor)| (name.clone(), x.to_dtype(DType::F32).unwrap());
            let rounded: Tensors = half.iter().map(widen).collect();
            let (half, rounded) = (with(arch, &half), with(arch, &rounded));
            assert_eq!(logits(half.path()), logits(rounded.path()), "{arch} {dtype:?}");
            assert_ne!(logits(half.path()), logits(Path::new(&format!("tests/golden/tiny/{arch}"))));
        }
    }
}

#[test]
fn everything_that_is_wrong_is_one_error() {
    let mut tensors = weights("llama");
    for layer in 0..3 {
        tensors.remove(&format!("model.layers.{layer}.mlp.up_proj.weight")).unwrap();
    }
    tensors.remove("model.norm.weight").unwrap();
    tensors.insert("model.layers.1.self_attn.k_proj.weight".into(), random(&[64, 64], 1));
    tensors.insert("model.layers.2.self_attn.q_norm.weight".into(), random(&[16], 2));
    let down = "model.layers.0.mlp.down_proj.weight";
    tensors.insert(down.into(), tensors[down].to_dtype(DType::I64).unwrap());
    assert_eq!(
        error(with("llama", &tensors).path()),
        "weights do not fit `config.json`: \
         `model.layers.0.mlp.down_proj.weight` is of type I64, expected F32, F16 or BF16; \
         no `model.layers.{0..3}.mlp.up_proj.weight` [128, 64]; \
         `model.layers.1.self_attn.k_proj.weight` is [64, 64], expected [32, 64]; \
         no `model.norm.weight` [64]; \
         `model.layers.2.self_attn.q_norm.weight` [16] is not part of this model"
    );
}

#[test]
fn what_follows_from_the_config_may_lie_beside_the_weights() {
    for (arch, extra) in [
        ("gpt_neox", "gpt_neox.layers.0.attention.bias"),
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias"),
        ("gpt2", "transformer.h.1.attn.bias"),
        ("llama", "model.layers.2.self_attn.rotary_emb.inv_freq"),
    ] {
        let mut tensors = weights(arch);
        tensors.insert(extra.into(), random(&[1, 1, 4, 4], 3));
        let plain = logits(Path::new(&format!("tests/golden/tiny/{arch}")));
        assert_eq!(logits(with(arch, &tensors).path()), plain, "{extra}");
    }
}

#[test]
fn a_tied_unembedding_is_the_embedding_or_refused() {
    let mut tensors = weights("llama_tied");
    let embed = tensors["model.embed_tokens.weight"].clone();
    tensors.insert("lm_head.weight".into(), embed.clone());
    let plain = logits(Path::new("tests/golden/tiny/llama_tied"));
    assert_eq!(logits(with("llama_tied", &tensors).path()), plain);
    tensors.insert("lm_head.weight".into(), (embed + 1.0).unwrap());
    assert_eq!(
        error(with("llama_tied", &tensors).path()),
        "weights do not fit `config.json`: `lm_head.weight` differs from `model.embed_tokens.weight`, to which \
         the config ties it"
    );
}

#[test]
fn either_name_of_an_unembedding_will_do() {
    let mut tensors = weights("gpt_neox");
    let unembed = tensors.remove("embed_out.weight").unwrap();
    tensors.insert("lm_head.weight".into(), unembed);
    assert_eq!(logits(with("gpt_neox", &tensors).path()), logits(Path::new("tests/golden/tiny/gpt_neox")));
}
