//! The step of [`super::adam`] on a card: by its own kernels, which know that most shares are 0, or where they do not serve in
//! tensor operations over all components at once. Parameters, averages and likelihoods stay there until they are read.

use candle_core::{D, DType, Device, Result, Tensor};

use super::Sizes;
use super::adam::Learner;
use super::parameters::SHORTEST;
use crate::model::card::mixture::{self, Four, Mixture, Rates, Step};

const FIRST: f64 = 0.9;
const SECOND: f64 = 0.999;
const EPS: f64 = 1e-8;

/// Steps whose likelihoods wait to be read.
pub const UNREAD: usize = 64;

/// `mu` `[K, D]`, directions `[K, q, D]`, `scale_rho` `[K, q]`, `psi_rho` `[1, D]` or `[K, D]`, `pi_logits` `[K]`: the
/// gradients by these.
type Five = [Tensor; 5];

/// A mixture that learns on a device, in float32.
#[derive(Debug)]
pub struct TensorLearner {
    sizes: Sizes,
    eps_floor: f64,
    device: Device,
    values: Four,
    first: Four,
    second: Four,
    steps: u64,
    /// The mean negative log likelihoods of the last steps, of which so many nobody has read.
    nlls: Tensor,
    unread: usize,
    /// What kernels need, where they serve.
    kernels: Option<Step>,
    identity: Tensor,
}

impl TensorLearner {
    /// One that goes on where `learner` is, with rows of at most `batch` a step.
    pub fn new(learner: &Learner, batch: usize, device: &Device) -> Result<TensorLearner> {
        let sizes = learner.parameters.sizes;
        let Sizes { components: k, width, rank: q, psi_per_component: own_noise } = sizes;
        let put = |arrays: &super::parameters::Arrays<f32>| -> Result<Four> {
            Ok([
                Tensor::from_slice(&arrays.rows, (k, 1 + q, width), device)?,
                Tensor::from_slice(&arrays.scale_rho, (k, q), device)?,
                Tensor::from_slice(&arrays.psi_rho, (arrays.psi_rho.len() / width, width), device)?,
                Tensor::from_slice(&arrays.pi_logits, k, device)?,
            ])
        };
        let eps_floor = learner.parameters.eps_floor;
        let mixture = Mixture { components: k, width, rank: q, own_noise, floor: eps_floor as f32 };
        let kernels = mixture::serves(mixture, batch, device).then(|| Step::new(mixture, batch, device));
        Ok(TensorLearner {
            sizes,
            eps_floor,
            device: device.clone(),
            values: put(&learner.parameters.arrays)?,
            first: put(&learner.first)?,
            second: put(&learner.second)?,
            steps: learner.steps,
            nlls: Tensor::zeros(UNREAD, DType::F32, device)?,
            unread: 0,
            kernels: kernels.transpose()?,
            identity: Tensor::eye(q, DType::F32, device)?,
        })
    }

    /// The same without kernels of its own.
    pub fn plain(mut self) -> TensorLearner {
        self.kernels = None;
        self
    }

    /// Brings `learner` to where this one is.
    pub fn read(&self, learner: &mut Learner) -> Result<()> {
        let averages = [(&self.first, &mut learner.first), (&self.second, &mut learner.second)];
        for (four, arrays) in [(&self.values, &mut learner.parameters.arrays)].into_iter().chain(averages) {
            for (tensor, (_, to)) in four.iter().zip(arrays.named_mut()) {
                to.copy_from_slice(&tensor.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        learner.steps = self.steps;
        Ok(())
    }

    /// Rows `[n, D]`, less what the means are less, on the device.
    pub fn rows(&self, x: &[f32]) -> Result<Tensor> {
        Tensor::from_slice(x, (x.len() / self.sizes.width, self.sizes.width), &self.device)
    }

    /// One step on rows of [`TensorLearner::rows`]. Its likelihood can be read until [`UNREAD`] others were made.
    pub fn step(&mut self, x: &Tensor, lr: f64, clip: Option<f64>) -> Result<()> {
        self.steps += 1;
        let t = self.steps.min(1 << 20) as i32;
        let rate = lr / (1.0 - FIRST.powi(t));
        let root = 1.0 / (1.0 - SECOND.powi(t)).sqrt();
        let at = self.unread % UNREAD;
        self.unread += 1;
        if let Some(kernels) = &self.kernels {
            let rates = Rates { rate: rate as f32, root: root as f32, clip: clip.map(|most| most as f32) };
            return kernels.learn([&self.values, &self.first, &self.second], x, rates, &self.nlls, at);
        }
        let (nll, [of_mu, of_raw, of_scale, of_psi, of_pi]) = self.gradients(x)?;
        self.nlls.slice_set(&nll.reshape(1)?, 0, at)?;
        let of_rows = Tensor::cat(&[&of_mu.unsqueeze(1)?, &of_raw], 1)?;
        let mut gradients = [of_rows, of_scale, of_psi, of_pi];
        if let Some(most) = clip {
            let squares = gradients.iter().map(|g| g.sqr()?.sum_all()).collect::<Result<Vec<_>>>()?;
            let norm = Tensor::stack(&squares, 0)?.sum_all()?.sqrt()?;
            let factor = ((norm + 1e-6)?.recip()? * most)?.minimum(1.0)?;
            for gradient in &mut gradients {
                *gradient = gradient.broadcast_mul(&factor)?;
            }
        }
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, (first, second)), gradient) in self.values.iter_mut().zip(moments).zip(gradients) {
            *first = ((&*first * FIRST)? + (&gradient * (1.0 - FIRST))?)?;
            *second = ((&*second * SECOND)? + (gradient.sqr()? * (1.0 - SECOND))?)?;
            let step = (&*first / second.sqrt()?.affine(root, EPS)?)?;
            *value = (&*value - (step * rate)?)?;
        }
        Ok(())
    }

    /// Steps whose likelihoods nobody has read.
    pub fn unread(&self) -> usize {
        self.unread.min(UNREAD)
    }

    /// The mean negative log likelihood of the rows of each step since the last call, before it: not finite where numbers ran
    /// away. Waits for the device.
    pub fn likelihoods(&mut self) -> Result<Vec<f32>> {
        let unread = self.unread();
        self.unread = 0;
        self.nlls.narrow(0, 0, unread)?.to_vec1()
    }

    /// The sum of the negative log likelihoods of rows of [`TensorLearner::rows`], no more of them than a batch has.
    pub fn nll(&self, x: &Tensor) -> Result<f64> {
        match &self.kernels {
            Some(kernels) => {
                Ok(kernels.likelihood(&self.values, x)?.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
            }
            None => Ok(f64::from(self.gradients(x)?.0.to_scalar::<f32>()?) * x.dim(0)? as f64),
        }
    }

    /// The mean negative log likelihood of rows `[n, D]`, and its gradients: the formulas of [`super::gradient`], with sums
    /// over all rows, since on a card those without a share cost nothing.
    fn gradients(&self, x: &Tensor) -> Result<(Tensor, Five)> {
        let Sizes { components: k, width, rank: q, .. } = self.sizes;
        let count = x.dim(0)?;
        let [rows, scale_rho, psi_rho, pi_logits] = &self.values;
        let (mu, raw) = (&rows.narrow(1, 0, 1)?.reshape((k, width))?, &rows.narrow(1, 1, q)?.contiguous()?);
        let psi = (softplus(psi_rho)? + self.eps_floor)?;
        let p = psi.recip()?;
        let length = raw.sqr()?.sum(2)?.sqrt()?.maximum(SHORTEST)?;
        let scale = (softplus(scale_rho)? / &length)?;
        let w = raw.broadcast_mul(&scale.unsqueeze(2)?)?;
        let pw = w.broadcast_mul(&p.unsqueeze(1)?)?;
        let m = pw.matmul(&w.t()?)?.broadcast_add(&self.identity)?;
        let (covariance, determinant) = self.inverse(&m)?;

        let offset = pw.matmul(&mu.unsqueeze(2)?)?.reshape((1, k, q))?;
        let v = x.matmul(&pw.reshape((k * q, width))?.t()?)?.reshape((count, k, q))?;
        let v = v.broadcast_sub(&offset)?.transpose(0, 1)?.contiguous()?;
        let z = v.matmul(&covariance)?;
        let explained = (v * &z)?.sum(2)?;
        let pmu = mu.broadcast_mul(&p)?;
        let cross = pmu.matmul(&x.t()?)?;
        let squares = x.sqr()?;
        let own = (p.matmul(&squares.t()?)? * 0.5)?;
        let log_pi = pi_logits.broadcast_sub(&pi_logits.log_sum_exp(0)?)?;
        let constant = ((pmu * mu)?.sum(1)? + determinant)?.broadcast_add(&psi.log()?.sum(1)?)?;
        let constant = (&log_pi - (constant * 0.5)?)?.unsqueeze(1)?;
        let joint = (explained * 0.5)?.add(&cross)?.broadcast_add(&constant)?.broadcast_sub(&own)?;
        let most = joint.max_keepdim(0)?;
        let shares = joint.broadcast_sub(&most)?.exp()?;
        let sum = shares.sum_keepdim(0)?;
        let r = shares.broadcast_div(&sum)?;
        let nll = (most + sum.log()?)?.mean_all()?;
        let nll = (nll.neg()? + 0.5 * width as f64 * std::f64::consts::TAU.ln())?;

        let part = -1.0 / count as f64;
        let n = r.sum_keepdim(1)?;
        let rz = z.broadcast_mul(&r.unsqueeze(2)?)?;
        let rz_t = rz.transpose(1, 2)?.contiguous()?;
        let sum_z = rz.sum(1)?;
        let zz = (rz_t.matmul(&z)? + covariance.broadcast_mul(&n.unsqueeze(2)?)?)?;
        let of_x = r.matmul(x)?;
        let of_y = (&of_x - mu.broadcast_mul(&n)?)?;
        let of_zx = rz_t.reshape((k * q, count))?.matmul(x)?.reshape((k, q, width))?;
        let of_zy = (of_zx - sum_z.unsqueeze(2)?.matmul(&mu.unsqueeze(1)?)?)?;
        let h = zz.matmul(&w)?;
        // What noise has to explain: Σ r y², and what directions take of it.
        let taken = (w.clone() * (&h - (&of_zy * 2.0)?)?)?.sum(1)?;
        let y2 = ((of_y.clone() + of_x)? * mu)?.neg()?;
        let left = (taken + y2)?;
        let (left, n_all) = if self.sizes.psi_per_component {
            ((left + r.matmul(&squares)?)?, n.clone())
        } else {
            ((left.sum_keepdim(0)? + squares.sum_keepdim(0)?)?, n.sum_keepdim(0)?)
        };
        let of_psi = (p.broadcast_mul(&n_all)? - (left * p.sqr()?)?)?;
        let of_psi = (of_psi * sigmoid(psi_rho)?)?.affine(-0.5 * part, 0.0)?;

        let p = (p * part)?;
        let of_mu = (of_y - sum_z.unsqueeze(1)?.matmul(&w)?.squeeze(1)?)?.broadcast_mul(&p)?;
        let of_w = (of_zy - h)?.broadcast_mul(&p.unsqueeze(1)?)?;
        let along = ((&of_w * raw)?.sum(D::Minus1)? / &length)?;
        let of_scale = (&along * sigmoid(scale_rho)?)?;
        let back = raw.broadcast_mul(&(along / &length)?.unsqueeze(2)?)?;
        let of_raw = (of_w - back)?.broadcast_mul(&scale.unsqueeze(2)?)?;
        let of_pi = (log_pi.exp()? + (n.squeeze(1)? * part)?)?;
        Ok((nll, [of_mu, of_raw, of_scale, of_psi, of_pi]))
    }

    /// The inverses of matrices `[K, q, q]` whose eigenvalues are 1 or more, and the logarithms of their determinants, by
    /// Gauss and Jordan, which needs no pivots there.
    fn inverse(&self, m: &Tensor) -> Result<(Tensor, Tensor)> {
        let q = self.sizes.rank;
        let mut both = Tensor::cat(&[m, &self.identity.broadcast_as(m.shape())?.contiguous()?], 2)?;
        let mut pivots = Vec::with_capacity(q);
        for i in 0..q {
            let row = both.narrow(1, i, 1)?;
            let pivot = row.narrow(2, i, 1)?;
            let unit = self.identity.narrow(1, i, 1)?;
            let column = both.narrow(2, i, 1)?.broadcast_sub(&unit)?;
            both = (&both - column.broadcast_mul(&row.broadcast_div(&pivot)?)?)?;
            pivots.push(pivot.flatten_all()?);
        }
        let determinant = Tensor::stack(&pivots, 0)?.log()?.sum(0)?;
        Ok((both.narrow(2, q, q)?.contiguous()?, determinant))
    }
}

/// `ln(1 + e^x)`
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
