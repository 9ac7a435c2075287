//! Sparse autoencoders and transcoders: the activation at one place as a sum of few features, and back.
//!
//! [`Sae`] is one, with its shapes checked. Read in this order:
//! - the formulas of every kind: [`encode`];
//! - the names of where one reads and writes, and whether it is of a given model: [`place`];
//! - from a path, or a name on the Hub, to an autoencoder: [`open`], whose files [`formats`] reads;
//! - how much of activations one explains: [`measure`].
//!
//! [`error`] is what can go wrong in all of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod encode;
pub mod error;
pub mod formats;
pub mod measure;
pub mod open;
pub mod place;

pub use error::{Result, SaeError};
pub use measure::Explained;
pub use open::SaeOptions;

use super::hook::At;
use super::ops;
use super::weight::Weight;
use encode::Encoder;

/// How features are computed from what the encoder's matrix gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Those above 0.
    Standard,
    /// Those above a threshold of their own.
    #[serde(rename = "jumprelu")]
    JumpRelu,
    /// The `k` largest above 0, by what they add to the output where `by_decoder_norm`.
    #[serde(rename = "topk")]
    TopK { k: usize, by_decoder_norm: bool },
    /// A gate says which, another map how much.
    Gated,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Standard => "standard",
            Kind::JumpRelu => "jumprelu",
            Kind::TopK { .. } => "topk",
            Kind::Gated => "gated",
        }
    }
}

/// What is done to the input before it is encoded, and undone in the output. Transcoders' outputs are left as they
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    None,
    /// To the length `sqrt(d_in)`.
    ConstantNormRescale,
    /// To mean 0 and standard deviation 1 (ddof 1).
    LayerNorm,
    /// By one factor for all inputs, which is no part of the file.
    ExpectedAverageOnlyIn,
}

/// All of an autoencoder but its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    pub kind: Kind,
    pub normalize: Normalize,
    /// Is the output's bias taken from the input?
    pub apply_b_dec_to_input: bool,
    pub reads: At,
    /// The same place, but for transcoders.
    pub writes: At,
    /// The id of the model that it was trained on, where the file says so.
    pub model: Option<String>,
    /// Its name on Neuronpedia, as `gemma-2-2b/12-gemmascope-res-16k`.
    pub neuronpedia: Option<String>,
    /// Its config as it was read.
    pub cfg: Value,
}

impl About {
    /// Maps the activation at one place to that at another.
    pub fn transcodes(&self) -> bool {
        self.reads != self.writes
    }
}

/// A sparse autoencoder. Immutable, and shared by all that use it.
#[derive(Debug, Clone)]
pub struct Sae {
    pub about: About,
    /// `[d_in, d_sae]`
    w_enc: Weight,
    encoder: Encoder,
    /// `[d_sae, d_out]`
    w_dec: Weight,
    /// `[d_out]`
    b_dec: Tensor,
    /// `[d_in, d_out]`
    w_skip: Option<Weight>,
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    /// The files that it was read from.
    pub files: Vec<PathBuf>,
}

impl Sae {
    /// From float32 tensors by their names: `W_enc` `[d_in, d_sae]`, `W_dec` `[d_sae, d_out]`, `b_dec` `[d_out]`;
    /// `b_enc` `[d_sae]` and what the kind has besides (`threshold`; `b_gate`, `b_mag` and `r_mag` in the place of
    /// `b_enc`); `W_skip` `[d_out, d_in]` where there is one.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, not of this kind, or not finite.
    pub fn new(about: About, mut tensors: BTreeMap<String, Tensor>) -> Result<Sae> {
        let mut take = |name: &'static str| tensors.remove(name);
        let missing = |name| SaeError::MissingTensor { name };
        let (w_enc, w_dec) = (take("W_enc").ok_or(missing("W_enc"))?, take("W_dec").ok_or(missing("W_dec"))?);
        let (&[d_in, d_sae], &[rows, d_out]) = (w_enc.dims(), w_dec.dims()) else {
            let (name, found) = if w_enc.rank() == 2 { ("W_dec", &w_dec) } else { ("W_enc", &w_enc) };
            return Err(SaeError::NoMatrix { name, found: found.dims().to_vec() });
        };
        if d_in == 0 || d_sae == 0 || d_out == 0 {
            return Err(SaeError::Empty { d_in, d_sae, d_out });
        }
        expect("W_dec", &[rows, d_out], &[d_sae, d_out])?;
        let mut vector = |name: &'static str, len: usize| -> Result<Tensor> {
            let tensor = take(name).ok_or(missing(name))?;
            expect(name, tensor.dims(), &[len])?;
            Ok(tensor)
        };
        let b_dec = vector("b_dec", d_out)?;
        let mut host = |name| -> Result<Vec<f32>> { finite(name, vector(name, d_sae)?) };
        let encoder = match about.kind {
            Kind::Standard => Encoder::Relu { b_enc: host("b_enc")? },
            Kind::JumpRelu => Encoder::JumpRelu { b_enc: host("b_enc")?, threshold: host("threshold")? },
            Kind::Gated => {
                Encoder::Gated { b_gate: host("b_gate")?, b_mag: host("b_mag")?, r_mag: host("r_mag")? }
            }
            Kind::TopK { k, by_decoder_norm } => {
                if !(1..=d_sae).contains(&k) {
                    return Err(SaeError::TopK { k, d_sae });
                }
                let norms = || -> Result<Vec<f32>> { Ok(w_dec.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1()?) };
                let norms = by_decoder_norm.then(norms).transpose()?;
                Encoder::TopK { b_enc: host("b_enc")?, k, norms }
            }
        };
        let w_skip = take("W_skip");
        if let Some(w_skip) = &w_skip {
            expect("W_skip", w_skip.dims(), &[d_out, d_in])?;
        }
        if let Some(name) = tensors.into_keys().next() {
            return Err(SaeError::ExtraTensor { name, kind: about.kind.name() });
        }
        if about.apply_b_dec_to_input && d_in != d_out {
            return Err(SaeError::Shape { name: "b_dec", want: vec![d_in], found: vec![d_out] });
        }
        finite("b_dec", b_dec.clone())?;
        for (name, matrix) in [("W_enc", &w_enc), ("W_dec", &w_dec)] {
            // A sum is finite only where all are, but for sums beyond float32, which no weights have.
            finite(name, matrix.abs()?.max_all()?.reshape(1)?)?;
            finite(name, matrix.sum_all()?.reshape(1)?)?;
        }
        let dense = |matrix: Tensor| -> Result<Weight> { Ok(Weight::Dense(matrix.contiguous()?, None)) };
        let w_skip = w_skip
            .map(|skip| -> Result<Weight> { dense(ops::transpose(&skip.contiguous()?)?) })
            .transpose()?;
        let (w_enc, w_dec) = (dense(w_enc)?, dense(w_dec)?);
        Ok(Sae { about, w_enc, encoder, w_dec, b_dec, w_skip, d_in, d_sae, d_out, files: Vec::new() })
    }

    /// Width of what it reads.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Features.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// Width of what it writes.
    pub fn d_out(&self) -> usize {
        self.d_out
    }

    /// Its tensors as [`Sae::new`] takes them.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::from([
            ("W_enc".to_string(), self.w_enc.dense()?),
            ("W_dec".to_string(), self.w_dec.dense()?),
            ("b_dec".to_string(), self.b_dec.clone()),
        ]);
        if let Some(skip) = &self.w_skip {
            tensors.insert("W_skip".into(), ops::transpose(&skip.dense()?)?);
        }
        for (name, values) in self.encoder.vectors() {
            tensors.insert(name.into(), Tensor::new(values, self.b_dec.device())?);
        }
        Ok(tensors)
    }

    /// The direction that a feature adds to the output, `[d_out]`.
    pub fn direction(&self, feature: usize) -> Result<Tensor> {
        self.check_feature(feature)?;
        Ok(self.w_dec.dense()?.get(feature)?)
    }

    /// # Errors
    /// A feature that does not exist.
    pub fn check_feature(&self, feature: usize) -> Result<()> {
        match feature < self.d_sae {
            true => Ok(()),
            false => Err(SaeError::FeatureRange { feature, d_sae: self.d_sae }),
        }
    }

    /// The page of a feature on Neuronpedia, where its name there is known.
    pub fn link(&self, feature: usize) -> Option<String> {
        let name = self.about.neuronpedia.as_ref()?;
        Some(format!("https://www.neuronpedia.org/{name}/{feature}"))
    }

    /// An autoencoder of the same function for inputs that are not scaled by `factor` before: the factor of
    /// [`Normalize::ExpectedAverageOnlyIn`] becomes part of the weights.
    pub fn folded(self, factor: f64) -> Result<Sae> {
        if !(factor.is_finite() && factor > 0.0) {
            return Err(SaeError::Scale { factor });
        }
        let mut tensors = self.tensors()?;
        for (name, by) in [("W_enc", factor), ("W_dec", 1.0 / factor), ("b_dec", 1.0 / factor)] {
            if let Some(tensor) = tensors.get_mut(name) {
                *tensor = tensor.affine(by, 0.0)?;
            }
        }
        let about = About { normalize: Normalize::None, ..self.about };
        Ok(Sae { files: self.files, ..Sae::new(about, tensors)? })
    }
}

fn expect(name: &'static str, found: &[usize], want: &[usize]) -> Result<()> {
    match found == want {
        true => Ok(()),
        false => Err(SaeError::Shape { name, want: want.to_vec(), found: found.to_vec() }),
    }
}

/// The numbers of a vector.
fn finite(name: &'static str, vector: Tensor) -> Result<Vec<f32>> {
    let values: Vec<f32> = vector.to_dtype(DType::F32)?.to_vec1()?;
    match values.iter().find(|x| !x.is_finite()) {
        None => Ok(values),
        Some(value) => Err(SaeError::NotFinite { name, value: *value }),
    }
}
