//! GPT-2, and GPT-NeoX (Pythia) and Phi, whose attention and MLP stand side by side.

use super::{
    Biases, Choice, ConfigKeys, Family, KEYS, MlpKind, MlpNames, Names, NormKind, PositionKind, QkvNames,
    RotaryKeys, Windows, gguf,
};

pub const GPT2: Family = Family {
    arch: "gpt2",
    norm: NormKind::LayerNorm,
    qk_norm: None,
    positions: PositionKind::Learned,
    mlp: MlpKind::Plain,
    parallel: Choice::Never,
    windows: Windows::None,
    softcaps: false,
    scales_embeddings: false,
    biases: Biases { qkv: Choice::Always, attn_out: Choice::Always, mlp: Choice::Always, ..Biases::NONE },
    tied_by_default: true,
    keys: ConfigKeys {
        n_layers: "n_layer",
        d_model: "n_embd",
        n_heads: "n_head",
        n_kv_heads: None,
        d_mlp: "n_inner",
        n_ctx: "n_positions",
        norm_eps: "layer_norm_epsilon",
        activation: "activation_function",
        attn_scale: None,
        fixed: &[
            ("scale_attn_weights", "true"),
            ("scale_attn_by_inverse_layer_idx", "false"),
            ("add_cross_attention", "false"),
        ],
        harmless: &[
            "n_ctx",
            "attn_pdrop",
            "embd_pdrop",
            "resid_pdrop",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "reorder_and_upcast_attn",
            "predict_special_tokens",
            "gradient_checkpointing",
        ],
    },
    names: Names {
        roots: &["transformer.", ""],
        embed: "wte",
        pos_embed: Some("wpe"),
        final_norm: "ln_f",
        unembed: &["lm_head"],
        layer: "h.{}.",
        ln1: Some("ln_1"),
        qkv: QkvNames::Fused("attn.c_attn"),
        qk_norm: None,
        attn_out: "attn.c_proj",
        post_attn: None,
        ln2: Some("ln_2"),
        mlp: MlpNames::Plain("mlp.c_fc"),
        mlp_out: "mlp.c_proj",
        post_mlp: None,
        in_out: true,
    },
    gguf: Some(gguf::GPT2),
};

pub const GPT_NEOX: Family = Family {
    arch: "gpt_neox",
    positions: PositionKind::Rotary(RotaryKeys {
        theta: "rotary_emb_base",
        part: Some(("rotary_pct", 0.25)),
        local_theta: None,
    }),
    parallel: Choice::Key("use_parallel_residual", true),
    biases: Biases {
        qkv: Choice::Key("attention_bias", true),
        attn_out: Choice::Key("attention_bias", true),
        mlp: Choice::Always,
        unembed: Choice::Never,
    },
    tied_by_default: false,
    keys: ConfigKeys {
        n_kv_heads: None,
        norm_eps: "layer_norm_eps",
        harmless: &["hidden_dropout", "classifier_dropout", "is_decoder"],
        ..KEYS
    },
    names: Names {
        roots: &["gpt_neox.", ""],
        embed: "embed_in",
        pos_embed: None,
        final_norm: "final_layer_norm",
        unembed: &["embed_out", "lm_head"],
        layer: "layers.{}.",
        ln1: Some("input_layernorm"),
        qkv: QkvNames::FusedByHead("attention.query_key_value"),
        attn_out: "attention.dense",
        ln2: Some("post_attention_layernorm"),
        mlp: MlpNames::Plain("mlp.dense_h_to_4h"),
        mlp_out: "mlp.dense_4h_to_h",
        in_out: false,
        ..GPT2.names
    },
    gguf: None,
    ..GPT2
};

pub const PHI: Family = Family {
    arch: "phi",
    positions: PositionKind::Rotary(RotaryKeys {
        theta: "rope_theta",
        part: Some(("partial_rotary_factor", 0.5)),
        local_theta: None,
    }),
    parallel: Choice::Always,
    biases: Biases {
        qkv: Choice::Always,
        attn_out: Choice::Always,
        mlp: Choice::Always,
        unembed: Choice::Always,
    },
    tied_by_default: false,
    keys: ConfigKeys {
        norm_eps: "layer_norm_eps",
        fixed: &[("qk_layernorm", "false")],
        harmless: &["embd_pdrop", "resid_pdrop"],
        ..KEYS
    },
    names: Names {
        roots: &["model.", ""],
        embed: "embed_tokens",
        pos_embed: None,
        final_norm: "final_layernorm",
        layer: "layers.{}.",
        ln1: Some("input_layernorm"),
        qkv: QkvNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attn_out: "self_attn.dense",
        ln2: None,
        mlp: MlpNames::Plain("mlp.fc1"),
        mlp_out: "mlp.fc2",
        in_out: false,
        ..GPT2.names
    },
    gguf: None,
    ..GPT2
};
