//! Training of sparse autoencoders on activations, by gradients written out: features are few a row, so that beside one
//! product with the encoder's matrix every step takes sums over active features alone.
//!
//! Top-k as in Gao et al. 2024 (arXiv 2406.04093), with its loss that lets silent features learn what the others leave
//! over; JumpReLU as in Rajamanoharan et al. 2024 (arXiv 2407.14435), whose thresholds learn by straight-through
//! gradients, held to a number of active features by the penalty of its appendix.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::data::random::Generator;
use crate::data::rows::Rows;
use crate::help::Help;
use crate::model::sae::{About, Kind, Normalize, Sae, SaeError};
use crate::model::{At, Precision, ops};

/// Steps for which a feature may be silent before it learns what others leave over, and the weight of that.
const SILENT_STEPS: u32 = 50;
const SILENT_WEIGHT: f32 = 1.0 / 32.0;
/// Width of the window around a threshold in which it learns, in units of the activations' standard deviation.
const BANDWIDTH: f32 = 0.5;
/// Weight of the penalty on the number of active features, in units of the variance.
const L0_WEIGHT: f32 = 2.0;
/// The learning rate of thresholds, which are learned as logarithms, in units of that of weights.
const THRESHOLD_RATE: f32 = 4.0;
/// The last part of the steps, over which the learning rate falls to 0.
const FALL: f64 = 0.2;
/// Entries of the history.
const REPORTS: usize = 20;

/// How features are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// The `k` largest a row.
    TopK,
    /// Those above a learned threshold, `k` a row on average.
    JumpRelu,
}

#[derive(Debug, Clone)]
pub struct TrainOptions {
    pub goal: Goal,
    pub features: usize,
    pub k: usize,
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    pub rate: f64,
    pub seed: u64,
    /// Where the activations are from, and of which model.
    pub site: At,
    pub model: Option<String>,
}

/// Why activations were refused, or the training ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("activations of shape [{rows}, {width}] are too few to learn from")]
    Few { rows: usize, width: usize },
    #[error("the activations hold {value}, in row {row}")]
    NotFinite { value: f32, row: usize },
    #[error("all {rows} rows are the same")]
    NoVariance { rows: usize },
    #[error("option `{name}` is {found}, expected {expected}")]
    Option { name: &'static str, found: String, expected: String },
    #[error("the training ran away at step {step}")]
    Diverged { step: usize },
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Sae(#[from] SaeError),
}

impl Help for TrainError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Few { .. } => "give a row for each token of some thousand texts".into(),
            Self::NotFinite { .. } => "leave out rows that are not numbers".into(),
            Self::NoVariance { .. } => "check what computed them".into(),
            Self::Option { name, .. } => format!("leave out `{name}`, or give another"),
            Self::Diverged { .. } => "give a smaller `lr`".into(),
            Self::Sae(error) => return error.help(),
            Self::Interrupted => return None,
        })
    }
}

type Result<T> = std::result::Result<T, TrainError>;

/// Trains on the rows of `x`. `go_on` is asked before every step. The same options, numbers and cores give the same
/// autoencoder; its decoder's rows have length 1, and its config holds the options and a history.
///
/// # Errors
/// Activations that are not finite or do not vary, options out of range, or a `go_on` that says no.
pub fn train(x: &dyn Rows, options: &TrainOptions, go_on: impl Fn(usize) -> bool) -> Result<Sae> {
    check(x, options)?;
    let (rows, width) = (x.len(), x.width());
    let mean = mean(x);
    let mut variance = 0.0;
    for i in 0..rows {
        let square = |(x, mean): (&f32, &f32)| (f64::from(*x) - f64::from(*mean)).powi(2);
        x.row(i).iter().zip(&mean).map(square).for_each(|square| variance += square);
    }
    variance /= rows as f64;
    if variance <= 0.0 {
        return Err(TrainError::NoVariance { rows });
    }
    // In these units every number has variance 1 on average, whatever the activations are of.
    let scale = (width as f64 / variance).sqrt() as f32;
    let mut trainer = Trainer::new(width, &mean, scale, options);
    let mut rng = Generator::new(options.seed.wrapping_add(1));
    let mut order: Vec<usize> = Vec::new();
    let (mut history, mut since) = (Vec::new(), Sums::default());
    for step in 0..options.steps {
        if !go_on(step) {
            return Err(TrainError::Interrupted);
        }
        let taken = options.batch.min(rows);
        let mut batch = Vec::with_capacity(taken * width);
        for _ in 0..taken {
            if order.is_empty() {
                order = rng.permutation(rows);
            }
            let row = order.pop().unwrap_or_default();
            batch.extend(x.row(row).iter().map(|x| x * scale));
        }
        let (left, active) = trainer.step(&batch, step)?;
        if !left.is_finite() {
            return Err(TrainError::Diverged { step });
        }
        since.add(left, active);
        if (step + 1) * REPORTS / options.steps > step * REPORTS / options.steps {
            history.push(since.entry(step + 1, trainer.silent()));
            since = Sums::default();
        }
    }
    trainer.finish(scale, history)
}

fn check(x: &dyn Rows, options: &TrainOptions) -> Result<()> {
    let (rows, width) = (x.len(), x.width());
    if rows < 2 {
        return Err(TrainError::Few { rows, width });
    }
    let odd = |row| x.row(row).iter().find(|x| !x.is_finite()).map(|value| (row, *value));
    if let Some((row, value)) = (0..rows).find_map(odd) {
        return Err(TrainError::NotFinite { value, row });
    }
    let refused = |name, found: String, expected: String| TrainError::Option { name, found, expected };
    let positive = "a number above 0";
    for (name, size) in [("features", options.features), ("steps", options.steps), ("batch", options.batch)] {
        if size == 0 {
            return Err(refused(name, "0".into(), positive.into()));
        }
    }
    if !(1..=options.features).contains(&options.k) {
        return Err(refused("k", options.k.to_string(), format!("1 to {}, the features", options.features)));
    }
    if !(options.rate.is_finite() && options.rate > 0.0) {
        return Err(refused("lr", options.rate.to_string(), positive.into()));
    }
    Ok(())
}

fn mean(x: &dyn Rows) -> Vec<f32> {
    let mut sum = vec![0.0; x.width()];
    for i in 0..x.len() {
        sum.iter_mut().zip(x.row(i)).for_each(|(sum, x)| *sum += f64::from(*x));
    }
    sum.into_iter().map(|sum| (sum / x.len() as f64) as f32).collect()
}

/// What some steps did.
#[derive(Default)]
struct Sums {
    left: f64,
    active: f64,
    steps: f64,
}

impl Sums {
    fn add(&mut self, left: f64, active: f64) {
        self.left += left;
        self.active += active;
        self.steps += 1.0;
    }

    fn entry(&self, step: usize, silent: usize) -> Value {
        let (variance, l0) = (1.0 - self.left / self.steps, self.active / self.steps);
        json!({"step": step, "variance": variance, "l0": l0, "silent": silent})
    }
}

/// A feature of a row, and the derivative of the loss by it.
#[derive(Clone, Copy)]
struct Active {
    feature: u32,
    value: f32,
    slope: f32,
}

/// What is known of one row of a batch.
#[derive(Default)]
struct Row {
    active: Vec<Active>,
    /// Of silent features, for what the active ones leave over.
    revived: Vec<Active>,
    /// Features near their threshold; the value is 0.
    near: Vec<Active>,
    /// The output minus the input, and what the silent features make of it minus it.
    error: Vec<f32>,
    rest: Vec<f32>,
}

/// A parameter with Adam's two averages.
struct Parameter {
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// Adam's constants at one step: the rate with both corrections of their start.
#[derive(Clone, Copy)]
struct Adam {
    rate: f32,
    second: f32,
}

impl Adam {
    fn at(step: usize, options: &TrainOptions) -> Adam {
        let t = (step + 1) as f64;
        let left = 1.0 - step as f64 / options.steps as f64;
        let rate = options.rate * (left / FALL).min(1.0) / (1.0 - 0.9_f64.powf(t));
        Adam { rate: rate as f32, second: (1.0 / (1.0 - 0.999_f64.powf(t))) as f32 }
    }

    fn update(self, value: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        *first = 0.9 * *first + 0.1 * gradient;
        *second = 0.999 * *second + 0.001 * gradient * gradient;
        *value -= self.rate * *first / ((*second * self.second).sqrt() + 1e-8);
    }
}

impl Parameter {
    fn new(values: Vec<f32>) -> Parameter {
        let zeros = vec![0.0; values.len()];
        Parameter { values, first: zeros.clone(), second: zeros }
    }

    fn update(&mut self, adam: Adam, gradients: &[f32]) {
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, (first, second)), gradient) in self.values.iter_mut().zip(moments).zip(gradients) {
            adam.update(value, first, second, *gradient);
        }
    }

    /// Its rows of `width`, each with the same rows of the averages.
    fn rows(&mut self, width: usize) -> impl IndexedParallelIterator<Item = [&mut [f32]; 3]> {
        let moments = self.first.par_chunks_mut(width).zip(self.second.par_chunks_mut(width));
        self.values
            .par_chunks_mut(width)
            .zip(moments)
            .map(|(values, (first, second))| [values, first, second])
    }
}

struct Trainer<'a> {
    options: &'a TrainOptions,
    width: usize,
    /// `[features, width]`, as the decoder's.
    w_enc: Parameter,
    w_dec: Parameter,
    b_enc: Parameter,
    b_dec: Parameter,
    /// Logarithms of the thresholds, of JumpReLU alone; none before the first batch.
    threshold: Option<Parameter>,
    /// Steps since each feature was active.
    idle: Vec<u32>,
}

impl<'a> Trainer<'a> {
    fn new(width: usize, mean: &[f32], scale: f32, options: &'a TrainOptions) -> Trainer<'a> {
        let mut rng = Generator::new(options.seed);
        let mut directions: Vec<f32> =
            (0..options.features * width).map(|_| rng.standard_normal() as f32).collect();
        directions.chunks_mut(width).for_each(to_length_1);
        Trainer {
            options,
            width,
            w_enc: Parameter::new(directions.clone()),
            w_dec: Parameter::new(directions),
            b_enc: Parameter::new(vec![0.0; options.features]),
            b_dec: Parameter::new(mean.iter().map(|x| x * scale).collect()),
            threshold: None,
            idle: vec![0; options.features],
        }
    }

    /// One step on `batch` `[rows, width]`: the share of variance that was left, and the active features a row.
    fn step(&mut self, batch: &[f32], step: usize) -> Result<(f64, f64)> {
        let (width, features) = (self.width, self.options.features);
        let rows = batch.len() / width;
        let centred: Vec<f32> =
            batch.iter().enumerate().map(|(i, x)| x - self.b_dec.values[i % width]).collect();
        let pre = self.product(&centred)?;
        if self.options.goal == Goal::JumpRelu && self.threshold.is_none() {
            self.threshold = Some(first_threshold(&pre, rows * self.options.k, features));
        }
        let dead: Vec<u32> = (0..features as u32).filter(|i| self.idle[*i as usize] > SILENT_STEPS).collect();
        let unit = 2.0 / rows as f32;
        let work = batch.par_chunks(width).zip(pre.par_chunks(features));
        let work: Vec<Row> = work.map(|(x, pre)| self.row(x, pre, &dead, unit)).collect();

        let active: usize = work.iter().map(|row| row.active.len()).sum();
        let left = work.iter().map(|row| squares(&row.error)).sum::<f64>() / (rows * width) as f64;
        self.idle.iter_mut().for_each(|idle| *idle += 1);
        work.iter().flat_map(|row| &row.active).for_each(|active| self.idle[active.feature as usize] = 0);
        let adam = Adam::at(step, self.options);
        self.update_thresholds(adam, &work, active as f32 / rows as f32);
        self.update(adam, &work, &centred, unit);
        Ok((left, active as f64 / rows as f64))
    }

    /// What the encoder gives for rows, `[rows, features]`.
    fn product(&self, centred: &[f32]) -> Result<Vec<f32>> {
        let (width, features) = (self.width, self.options.features);
        let tensors = || -> candle_core::Result<(Tensor, Tensor)> {
            let x = Tensor::from_slice(centred, (centred.len() / width, width), &Device::Cpu)?;
            Ok((x, Tensor::from_slice(&self.w_enc.values, (features, width), &Device::Cpu)?))
        };
        let (x, w_enc) = tensors().map_err(SaeError::from)?;
        let pre = ops::product_transposed(&x, &w_enc, Precision::Highest).map_err(SaeError::from)?;
        let mut pre: Vec<f32> = pre.flatten_all().and_then(|pre| pre.to_vec1()).map_err(SaeError::from)?;
        pre.iter_mut().enumerate().for_each(|(i, pre)| *pre += self.b_enc.values[i % features]);
        Ok(pre)
    }

    /// A row's features, its errors, and the derivatives of the loss; `unit` is that of a squared error.
    fn row(&self, x: &[f32], pre: &[f32], dead: &[u32], unit: f32) -> Row {
        let direction = |feature: u32| &self.w_dec.values[feature as usize * self.width..][..self.width];
        let mut row = match &self.threshold {
            None => Row { active: largest(pre, 0..pre.len() as u32, self.options.k), ..Row::default() },
            Some(threshold) => above(pre, &threshold.values),
        };
        row.error = self.b_dec.values.iter().zip(x).map(|(b, x)| b - x).collect();
        row.active.iter().for_each(|f| add(&mut row.error, f.value, direction(f.feature)));
        for f in row.active.iter_mut().chain(&mut row.near) {
            f.slope = unit * dot(direction(f.feature), &row.error);
        }
        if !dead.is_empty() {
            row.revived = largest(pre, dead.iter().copied(), self.options.k);
            row.rest = row.error.clone();
            row.revived.iter().for_each(|f| add(&mut row.rest, f.value, direction(f.feature)));
            for f in &mut row.revived {
                f.slope = SILENT_WEIGHT * unit * dot(direction(f.feature), &row.rest);
            }
        }
        row
    }

    /// Thresholds see the loss where a feature is within the bandwidth of its own.
    fn update_thresholds(&mut self, adam: Adam, work: &[Row], l0: f32) {
        let Some(threshold) = &mut self.threshold else { return };
        let k = self.options.k as f32;
        let penalty = 2.0 * L0_WEIGHT * self.width as f32 * (l0 / k - 1.0) / k / work.len() as f32;
        let mut gradients = vec![0.0; threshold.values.len()];
        for near in work.iter().flat_map(|row| &row.near) {
            let value = threshold.values[near.feature as usize].exp();
            // By the logarithm: once more times the threshold.
            gradients[near.feature as usize] -= value * (value * near.slope + penalty) / BANDWIDTH;
        }
        threshold.update(Adam { rate: adam.rate * THRESHOLD_RATE, ..adam }, &gradients);
    }

    fn update(&mut self, adam: Adam, work: &[Row], centred: &[f32], unit: f32) {
        let (width, features) = (self.width, self.options.features);
        let lists = by_feature(work, features);
        let b_enc: Vec<f32> =
            lists.par_iter().map(|list| list.iter().map(|(_, f, _)| f.slope).sum::<f32>()).collect();
        let mut b_dec = vec![0.0; width];
        work.iter().for_each(|row| add(&mut b_dec, unit, &row.error));
        // The input is encoded without the output's bias.
        b_enc.iter().zip(self.w_enc.values.chunks(width)).for_each(|(b, w)| add(&mut b_dec, -b, w));

        let matrices = self.w_enc.rows(width).zip(self.w_dec.rows(width));
        matrices.zip(&lists).for_each(|((encoder, [direction, first, second]), list)| {
            let (mut of_encoder, mut of_decoder) = (vec![0.0; width], vec![0.0; width]);
            for (row, f, revived) in list {
                add(&mut of_encoder, f.slope, &centred[row * width..][..width]);
                let (error, weight) = match revived {
                    true => (&work[*row].rest, SILENT_WEIGHT),
                    false => (&work[*row].error, 1.0),
                };
                add(&mut of_decoder, f.value * unit * weight, error);
            }
            let [values, m, v] = encoder;
            for (i, gradient) in of_encoder.into_iter().enumerate() {
                adam.update(&mut values[i], &mut m[i], &mut v[i], gradient);
            }
            // Only what turns the direction counts: its length stays 1.
            let along = dot(&of_decoder, direction);
            add(&mut of_decoder, -along, direction);
            for (i, gradient) in of_decoder.into_iter().enumerate() {
                adam.update(&mut direction[i], &mut first[i], &mut second[i], gradient);
            }
            to_length_1(direction);
        });
        self.b_enc.update(adam, &b_enc);
        self.b_dec.update(adam, &b_dec);
    }

    fn silent(&self) -> usize {
        self.idle.iter().filter(|idle| **idle > SILENT_STEPS).count()
    }

    /// The autoencoder of activations as they came, before they were multiplied by `scale`.
    fn finish(self, scale: f32, history: Vec<Value>) -> Result<Sae> {
        let TrainOptions { goal, features, k, steps, batch, rate, seed, site, ref model } = *self.options;
        let (width, kind) = (
            self.width,
            match goal {
                Goal::TopK => Kind::TopK { k, by_decoder_norm: false },
                Goal::JumpRelu => Kind::JumpRelu,
            },
        );
        let cfg = json!({
            "kind": kind.name(), "features": features, "k": k, "steps": steps, "batch": batch, "lr": rate,
            "seed": seed, "history": history,
        });
        let unscaled = |values: Vec<f32>| values.into_iter().map(|x| x / scale).collect::<Vec<_>>();
        let matrix = |values: Vec<f32>| Tensor::from_vec(values, (features, width), &Device::Cpu);
        let vector = |values: Vec<f32>| Tensor::new(values, &Device::Cpu);
        let threshold = self.threshold.map(|t| t.values.into_iter().map(f32::exp).collect());
        let tensors = || -> candle_core::Result<BTreeMap<String, Tensor>> {
            let mut tensors = BTreeMap::from([
                ("W_enc".to_string(), matrix(self.w_enc.values)?.t()?.contiguous()?),
                ("W_dec".to_string(), matrix(self.w_dec.values)?),
                ("b_enc".to_string(), vector(unscaled(self.b_enc.values))?),
                ("b_dec".to_string(), vector(unscaled(self.b_dec.values))?),
            ]);
            if let Some(threshold) = threshold {
                tensors.insert("threshold".into(), vector(unscaled(threshold))?);
            }
            Ok(tensors)
        };
        let about = About {
            kind,
            normalize: Normalize::None,
            apply_b_dec_to_input: true,
            reads: site,
            writes: site,
            model: model.clone(),
            neuronpedia: None,
            cfg,
        };
        Ok(Sae::new(about, tensors().map_err(SaeError::from)?)?)
    }
}

/// The logarithm of the threshold that leaves `count` numbers of a batch above it, once a feature.
fn first_threshold(pre: &[f32], count: usize, features: usize) -> Parameter {
    let mut sorted = pre.to_vec();
    let at = count.min(sorted.len() - 1);
    let (_, least, _) = sorted.select_nth_unstable_by(at, |a, b| b.total_cmp(a));
    Parameter::new(vec![least.max(1e-3).ln(); features])
}

/// The `k` largest above 0 among some features.
fn largest(pre: &[f32], among: impl Iterator<Item = u32> + Clone, k: usize) -> Vec<Active> {
    let mut values: Vec<f32> = among.clone().map(|i| pre[i as usize]).filter(|x| *x > 0.0).collect();
    let least = match k < values.len() {
        true => *values.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1,
        false => 0.0,
    };
    let active = |feature: u32| Active { feature, value: pre[feature as usize], slope: 0.0 };
    among.map(active).filter(|f| f.value > 0.0 && f.value >= least).take(k).collect()
}

/// The features above their thresholds, and those near them.
fn above(pre: &[f32], logarithms: &[f32]) -> Row {
    let mut row = Row::default();
    for (i, (pre, logarithm)) in pre.iter().zip(logarithms).enumerate() {
        let threshold = logarithm.exp();
        let f = Active { feature: i as u32, value: *pre, slope: 0.0 };
        if *pre > threshold {
            row.active.push(f);
        }
        if (pre - threshold).abs() < BANDWIDTH / 2.0 {
            row.near.push(Active { value: 0.0, ..f });
        }
    }
    row
}

/// For each feature the rows that have it, and whether it is there for what is left over.
fn by_feature(work: &[Row], features: usize) -> Vec<Vec<(usize, Active, bool)>> {
    let mut lists = vec![Vec::new(); features];
    for (i, row) in work.iter().enumerate() {
        row.active.iter().for_each(|f| lists[f.feature as usize].push((i, *f, false)));
        row.revived.iter().for_each(|f| lists[f.feature as usize].push((i, *f, true)));
    }
    lists
}

/// `to += by x`
fn add(to: &mut [f32], by: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += by * x);
}

/// In eight sums side by side, which the compiler puts into one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.iter().zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

fn squares(x: &[f32]) -> f64 {
    f64::from(dot(x, x))
}

fn to_length_1(x: &mut [f32]) {
    let length = dot(x, x).sqrt().max(1e-12);
    x.iter_mut().for_each(|x| *x /= length);
}

#[cfg(test)]
mod tests;
