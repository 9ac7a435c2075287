//! Sums, norms, softmax, rotary and activations, each behind one name: a kernel of [`super::cpu`] or [`super::card`]
//! where it applies, candle's fused kernel on other devices, and plain tensor operations where a gradient is tracked
//! (candle's fused kernels drop gradients silently). Nothing else calls either kind of kernel.

use super::batch::Kv;
use super::card;
use super::config::Activation;
use super::cpu::blocks::{self, Blocks};
use super::cpu::{self, amx, elementwise, few, general, tile};
use super::error::{ModelError, Result};
use super::precision::Precision;
use super::rope::RotaryTable;
use super::weight::{Table, Weight};
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{ops, rotary_emb};

/// `x W` for each of the weights: `x` `[rows, in]`. Several at once prepare `x` once.
pub fn products<const N: usize>(
    x: &Tensor,
    weights: [&Weight; N],
    precision: Precision,
) -> Result<[Tensor; N]> {
    let rows = x.dim(0)?;
    let kernel = cpu::applies(&[x]);
    let dense = weights.map(|weight| match weight {
        Weight::Dense(dense, _) => Some(dense),
        Weight::Blocks(_) => None,
    });
    if let Some(dense) = dense.into_iter().collect::<Option<Vec<_>>>()
        && kernel
        && cpu::applies(&dense)
        && amx::serves(rows)
    {
        return array(amx::products(x, &dense, amx::Layout::InOut, precision)?);
    }
    if let Some(dense) = dense.into_iter().collect::<Option<Vec<_>>>()
        && card::products::serves(x, &dense)
    {
        return array(card::products::few(x, &dense, None)?);
    }
    let product = |weight: &Weight| match weight.blocks() {
        Some(blocks) if kernel && multiply(blocks, rows) => Ok(blocks.product(x)?),
        _ => product(x, &weight.dense()?, precision),
    };
    array(weights.into_iter().map(product).collect::<Result<_>>()?)
}

/// `more + x W`: `more` `[rows, out]`.
pub fn product_onto(more: &Tensor, x: &Tensor, weight: &Weight, precision: Precision) -> Result<Tensor> {
    if let Weight::Dense(dense, _) = weight
        && card::products::serves(x, &[dense])
        && card::applies(&[x, more])
    {
        let [sum] = array(card::products::few(x, &[dense], Some(more))?)?;
        return Ok(sum);
    }
    let [y] = products(x, [weight], precision)?;
    add(more, &y)
}

/// `act(x W_gate) * (x W_up)`
pub fn gated_product(
    x: &Tensor,
    weights: [&Weight; 2],
    kind: Activation,
    precision: Precision,
) -> Result<Tensor> {
    if let [Weight::Dense(gate, _), Weight::Dense(up, _)] = weights
        && card::products::serves(x, &[gate, up])
    {
        return Ok(card::products::gated(x, [gate, up], kind)?);
    }
    let [gate, up] = products(x, weights, precision)?;
    gated(&gate, &up, kind)
}

/// Do blocks multiply so many rows faster than the tensor made of them?
fn multiply(blocks: &Blocks, rows: usize) -> bool {
    (1..=blocks::MOST_ROWS).contains(&rows) && blocks.multiplies()
}

/// `x W`: `x` `[rows, in]`, `weight` `[in, out]`.
fn product(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    let kernel = cpu::applies(&[x, weight]);
    Ok(match x.dim(0)? {
        _ if !kernel => other_product(x, weight, precision)?,
        1 => few::row_product(x, weight)?,
        rows if rows <= tile::most_rows() => tile::product(x, weight)?,
        rows if amx::serves(rows) => {
            let [y] = array(amx::products(x, &[weight], amx::Layout::InOut, precision)?)?;
            y
        }
        _ => general::product(x, weight)?,
    })
}

/// `x W` by candle, elsewhere than by a kernel of the CPU.
fn other_product(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    card::products::multiply(precision);
    Ok(x.matmul(weight)?)
}

fn array<const N: usize>(tensors: Vec<Tensor>) -> Result<[Tensor; N]> {
    tensors.try_into().map_err(|_| ModelError::Tensor("a product lacks results".into()))
}

/// Numbers of a table that are dense at once while it is multiplied, where it is kept in blocks.
pub const TABLE_PIECE: usize = 1 << 23;

/// `x Wᵀ`: `x` `[rows, d_model]`.
pub fn unembed(x: &Tensor, table: &Table, precision: Precision) -> Result<Tensor> {
    if let Some(blocks) = table.blocks()
        && cpu::applies(&[x])
        && multiply(blocks, x.dim(0)?)
    {
        return Ok(blocks.product(x)?);
    }
    match table {
        Table::Dense(dense, _) if card::products::serves(x, &[&dense.t()?]) => {
            let [logits] = array(card::products::few(x, &[&dense.t()?], None)?)?;
            Ok(logits)
        }
        Table::Dense(dense, _) => product_transposed(x, dense, precision),
        Table::Blocks(blocks) => {
            let (outer, inner) = blocks.dims();
            // Equal ones: a general product with few columns sums in another order.
            let piece = outer.div_ceil((outer * inner).div_ceil(TABLE_PIECE)).max(1);
            let pieces = (0..outer).step_by(piece).map(|first| {
                let dense = blocks.dense(first..outer.min(first + piece))?;
                product_transposed(x, &dense, precision)
            });
            Ok(Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)?)
        }
    }
}

/// `x Wᵀ`: `x` `[rows, in]`, `weight` `[out, in]`.
pub fn product_transposed(x: &Tensor, weight: &Tensor, precision: Precision) -> Result<Tensor> {
    let kernel = cpu::applies(&[x, weight]);
    Ok(match x.dim(0)? {
        _ if !kernel => other_product(x, &weight.t()?, precision)?,
        1..=few::MOST_ROWS => few::product_transposed(x, weight)?,
        rows if amx::serves(rows) => {
            let [y] = array(amx::products(x, &[weight], amx::Layout::OutIn, precision)?)?;
            y
        }
        _ => general::product_transposed(x, weight)?,
    })
}

/// A contiguous copy of `x`'s transpose.
pub fn transpose(x: &Tensor) -> Result<Tensor> {
    Ok(if cpu::applies(&[x]) { cpu::transpose::transpose(x)? } else { x.t()?.contiguous()? })
}

/// The matrix `[in, out]` of one `[out, in]`, laid as products read it: column by column on a card, where nothing need be
/// moved, row by row elsewhere.
pub fn in_out(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if x.device().is_cuda() { x.t()? } else { transpose(&x)? })
}

/// A matrix `[in, out]` laid in that way.
pub fn laid(matrix: &Tensor) -> Result<Tensor> {
    Ok(if matrix.device().is_cuda() { matrix.t()?.contiguous()?.t()? } else { matrix.clone() })
}

/// `x` in another dtype.
pub fn to_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let half = matches!(x.dtype(), DType::F16 | DType::BF16) && x.is_contiguous();
    Ok(match (x.device(), dtype) {
        (Device::Cpu, DType::F32) if half && !x.track_op() => cpu::widen::widen(x)?,
        _ => x.to_dtype(dtype)?,
    })
}

/// `a + b`, of equal shapes.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(if cpu::applies(&[a, b]) {
        elementwise::add(a, b)?
    } else if card::applies(&[a, b]) {
        card::rows::add(a, b)?
    } else {
        (a + b)?
    })
}

/// `x + bias`, `bias` `[width]` to every row.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(if cpu::applies(&[x, bias]) {
        elementwise::add_bias(x, bias)?
    } else if card::applies(&[x, bias]) {
        card::rows::add_bias(x, bias)?
    } else {
        x.broadcast_add(bias)?
    })
}

/// `x / rms(x) * gain` over the last axis.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, eps) = (x.contiguous()?, eps as f32);
    Ok(if cpu::applies(&[&x, gain]) {
        elementwise::rms_norm(&x, gain, eps)?
    } else if card::applies(&[&x, gain]) {
        card::rows::norm(&x, gain, None, eps)?
    } else if x.track_op() {
        ops::rms_norm_slow(&x, gain, eps)?
    } else {
        ops::rms_norm(&x, gain, eps)?
    })
}

/// `(x - mean) / std * gain + bias` over the last axis.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, eps) = (x.contiguous()?, eps as f32);
    Ok(if cpu::applies(&[&x, gain, bias]) {
        elementwise::layer_norm(&x, gain, bias, eps)?
    } else if card::applies(&[&x, gain, bias]) {
        card::rows::norm(&x, gain, Some(bias), eps)?
    } else if x.track_op() {
        ops::layer_norm_slow(&x, gain, bias, eps)?
    } else {
        ops::layer_norm(&x, gain, bias, eps)?
    })
}

/// `a + b`, of equal shapes, and its norm over the last axis: with a bias as [`layer_norm`], else as [`rms_norm`].
pub fn add_norm(
    a: &Tensor,
    b: &Tensor,
    gain: &Tensor,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let operands: Vec<&Tensor> = [a, b, gain].into_iter().chain(bias).collect();
    if card::applies(&operands) {
        return Ok(card::rows::add_norm(a, b, gain, bias, eps as f32)?);
    }
    let sum = add(a, b)?;
    let normed = match bias {
        Some(bias) => layer_norm(&sum, gain, bias, eps)?,
        None => rms_norm(&sum, gain, eps)?,
    };
    Ok((sum, normed))
}

/// Softmax over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if x.track_op() { ops::softmax(&x, D::Minus1)? } else { ops::softmax_last_dim(&x)? })
}

/// Rotates the two halves of each head's first dimensions, in queries and keys: `[rows, heads * d_head]` each, the table's
/// angles `[rows, half]`; dimensions from `2 half` on stay as they are.
pub fn rotary([q, k]: [&Tensor; 2], table: &RotaryTable, d_head: usize) -> Result<[Tensor; 2]> {
    if let Some(positions) = &table.positions
        && card::applies(&[q, k])
    {
        return Ok(card::rows::rotary([q, k], &table.cos, &table.sin, positions, d_head)?);
    }
    Ok([turned(q, table, d_head)?, turned(k, table, d_head)?])
}

fn turned(x: &Tensor, table: &RotaryTable, d_head: usize) -> Result<Tensor> {
    let x = x.contiguous()?;
    if cpu::applies(&[&x, &table.cos, &table.sin]) && table.positions.is_none() {
        return Ok(elementwise::rotary(&x, &table.cos, &table.sin, d_head)?);
    }
    let (cos, sin) = &table.of_rows(x.dtype())?;
    let (rows, width) = x.dims2()?;
    let dims = 2 * cos.dim(1)?;
    let heads = x.reshape((1, rows, width / d_head, d_head))?;
    let first = heads.narrow(3, 0, dims)?.contiguous()?;
    let rotated = if x.track_op() {
        rotary_emb::rope_slow(&first.transpose(1, 2)?.contiguous()?, cos, sin)?.transpose(1, 2)?
    } else {
        rotary_emb::rope_thd(&first, cos, sin)?
    };
    let rotated = match d_head - dims {
        0 => rotated,
        rest => Tensor::cat(&[&rotated, &heads.narrow(3, dims, rest)?], 3)?,
    };
    Ok(rotated.contiguous()?.reshape((rows, width))?)
}

/// `cap tanh(x / cap)`: nearly `x` where it is small, never beyond `cap`.
pub fn softcap(x: &Tensor, cap: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    Ok(if cpu::applies(&[&x]) { elementwise::softcap(&x, cap as f32)? } else { ((x / cap)?.tanh()? * cap)? })
}

/// `act(x)`
pub fn activation(x: &Tensor, kind: Activation) -> Result<Tensor> {
    if card::applies(&[x]) {
        return Ok(card::rows::gated(x, None, kind)?);
    }
    if cpu::applies(&[x])
        && let Some(y) = elementwise::activation(x, kind)
    {
        return Ok(y?);
    }
    Ok(match kind {
        Activation::Silu => x.silu()?,
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::Relu => x.relu()?,
    })
}

/// `act(gate) * up`
pub fn gated(gate: &Tensor, up: &Tensor, kind: Activation) -> Result<Tensor> {
    if card::applies(&[gate, up]) {
        return Ok(card::rows::gated(gate, Some(up), kind)?);
    }
    if cpu::applies(&[gate, up])
        && let Some(y) = elementwise::gated(gate, up, kind)
    {
        return Ok(y?);
    }
    Ok((activation(gate, kind)? * up)?)
}

/// Rows `from`, `[n]` of `u32`, of `a` and then `b` as if they lay end to end.
pub fn take(a: &Tensor, b: Option<&Tensor>, from: &Tensor) -> Result<Tensor> {
    let both = b.unwrap_or(a);
    if card::applies(&[a, both]) && a.rank() == 2 {
        return Ok(card::rows::take(a, both, from)?);
    }
    Ok(match b {
        Some(b) => Tensor::cat(&[a, b], 0)?.index_select(from, 0)?,
        None => a.index_select(from, 0)?,
    })
}

/// Copies of contiguous views, each of which owns its numbers and no others.
pub fn own_all(views: &[&Tensor]) -> Result<Vec<Tensor>> {
    if card::serves(views) {
        return Ok(card::rows::own_all(views)?);
    }
    Ok(views.iter().map(|view| view.force_contiguous()).collect::<candle_core::Result<_>>()?)
}

/// In each layer, writes row i of `new` over row `to[i]` of `all`, in place.
pub fn put(all: &[Kv], mut new: &[Kv], to: &[usize]) -> Result<()> {
    // Layers of one device together.
    for all in all.chunk_by(|a, b| a.k.device().same_device(b.k.device())) {
        let Some((here, later)) = new.split_at_checked(all.len()) else { break };
        put_here(all, here, to)?;
        new = later;
    }
    Ok(())
}

/// The same of layers on one device.
fn put_here(all: &[Kv], new: &[Kv], to: &[usize]) -> Result<()> {
    let Some(first) = all.first() else { return Ok(()) };
    let rows = match first.k.device() {
        Device::Cpu => None,
        device => Some(Tensor::from_iter(to.iter().map(|&row| row as u32), device)?),
    };
    if let Some(rows) = &rows
        && all.iter().zip(new).all(|(all, new)| card::applies(&[&all.k, &all.v, &new.k, &new.v]))
    {
        return Ok(card::rows::put(all, new, rows)?);
    }
    for (all, new) in all.iter().zip(new) {
        for (i, &row) in to.iter().enumerate() {
            all.k.slice_set(&new.k.narrow(0, i, 1)?, 0, row)?;
            all.v.slice_set(&new.v.narrow(0, i, 1)?, 0, row)?;
        }
    }
    Ok(())
}

/// Of every row of logits `[rows, d_vocab]` on a card: the first of the largest, the natural log of its probability, and
/// its logit, NaN if any is. `None` where no kernel chooses.
pub fn greedy(logits: &Tensor) -> Result<Option<Vec<(u32, f32, f32)>>> {
    // Ids come back as float32.
    if !card::applies(&[logits]) || logits.rank() != 2 || logits.dim(1)? >= 1 << 24 {
        return Ok(None);
    }
    let chosen = card::rows::choose(logits)?.to_vec2::<f32>()?;
    Ok(Some(chosen.into_iter().map(|row| (row[0] as u32, row[1], row[2])).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn random(shape: (usize, usize)) -> Tensor {
        Tensor::randn(0f32, 2.0, shape, &Device::Cpu).unwrap()
    }

    /// The kernel and the differentiable form of an operation, on the same random input.
    fn both_agree(f: impl Fn(&Tensor) -> Tensor) {
        for rows in [1, 2, 3, 7, 8, 17, 32, 700] {
            let x = random((rows, 96));
            let tracked = Var::from_tensor(&x).unwrap();
            let (kernel, plain) = (f(&x), f(tracked.as_tensor()));
            assert!(!kernel.track_op() && plain.track_op());
            let diff = (&kernel - plain.detach()).unwrap().abs().unwrap().max_all().unwrap();
            let largest = kernel.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(diff.to_scalar::<f32>().unwrap() < 1e-6 * largest.max(1.0), "{rows} rows: {diff}");
            let gradient = plain.sum_all().unwrap().backward().unwrap();
            let gradient = gradient.get(&tracked).expect("a gradient");
            assert!(gradient.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() > 0.0);
        }
    }

    #[test]
    fn kernels_equal_the_differentiable_forms() {
        let vector =
            |seed: f64| (Tensor::arange(0f32, 96.0, &Device::Cpu).unwrap() * seed).unwrap().sin().unwrap();
        let (gain, bias) = (vector(0.3), vector(0.7));
        let weight = random((301, 96));
        both_agree(|x| product_transposed(x, &weight, Precision::Highest).unwrap());
        let weight = Weight::Dense(transpose(&weight).unwrap(), None);
        both_agree(|x| products(x, [&weight], Precision::Highest).unwrap().into_iter().next().unwrap());
        both_agree(|x| add(x, &x.detach()).unwrap());
        both_agree(|x| add_bias(x, &bias).unwrap());
        both_agree(|x| rms_norm(x, &gain, 1e-5).unwrap());
        both_agree(|x| layer_norm(x, &gain, &bias, 1e-5).unwrap());
        for kind in [Activation::Silu, Activation::GeluTanh, Activation::Gelu, Activation::Relu] {
            both_agree(|x| activation(x, kind).unwrap());
            both_agree(|x| gated(x, &x.detach(), kind).unwrap());
        }
        both_agree(|x| softcap(x, 1.5).unwrap());
        // All of each head, and its first third.
        for d_head in [16, 48] {
            let angles = random((700, 8));
            both_agree(|x| {
                let angles = angles.narrow(0, 0, x.dim(0).unwrap()).unwrap();
                let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
                turned(x, &RotaryTable { cos, sin, positions: None }, d_head).unwrap()
            });
        }
    }
}
