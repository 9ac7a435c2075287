//! What turns many numbers of a tensor into few, and what orders or normalizes them.

use candle_core::{D, DType, Tensor as Numbers};
use rhai::{Dynamic, Map};

use super::tensor::{Tensor, refused};
use crate::script::api::Api;
use crate::script::error::{ScriptResult, fail};

/// Reduces one axis of a tensor.
type Reduce = fn(&Numbers, usize) -> candle_core::Result<Numbers>;

/// Registers reductions, order and the softmax family.
pub fn register(api: &mut Api) {
    reductions(api);
    order(api);
    softmaxes(api);
}

fn reductions(api: &mut Api) {
    let all_or_axis = |api: &mut Api, entry: [&'static str; 5], reduce: Reduce| {
        let [name, signature, summary, code, output] = entry;
        api.method("Tensor", signature, summary)
            .example(code, output)
            .native(move |t: &mut Tensor| over_all(t, name, reduce))
            .native(move |t: &mut Tensor, axis: i64| over_axis(t, name, axis, reduce));
    };
    all_or_axis(
        api,
        [
            "sum",
            "sum(axis?: int) -> float | Tensor",
            "the sum of all numbers, or along an axis",
            "tensor([[1, 2], [3, 4]]).sum(0)",
            "Tensor [2] [4.0, 6.0]",
        ],
        |t, axis| t.sum(axis),
    );
    all_or_axis(
        api,
        [
            "mean",
            "mean(axis?: int) -> float | Tensor",
            "the mean of all numbers, or along an axis",
            "tensor([[1, 2], [3, 4]]).mean()",
            "2.5",
        ],
        |t, axis| t.mean(axis),
    );
    all_or_axis(
        api,
        [
            "std",
            "std(axis?: int) -> float | Tensor",
            "the standard deviation, divided by n as NumPy's (ddof 0)",
            "tensor([1, 3, 1, 3]).std()",
            "1.0",
        ],
        |t, axis| variance(t, axis)?.sqrt(),
    );
    all_or_axis(
        api,
        [
            "var",
            "var(axis?: int) -> float | Tensor",
            "the variance, divided by n as NumPy's (ddof 0)",
            "tensor([[0, 4], [1, 1]]).var(1)",
            "Tensor [2] [4.0, 0.0]",
        ],
        variance,
    );
    all_or_axis(
        api,
        [
            "max",
            "max(axis?: int) -> float | Tensor",
            "the largest number, or those along an axis",
            "tensor([[1, 5], [7, 2]]).max(1)",
            "Tensor [2] [5.0, 7.0]",
        ],
        |t, axis| t.max(axis),
    );
    all_or_axis(
        api,
        [
            "min",
            "min(axis?: int) -> float | Tensor",
            "the smallest number, or those along an axis",
            "tensor([[1, 5], [7, 2]]).min()",
            "1.0",
        ],
        |t, axis| t.min(axis),
    );
    all_or_axis(
        api,
        [
            "norm",
            "norm(axis?: int) -> float | Tensor",
            "the Euclidean length of all numbers, or along an axis",
            "tensor([3, 4]).norm()",
            "5.0",
        ],
        |t, axis| t.sqr()?.sum(axis)?.sqrt(),
    );
    all_or_axis(
        api,
        [
            "argmax",
            "argmax(axis?: int) -> int | Tensor",
            "the index of the largest number, in row-major order or along an axis; of equals the first",
            "tensor([0.1, 0.7, 0.2]).argmax()",
            "1",
        ],
        |t, axis| t.argmax(axis),
    );
}

fn variance(t: &Numbers, axis: usize) -> candle_core::Result<Numbers> {
    t.broadcast_sub(&t.mean_keepdim(axis)?)?.sqr()?.mean(axis)
}

/// In float64: the result is a float of the script, and long sums stay exact.
fn over_all(t: &Tensor, name: &str, reduce: Reduce) -> ScriptResult<Dynamic> {
    let numbers = t.floats()?.flatten_all().and_then(|flat| flat.to_dtype(DType::F64)).map_err(refused)?;
    refuse_empty(t, name, numbers.elem_count())?;
    t.value(reduce(&numbers, 0))
}

fn over_axis(t: &Tensor, name: &str, axis: i64, reduce: Reduce) -> ScriptResult<Dynamic> {
    let axis = self::axis(t, name, axis)?;
    refuse_empty(t, name, t.dims().get(axis).copied().unwrap_or(1))?;
    t.value(reduce(&t.floats()?, axis))
}

/// Only a sum of nothing has a value.
fn refuse_empty(t: &Tensor, name: &str, len: usize) -> ScriptResult<()> {
    match (len, name) {
        (0, "mean" | "std" | "var" | "max" | "min" | "argmax") => {
            Err(fail(format!("`{name}`: there are no numbers in shape {:?}", t.dims())).into())
        }
        _ => Ok(()),
    }
}

/// The axis that `axis` names, which counts from the end if negative; `name` is what errors call the function.
pub(super) fn axis(t: &Tensor, name: &str, axis: i64) -> ScriptResult<usize> {
    let rank = t.dims().len() as i64;
    let index = if axis < 0 { axis + rank } else { axis };
    match usize::try_from(index) {
        Ok(index) if (index as i64) < rank => Ok(index),
        _ if rank == 0 => Err(fail(format!("`{name}`: the tensor has no axes")).into()),
        _ => Err(fail(format!("`{name}`: axis {axis} does not exist in shape {:?}", t.dims()))
            .help(format!("axes count from 0 to {}, or back from -1", rank - 1))
            .into()),
    }
}

fn order(api: &mut Api) {
    api.method("Tensor", "sort() -> Tensor", "in rising order along the last axis")
        .example("tensor([3, 1, 2]).sort()", "Tensor [3] [1.0, 2.0, 3.0]")
        .native(|t: &mut Tensor| -> ScriptResult<Tensor> {
            axis(t, "sort", -1)?;
            let mut numbers = t.host()?;
            for row in rows(&mut numbers, t) {
                row.sort_unstable_by(f32::total_cmp);
            }
            t.derived(Numbers::from_vec(numbers, t.dims(), t.inner().device()))
        });
    api.method(
        "Tensor",
        "topk(k: int) -> map",
        "the `k` largest numbers along the last axis, as `#{values, indices}`; of equals the first come first",
    )
    .example("tensor([0.1, 0.5, 0.4]).topk(2).indices.to_array()", "[1, 2]")
    .native(|t: &mut Tensor, k: i64| topk(t, k));
}

fn rows<'a>(numbers: &'a mut [f32], t: &Tensor) -> std::slice::ChunksMut<'a, f32> {
    numbers.chunks_mut(t.dims().last().copied().unwrap_or(1).max(1))
}

fn topk(t: &Tensor, k: i64) -> ScriptResult<Map> {
    axis(t, "topk", -1)?;
    let mut dims = t.dims().to_vec();
    let len = dims.pop().unwrap_or(1);
    let k = usize::try_from(k).ok().filter(|k| (1..=len).contains(k)).ok_or_else(|| {
        fail(format!("`topk`: cannot take {k} of {len} numbers")).help(format!("take 1 to {len}"))
    })?;
    dims.push(k);
    let (mut values, mut indices) = (Vec::new(), Vec::new());
    for row in rows(&mut t.host()?, t) {
        let mut entries: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
        let first = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        entries.select_nth_unstable_by(k - 1, first);
        entries.truncate(k);
        entries.sort_unstable_by(first);
        indices.extend(entries.iter().map(|(i, _)| *i));
        values.extend(entries.iter().map(|(_, x)| *x));
    }
    let device = t.inner().device();
    let values = t.derived(Numbers::from_vec(values, dims.as_slice(), device))?;
    let indices = t.derived(Numbers::from_vec(indices, dims.as_slice(), device))?;
    Ok(Map::from([("values".into(), Dynamic::from(values)), ("indices".into(), Dynamic::from(indices))]))
}

fn softmaxes(api: &mut Api) {
    api.method("Tensor", "softmax() -> Tensor", "probabilities from logits, along the last axis")
        .example("tensor([[0, 0], [0, 1000]]).softmax()", "Tensor [2, 2] [[0.5, 0.5], [0.0, 1.0]]")
        .native(|t: &mut Tensor| -> ScriptResult<Tensor> {
            axis(t, "softmax", -1)?;
            t.check_room(t.dims())?;
            t.derived(candle_nn::ops::softmax(&t.floats()?, D::Minus1))
        });
    api.method("Tensor", "log_softmax() -> Tensor", "log-probabilities from logits, along the last axis")
        .example("tensor([0, 0]).log_softmax()", "Tensor [2] [-0.6931, -0.6931]")
        .native(|t: &mut Tensor| -> ScriptResult<Tensor> {
            axis(t, "log_softmax", -1)?;
            t.check_room(t.dims())?;
            t.derived(candle_nn::ops::log_softmax(&t.floats()?, D::Minus1))
        });
    api.method(
        "Tensor",
        "logsumexp() -> float | Tensor",
        "the logarithm of the summed exponentials, along the last axis",
    )
    .example("tensor([[1000, -1000], [0, -1000]]).logsumexp()", "Tensor [2] [1000.0, 0.0]")
    .native(|t: &mut Tensor| -> ScriptResult<Dynamic> {
        axis(t, "logsumexp", -1)?;
        t.value(t.floats()?.log_sum_exp(D::Minus1))
    });
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn an_axis_counts_from_either_end() {
        check(&[
            ("tensor([[1, 2], [3, 4]]).sum(-1)", "Tensor [2] [3.0, 7.0]"),
            ("tensor([1, 2]).sum(0)", "3.0"),
            ("tensor([[1, 2], [3, 4]]).argmax(0).to_array()", "[1, 1]"),
            (
                "zeros([2, 3]).mean(2)",
                "`mean`: axis 2 does not exist in shape [2, 3]; axes count from 0 to 1, or back from -1",
            ),
        ]);
    }

    #[test]
    fn nothing_has_a_sum_but_no_mean() {
        check(&[
            ("zeros([0]).sum()", "0.0"),
            ("zeros([0]).mean()", "`mean`: there are no numbers in shape [0]"),
            ("zeros([0, 2]).max(0)", "`max`: there are no numbers in shape [0, 2]"),
            ("zeros([0, 2]).sum(0)", "Tensor [2] [0.0, 0.0]"),
        ]);
    }

    #[test]
    fn order_is_along_the_last_axis_and_stable() {
        check(&[
            ("tensor([[2, 1], [0, -1]]).sort()", "Tensor [2, 2] [[1.0, 2.0], [-1.0, 0.0]]"),
            ("tensor([1, 3, 3, 2]).topk(3).indices", "Tensor [3] u32 [1, 2, 3]"),
            ("tensor([[1, 2], [4, 3]]).topk(1).values", "Tensor [2, 1] [[2.0], [4.0]]"),
            ("tensor([1, 2]).topk(3)", "`topk`: cannot take 3 of 2 numbers; take 1 to 2"),
        ]);
    }

    #[test]
    fn log_softmax_is_exact_far_from_zero() {
        check(&[("tensor([0, -1000]).log_softmax()", "Tensor [2] [0.0, -1000.0]")]);
    }
}
