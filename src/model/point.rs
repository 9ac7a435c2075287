//! The places in a forward pass where a run can read or change an activation.

use super::config::Config;
use super::hook::At;
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

/// Where in a pass a point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before the first layer.
    Embedding,
    /// In a layer, before its rows have read each other.
    Reading,
    /// In a layer, after that: row by row.
    Writing,
    /// What a layer hands to the next one.
    Leaving,
    /// After the last layer.
    Ending,
}

/// What a point's last axes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Stream,
    Heads,
    KvHeads,
    /// A stream a head.
    HeadOutputs,
    Scores,
    Neurons,
    Vocabulary,
}

/// What there is to know of a point.
struct Info {
    point: Point,
    name: &'static str,
    meaning: &'static str,
    /// The name in TransformerLens; `{}` is the layer.
    hook: Option<&'static str>,
    stage: Stage,
    /// Do other positions read it in the same layer?
    read_by_others: bool,
    width: Width,
}

use Point::*;

/// One row a point, in the order in which a pass reaches them.
const TABLE: [Info; 24] = [
    Info {
        point: Embed,
        name: "embed",
        meaning: "token embeddings as they enter the residual stream",
        hook: Some("hook_embed"),
        stage: Stage::Embedding,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: PosEmbed,
        name: "pos_embed",
        meaning: "learned position embeddings",
        hook: Some("hook_pos_embed"),
        stage: Stage::Embedding,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: ResidPre,
        name: "resid_pre",
        meaning: "the residual stream entering the layer",
        hook: Some("blocks.{}.hook_resid_pre"),
        stage: Stage::Reading,
        read_by_others: true,
        width: Width::Stream,
    },
    Info {
        point: Ln1,
        name: "ln1",
        meaning: "the first norm's output, gain included: what attention reads",
        hook: None,
        stage: Stage::Reading,
        read_by_others: true,
        width: Width::Stream,
    },
    Info {
        point: Q,
        name: "q",
        meaning: "queries as projected, before any norm of theirs and rotary",
        hook: Some("blocks.{}.attn.hook_q"),
        stage: Stage::Reading,
        read_by_others: false,
        width: Width::Heads,
    },
    Info {
        point: K,
        name: "k",
        meaning: "keys as projected, before any norm of theirs and rotary",
        hook: Some("blocks.{}.attn.hook_k"),
        stage: Stage::Reading,
        read_by_others: true,
        width: Width::KvHeads,
    },
    Info {
        point: V,
        name: "v",
        meaning: "values",
        hook: Some("blocks.{}.attn.hook_v"),
        stage: Stage::Reading,
        read_by_others: true,
        width: Width::KvHeads,
    },
    Info {
        point: RotQ,
        name: "rot_q",
        meaning: "queries as attention uses them",
        hook: Some("blocks.{}.attn.hook_rot_q"),
        stage: Stage::Reading,
        read_by_others: false,
        width: Width::Heads,
    },
    Info {
        point: RotK,
        name: "rot_k",
        meaning: "keys as attention uses them",
        hook: Some("blocks.{}.attn.hook_rot_k"),
        stage: Stage::Reading,
        read_by_others: true,
        width: Width::KvHeads,
    },
    Info {
        point: AttnScores,
        name: "attn_scores",
        meaning: "scores before the softmax, scaled and soft-capped, -inf where a key is hidden",
        hook: Some("blocks.{}.attn.hook_attn_scores"),
        stage: Stage::Reading,
        read_by_others: false,
        width: Width::Scores,
    },
    Info {
        point: Pattern,
        name: "pattern",
        meaning: "attention probabilities",
        hook: Some("blocks.{}.attn.hook_pattern"),
        stage: Stage::Reading,
        read_by_others: false,
        width: Width::Scores,
    },
    Info {
        point: Z,
        name: "z",
        meaning: "mixed values a head, before W_O",
        hook: Some("blocks.{}.attn.hook_z"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Heads,
    },
    Info {
        point: Result,
        name: "result",
        meaning: "what each head adds to the attention module's output, without b_O",
        hook: Some("blocks.{}.attn.hook_result"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::HeadOutputs,
    },
    Info {
        point: AttnOutRaw,
        name: "attn_out_raw",
        meaning: "the attention module's output, before any post-norm",
        hook: None,
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: AttnOut,
        name: "attn_out",
        meaning: "what attention adds to the residual stream",
        hook: Some("blocks.{}.hook_attn_out"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: ResidMid,
        name: "resid_mid",
        meaning: "the residual stream between attention and MLP",
        hook: Some("blocks.{}.hook_resid_mid"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: Ln2,
        name: "ln2",
        meaning: "the second norm's output, gain included: what the MLP reads",
        hook: None,
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: MlpPre,
        name: "mlp_pre",
        meaning: "neurons before the activation function",
        hook: Some("blocks.{}.mlp.hook_pre"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Neurons,
    },
    Info {
        point: MlpPost,
        name: "mlp_post",
        meaning: "neurons: what W_out reads",
        hook: Some("blocks.{}.mlp.hook_post"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Neurons,
    },
    Info {
        point: MlpOutRaw,
        name: "mlp_out_raw",
        meaning: "the MLP module's output, before any post-norm",
        hook: None,
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: MlpOut,
        name: "mlp_out",
        meaning: "what the MLP adds to the residual stream",
        hook: Some("blocks.{}.hook_mlp_out"),
        stage: Stage::Writing,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: ResidPost,
        name: "resid_post",
        meaning: "the residual stream leaving the layer, before any final norm",
        hook: Some("blocks.{}.hook_resid_post"),
        stage: Stage::Leaving,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: LnFinal,
        name: "ln_final",
        meaning: "the final norm's output",
        hook: None,
        stage: Stage::Ending,
        read_by_others: false,
        width: Width::Stream,
    },
    Info {
        point: Logits,
        name: "logits",
        meaning: "next-token logits",
        hook: None,
        stage: Stage::Ending,
        read_by_others: false,
        width: Width::Vocabulary,
    },
];

impl Point {
    /// All points, in the order in which a forward pass reaches them.
    pub const ALL: [Point; TABLE.len()] = {
        let mut all = [Embed; TABLE.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = TABLE[i].point;
            i += 1;
        }
        all
    };

    fn info(self) -> &'static Info {
        &TABLE[self as usize]
    }

    /// The canonical name, as in `resid_post.4`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// What it is, in half a sentence.
    pub fn meaning(self) -> &'static str {
        self.info().meaning
    }

    /// Its name in TransformerLens, if it has one; `{}` stands for the layer.
    pub fn hook(self) -> Option<&'static str> {
        self.info().hook
    }

    pub fn stage(self) -> Stage {
        self.info().stage
    }

    /// Stands once in every layer (the others stand once in the model).
    pub fn in_layer(self) -> bool {
        match self.stage() {
            Stage::Embedding | Stage::Ending => false,
            Stage::Reading | Stage::Writing | Stage::Leaving => true,
        }
    }

    /// Stands where the rows of a layer no longer read each other: from `z` on.
    pub fn row_by_row(self) -> bool {
        matches!(self.stage(), Stage::Writing | Stage::Leaving)
    }

    /// Do other positions read it in the same layer?
    pub fn read_by_others(self) -> bool {
        self.info().read_by_others
    }

    /// Is there one of it a head?
    pub fn has_heads(self) -> bool {
        match self.info().width {
            Width::Heads | Width::KvHeads | Width::HeadOutputs | Width::Scores => true,
            Width::Stream | Width::Neurons | Width::Vocabulary => false,
        }
    }

    /// Is an entry of it one neuron?
    pub fn has_neurons(self) -> bool {
        self.info().width == Width::Neurons
    }

    /// Why it does not exist on this architecture, if it does not.
    pub fn absent(self, config: &Config) -> Option<&'static str> {
        let names = &config.family.names;
        let because = |absent: bool, reason| absent.then_some(reason);
        match self {
            PosEmbed => {
                because(names.pos_embed.is_none(), "positions enter as rotations of queries and keys")
            }
            Ln1 => because(names.ln1.is_none(), "attention reads `resid_pre` without a norm"),
            ResidMid => because(config.parallel, "attention and MLP read `resid_pre` side by side"),
            Ln2 if config.parallel => {
                because(names.ln2.is_none(), "the MLP reads what attention reads, `ln1`")
            }
            Ln2 => because(names.ln2.is_none(), "the MLP reads `resid_mid` without a norm"),
            Embed | ResidPre | Q | K | V | RotQ | RotK | AttnScores | Pattern | Z | Result | AttnOutRaw
            | AttnOut | MlpPre | MlpPost | MlpOutRaw | MlpOut | ResidPost | LnFinal | Logits => None,
        }
    }

    pub fn axes(self, config: &Config) -> Axes {
        let Config { d_model, n_heads, n_kv_heads, d_head, d_mlp, d_vocab, .. } = *config;
        match self.info().width {
            Width::Stream => Axes::Row { width: d_model },
            Width::Heads => Axes::Heads { heads: n_heads, width: d_head },
            Width::KvHeads => Axes::Heads { heads: n_kv_heads, width: d_head },
            Width::HeadOutputs => Axes::Heads { heads: n_heads, width: d_model },
            Width::Scores => Axes::Scores { heads: n_heads },
            Width::Neurons => Axes::Row { width: d_mlp },
            Width::Vocabulary => Axes::Row { width: d_vocab },
        }
    }

    /// Numbers a row that a pass holds beside the stream and the activation itself, while it looks at it.
    pub fn beside(self, config: &Config) -> usize {
        let Config { d_model, n_heads, d_mlp, .. } = *config;
        match self.info().width {
            // The other half of the MLP's neurons.
            Width::Neurons => d_mlp,
            // The sum that it is part of, before and after, and which heads' parts were changed.
            Width::HeadOutputs => (2 + n_heads) * d_model,
            Width::Stream | Width::Heads | Width::KvHeads | Width::Scores | Width::Vocabulary => 0,
        }
    }
}

impl At {
    /// The first layer whose work depends on it: `n_layers` where none does.
    pub fn entry(self, n_layers: usize) -> usize {
        match self.point.stage() {
            Stage::Embedding => 0,
            Stage::Reading | Stage::Writing => self.layer,
            Stage::Leaving => self.layer + 1,
            Stage::Ending => n_layers,
        }
    }

    /// How many layers a pass must go through to reach it.
    pub fn depth(self, n_layers: usize) -> usize {
        match self.point.stage() {
            Stage::Embedding => 0,
            Stage::Reading | Stage::Writing | Stage::Leaving => self.layer + 1,
            Stage::Ending => n_layers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The row of every point is its own, or all that is asked of it is another's.
    fn misplaced(table: &[Info]) -> Vec<usize> {
        let rows = table.iter().enumerate();
        rows.filter(|(i, info)| info.point as usize != *i).map(|(i, _)| i).collect()
    }

    #[test]
    fn every_point_has_its_row() {
        assert_eq!(misplaced(&TABLE), Vec::<usize>::new());
        assert_eq!(misplaced(&TABLE[1..]).len(), TABLE.len() - 1);
        for pair in TABLE.windows(2) {
            assert!(pair[0].stage <= pair[1].stage, "{}", pair[1].name);
        }
        for info in &TABLE {
            let layers = info.hook.map(|hook| hook.contains("{}"));
            assert!(layers.is_none_or(|layers| layers == info.point.in_layer()), "{}", info.name);
            let same = TABLE
                .iter()
                .filter(|other| other.name == info.name || info.hook.is_some() && other.hook == info.hook);
            assert_eq!(same.count(), 1, "{}", info.name);
        }
    }
}
