//! A mixture's file: safetensors with the tensors of the original and what it says of them as metadata.

use std::collections::BTreeMap;
use std::io::{self, Write};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

use super::error::{MfaError, Result};
use super::parameters::EPS_FLOOR;
use super::{Mfa, Sizes, Stored};

/// Tensors of the original that turn the directions when they are shown.
const ROTATIONS: [&str; 2] = ["_rot_T", "_rot_inv_Tt"];
const HISTORY: &str = "history";
/// What the metadata says of the tensors themselves.
const OWN: [&str; 8] = ["cls", "version", "K", "D", "q", "rank", "psi_per_component", "eps_floor"];

pub(super) type Writing<'a> = dyn Fn(&mut dyn Write) -> io::Result<()> + 'a;

/// A tensor to be written, and how.
pub(super) struct Part<'a> {
    pub name: &'a str,
    pub shape: Vec<usize>,
    pub write: Box<Writing<'a>>,
}

/// Writes safetensors of float32 numbers one after the other, without a copy of them; the same bytes for the same.
pub(super) fn write(
    to: &mut dyn Write,
    metadata: &BTreeMap<String, String>,
    parts: &[Part<'_>],
) -> io::Result<()> {
    let mut header = Map::from_iter([("__metadata__".to_string(), json!(metadata))]);
    let mut first = 0;
    for Part { name, shape, .. } in parts {
        let end = first + 4 * shape.iter().product::<usize>();
        header
            .insert(name.to_string(), json!({"dtype": "F32", "shape": shape, "data_offsets": [first, end]}));
        first = end;
    }
    let mut header = serde_json::to_vec(&Value::Object(header))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    parts.iter().try_for_each(|part| (part.write)(to))
}

pub(super) fn write_numbers(to: &mut dyn Write, values: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * values.len().min(1 << 14));
    for values in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

impl Mfa {
    /// Writes what [`Mfa::from_bytes`] reads; the same bytes for the same mixture.
    ///
    /// # Errors
    /// What `to` says.
    pub fn save(&self, to: &mut dyn Write) -> io::Result<()> {
        let Sizes { components, width, rank, psi_per_component } = self.sizes();
        let mut metadata = self.metadata.clone();
        let own = [
            ("cls", "MFA".to_string()),
            ("version", "1".into()),
            ("K", components.to_string()),
            ("D", width.to_string()),
            ("q", rank.to_string()),
            ("psi_per_component", psi_per_component.to_string()),
            ("eps_floor", self.eps_floor().to_string()),
            (HISTORY, serde_json::to_string(&self.history)?),
        ];
        metadata.extend(own.map(|(key, value)| (key.to_string(), value)));
        let arrays = &self.parameters.arrays;
        fn part<'a>(name: &'a str, shape: Vec<usize>, values: &'a [f32]) -> Part<'a> {
            Part { name, shape, write: Box::new(|to| write_numbers(to, values)) }
        }
        let noise = if psi_per_component { vec![components, width] } else { vec![width] };
        let ones = vec![1.0; rank];
        let directions = move |to: &mut dyn Write| {
            (0..components).try_for_each(|k| write_numbers(to, &self.transposed(k, &ones)))
        };
        write(
            to,
            &metadata,
            &[
                part("mu", vec![components, width], &self.mu),
                Part { name: "dir_raw", shape: vec![components, width, rank], write: Box::new(directions) },
                part("scale_rho", vec![components, rank], &arrays.scale_rho),
                part("psi_rho", noise, &arrays.psi_rho),
                part("pi_logits", vec![components], &arrays.pi_logits),
            ],
        )
    }

    /// The mixture that a file holds: one that [`Mfa::save`] wrote, or what the original keeps, as safetensors.
    ///
    /// # Errors
    /// A file of another kind, tensors that are missing, are too many or do not fit together, numbers that are not
    /// finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Mfa> {
        let broken = |error: safetensors::SafeTensorError| match is_of_pytorch(bytes) {
            true => MfaError::PyTorch,
            false => MfaError::NotSafetensors(error.to_string()),
        };
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let mut metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();

        let known = ["mu", "dir_raw", "scale_rho", "psi_rho", "pi_logits"];
        let extra =
            tensors.names().into_iter().filter(|name| !known.contains(name) && !ROTATIONS.contains(name));
        if let Some(name) = extra.min() {
            return Err(MfaError::ExtraTensor { name: name.to_string() });
        }
        let find = |name| tensors.tensor(name).map_err(|_| MfaError::MissingTensor { name });
        let [mu, dir_raw, scale_rho, psi_rho, pi_logits] = known.map(find);
        let (mu, dir_raw, scale_rho) = (mu?, dir_raw?, scale_rho?);
        let (psi_rho, pi_logits) = (psi_rho?, pi_logits?);
        let &[components, width, rank] = dir_raw.shape() else {
            let (found, expected) = (dir_raw.shape().to_vec(), "three axes".into());
            return Err(MfaError::Shape { name: "dir_raw", found, expected });
        };
        let psi_per_component = psi_rho.shape().len() == 2;
        let noise = if psi_per_component { vec![components, width] } else { vec![width] };
        let expected = [
            ("mu", &mu, vec![components, width]),
            ("scale_rho", &scale_rho, vec![components, rank]),
            ("psi_rho", &psi_rho, noise),
            ("pi_logits", &pi_logits, vec![components]),
        ];
        for (name, tensor, expected) in expected {
            if tensor.shape() != expected {
                let (found, expected) = (tensor.shape().to_vec(), format!("{expected:?}"));
                return Err(MfaError::Shape { name, found, expected });
            }
        }
        for name in ROTATIONS {
            if let Ok(rotation) = tensors.tensor(name) {
                check_identity(&numbers(name, &rotation)?, rotation.shape(), [components, rank])?;
            }
        }
        let sizes = Sizes { components, width, rank, psi_per_component };
        let eps_floor = check_metadata(&metadata, sizes)?;
        let history = match metadata.remove(HISTORY) {
            Some(text) => serde_json::from_str(&text).map_err(|error| MfaError::Metadata {
                name: HISTORY,
                found: error.to_string(),
                expected: "the epochs of a training".into(),
            })?,
            None => Vec::new(),
        };
        metadata.retain(|key, _| !OWN.contains(&key.as_str()));
        let stored = Stored {
            sizes,
            mu: numbers("mu", &mu)?,
            dir_raw: numbers("dir_raw", &dir_raw)?,
            scale_rho: numbers("scale_rho", &scale_rho)?,
            psi_rho: numbers("psi_rho", &psi_rho)?,
            pi_logits: numbers("pi_logits", &pi_logits)?,
            eps_floor,
        };
        Ok(Mfa { history, metadata, ..Mfa::new(stored)? })
    }
}

/// PyTorch writes zip archives, and long ago wrote pickles.
fn is_of_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02")
}

/// A tensor's numbers as float32.
pub(super) fn numbers(name: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>> {
    fn read<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }
    let bytes = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::F32 => read(bytes, f32::from_le_bytes),
        Dtype::F64 => read(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::BF16 => read(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::F16 => read(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        dtype => return Err(MfaError::TensorType { name: name.into(), dtype: format!("{dtype:?}") }),
    })
}

/// Rotations are shown, not computed with: one that turns nothing is as good as none.
fn check_identity(values: &[f32], shape: &[usize], [components, q]: [usize; 2]) -> Result<()> {
    let turns = |(at, x): (usize, &f32)| *x != if at / q % q == at % q { 1.0 } else { 0.0 };
    match shape == [components, q, q] && !values.iter().enumerate().any(turns) {
        true => Ok(()),
        false => Err(MfaError::Rotated),
    }
}

/// What is added to the noise; what the metadata says of sizes must be true.
fn check_metadata(metadata: &BTreeMap<String, String>, sizes: Sizes) -> Result<f64> {
    let Sizes { components, width, rank, psi_per_component } = sizes;
    let said = [("K", components), ("D", width), ("q", rank), ("rank", rank)];
    for (name, expected) in said {
        if let Some(found) = metadata.get(name).filter(|found| **found != expected.to_string()) {
            return Err(MfaError::Metadata { name, found: found.clone(), expected: expected.to_string() });
        }
    }
    let name = "psi_per_component";
    if let Some(found) =
        metadata.get(name).filter(|found| !found.eq_ignore_ascii_case(&psi_per_component.to_string()))
    {
        return Err(MfaError::Metadata {
            name,
            found: found.clone(),
            expected: psi_per_component.to_string(),
        });
    }
    let name = "eps_floor";
    match metadata.get(name) {
        // The two programs of the original differ, in what they add and in how they call the rank.
        None => Ok(if metadata.contains_key("q") { 1e-8 } else { EPS_FLOOR }),
        Some(found) => match found.parse::<f64>() {
            Ok(eps) if eps.is_finite() && eps >= 0.0 => Ok(eps),
            _ => Err(MfaError::Metadata { name, found: found.clone(), expected: "a number from 0".into() }),
        },
    }
}
