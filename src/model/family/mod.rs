//! A model family as data: which norms, positions, attention and MLP it has, how its `config.json` spells things
//! and what its tensors are called. One transformer reads these descriptions; a new family is a new value in
//! [`gpt`] (norms with a mean), [`llama`] (those that grew from it) or [`gemma`]. [`gguf`] has what
//! their GGUF files are like.

mod gemma;
mod gguf;
mod gpt;
mod llama;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    LayerNorm,
    RmsNorm,
    /// An RMS norm whose checkpoint holds the gain less 1.
    RmsNormLessOne,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PositionKind {
    /// A learned vector a position, added to the token's embedding.
    Learned,
    /// Rotations of queries and keys, halves paired as in GPT-NeoX and Llama.
    Rotary(RotaryKeys),
}

/// How `config.json` spells rotary settings outside of `rope_parameters`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RotaryKeys {
    pub theta: &'static str,
    /// The part of each head that is rotated, and its default; else all.
    pub part: Option<(&'static str, f64)>,
    /// The base of layers with a window, where they have one of their own.
    pub local_theta: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpKind {
    /// `act(x W_in + b) W_out + b`
    Plain,
    /// `(act(x W_gate) * x W_in) W_out`
    Gated,
}

/// What a norm of queries and keys, before rotary, runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Each head by itself, all with one gain.
    Head,
    /// All heads together.
    Whole,
}

/// A choice that a family or its `config.json` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Always,
    Never,
    /// As this key says; the second is its default.
    Key(&'static str, bool),
}

/// Which linear maps have a bias.
#[derive(Debug, Clone, Copy)]
pub struct Biases {
    pub qkv: Choice,
    pub attn_out: Choice,
    pub mlp: Choice,
    pub unembed: Choice,
}

impl Biases {
    const NONE: Biases =
        Biases { qkv: Choice::Never, attn_out: Choice::Never, mlp: Choice::Never, unembed: Choice::Never };
}

/// Which layers see only the last `sliding_window` positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    None,
    /// All, if `sliding_window` is set.
    All,
    /// If `use_sliding_window`: as `layer_types` says, else those from `max_window_layers` on.
    Late,
    /// As `layer_types` says, else all but every n-th; the key for n (also with a leading `_`) and its default.
    AllBut(Option<&'static str>, usize),
}

/// How queries, keys and values lie in the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvNames {
    Separate([&'static str; 3]),
    /// One tensor: all queries, then all keys, then all values.
    Fused(&'static str),
    /// One tensor: head by head, its query, key and value.
    FusedByHead(&'static str),
}

/// The maps into the MLP's neurons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MlpNames {
    Plain(&'static str),
    Gated {
        gate: &'static str,
        up: &'static str,
    },
    /// One tensor: the gate, then the other.
    FusedGated(&'static str),
}

/// Tensor names of a checkpoint. `layer` is the prefix of layer `{}`; a name gets `.weight` or `.bias` appended.
/// Norms that a family lacks have no name.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// Prefixes that published checkpoints put before every name but `unembed`.
    pub roots: &'static [&'static str],
    pub embed: &'static str,
    pub pos_embed: Option<&'static str>,
    pub final_norm: &'static str,
    /// One of these.
    pub unembed: &'static [&'static str],
    pub layer: &'static str,
    pub ln1: Option<&'static str>,
    pub qkv: QkvNames,
    /// Norms of queries and keys.
    pub qk_norm: Option<[&'static str; 2]>,
    pub attn_out: &'static str,
    /// The norm after attention, before its output is added to the stream.
    pub post_attn: Option<&'static str>,
    pub ln2: Option<&'static str>,
    pub mlp: MlpNames,
    pub mlp_out: &'static str,
    /// The norm after the MLP, before its output is added to the stream.
    pub post_mlp: Option<&'static str>,
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
    /// The square of what divides scores, where that is not `d_head`.
    pub attn_scale: Option<&'static str>,
    /// Keys that must hold this value (or be absent): other values change the computation.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Keys that do not touch a forward pass.
    pub harmless: &'static [&'static str],
}

/// What GGUF files of a family are like.
#[derive(Debug)]
pub struct GgufFormat {
    /// `general.architecture`
    pub arch: &'static str,
    pub names: Names,
    /// Rows of W_Q and W_K are stored permuted, for interleaved rotary.
    pub permutes_qk: bool,
    /// As `config.json` names it.
    pub activation: &'static str,
    /// The files say how scores and logits are bounded; else they are not.
    pub softcaps: bool,
    /// The model with this many layers divides scores by `sqrt(d_model / n_heads)`, where that is not `d_head`.
    pub by_width: Option<u32>,
}

#[derive(Debug)]
pub struct Family {
    /// `model_type` in `config.json`.
    pub arch: &'static str,
    pub norm: NormKind,
    pub qk_norm: Option<QkNorm>,
    pub positions: PositionKind,
    pub mlp: MlpKind,
    /// Attention and MLP read the same stream, side by side; else one after the other.
    pub parallel: Choice,
    pub windows: Windows,
    /// Scores and logits may be bounded: `attn_logit_softcapping`, `final_logit_softcapping`.
    pub softcaps: bool,
    /// Embeddings are multiplied by `sqrt(d_model)` before they enter the stream.
    pub scales_embeddings: bool,
    pub biases: Biases,
    /// The unembedding is the embedding when the config does not say.
    pub tied_by_default: bool,
    pub keys: ConfigKeys,
    pub names: Names,
    /// `None` where GGUF files cannot be read yet.
    pub gguf: Option<GgufFormat>,
}

pub static FAMILIES: &[&Family] = &[
    &gpt::GPT2,
    &gpt::GPT_NEOX,
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &gemma::GEMMA2,
    &gemma::GEMMA3_TEXT,
    &gpt::PHI,
    &llama::PHI3,
    &llama::OLMO2,
];

/// The family whose `config.json` says `arch`.
pub fn find(arch: &str) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| family.arch == arch)
}

/// The family whose GGUF files say `arch`, and what they are like.
pub fn find_gguf(arch: &str) -> Option<(&'static Family, &'static GgufFormat)> {
    let with_format = FAMILIES.iter().filter_map(|family| Some((*family, family.gguf.as_ref()?)));
    with_format.into_iter().find(|(_, format)| format.arch == arch)
}

/// Rotary settings as most families spell them.
const ROTARY: RotaryKeys = RotaryKeys { theta: "rope_theta", part: None, local_theta: None };

/// Keys as most families spell them.
const KEYS: ConfigKeys = ConfigKeys {
    n_layers: "num_hidden_layers",
    d_model: "hidden_size",
    n_heads: "num_attention_heads",
    n_kv_heads: Some("num_key_value_heads"),
    d_mlp: "intermediate_size",
    n_ctx: "max_position_embeddings",
    norm_eps: "rms_norm_eps",
    activation: "hidden_act",
    attn_scale: None,
    fixed: &[],
    harmless: &[],
};
