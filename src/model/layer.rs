//! The parts of one layer: norms, linear maps, attention's and the MLP's weights.

use super::config::Config;
use super::error::Result;
use super::family::NormKind;
use super::ops;
use super::weights::Loader;
use candle_core::Tensor;

/// `y = x W + b`, with `weight` `[in, out]`.
#[derive(Debug)]
pub struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Linear {
    fn load(loader: &mut Loader, name: &str, inp: usize, out: usize, bias: bool) -> Result<Linear> {
        let weight = loader.matrix(&format!("{name}.weight"), inp, out)?;
        let bias = if bias { Some(loader.vector(&format!("{name}.bias"), out)?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// `x` is `[rows, in]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::product(x, &self.weight)?;
        match &self.bias {
            Some(bias) => ops::add_bias(&y, bias),
            None => Ok(y),
        }
    }
}

#[derive(Debug)]
pub struct Norm {
    pub gain: Tensor,
    pub bias: Option<Tensor>,
    pub eps: f64,
}

impl Norm {
    pub fn load(loader: &mut Loader, config: &Config, name: &str) -> Result<Norm> {
        let gain = loader.vector(&format!("{name}.weight"), config.d_model)?;
        let bias = match config.family.norm {
            NormKind::LayerNorm => Some(loader.vector(&format!("{name}.bias"), config.d_model)?),
            NormKind::RmsNorm => None,
        };
        Ok(Norm { gain, bias, eps: config.norm_eps })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => ops::layer_norm(x, &self.gain, bias, self.eps),
            None => ops::rms_norm(x, &self.gain, self.eps),
        }
    }
}

/// Weights of one transformer layer.
#[derive(Debug)]
pub struct Layer {
    pub ln1: Norm,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub attn_out: Linear,
    pub ln2: Norm,
    pub gate: Option<Linear>,
    pub mlp_in: Linear,
    pub mlp_out: Linear,
}

impl Layer {
    pub fn load(loader: &mut Loader, config: &Config, layer: usize) -> Result<Layer> {
        let names = loader.names();
        let Config { d_model, d_head, d_mlp, n_heads, attn_bias, mlp_bias, .. } = *config;
        let name = |loader: &Loader, role: &str| loader.in_layer(layer, role);
        let ln1 = Norm::load(loader, config, &name(loader, names.ln1))?;
        let [q, k, v] = loader.qkv(layer, attn_bias)?.map(|(weight, bias)| Linear { weight, bias });
        let attn_out =
            Linear::load(loader, &name(loader, names.attn_out), n_heads * d_head, d_model, attn_bias)?;
        let ln2 = Norm::load(loader, config, &name(loader, names.ln2))?;
        let gate = match names.mlp_gate {
            Some(role) => Some(Linear::load(loader, &name(loader, role), d_model, d_mlp, mlp_bias)?),
            None => None,
        };
        let mlp_in = Linear::load(loader, &name(loader, names.mlp_in), d_model, d_mlp, mlp_bias)?;
        let mlp_out = Linear::load(loader, &name(loader, names.mlp_out), d_mlp, d_model, mlp_bias)?;
        Ok(Layer { ln1, q, k, v, attn_out, ln2, gate, mlp_in, mlp_out })
    }
}
