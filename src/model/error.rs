//! What can go wrong between a model's files and its logits.

use std::path::PathBuf;

pub type Result<T> = std::result::Result<T, ModelError>;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("no model at `{0}`")]
    NotFound(String),
    #[error("`{}` holds no weights that can be read, but {}", folder.display(), what.found)]
    OtherWeights { folder: PathBuf, what: super::files::folder::Other },
    #[error("`{}` holds an adapter, `{file}`, which would change the weights and is not applied", folder.display())]
    Adapter { folder: PathBuf, file: String },
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("model family `{0}` is not supported")]
    UnknownFamily(String),
    #[error("GGUF files of family `{0}` are not supported")]
    NoGguf(String),
    #[error("`config.json` lacks `{0}`")]
    MissingKey(String),
    #[error("`config.json`: `{key}` is {found}, expected {expected}")]
    BadKey { key: String, expected: &'static str, found: String },
    #[error("`config.json` sets `{key}` to {value}, which patchscript does not understand")]
    UnknownKey { key: String, value: String },
    #[error("weights do not fit `config.json`: {}", .0.join("; "))]
    Weights(Vec<String>),
    #[error("`{}` cannot be read as safetensors: {reason}", path.display())]
    Safetensors { path: PathBuf, reason: String },
    #[error("{0}")]
    Gguf(#[from] super::gguf::GgufError),
    #[error("{0}")]
    Tokenizer(#[from] super::tokenizer::TokenizerError),
    #[error("{0}")]
    Chat(#[from] super::chat::ChatError),
    #[error("{0}")]
    Hub(#[from] super::hub::HubError),
    #[error("`{0}` has no tokenizer")]
    NoTokenizer(String),
    #[error("`{0}` has no chat template")]
    NoChatTemplate(String),
    #[error("a prompt needs at least one token")]
    EmptyPrompt,
    #[error("{len} tokens are more than this model's context of {n_ctx}")]
    TooLong { len: usize, n_ctx: usize },
    #[error(
        "a generation of {len} tokens is beyond the model's first context, where `rope_type` is `dynamic`"
    )]
    TurnsWithLength { len: usize },
    #[error("token id {id} is outside the vocabulary of {d_vocab}")]
    BadToken { id: u32, d_vocab: usize },
    #[error("device `{0}` is not available: {1}")]
    Device(String, String),
    #[error("device `{given}` {problem}")]
    Devices { given: String, problem: String },
    /// Bytes: of the weights, and that all devices can hold.
    #[error("the weights take {}, and there is room for {}", gib(*.weights), gib(*.room))]
    NoRoom { weights: usize, room: usize },
    #[error("`{variable}` is `{0}`, expected bytes", variable = super::files::open::CARD_WEIGHTS)]
    CardWeights(String),
    #[error("dtype `{0}` is not supported on {1}")]
    Dtype(String, String),
    #[error("precision `{0}` is not known")]
    Precision(String),
    #[error("{0}")]
    Isa(#[from] super::cpu::isa::UnknownIsa),
    #[error("quantized weights need {0}")]
    NotQuantized(String),
    #[error("this model has no weight `{0}`")]
    NoWeight(String),
    #[error("interrupted")]
    Interrupted,
    /// What the pass's [`Hook`](super::Hook) refused, as it is.
    #[error("{0}")]
    Hook(Box<dyn std::error::Error + Send + Sync>),
    #[error("tensor operation failed: {0}")]
    Tensor(String),
}

fn gib(bytes: usize) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

impl From<candle_core::Error> for ModelError {
    /// Keeps the first line: candle appends a backtrace when one is enabled.
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        ModelError::Tensor(text.lines().next().unwrap_or_default().to_string())
    }
}
