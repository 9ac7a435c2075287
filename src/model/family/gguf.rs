//! llama.cpp's tensor names.

use super::{GgufFormat, MlpNames, Names, QkvNames};

pub const LLAMA: GgufFormat = GgufFormat { arch: "llama", names: NAMES, permutes_qk: true };

pub const GPT2: GgufFormat = GgufFormat {
    arch: "gpt2",
    names: Names {
        pos_embed: Some("position_embd"),
        qkv: QkvNames::Fused("attn_qkv"),
        mlp: MlpNames::Plain("ffn_up"),
        ..NAMES
    },
    permutes_qk: false,
};

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
