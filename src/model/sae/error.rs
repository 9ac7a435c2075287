//! What can go wrong between the files of an autoencoder and its features.

use std::path::PathBuf;

use crate::data::npz::NpzError;
use crate::model::error::ModelError;

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
