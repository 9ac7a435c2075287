//! What GGUF files of each family are like: llama.cpp's tensor names, and what its files do not say.

use super::{GgufFormat, MlpNames, Names, QkvNames};

pub const LLAMA: GgufFormat = GgufFormat {
    arch: "llama",
    names: NAMES,
    permutes_qk: true,
    activation: "silu",
    softcaps: false,
    by_width: None,
};

pub const QWEN2: GgufFormat = GgufFormat { arch: "qwen2", permutes_qk: false, ..LLAMA };

pub const QWEN3: GgufFormat =
    GgufFormat { arch: "qwen3", names: Names { qk_norm: QK_NORM, ..NAMES }, ..QWEN2 };

pub const PHI3: GgufFormat = GgufFormat {
    arch: "phi3",
    names: Names { qkv: QkvNames::Fused("attn_qkv"), mlp: MlpNames::FusedGated("ffn_up"), ..NAMES },
    ..QWEN2
};

pub const GEMMA2: GgufFormat = GgufFormat {
    arch: "gemma2",
    names: Names { post_attn: Some("post_attention_norm"), post_mlp: Some("post_ffw_norm"), ..NAMES },
    permutes_qk: false,
    activation: "gelu_pytorch_tanh",
    softcaps: true,
    by_width: Some(46),
};

pub const GEMMA3: GgufFormat = GgufFormat {
    arch: "gemma3",
    names: Names { qk_norm: QK_NORM, ..GEMMA2.names },
    softcaps: false,
    by_width: Some(62),
    ..GEMMA2
};

pub const GPT2: GgufFormat = GgufFormat {
    arch: "gpt2",
    names: Names {
        pos_embed: Some("position_embd"),
        qkv: QkvNames::Fused("attn_qkv"),
        mlp: MlpNames::Plain("ffn_up"),
        ..NAMES
    },
    activation: "gelu_new",
    ..QWEN2
};

const QK_NORM: Option<[&str; 2]> = Some(["attn_q_norm", "attn_k_norm"]);

const NAMES: Names = Names {
    roots: &[""],
    embed: "token_embd",
    pos_embed: None,
    final_norm: "output_norm",
    unembed: &["output"],
    layer: "blk.{}.",
    ln1: Some("attn_norm"),
    qkv: QkvNames::Separate(["attn_q", "attn_k", "attn_v"]),
    qk_norm: None,
    attn_out: "attn_output",
    post_attn: None,
    ln2: Some("ffn_norm"),
    mlp: MlpNames::Gated { gate: "ffn_gate", up: "ffn_up" },
    mlp_out: "ffn_down",
    post_mlp: None,
    in_out: false,
};
