//! What can be done where a model, a tokenizer or a chat template cannot do what was asked.

use crate::help::Help;
use crate::model::ModelError;
use crate::model::chat::ChatError;
use crate::model::family::FAMILIES;
use crate::model::files::folder;
use crate::model::inside::LeadsOut;
use crate::model::tokenizer::{TokenizerError, quoted};

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

impl Help for ModelError {
    fn help(&self) -> Option<String> {
        match self {
            ModelError::NotFound(_) => Some(
                "give a folder in Hugging Face layout, a `.gguf` file, or `org/name` on the Hub, like `openai-community/gpt2`".into(),
            ),
            ModelError::OtherWeights { what, .. } => Some(what.cure.clone()),
            ModelError::Adapter { file, .. } => Some(folder::adapter_cure(file)),
            ModelError::EmptyPrompt => Some("give a text that is not empty, or ids: `m.tokens([1, 2, 3])`".into()),
            ModelError::UnknownFamily(_) => {
                let names: Vec<_> = FAMILIES.iter().map(|f| format!("`{}`", f.arch)).collect();
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
            ModelError::Io { source, .. } => LeadsOut::help(source),
            ModelError::Gguf(e) => e.help(),
            ModelError::Tokenizer(e) => e.help(),
            ModelError::Chat(e) => e.help(),
            ModelError::Hub(e) => e.help(),
            ModelError::Isa(e) => e.help(),
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
            _ => None,
        }
    }
}

impl Help for TokenizerError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Missing { folder } => Some(format!(
                "put the model's `tokenizer.json` into `{}`, or give token ids",
                folder.display()
            )),
            Self::LeadsOut { help, .. } => Some(help.clone()),
            Self::Gguf(error) => error.help(),
            Self::UnknownKind { .. } => Some("use the model's folder with `tokenizer.json` instead".into()),
            Self::NoBos => Some("leave out `bos: true`".into()),
            Self::NoToken => Some("give a string that is one token, for example `\" the\"`".into()),
            Self::SeveralTokens { single, .. } if !single.is_empty() => {
                Some(format!("one token each: {}", quoted(single)))
            }
            Self::SeveralTokens { text, pieces, .. } => {
                let first = pieces.first()?;
                Some(format!(
                    "no spelling of it is one token: choose words that are, compare texts token by token with `loss(\"{text}\")`, \
                     or ask for its first piece alone, `{first}`, which other words share"
                ))
            }
            _ => None,
        }
    }
}

impl Help for ChatError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Gguf(error) => error.help(),
            Self::Tokenizer(error) => error.help(),
            Self::Refused(_) => Some("change the roles or their order as the template asks".into()),
            Self::Excess(_) => Some("the template is at fault: write the text without `chat`".into()),
            Self::Empty => Some("give messages such as `[#{role: \"user\", content: \"hello\"}]`".into()),
            Self::BothEnds => {
                Some("drop `add_generation_prompt` to continue the last message, `continue_final` to begin a new one".into())
            }
            Self::FinalLost => Some("drop `continue_final`, or let the last message be the assistant's".into()),
            Self::File(_) | Self::Template(_) => None,
        }
    }
}
