//! Parts of a tensor, and its numbers in another shape.

use std::ops::{Range, RangeInclusive};

use candle_core::{DType, Tensor as Numbers};
use rhai::{Array, Dynamic};

use super::reduce::axis;
use super::value::{Tensor, check_shape, refused};
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::error::{ScriptResult, fail};

/// Registers indexing, shapes and joining.
pub fn register(api: &mut Api) {
    indexing(api);
    shapes(api);
    joining(api);
}

fn indexing(api: &mut Api) {
    api.indexer(
        "Tensor",
        "[i: int | range | array | Tensor] -> float | Tensor",
        "one entry along the first axis, counted from the end if negative; or those of a range, of an array of indices (or a \
         tensor of them, as `.topk` gives), or those where a mask is 1",
    )
    .example(
        "let t = tensor([[1, 2], [3, 4], [5, 6]]); [t[-1], t[0][1], t[1..3], t[[2, 0]], t[t.sum(1) > 8]]",
        "[Tensor [2] [5.0, 6.0], 2.0, Tensor [2, 2] [[3.0, 4.0], [5.0, 6.0]], Tensor [2, 2] [[5.0, 6.0], [1.0, 2.0]], Tensor [1, 2] [[5.0, 6.0]]]",
    )
    .native(|t: &mut Tensor, i: i64| at(t, &[i]))
    .native(|t: &mut Tensor, ids: Array| rows(t, &args::each(&ids.into(), args::int)?))
    .native(|t: &mut Tensor, chosen: Tensor| rows(t, &chosen_ids(t, &chosen)?))
    .native(|t: &mut Tensor, range: Range<i64>| slice(t, range.start, range.end))
    .native(|t: &mut Tensor, range: RangeInclusive<i64>| match range.end().checked_add(1) {
        // `..=-1` ends with the last entry, where counting from the end would wrap to the first.
        Some(0) => slice(t, *range.start(), t.dims().first().map_or(0, |len| *len as i64)),
        Some(end) => slice(t, *range.start(), end),
        None => slice(t, *range.start(), i64::MAX),
    });
    api.method(
        "Tensor",
        "at(index: array) -> float | Tensor",
        "the number at an index for each axis; fewer indices give a part",
    )
    .example("tensor([[1, 2], [3, 4]]).at([1, -1])", "4.0")
    .native(|t: &mut Tensor, index: Dynamic| at(t, &args::each(&index, args::int)?));
    api.method(
        "Tensor",
        "set_at(index: array, value: number | Tensor)",
        "changes the number at an index, or a part to a tensor that broadcasts; copies made before keep theirs",
    )
    .example("let t = zeros([2, 2]); t.set_at([0, 1], 5); t.set_at([1], tensor([7, 8])); t", "Tensor [2, 2] [[0.0, 5.0], [7.0, 8.0]]")
    .native(|t: &mut Tensor, index: Dynamic, value: Dynamic| set_at(t, &args::each(&index, args::int)?, &value));
}

/// The position of each index along its axis.
fn places(t: &Tensor, index: &[i64]) -> ScriptResult<Vec<usize>> {
    if index.len() > t.dims().len() {
        let message = format!("{} indices for shape {:?}", index.len(), t.dims());
        return Err(fail(message).help(format!("give up to {} indices", t.dims().len())).into());
    }
    index
        .iter()
        .zip(t.dims())
        .enumerate()
        .map(|(axis, (i, len))| {
            let place = if *i < 0 { i.checked_add(*len as i64) } else { Some(*i) };
            place.and_then(|place| usize::try_from(place).ok()).filter(|place| place < len).ok_or_else(|| {
                let failure =
                    fail(format!("index {i} is out of range: axis {axis} of shape {:?} has {len}", t.dims()));
                match len {
                    0 => failure,
                    _ => failure.help(format!("indices go from 0 to {}, or back from -1 to -{len}", len - 1)),
                }
                .into()
            })
        })
        .collect()
}

fn at(t: &Tensor, index: &[i64]) -> ScriptResult<Dynamic> {
    let mut part = t.inner().clone();
    for place in places(t, index)? {
        part = part.get(place).map_err(refused)?;
    }
    // A copy, so that a small part does not keep the whole in memory.
    t.value(part.force_contiguous())
}

/// The entries along the first axis at these indices, in their order.
fn rows(t: &Tensor, ids: &[i64]) -> ScriptResult<Tensor> {
    let [_, inner @ ..] = t.dims() else {
        return Err(fail("a tensor without axes has no entries").into());
    };
    let dims = [&[ids.len()], inner].concat();
    t.check_room(&dims)?;
    let places = ids.iter().map(|id| Ok(places(t, &[*id])?.first().copied().unwrap_or(0) as u32));
    let places = places.collect::<ScriptResult<Vec<u32>>>()?;
    let places = Numbers::from_vec(places, ids.len(), t.inner().device()).map_err(refused)?;
    t.derived(t.inner().contiguous().and_then(|t| t.index_select(&places, 0)))
}

/// Indices as they are; of a mask the places where it is 1.
fn chosen_ids(t: &Tensor, chosen: &Tensor) -> ScriptResult<Vec<i64>> {
    let [len] = *chosen.dims() else {
        let message = format!("a tensor of shape {:?} as an index: it may have one axis", chosen.dims());
        return Err(fail(message)
            .help("choose numbers with `where(mask, a, b)`, or rows by a mask of one axis")
            .into());
    };
    let numbers = chosen.host()?;
    if chosen.inner().dtype().is_int() {
        return Ok(numbers.into_iter().map(|id| id as i64).collect());
    }
    let first = t.dims().first().copied().unwrap_or(0);
    if len != first || numbers.iter().any(|x| *x != 0.0 && *x != 1.0) {
        return Err(fail(format!(
            "an index of {len} floats is no mask of the {first} entries of shape {:?}",
            t.dims()
        ))
        .help("compare to get a mask, as in `x[scores > 0]`, or give an array of ints")
        .into());
    }
    Ok((0..).zip(numbers).filter(|(_, x)| *x == 1.0).map(|(i, _)| i).collect())
}

fn slice(t: &Tensor, start: i64, end: i64) -> ScriptResult<Tensor> {
    let Some(len) = t.dims().first().copied() else {
        return Err(fail("a tensor without axes has no entries").into());
    };
    let from_end = |i: i64| if i < 0 { i.saturating_add(len as i64) } else { i };
    match (usize::try_from(from_end(start)), usize::try_from(from_end(end))) {
        (Ok(first), Ok(last)) if first <= last && last <= len => {
            let inner = t.inner().elem_count() / len.max(1);
            t.check_room(&[last - first, inner])?;
            t.derived(t.inner().narrow(0, first, last - first).and_then(|part| part.force_contiguous()))
        }
        _ => Err(fail(format!(
            "range `{start}..{end}` does not fit: the first axis of shape {:?} has {len}",
            t.dims()
        ))
        .help(format!("stay within `0..{len}`"))
        .into()),
    }
}

fn set_at(t: &mut Tensor, index: &[i64], value: &Dynamic) -> ScriptResult<()> {
    let places = places(t, index)?;
    let (outer, part) = t.dims().split_at(places.len());
    let size: usize = part.iter().product();
    let row = places.iter().zip(outer).fold(0, |row, (place, len)| row * len + place);
    t.check_room(t.dims())?;
    let numbers = t.floats()?;
    let value = match value.read_lock::<Tensor>() {
        Some(value) => {
            value.floats()?.to_device(numbers.device()).and_then(|x| x.broadcast_as(part)).map_err(|_| {
                fail(format!("`set_at`: a value of shape {:?} does not fit {part:?}", value.dims()))
                    .help(format!("give a number, or a tensor of shape {part:?}"))
            })?
        }
        None => {
            let x = args::number(value).map_err(|_| expected("a number or a tensor", value))?;
            Numbers::full(x as f32, part, numbers.device()).map_err(refused)?
        }
    };
    let changed = || {
        // Fresh storage: other values of the script may share the old one.
        let fresh = numbers.force_contiguous()?.flatten_all()?;
        if size > 0 {
            fresh.slice_set(&value.contiguous()?.flatten_all()?, 0, row * size)?;
        }
        fresh.reshape(numbers.dims())
    };
    *t = t.derived(changed())?;
    Ok(())
}

fn shapes(api: &mut Api) {
    api.method("Tensor", "t() -> Tensor", "the last two axes swapped")
        .example("tensor([[1, 2], [3, 4]]).t()", "Tensor [2, 2] [[1.0, 3.0], [2.0, 4.0]]")
        .native(|t: &mut Tensor| match t.dims() {
            [_, .., _] => {
                t.check_room(t.dims())?;
                t.derived(t.inner().t().and_then(|t| t.contiguous()))
            }
            dims => Err(fail(format!("`t`: shape {dims:?} has no two axes to swap"))
                .help("make a row of it with `.reshape([1, -1])`")
                .into()),
        });
    api.method(
        "Tensor",
        "permute(axes: array) -> Tensor",
        "the axes in another order: axis `axes[i]` of this becomes axis `i`",
    )
    .example("zeros([2, 3, 4]).permute([2, 0, 1]).shape", "[4, 2, 3]")
    .native(|t: &mut Tensor, axes: Dynamic| -> ScriptResult<Tensor> {
        let wanted = args::each(&axes, args::int)?;
        let places = wanted.iter().map(|at| axis(t, "permute", *at)).collect::<ScriptResult<Vec<_>>>()?;
        let rank = t.dims().len();
        if places.len() != rank || (0..rank).any(|at| !places.contains(&at)) {
            let message =
                format!("`permute`: {wanted:?} does not name each axis of shape {:?} once", t.dims());
            return Err(fail(message)
                .help(format!("give the numbers from 0 to {}", rank.saturating_sub(1)))
                .into());
        }
        t.check_room(t.dims())?;
        t.derived(t.inner().permute(places).and_then(|t| t.contiguous()))
    });
    api.method(
        "Tensor",
        "reshape(shape: array) -> Tensor",
        "the same numbers in another shape; one length may be -1",
    )
    .example("tensor([1, 2, 3, 4]).reshape([2, -1])", "Tensor [2, 2] [[1.0, 2.0], [3.0, 4.0]]")
    .native(|t: &mut Tensor, shape: Dynamic| -> ScriptResult<Tensor> {
        let wanted = args::each(&shape, args::int)?;
        let dims = reshaped(t.inner().elem_count(), &wanted).ok_or_else(|| {
            fail(format!(
                "`reshape`: {} numbers of shape {:?} do not fill shape {wanted:?}",
                t.inner().elem_count(),
                t.dims()
            ))
            .help("the lengths must multiply to the number of numbers; one may be -1")
        })?;
        check_shape(&dims)?;
        t.check_room(t.dims())?;
        t.derived(t.inner().reshape(dims))
    });
}

/// The shape with its one -1 worked out.
fn reshaped(count: usize, wanted: &[i64]) -> Option<Vec<usize>> {
    let known = wanted
        .iter()
        .filter(|len| **len != -1)
        .try_fold(1usize, |size, len| size.checked_mul(usize::try_from(*len).ok()?))?;
    let open = wanted.iter().filter(|len| **len == -1).count();
    let rest = match open {
        0 => (known == count).then_some(1)?,
        1 => count.checked_div(known).filter(|rest| rest * known == count)?,
        _ => return None,
    };
    wanted.iter().map(|len| if *len == -1 { Some(rest) } else { usize::try_from(*len).ok() }).collect()
}

fn joining(api: &mut Api) {
    api.function("cat(tensors: array, axis: int) -> Tensor", "tensors end to end along an axis they have")
        .example("cat([tensor([1, 2]), tensor([3])], 0)", "Tensor [3] [1.0, 2.0, 3.0]")
        .native(|tensors: Array, axis: i64| cat(&tensors_of("cat", &tensors)?, axis));
    api.function(
        "stack(tensors: array, axis: int) -> Tensor",
        "tensors of one shape side by side along a new axis",
    )
    .example("stack([tensor([1, 2]), tensor([3, 4])], 0)", "Tensor [2, 2] [[1.0, 2.0], [3.0, 4.0]]")
    .native(|tensors: Array, axis: i64| stack(&tensors_of("stack", &tensors)?, axis));
}

fn tensors_of(name: &str, values: &[Dynamic]) -> ScriptResult<Vec<Tensor>> {
    if values.is_empty() {
        return Err(fail(format!("`{name}`: the array has no tensors")).help("give at least one").into());
    }
    let read = |(i, value): (usize, &Dynamic)| {
        value.clone().try_cast::<Tensor>().ok_or_else(|| {
            let message = expected("a tensor", value).message;
            fail(format!("`{name}`: element {i}: {message}"))
                .help("make a tensor of an array with `tensor([..])`")
                .into()
        })
    };
    values.iter().enumerate().map(read).collect()
}

fn cat(tensors: &[Tensor], at: i64) -> ScriptResult<Tensor> {
    let [first, ..] = tensors else { return Err(fail("`cat`: no tensors").into()) };
    let axis = axis(first, "cat", at)?;
    let fits = |t: &Tensor| {
        let pairs = t.dims().iter().zip(first.dims()).enumerate();
        t.dims().len() == first.dims().len() && pairs.into_iter().all(|(i, (a, b))| i == axis || a == b)
    };
    if let Some((i, odd)) = tensors.iter().enumerate().find(|(_, t)| !fits(t)) {
        let (first, odd) = (first.dims(), odd.dims());
        let message = format!("`cat`: shapes {first:?} (element 0) and {odd:?} (element {i}) do not fit");
        return Err(fail(message).help(format!("all axes but axis {axis} must be equal")).into());
    }
    join(first, tensors.iter().map(|t| t.inner().clone()).collect(), axis)
}

/// The parts end to end along an axis, all other axes being equal. If one is on an accelerator, all move there.
fn join(first: &Tensor, parts: Vec<Numbers>, axis: usize) -> ScriptResult<Tensor> {
    let length = parts.iter().filter_map(|part| part.dims().get(axis)).sum();
    let mut dims = parts.first().map(|part| part.dims().to_vec()).unwrap_or_default();
    dims.iter_mut().skip(axis).take(1).for_each(|len| *len = length);
    first.check_room(&dims)?;
    let device = parts.iter().map(Numbers::device).find(|device| !device.is_cpu());
    let device = device.unwrap_or(first.inner().device());
    let parts = parts.iter().map(|part| part.to_dtype(DType::F32)?.to_device(device));
    first.derived(parts.collect::<Result<Vec<_>, _>>().and_then(|parts| Numbers::cat(&parts, axis)))
}

fn stack(tensors: &[Tensor], at: i64) -> ScriptResult<Tensor> {
    let [first, ..] = tensors else { return Err(fail("`stack`: no tensors").into()) };
    let (shape, rank) = (first.dims(), first.dims().len() as i64);
    let axis =
        usize::try_from(if at < 0 { at + rank + 1 } else { at }).ok().filter(|axis| *axis as i64 <= rank);
    let axis = axis.ok_or_else(|| {
        fail(format!("`stack`: axis {at} does not exist in the result"))
            .help(format!("axes count from 0 to {rank}, or back from -1"))
    })?;
    if let Some((i, odd)) = tensors.iter().enumerate().find(|(_, t)| t.dims() != shape) {
        let odd = odd.dims();
        let message = format!("`stack`: shapes {shape:?} (element 0) and {odd:?} (element {i}) differ");
        return Err(fail(message).help("join tensors of different lengths with `cat([..], axis)`").into());
    }
    let parts = tensors.iter().map(|t| t.inner().unsqueeze(axis)).collect::<Result<_, _>>();
    join(first, parts.map_err(refused)?, axis)
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn indices_count_from_either_end() {
        check(&[
            ("tensor([1, 2, 3])[-3]", "1.0"),
            ("tensor([1, 2, 3])[-2..3]", "Tensor [2] [2.0, 3.0]"),
            ("tensor([1, 2, 3])[1..=-1]", "Tensor [2] [2.0, 3.0]"),
            ("tensor([1, 2, 3])[1..1]", "Tensor [0] []"),
            ("tensor([1, 2, 3])[[-1, 0, 0]]", "Tensor [3] [3.0, 1.0, 1.0]"),
            ("zeros([3, 2])[[]].shape", "[0, 2]"),
            ("let t = tensor([4, 9, 7]); t[t.topk(2).indices]", "Tensor [2] [9.0, 7.0]"),
            ("let t = tensor([4, 9, 7]); t[t < 0].shape", "[0]"),
            (
                "tensor([4, 9])[tensor([1, 0, 1])]",
                "an index of 3 floats is no mask of the 2 entries of shape [2]; compare to get a mask, as in `x[scores > 0]`, \
                 or give an array of ints",
            ),
            (
                "tensor([4, 9])[tensor([1, 2])].len",
                "an index of 2 floats is no mask of the 2 entries of shape [2]; compare to get a mask, as in `x[scores > 0]`, or give an array of ints",
            ),
            (
                "zeros([2, 2])[zeros([2, 2])]",
                "a tensor of shape [2, 2] as an index: it may have one axis; choose numbers with `where(mask, a, b)`, or rows by \
                 a mask of one axis",
            ),
            ("tensor([5, 6]).topk(2).indices[[1]]", "Tensor [1] u32 [0]"),
            (
                "tensor([1, 2])[[0, 2]]",
                "index 2 is out of range: axis 0 of shape [2] has 2; indices go from 0 to 1, or back from -1 to -2",
            ),
            ("tensor([1, 2])[[0.5]]", "element 0: expected an int, found `float`"),
            (
                "zeros([2, 3]).at([0, 3])",
                "index 3 is out of range: axis 1 of shape [2, 3] has 3; indices go from 0 to 2, or back from -1 to -3",
            ),
            ("zeros([2]).at([0, 0])", "2 indices for shape [2]; give up to 1 indices"),
            (
                "zeros([2])[1..3]",
                "range `1..3` does not fit: the first axis of shape [2] has 2; stay within `0..2`",
            ),
        ]);
    }

    #[test]
    fn changing_a_tensor_leaves_its_copies() {
        check(&[
            (
                "let a = zeros([2]); let b = a; b.set_at([-1], 3); [a, b]",
                "[Tensor [2] [0.0, 0.0], Tensor [2] [0.0, 3.0]]",
            ),
            (
                "let a = zeros([3, 2]); a.set_at([1], 4); a.t()",
                "Tensor [2, 3] [[0.0, 4.0, 0.0], [0.0, 4.0, 0.0]]",
            ),
            (
                "let a = zeros([2, 2]); a.set_at([0], tensor([1, 2, 3]))",
                "`set_at`: a value of shape [3] does not fit [2]; give a number, or a tensor of shape [2]",
            ),
        ]);
    }

    #[test]
    fn a_new_shape_holds_all_numbers() {
        check(&[
            ("zeros([4, 3]).reshape([2, -1]).shape", "[2, 6]"),
            ("zeros([4, 3]).t().reshape([-1]).shape", "[12]"),
            ("tensor([[1, 2], [3, 4]]).permute([-1, 0])", "Tensor [2, 2] [[1.0, 3.0], [2.0, 4.0]]"),
            (
                "zeros([2, 3]).permute([0, 0])",
                "`permute`: [0, 0] does not name each axis of shape [2, 3] once; give the numbers from 0 to 1",
            ),
            (
                "zeros([4]).reshape([3, -1])",
                "`reshape`: 4 numbers of shape [4] do not fill shape [3, -1]; \
                 the lengths must multiply to the number of numbers; one may be -1",
            ),
        ]);
    }

    #[test]
    fn tensors_join_where_their_shapes_allow() {
        check(&[
            ("cat([zeros([2, 1]), zeros([2, 3])], -1).shape", "[2, 4]"),
            ("stack([zeros([2]), zeros([2]), zeros([2])], -1).shape", "[2, 3]"),
            (
                "stack([zeros([2]), zeros([3])], 0)",
                "`stack`: shapes [2] (element 0) and [3] (element 1) differ; join tensors of different lengths with `cat([..], axis)`",
            ),
            (
                "cat([zeros([2, 1]), zeros([3, 3])], 1)",
                "`cat`: shapes [2, 1] (element 0) and [3, 3] (element 1) do not fit; all axes but axis 1 must be equal",
            ),
            (
                "cat([1], 0)",
                "`cat`: element 0: expected a tensor, found `int`; make a tensor of an array with `tensor([..])`",
            ),
            ("stack([], 0)", "`stack`: the array has no tensors; give at least one"),
        ]);
    }
}
