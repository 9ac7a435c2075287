//! What a training keeps after every epoch: all that it takes to go on as if it had not ended.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::adam::Learner;
use super::error::{MfaError, Result};
use super::file::{Part, numbers, write, write_numbers};
use super::parameters::{Arrays, Parameters};
use super::{Epoch, Sizes};

/// The key of the metadata.
const KEY: &str = "patchscript.mfa-training";

/// What says whether another training is the same: options and rows, by name.
pub(super) type Identity = BTreeMap<String, String>;

/// A training between two epochs.
#[derive(Debug)]
pub struct Kept {
    pub(super) identity: Identity,
    pub(super) learner: Learner,
    /// Taken from rows and means, `[D]`.
    pub(super) shift: Vec<f32>,
    pub(super) history: Vec<Epoch>,
    pub(super) best: Option<Best>,
}

/// The best epoch so far; its parameters wait on disk, so that a training holds them once.
#[derive(Debug)]
pub(super) struct Best {
    pub epoch: usize,
    pub metric: f64,
    file: File,
}

impl Best {
    pub fn of(epoch: usize, metric: f64, arrays: &Arrays<f32>) -> io::Result<Best> {
        let mut best = Best { epoch, metric, file: tempfile::tempfile()? };
        let mut to = BufWriter::new(&mut best.file);
        arrays.named().into_iter().try_for_each(|(_, values)| write_numbers(&mut to, values))?;
        to.flush()?;
        drop(to);
        Ok(best)
    }

    pub fn restore(&self, arrays: &mut Arrays<f32>) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        let mut from = BufReader::new(file);
        for (_, values) in arrays.named_mut() {
            for x in values {
                let mut bytes = [0; 4];
                from.read_exact(&mut bytes)?;
                *x = f32::from_le_bytes(bytes);
            }
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    identity: Identity,
    sizes: [usize; 3],
    psi_per_component: bool,
    eps_floor: f64,
    steps: u64,
    history: Vec<Epoch>,
    best_epoch: Option<usize>,
    metric: Option<f64>,
}

impl Kept {
    /// Epochs that are over.
    pub fn epochs(&self) -> usize {
        self.history.len()
    }

    /// # Errors
    /// A training of other rows, options or sizes.
    pub(super) fn check(&self, identity: &Identity, sizes: Sizes) -> Result<()> {
        let other = |name: &str, found: String, expected: String| {
            Err(MfaError::OtherTraining { name: name.into(), found, expected })
        };
        let own = self.learner.parameters.sizes;
        let sizes = [
            ("components", own.components, sizes.components),
            ("width", own.width, sizes.width),
            ("rank", own.rank, sizes.rank),
            ("psi_per_component", own.psi_per_component.into(), sizes.psi_per_component.into()),
        ];
        for (name, found, expected) in sizes {
            if found != expected {
                return other(name, found.to_string(), expected.to_string());
            }
        }
        for (name, expected) in identity {
            let found = self.identity.get(name).cloned().unwrap_or_default();
            if found != *expected {
                return other(name, found, expected.clone());
            }
        }
        Ok(())
    }

    pub(super) fn save(&self, to: &mut dyn Write) -> io::Result<()> {
        let Learner { parameters, first, second, steps, .. } = &self.learner;
        let Sizes { components, width, rank, psi_per_component } = parameters.sizes;
        let header = Header {
            identity: self.identity.clone(),
            sizes: [components, width, rank],
            psi_per_component,
            eps_floor: parameters.eps_floor,
            steps: *steps,
            history: self.history.clone(),
            best_epoch: self.best.as_ref().map(|best| best.epoch),
            metric: self.best.as_ref().map(|best| best.metric),
        };
        let metadata = BTreeMap::from([(KEY.to_string(), serde_json::to_string(&header)?)]);
        let mut named: Vec<(String, &[f32])> = vec![("shift".into(), &self.shift)];
        for (of, arrays) in [("value", &parameters.arrays), ("first", first), ("second", second)] {
            named.extend(arrays.named().map(|(name, values)| (format!("{of}.{name}"), values)));
        }
        let mut parts: Vec<Part<'_>> = Vec::new();
        for (name, values) in &named {
            let values: &[f32] = values;
            parts.push(Part {
                name,
                shape: vec![values.len()],
                write: Box::new(move |to| write_numbers(to, values)),
            });
        }
        if let Some(best) = &self.best {
            let len = parameters.arrays.named().iter().map(|(_, values)| values.len()).sum();
            let copy = move |to: &mut dyn Write| {
                let mut file = &best.file;
                file.rewind()?;
                io::copy(&mut file.take(4 * len as u64), to).map(|_| ())
            };
            parts.push(Part { name: "best", shape: vec![len], write: Box::new(copy) });
        }
        write(to, &metadata, &parts)
    }

    /// What [`super::train::Done::keep`] wrote.
    ///
    /// # Errors
    /// Bytes of anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Kept> {
        let broken = |error: String| MfaError::NotSafetensors(error);
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| broken(error.to_string()))?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| broken(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or(MfaError::NoTraining)?;
        let header: Header = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        let [components, width, rank] = header.sizes;
        let sizes = Sizes { components, width, rank, psi_per_component: header.psi_per_component }.check()?;
        // The file holds what is made room for.
        let whole = |name: &'static str, expected: usize| {
            let tensor = tensors.tensor(name).map_err(|_| MfaError::MissingTensor { name })?;
            let values = numbers(name, &tensor)?;
            match values.len() == expected {
                true => Ok(values),
                false => Err(MfaError::Size { name, found: values.len(), expected }),
            }
        };
        let [rows, scales, noise] = [components * sizes.block(), components * rank, sizes.noise()];
        let arrays = |names: [&'static str; 4]| -> Result<Arrays<f32>> {
            Ok(Arrays {
                rows: whole(names[0], rows)?,
                scale_rho: whole(names[1], scales)?,
                psi_rho: whole(names[2], noise)?,
                pi_logits: whole(names[3], components)?,
            })
        };
        let values = arrays(["value.rows", "value.scale_rho", "value.psi_rho", "value.pi_logits"])?;
        let parameters = Parameters { sizes, arrays: values, eps_floor: header.eps_floor };
        parameters.check()?;
        let mut learner = Learner::new(parameters);
        learner.first = arrays(["first.rows", "first.scale_rho", "first.psi_rho", "first.pi_logits"])?;
        learner.second = arrays(["second.rows", "second.scale_rho", "second.psi_rho", "second.pi_logits"])?;
        learner.steps = header.steps;
        let best = match header.best_epoch.zip(header.metric) {
            Some((epoch, metric)) => {
                let values = whole("best", rows + scales + noise + components)?;
                let mut best = Best { epoch, metric, file: tempfile::tempfile()? };
                write_numbers(&mut best.file, &values)?;
                Some(best)
            }
            None => None,
        };
        Ok(Kept {
            identity: header.identity,
            learner,
            shift: whole("shift", width)?,
            history: header.history,
            best,
        })
    }
}
