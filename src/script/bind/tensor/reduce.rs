//! What turns many numbers of a tensor into few, and what orders or normalizes them.
//!
//! Everything here accumulates in float64 and rounds its result to float32 once, along an axis as over all numbers.
//! NaN and infinity go through as in NumPy; where there is an order, NaN is above all numbers.

use std::cmp::Ordering;

use candle_core::{Device, Tensor as Numbers};
use rhai::{Dynamic, Map};

use super::value::Tensor;
use crate::memory;
use crate::script::api::Api;
use crate::script::context::apart_if_long;
use crate::script::error::{ScriptResult, fail};

/// Registers reductions, order and the softmax family.
pub fn register(api: &mut Api) {
    reductions(api);
    indices(api);
    truths(api);
    order(api);
    softmaxes(api);
}

/// The numbers of a tensor along one axis, at one place of all the others.
#[derive(Clone, Copy)]
struct Lane<'a> {
    numbers: &'a [f32],
    start: usize,
    stride: usize,
    len: usize,
}

impl Lane<'_> {
    fn iter(self) -> impl Iterator<Item = f64> {
        let places = (0..self.len).map(move |i| self.start + i * self.stride);
        places.map(move |place| f64::from(self.numbers[place]))
    }

    fn sum(self) -> f64 {
        // From +0: the sum of nothing has no sign.
        self.iter().fold(0.0, |sum, x| sum + x)
    }

    fn mean(self) -> f64 {
        self.sum() / self.len as f64
    }

    fn variance(self) -> f64 {
        let mean = self.mean();
        self.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / self.len as f64
    }

    /// The place of the number that comes first in `order`; of equals the first.
    fn first_by(self, order: fn(f64, f64) -> Ordering) -> usize {
        let better = |best: (usize, f64), x: (usize, f64)| if order(x.1, best.1).is_lt() { x } else { best };
        self.iter().enumerate().reduce(better).map_or(0, |(place, _)| place)
    }

    fn largest(self) -> f64 {
        self.iter().reduce(|a, b| if falling(b, a).is_lt() { b } else { a }).unwrap_or(f64::NEG_INFINITY)
    }

    fn smallest(self) -> f64 {
        self.iter().reduce(|a, b| if nan_first(b, a).is_lt() { b } else { a }).unwrap_or(f64::INFINITY)
    }

    /// log Σ exp(x): the largest number is taken out first, unless it is infinite and decides alone.
    fn logsumexp(self) -> f64 {
        match self.largest() {
            top if top.is_finite() => top + self.iter().map(|x| (x - top).exp()).sum::<f64>().ln(),
            top => top,
        }
    }
}

/// Rising, NaN last whatever its sign, as NumPy sorts.
pub fn rising(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Falling, so that NaN comes first.
fn falling(a: f64, b: f64) -> Ordering {
    rising(b, a)
}

/// Rising, but NaN first: the smallest of numbers with a NaN is NaN.
fn nan_first(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// What `reduce` makes of all numbers, or of those along `axis` at each place of the others, with the shape that is
/// left. `name` is what errors call it.
fn reduced<T: Send + 'static>(
    t: &Tensor,
    name: &str,
    along: Option<i64>,
    reduce: impl Fn(Lane) -> T + Send + 'static,
) -> ScriptResult<(Vec<usize>, Vec<T>)> {
    let numbers = t.host()?;
    let Some(along) = along else {
        refuse_empty(t, name, numbers.len())?;
        let len = numbers.len();
        let all = move || vec![reduce(Lane { numbers: &numbers, start: 0, stride: 1, len })];
        return Ok((Vec::new(), apart_if_long(len, all)?));
    };
    let axis = axis(t, name, along)?;
    let (outer, rest) = t.dims().split_at(axis);
    let (len, inner) = rest.split_first().map_or((1, rest), |(len, inner)| (*len, inner));
    refuse_empty(t, name, len)?;
    let stride = inner.iter().product::<usize>();
    let dims = [outer, inner].concat();
    let places: usize = dims.iter().product();
    memory::reserve_many(places, size_of::<T>())?;
    let values = move || {
        let lane = |place: usize| Lane {
            numbers: &numbers,
            start: place / stride * stride * len + place % stride,
            stride,
            len,
        };
        (0..places).map(|place| reduce(lane(place))).collect()
    };
    Ok((dims, apart_if_long(places.saturating_mul(len), values)?))
}

/// A float, or a tensor of what is left of the shape.
fn floats(t: &Tensor, (dims, values): (Vec<usize>, Vec<f64>)) -> ScriptResult<Dynamic> {
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    t.value(Numbers::from_vec(values, dims, &Device::Cpu))
}

fn reductions(api: &mut Api) {
    for (name, signature, summary, code, output, reduce) in REDUCTIONS {
        api.method("Tensor", signature, summary)
            .example(code, output)
            .native(move |t: &mut Tensor| floats(t, reduced(t, name, None, reduce)?))
            .native(move |t: &mut Tensor, axis: i64| floats(t, reduced(t, name, Some(axis), reduce)?));
    }
}

/// A reduction: its name, signature, meaning, example and output.
type Reduction = (&'static str, &'static str, &'static str, &'static str, &'static str, fn(Lane) -> f64);

const REDUCTIONS: [Reduction; 7] = [
    (
        "sum",
        "sum(axis?: int) -> float | Tensor",
        "the sum of all numbers, or along an axis",
        "tensor([[1, 2], [3, 4]]).sum(0)",
        "Tensor [2] [4.0, 6.0]",
        |lane| lane.sum(),
    ),
    (
        "mean",
        "mean(axis?: int) -> float | Tensor",
        "the mean of all numbers, or along an axis",
        "tensor([[1, 2], [3, 4]]).mean()",
        "2.5",
        |lane| lane.mean(),
    ),
    (
        "std",
        "std(axis?: int) -> float | Tensor",
        "the standard deviation, divided by n as NumPy's (ddof 0)",
        "tensor([1, 3, 1, 3]).std()",
        "1.0",
        |lane| lane.variance().sqrt(),
    ),
    (
        "var",
        "var(axis?: int) -> float | Tensor",
        "the variance, divided by n as NumPy's (ddof 0)",
        "tensor([[0, 4], [1, 1]]).var(1)",
        "Tensor [2] [4.0, 0.0]",
        |lane| lane.variance(),
    ),
    (
        "max",
        "max(axis?: int) -> float | Tensor",
        "the largest number, or those along an axis; NaN if one of them is",
        "tensor([[1, 5], [7, 2]]).max(1)",
        "Tensor [2] [5.0, 7.0]",
        |lane| lane.largest(),
    ),
    (
        "min",
        "min(axis?: int) -> float | Tensor",
        "the smallest number, or those along an axis; NaN if one of them is",
        "tensor([[1, 5], [7, 2]]).min()",
        "1.0",
        |lane| lane.smallest(),
    ),
    (
        "norm",
        "norm(axis?: int) -> float | Tensor",
        "the Euclidean length of all numbers, or along an axis",
        "tensor([3, 4]).norm()",
        "5.0",
        |lane| lane.iter().map(|x| x * x).sum::<f64>().sqrt(),
    ),
];

fn indices(api: &mut Api) {
    let at = |t: &Tensor, name: &str, axis: Option<i64>, order: fn(f64, f64) -> Ordering| {
        let (dims, places) = reduced(t, name, axis, move |lane| lane.first_by(order) as u32)?;
        t.value(Numbers::from_vec(places, dims, &Device::Cpu))
    };
    api.method(
        "Tensor",
        "argmax(axis?: int) -> int | Tensor",
        "the index of the largest number, in row-major order or along an axis; of equals the first, and NaN is largest",
    )
    .example("tensor([0.1, 0.7, 0.2]).argmax()", "1")
    .native(move |t: &mut Tensor| at(t, "argmax", None, falling))
    .native(move |t: &mut Tensor, axis: i64| at(t, "argmax", Some(axis), falling));
    api.method(
        "Tensor",
        "argmin(axis?: int) -> int | Tensor",
        "the index of the smallest number, in row-major order or along an axis; of equals the first, and that of a NaN if \
         there is one",
    )
    .example("tensor([[3, 1], [2, 5]]).argmin(1)", "Tensor [2] u32 [1, 0]")
    .native(move |t: &mut Tensor| at(t, "argmin", None, nan_first))
    .native(move |t: &mut Tensor, axis: i64| at(t, "argmin", Some(axis), nan_first));
}

/// Questions to a mask; as in NumPy, every number but 0 counts as true.
fn truths(api: &mut Api) {
    let ask = |t: &Tensor, name: &str, axis: Option<i64>, reduce: fn(Lane) -> bool| {
        let (dims, truths) = reduced(t, name, axis, reduce)?;
        match (&dims[..], &truths[..]) {
            ([], [truth]) => Ok((*truth).into()),
            _ => {
                let mask: Vec<f32> = truths.into_iter().map(f32::from).collect();
                t.value(Numbers::from_vec(mask, dims, &Device::Cpu))
            }
        }
    };
    let any: fn(Lane) -> bool = |lane| lane.iter().any(|x| x != 0.0);
    api.method(
        "Tensor",
        "any(axis?: int) -> bool | Tensor",
        "whether a mask holds anywhere, or a mask of where it does along an axis",
    )
    .example("(tensor([1, 2]) > 1.5).any()", "true")
    .native(move |t: &mut Tensor| -> ScriptResult<Dynamic> { ask(t, "any", None, any) })
    .native(move |t: &mut Tensor, axis: i64| ask(t, "any", Some(axis), any));
    let all: fn(Lane) -> bool = |lane| lane.iter().all(|x| x != 0.0);
    api.method(
        "Tensor",
        "all(axis?: int) -> bool | Tensor",
        "whether a mask holds everywhere, or a mask of where it does along an axis",
    )
    .example("(tensor([[1, 2], [3, 4]]) > 1).all(1)", "Tensor [2] [0.0, 1.0]")
    .native(move |t: &mut Tensor| -> ScriptResult<Dynamic> { ask(t, "all", None, all) })
    .native(move |t: &mut Tensor, axis: i64| ask(t, "all", Some(axis), all));
}

/// Only a sum of nothing has a value.
fn refuse_empty(t: &Tensor, name: &str, len: usize) -> ScriptResult<()> {
    match (len, name) {
        (0, "mean" | "std" | "var" | "max" | "min" | "argmax" | "argmin") => {
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
    api.method("Tensor", "cumsum(axis: int) -> Tensor", "the sums up to each place along an axis")
        .example("tensor([[1, 2], [3, 4]]).cumsum(0)", "Tensor [2, 2] [[1.0, 2.0], [4.0, 6.0]]")
        .native(|t: &mut Tensor, along: i64| -> ScriptResult<Tensor> {
            let axis = axis(t, "cumsum", along)?;
            let stride: usize = t.dims()[axis + 1..].iter().product();
            let len = t.dims()[axis];
            let numbers = t.host()?;
            let summed = move || {
                let mut numbers = numbers;
                for block in numbers.chunks_mut((len * stride).max(1)) {
                    let mut sums = vec![0.0f64; stride];
                    for row in block.chunks_mut(stride.max(1)) {
                        for (sum, x) in sums.iter_mut().zip(row) {
                            *sum += f64::from(*x);
                            *x = *sum as f32;
                        }
                    }
                }
                numbers
            };
            let numbers = apart_if_long(t.inner().elem_count(), summed)?;
            t.derived(Numbers::from_vec(numbers, t.dims(), &Device::Cpu))
        });
    api.method("Tensor", "sort() -> Tensor", "in rising order along the last axis, NaN last")
        .example("tensor([3, 1, 2]).sort()", "Tensor [3] [1.0, 2.0, 3.0]")
        .native(|t: &mut Tensor| -> ScriptResult<Tensor> {
            axis(t, "sort", -1)?;
            let (numbers, width) = (t.host()?, t.dims().last().copied().unwrap_or(1).max(1));
            let sorted = move || {
                let mut numbers = numbers;
                numbers
                    .chunks_mut(width)
                    .for_each(|row| row.sort_by(|a, b| rising((*a).into(), (*b).into())));
                numbers
            };
            // A comparison a level of the merge.
            let numbers = apart_if_long(t.inner().elem_count().saturating_mul(8), sorted)?;
            t.derived(Numbers::from_vec(numbers, t.dims(), t.inner().device()))
        });
    api.method(
        "Tensor",
        "topk(k: int) -> map",
        "the `k` largest numbers along the last axis, as `#{values, indices}`; of equals the first come first, and NaN \
         is largest",
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
        let first = |a: &(u32, f32), b: &(u32, f32)| falling(a.1.into(), b.1.into()).then(a.0.cmp(&b.0));
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
        // Of an infinite total there are no parts.
        .native(|t: &mut Tensor| {
            normalized(t, "softmax", |x, total| if total.is_finite() { (x - total).exp() } else { f64::NAN })
        });
    api.method("Tensor", "log_softmax() -> Tensor", "log-probabilities from logits, along the last axis")
        .example("tensor([0, 0]).log_softmax()", "Tensor [2] [-0.6931, -0.6931]")
        .native(|t: &mut Tensor| normalized(t, "log_softmax", |x, total| x - total));
    api.method(
        "Tensor",
        "logsumexp() -> float | Tensor",
        "the logarithm of the summed exponentials, along the last axis",
    )
    .example("tensor([[1000, -1000], [0, -1000]]).logsumexp()", "Tensor [2] [1000.0, 0.0]")
    .native(|t: &mut Tensor| floats(t, reduced(t, "logsumexp", Some(-1), |lane| lane.logsumexp())?));
}

/// Each number with the `logsumexp` of its row.
fn normalized(t: &Tensor, name: &str, with: fn(f64, f64) -> f64) -> ScriptResult<Tensor> {
    axis(t, name, -1)?;
    t.check_room(t.dims())?;
    let (numbers, width) = (t.host()?, t.dims().last().copied().unwrap_or(1).max(1));
    let normal = move || {
        let mut numbers = numbers;
        for row in numbers.chunks_mut(width) {
            let total = Lane { numbers: row, start: 0, stride: 1, len: row.len() }.logsumexp();
            row.iter_mut().for_each(|x| *x = with((*x).into(), total) as f32);
        }
        numbers
    };
    let numbers = apart_if_long(t.inner().elem_count().saturating_mul(4), normal)?;
    t.derived(Numbers::from_vec(numbers, t.dims(), &Device::Cpu))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rhai::Scope;
    use serde_json::Value as Json;

    use super::*;
    use crate::script::bind::testing::check;
    use crate::script::{Context, Host, HostOptions, args};

    /// Every number with its digits; `"nan"` and infinities are texts in the file.
    fn numbers(json: &Json) -> Vec<f64> {
        let number = |json: &Json| json.as_f64().or_else(|| json.as_str()?.parse().ok());
        json.as_array().unwrap().iter().map(|json| number(json).unwrap()).collect()
    }

    /// What an expression makes of a tensor `t`, in row-major order.
    fn asked(host: &Host, t: &Tensor, code: &str) -> Vec<f64> {
        let mut scope = Scope::new();
        scope.push("t", t.clone());
        let script = host.compile("test", code, &scope).unwrap();
        let value = host.eval(&mut scope, &script.ast, "test").unwrap();
        match value.read_lock::<Tensor>() {
            Some(t) => t.host().unwrap().into_iter().map(f64::from).collect(),
            None => vec![args::number(&value).unwrap()],
        }
    }

    /// `tests/fixtures/make_reductions.py` asked NumPy and SciPy, in float64 as here.
    #[test]
    fn numbers_nan_and_infinity_go_through_as_in_numpy() {
        let cases: Json =
            serde_json::from_str(include_str!("../../../../tests/fixtures/reductions.json")).unwrap();
        let context = Arc::new(Context::default());
        let host = Host::new(HostOptions::default());
        let mut compared = 0;
        for case in cases.as_array().unwrap() {
            let shape: Vec<usize> = serde_json::from_value(case["shape"].clone()).unwrap();
            let values: Vec<f32> = numbers(&case["values"]).into_iter().map(|x| x as f32).collect();
            let made = Numbers::from_vec(values, shape, &Device::Cpu).unwrap();
            let tensor = Tensor::new(&context, made).unwrap();
            for (call, expected) in case["results"].as_object().unwrap() {
                let (name, axis) = call.split_once(' ').unwrap_or((call, ""));
                let found = asked(&host, &tensor, &format!("t.{name}({axis})"));
                let expected = numbers(expected);
                assert_eq!(found.len(), expected.len(), "{call} of {}", case["name"]);
                for (found, expected) in found.into_iter().zip(expected) {
                    let near = (found - expected).abs() <= 2e-7 * expected.abs().max(1e-30);
                    let same = found == expected || found.is_nan() && expected.is_nan();
                    assert!(near || same, "{call} of {}: {found}, not {expected}", case["name"]);
                    compared += 1;
                }
            }
        }
        assert!(compared > 400, "{compared}");
    }

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
            (
                "tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]).cumsum(1)[1]",
                "Tensor [2, 2] [[5.0, 6.0], [12.0, 14.0]]",
            ),
            ("tensor([[1, 2], [3, 4]]).cumsum(-1)", "Tensor [2, 2] [[1.0, 3.0], [3.0, 7.0]]"),
            ("zeros([0, 2]).cumsum(0).shape", "[0, 2]"),
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
