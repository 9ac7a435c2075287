//! What can be done where a model, a tokenizer or a chat template cannot do what was asked.

use crate::help::Help;
use crate::model::ModelError;
use crate::model::chat::ChatError;
use crate::model::family::FAMILIES;
use crate::model::files::folder;
use crate::model::inside::LeadsOut;
use crate::model::sae::SaeError;
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
    ("ln_final.weight", "ln_final.w"),
    ("ln_f.weight", "ln_final.w"),
    ("model.norm.weight", "ln_final.w"),
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
            ModelError::Precision(_) => Some("use `highest` or `high`".into()),
            ModelError::NotQuantized(_) => {
                Some("drop `quantized`, or load a quantised `.gguf` file with `device: \"cpu\"`".into())
            }
            ModelError::Device(..) => Some("use `--device cpu`, or build with `--features cuda` on a machine with a card".into()),
            ModelError::Devices { .. } => {
                Some("name cards of one kind, each once, as in `--device cuda:0,cuda:1`".into())
            }
            ModelError::NoRoom { .. } => {
                Some("name more cards, as in `--device cuda:0,cuda:1`, or load fewer bytes a weight: `--dtype bf16`".into())
            }
            ModelError::CardWeights(_) => {
                Some("give what the weights may take of each card, as in `PATCHSCRIPT_CARD_WEIGHTS=12000000000`".into())
            }
            ModelError::NoWeight(name) => Some(match SHORT.iter().find(|(short, _)| short == name) {
                Some((_, whole)) => format!("did you mean `{whole}`?"),
                None =>
                "names are `embed.W_E`, `unembed.W_U`, `ln_final.w`, `blocks.3.attn.W_Q` (`W_K`, `W_V`, `W_O`), `blocks.3.mlp.W_in` \
                 (`W_out`, `W_gate`), `blocks.3.ln1.w` (`ln2.w`); biases have a `b`, as in `blocks.3.attn.b_Q`, `ln_final.b`"
                    .into(),
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

impl Help for SaeError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Model(error) => return error.help(),
            Self::Npz(error) => return error.help(),
            Self::Io { source, .. } => return LeadsOut::help(source),
            Self::NotFound(_) => "give a folder, a file, or `org/name/folder` on the Hub, as \
                `google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82`"
                .into(),
            Self::Unreadable(_) => "it is read from `cfg.json` with `sae.safetensors` (sparsify) or \
                `sae_weights.safetensors` (SAELens), from `params.npz` or `params.safetensors` (Gemma Scope), or from \
                what `.save` wrote; a repository holds one a folder"
                .into(),
            Self::UnknownKey { .. } => {
                "a setting that is not understood may change every feature, so the autoencoder is refused".into()
            }
            Self::MissingKey { .. } | Self::BadKey { .. } => "fetch the files again, or mend the config".into(),
            Self::MissingTensor { .. }
            | Self::ExtraTensor { .. }
            | Self::NoMatrix { .. }
            | Self::Shape { .. }
            | Self::Empty { .. }
            | Self::TopK { .. } => "fetch the files again, weights and config from the same place".into(),
            Self::TensorType { .. } => "save it as float32, float16 or bfloat16".into(),
            Self::NotFinite { .. } => "fetch the files again: features of these would all be lost".into(),
            Self::Scale { .. } => "give the factor that inputs are multiplied by, as `scale: 0.8`".into(),
            Self::Rows { .. } => "read them where the autoencoder reads: `trace[sae.at]`".into(),
            Self::NeedsInput { .. } => "give them too: `sae.decode(features, x)`".into(),
            Self::NoVariance { .. } => "give activations of more positions".into(),
            Self::FeatureRange { d_sae, .. } => format!("the last one is {}", d_sae - 1),
            Self::NoPlace { option, .. } => format!("say so, as in `#{{{option}: resid_post(12)}}`"),
            Self::UnknownPlace { .. } => {
                "if one of the sites means the same, give it: `#{site: mlp_out(3)}`".into()
            }
            Self::OtherPlace { .. } | Self::OtherModel { .. } => {
                "its features mean little elsewhere; if that is the question, add `force: true`".into()
            }
            Self::Absent { .. } | Self::Width { .. } => "load the model that it was trained on".into(),
        })
    }
}
