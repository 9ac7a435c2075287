//! Why a run is refused. Every refusal comes before anything is computed, except that a patch which turns out to
//! change nothing can only be noticed afterwards.

use crate::count::count;
use crate::memory::Full;
use crate::model::ModelError;

pub type Result<T> = std::result::Result<T, RunError>;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Model(#[from] ModelError),
    #[error("unknown site `{text}`")]
    UnknownSite { text: String, nearest: Option<String> },
    /// Sites, each with a family on which the text means it.
    #[error("`{text}` is {}", .meanings.iter().map(|(site, arch)| format!("`{site}` on {arch}")).collect::<Vec<_>>().join(", "))]
    AmbiguousSite { text: String, meanings: Vec<(String, &'static str)> },
    #[error("`{text}` names several sites, where one is read")]
    ManySites { text: String },
    #[error("`{site}` needs a layer")]
    NeedsLayer { site: &'static str },
    #[error("`{site}` stands once in the model and takes no layer")]
    TakesNoLayer { site: &'static str },
    #[error("layer {layer} does not exist: this model has {}", count(*.n_layers, "layer"))]
    LayerRange { layer: usize, n_layers: usize },
    #[error("`{site}` does not exist in `{arch}` models: {why}")]
    Absent { site: String, arch: &'static str, why: &'static str },
    #[error("`{site}` has no heads")]
    NoHeads { site: String },
    #[error("head {head} does not exist: `{site}` has {}", count(*.heads, "head"))]
    HeadRange { site: String, head: usize, heads: usize, shared: Option<usize> },
    #[error("head {head} is listed twice")]
    HeadTwice { head: usize },
    #[error("`{site}` has no neurons")]
    NoNeurons { site: String },
    #[error("neuron {neuron} does not exist: `{site}` has {width}")]
    NeuronRange { site: String, neuron: usize, width: usize },
    #[error("position {pos} is out of range: the prompt has {}", count(*.len, "token"))]
    PosRange { pos: i64, len: usize },
    #[error("position {pos} is listed twice")]
    PosTwice { pos: usize },
    #[error("`{site}` selects no position")]
    NoPositions { site: String },
    #[error("no token of the prompt contains `{text}`")]
    TokenNotFound { text: String, tokens: Vec<String> },
    #[error("the prompt does not contain `{text}`")]
    SpanNotFound { text: String, tokens: Vec<String> },
    #[error("`{site}` selects {want:?}, but the value is {}", shape(.found))]
    ValueShape { site: String, want: Vec<usize>, found: Vec<usize> },
    #[error("`{site}`: the trace has {} there, the prompt {want}", count(*.found, "position"))]
    TraceLength { site: String, want: usize, found: usize },
    #[error("a mean over no traces")]
    NoTraces,
    #[error("`{site}`: a direction of length 0 cannot be projected out")]
    ZeroDirection { site: String },
    #[error("`{a}` and `{b}` change the same values, and their order would matter")]
    Overlap { a: String, b: String },
    #[error("the patch on `{site}` changed nothing")]
    Noop { site: String },
    #[error("the patch on `{site}` never fired")]
    NeverFired { site: String },
    #[error("the edit of `{site}` returned {found:?}, expected {want:?}")]
    EditShape { site: String, want: Vec<usize>, found: Vec<usize> },
    #[error("`{site}` is narrowed to positions, which generated tokens do not have yet")]
    GeneratedPos { site: String },
    #[error("a metric needs at least one token")]
    NoMetricTokens,
    #[error("`{metric}` compares single tokens, found a set of {len}")]
    MetricSet { metric: &'static str, len: usize },
    #[error("`kl` compares {found} logits with {want}: the trace comes from another model")]
    KlWidth { want: usize, found: usize },
    #[error("the prompt does not end in the tokens of `{ending}`")]
    LossEnding { ending: String, last: Vec<String> },
    #[error("`loss` needs a token that others come before")]
    NoLossTokens,
    /// A reader: a metric, `top`.
    #[error("a logit that `{reader}` reads is NaN")]
    NanLogits { reader: &'static str },
    /// `after`: new tokens that were made before.
    #[error("the logits after {} are {found}: no token can be chosen", place(*.after))]
    NoChoice { after: usize, found: &'static str, patches: Vec<String> },
    #[error("prompt {index}: {error}")]
    InPrompt { index: usize, one_list: bool, error: Box<RunError> },
    #[error("the donor of `{site}`: {error}")]
    Donor { site: String, error: Box<RunError> },
    #[error("{0}")]
    Full(#[from] Full),
    #[error("the metric, a `{metric}`, is NaN")]
    NanMetric { metric: &'static str },
    #[error("clean and corrupt value are both {value}: nothing is left to recover")]
    NothingToRecover { value: f64 },
    #[error("a sweep needs at least one cell")]
    NoCells,
    #[error("a sweep patches the prompt: `{site}` has `.steps(…)`")]
    SweepSteps { site: String },
    #[error("`{option}` must be {expected}")]
    Option { option: &'static str, expected: &'static str },
    #[error("{0}")]
    Closure(String),
}

impl From<candle_core::Error> for RunError {
    fn from(error: candle_core::Error) -> Self {
        RunError::Model(error.into())
    }
}

/// Where a generation stands.
fn place(after: usize) -> String {
    if after == 0 { "the prompt".into() } else { format!("new token {}", after - 1) }
}

fn shape(found: &[usize]) -> String {
    if found.is_empty() { "one number".into() } else { format!("{found:?}") }
}

impl RunError {
    pub fn is_interrupt(&self) -> bool {
        match self {
            RunError::InPrompt { error, .. } => error.is_interrupt(),
            error => matches!(error, RunError::Model(ModelError::Interrupted)),
        }
    }

    /// The same of one of several prompts, or of the only one.
    pub(super) fn in_prompt(self, index: usize, prompts: usize) -> RunError {
        match prompts {
            1 => self,
            _ => RunError::InPrompt { index, one_list: false, error: Box::new(self) },
        }
    }

    /// The same where one list of patches went to every prompt.
    pub fn of_one_list(self) -> RunError {
        match self {
            RunError::InPrompt { index, error, .. } => RunError::InPrompt { index, one_list: true, error },
            error => error,
        }
    }

    /// Is it about what a patch brings or changes?
    fn is_of_patches(&self) -> bool {
        use RunError::{Donor, NeverFired, Noop, Overlap, TraceLength, ValueShape};
        matches!(
            self,
            Donor { .. }
                | NeverFired { .. }
                | Noop { .. }
                | Overlap { .. }
                | TraceLength { .. }
                | ValueShape { .. }
        )
    }

    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        let listing = |tokens: &[String]| {
            let shown: Vec<_> = tokens.iter().take(40).map(|t| format!("`{t}`")).collect();
            let more = if tokens.len() > 40 { " …" } else { "" };
            Some(format!("the tokens are {}{more}", shown.join(" ")))
        };
        match self {
            RunError::Model(e) => e.help(),
            RunError::UnknownSite { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            RunError::UnknownSite { nearest: None, .. } => Some(
                "a site is a name and a layer, like `resid_post.4`, `z.9.6` (layer.head) or `mlp_post.12.8526` (layer.neuron)"
                    .into(),
            ),
            RunError::AmbiguousSite { meanings, .. } => {
                let sites: Vec<_> = meanings.iter().map(|(site, _)| format!("`{site}`")).collect();
                Some(format!("write the one that is meant: {}", sites.join(" or ")))
            }
            RunError::ManySites { text } => Some(format!(
                "write one, like `resid_post.0`; several are recorded by `m.trace(prompt, \"{text}\")`"
            )),
            RunError::NeedsLayer { site } => Some(format!("write `{site}.0`, or call `{site}(0)`")),
            RunError::TakesNoLayer { site } => Some(format!("write `{site}`")),
            RunError::LayerRange { n_layers, .. } => Some(format!("layers count from 0 to {}", n_layers.saturating_sub(1))),
            RunError::HeadRange { head, heads, shared: Some(shared), .. } => Some(format!(
                "{shared} query heads share one head of keys and values: query head {head} reads head {}; these count from 0 to {}",
                head / shared,
                heads.saturating_sub(1)
            )),
            RunError::HeadRange { heads, .. } => Some(format!("heads count from 0 to {}", heads.saturating_sub(1))),
            RunError::NeuronRange { width, .. } => Some(format!("neurons count from 0 to {}", width.saturating_sub(1))),
            RunError::PosRange { len: 0, .. } => Some("give a prompt of a token at least".into()),
            RunError::PosRange { len: 1, .. } => Some("the only position is 0".into()),
            RunError::PosRange { len, .. } => {
                Some(format!("positions count from 0 to {}, or from the end with -1 to -{len}", len - 1))
            }
            RunError::NoHeads { .. } => Some("sites with heads: `q k v rot_q rot_k attn_scores pattern z result`".into()),
            RunError::NoNeurons { .. } => Some("sites with neurons: `mlp_pre`, `mlp_post`".into()),
            RunError::TokenNotFound { tokens, .. } | RunError::SpanNotFound { tokens, .. } => listing(tokens),
            RunError::ValueShape { want, found, .. } if found.is_empty() => {
                let width = want.last().copied().unwrap_or(1);
                Some(format!("give a vector, like `zeros([{width}]) + 1.0`; for 0 there is `.zero()`"))
            }
            RunError::ValueShape { .. } => {
                Some("give a tensor of the selected shape, or one position's vector for all of them".into())
            }
            RunError::TraceLength { .. } => Some(
                "narrow the site to positions that both have, with `.at(…)`, or align the prompts with `.pad_left(…)`".into(),
            ),
            RunError::Overlap { .. } => {
                Some("patches are a set without order: write both changes as one `.edit(|x| …)`".into())
            }
            RunError::NeverFired { .. } => Some(
                "its `.steps(…)` name new tokens that no run read: generate more of them, drop `.steps(…)`, or add `.allow_noop()` if that may happen"
                    .into(),
            ),
            RunError::Noop { .. } => Some(
                "the value equals what the run has there already; if that is meant, add `.allow_noop()` to the patch".into(),
            ),
            RunError::GeneratedPos { .. } => {
                Some("drop `.at(…)` from a patch with `.steps(\"generated\")`: it applies to each new token".into())
            }
            RunError::MetricSet { .. } => Some("use `logprob_diff(a, b)`, which sums probabilities over sets".into()),
            RunError::LossEnding { last, .. } => {
                Some(format!("the prompt ends in `{}`; put what the loss is of at its end", last.join("` `")))
            }
            RunError::NoLossTokens => Some("name at least one token, and write what comes before it into the prompt".into()),
            RunError::InPrompt { one_list: true, error, .. } if error.is_of_patches() => Some(format!(
                "every prompt got this list; for a list each write one array a prompt: `[[…], […]]`{}",
                error.help().map_or(String::new(), |help| format!("; else: {help}"))
            )),
            RunError::InPrompt { error, .. } => error.help(),
            RunError::Donor { site, error } => {
                let help = error.help().map_or(String::new(), |help| format!("; {help}"));
                let site = site.split(" at ").next().unwrap_or_default();
                Some(format!(
                    "a position is looked up in the donor too; to read another one there, write `.set(donor[site(\"{site}\").at(…)])`{help}"
                ))
            }
            RunError::Full(full) => Some(full.help()),
            RunError::NoChoice { patches, .. } if !patches.is_empty() => Some(format!(
                "activations overflowed, or a patch brought NaN: look at the values of the patches on `{}`",
                patches.join("`, `")
            )),
            RunError::NoChoice { .. } => Some("activations overflowed: look at the model's weights and dtype".into()),
            RunError::NanLogits { .. } => Some(
                "activations overflowed, or a patch brought NaN: look at the patches' values, and at `trace.last` of the \
                 same run"
                    .into(),
            ),
            RunError::NanMetric { metric: "closure" } => {
                Some("see what it divides by, or takes the logarithm of".into())
            }
            RunError::NanMetric { .. } => Some("it compares infinite logits: look at `trace.last`".into()),
            RunError::NothingToRecover { .. } => {
                Some("check that the two prompts differ and that the metric tells them apart".into())
            }
            RunError::SweepSteps { .. } => Some("drop `.steps(…)`, or use `generate`".into()),
            _ => None,
        }
    }
}
