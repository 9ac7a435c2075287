//! Gemma 2 and the text part of Gemma 3: norms before and after attention and MLP, windows in most layers.

use super::llama::LLAMA;
use super::{
    Biases, Choice, ConfigKeys, Family, KEYS, Names, NormKind, PositionKind, QkNorm, ROTARY, RotaryKeys,
    Windows, gguf,
};

pub const GEMMA2: Family = Family {
    arch: "gemma2",
    norm: NormKind::RmsNormLessOne,
    windows: Windows::AllBut(None, 2),
    softcaps: true,
    scales_embeddings: true,
    biases: Biases { mlp: Choice::Never, ..LLAMA.biases },
    tied_by_default: true,
    keys: ConfigKeys {
        activation: "hidden_activation",
        attn_scale: Some("query_pre_attn_scalar"),
        fixed: &[("use_bidirectional_attention", "false")],
        // Those that `hidden_activation` and `sliding_window` took the place of, and one for caches.
        harmless: &["hidden_act", "sliding_window_size", "cache_implementation"],
        ..KEYS
    },
    names: Names {
        post_attn: Some("post_attention_layernorm"),
        ln2: Some("pre_feedforward_layernorm"),
        post_mlp: Some("post_feedforward_layernorm"),
        ..LLAMA.names
    },
    gguf: Some(gguf::GEMMA2),
    ..LLAMA
};

pub const GEMMA3_TEXT: Family = Family {
    arch: "gemma3_text",
    qk_norm: Some(QkNorm::Head),
    positions: PositionKind::Rotary(RotaryKeys { local_theta: Some("rope_local_base_freq"), ..ROTARY }),
    windows: Windows::AllBut(Some("sliding_window_pattern"), 6),
    names: Names { qk_norm: Some(["self_attn.q_norm", "self_attn.k_norm"]), ..GEMMA2.names },
    gguf: Some(gguf::GEMMA3),
    ..GEMMA2
};
