//! Attention over a packed batch: each group of equal segments is one batched product, and a prefix that the
//! segments share is read where it lies, never copied a segment.

use super::batch::{Batch, Group, Kv};
use super::config::Config;
use super::error::{ModelError, Result};
use super::hook::{At, Hook};
use super::ops;
use super::point::Point;
use candle_core::Tensor;

/// Queries, keys (both after rotary) and values of all rows, heads side by side: `[rows, heads * d_head]`.
pub struct Qkv<'a> {
    pub q: &'a Tensor,
    pub own: &'a Kv,
    pub past: &'a [Kv],
}

/// Mixes values: returns `z`, `[rows, n_heads * d_head]`.
pub fn attend(
    config: &Config,
    layer: usize,
    qkv: &Qkv,
    batch: &Batch,
    hook: &mut dyn Hook,
) -> Result<Tensor> {
    let mut parts = Vec::new();
    for group in batch.groups() {
        parts.push(attend_group(config, layer, qkv, &group, hook)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(&parts, 0)? })
}

/// In the comments: n segments of `len` rows after a past of P; g key heads, each read by r query heads; d = d_head.
fn attend_group(
    config: &Config,
    layer: usize,
    qkv: &Qkv,
    group: &Group,
    hook: &mut dyn Hook,
) -> Result<Tensor> {
    let (n, len, past_len) = (group.count, group.segment.len, group.segment.past_len);
    let (g, r, d) = (config.n_kv_heads, config.heads_per_kv(), config.d_head);
    let rows = |x: &Tensor| x.narrow(0, group.rows.start, group.rows.len());
    let past = match past_len {
        0 => None,
        _ => Some(
            qkv.past
                .get(group.segment.past)
                .ok_or_else(|| ModelError::Tensor("a segment names a past that was not given".into()))?
                .prefix(past_len)?,
        ),
    };

    let q = rows(qkv.q)?.reshape((n, len, g, r, d))?.permute((2, 0, 3, 1, 4))?.contiguous()?; // [g, n, r, len, d]
    let q = (q * (1.0 / (d as f64).sqrt()))?;
    let own = |x: &Tensor| rows(x)?.reshape((n, len, g, d))?.permute((2, 0, 1, 3))?.contiguous();
    let (k, v) = (own(&qkv.own.k)?, own(&qkv.own.v)?); // [g, n, len, d]

    let own_scores = q.reshape((g * n, r * len, d))?.matmul(&k.reshape((g * n, len, d))?.t()?)?.reshape((
        g,
        n,
        r * len,
        len,
    ))?;
    let scores = match &past {
        None => own_scores,
        Some(past) => {
            let k = past.k.reshape((past_len, g, d))?.permute((1, 2, 0))?.contiguous()?; // [g, d, P]
            let past_scores =
                q.reshape((g, n * r * len, d))?.matmul(&k)?.reshape((g, n, r * len, past_len))?;
            Tensor::cat(&[past_scores, own_scores], 3)?
        }
    };
    let keys = past_len + len;
    let mask = group.causal_mask(scores.dtype(), scores.device())?;
    let scores = scores.reshape((g * n * r, len, keys))?;
    let masked = if len == 1 { scores } else { scores.broadcast_add(&mask)? };
    let look = Look { group, n, g, r, len, keys };
    let masked = look.offer(Point::AttnScores, layer, masked, Some(&mask), hook)?;
    let pattern = look.offer(Point::Pattern, layer, ops::softmax(&masked)?, None, hook)?;

    let pattern = pattern.reshape((g, n, r * len, keys))?;
    let own_pattern = pattern.narrow(3, past_len, len)?.contiguous()?;
    let z = own_pattern.reshape((g * n, r * len, len))?.matmul(&v.reshape((g * n, len, d))?)?;
    let z = match &past {
        None => z,
        Some(past) => {
            let v = past.v.reshape((past_len, g, d))?.transpose(0, 1)?.contiguous()?; // [g, P, d]
            let past_pattern = pattern.narrow(3, 0, past_len)?.contiguous()?;
            let past_z = past_pattern.reshape((g, n * r * len, past_len))?.matmul(&v)?;
            (z.reshape((g, n * r * len, d))? + past_z)?
        }
    };
    let z = z.reshape((g, n, r, len, d))?.permute((1, 3, 0, 2, 4))?.contiguous()?; // [n, len, g, r, d]
    Ok(z.reshape((n * len, g * r * d))?)
}

/// Shows a group's `[g * n * r, len, keys]` scores to the hook, one segment at a time.
struct Look<'a> {
    group: &'a Group,
    n: usize,
    g: usize,
    r: usize,
    len: usize,
    keys: usize,
}

impl Look<'_> {
    /// With a `mask`, what it hides stays hidden whatever the hook returns: no patch may look into the future.
    fn offer(
        &self,
        point: Point,
        layer: usize,
        x: Tensor,
        mask: Option<&Tensor>,
        hook: &mut dyn Hook,
    ) -> Result<Tensor> {
        let at = At { point, layer };
        if !hook.wants(at) {
            return Ok(x);
        }
        let Look { group, n, g, r, len, keys } = *self;
        let x = x.reshape((g, n, r, len, keys))?;
        let mut seen = Vec::with_capacity(n);
        for i in 0..n {
            let one = x.narrow(1, i, 1)?.contiguous()?.reshape((g * r, len, keys))?;
            let mut one = hook.scores(at, group.first + i, one)?;
            if let Some(mask) = mask {
                let hidden = mask.lt(0.0)?.broadcast_as(one.shape())?;
                one = hidden.where_cond(&mask.broadcast_as(one.shape())?.contiguous()?, &one)?;
            }
            seen.push(one.reshape((g, 1, r, len, keys))?);
        }
        Ok(Tensor::cat(&seen, 1)?.reshape((g * n * r, len, keys))?)
    }
}
