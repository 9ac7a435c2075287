//! A model family as data: which norm, positions and MLP it has, how its `config.json` spells things and what
//! its tensors are called. One transformer reads these descriptions; a new family is a new value here.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    LayerNorm,
    RmsNorm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionKind {
    /// A learned vector a position, added to the token's embedding.
    Learned,
    /// Rotations of queries and keys, halves paired as in GPT-NeoX and Llama.
    Rotary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `act(x W_in + b) W_out + b`
    Plain,
    /// `(act(x W_gate) * x W_in) W_out`
    Gated,
}

/// How queries, keys and values lie in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvNames {
    Separate([&'static str; 3]),
    /// One tensor: all queries, then all keys, then all values.
    Fused(&'static str),
}

/// Tensor names of a checkpoint. `layer` is the prefix of layer `{}`; a name gets `.weight` or `.bias` appended.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Prefixes that published checkpoints put before every name but `unembed`.
    pub roots: &'static [&'static str],
    pub embed: &'static str,
    pub pos_embed: Option<&'static str>,
    pub final_norm: &'static str,
    pub unembed: &'static str,
    pub layer: &'static str,
    pub ln1: &'static str,
    pub ln2: &'static str,
    pub qkv: QkvNames,
    pub attn_out: &'static str,
    pub mlp_gate: Option<&'static str>,
    pub mlp_in: &'static str,
    pub mlp_out: &'static str,
    /// Matrices are stored `[in, out]` (GPT-2's Conv1D), not `[out, in]`.
    pub in_out: bool,
}

/// How `config.json` spells the sizes.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKeys {
    pub n_layers: &'static str,
    pub d_model: &'static str,
    pub n_heads: &'static str,
    pub n_kv_heads: Option<&'static str>,
    pub d_mlp: &'static str,
    pub n_ctx: &'static str,
    pub norm_eps: &'static str,
    pub activation: &'static str,
    /// Keys that must hold this value (or be absent): other values change the computation.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Keys that do not touch a forward pass.
    pub harmless: &'static [&'static str],
}

#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`, `general.architecture` in GGUF.
    pub arch: &'static str,
    pub norm: NormKind,
    pub positions: PositionKind,
    pub mlp: MlpKind,
    /// Every linear map of attention and MLP has a bias (else the config says).
    pub biases: bool,
    /// The unembedding is the embedding when the config does not say.
    pub tied_by_default: bool,
    /// GGUF files store rows of W_Q and W_K permuted for interleaved rotary.
    pub gguf_permutes_qk: bool,
    pub keys: ConfigKeys,
    pub names: Names,
    pub gguf_names: Names,
}

pub static FAMILIES: &[&Family] = &[&GPT2, &LLAMA];

/// The family that calls itself `arch`.
pub fn find(arch: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.arch == arch)
}

pub static LLAMA: Family = Family {
    arch: "llama",
    norm: NormKind::RmsNorm,
    positions: PositionKind::Rotary,
    mlp: MlpKind::Gated,
    biases: false,
    tied_by_default: false,
    gguf_permutes_qk: true,
    keys: ConfigKeys {
        n_layers: "num_hidden_layers",
        d_model: "hidden_size",
        n_heads: "num_attention_heads",
        n_kv_heads: Some("num_key_value_heads"),
        d_mlp: "intermediate_size",
        n_ctx: "max_position_embeddings",
        norm_eps: "rms_norm_eps",
        activation: "hidden_act",
        fixed: &[("pretraining_tp", "1"), ("rope_interleaved", "false")],
        harmless: &["is_llama_config", "_attn_implementation_autoset"],
    },
    names: Names {
        roots: &["model."],
        embed: "embed_tokens",
        pos_embed: None,
        final_norm: "norm",
        unembed: "lm_head",
        layer: "layers.{}.",
        ln1: "input_layernorm",
        ln2: "post_attention_layernorm",
        qkv: QkvNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        attn_out: "self_attn.o_proj",
        mlp_gate: Some("mlp.gate_proj"),
        mlp_in: "mlp.up_proj",
        mlp_out: "mlp.down_proj",
        in_out: false,
    },
    gguf_names: GGUF_NAMES,
};

pub static GPT2: Family = Family {
    arch: "gpt2",
    norm: NormKind::LayerNorm,
    positions: PositionKind::Learned,
    mlp: MlpKind::Plain,
    biases: true,
    tied_by_default: true,
    gguf_permutes_qk: false,
    keys: ConfigKeys {
        n_layers: "n_layer",
        d_model: "n_embd",
        n_heads: "n_head",
        n_kv_heads: None,
        d_mlp: "n_inner",
        n_ctx: "n_positions",
        norm_eps: "layer_norm_epsilon",
        activation: "activation_function",
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
        unembed: "lm_head",
        layer: "h.{}.",
        ln1: "ln_1",
        ln2: "ln_2",
        qkv: QkvNames::Fused("attn.c_attn"),
        attn_out: "attn.c_proj",
        mlp_gate: None,
        mlp_in: "mlp.c_fc",
        mlp_out: "mlp.c_proj",
        in_out: true,
    },
    gguf_names: Names {
        pos_embed: Some("position_embd"),
        qkv: QkvNames::Fused("attn_qkv"),
        mlp_gate: None,
        ..GGUF_NAMES
    },
};

const GGUF_NAMES: Names = Names {
    roots: &[""],
    embed: "token_embd",
    pos_embed: None,
    final_norm: "output_norm",
    unembed: "output",
    layer: "blk.{}.",
    ln1: "attn_norm",
    ln2: "ffn_norm",
    qkv: QkvNames::Separate(["attn_q", "attn_k", "attn_v"]),
    attn_out: "attn_output",
    mlp_gate: Some("ffn_gate"),
    mlp_in: "ffn_up",
    mlp_out: "ffn_down",
    in_out: false,
};
