//! Why a run is refused. Every refusal comes before anything is computed, except that a patch which turns out to
//! change nothing can only be noticed afterwards.

use crate::count::count;
use crate::memory::Full;
use crate::model::ModelError;
use crate::model::sae::SaeError;

pub type Result<T> = std::result::Result<T, RunError>;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Model(ModelError),
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
    #[error("feature {feature} is listed twice")]
    FeatureTwice { feature: usize },
    #[error("`{site}`: an autoencoder reads whole rows, not one head or neuron")]
    FeaturesNarrowed { site: String },
    #[error("`{site}` cannot be patched: its features are read at one place and written at another")]
    Transcoder { site: String },
    #[error("{0}")]
    Sae(#[from] SaeError),
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
    #[error("a vocabulary of {before} tokens before and of {after} after")]
    Vocabularies { before: usize, after: usize },
    #[error("a mean over no traces")]
    NoTraces,
    #[error("`{site}`: a direction of length 0 cannot be projected out")]
    ZeroDirection { site: String },
    #[error("`{a}` and `{b}` change the same values, and their order would matter")]
    Overlap { a: String, b: String },
    /// Features of one autoencoder.
    #[error("`{a}` and `{b}` change the same activation, and their order would matter")]
    FeatureOverlap { a: String, b: String },
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
    /// `expected.json`, the reference beside a model, holds something else than its key says.
    #[error("`expected.json`: `{key}`: {reason}")]
    Reference { key: String, reason: String },
    #[error("{0}")]
    Closure(String),
}

impl From<ModelError> for RunError {
    /// What our own hook refused during a pass is ours again.
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Hook(error) => match error.downcast::<RunError>() {
                Ok(error) => *error,
                Err(error) => RunError::Model(ModelError::Hook(error)),
            },
            error => RunError::Model(error),
        }
    }
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
    pub fn is_of_patches(&self) -> bool {
        use RunError::{Donor, FeatureOverlap, NeverFired, Noop, Overlap, TraceLength, ValueShape};
        matches!(
            self,
            Donor { .. }
                | NeverFired { .. }
                | Noop { .. }
                | Overlap { .. }
                | FeatureOverlap { .. }
                | TraceLength { .. }
                | ValueShape { .. }
        )
    }
}
