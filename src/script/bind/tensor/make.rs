//! Tensors that follow a rule, and the diagonal of one.

use candle_core::{DType, Device, Tensor as Numbers};
use rhai::Dynamic;

use super::value::{Tensor, check_room, refused};
use crate::script::api::Api;
use crate::script::args;
use crate::script::error::{ScriptResult, fail};

/// Registers the constructors and `diag`.
pub fn register(api: &mut Api) {
    api.function("ones(shape: array) -> Tensor", "ones in float32")
        .example("ones([2, 2]) * 3", "Tensor [2, 2] [[3.0, 3.0], [3.0, 3.0]]")
        .native(|shape: Dynamic| -> ScriptResult<Tensor> {
            let dims = args::each(&shape, args::size)?;
            check_room(&dims)?;
            made(Numbers::ones(dims, DType::F32, &Device::Cpu))
        });
    api.function(
        "eye(n: int) -> Tensor",
        "ones on the diagonal of [n, n], else 0; `eye(n)[ids]` has a row a number with a 1 at its place",
    )
    .example("eye(3)[[2, 0]]", "Tensor [2, 3] [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]")
    .native(|n: Dynamic| -> ScriptResult<Tensor> {
        let n = args::size(&n)?;
        check_room(&[n, n])?;
        made(Numbers::eye(n, DType::F32, &Device::Cpu))
    });
    api.function(
        "arange(start: number, end?: number, step?: number) -> Tensor",
        "numbers from `start` in steps, of 1 if none is given, up to `end`, which is left out, as NumPy's; of one number those \
         below it, from 0",
    )
    .example("arange(0, 1, 0.25)", "Tensor [4] [0.0, 0.25, 0.5, 0.75]")
    .native(|end: Dynamic| steps(0.0, args::number(&end)?, 1.0))
    .native(|start: Dynamic, end: Dynamic| steps(args::number(&start)?, args::number(&end)?, 1.0))
    .native(|start: Dynamic, end: Dynamic, step: Dynamic| {
        steps(args::number(&start)?, args::number(&end)?, args::number(&step)?)
    });
    api.method(
        "Tensor",
        "diag(offset?: int) -> Tensor",
        "the numbers `t[i][i + offset]` of the last two axes; of a vector the matrix that has it there, and 0 elsewhere",
    )
    .example("tensor([[1, 2, 3], [4, 5, 6]]).diag(1)", "Tensor [2] [2.0, 6.0]")
    .native(|t: &mut Tensor| diag(t, 0))
    .native(diag_at);
}

fn made(numbers: candle_core::Result<Numbers>) -> ScriptResult<Tensor> {
    Tensor::of(numbers.map_err(refused)?)
}

fn steps(start: f64, end: f64, step: f64) -> ScriptResult<Tensor> {
    let count = ((end - start) / step).ceil().max(0.0);
    if !count.is_finite() || step == 0.0 {
        return Err(fail(format!("`arange`: no steps of {step} lead from {start} to {end}"))
            .help("give numbers, and a step that is not 0")
            .into());
    }
    // A float that large saturates, and is refused for its room.
    let count = count as usize;
    check_room(&[count])?;
    let numbers: Vec<f32> = (0..count).map(|i| (start + step * i as f64) as f32).collect();
    made(Numbers::from_vec(numbers, count, &Device::Cpu))
}

fn diag_at(t: &mut Tensor, offset: i64) -> ScriptResult<Tensor> {
    diag(t, offset)
}

fn diag(t: &Tensor, offset: i64) -> ScriptResult<Tensor> {
    // How far down and to the right the diagonal begins.
    let shift = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let (down, right) = if offset < 0 { (shift, 0) } else { (0, shift) };
    match *t.dims() {
        [] => Err(fail("`diag`: a tensor without axes has no diagonal").into()),
        [n] => {
            let side = n.saturating_add(shift);
            check_room(&[side, side])?;
            let mut numbers = vec![0.0; side * side];
            for (i, x) in t.host()?.into_iter().enumerate() {
                numbers[(i + down) * side + i + right] = x;
            }
            t.derived(Numbers::from_vec(numbers, (side, side), &Device::Cpu))
        }
        [ref outer @ .., rows, cols] => {
            let len = rows.saturating_sub(down).min(cols.saturating_sub(right));
            let all = t.host()?;
            let matrices = all.chunks((rows * cols).max(1));
            let numbers: Vec<f32> = matrices
                .take(outer.iter().product())
                .flat_map(|matrix| (0..len).map(move |i| matrix[(i + down) * cols + i + right]))
                .collect();
            t.derived(Numbers::from_vec(numbers, [outer, &[len]].concat(), &Device::Cpu))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn rules_are_numpys() {
        check(&[
            ("arange(3)", "Tensor [3] [0.0, 1.0, 2.0]"),
            ("arange(5, 1, -1.5)", "Tensor [3] [5.0, 3.5, 2.0]"),
            ("arange(2, 2).shape", "[0]"),
            ("arange(3, 1).shape", "[0]"),
            (
                "arange(0, 1, 0)",
                "`arange`: no steps of 0 lead from 0 to 1; give numbers, and a step that is not 0",
            ),
            ("ones([]).item()", "1.0"),
            ("eye(2)[0]", "Tensor [2] [1.0, 0.0]"),
        ]);
        for code in ["arange(1e18)", "eye(100000000)", "ones([1000000, 1000000])"] {
            let told = crate::script::bind::testing::run(code, crate::script::HostOptions::default());
            assert!(
                ["do not fit", "memory", "counted"].iter().any(|said| told.contains(said)),
                "{code}: {told}"
            );
        }
    }

    #[test]
    fn a_diagonal_goes_both_ways() {
        check(&[
            ("tensor([[1, 2, 3], [4, 5, 6]]).diag(-1)", "Tensor [1] [4.0]"),
            ("tensor([[1, 2], [3, 4]]).diag(5).shape", "[0]"),
            ("tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]).diag()", "Tensor [2, 2] [[1.0, 4.0], [5.0, 8.0]]"),
            ("tensor([7, 8]).diag(-1)", "Tensor [3, 3] [[0.0, 0.0, 0.0], [7.0, 0.0, 0.0], [0.0, 8.0, 0.0]]"),
            ("zeros([3, 0, 2]).diag().shape", "[3, 0]"),
            ("ones([]).diag()", "`diag`: a tensor without axes has no diagonal"),
        ]);
    }
}
