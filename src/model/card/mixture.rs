//! A step of training mixtures of factor analysers, `mixture.cu`: eight launches and a product, whatever the number of
//! components; three more where gradients are shortened. What is written is all that a step needs beside parameters and averages, and serves the next.

use super::launch::{Arg, Shape, Source, able, launch, uninitialised};
use candle_core::{DType, Device, Result, Tensor};

const THREADS: usize = 256;
/// Threads of the kernel that goes along columns.
const COLUMNS: usize = 128;
/// Parts, at most, in which the sums of all components are left.
const GROUPS: usize = 256;
/// More directions would not fit the registers of a thread.
const MOST_RANK: usize = 32;

/// The sizes of a mixture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// K
    pub components: usize,
    /// Numbers a row, D.
    pub width: usize,
    /// Directions a component, q.
    pub rank: usize,
    /// Has each component noise of its own?
    pub own_noise: bool,
    /// Added to the noise.
    pub floor: f32,
}

/// Of each parameter one number: means and directions `[K, 1 + q, D]`, scales `[K, q]`, noise `[1, D]` or `[K, D]`, weights
/// `[K]`.
pub type Four = [Tensor; 4];

/// The numbers of one step of Adam.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    pub rate: f32,
    /// Undoes that the average of squares began at 0; of its root.
    pub root: f32,
    /// The longest gradient.
    pub clip: Option<f32>,
}

/// Memory of a step on at most `rows` rows.
#[derive(Debug)]
pub struct Step {
    mixture: Mixture,
    rows: usize,
    device: Device,
    precision: Tensor,
    log_psi: Tensor,
    log_all: Tensor,
    scale: Tensor,
    length: Tensor,
    offset: Tensor,
    whiten: Tensor,
    constant: Tensor,
    weighted: Option<Tensor>,
    scaled: Tensor,
    shared: Tensor,
    joint: Tensor,
    most: Tensor,
    sum: Tensor,
    nll: Tensor,
    which: Tensor,
    found: Tensor,
    entries: Tensor,
    n: Tensor,
    sum_z: Tensor,
    zz: Tensor,
    partial: Tensor,
    norms: Tensor,
    clip: Tensor,
}

/// May the kernels compute this on that device?
pub fn serves(mixture: Mixture, rows: usize, device: &Device) -> bool {
    let Mixture { components, width, rank, .. } = mixture;
    // Counts that kernels hold in 32 bits.
    let counts = [components, width, components.saturating_mul(1 + rank).max(rows)];
    device.is_cuda()
        && able(device)
        && rank <= MOST_RANK
        && counts.iter().all(|count| *count <= i32::MAX as usize)
}

impl Step {
    pub fn new(mixture: Mixture, rows: usize, device: &Device) -> Result<Step> {
        let Mixture { components: k, width, rank: q, own_noise, .. } = mixture;
        let of = |shape: &[usize], dtype| uninitialised(shape, dtype, device);
        let new = |shape: &[usize]| of(shape, DType::F32);
        let noises = if own_noise { k } else { 1 };
        let groups = k.div_ceil(k.div_ceil(GROUPS));
        Ok(Step {
            mixture,
            rows,
            device: device.clone(),
            precision: new(&[noises, width])?,
            log_psi: new(&[noises])?,
            log_all: new(&[1])?,
            scale: new(&[k, q])?,
            length: new(&[k, q])?,
            offset: new(&[k, q])?,
            whiten: new(&[k, q, q])?,
            constant: new(&[k])?,
            weighted: own_noise.then(|| new(&[k * (1 + q), width])).transpose()?,
            scaled: new(&[rows, width])?,
            shared: new(&[rows])?,
            joint: new(&[k, rows])?,
            most: new(&[rows])?,
            sum: new(&[rows])?,
            nll: new(&[rows])?,
            which: of(&[k, rows], DType::U32)?,
            found: of(&[k], DType::U32)?,
            entries: new(&[k, rows, (1 + q).next_multiple_of(4)])?,
            n: new(&[k])?,
            sum_z: new(&[k, q])?,
            zz: new(&[k, q, q])?,
            partial: new(&[groups, width])?,
            norms: new(&[groups * width.div_ceil(COLUMNS) + k.max(width).div_ceil(THREADS)])?,
            clip: Tensor::ones(1, DType::F32, device)?,
        })
    }

    /// Has it room for so many rows?
    pub fn holds(&self, rows: usize) -> bool {
        rows <= self.rows
    }

    fn start(&self, name: &'static str, grid: [usize; 2], threads: usize, args: &[Arg]) -> Result<()> {
        let q = self.mixture.rank;
        // Of the products of a component's rows, in float64, and two numbers a direction.
        let shared = if name == "mixture_forms" { ((1 + q) * (1 + q) + 2 * q) * size_of::<f64>() } else { 0 };
        let shape = Shape { grid, threads, shared };
        launch(&self.device, DType::F32, Source::Mixture { rank: q }, name, shape, args)
    }

    fn check(&self, x: &Tensor) -> Result<usize> {
        let (count, width) = x.dims2()?;
        if width != self.mixture.width || !self.holds(count) || count == 0 || !x.is_contiguous() {
            candle_core::bail!("a step on {count} rows of {width} numbers");
        }
        Ok(count)
    }

    /// The negative log likelihood of each row of `x` `[n, D]`, `[n]`; its memory serves the next call.
    pub fn likelihood(&self, values: &Four, x: &Tensor) -> Result<Tensor> {
        let count = self.check(x)?;
        self.densities(values, x, count)?;
        self.nll.narrow(0, 0, count)
    }

    /// Logarithms of weight times density of all rows, and the products that made them.
    fn densities(
        &self,
        [rows, scale_rho, psi_rho, pi_logits]: &Four,
        x: &Tensor,
        count: usize,
    ) -> Result<Tensor> {
        let Mixture { components: k, width, rank: q, own_noise, floor } = self.mixture;
        let number = |n: usize| Arg::U32(n as u32);
        let noises = psi_rho.dim(0)?;
        let args = [
            Arg::Tensor(psi_rho),
            Arg::Tensor(pi_logits),
            Arg::Tensor(&self.precision),
            Arg::Tensor(&self.log_psi),
            Arg::Tensor(&self.log_all),
            number(noises),
            number(width),
            number(k),
            Arg::F32(floor),
        ];
        self.start("mixture_noise", [noises + 1, 1], THREADS, &args)?;
        let args = [
            Arg::Tensor(x),
            Arg::Tensor(&self.precision),
            Arg::Tensor(&self.log_psi),
            Arg::Tensor(&self.scaled),
            Arg::Tensor(&self.shared),
            number(width),
            number(own_noise.into()),
        ];
        self.start("mixture_batch", [count, 1], THREADS, &args)?;
        let args = [
            Arg::Tensor(rows),
            Arg::Tensor(scale_rho),
            Arg::Tensor(pi_logits),
            Arg::Tensor(&self.precision),
            Arg::Tensor(&self.log_psi),
            Arg::Tensor(&self.log_all),
            Arg::Tensor(&self.scale),
            Arg::Tensor(&self.length),
            Arg::Tensor(&self.offset),
            Arg::Tensor(&self.whiten),
            Arg::Tensor(&self.constant),
            self.weighted.as_ref().map_or(Arg::Null, Arg::Tensor),
            number(width),
            number(own_noise.into()),
        ];
        self.start("mixture_forms", [k, 1], THREADS, &args)?;
        let scaled = self.scaled.narrow(0, 0, count)?;
        let rows = rows.reshape((k * (1 + q), width))?;
        let (v, squares) = match &self.weighted {
            Some(weighted) => (weighted.matmul(&x.t()?)?, Some(self.precision.matmul(&scaled.t()?)?)),
            None => (rows.matmul(&scaled.t()?)?, None),
        };
        let args = [
            Arg::Tensor(&v),
            squares.as_ref().map_or(Arg::Null, Arg::Tensor),
            Arg::Tensor(&self.scale),
            Arg::Tensor(&self.offset),
            Arg::Tensor(&self.whiten),
            Arg::Tensor(&self.constant),
            Arg::Tensor(&self.joint),
            number(count),
            number(own_noise.into()),
        ];
        self.start("mixture_joint", [k, 1], COLUMNS, &args)?;
        let args = [
            Arg::Tensor(&self.joint),
            Arg::Tensor(&self.shared),
            Arg::Tensor(&self.most),
            Arg::Tensor(&self.sum),
            Arg::Tensor(&self.nll),
            number(k),
            number(count),
        ];
        self.start("mixture_most", [count.div_ceil(8), 1], 1024, &args)?;
        Ok(v)
    }

    /// One step on rows `x` `[n, D]`: changes parameters and averages, and writes the mean negative log likelihood of the
    /// rows before it into entry `at` of `nlls`.
    pub fn learn(
        &self,
        [values, first, second]: [&Four; 3],
        x: &Tensor,
        rates: Rates,
        nlls: &Tensor,
        at: usize,
    ) -> Result<()> {
        let count = self.check(x)?;
        let v = self.densities(values, x, count)?;
        let k = self.mixture.components;
        let args = [
            Arg::Tensor(&self.joint),
            Arg::Tensor(&self.most),
            Arg::Tensor(&self.sum),
            Arg::Tensor(&v),
            Arg::Tensor(&self.whiten),
            Arg::Tensor(&self.which),
            Arg::Tensor(&self.found),
            Arg::Tensor(&self.entries),
            Arg::Tensor(&self.n),
            Arg::Tensor(&self.sum_z),
            Arg::Tensor(&self.zz),
            Arg::U32(k as u32),
            Arg::U32(count as u32),
        ];
        self.start("mixture_shares", [k.div_ceil(COLUMNS / 32), 1], COLUMNS, &args)?;
        if let Some(longest) = rates.clip {
            let parts = self.change([values, first, second], x, count, rates, true, nlls, at)?;
            let args = [
                Arg::Tensor(&self.norms),
                Arg::Tensor(&self.clip),
                Arg::U32(parts as u32),
                Arg::F32(longest),
            ];
            self.start("mixture_clip", [1, 1], THREADS, &args)?;
        }
        self.change([values, first, second], x, count, rates, false, nlls, at).map(drop)
    }

    /// Changes all parameters, or, for the `norm` of their gradients, none: into how many parts of `norms` it went.
    #[expect(clippy::too_many_arguments, reason = "what `learn` was given")]
    fn change(
        &self,
        [values, first, second]: [&Four; 3],
        x: &Tensor,
        count: usize,
        rates: Rates,
        norm: bool,
        nlls: &Tensor,
        at: usize,
    ) -> Result<usize> {
        let Mixture { components: k, width, own_noise, .. } = self.mixture;
        let together = k.div_ceil(GROUPS);
        let grid = [width.div_ceil(COLUMNS), k.div_ceil(together)];
        let [parts, last] = [grid[0] * grid[1], k.max(width).div_ceil(THREADS)];
        let norms = norm.then_some(&self.norms);
        let mut args: Vec<Arg> = Vec::new();
        for i in 0..3 {
            args.extend([values, first, second].map(|four| Arg::Tensor(&four[i])));
        }
        let read = [
            x,
            &self.precision,
            &self.scale,
            &self.length,
            &self.which,
            &self.found,
            &self.entries,
            &self.n,
            &self.sum_z,
            &self.zz,
            &self.partial,
        ];
        args.extend(read.map(Arg::Tensor));
        args.extend([norms.map_or(Arg::Null, Arg::Tensor), Arg::Tensor(&self.clip)]);
        args.extend([k, width, count, together, own_noise.into()].map(|n| Arg::U32(n as u32)));
        args.extend([rates.rate, rates.root].map(Arg::F32));
        self.start("mixture_learn", grid, COLUMNS, &args)?;

        let rest = norms.map(|norms| norms.narrow(0, parts, last)).transpose()?;
        let mut args: Vec<Arg> = Vec::new();
        for i in 2..4 {
            args.extend([values, first, second].map(|four| Arg::Tensor(&four[i])));
        }
        args.extend([&self.precision, &self.log_all, &self.n, &self.partial].map(Arg::Tensor));
        args.extend([rest.as_ref().map_or(Arg::Null, Arg::Tensor), Arg::Tensor(&self.clip)]);
        args.extend([&self.nll, nlls].map(Arg::Tensor));
        args.extend([k, width, count, grid[1], own_noise.into(), at].map(|n| Arg::U32(n as u32)));
        args.extend([rates.rate, rates.root].map(Arg::F32));
        self.start("mixture_finish", [last, 1], THREADS, &args)?;
        Ok(parts + last)
    }
}
