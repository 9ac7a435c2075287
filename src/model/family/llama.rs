//! Llama and those that changed one thing about it.

use super::{
    Biases, Choice, ConfigKeys, Family, KEYS, MlpKind, MlpNames, Names, NormKind, PositionKind, QkNorm,
    QkvNames, ROTARY, RotaryKeys, Windows, gguf,
};

const ATTENTION_BIAS: Choice = Choice::Key("attention_bias", false);

pub const LLAMA: Family = Family {
    arch: "llama",
    norm: NormKind::RmsNorm,
    qk_norm: None,
    positions: PositionKind::Rotary(ROTARY),
    mlp: MlpKind::Gated,
    parallel: Choice::Never,
    windows: Windows::None,
    softcaps: false,
    scales_embeddings: false,
    biases: Biases {
        qkv: ATTENTION_BIAS,
        attn_out: ATTENTION_BIAS,
        mlp: Choice::Key("mlp_bias", false),
        unembed: Choice::Never,
    },
    tied_by_default: false,
    keys: ConfigKeys {
        fixed: &[("pretraining_tp", "1"), ("rope_interleaved", "false")],
        harmless: &["is_llama_config"],
        ..KEYS
    },
    names: Names {
        roots: &["model.", ""],
        embed: "embed_tokens",
        pos_embed: None,
        final_norm: "norm",
        unembed: &["lm_head"],
        layer: "layers.{}.",
        ln1: Some("input_layernorm"),
        qkv: QkvNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        qk_norm: None,
        attn_out: "self_attn.o_proj",
        post_attn: None,
        ln2: Some("post_attention_layernorm"),
        mlp: MlpNames::Gated { gate: "mlp.gate_proj", up: "mlp.up_proj" },
        mlp_out: "mlp.down_proj",
        post_mlp: None,
        in_out: false,
    },
    gguf: Some(gguf::LLAMA),
};

pub const MISTRAL: Family =
    Family { arch: "mistral", windows: Windows::All, biases: Biases::NONE, keys: KEYS, gguf: None, ..LLAMA };

pub const QWEN2: Family = Family {
    arch: "qwen2",
    windows: Windows::Late,
    biases: Biases { qkv: Choice::Always, ..Biases::NONE },
    keys: ConfigKeys { fixed: &[("use_mrope", "false")], ..KEYS },
    gguf: Some(gguf::QWEN2),
    ..LLAMA
};

pub const QWEN3: Family = Family {
    arch: "qwen3",
    qk_norm: Some(QkNorm::Head),
    windows: Windows::Late,
    biases: Biases { mlp: Choice::Never, ..LLAMA.biases },
    keys: KEYS,
    names: Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..LLAMA.names },
    gguf: Some(gguf::QWEN3),
    ..LLAMA
};

pub const PHI3: Family = Family {
    arch: "phi3",
    positions: PositionKind::Rotary(RotaryKeys { part: Some(("partial_rotary_factor", 1.0)), ..ROTARY }),
    windows: Windows::All,
    biases: Biases::NONE,
    keys: ConfigKeys {
        fixed: &[
            ("attention_bias", "false"),
            ("mlp_bias", "false"),
            ("lm_head_bias", "false"),
            ("full_attn_mod", "1"),
            ("interpolate_factor", "1"),
        ],
        // The last one is read where rotary is scaled by it.
        harmless: &["embd_pdrop", "resid_pdrop", "original_max_position_embeddings"],
        ..KEYS
    },
    names: Names {
        qkv: QkvNames::Fused("self_attn.qkv_proj"),
        mlp: MlpNames::FusedGated("mlp.gate_up_proj"),
        ..LLAMA.names
    },
    gguf: Some(gguf::PHI3),
    ..LLAMA
};

/// No norm before attention and MLP, one after each.
pub const OLMO2: Family = Family {
    arch: "olmo2",
    qk_norm: Some(QkNorm::Whole),
    biases: Biases { mlp: Choice::Never, ..LLAMA.biases },
    keys: KEYS,
    names: Names {
        ln1: None,
        qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        post_attn: Some("post_attention_layernorm"),
        ln2: None,
        post_mlp: Some("post_feedforward_layernorm"),
        ..LLAMA.names
    },
    gguf: None,
    ..LLAMA
};
