//! Configs as published: they parse, and what follows from them is known from the weights that go with them.

use candle_core::DType;
use patchscript::model::info::info;
use patchscript::model::{Config, Point};
use serde_json::{Value, json};

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(format!("tests/{path}")).unwrap()).unwrap()
}

fn published(name: &str) -> Config {
    Config::from_json(read(&format!("fixtures/configs/{name}.json")))
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn published_configs_have_as_many_parameters_as_their_weights() {
    for (name, parameters) in [
        ("gpt2", 124_439_808),
        ("pythia-160m", 162_322_944),
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-8b-instruct", 8_030_261_248),
        ("gemma-2-2b", 2_614_341_888),
        ("qwen2.5-0.5b", 494_032_768),
        ("qwen3-0.6b", 596_049_920),
        ("mistral-7b-v0.3", 7_248_023_552),
        ("phi-3-mini-4k-instruct", 3_821_079_552),
        ("olmo-2-0425-1b", 1_484_916_736),
        ("gemma-3-270m", 268_098_176),
        ("gemma-3-1b-it", 999_885_952),
        ("phi-2", 2_779_683_840),
        ("phi-4-mini-instruct", 3_836_021_760),
    ] {
        let info = info(&published(name)).unwrap();
        assert_eq!(info.parameters(), parameters, "{name}");
        assert_eq!(info.bytes(DType::BF16), 2 * parameters, "{name}");
    }
}

/// Layers with a window, as one character each.
fn windows(config: &Config) -> String {
    let window = |layer| if config.kind(layer).window.is_some() { 'w' } else { '.' };
    (0..config.n_layers).map(window).collect()
}

#[test]
fn published_configs_say_how_layers_attend() {
    let gemma2 = published("gemma-2-2b");
    assert_eq!(windows(&gemma2), "w.".repeat(13));
    assert_eq!(gemma2.kind(0).window, Some(4096));
    assert_eq!((gemma2.attn_scale, gemma2.embed_scale), (1.0 / 16.0, 48.0));
    assert_eq!((gemma2.attn_softcap, gemma2.logit_softcap), (Some(50.0), Some(30.0)));
    for (name, layers) in [("gemma-3-1b-it", 26), ("gemma-3-270m", 18)] {
        let gemma3 = published(name);
        assert_eq!(windows(&gemma3), "wwwww.".repeat(5)[..layers], "{name}");
        let theta = |layer: usize| gemma3.kind(layer).rotary.as_ref().unwrap().theta;
        assert_eq!((theta(0), theta(5)), (1e4, 1e6), "{name}");
        assert_eq!((gemma3.attn_softcap, gemma3.logit_softcap), (None, None), "{name}");
    }
    for name in ["qwen2.5-0.5b", "qwen3-0.6b", "mistral-7b-v0.3", "llama-3.1-8b"] {
        let config = published(name);
        assert_eq!(windows(&config), ".".repeat(config.n_layers), "{name}");
    }
    let phi3 = published("phi-3-mini-4k-instruct");
    assert_eq!((windows(&phi3), phi3.kind(0).window), ("w".repeat(32), Some(2047)));
    let dims = |name| published(name).kind(0).rotary.as_ref().unwrap().dims;
    assert_eq!(["pythia-160m", "phi-2", "qwen3-0.6b", "phi-4-mini-instruct"].map(dims), [16, 32, 128, 96]);
    let phi4 = published("phi-4-mini-instruct");
    assert_eq!(phi4.n_ctx, 4096, "beyond it other factors hold for all positions");
    // sqrt(1 + ln 32 / ln 4096)
    let magnitude = phi4.kind(0).rotary.as_ref().unwrap().magnitude;
    assert!((magnitude - 1.190_238).abs() < 1e-6, "{magnitude}");
}

#[test]
fn info_gives_every_sites_shape() {
    let shape = |name: &str, point: Point| {
        let points = info(&published(name)).unwrap().points;
        points.iter().find(|(other, _)| *other == point).map(|(_, axes)| axes.to_string())
    };
    assert_eq!(shape("qwen3-0.6b", Point::Z).unwrap(), "[pos, 16, 128]");
    assert_eq!(shape("qwen3-0.6b", Point::RotK).unwrap(), "[pos, 8, 128]");
    assert_eq!(shape("gemma-2-2b", Point::MlpPost).unwrap(), "[pos, 9216]");
    assert_eq!(shape("gpt2", Point::Pattern).unwrap(), "[12, query, key]");
    assert_eq!(shape("gpt2", Point::PosEmbed).unwrap(), "[pos, 768]");
    assert_eq!(shape("llama-3.1-8b", Point::PosEmbed), None);
    assert_eq!(shape("pythia-160m", Point::ResidMid), None);
    assert_eq!(shape("pythia-160m", Point::Ln2).unwrap(), "[pos, 768]");
    assert_eq!(shape("phi-2", Point::Ln2), None);
    assert_eq!(shape("olmo-2-0425-1b", Point::Ln1), None);
}

/// Keys of published configs that no forward pass follows.
const INERT: &[&str] = &[
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "embd_pdrop",
    "eos_token_id",
    "initializer_range",
    "n_ctx",
    "pad_token_id",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

#[test]
fn every_other_key_changes_the_model_or_is_refused() {
    for file in std::fs::read_dir("tests/fixtures/configs").unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let original = read(&format!("fixtures/configs/{name}"));
        let read_as = |json: &Value| {
            Config::from_json(json.clone()).map(|c| format!("{:?}", Config { raw: json!(0), ..c }))
        };
        let plain = read_as(&original).unwrap();
        for (key, value) in original.as_object().unwrap() {
            let mut changed = original.clone();
            changed[key] = match value {
                Value::Bool(value) => json!(!value),
                Value::Number(number) => json!(2.0 * number.as_f64().unwrap() + 4.0),
                Value::Null => json!(3),
                _ => json!({"surprise": 1}),
            };
            if value.as_u64().is_some() {
                changed[key] = json!(2 * value.as_u64().unwrap() + 4);
            }
            let same = read_as(&changed).is_ok_and(|changed| changed == plain);
            // What does nothing because of another key of the same config.
            let unused = match key.as_str() {
                "hidden_act" => name.starts_with("gemma-2"),
                "sliding_window" | "max_window_layers" => name.starts_with("qwen"),
                // It has a window for no layer.
                "use_sliding_window" => name.starts_with("qwen"),
                "_sliding_window_pattern" => name.starts_with("gemma-3-270m"),
                "original_max_position_embeddings" => name.starts_with("phi-3"),
                key => INERT.contains(&key),
            };
            assert_eq!(same, unused, "{name}: `{key}`");
        }
    }
}

#[test]
fn settings_that_change_the_computation_are_refused_by_name() {
    for (name, key, value) in [
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true)),
        ("gpt2", "rope_theta", json!(1e4)),
        ("pythia-160m", "rope_scaling", json!({"type": "stretched", "factor": 2.0})),
        ("llama-3.1-8b", "sliding_window", json!(4096)),
        ("llama-3.1-8b", "attn_logit_softcapping", json!(50.0)),
        ("llama-3.1-8b", "quantization_config", json!({"bits": 4})),
        ("llama-3.1-8b", "num_attention_heads", json!(0)),
        ("llama-3.1-8b", "num_hidden_layers", json!(1_000_000_000_000u64)),
        ("gemma-2-2b", "use_bidirectional_attention", json!(true)),
        ("gemma-2-2b", "attn_logit_softcapping", json!(0.0)),
        ("gemma-3-270m", "layer_types", json!(["full_attention"])),
        ("gemma-3-270m", "layer_types", json!(vec!["chunked_attention"; 18])),
        ("qwen2.5-0.5b", "use_mrope", json!(true)),
        ("qwen2.5-0.5b", "use_sliding_window", json!("yes")),
        ("qwen3-0.6b", "num_experts", json!(8)),
        ("phi-2", "qk_layernorm", json!(true)),
        ("phi-2", "partial_rotary_factor", json!(0.01)),
        ("phi-3-mini-4k-instruct", "attention_bias", json!(true)),
        ("mistral-7b-v0.3", "layer_types", json!(vec!["full_attention"; 32])),
        ("olmo-2-0425-1b", "clip_qkv", json!(8.0)),
    ] {
        let mut config = read(&format!("fixtures/configs/{name}.json"));
        config[key] = value;
        let error = Config::from_json(config).unwrap_err().to_string();
        let inner = if key == "rope_scaling" { "rope_type" } else { key };
        assert!(error.contains(&format!("`{inner}`")), "{name} {key}: {error}");
    }
    // A window that is used.
    let mut config = read("fixtures/configs/qwen2.5-0.5b.json");
    (config["use_sliding_window"], config["max_window_layers"]) = (json!(true), json!(21));
    assert_eq!(windows(&Config::from_json(config).unwrap()), format!("{}www", ".".repeat(21)));
}
