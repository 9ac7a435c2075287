//! GGUF files made of the tiny checkpoints, as llama.cpp's converter makes them, are the same models.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use common::*;
use patchscript::model::gguf::Gguf;
use patchscript::model::tokenizer::{Bos, Tokenizer};
use patchscript::model::{Config, LoadOptions, Model, ModelError, Point};
use patchscript::run::{Control, Site, trace};
use serde_json::Value as Json;

const ARCHS: [&str; 8] = ["llama", "llama_tied", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text", "gpt2"];

/// Names and settings of one tiny checkpoint (`tests/fixtures/make_gguf_names.py`).
fn names(arch: &str) -> Json {
    let text = std::fs::read_to_string(format!("tests/fixtures/gguf/{arch}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The tensor as the converter changes it before it is written.
fn converted(arch: &str, name: &str, x: &Tensor, heads: &HashMap<&str, usize>) -> Tensor {
    let x = x.to_dtype(DType::F32).unwrap();
    let interleaved = |heads: usize| {
        let (rows, cols) = x.dims2().unwrap();
        let x = x.reshape((heads, 2, rows / heads / 2, cols)).unwrap().transpose(1, 2).unwrap();
        x.contiguous().unwrap().reshape((rows, cols)).unwrap()
    };
    if arch.starts_with("llama") && name.ends_with("q_proj.weight") {
        interleaved(heads["q"])
    } else if arch.starts_with("llama") && name.ends_with("k_proj.weight") {
        interleaved(heads["k"])
    } else if arch.starts_with("gemma") && name.ends_with("norm.weight") {
        (x + 1.0).unwrap()
    } else if arch == "gpt2"
        && ["c_attn.weight", "c_proj.weight", "c_fc.weight"].iter().any(|n| name.ends_with(n))
    {
        x.t().unwrap().contiguous().unwrap()
    } else {
        x
    }
}

/// Writes the file, its matrices as `dtype`; `change` may alter the settings.
fn write(
    arch: &str,
    path: &Path,
    dtype: GgmlDType,
    change: impl FnOnce(&mut Vec<(String, gguf_file::Value)>),
) {
    let names = names(arch);
    let mut metadata = vec![(
        "general.architecture".to_string(),
        gguf_file::Value::String(names["architecture"].as_str().unwrap().into()),
    )];
    for (key, value) in names["metadata"].as_object().unwrap() {
        let value = match value {
            Json::String(text) => gguf_file::Value::String(text.clone()),
            Json::Number(n) if n.is_u64() => gguf_file::Value::U32(n.as_u64().unwrap() as u32),
            value => gguf_file::Value::F32(value.as_f64().unwrap() as f32),
        };
        metadata.push((key.clone(), value));
    }
    change(&mut metadata);
    let config = tiny(arch).config().clone();
    let heads = HashMap::from([("q", config.n_heads), ("k", config.n_kv_heads)]);
    let folder = format!("tests/golden/tiny/{arch}/model.safetensors");
    let stored = candle_core::safetensors::load(folder, &Device::Cpu).unwrap();
    let mut tensors: Vec<_> = names["tensors"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, gguf)| {
            let x = converted(arch, name, &stored[name], &heads);
            let dtype = if x.rank() == 2 { dtype } else { GgmlDType::F32 };
            (gguf.as_str().unwrap(), QTensor::quantize(&x, dtype).unwrap())
        })
        .collect();
    if let Some(factors) = names["rope_freqs"].as_array() {
        let factors: Vec<f32> = factors.iter().map(|x| x.as_f64().unwrap() as f32).collect();
        let factors = Tensor::new(factors, &Device::Cpu).unwrap();
        tensors.push(("rope_freqs.weight", QTensor::quantize(&factors, GgmlDType::F32).unwrap()));
    }
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

#[test]
fn a_gguf_file_is_the_checkpoint_that_it_was_made_from() {
    for arch in ARCHS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        write(arch, &path, GgmlDType::F32, |_| {});
        let from_gguf = load(path.to_str().unwrap());

        let tiny = format!("tests/golden/tiny/{arch}");
        let text = std::fs::read_to_string(format!("{tiny}/config.json")).unwrap();
        let mut config: Json = serde_json::from_str(&text).unwrap();
        for (key, value) in names(arch)["config"].as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        std::fs::copy(format!("{tiny}/model.safetensors"), folder.path().join("model.safetensors")).unwrap();
        let from_folder = load(folder.path().to_str().unwrap());

        let prompt = [(pair(&from_folder).0, vec![])];
        let logits_of = |model| logits(&trace(model, &prompt, &[], &Control::default()).unwrap()[0]);
        let diff = max_diff(&logits_of(&from_gguf), &logits_of(&from_folder));
        assert!(diff < 1e-5, "{arch}: {diff}");
    }
}

/// `fixtures/make_sentencepiece.py` wrote the file.
#[test]
fn sentencepiece_vocabularies_are_sentencepieces() {
    for vocabulary in golden("sentencepiece.json")["vocabularies"].as_array().unwrap() {
        use gguf_file::Value;
        let list = |key: &str, value: fn(&Json) -> Value| {
            Value::Array(vocabulary[key].as_array().unwrap().iter().map(value).collect())
        };
        let text = |value: &str| Value::String(value.into());
        let prefix = vocabulary["add_space_prefix"].as_bool().unwrap();
        let metadata = [
            ("general.architecture", text("llama")),
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", list("tokens", |token| Value::String(token.as_str().unwrap().into()))),
            ("tokenizer.ggml.scores", list("scores", |score| Value::F32(score.as_f64().unwrap() as f32))),
            ("tokenizer.ggml.token_type", list("types", |kind| Value::I32(kind.as_i64().unwrap() as i32))),
            ("tokenizer.ggml.unknown_token_id", Value::U32(0)),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.add_space_prefix", Value::Bool(prefix)),
        ];
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        gguf_file::write(&mut std::fs::File::create(&path).unwrap(), &metadata, &[]).unwrap();
        let tokenizer = Tokenizer::from_gguf(&Gguf::open(&path).unwrap()).unwrap().unwrap();
        for case in vocabulary["texts"].as_array().unwrap() {
            let text = case[0].as_str().unwrap();
            let found = tokenizer.encode(text, Bos::No, false).unwrap();
            assert_eq!(found, ids(&case[1]), "{prefix} {text:?}");
            assert_eq!(tokenizer.decode(&found), case[2].as_str().unwrap(), "{prefix} {text:?}");
        }
    }
}

fn load_cpu(path: &Path, quantized: bool) -> Result<Arc<Model>, ModelError> {
    let options = LoadOptions { device: "cpu".into(), quantized, ..LoadOptions::default() };
    Model::load(path.to_str().unwrap(), &options).map(Arc::new)
}

/// To the bit, whatever the number of rows, and so the kernels.
#[test]
fn weights_that_stay_quantized_are_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for (i, arch) in ARCHS.into_iter().enumerate() {
        // A type with a kernel of its own and one without.
        let kinds = [GgmlDType::Q4_0, GgmlDType::Q5_1, GgmlDType::Q8_0, GgmlDType::F16];
        for dtype in [kinds[i % 4], kinds[(i + 1) % 4]] {
            write(arch, &path, dtype, |_| {});
            let [dense, kept] = [false, true].map(|quantized| load_cpu(&path, quantized).unwrap());
            for (prompts, len) in [(1, 1), (1, 5), (1, 20), (2, 50), (4, 60)] {
                let prompt = |n: usize| {
                    let ids: Vec<u32> = (0..len).map(|i| ((i * i + 7 * n + 3) % 300) as u32).collect();
                    (id_tokens(&dense, &ids), vec![])
                };
                let prompts: Vec<_> = (0..prompts).map(prompt).collect();
                let sites = [Site::new(Point::Result, 1)];
                let [dense, kept] =
                    [&dense, &kept].map(|model| trace(model, &prompts, &sites, &Control::default()).unwrap());
                for (dense, kept) in dense.iter().zip(&kept) {
                    let same = flat(&logits(dense)) == flat(&logits(kept));
                    assert!(same, "{arch} {dtype:?}: {} prompts of {len} tokens", prompts.len());
                    assert!(flat(&read(dense, &sites[0])) == flat(&read(kept, &sites[0])));
                }
            }
            for name in ["embed.W_E", "unembed.W_U", "blocks.1.attn.W_K", "blocks.2.mlp.W_in"] {
                let [dense, kept] = [&dense, &kept].map(|model| flat(&model.weight(name).unwrap()));
                assert!(dense == kept, "{arch} {dtype:?} {name}");
            }
            let rows = random(&[3, dense.config().d_model], 5);
            let columns =
                [&dense, &kept].map(|m| flat(&m.transformer.unembed_columns(&rows, &[9, 0, 9]).unwrap()));
            assert!(columns[0] == columns[1], "{arch} {dtype:?}");
        }
    }
}

#[test]
fn only_quantised_files_can_stay_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    write("llama", &path, GgmlDType::F32, |_| {});
    let message = |path: &Path| load_cpu(path, true).unwrap_err().to_string();
    assert_eq!(
        message(Path::new("tests/golden/tiny/llama")),
        "quantized weights need a GGUF file, which `tests/golden/tiny/llama` is not"
    );
    let found = message(&path);
    assert!(found.starts_with("quantized weights need a GGUF file of fewer bits, while `"), "{found}");
}

#[test]
fn what_is_not_understood_in_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let refused = |arch: &str, key: &str, value: gguf_file::Value| {
        write(arch, &path, GgmlDType::F32, |metadata| {
            metadata.retain(|(other, _)| other != key);
            metadata.push((key.into(), value));
        });
        Model::load(path.to_str().unwrap(), &LoadOptions::default()).unwrap_err().to_string()
    };
    for (arch, key) in [
        ("llama", "llama.attention.clamp_kqv"),
        ("llama", "llama.rope.dimension_count"),
        ("qwen2", "qwen2.attention.sliding_window"),
        ("qwen3", "qwen3.attention.value_length"),
    ] {
        let expected = format!("sets metadata key `{key}`, which patchscript does not understand");
        let found = refused(arch, key, gguf_file::Value::U32(8));
        assert!(found.ends_with(&expected), "{found}");
    }
    let found = refused("gemma2", "gemma2.attn_logit_softcapping", gguf_file::Value::String("no".into()));
    assert!(found.ends_with("with a string, expected a float"), "{found}");
}

/// Scores are divided by another number in the largest models alone.
#[test]
fn the_largest_gemmas_scale_scores_by_width() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for (layers, scale) in [(46, (64.0_f64 / 4.0).sqrt()), (45, 24.0_f64.sqrt())] {
        write("gemma2", &path, GgmlDType::F32, |metadata| {
            metadata.retain(|(key, _)| key != "gemma2.block_count");
            metadata.push(("gemma2.block_count".into(), gguf_file::Value::U32(layers)));
        });
        let gguf = patchscript::model::gguf::Gguf::open(&path).unwrap();
        let found = Config::from_gguf(&gguf).unwrap().attn_scale;
        assert!((found * scale - 1.0).abs() < 1e-6, "{layers} layers: {found}");
    }
}
