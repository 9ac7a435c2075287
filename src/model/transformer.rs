//! The one forward pass: embeds rows, runs layers over a packed batch, unembeds. It is cut at layer boundaries so
//! that a run can enter at any layer with any rows, and it offers every activation to a [`Hook`].

use super::attention::{Qkv, attend};
use super::batch::{Batch, Kv};
use super::config::Config;
use super::error::{ModelError, Result};
use super::hook::{At, Hook};
use super::layer::{Layer, Norm};
use super::ops;
use super::point::Point;
use super::rope::RotaryTable;
use super::weights::{Files, Loader};
use candle_core::{DType, Device, Tensor};

#[derive(Debug)]
pub struct Transformer {
    pub config: Config,
    pub device: Device,
    pub dtype: DType,
    pub(super) embed: Tensor,
    pub(super) pos_embed: Option<Tensor>,
    pub(super) layers: Vec<Layer>,
    final_norm: Norm,
    /// `[d_vocab, d_model]`
    pub(super) unembed: Tensor,
}

/// A batch with what every layer needs to know of its rows' positions.
pub struct Prepared {
    pub batch: Batch,
    rotary: Option<RotaryTable>,
}

impl Transformer {
    pub fn load(config: Config, files: &Files, device: &Device, dtype: DType) -> Result<Transformer> {
        let mut loader = Loader::new(files, &config, device, dtype);
        let names = loader.names();
        let (d_vocab, d_model) = (config.d_vocab, config.d_model);
        let weight = |loader: &Loader, role: &str| format!("{}.weight", loader.in_model(role));
        let name = weight(&loader, names.embed);
        let embed = loader.tensor(&name, &[d_vocab, d_model])?;
        let pos_embed = match names.pos_embed {
            Some(role) => {
                let name = weight(&loader, role);
                Some(loader.tensor(&name, &[config.n_ctx, d_model])?)
            }
            None => None,
        };
        let layers =
            (0..config.n_layers).map(|l| Layer::load(&mut loader, &config, l)).collect::<Result<_>>()?;
        let final_norm = loader.in_model(names.final_norm);
        let final_norm = Norm::load(&mut loader, &config, &final_norm)?;
        let unembed = if config.tied {
            embed.clone()
        } else {
            loader.tensor(&format!("{}.weight", names.unembed), &[d_vocab, d_model])?
        };
        loader.finish()?;
        Ok(Transformer {
            config,
            device: device.clone(),
            dtype,
            embed,
            pos_embed,
            layers,
            final_norm,
            unembed,
        })
    }

    /// Works out position tables, once a batch.
    ///
    /// # Errors
    /// A position beyond the model's context.
    pub fn prepare(&self, batch: Batch) -> Result<Prepared> {
        let positions = batch.positions();
        let len = positions.iter().max().map_or(0, |&p| p as usize + 1);
        if len > self.config.n_ctx {
            return Err(ModelError::TooLong { len, n_ctx: self.config.n_ctx });
        }
        let rotary = match &self.config.rotary {
            Some(rotary) => {
                Some(RotaryTable::new(rotary, self.config.d_head, &positions, self.dtype, &self.device)?)
            }
            None => None,
        };
        Ok(Prepared { batch, rotary })
    }

    /// Embeds the rows' tokens: `resid_pre` of layer 0, `[rows, d_model]`.
    pub fn embed(&self, ids: &[u32], batch: &Prepared, hook: &mut dyn Hook) -> Result<Tensor> {
        let d_vocab = self.config.d_vocab;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= d_vocab) {
            return Err(ModelError::BadToken { id, d_vocab });
        }
        let ids = Tensor::new(ids, &self.device)?;
        let mut pass = Pass { layer: 0, hook };
        let x = pass.see(Point::Embed, self.embed.index_select(&ids, 0)?)?;
        match &self.pos_embed {
            Some(table) => {
                let positions = Tensor::new(batch.batch.positions(), &self.device)?;
                let positions = pass.see(Point::PosEmbed, table.index_select(&positions, 0)?)?;
                Ok((x + positions)?)
            }
            None => Ok(x),
        }
    }

    /// One layer over all rows: `resid_pre` in, `resid_post` and the rows' keys and values out. `past` is what
    /// the batch's segments refer to, at this layer.
    pub fn layer(
        &self,
        layer: usize,
        x: Tensor,
        batch: &Prepared,
        past: &[Kv],
        hook: &mut dyn Hook,
    ) -> Result<(Tensor, Kv)> {
        hook.before_layer(layer)?;
        let mut pass = Pass { layer, hook };
        let (resid_pre, z, kv) = self.read(x, batch, past, &mut pass)?;
        Ok((self.write(&resid_pre, z, &mut pass)?, kv))
    }

    /// One layer whose `resid_post` is wanted at `rows` only, `[rows]` of `u32`: all rows are read, the others
    /// end there. The first hook sees what is read, up to the pattern, with all rows; the second what is written,
    /// from `z` on, with the wanted ones.
    pub fn layer_at_rows(
        &self,
        layer: usize,
        x: Tensor,
        batch: &Prepared,
        past: &[Kv],
        rows: &Tensor,
        [reads, writes]: [&mut dyn Hook; 2],
    ) -> Result<Tensor> {
        reads.before_layer(layer)?;
        let (resid_pre, z, _) = self.read(x, batch, past, &mut Pass { layer, hook: reads })?;
        let (resid_pre, z) = (resid_pre.index_select(rows, 0)?, z.index_select(rows, 0)?);
        self.write(&resid_pre, z, &mut Pass { layer, hook: writes })
    }

    /// The half of a layer in which rows read each other: `resid_pre`, mixed values, and keys and values.
    fn read(
        &self,
        x: Tensor,
        batch: &Prepared,
        past: &[Kv],
        pass: &mut Pass,
    ) -> Result<(Tensor, Tensor, Kv)> {
        let weights = &self.layers[pass.layer];
        let resid_pre = pass.see(Point::ResidPre, x)?;
        let normed = pass.see(Point::Ln1, weights.ln1.forward(&resid_pre)?)?;
        let q = pass.see(Point::Q, weights.q.forward(&normed)?)?;
        let k = pass.see(Point::K, weights.k.forward(&normed)?)?;
        let v = pass.see(Point::V, weights.v.forward(&normed)?)?;
        let q = pass.see(Point::RotQ, self.rotate(q, batch)?)?;
        let k = pass.see(Point::RotK, self.rotate(k, batch)?)?;
        let own = Kv { k, v };
        let qkv = Qkv { q: &q, own: &own, past };
        let z = attend(&self.config, pass.layer, &qkv, &batch.batch, pass.hook)?;
        Ok((resid_pre, z, own))
    }

    /// The half of a layer that is row by row: mixed values to `resid_post`.
    fn write(&self, resid_pre: &Tensor, z: Tensor, pass: &mut Pass) -> Result<Tensor> {
        let weights = &self.layers[pass.layer];
        let z = pass.see(Point::Z, z)?;
        let out = weights.attn_out.forward(&z)?;
        let out = self.heads_result(weights, &z, out, pass)?;
        let out = pass.see(Point::AttnOutRaw, out)?;
        let attn_out = pass.see(Point::AttnOut, out)?;
        let resid_mid = pass.see(Point::ResidMid, ops::add(resid_pre, &attn_out)?)?;
        let mlp_out = self.mlp(weights, &resid_mid, pass)?;
        pass.see(Point::ResidPost, ops::add(&resid_mid, &mlp_out)?)
    }

    fn rotate(&self, x: Tensor, batch: &Prepared) -> Result<Tensor> {
        let Some(table) = &batch.rotary else { return Ok(x) };
        ops::rotary(&x, &table.cos, &table.sin)
    }

    /// Each head's own contribution, built only for who asks. What a hook changes enters as a difference, so
    /// that an unchanged result leaves `out` as it is, to the bit.
    fn heads_result(&self, weights: &Layer, z: &Tensor, out: Tensor, pass: &mut Pass) -> Result<Tensor> {
        if !pass.wants(Point::Result) {
            return Ok(out);
        }
        let (heads, d_head, d_model) = (self.config.n_heads, self.config.d_head, self.config.d_model);
        let rows = z.dim(0)?;
        let z = z.reshape((rows, heads, d_head))?.transpose(0, 1)?.contiguous()?; // [head, rows, d_head]
        let w_o = weights.attn_out.weight.reshape((heads, d_head, d_model))?;
        let result = z.matmul(&w_o)?.transpose(0, 1)?.contiguous()?.reshape((rows, heads * d_model))?;
        let seen = pass.see(Point::Result, result.clone())?;
        let change = (seen - result)?.reshape((rows, heads, d_model))?.sum(1)?;
        Ok((out + change)?)
    }

    fn mlp(&self, weights: &Layer, resid_mid: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let normed = pass.see(Point::Ln2, weights.ln2.forward(resid_mid)?)?;
        let neurons = match &weights.gate {
            Some(gate) => {
                let gate = pass.see(Point::MlpPre, gate.forward(&normed)?)?;
                ops::gated(&gate, &weights.mlp_in.forward(&normed)?, self.config.activation)?
            }
            None => {
                let pre = pass.see(Point::MlpPre, weights.mlp_in.forward(&normed)?)?;
                ops::activation(&pre, self.config.activation)?
            }
        };
        let neurons = pass.see(Point::MlpPost, neurons)?;
        let out = pass.see(Point::MlpOutRaw, weights.mlp_out.forward(&neurons)?)?;
        pass.see(Point::MlpOut, out)
    }

    /// The final norm, `[rows, d_model]` of the last layer's `resid_post`.
    pub fn final_norm(&self, x: &Tensor, hook: &mut dyn Hook) -> Result<Tensor> {
        Pass { layer: 0, hook }.see(Point::LnFinal, self.final_norm.forward(x)?)
    }

    /// Logits of normed rows, `[rows, d_vocab]`.
    pub fn unembed(&self, normed: &Tensor, hook: &mut dyn Hook) -> Result<Tensor> {
        Pass { layer: 0, hook }.see(Point::Logits, ops::product_transposed(normed, &self.unembed)?)
    }

    /// Logits of some tokens only, `[rows, ids]`.
    pub fn unembed_columns(&self, normed: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let columns = self.unembed.index_select(&Tensor::new(ids, &self.device)?, 0)?;
        ops::product_transposed(normed, &columns)
    }
}

/// The helper through which every activation passes.
struct Pass<'a> {
    layer: usize,
    hook: &'a mut dyn Hook,
}

impl Pass<'_> {
    fn wants(&self, point: Point) -> bool {
        self.hook.wants(At { point, layer: self.layer })
    }

    fn see(&mut self, point: Point, x: Tensor) -> Result<Tensor> {
        if self.wants(point) { self.hook.rows(At { point, layer: self.layer }, x) } else { Ok(x) }
    }
}
