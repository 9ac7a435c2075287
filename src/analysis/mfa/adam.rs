//! One step of Adam (Kingma and Ba 2015) on all parameters, as PyTorch does it, without a gradient of the whole: each
//! component's gradient lives only while that component is changed.

use rayon::prelude::*;

use super::density::{Block, Densities};
use super::forms::Forms;
use super::gradient::{Component, Sums, Weighed, noise_gradient, shares};
use super::parameters::{Arrays, Parameters};
use crate::model::cpu::simd::widest;

const FIRST: f32 = 0.9;
const SECOND: f32 = 0.999;
const EPS: f32 = 1e-8;

/// Beside [`EPS`] a gradient of so little moves no parameter by as much as float32 can show.
const LEAST_SHARE: f32 = 1e-20;

/// Components of one task, a number that does not depend on cores: sums over tasks are the same on any machine.
pub(super) const TASK: usize = 8;

/// A mixture that learns.
#[derive(Debug)]
pub struct Learner {
    pub parameters: Parameters<f32>,
    /// Running means of gradients, and of their squares.
    pub first: Arrays<f32>,
    pub second: Arrays<f32>,
    /// Steps that were made.
    pub steps: u64,
    densities: Densities<f32>,
}

/// The numbers of one step.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    rate: f32,
    /// Undoes that the running mean of squares began at 0; of its root.
    root: f32,
    /// Shortens the gradient.
    clip: f32,
}

impl Rates {
    fn at(step: u64, lr: f64, clip: f32) -> Rates {
        // Beyond, both corrections are 1.
        let t = step.min(1 << 20) as i32;
        let rate = (lr / (1.0 - f64::from(FIRST).powi(t))) as f32;
        Rates { rate, root: (1.0 / (1.0 - f64::from(SECOND).powi(t)).sqrt()) as f32, clip }
    }

    #[inline(always)]
    fn one(self, value: &mut f32, first: &mut f32, second: &mut f32, gradient: f32) {
        let gradient = gradient * self.clip;
        *first = FIRST * *first + (1.0 - FIRST) * gradient;
        *second = SECOND * *second + (1.0 - SECOND) * gradient * gradient;
        *value -= self.rate * *first / (second.sqrt() * self.root + EPS);
    }

    #[inline(always)]
    pub(super) fn update(self, values: &mut [f32], first: &mut [f32], second: &mut [f32], gradients: &[f32]) {
        let moments = first.iter_mut().zip(second);
        for ((value, (first, second)), gradient) in values.iter_mut().zip(moments).zip(gradients) {
            self.one(value, first, second, *gradient);
        }
    }

    /// The same where all gradients are 0.
    #[inline(always)]
    fn drift(self, values: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        for (value, (first, second)) in values.iter_mut().zip(first.iter_mut().zip(second)) {
            self.one(value, first, second, 0.0);
        }
    }
}

impl Learner {
    pub fn new(parameters: Parameters<f32>) -> Learner {
        let zeros = || Arrays::zeros(parameters.sizes);
        Learner { first: zeros(), second: zeros(), parameters, steps: 0, densities: Densities::default() }
    }

    /// One step on a block: the sum of its rows' negative log likelihoods before it. None where numbers ran away.
    pub fn step(&mut self, block: &Block<f32>, lr: f64, clip: Option<f64>) -> Option<f64> {
        let forms = Forms::new(&self.parameters)?;
        self.densities.compute_likely(&self.parameters, &forms, block);
        let nll: f64 = self.densities.responsibilities(1.0).iter().map(|log| -log).sum();
        if !nll.is_finite() {
            return None;
        }
        let components = 0..self.parameters.sizes.components;
        let matter = |k| {
            let mut list = shares(&self.densities, k);
            list.retain(|(_, r)| *r > LEAST_SHARE);
            list
        };
        let lists: Vec<_> = components.into_par_iter().with_min_len(64).map(matter).collect();
        let clip = match clip {
            Some(most) => (most / (self.norm(&forms, block, &lists) + 1e-6)).min(1.0) as f32,
            None => 1.0,
        };
        self.steps += 1;
        self.update(&forms, block, &lists, Rates::at(self.steps, lr, clip)).then_some(nll)
    }

    /// The length of the gradient of all parameters.
    fn norm(&self, forms: &Forms<f32>, block: &Block<f32>, lists: &[Vec<(u32, f32)>]) -> f64 {
        let sizes = self.parameters.sizes;
        let tasks = lists.par_chunks(TASK).enumerate().map_init(Sums::default, |sums, (task, lists)| {
            let mut noise = Noise::of(sizes, lists.len());
            for (i, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
                let component = Component::of(&self.parameters, forms, task * TASK + i);
                let norm = widest(
                    #[inline(always)]
                    || {
                        sums.gather(component, block, &self.densities, list);
                        sums.gradient(component, block.len)
                    },
                );
                noise.add(i, sums, norm);
                if sizes.psi_per_component {
                    let rho = &self.parameters.arrays.psi_rho;
                    noise.gradient(i, component.k, component.precision, rho, block.len);
                }
            }
            noise
        });
        let tasks: Vec<Noise> = tasks.collect();
        let squares: f64 = tasks.iter().map(|task| task.norm).sum();
        let (psi, pi) = self.shared_gradients(&tasks, forms, block.len);
        let of = |gradients: &[f32]| gradients.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
        (squares + of(&psi) + of(&pi)).sqrt()
    }

    fn update(
        &mut self,
        forms: &Forms<f32>,
        block: &Block<f32>,
        lists: &[Vec<(u32, f32)>],
        rates: Rates,
    ) -> bool {
        let sizes = self.parameters.sizes;
        let (whole, q) = (sizes.block(), sizes.rank);
        let (values, first, second) = (&mut self.parameters.arrays, &mut self.first, &mut self.second);
        let psi_rho = &values.psi_rho;
        let rows = chunks([&mut values.rows, &mut first.rows, &mut second.rows], TASK * whole);
        let scales = chunks([&mut values.scale_rho, &mut first.scale_rho, &mut second.scale_rho], TASK * q);
        let densities = &self.densities;
        let tasks = rows.zip(scales).zip(lists.par_chunks(TASK)).enumerate();
        let tasks = tasks.map_init(Sums::default, |sums, (task, ((rows, scales), lists))| {
            let mut noise = Noise::of(sizes, lists.len());
            let [mut rows, mut scales] = [rows, scales];
            for (i, list) in lists.iter().enumerate() {
                let [values, first, second] = rows.each_mut().map(|x| &mut x[i * whole..][..whole]);
                let [rho, rho_first, rho_second] = scales.each_mut().map(|x| &mut x[i * q..][..q]);
                let k = task * TASK + i;
                widest(
                    #[inline(always)]
                    || {
                        if list.is_empty() {
                            rates.drift(values, first, second);
                            rates.drift(rho, rho_first, rho_second);
                            return;
                        }
                        let own = if sizes.psi_per_component { k * sizes.width } else { 0 };
                        let precision = &forms.precision[own..own + sizes.width];
                        let weighed = Weighed { k, forms, block, densities };
                        let values = [values, first, second];
                        let scales = [rho, rho_first, rho_second];
                        let norm = sums.learn(weighed, precision, list, rates, values, scales);
                        noise.add(i, sums, norm);
                        if sizes.psi_per_component {
                            noise.gradient(i, k, precision, psi_rho, block.len);
                        }
                    },
                );
            }
            noise
        });
        let tasks: Vec<Noise> = tasks.collect();
        if !tasks.iter().map(|task| task.norm).sum::<f64>().is_finite() {
            return false;
        }
        let (psi, pi) = self.shared_gradients(&tasks, forms, block.len);
        let (values, first, second) = (&mut self.parameters.arrays, &mut self.first, &mut self.second);
        rates.update(&mut values.psi_rho, &mut first.psi_rho, &mut second.psi_rho, &psi);
        rates.update(&mut values.pi_logits, &mut first.pi_logits, &mut second.pi_logits, &pi);
        true
    }

    /// The gradients by `psi_rho` and `pi_logits`, which need all components.
    fn shared_gradients(&self, tasks: &[Noise], forms: &Forms<f32>, count: usize) -> (Vec<f32>, Vec<f32>) {
        let width = self.parameters.sizes.width;
        let n: Vec<f64> = tasks.iter().flat_map(|task| task.n.iter().copied()).collect();
        let psi = if self.parameters.sizes.psi_per_component {
            tasks.iter().flat_map(|task| &task.squares).copied().collect()
        } else {
            let mut squares = vec![0.0; width];
            for task in tasks {
                squares.iter_mut().zip(&task.squares).for_each(|(to, x)| *to += f64::from(*x));
            }
            let mut psi: Vec<f32> = squares.into_iter().map(|x| x as f32).collect();
            let all = n.iter().sum::<f64>() as f32;
            noise_gradient(&mut psi, &self.parameters.arrays.psi_rho, &forms.precision, all, count);
            psi
        };
        let pi = forms.log_pi.iter().zip(n).map(|(log, n)| (log.exp() - n / count as f64) as f32);
        (psi, pi.collect())
    }
}

/// What the noise must know of a task's components.
pub(super) struct Noise {
    /// The shares of each.
    pub n: Vec<f64>,
    /// The squares left to explain: `[D]` of all, or `[components, D]`.
    pub squares: Vec<f32>,
    /// The squared length of their gradients.
    norm: f64,
}

impl Noise {
    pub fn of(sizes: super::Sizes, components: usize) -> Noise {
        let own = if sizes.psi_per_component { components } else { 1 };
        Noise { n: vec![0.0; components], squares: vec![0.0; own * sizes.width], norm: 0.0 }
    }

    #[inline(always)]
    pub fn add(&mut self, i: usize, sums: &Sums<f32>, norm: f32) {
        self.n[i] = sums.n.into();
        self.norm += f64::from(norm);
        let width = sums.squares.len();
        let own = if self.squares.len() > width { i * width } else { 0 };
        self.squares[own..][..width].iter_mut().zip(&sums.squares).for_each(|(to, x)| *to += x);
    }

    /// Makes of the squares of a component with noise of its own the gradient by it.
    fn gradient(&mut self, i: usize, k: usize, precision: &[f32], psi_rho: &[f32], count: usize) {
        let width = precision.len();
        let rho = &psi_rho[k * width..][..width];
        let squares = &mut self.squares[i * width..][..width];
        noise_gradient(squares, rho, precision, self.n[i] as f32, count);
    }
}

/// The same chunks of three arrays.
fn chunks([a, b, c]: [&mut Vec<f32>; 3], len: usize) -> impl IndexedParallelIterator<Item = [&mut [f32]; 3]> {
    let moments = b.par_chunks_mut(len).zip(c.par_chunks_mut(len));
    a.par_chunks_mut(len).zip(moments).map(|(a, (b, c))| [a, b, c])
}
