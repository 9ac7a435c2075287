//! An epoch of Adam, on the CPU or on a card.

use super::{Method, Progress, TrainOptions, Watch};
use crate::analysis::mfa::adam::Learner;
use crate::analysis::mfa::density::{Block, Densities, block_rows};
use crate::analysis::mfa::error::{MfaError, Result};
use crate::analysis::mfa::forms::Forms;
use crate::analysis::mfa::kept::Kept;
use crate::analysis::mfa::tensors::{TensorLearner, UNREAD};
use crate::data::random::Generator;
use crate::data::rows::Rows;

/// The order of rows in an epoch depends on nothing before it.
fn order(rows: usize, epoch: usize, options: &TrainOptions) -> Vec<usize> {
    match options.shuffle {
        true => Generator::new(options.seed.wrapping_add((epoch as u64 + 1) << 32)).permutation(rows),
        false => (0..rows).collect(),
    }
}

/// Where a mixture learns: beside what is kept of it, or on a card, from which that is brought up to date after every epoch.
pub enum Place {
    Cpu,
    Card(Box<TensorLearner>),
}

impl Place {
    pub fn new(learner: &Learner, options: &TrainOptions) -> Result<Place> {
        if options.device.is_cpu() || options.method == Method::Em {
            return Ok(Place::Cpu);
        }
        Ok(Place::Card(Box::new(TensorLearner::new(learner, options.batch, &options.device)?)))
    }

    /// Goes over the rows once: their mean negative log likelihood meanwhile.
    pub fn epoch(
        &mut self,
        kept: &mut Kept,
        rows: &dyn Rows,
        options: &TrainOptions,
        epoch: usize,
        watch: &mut dyn Watch,
    ) -> Result<f64> {
        let order = order(rows.len(), epoch, options);
        let steps = order.len().div_ceil(options.batch).min(options.steps_per_epoch.unwrap_or(usize::MAX));
        let mut block = Block::default();
        let mut seen = Seen::default();
        for (step, batch) in order.chunks(options.batch).take(steps).enumerate() {
            if !watch.go_on(Progress::Step { epoch, step, steps, nll: seen.mean() }) {
                return Err(MfaError::Interrupted);
            }
            block
                .gather(rows, batch.iter().copied(), &kept.shift)
                .map_err(|(row, value)| MfaError::Row { row, value })?;
            match self {
                Place::Cpu => {
                    let nll = kept.learner.step(&block, options.lr, options.clip);
                    seen.add(nll.ok_or(MfaError::Diverged { epoch, step })?, block.len);
                }
                Place::Card(card) => {
                    let x = card.rows(&block.x)?;
                    card.step(&x, options.lr, options.clip)?;
                    if card.unread() == UNREAD || step + 1 == steps {
                        let first = step + 1 - card.unread();
                        for (i, nll) in card.likelihoods()?.into_iter().enumerate() {
                            // All batches are whole but the last, which may be the last step.
                            let len = if first + i == step { block.len } else { options.batch };
                            if !nll.is_finite() {
                                return Err(MfaError::Diverged { epoch, step: first + i });
                            }
                            seen.add(f64::from(nll) * len as f64, len);
                        }
                    }
                }
            }
        }
        if let Place::Card(card) = self {
            card.read(&mut kept.learner)?;
            kept.learner.parameters.check().map_err(|_| MfaError::Diverged { epoch, step: steps - 1 })?;
        }
        Ok(seen.mean())
    }

    /// The mean negative log likelihood of rows; none where parameters ran away.
    pub fn mean_nll(&self, kept: &Kept, rows: &dyn Rows, batch: usize) -> Result<Option<f64>> {
        let parameters = &kept.learner.parameters;
        let (mut block, mut densities) = (Block::default(), Densities::default());
        let (forms, together) = match self {
            Place::Cpu => (Forms::new(parameters), block_rows(parameters.sizes)),
            Place::Card(_) => (None, batch),
        };
        let mut sum = 0.0;
        for first in (0..rows.len()).step_by(together) {
            let which = first..rows.len().min(first + together);
            block.gather(rows, which, &kept.shift).map_err(|(row, value)| MfaError::Row { row, value })?;
            sum += match (self, &forms) {
                (Place::Card(card), _) => card.nll(&card.rows(&block.x)?)?,
                (Place::Cpu, Some(forms)) => {
                    densities.compute_likely(parameters, forms, &block);
                    -densities.log_likelihoods().into_iter().sum::<f64>()
                }
                (Place::Cpu, None) => return Ok(None),
            };
        }
        let mean = sum / rows.len() as f64;
        Ok(mean.is_finite().then_some(mean))
    }
}

/// The negative log likelihoods of what an epoch has seen.
#[derive(Default)]
struct Seen {
    sum: f64,
    rows: usize,
}

impl Seen {
    fn add(&mut self, nll: f64, rows: usize) {
        self.sum += nll;
        self.rows += rows;
    }

    /// NaN before the first.
    fn mean(&self) -> f64 {
        self.sum / self.rows as f64
    }
}
