//! Attention over a packed batch: each group of equal segments is one batched product, and a prefix that the
//! segments share is read once a group, never copied a segment.

use super::batch::{Batch, Group, Kv, Packed};
use super::config::Config;
use super::cpu::attend::Form;
use super::error::{ModelError, Result};
use super::hook::{At, Hook};
use super::point::Point;
use super::{card, cpu, ops};
use candle_core::Tensor;

/// Queries, keys (both after rotary) and values of all rows, heads side by side: `[rows, heads * d_head]`.
pub struct Qkv<'a> {
    pub q: &'a Tensor,
    pub own: &'a Kv,
    pub past: Option<&'a Kv>,
}

/// Mixes values: returns `z`, `[rows, n_heads * d_head]`.
///
/// Where a kernel applies it gives `z`, except to queries whose scores or pattern a hook has changed: watching a
/// run, or patching it with itself, changes no bit of it.
pub fn attend(
    config: &Config,
    layer: usize,
    qkv: &Qkv,
    batch: &Batch,
    hook: &mut dyn Hook,
) -> Result<Tensor> {
    let groups = batch.groups();
    let looked_at = [Point::AttnScores, Point::Pattern].iter().any(|&point| hook.wants(At { point, layer }));
    let mut operands = vec![qkv.q, &qkv.own.k, &qkv.own.v];
    operands.extend(qkv.past.iter().flat_map(|past| [&past.k, &past.v]));
    let form = Form {
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        d_head: config.d_head,
        scale: config.attn_scale as f32,
        softcap: config.attn_softcap.map(|cap| cap as f32),
        window: config.kind(layer).window,
    };
    let z = if cpu::applies(&operands) {
        Some(cpu::attend::attend(form, qkv.q, qkv.own, qkv.past, groups)?)
    } else if card::attend::serves(form.d_head, &operands) {
        Some(card::attend::attend(form, qkv.q, qkv.own, qkv.past, batch)?)
    } else {
        None
    };
    let z = match z {
        Some(z) if !looked_at => return Ok(z),
        Some(z) if card::scores::serves(form, &operands) => {
            look(form, layer, qkv, batch, &z, hook)?;
            return Ok(z);
        }
        z => z,
    };
    let mut parts = Vec::with_capacity(groups.len());
    for group in groups {
        let operands = Operands::new(config, qkv, group)?;
        let (before, after) = operands.pattern(config, layer, group, hook)?;
        parts.push(match &z {
            None => operands.mix(&after)?,
            Some(z) => {
                let z = z.narrow(0, group.rows.start, group.rows.len())?;
                if before.id() == after.id() { z } else { operands.remix(z, &before, &after)? }
            }
        });
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 0)? })
}

/// Shows scores and pattern on a card, all segments at once, and mixes `z` anew where a pattern has changed.
fn look(form: Form, layer: usize, qkv: &Qkv, batch: &Batch, z: &Tensor, hook: &mut dyn Hook) -> Result<()> {
    let scores = card::scores::scores(form, qkv.q, qkv.own, qkv.past, batch)?;
    let before = card::scores::pattern(form, &scores, batch)?;
    let mut shown = |point, x: &Packed| {
        let at = At { point, layer };
        if hook.wants(at) { hook.all_scores(at, x) } else { Ok(None) }
    };
    // What a query may not see stays hidden: the softmax goes over the rest.
    let patched = match shown(Point::AttnScores, &scores)? {
        Some(scores) => Some(card::scores::pattern(form, &scores, batch)?),
        None => None,
    };
    let after = shown(Point::Pattern, patched.as_ref().unwrap_or(&before))?.or(patched);
    if let Some(after) = after {
        card::scores::remix(form, [&before, &after], qkv.own, qkv.past, batch, z)?;
    }
    Ok(())
}

/// One group's queries, keys and values, head by head.
///
/// In the comments: n segments of `len` rows after a past of P; g key heads, each read by r query heads; d = d_head.
struct Operands {
    n: usize,
    g: usize,
    r: usize,
    len: usize,
    past_len: usize,
    d: usize,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    past: Option<Kv>,
}

impl Operands {
    fn new(config: &Config, qkv: &Qkv, group: &Group) -> Result<Operands> {
        let (n, len, past_len) = (group.count, group.segment.len, group.segment.past_len);
        let (g, r, d) = (config.n_kv_heads, config.heads_per_kv(), config.d_head);
        let rows = |x: &Tensor| x.narrow(0, group.rows.start, group.rows.len());
        let past = match past_len {
            0 => None,
            _ => {
                let missing = || ModelError::Tensor("a segment names a past that was not given".into());
                let past = qkv.past.ok_or_else(missing)?.rows(group.segment.past, past_len)?;
                let heads = |x: &Tensor| x.reshape((past_len, g, d))?.transpose(0, 1)?.contiguous();
                Some(Kv { k: heads(&past.k)?, v: heads(&past.v)? }) // [g, P, d]
            }
        };
        let q = rows(qkv.q)?.reshape((n, len, g, r, d))?.permute((2, 0, 3, 1, 4))?.contiguous()?; // [g, n, r, len, d]
        let q = (q * config.attn_scale)?;
        let own = |x: &Tensor| rows(x)?.reshape((n, len, g, d))?.permute((2, 0, 1, 3))?.contiguous();
        let (k, v) = (own(&qkv.own.k)?, own(&qkv.own.v)?); // [g, n, len, d]
        Ok(Operands { n, g, r, len, past_len, d, q, k, v, past })
    }

    fn keys(&self) -> usize {
        self.past_len + self.len
    }

    /// The pattern as computed and as the hook leaves it, `[g * n * r, len, keys]`: the same tensor if the hook
    /// changed neither scores nor pattern.
    fn pattern(
        &self,
        config: &Config,
        layer: usize,
        group: &Group,
        hook: &mut dyn Hook,
    ) -> Result<(Tensor, Tensor)> {
        debug_assert_eq!(config.n_heads, self.g * self.r);
        let mask = group.mask(config.kind(layer).window, self.q.dtype(), self.q.device())?;
        let scores = self.scores()?.reshape((self.g * self.n * self.r, self.len, self.keys()))?;
        let scores = match config.attn_softcap {
            Some(cap) => ops::softcap(&scores, cap)?,
            None => scores,
        };
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let before = ops::softmax(&scores)?;
        let seen = self.offer(At { point: Point::AttnScores, layer }, &scores, mask, group, hook)?;
        let after = if seen.id() == scores.id() { before.clone() } else { ops::softmax(&seen)? };
        let after = self.offer(At { point: Point::Pattern, layer }, &after, None, group, hook)?;
        Ok((before, after))
    }

    /// `[g, n, r * len, keys]`, scaled, neither bounded nor masked.
    fn scores(&self) -> Result<Tensor> {
        let Operands { n, g, r, len, d, past_len, .. } = *self;
        let own = self.q.reshape((g * n, r * len, d))?.matmul(&self.k.reshape((g * n, len, d))?.t()?)?;
        let own = own.reshape((g, n, r * len, len))?;
        let Some(past) = &self.past else { return Ok(own) };
        let past = self.q.reshape((g, n * r * len, d))?.matmul(&past.k.t()?)?;
        Ok(Tensor::cat(&[past.reshape((g, n, r * len, past_len))?, own], 3)?)
    }

    /// Values mixed by `pattern`, `[n * len, n_heads * d_head]`.
    fn mix(&self, pattern: &Tensor) -> Result<Tensor> {
        let Operands { n, g, r, len, d, past_len, .. } = *self;
        let pattern = pattern.reshape((g, n, r * len, self.keys()))?;
        let own = pattern.narrow(3, past_len, len)?.contiguous()?.reshape((g * n, r * len, len))?;
        let mut z = own.matmul(&self.v.reshape((g * n, len, d))?)?;
        if let Some(past) = &self.past {
            let pattern =
                pattern.narrow(3, 0, past_len)?.contiguous()?.reshape((g, n * r * len, past_len))?;
            z = (z.reshape((g, n * r * len, d))? + pattern.matmul(&past.v)?)?;
        }
        let z = z.reshape((g, n, r, len, d))?.permute((1, 3, 0, 2, 4))?.contiguous()?; // [n, len, g, r, d]
        Ok(z.reshape((n * len, g * r * d))?)
    }

    /// `z` mixed anew where a query's pattern has changed.
    fn remix(&self, z: Tensor, before: &Tensor, after: &Tensor) -> Result<Tensor> {
        let Operands { n, g, r, len, d, .. } = *self;
        let changed = after.ne(before)?.max_keepdim(2)?.reshape((g, n, r, len, 1))?;
        let changed = changed.permute((1, 3, 0, 2, 4))?.broadcast_as((n, len, g, r, d))?; // as `mix` has it
        Ok(changed.contiguous()?.reshape(z.shape())?.where_cond(&self.mix(after)?, &z)?)
    }

    /// Shows scores or pattern to the hook, one segment at a time. With a `mask`, what it hides stays hidden
    /// whatever the hook returns: no patch may look into the future, or beyond a window.
    fn offer(
        &self,
        at: At,
        x: &Tensor,
        mask: Option<&Tensor>,
        group: &Group,
        hook: &mut dyn Hook,
    ) -> Result<Tensor> {
        if !hook.wants(at) {
            return Ok(x.clone());
        }
        let Operands { n, g, r, len, .. } = *self;
        let keys = self.keys();
        let all = x.reshape((g, n, r, len, keys))?;
        let mut changed = false;
        let mut parts = Vec::with_capacity(n);
        for i in 0..n {
            let shown = all.narrow(1, i, 1)?.contiguous()?.reshape((g * r, len, keys))?;
            let mut seen = hook.scores(at, group.first + i, shown.clone())?;
            if seen.id() != shown.id() {
                changed = true;
                if let Some(mask) = mask {
                    let hidden = mask.lt(0.0)?.broadcast_as(seen.shape())?;
                    seen = hidden.where_cond(&mask.broadcast_as(seen.shape())?.contiguous()?, &seen)?;
                }
            }
            parts.push(seen.reshape((g, 1, r, len, keys))?);
        }
        if !changed {
            return Ok(x.clone());
        }
        Ok(Tensor::cat(&parts, 1)?.reshape((g * n * r, len, keys))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::Segment;
    use crate::model::hook::NoHook;
    use candle_core::{Device, Var};
    use serde_json::json;

    fn config(scalar: f64, window: usize, cap: Option<f64>) -> Config {
        let config = json!({"model_type": "gemma2", "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 8, "vocab_size": 8,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": scalar, "attn_logit_softcapping": cap, "final_logit_softcapping": null,
            "sliding_window": window, "rope_theta": 1e4});
        Config::from_json(config).unwrap()
    }

    fn random(rows: usize, width: usize) -> Tensor {
        Tensor::randn(0f32, 2.0, (rows, width), &Device::Cpu).unwrap()
    }

    /// The kernel against the composed form, which a tracked gradient asks for, with and without windows and
    /// soft-caps, over prompts, suffixes and single rows.
    #[test]
    fn the_kernel_equals_the_composed_form() {
        let segment = |len, past_len| Segment { len, past: 2, past_len };
        let past = Kv { k: random(13, 16), v: random(13, 16) };
        for (len, past_len) in [(9, 0), (5, 11), (1, 11), (1, 3), (2, 7)] {
            for (window, cap) in [(4, None), (4, Some(1.5)), (100, Some(1.5)), (1, None)] {
                let config = config(20.0, window, cap);
                let batch = Batch::new(vec![segment(len, past_len), segment(len, past_len), segment(3, 0)]);
                let rows = batch.rows();
                let (q, own) = (random(rows, 32), Kv { k: random(rows, 16), v: random(rows, 16) });
                let tracked = Var::from_tensor(&q).unwrap();
                for layer in 0..2 {
                    let z = |q: &Tensor| {
                        let qkv = Qkv { q, own: &own, past: Some(&past) };
                        attend(&config, layer, &qkv, &batch, &mut NoHook).unwrap()
                    };
                    let (kernel, composed) = (z(&q), z(tracked.as_tensor()));
                    assert!(!kernel.track_op() && composed.track_op());
                    let diff = (kernel - composed.detach()).unwrap().abs().unwrap().max_all().unwrap();
                    let diff = diff.to_scalar::<f32>().unwrap();
                    assert!(diff < 1e-5, "{len} rows after {past_len}, {window}, {cap:?}: {diff}");
                }
            }
        }
    }
}
