//! The parts of one layer: norms, linear maps, attention's and the MLP's weights.

use super::config::{Activation, Config};
use super::error::Result;
use super::family::{NormKind, QkNorm};
use super::files::assemble::Loader;
use super::ops;
use super::precision::Precision;
use super::weight::Weight;
use candle_core::Tensor;

/// `y = x W + b`
#[derive(Debug, Clone)]
pub struct Linear {
    pub weight: Weight,
    pub bias: Option<Tensor>,
}

impl Linear {
    /// `x` is `[rows, in]`.
    pub fn forward(&self, x: &Tensor, precision: Precision) -> Result<Tensor> {
        let [y] = Linear::forward_all([self], x, precision)?;
        Ok(y)
    }

    /// What [`forward`](Self::forward) gives, added to `more` `[rows, out]`.
    pub fn forward_onto(&self, more: &Tensor, x: &Tensor, precision: Precision) -> Result<Tensor> {
        match self.bias {
            Some(_) => ops::add(more, &self.forward(x, precision)?),
            None => ops::product_onto(more, x, &self.weight, precision),
        }
    }

    /// `act(gate(x)) * up(x)`
    pub fn gated(
        [gate, up]: [&Linear; 2],
        x: &Tensor,
        kind: Activation,
        precision: Precision,
    ) -> Result<Tensor> {
        if gate.bias.is_none() && up.bias.is_none() {
            return ops::gated_product(x, [&gate.weight, &up.weight], kind, precision);
        }
        let [gate, up] = Linear::forward_all([gate, up], x, precision)?;
        ops::gated(&gate, &up, kind)
    }

    /// Several maps of the same rows.
    pub fn forward_all<const N: usize>(
        maps: [&Linear; N],
        x: &Tensor,
        precision: Precision,
    ) -> Result<[Tensor; N]> {
        let mut outs = ops::products(x, maps.map(|map| &map.weight), precision)?;
        for (y, map) in outs.iter_mut().zip(maps) {
            if let Some(bias) = &map.bias {
                *y = ops::add_bias(y, bias)?;
            }
        }
        Ok(outs)
    }
}

#[derive(Debug)]
pub struct Norm {
    pub gain: Tensor,
    pub bias: Option<Tensor>,
    pub eps: f64,
}

impl Norm {
    pub fn load(loader: &mut Loader, config: &Config, name: &str, width: usize) -> Result<Norm> {
        let gain = loader.gain(&format!("{name}.weight"), width)?;
        let bias = match config.family.norm {
            NormKind::LayerNorm => Some(loader.tensor(&format!("{name}.bias"), &[width])?),
            NormKind::RmsNorm | NormKind::RmsNormLessOne => None,
        };
        Ok(Norm { gain, bias, eps: config.norm_eps })
    }

    /// Over the last axis, or over every run of the gain's width in it: `x` `[rows, n * width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let runs = x.reshape(((), self.gain.dim(0)?))?;
        let normed = match &self.bias {
            Some(bias) => ops::layer_norm(&runs, &self.gain, bias, self.eps)?,
            None => ops::rms_norm(&runs, &self.gain, self.eps)?,
        };
        Ok(normed.reshape(x.shape())?)
    }

    /// `a + b`, rows as wide as the gain, and what [`forward`](Self::forward) makes of it.
    pub fn of_sum(&self, a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
        ops::add_norm(a, b, &self.gain, self.bias.as_ref(), self.eps)
    }
}

/// The maps of an MLP, named as TransformerLens does.
#[derive(Debug)]
pub enum Mlp {
    Plain { w_in: Linear, w_out: Linear },
    Gated { w_gate: Linear, w_in: Linear, w_out: Linear },
}

/// Weights of one transformer layer. Norms that the family lacks are `None`.
#[derive(Debug)]
pub struct Layer {
    /// Which of the transformer's devices holds it.
    pub stage: usize,
    pub ln1: Option<Norm>,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub q_norm: Option<Norm>,
    pub k_norm: Option<Norm>,
    pub attn_out: Linear,
    pub post_attn: Option<Norm>,
    pub ln2: Option<Norm>,
    pub mlp: Mlp,
    pub post_mlp: Option<Norm>,
}

impl Layer {
    pub fn load(loader: &mut Loader, config: &Config, layer: usize, stage: usize) -> Result<Layer> {
        let names = loader.layout.names;
        let Config { d_model, d_head, n_heads, n_kv_heads, biases, .. } = *config;
        let name = |loader: &Loader, role: &str| loader.in_layer(layer, role);
        let norm = |loader: &mut Loader, role: Option<&str>, width: usize| -> Result<Option<Norm>> {
            role.map(|role| Norm::load(loader, config, &loader.in_layer(layer, role), width)).transpose()
        };
        let [q, k, v] = loader.qkv(config, layer)?;
        let [q_norm, k_norm] = names.qk_norm.map_or([None; 2], |roles| roles.map(Some));
        let [q_width, k_width] = match config.family.qk_norm {
            Some(QkNorm::Whole) => [n_heads * d_head, n_kv_heads * d_head],
            Some(QkNorm::Head) | None => [d_head; 2],
        };
        let mlp = loader.mlp(config, layer)?;
        Ok(Layer {
            stage,
            ln1: norm(loader, names.ln1, d_model)?,
            q,
            k,
            v,
            q_norm: norm(loader, q_norm, q_width)?,
            k_norm: norm(loader, k_norm, k_width)?,
            attn_out: loader.linear(
                &name(loader, names.attn_out),
                n_heads * d_head,
                d_model,
                biases.attn_out,
            )?,
            post_attn: norm(loader, names.post_attn, d_model)?,
            ln2: norm(loader, names.ln2, d_model)?,
            mlp,
            post_mlp: norm(loader, names.post_mlp, d_model)?,
        })
    }
}
