//! Training: epochs of Adam or EM, with validation, the best epoch at the end, and a state to go on from after each.

use std::io::{self, Write};

use serde_json::json;

use super::adam::Learner;
use super::density::{Block, Densities, block_rows};
use super::em;
use super::error::{MfaError, Result};
use super::forms::Forms;
use super::kept::{Best, Identity, Kept};
use super::parameters::{EPS_FLOOR, Parameters};
use super::{Epoch, Mfa, Sizes};
use crate::analysis::kmeans::{self, KMeansOptions, Metric};
use crate::data::random::Generator;
use crate::data::rows::Rows;

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
/// as if it had never ended. The same rows, options and instructions of the CPU give the same mixture.
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
    let sizes = check(rows, validation, options)?;
    let shift = mean(rows)?;
    let identity = identity(rows, validation, options);
    let mut kept = match kept {
        Some(kept) => {
            kept.check(&identity, sizes)?;
            kept
        }
        None => Kept {
            identity,
            learner: Learner::new(begin(rows, sizes, options, &shift, watch)?),
            shift,
            history: Vec::new(),
            best: None,
        },
    };
    while kept.history.len() < options.epochs && !is_over(&kept, options) {
        let epoch = kept.history.len();
        let train_nll = match options.method {
            Method::Adam => adam_epoch(&mut kept, rows, options, epoch, watch)?,
            Method::Em => {
                let go_on = &mut |step, steps, nll| watch.go_on(Progress::Step { epoch, step, steps, nll });
                em::epoch(&mut kept.learner.parameters, rows, &kept.shift, epoch, go_on)?
            }
        };
        let val_nll = match validation {
            Some(validation) => {
                let nll = mean_nll(&kept.learner.parameters, &kept.shift, validation)?;
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

fn check(rows: &dyn Rows, validation: Option<&dyn Rows>, options: &TrainOptions) -> Result<Sizes> {
    let TrainOptions { components, rank, psi_per_component, .. } = *options;
    let width = rows.width();
    let sizes = Sizes { components, width, rank, psi_per_component }.check()?;
    if rows.len() < components {
        return Err(MfaError::Few { rows: rows.len(), components });
    }
    if let Some(validation) = validation {
        let found = validation.width();
        if found != width {
            return Err(MfaError::Width { found, expected: width });
        }
        if validation.is_empty() {
            return Err(MfaError::Few { rows: 0, components });
        }
    }
    let refused = |name, found: String, expected: &str| {
        Err(MfaError::Option { name, found, expected: expected.into() })
    };
    let counts = [
        ("epochs", Some(options.epochs)),
        ("batch", Some(options.batch)),
        ("steps_per_epoch", options.steps_per_epoch),
        ("patience", options.patience),
    ];
    for (name, count) in counts {
        if count == Some(0) {
            return refused(name, "0".into(), "a number above 0");
        }
    }
    for (name, number) in [("lr", Some(options.lr)), ("clip", options.clip)] {
        if let Some(number) = number.filter(|x| !(x.is_finite() && *x > 0.0)) {
            return refused(name, number.to_string(), "a number above 0");
        }
    }
    match &options.init {
        Init::Centroids(means) if means.len() != components * width => {
            Err(MfaError::Size { name: "init", found: means.len(), expected: components * width })
        }
        Init::Centroids(means) => match means.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(MfaError::NotFinite { name: "init", value: (*x).into() }),
            None => Ok(sizes),
        },
        Init::Mfa(mfa) if mfa.width() != width => {
            Err(MfaError::Width { found: width, expected: mfa.width() })
        }
        Init::Mfa(mfa) if mfa.sizes() != sizes => {
            let Sizes { components, rank, .. } = mfa.sizes();
            refused(
                "init",
                format!("a mixture of {components} components of rank {rank}"),
                "one of the same sizes",
            )
        }
        _ => Ok(sizes),
    }
}

/// The mean of all rows, `[D]`.
fn mean(rows: &dyn Rows) -> Result<Vec<f32>> {
    let mut sums = vec![0.0; rows.width()];
    for i in 0..rows.len() {
        let row = rows.row(i);
        if let Some(value) = row.iter().copied().find(|x| !x.is_finite()) {
            return Err(MfaError::Row { row: i, value });
        }
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    Ok(sums.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect())
}

/// What must be the same for a training to go on.
fn identity(rows: &dyn Rows, validation: Option<&dyn Rows>, options: &TrainOptions) -> Identity {
    let TrainOptions { batch, lr, shuffle, seed, clip, steps_per_epoch, .. } = *options;
    let named = [
        ("method", options.method.name().into()),
        ("init", options.init.name().into()),
        ("batch", batch.to_string()),
        ("lr", lr.to_string()),
        ("shuffle", shuffle.to_string()),
        ("seed", seed.to_string()),
        ("clip", format!("{clip:?}")),
        ("steps_per_epoch", format!("{steps_per_epoch:?}")),
        ("rows", fingerprint(rows)),
        ("validation", validation.map_or("none".into(), fingerprint)),
    ];
    named.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Tells rows from others by their number and some of them.
fn fingerprint(rows: &dyn Rows) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let apart = (rows.len() / 16).max(1);
    for i in (0..rows.len()).step_by(apart) {
        rows.row(i).iter().for_each(|x| hasher.update(&x.to_le_bytes()));
    }
    format!("{} of {} ({:08x})", rows.len(), rows.width(), hasher.finalize())
}

/// The parameters before the first epoch; their means are less `shift`.
fn begin(
    rows: &dyn Rows,
    sizes: Sizes,
    options: &TrainOptions,
    shift: &[f32],
    watch: &mut dyn Watch,
) -> Result<Parameters<f32>> {
    let seed = options.seed;
    let mut means = match &options.init {
        Init::Rows => {
            let chosen = Generator::new(seed).choice(rows.len(), sizes.components, false, None);
            let chosen =
                chosen.map_err(|_| MfaError::Few { rows: rows.len(), components: sizes.components })?;
            chosen.into_iter().flat_map(|i| rows.row(i)).copied().collect()
        }
        Init::KMeans(kmeans) => {
            let kmeans = KMeansOptions { clusters: sizes.components, seed, ..*kmeans };
            let go_on = &mut |progress| watch.go_on(Progress::KMeans(progress));
            let found = kmeans::fit(rows, None, &kmeans, go_on)?.centroids;
            match kmeans.metric {
                Metric::Euclidean => found,
                // Centres of length 1 lie nowhere near the rows.
                Metric::Cosine => kmeans::means(rows, &kmeans::assign(rows, &found, kmeans.metric)?, &found),
            }
        }
        Init::Centroids(means) => means.clone(),
        Init::Mfa(mfa) => {
            let mut parameters = mfa.parameters.clone();
            for (k, block) in parameters.arrays.rows.chunks_mut(sizes.block()).enumerate() {
                let means = mfa.mu[k * sizes.width..].iter().zip(shift);
                block[..sizes.width].iter_mut().zip(means).for_each(|(to, (x, shift))| *to = x - shift);
            }
            return Ok(parameters);
        }
    };
    for mean in means.chunks_mut(sizes.width) {
        mean.iter_mut().zip(shift).for_each(|(x, shift)| *x -= shift);
    }
    // Another stream of numbers than the rows' and the clusters'.
    let mut rng = Generator::new(seed ^ 0x6d66_6100_0000_0000);
    Ok(Parameters::around(&means, sizes, EPS_FLOOR, &mut rng))
}

/// The order of rows in an epoch depends on nothing before it.
fn order(rows: usize, epoch: usize, options: &TrainOptions) -> Vec<usize> {
    match options.shuffle {
        true => Generator::new(options.seed.wrapping_add((epoch as u64 + 1) << 32)).permutation(rows),
        false => (0..rows).collect(),
    }
}

fn adam_epoch(
    kept: &mut Kept,
    rows: &dyn Rows,
    options: &TrainOptions,
    epoch: usize,
    watch: &mut dyn Watch,
) -> Result<f64> {
    let order = order(rows.len(), epoch, options);
    let steps = order.len().div_ceil(options.batch).min(options.steps_per_epoch.unwrap_or(usize::MAX));
    let mut block = Block::default();
    let (mut sum, mut seen) = (0.0, 0);
    for (step, batch) in order.chunks(options.batch).take(steps).enumerate() {
        let nll = sum / seen as f64;
        if !watch.go_on(Progress::Step { epoch, step, steps, nll }) {
            return Err(MfaError::Interrupted);
        }
        block
            .gather(rows, batch.iter().copied(), &kept.shift)
            .map_err(|(row, value)| MfaError::Row { row, value })?;
        sum +=
            kept.learner.step(&block, options.lr, options.clip).ok_or(MfaError::Diverged { epoch, step })?;
        seen += batch.len();
    }
    Ok(sum / seen as f64)
}

/// The mean negative log likelihood of rows; none where parameters ran away.
pub(super) fn mean_nll(parameters: &Parameters<f32>, shift: &[f32], rows: &dyn Rows) -> Result<Option<f64>> {
    let Some(forms) = Forms::new(parameters) else { return Ok(None) };
    let (mut block, mut densities) = (Block::default(), Densities::default());
    let together = block_rows(parameters.sizes);
    let mut sum = 0.0;
    for first in (0..rows.len()).step_by(together) {
        let which = first..rows.len().min(first + together);
        block.gather(rows, which, shift).map_err(|(row, value)| MfaError::Row { row, value })?;
        densities.compute(parameters, &forms, &block);
        sum -= densities.log_likelihoods().into_iter().sum::<f64>();
    }
    let mean = sum / rows.len() as f64;
    Ok(mean.is_finite().then_some(mean))
}

#[cfg(test)]
mod tests;
