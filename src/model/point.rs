//! The places in a forward pass where a run can read or change an activation.

use super::config::Config;
use std::fmt;

/// A kind of activation. Together with a layer it names one tensor of a forward pass.
///
/// Shapes are for one prompt of `pos` tokens; inside the model the rows of all prompts lie end to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// Token embeddings as they enter the stream (on Gemma times `sqrt(d_model)`), `[pos, d_model]`.
    Embed,
    /// Learned position embeddings, `[pos, d_model]`; GPT-2 only.
    PosEmbed,
    /// The residual stream entering a layer, `[pos, d_model]`.
    ResidPre,
    /// What attention reads: the first norm's output, gain included, `[pos, d_model]`. On Phi the MLP reads it too.
    Ln1,
    /// Queries as projected, before any norm of theirs and rotary, `[pos, head, d_head]`.
    Q,
    /// Keys as projected, before any norm of theirs and rotary, `[pos, kv_head, d_head]`.
    K,
    /// Values, `[pos, kv_head, d_head]`.
    V,
    /// Queries as attention uses them, `[pos, head, d_head]`.
    RotQ,
    /// Keys as attention uses them, `[pos, kv_head, d_head]`.
    RotK,
    /// Attention scores before the softmax, scaled and soft-capped, `[head, query, key]`; -inf where a key is
    /// hidden.
    AttnScores,
    /// Attention probabilities, `[head, query, key]`.
    Pattern,
    /// Mixed values a head, before `W_O`, `[pos, head, d_head]`.
    Z,
    /// What each head adds to the attention module's output, without `b_O`, `[pos, head, d_model]`.
    Result,
    /// The attention module's output before any post-norm, `[pos, d_model]`.
    AttnOutRaw,
    /// What attention adds to the residual stream, `[pos, d_model]`.
    AttnOut,
    /// The residual stream between attention and MLP, where they follow one another, `[pos, d_model]`.
    ResidMid,
    /// What the MLP reads: the second norm's output, gain included, `[pos, d_model]`.
    Ln2,
    /// Neurons before the activation function (the gate, in a gated MLP), `[pos, d_mlp]`.
    MlpPre,
    /// Neurons: what `W_out` reads, `[pos, d_mlp]`.
    MlpPost,
    /// The MLP module's output before any post-norm, `[pos, d_model]`.
    MlpOutRaw,
    /// What the MLP adds to the residual stream, `[pos, d_model]`.
    MlpOut,
    /// The residual stream leaving a layer, before any final norm, `[pos, d_model]`.
    ResidPost,
    /// The final norm's output, `[pos, d_model]`.
    LnFinal,
    /// Next-token logits, `[pos, d_vocab]`.
    Logits,
}

/// What the last axes of a point's tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// `[pos, width]`
    Row { width: usize },
    /// `[pos, heads, width]`
    Heads { heads: usize, width: usize },
    /// `[heads, query, key]`
    Scores { heads: usize },
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Axes::Row { width } => write!(f, "[pos, {width}]"),
            Axes::Heads { heads, width } => write!(f, "[pos, {heads}, {width}]"),
            Axes::Scores { heads } => write!(f, "[{heads}, query, key]"),
        }
    }
}

use Point::*;

impl Point {
    /// All points, in the order in which a forward pass reaches them.
    pub const ALL: [Point; 24] = [
        Embed, PosEmbed, ResidPre, Ln1, Q, K, V, RotQ, RotK, AttnScores, Pattern, Z, Result, AttnOutRaw,
        AttnOut, ResidMid, Ln2, MlpPre, MlpPost, MlpOutRaw, MlpOut, ResidPost, LnFinal, Logits,
    ];

    /// The canonical name, as in `resid_post.4`.
    pub fn name(self) -> &'static str {
        match self {
            Embed => "embed",
            PosEmbed => "pos_embed",
            ResidPre => "resid_pre",
            Ln1 => "ln1",
            Q => "q",
            K => "k",
            V => "v",
            RotQ => "rot_q",
            RotK => "rot_k",
            AttnScores => "attn_scores",
            Pattern => "pattern",
            Z => "z",
            Result => "result",
            AttnOutRaw => "attn_out_raw",
            AttnOut => "attn_out",
            ResidMid => "resid_mid",
            Ln2 => "ln2",
            MlpPre => "mlp_pre",
            MlpPost => "mlp_post",
            MlpOutRaw => "mlp_out_raw",
            MlpOut => "mlp_out",
            ResidPost => "resid_post",
            LnFinal => "ln_final",
            Logits => "logits",
        }
    }

    /// Stands once in every layer (the others stand once in the model).
    pub fn in_layer(self) -> bool {
        !matches!(self, Embed | PosEmbed | LnFinal | Logits)
    }

    /// Stands where the rows of a layer no longer read each other: from `z` on.
    pub fn row_by_row(self) -> bool {
        matches!(
            self,
            Z | Result
                | AttnOutRaw
                | AttnOut
                | ResidMid
                | Ln2
                | MlpPre
                | MlpPost
                | MlpOutRaw
                | MlpOut
                | ResidPost
        )
    }

    /// Why it does not exist on this architecture, if it does not.
    pub fn absent(self, config: &Config) -> Option<&'static str> {
        let names = &config.family.names;
        let parallel = config.parallel;
        match self {
            PosEmbed if names.pos_embed.is_none() => Some("positions enter as rotations of queries and keys"),
            Ln1 if names.ln1.is_none() => Some("attention reads `resid_pre` without a norm"),
            ResidMid if parallel => Some("attention and MLP read `resid_pre` side by side"),
            Ln2 if names.ln2.is_none() && parallel => Some("the MLP reads what attention reads, `ln1`"),
            Ln2 if names.ln2.is_none() => Some("the MLP reads `resid_mid` without a norm"),
            _ => None,
        }
    }

    pub fn axes(self, config: &Config) -> Axes {
        let Config { d_model, n_heads, n_kv_heads, d_head, .. } = *config;
        match self {
            Q | RotQ | Z => Axes::Heads { heads: n_heads, width: d_head },
            K | V | RotK => Axes::Heads { heads: n_kv_heads, width: d_head },
            Result => Axes::Heads { heads: n_heads, width: d_model },
            AttnScores | Pattern => Axes::Scores { heads: n_heads },
            MlpPre | MlpPost => Axes::Row { width: config.d_mlp },
            Logits => Axes::Row { width: config.d_vocab },
            _ => Axes::Row { width: d_model },
        }
    }
}
