//! Masks: what comparisons of tensors give, and choosing by them.
//!
//! A mask is a tensor of 0 and 1 in float32. It is no `bool`: `.any()` and `.all()` ask it.

use candle_core::{DType, Device, Tensor as Numbers};
use rhai::Dynamic;

use super::ops::{Binary, binary, common_shape};
use super::value::{Tensor, refused};
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::error::{ScriptResult, fail};

/// Registers comparisons and `where`.
pub fn register(api: &mut Api) {
    for (op, signature, summary, example, compute) in COMPARISONS {
        binary(api, op, signature, summary, example, compute);
    }
    api.function(
        "where(mask: Tensor, a: Tensor | number, b: Tensor | number) -> Tensor",
        "the numbers of `a` where the mask is 1, those of `b` where it is 0; shapes broadcast as in NumPy",
    )
    .example("let t = tensor([-1, 2]); where(t > 0, t, t * 0.1)", "Tensor [2] [-0.1, 2.0]")
    .native(|mask: Tensor, a: Dynamic, b: Dynamic| choose(&mask, &side(&mask, &a)?, &side(&mask, &b)?));
}

/// An operator: its name, signature, meaning, example and computation.
type Comparison = (&'static str, &'static str, &'static str, (&'static str, &'static str), Binary);

const COMPARISONS: [Comparison; 6] = [
    (
        "<",
        "<(other: Tensor | number) -> Tensor",
        "a mask of 1 where the number is less, else 0; shapes broadcast",
        ("tensor([1, 2, 3]) < 2", "Tensor [3] [1.0, 0.0, 0.0]"),
        |a, b| float(a.broadcast_lt(b)),
    ),
    (
        "<=",
        "<=(other: Tensor | number) -> Tensor",
        "a mask of 1 where the number is less or equal, else 0",
        ("tensor([1, 2, 3]) <= tensor([3, 2, 1])", "Tensor [3] [1.0, 1.0, 0.0]"),
        |a, b| float(a.broadcast_le(b)),
    ),
    (
        ">",
        ">(other: Tensor | number) -> Tensor",
        "a mask of 1 where the number is greater, else 0",
        ("(tensor([1, 2, 3]) > 1).sum()", "2.0"),
        |a, b| float(a.broadcast_gt(b)),
    ),
    (
        ">=",
        ">=(other: Tensor | number) -> Tensor",
        "a mask of 1 where the number is greater or equal, else 0",
        ("2 >= tensor([1, 2, 3])", "Tensor [3] [1.0, 1.0, 0.0]"),
        |a, b| float(a.broadcast_ge(b)),
    ),
    (
        "==",
        "==(other: Tensor | number) -> Tensor",
        "a mask of 1 where the numbers are equal, else 0; `(a == b).all()` asks for all",
        ("(tensor([1, 2]) == tensor([1, 2])).all()", "true"),
        |a, b| float(a.broadcast_eq(b)),
    ),
    (
        "!=",
        "!=(other: Tensor | number) -> Tensor",
        "a mask of 1 where the numbers differ, else 0; NaN differs from all",
        ("tensor([1, 2]) != 1", "Tensor [2] [0.0, 1.0]"),
        |a, b| float(a.broadcast_ne(b)),
    ),
];

fn float(mask: candle_core::Result<Numbers>) -> candle_core::Result<Numbers> {
    mask?.to_dtype(DType::F32)
}

/// A tensor, or a number as one without axes.
fn side(mask: &Tensor, value: &Dynamic) -> ScriptResult<Tensor> {
    if let Some(tensor) = value.read_lock::<Tensor>() {
        return Ok(tensor.clone());
    }
    let x = args::number(value).map_err(|_| expected("a tensor or a number", value))?;
    mask.derived(Numbers::new(x as f32, &Device::Cpu))
}

fn choose(mask: &Tensor, a: &Tensor, b: &Tensor) -> ScriptResult<Tensor> {
    if let Some(odd) = mask.host()?.into_iter().find(|x| *x != 0.0 && *x != 1.0) {
        return Err(fail(format!("`where`: a mask holds 0 and 1, found {odd}"))
            .help("compare first, as in `where(t > 0, a, b)`")
            .into());
    }
    let part = a.derived(Numbers::zeros(common_shape("where", mask, a)?, DType::U8, &Device::Cpu))?;
    let dims = common_shape("where", &part, b)?;
    mask.check_room(&dims)?;
    let spread = |t: &Tensor| t.floats()?.broadcast_as(dims.as_slice()).map_err(refused);
    let (mask, a_there, b_there) = (spread(mask)?, spread(a)?, spread(b)?);
    // Not `a * mask + b * (1 - mask)`, in which NaN and infinity would leak from the side that is not chosen.
    let chosen = mask.ne(0.0).and_then(|mask| mask.where_cond(&a_there, &b_there));
    a.derived(chosen)
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn comparisons_are_masks_that_broadcast() {
        check(&[
            ("tensor([[1, 2], [3, 4]]) > tensor([1, 3])", "Tensor [2, 2] [[0.0, 0.0], [1.0, 1.0]]"),
            ("1.5 < tensor([1, 2])", "Tensor [2] [0.0, 1.0]"),
            ("tensor([1, 2]) == 2.0", "Tensor [2] [0.0, 1.0]"),
            (
                "let nan = tensor([0]) / 0; [nan == nan, nan != nan, nan < 1]",
                "[Tensor [1] [0.0], Tensor [1] [1.0], Tensor [1] [0.0]]",
            ),
            ("tensor([0.1]) == 0.1", "Tensor [1] [1.0]"),
            (
                "tensor([1, 2]) < tensor([1, 2, 3])",
                "`<`: shapes [2] and [3] do not fit; counted from the last, each pair of axes must be equal, \
                 or one of them 1; use `.reshape([..])`",
            ),
            ("tensor([1]) == ()", "false"),
            ("tensor([1]) != ()", "true"),
        ]);
    }

    #[test]
    fn a_choice_broadcasts_and_keeps_what_is_not_chosen_out() {
        check(&[
            ("where(tensor([[1], [0]]), tensor([1, 2]), -1)", "Tensor [2, 2] [[1.0, 2.0], [-1.0, -1.0]]"),
            ("let t = tensor([0, 4]); where(t > 0, 1 / t, 0)", "Tensor [2] [0.0, 0.25]"),
            (
                "where(tensor([0.5]), 1, 2)",
                "`where`: a mask holds 0 and 1, found 0.5; compare first, as in `where(t > 0, a, b)`",
            ),
            ("where(tensor([1]), \"a\", 2)", "expected a tensor or a number, found `string`"),
        ]);
    }
}
