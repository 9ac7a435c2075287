//! Training: epochs of Adam or EM, with validation, the best epoch at the end, and a state to go on from after each.
//!
//! [`begin`] holds what is asked against the rows and makes the parameters before the first epoch, [`epoch`] is one of Adam.

mod begin;
mod epoch;

use std::io::{self, Write};

use candle_core::Device;
use serde_json::json;

use super::adam::Learner;
use super::em;
use super::error::{MfaError, Result};
use super::kept::{Best, Kept};
use super::{Epoch, Mfa};
use crate::analysis::kmeans::{self, KMeansOptions};
use crate::data::rows::Rows;
use epoch::Place;

/// Where components begin.
#[derive(Debug, Clone)]
pub enum Init {
    /// At rows drawn at random, as in the original's published run.
    Rows,
    /// At the centres of k-means; its number of clusters is that of components, whatever its options say.
    KMeans(KMeansOptions),
    /// At these means, `[K, D]`.
    Centroids(Vec<f32>),
    /// At another mixture, of the same sizes.
    Mfa(Box<Mfa>),
}

impl Init {
    fn name(&self) -> &'static str {
        match self {
            Init::Rows => "rows",
            Init::KMeans(_) => "kmeans",
            Init::Centroids(_) => "centroids",
            Init::Mfa(_) => "mfa",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Gradients of batches of rows.
    Adam,
    /// Expectation and maximisation (Ghahramani and Hinton 1996) over all rows an epoch; of the options of Adam it has
    /// none.
    Em,
}

impl Method {
    pub fn name(self) -> &'static str {
        match self {
            Method::Adam => "adam",
            Method::Em => "em",
        }
    }
}

#[derive(Debug, Clone)]
pub struct TrainOptions {
    pub components: usize,
    pub rank: usize,
    pub psi_per_component: bool,
    pub init: Init,
    pub method: Method,
    pub epochs: usize,
    /// Rows a step; the last of an epoch may have fewer.
    pub batch: usize,
    pub lr: f64,
    /// Rows in another order every epoch?
    pub shuffle: bool,
    pub seed: u64,
    /// The longest gradient: longer ones are shortened to it.
    pub clip: Option<f64>,
    /// Steps after which an epoch ends.
    pub steps_per_epoch: Option<usize>,
    /// Epochs without a better one after which the training ends.
    pub patience: Option<usize>,
    /// Where Adam steps; EM and k-means run on the CPU.
    pub device: Device,
}

impl Default for TrainOptions {
    /// Those of the original, at a size that serves small models.
    fn default() -> Self {
        TrainOptions {
            components: 100,
            rank: 10,
            psi_per_component: false,
            init: Init::Rows,
            method: Method::Adam,
            epochs: 5,
            batch: 128,
            lr: 1e-3,
            shuffle: true,
            seed: 0,
            clip: None,
            steps_per_epoch: None,
            patience: None,
            device: Device::Cpu,
        }
    }
}

/// How far a training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// Centres are being looked for.
    KMeans(kmeans::Progress),
    Step {
        epoch: usize,
        step: usize,
        steps: usize,
        /// The mean negative log likelihood of the rows that this epoch has seen; NaN before the first.
        nll: f64,
    },
}

/// An epoch that is over.
pub struct Done<'a> {
    pub epoch: usize,
    pub entry: Epoch,
    /// Is it the best so far?
    pub best: bool,
    kept: &'a dyn Fn(&mut dyn Write) -> io::Result<()>,
}

impl Done<'_> {
    /// Writes what [`Kept::from_bytes`] reads, to go on from here.
    ///
    /// # Errors
    /// What `to` says.
    pub fn keep(&self, to: &mut dyn Write) -> io::Result<()> {
        (self.kept)(to)
    }
}

/// Who watches a training.
pub trait Watch {
    /// Asked before every step whether to go on.
    fn go_on(&mut self, _: Progress) -> bool {
        true
    }

    /// Told after every epoch.
    ///
    /// # Errors
    /// Where what was kept cannot be written, which ends the training.
    fn epoch(&mut self, _: &Done<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// Nobody.
impl Watch for () {}

/// Trains a mixture on rows; with what an earlier training `kept`, goes on after its last epoch and gives the same bytes
/// as if it had never ended. The same rows, options and instructions of the CPU, or the same card, give the same mixture.
///
/// The epoch of least negative log likelihood wins: that of `validation` at its end, or without it that of the rows
/// while it went on.
///
/// # Errors
/// Options out of range, rows that are too few or not finite, a state of another training, gradients that run away, a
/// `watch` that says no.
pub fn train(
    rows: &dyn Rows,
    validation: Option<&dyn Rows>,
    options: &TrainOptions,
    kept: Option<Kept>,
    watch: &mut dyn Watch,
) -> Result<Mfa> {
    let sizes = begin::check(rows, validation, options)?;
    let about = begin::About::of(rows)?;
    let identity = begin::identity(&about, validation, options)?;
    let mut kept = match kept {
        Some(kept) => {
            kept.check(&identity, sizes)?;
            kept
        }
        None => Kept {
            identity,
            learner: Learner::new(begin::parameters(rows, sizes, options, &about.mean, watch)?),
            shift: about.mean,
            history: Vec::new(),
            best: None,
        },
    };
    let mut place = Place::new(&kept.learner, options)?;
    while kept.history.len() < options.epochs && !is_over(&kept, options) {
        let epoch = kept.history.len();
        let train_nll = match options.method {
            Method::Adam => place.epoch(&mut kept, rows, options, epoch, watch)?,
            Method::Em => {
                let go_on = &mut |step, steps, nll| watch.go_on(Progress::Step { epoch, step, steps, nll });
                em::epoch(&mut kept.learner.parameters, rows, &kept.shift, epoch, go_on)?
            }
        };
        let val_nll = match validation {
            Some(validation) => {
                let nll = place.mean_nll(&kept, validation, options.batch)?;
                Some(nll.ok_or(MfaError::Diverged { epoch, step: 0 })?)
            }
            None => None,
        };
        let entry = Epoch { train_nll, val_nll };
        kept.history.push(entry);
        let metric = val_nll.unwrap_or(train_nll);
        let best = kept.best.as_ref().is_none_or(|best| metric < best.metric);
        if best {
            kept.best = Some(Best::of(epoch, metric, &kept.learner.parameters.arrays)?);
        }
        watch.epoch(&Done { epoch, entry, best, kept: &|to| kept.save(to) })?;
    }
    finish(kept, options)
}

/// The mixture of the best epoch.
fn finish(kept: Kept, options: &TrainOptions) -> Result<Mfa> {
    let Kept { learner, shift, history, best, .. } = kept;
    let mut parameters = learner.parameters;
    let best = match best {
        Some(best) => {
            if best.epoch + 1 < history.len() {
                best.restore(&mut parameters.arrays)?;
            }
            Some(best.epoch)
        }
        None => None,
    };
    let TrainOptions { batch, lr, seed, clip, .. } = *options;
    let training = json!({
        "method": options.method.name(), "init": options.init.name(), "epochs": history.len(), "best_epoch": best,
        "batch": batch, "lr": lr, "seed": seed, "clip": clip,
    });
    let mut mfa = Mfa::of(parameters, &shift)?;
    mfa.history = history;
    mfa.metadata.insert("training".into(), training.to_string());
    Ok(mfa)
}

fn is_over(kept: &Kept, options: &TrainOptions) -> bool {
    let best = kept.best.as_ref().map_or(0, |best| best.epoch + 1);
    options.patience.is_some_and(|patience| kept.history.len() >= best + patience)
}

#[cfg(test)]
mod tests;
