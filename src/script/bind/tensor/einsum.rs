//! Sums of products over named axes.
//!
//! The crate for it, ndarray-einsum (0.9), would bring regex, lazy_static and another hashbrown for what is a matrix product a
//! step.

use std::collections::BTreeMap;

use candle_core::Tensor as Numbers;
use rhai::{Array, Dynamic};

use super::value::{Tensor, check_room, refused};
use crate::script::api::Api;
use crate::script::args::expected;
use crate::script::context::apart_if_long;
use crate::script::error::{Failure, ScriptResult, fail};

/// Products that take as long as a step of other work.
const PRODUCTS: usize = 32;

/// Registers the function.
pub fn register(api: &mut Api) {
    api.function(
        "einsum(axes: string, tensors: array) -> float | Tensor",
        "the sum of products over named axes, a letter each, as NumPy's: `einsum(\"qd,kd->qk\", [queries, keys])`; what the \
         right side does not name is summed",
    )
    .example(
        "einsum(\"hd,hdm->hm\", [tensor([[1, 2]]), tensor([[[1, 0], [0, 10]]])])",
        "Tensor [1, 2] [[1.0, 20.0]]",
    )
    .native(|axes: &str, tensors: Array| einsum(axes, &tensors));
}

/// A tensor and the letters of its axes.
struct Named {
    numbers: Numbers,
    axes: Vec<char>,
}

fn einsum(axes: &str, tensors: &[Dynamic]) -> ScriptResult<Dynamic> {
    let spec: String = axes.chars().filter(|c| !c.is_whitespace()).collect();
    let unreadable = || {
        fail(format!("`einsum`: cannot read `{axes}`"))
            .help("write a letter an axis, as in `qd,kd->qk`; no letter twice in one group")
    };
    let (inputs, output) = spec.split_once("->").ok_or_else(unreadable)?;
    let letters = |group: &str| -> Result<Vec<char>, Failure> {
        let group: Vec<char> = group.chars().collect();
        let once = (1..group.len()).all(|i| !group[..i].contains(&group[i]));
        if once && group.iter().all(|c| c.is_alphabetic()) { Ok(group) } else { Err(unreadable()) }
    };
    let groups = inputs.split(',').map(letters).collect::<Result<Vec<_>, _>>()?;
    let output = letters(output)?;
    if groups.len() != tensors.len() {
        let message = format!("`einsum`: {} tensors for {} groups of axes", tensors.len(), groups.len());
        return Err(fail(message).help("put a comma between the axes of two tensors").into());
    }
    let mut lengths = BTreeMap::new();
    let mut operands = Vec::new();
    for (i, (value, axes)) in tensors.iter().zip(groups).enumerate() {
        let tensor = value.read_lock::<Tensor>().ok_or_else(|| expected("tensors", value))?;
        if tensor.dims().len() != axes.len() {
            let named: String = axes.iter().collect();
            let message = format!("`einsum`: `{named}` for shape {:?} (element {i})", tensor.dims());
            return Err(fail(message).help("give a letter for each axis").into());
        }
        for (axis, len) in axes.iter().zip(tensor.dims()) {
            if *lengths.entry(*axis).or_insert(*len) != *len {
                let message =
                    format!("`einsum`: axis `{axis}` is {} long, and {len} in element {i}", lengths[axis]);
                return Err(fail(message).help("one letter is one length").into());
            }
        }
        operands.push(Named { numbers: tensor.floats()?, axes });
    }
    if let Some(unknown) = output.iter().find(|axis| !lengths.contains_key(axis)) {
        return Err(fail(format!("`einsum`: no tensor has the axis `{unknown}`"))
            .help("name it left of `->`, too")
            .into());
    }
    let mut rest = operands.into_iter();
    let first = rest.next().ok_or_else(unreadable)?;
    let mut found = first;
    let mut later: Vec<Named> = rest.collect();
    while !later.is_empty() {
        let next = later.remove(0);
        let wanted =
            |axis: &char| output.contains(axis) || later.iter().any(|named| named.axes.contains(axis));
        found = product(found, next, &wanted, &lengths)?;
    }
    let found = summed(found, &|axis| output.contains(axis))?;
    let order: Vec<usize> =
        output.iter().filter_map(|axis| found.axes.iter().position(|a| a == axis)).collect();
    let result = found.numbers.permute(order).and_then(|t| t.contiguous()).map_err(refused)?;
    match tensors.first().and_then(|first| first.read_lock::<Tensor>()) {
        Some(first) => first.value(Ok(result)),
        None => Err(unreadable().into()),
    }
}

/// Without the axes that nobody wants.
fn summed(mut of: Named, wanted: &dyn Fn(&char) -> bool) -> ScriptResult<Named> {
    let dropped: Vec<usize> = (0..of.axes.len()).filter(|i| !wanted(&of.axes[*i])).collect();
    if !dropped.is_empty() {
        of.numbers = of.numbers.sum(dropped).map_err(refused)?;
        of.axes.retain(wanted);
    }
    Ok(of)
}

/// Both as one: axes of both that are wanted go side by side, those that are not are summed by a matrix product.
fn product(
    a: Named,
    b: Named,
    wanted: &dyn Fn(&char) -> bool,
    lengths: &BTreeMap<char, usize>,
) -> ScriptResult<Named> {
    let a = summed(a, &|axis| wanted(axis) || b.axes.contains(axis))?;
    let b = summed(b, &|axis| wanted(axis) || a.axes.contains(axis))?;
    let in_both = |wanted_there: bool| -> Vec<char> {
        a.axes.iter().filter(|axis| b.axes.contains(axis) && wanted(axis) == wanted_there).copied().collect()
    };
    let (batch, inner) = (in_both(true), in_both(false));
    let own = |named: &Named, other: &Named| -> Vec<char> {
        named.axes.iter().filter(|axis| !other.axes.contains(axis)).copied().collect()
    };
    let (left, right) = (own(&a, &b), own(&b, &a));
    let size = |axes: &[char]| axes.iter().fold(1usize, |size, axis| size.saturating_mul(lengths[axis]));
    let shape = [size(&batch), size(&left), size(&right)];
    check_room(&shape)?;
    let arranged = |of: &Named, groups: [&[char]; 3]| {
        let order: Vec<usize> =
            groups.concat().iter().filter_map(|axis| of.axes.iter().position(|a| a == axis)).collect();
        of.numbers.permute(order)?.contiguous()?.reshape(groups.map(size).to_vec())
    };
    let x = arranged(&a, [&batch, &left, &inner]).map_err(refused)?;
    let y = arranged(&b, [&batch, &inner, &right]).map_err(refused)?;
    let steps = shape.iter().product::<usize>().saturating_mul(size(&inner)) / PRODUCTS;
    let product = apart_if_long(steps, move || x.matmul(&y))?.map_err(refused)?;
    let axes = [batch, left, right].concat();
    let dims: Vec<usize> = axes.iter().map(|axis| lengths[axis]).collect();
    Ok(Named { numbers: product.reshape(dims).map_err(refused)?, axes })
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn sums_are_those_of_products_by_hand() {
        check(&[
            (
                "let a = randn([3, 4], rng(0)); let b = randn([4, 5], rng(1)); (einsum(\"ij,jk->ik\", [a, b]) - a.matmul(b)).abs().max() < 1e-5",
                "true",
            ),
            (
                "let a = randn([2, 3, 4], rng(0)); let b = randn([5, 2, 4], rng(1)); \
                 let c = einsum(\"bqd, kbd -> kqb\", [a, b]); \
                 [c.shape, (c.at([4, 2, 1]) - a[1][2].dot(b[4][1])).abs() < 1e-5]",
                "[[5, 3, 2], true]",
            ),
            (
                "let a = randn([3, 4], rng(0)); let b = randn([4], rng(1)); let c = randn([3], rng(2)); \
                 (einsum(\"ij,j,i->\", [a, b, c]) - a.matmul(b).dot(c)).abs() < 1e-5",
                "true",
            ),
            ("einsum(\"ij->j\", [tensor([[1, 2], [3, 4]])])", "Tensor [2] [4.0, 6.0]"),
            (
                "einsum(\"i,j->ij\", [tensor([1, 2]), tensor([3, 4])])",
                "Tensor [2, 2] [[3.0, 4.0], [6.0, 8.0]]",
            ),
            ("einsum(\"i,ik->k\", [tensor([1, 2]), zeros([2, 0])]).shape", "[0]"),
            ("einsum(\"ik,kj->ij\", [zeros([2, 0]), zeros([0, 1])])", "Tensor [2, 1] [[0.0], [0.0]]"),
        ]);
    }

    #[test]
    fn what_cannot_be_is_told() {
        check(&[
            (
                "einsum(\"ii->i\", [zeros([2, 2])])",
                "`einsum`: cannot read `ii->i`; write a letter an axis, as in `qd,kd->qk`; no letter twice in one group",
            ),
            (
                "einsum(\"ij,jk\", [zeros([2, 2])])",
                "`einsum`: cannot read `ij,jk`; write a letter an axis, as in `qd,kd->qk`; no letter twice in one group",
            ),
            (
                "einsum(\"ij->i\", [zeros([2, 2]), zeros([2])])",
                "`einsum`: 2 tensors for 1 groups of axes; put a comma between the axes of two tensors",
            ),
            (
                "einsum(\"ij,jk->ik\", [zeros([2, 3]), zeros([4, 5])])",
                "`einsum`: axis `j` is 3 long, and 4 in element 1; one letter is one length",
            ),
            (
                "einsum(\"i->k\", [zeros([2])])",
                "`einsum`: no tensor has the axis `k`; name it left of `->`, too",
            ),
            (
                "einsum(\"ij->i\", [zeros([2])])",
                "`einsum`: `ij` for shape [2] (element 0); give a letter for each axis",
            ),
        ]);
    }
}
