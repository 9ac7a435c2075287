//! What can go wrong between the files of an autoencoder and its features.

use std::path::PathBuf;

use crate::data::npz::NpzError;
use crate::model::error::ModelError;
use crate::model::files::inside::LeadsOut;

pub type Result<T> = std::result::Result<T, SaeError>;

#[derive(Debug, thiserror::Error)]
pub enum SaeError {
    #[error("{0}")]
    Model(#[from] ModelError),
    #[error("no autoencoder at `{0}`")]
    NotFound(String),
    #[error("`{}` holds no autoencoder that can be read", .0.display())]
    Unreadable(PathBuf),
    #[error("cannot read `{}`: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Npz(#[from] NpzError),
    #[error("`{file}` lacks `{key}`")]
    MissingKey { file: String, key: String },
    #[error("`{file}`: `{key}` is {found}, expected {expected}")]
    BadKey { file: String, key: String, found: String, expected: &'static str },
    #[error("`{file}` sets `{key}` to {value}, which patchscript does not understand")]
    UnknownKey { file: String, key: String, value: String },
    #[error("the autoencoder has no tensor `{name}`")]
    MissingTensor { name: &'static str },
    #[error("the autoencoder has a tensor `{name}`, which none of kind `{kind}` has")]
    ExtraTensor { name: String, kind: &'static str },
    #[error("tensor `{name}` is of type {dtype}")]
    TensorType { name: String, dtype: String },
    #[error("`{name}` has shape {found:?}, expected two axes")]
    NoMatrix { name: &'static str, found: Vec<usize> },
    #[error("`{name}` has shape {found:?}, expected {want:?}")]
    Shape { name: &'static str, want: Vec<usize>, found: Vec<usize> },
    #[error("an autoencoder from {d_in} numbers over {d_sae} features to {d_out} does nothing")]
    Empty { d_in: usize, d_sae: usize, d_out: usize },
    #[error("`{name}` holds {value}")]
    NotFinite { name: &'static str, value: f32 },
    #[error("the {k} largest of {d_sae} features cannot be taken")]
    TopK { k: usize, d_sae: usize },
    #[error("a scale of {factor} is not a number above 0")]
    Scale { factor: f64 },
    #[error("expected {what} of shape [rows, {width}], found {found:?}")]
    Rows { what: &'static str, width: usize, found: Vec<usize> },
    #[error("this autoencoder decodes by the activations that were encoded, {rows} of them")]
    NeedsInput { rows: usize },
    #[error("no variance can be explained in {rows} rows that are all the same")]
    NoVariance { rows: usize },
    #[error("feature {feature} does not exist: the autoencoder has {d_sae}")]
    FeatureRange { feature: usize, d_sae: usize },
    #[error("the files do not say {what}")]
    NoPlace { what: &'static str, option: &'static str },
    #[error("`{text}` names no place that patchscript knows")]
    UnknownPlace { text: String },
    #[error("the autoencoder {verb} `{own}`, not `{given}`")]
    OtherPlace { verb: &'static str, own: String, given: String },
    #[error("the autoencoder is of `{own}`, not of `{given}`")]
    OtherModel { own: String, given: String },
    #[error("the autoencoder {verb} `{place}`, which `{model}` does not have: {why}")]
    Absent { verb: &'static str, place: String, model: String, why: String },
    #[error("the autoencoder {verb} {own} numbers at `{place}`, where `{model}` has {found}")]
    Width { verb: &'static str, place: String, own: usize, model: String, found: usize },
}

impl From<candle_core::Error> for SaeError {
    fn from(error: candle_core::Error) -> Self {
        SaeError::Model(error.into())
    }
}

impl SaeError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
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
