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
    #[error("dtype `{0}` is not supported on {1}")]
    Dtype(String, String),
    #[error("{0}")]
    Isa(#[from] super::cpu::isa::UnknownIsa),
    #[error("quantized weights need {0}")]
    NotQuantized(String),
    #[error("this model has no weight `{0}`")]
    NoWeight(String),
    #[error("interrupted")]
    Interrupted,
    /// A refusal of the layer above (a patch that does not fit), carried through the forward pass.
    #[error("{message}")]
    Refused { message: String, help: Option<String> },
    #[error("tensor operation failed: {0}")]
    Tensor(String),
}

/// Weights by the last part of their name, and the whole.
const SHORT: &[(&str, &str)] = &[
    ("W_E", "embed.W_E"),
    ("W_U", "unembed.W_U"),
    ("W_Q", "blocks.0.attn.W_Q"),
    ("W_K", "blocks.0.attn.W_K"),
    ("W_V", "blocks.0.attn.W_V"),
    ("W_O", "blocks.0.attn.W_O"),
    ("W_in", "blocks.0.mlp.W_in"),
    ("W_out", "blocks.0.mlp.W_out"),
    ("W_gate", "blocks.0.mlp.W_gate"),
];

impl From<candle_core::Error> for ModelError {
    /// Keeps the first line: candle appends a backtrace when one is enabled.
    fn from(error: candle_core::Error) -> Self {
        let text = error.to_string();
        ModelError::Tensor(text.lines().next().unwrap_or_default().to_string())
    }
}

impl ModelError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            ModelError::NotFound(_) => Some(
                "give a folder in Hugging Face layout, a `.gguf` file, or `org/name` on the Hub, like `openai-community/gpt2`".into(),
            ),
            ModelError::OtherWeights { what, .. } => Some(what.cure.clone()),
            ModelError::Adapter { file, .. } => Some(super::files::folder::adapter_cure(file)),
            ModelError::EmptyPrompt => Some("give a text that is not empty, or ids: `m.tokens([1, 2, 3])`".into()),
            ModelError::UnknownFamily(_) => {
                let names: Vec<_> = super::family::FAMILIES.iter().map(|f| format!("`{}`", f.arch)).collect();
                Some(format!("supported families: {}", names.join(", ")))
            }
            ModelError::NoGguf(_) => Some("give the model as a folder in Hugging Face layout".into()),
            ModelError::UnknownKey { .. } => {
                Some("a setting that is not understood may change every number, so the model is refused".into())
            }
            ModelError::Weights(_) => {
                Some("fetch the files again, weights and `config.json` from the same place".into())
            }
            ModelError::Safetensors { .. } => {
                Some("the file may have been cut short: fetch it again".into())
            }
            ModelError::Io { source, .. } => super::inside::LeadsOut::help(source),
            ModelError::Gguf(e) => e.help(),
            ModelError::Tokenizer(e) => e.help(),
            ModelError::Chat(e) => e.help(),
            ModelError::Hub(e) => e.help(),
            ModelError::Isa(e) => Some(e.help()),
            ModelError::NoTokenizer(_) => {
                Some("pass token ids: `m.tokens([1, 2, 3])`, or put a `tokenizer.json` beside the weights".into())
            }
            ModelError::TurnsWithLength { .. } => Some(
                "there every new token changes the keys of all others, which are kept: generate fewer tokens, or `trace` \
                 one text after the other"
                    .into(),
            ),
            ModelError::TooLong { .. } => Some("shorten the prompt or generate fewer tokens".into()),
            ModelError::Dtype(..) => Some("use `f32`".into()),
            ModelError::NotQuantized(_) => {
                Some("drop `quantized`, or load a quantised `.gguf` file with `device: \"cpu\"`".into())
            }
            ModelError::Device(..) => Some("use `--device cpu`, or build with `--features cuda` on a machine with a card".into()),
            ModelError::NoWeight(name) => Some(match SHORT.iter().find(|(short, _)| short == name) {
                Some((_, whole)) => format!("did you mean `{whole}`?"),
                None =>
                "names are `embed.W_E`, `unembed.W_U`, `blocks.3.attn.W_Q` (`W_K`, `W_V`, `W_O`), `blocks.3.mlp.W_in` (`W_out`, `W_gate`)".into(),
            }),
            ModelError::Refused { help, .. } => help.clone(),
            _ => None,
        }
    }
}
