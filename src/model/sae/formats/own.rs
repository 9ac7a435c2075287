//! Our own: one safetensors file, with all but the numbers as its metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Draft, Named, tensors};
use crate::model::ModelError;
use crate::model::sae::error::{Result, SaeError};
use crate::model::sae::{About, Kind, Normalize, Sae};

/// The key of the metadata.
const KEY: &str = "patchscript.sae";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: Kind,
    normalize: Normalize,
    apply_b_dec_to_input: bool,
    reads: String,
    writes: String,
    model: Option<String>,
    neuronpedia: Option<String>,
    cfg: Value,
}

/// Whether `.save` wrote this file.
pub(super) fn is_one(path: &Path) -> Result<bool> {
    Ok(tensors::metadata(path, KEY)?.is_some())
}

pub(super) fn read(path: &Path) -> Result<Draft> {
    let text = tensors::metadata(path, KEY)?.unwrap_or_default();
    let header: Header =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.into(), source })?;
    Ok(Draft {
        kind: header.kind,
        normalize: header.normalize,
        apply_b_dec_to_input: header.apply_b_dec_to_input,
        writes: (header.writes != header.reads).then(|| Named::parse(&header.writes)),
        reads: Some(Named::parse(&header.reads)),
        model: header.model,
        neuronpedia: header.neuronpedia,
        cfg: header.cfg,
        tensors: tensors::safetensors(path)?,
        files: vec![path.into()],
    })
}

impl Sae {
    /// The bytes of a file that [`Sae::load`] reads; the same for the same autoencoder.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let About { kind, normalize, apply_b_dec_to_input, reads, writes, .. } = self.about;
        let header = Header {
            kind,
            normalize,
            apply_b_dec_to_input,
            reads: reads.to_string(),
            writes: writes.to_string(),
            model: self.about.model.clone(),
            neuronpedia: self.about.neuronpedia.clone(),
            cfg: self.about.cfg.clone(),
        };
        let unwritten = |error: String| SaeError::Model(ModelError::Tensor(error));
        let header = serde_json::to_string(&header).map_err(|error| unwritten(error.to_string()))?;
        let mut parts = Vec::new();
        for (name, tensor) in self.tensors()? {
            let values: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            parts.push((name, tensor.dims().to_vec(), Cow::from(bytes)));
        }
        let views = parts.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views = views.collect::<std::result::Result<Vec<_>, _>>();
        let metadata = HashMap::from([(KEY.to_string(), header)]);
        let bytes = views.and_then(|views| serialize(views, Some(metadata)));
        bytes.map_err(|error| unwritten(error.to_string()))
    }
}
