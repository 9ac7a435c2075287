//! The one forward pass: embeds rows, runs layers over a packed batch, unembeds. It is cut at layer boundaries so
//! that a run can enter at any layer with any rows, and it offers every activation to a [`Hook`].

use super::attention::{Qkv, attend};
use super::batch::{Batch, Kv};
use super::card;
use super::config::{Config, Rotary};
use super::error::{ModelError, Result};
use super::files::assemble::{Layout, Loader, Target};
use super::files::placement::Stages;
use super::hook::{At, Hook, NoHook};
use super::layer::{Layer, Linear, Mlp, Norm};
use super::ops;
use super::point::Point;
use super::precision::Precision;
use super::rope::{RotaryTable, Tables};
use super::weight::Table;
use candle_core::{DType, Device, Tensor};

#[derive(Debug)]
pub struct Transformer {
    pub config: Config,
    /// Where tokens come in and logits go out: the first of `stages`.
    pub device: Device,
    /// The devices that hold its layers, one part after the other.
    pub stages: Vec<Device>,
    pub dtype: DType,
    pub precision: Precision,
    /// Do matrices stay in the blocks of their file, so that each is dense only while it is used?
    pub quantized: bool,
    pub(super) embed: Table,
    pub(super) pos_embed: Option<Tensor>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: Norm,
    pub(super) unembed: Table,
    /// `[d_vocab]`
    pub(super) unembed_bias: Option<Tensor>,
    pub(super) rotary: Tables,
}

/// A batch with what every layer needs to know of its rows' positions.
pub struct Prepared {
    pub batch: Batch,
    /// One a kind of layer.
    rotary: Vec<Option<RotaryTable>>,
    /// The same on the devices of later layers.
    later: Vec<Prepared>,
}

impl Transformer {
    /// All weights, as the loader hands them out, with the layers on these devices, one part after the other.
    pub(super) fn build(config: Config, loader: &mut Loader, devices: &[Device]) -> Result<Transformer> {
        let Layout { names, unembed, .. } = loader.layout;
        let none = || ModelError::Tensor("weights on no device".into());
        let (first, later) = devices.split_first().ok_or_else(none)?;
        loader.place(first);
        let (d_vocab, d_model) = (config.d_vocab, config.d_model);
        let name = format!("{}.weight", loader.in_model(names.embed));
        let embed = loader.table(&name, [d_vocab, d_model], config.tied)?;
        let pos_embed = match names.pos_embed {
            Some(role) => {
                let name = format!("{}.weight", loader.in_model(role));
                Some(loader.tensor(&name, &[config.n_ctx, d_model])?)
            }
            None => None,
        };
        let layers = match later {
            [] => (0..config.n_layers).map(|l| Layer::load(loader, &config, l, 0)).collect::<Result<_>>()?,
            _ => {
                let stages = Stages::of(&config, loader.target().dtype)?;
                let layer = |l| {
                    let stage = stages.of_layer(l, devices.len());
                    loader.place(&devices[stage]);
                    Layer::load(loader, &config, l, stage)
                };
                (0..config.n_layers).map(layer).collect::<Result<_>>()?
            }
        };
        loader.place(first);
        let final_norm = loader.in_model(names.final_norm);
        let final_norm = Norm::load(loader, &config, &final_norm, d_model)?;
        let bias = format!("{unembed}.bias");
        let unembed_bias = if config.biases.unembed { Some(loader.tensor(&bias, &[d_vocab])?) } else { None };
        let unembed = match config.tied {
            true => embed.clone(),
            false => loader.table(&format!("{unembed}.weight"), [d_vocab, d_model], true)?,
        };
        let Target { device, dtype, quantized, .. } = loader.target();
        Ok(Transformer {
            config,
            stages: std::iter::once(&device).chain(later).cloned().collect(),
            device,
            dtype,
            precision: Precision::default(),
            quantized,
            embed,
            pos_embed,
            layers,
            final_norm,
            unembed,
            unembed_bias,
            rotary: Tables::default(),
        })
    }

    /// Does attention run as one kernel, which never holds all scores?
    pub fn attends_at_once(&self) -> bool {
        match self.device.is_cpu() {
            true => self.dtype == DType::F32,
            false => card::attend::able(self.config.d_head, &self.device),
        }
    }

    /// Works out position tables, once a batch and device.
    ///
    /// # Errors
    /// A position beyond the model's context.
    pub fn prepare(&self, batch: Batch) -> Result<Prepared> {
        let positions = batch.positions();
        let len = positions.iter().max().map_or(0, |&p| p as usize + 1);
        if len > self.config.n_ctx {
            return Err(ModelError::TooLong { len, n_ctx: self.config.n_ctx });
        }
        let later =
            (1..self.stages.len()).map(|stage| self.prepare_on(stage, batch.clone(), &positions, len));
        let later = later.collect::<Result<_>>()?;
        Ok(Prepared { later, ..self.prepare_on(0, batch, &positions, len)? })
    }

    /// The same for the layers of one device. The last position is `len - 1`.
    fn prepare_on(&self, stage: usize, batch: Batch, positions: &[u32], len: usize) -> Result<Prepared> {
        let device = &self.stages[stage];
        let at = match device.is_cpu() {
            true => None,
            false => Some(Tensor::new(positions, device)?),
        };
        let kinds = self.config.kinds.len();
        let table = |(kind, rotary): (usize, &Rotary)| match &at {
            Some(at) if !rotary.turns_with_length(usize::MAX) => {
                self.rotary.by_position(stage * kinds + kind, rotary, len, at)
            }
            _ => RotaryTable::new(rotary, &batch, self.dtype, device),
        };
        let kinds = self.config.kinds.iter().enumerate();
        let rotary = kinds
            .map(|(index, kind)| kind.rotary.as_ref().map(|rotary| table((index, rotary))).transpose())
            .collect::<Result<_>>()?;
        Ok(Prepared { batch, rotary, later: Vec::new() })
    }

    /// The device at whose layer a point lies, and which both ends of the model share.
    pub fn device_of(&self, at: At) -> &Device {
        let layer = self.layers.get(at.layer).filter(|_| at.point.in_layer());
        layer.map_or(&self.device, |layer| &self.stages[layer.stage])
    }

    /// `x` and `batch` where a layer is.
    fn arrive<'a>(&self, layer: usize, x: Tensor, batch: &'a Prepared) -> Result<(Tensor, &'a Prepared)> {
        let stage = self.layers[layer].stage;
        let here = stage.checked_sub(1).and_then(|later| batch.later.get(later)).unwrap_or(batch);
        Ok((card::moved(&x, &self.stages[stage])?, here))
    }

    /// Embeds the rows' tokens: `resid_pre` of layer 0, `[rows, d_model]`.
    pub fn embed(&self, ids: &[u32], batch: &Prepared, hook: &mut dyn Hook) -> Result<Tensor> {
        let mut pass = Pass { layer: 0, hook };
        let x = pass.see(Point::Embed, self.embeddings(ids)?)?;
        match &self.pos_embed {
            Some(table) => {
                let positions = Tensor::new(batch.batch.positions(), &self.device)?;
                let positions = pass.see(Point::PosEmbed, table.index_select(&positions, 0)?)?;
                Ok((x + positions)?)
            }
            None => Ok(x),
        }
    }

    /// The token embeddings of `ids` as they enter the stream, `[ids, d_model]`, at no position.
    ///
    /// # Errors
    /// An id outside the vocabulary.
    pub fn embeddings(&self, ids: &[u32]) -> Result<Tensor> {
        let d_vocab = self.config.d_vocab;
        match ids.iter().find(|&&id| id as usize >= d_vocab) {
            Some(&id) => Err(ModelError::BadToken { id, d_vocab }),
            None => self.scaled(self.embed.rows(ids)?),
        }
    }

    /// Rows of the embedding as they enter the stream.
    pub(super) fn scaled(&self, rows: Tensor) -> Result<Tensor> {
        match self.config.embed_scale {
            1.0 => Ok(rows),
            scale => Ok((rows * scale)?),
        }
    }

    /// One layer over all rows: `resid_pre` in, `resid_post` and the rows' keys and values out. `past` is what
    /// the batch's segments refer to, at this layer.
    pub fn layer(
        &self,
        layer: usize,
        x: Tensor,
        batch: &Prepared,
        past: Option<&Kv>,
        hook: &mut dyn Hook,
    ) -> Result<(Tensor, Kv)> {
        hook.before_layer(layer)?;
        let (x, batch) = self.arrive(layer, x, batch)?;
        let mut pass = Pass { layer, hook };
        let read = self.read(x, batch, past, &mut pass)?;
        Ok((self.write(&read, &mut pass)?, read.own))
    }

    /// One layer whose `resid_post` is wanted at `rows` only, `[rows]` of `u32`, if they are not all: all rows are read,
    /// the others end there. The first hook sees what is read, up to the pattern, with all rows; the second what is
    /// written, from `z` on, with the wanted ones. Keys and values are those of all rows.
    pub fn layer_at_rows(
        &self,
        layer: usize,
        x: Tensor,
        batch: &Prepared,
        past: Option<&Kv>,
        rows: Option<&Tensor>,
        [reads, writes]: [&mut dyn Hook; 2],
    ) -> Result<(Tensor, Kv)> {
        reads.before_layer(layer)?;
        let (x, batch) = self.arrive(layer, x, batch)?;
        let mut read = self.read(x, batch, past, &mut Pass { layer, hook: reads })?;
        if let Some(rows) = rows {
            let rows = &card::moved(rows, read.z.device())?;
            for x in [&mut read.resid_pre, &mut read.z].into_iter().chain(&mut read.normed) {
                *x = ops::take(x, None, rows)?;
            }
        }
        Ok((self.write(&read, &mut Pass { layer, hook: writes })?, read.own))
    }

    /// The half of a layer in which rows read each other.
    fn read(&self, x: Tensor, batch: &Prepared, past: Option<&Kv>, pass: &mut Pass) -> Result<Read> {
        let weights = &self.layers[pass.layer];
        let resid_pre = pass.see(Point::ResidPre, x)?;
        let normed = match &weights.ln1 {
            Some(norm) => pass.see(Point::Ln1, norm.forward(&resid_pre)?)?,
            None => resid_pre.clone(),
        };
        let [q, k, v] = Linear::forward_all([&weights.q, &weights.k, &weights.v], &normed, self.precision)?;
        let (q, k, v) = (pass.see(Point::Q, q)?, pass.see(Point::K, k)?, pass.see(Point::V, v)?);
        let table = &batch.rotary[self.config.layer_kinds[pass.layer]];
        let (q, k) = (after(&weights.q_norm, q)?, after(&weights.k_norm, k)?);
        let [q, k] = match table {
            Some(table) => ops::rotary([&q, &k], table, self.config.d_head)?,
            None => [q, k],
        };
        let (q, k) = (pass.see(Point::RotQ, q)?, pass.see(Point::RotK, k)?);
        let own = Kv { k, v };
        let qkv = Qkv { q: &q, own: &own, past };
        let z = attend(&self.config, pass.layer, &qkv, &batch.batch, pass.hook)?;
        let shared = self.config.parallel && weights.ln2.is_none();
        Ok(Read { resid_pre, normed: shared.then_some(normed), z, own })
    }

    /// The half of a layer that is row by row: mixed values to `resid_post`.
    fn write(&self, read: &Read, pass: &mut Pass) -> Result<Tensor> {
        let weights = &self.layers[pass.layer];
        let z = pass.see(Point::Z, read.z.clone())?;
        let out = weights.attn_out.forward(&z, self.precision)?;
        let out = self.heads_result(weights, &z, out, pass)?;
        let out = pass.see(Point::AttnOutRaw, out)?;
        let attn_out = pass.see(Point::AttnOut, after(&weights.post_attn, out)?)?;
        // What the MLP reads: the stream through its own norm, or through attention's if it has none, or as it is.
        let (stream, normed) = match &weights.ln2 {
            Some(norm) if self.config.parallel => {
                let normed = pass.see(Point::Ln2, norm.forward(&read.resid_pre)?)?;
                (ops::add(&read.resid_pre, &attn_out)?, normed)
            }
            None if self.config.parallel => {
                let normed = read.normed.as_ref().unwrap_or(&read.resid_pre).clone();
                (ops::add(&read.resid_pre, &attn_out)?, normed)
            }
            Some(norm) if !pass.wants(Point::ResidMid) => {
                let (stream, normed) = norm.of_sum(&read.resid_pre, &attn_out)?;
                (stream, pass.see(Point::Ln2, normed)?)
            }
            norm => {
                let stream = pass.see(Point::ResidMid, ops::add(&read.resid_pre, &attn_out)?)?;
                let normed = match norm {
                    Some(norm) => pass.see(Point::Ln2, norm.forward(&stream)?)?,
                    None => stream.clone(),
                };
                (stream, normed)
            }
        };
        let resid_post = self.mlp(weights, &normed, &stream, pass)?;
        pass.see(Point::ResidPost, resid_post)
    }

    /// Each head's own contribution, built only for who asks. Where a hook changes a row's, the row is their sum;
    /// where it does not, the row stays as it is, to the bit.
    fn heads_result(&self, weights: &Layer, z: &Tensor, out: Tensor, pass: &mut Pass) -> Result<Tensor> {
        if !pass.wants(Point::Result) {
            return Ok(out);
        }
        let (heads, d_head, d_model) = (self.config.n_heads, self.config.d_head, self.config.d_model);
        let rows = z.dim(0)?;
        let z = z.reshape((rows, heads, d_head))?.transpose(0, 1)?.contiguous()?; // [head, rows, d_head]
        let w_o = weights.attn_out.weight.dense()?.reshape((heads, d_head, d_model))?;
        let result = z.matmul(&w_o)?.transpose(0, 1)?.contiguous()?.reshape((rows, heads * d_model))?;
        let seen = pass.see(Point::Result, result.clone())?;
        if seen.id() == result.id() {
            return Ok(out);
        }
        let changed = seen.ne(&result)?.max_keepdim(1)?.broadcast_as(out.shape())?.contiguous()?;
        let sum = seen.reshape((rows, heads, d_model))?.sum(1)?;
        let sum = match &weights.attn_out.bias {
            Some(bias) => ops::add_bias(&sum, bias)?,
            None => sum,
        };
        Ok(changed.where_cond(&sum, &out)?)
    }

    /// The stream and what the MLP adds to it, given what that reads.
    fn mlp(&self, weights: &Layer, normed: &Tensor, stream: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let kind = self.config.activation;
        let (neurons, w_out) = match &weights.mlp {
            Mlp::Plain { w_in, w_out } => {
                let pre = pass.see(Point::MlpPre, w_in.forward(normed, self.precision)?)?;
                (ops::activation(&pre, kind)?, w_out)
            }
            Mlp::Gated { w_gate, w_in, w_out } => {
                let neurons = if pass.wants(Point::MlpPre) {
                    let [gate, up] = Linear::forward_all([w_gate, w_in], normed, self.precision)?;
                    ops::gated(&pass.see(Point::MlpPre, gate)?, &up, kind)?
                } else {
                    Linear::gated([w_gate, w_in], normed, kind, self.precision)?
                };
                (neurons, w_out)
            }
        };
        let neurons = pass.see(Point::MlpPost, neurons)?;
        if weights.post_mlp.is_none() && !pass.wants(Point::MlpOutRaw) && !pass.wants(Point::MlpOut) {
            return w_out.forward_onto(stream, &neurons, self.precision);
        }
        let out = pass.see(Point::MlpOutRaw, w_out.forward(&neurons, self.precision)?)?;
        ops::add(stream, &pass.see(Point::MlpOut, after(&weights.post_mlp, out)?)?)
    }

    /// The final norm, `[rows, d_model]` of the last layer's `resid_post`.
    pub fn final_norm(&self, x: &Tensor, hook: &mut dyn Hook) -> Result<Tensor> {
        Pass { layer: 0, hook }.see(Point::LnFinal, self.final_norm.forward(x)?)
    }

    /// Logits of normed rows, `[rows, d_vocab]`.
    pub fn unembed(&self, normed: &Tensor, hook: &mut dyn Hook) -> Result<Tensor> {
        let logits = ops::unembed(normed, &self.unembed, self.precision)?;
        let logits = self.as_logits(logits, self.unembed_bias.as_ref())?;
        Pass { layer: 0, hook }.see(Point::Logits, logits)
    }

    /// The logit lens: final norm and unembedding of residual streams `[rows, d_model]`, on whatever device and of
    /// whatever dtype, as logits `[rows, d_vocab]`.
    pub fn logit_lens(&self, resid: &Tensor) -> Result<Tensor> {
        let rows = resid.to_device(&self.device)?.to_dtype(self.dtype)?;
        self.unembed(&self.final_norm(&rows, &mut NoHook)?, &mut NoHook)
    }

    /// Logits of some tokens only, `[rows, ids]`.
    pub fn unembed_columns(&self, normed: &Tensor, ids: &[u32]) -> Result<Tensor> {
        let logits = ops::product_transposed(normed, &self.unembed.rows(ids)?, self.precision)?;
        let ids = Tensor::new(ids, &self.device)?;
        let bias = self.unembed_bias.as_ref().map(|bias| bias.index_select(&ids, 0)).transpose()?;
        self.as_logits(logits, bias.as_ref())
    }

    /// What follows the unembedding's product.
    fn as_logits(&self, logits: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let logits = match bias {
            Some(bias) => ops::add_bias(&logits, bias)?,
            None => logits,
        };
        match self.config.logit_softcap {
            Some(cap) => ops::softcap(&logits, cap),
            None => Ok(logits),
        }
    }
}

/// What the half of a layer in which rows read each other leaves for the other half.
struct Read {
    resid_pre: Tensor,
    /// What attention read, where the MLP reads it too.
    normed: Option<Tensor>,
    z: Tensor,
    /// The rows' keys and values.
    own: Kv,
}

/// Rows through the norm after them, if there is one.
fn after(norm: &Option<Norm>, out: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&out),
        None => Ok(out),
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
