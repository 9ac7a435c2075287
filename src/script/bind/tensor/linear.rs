//! Linear algebra of tensors with two axes: least squares, singular values, principal components.

use candle_core::{Device, Tensor as Numbers};
use rhai::{Dynamic, Map};

use super::value::Tensor;
use crate::analysis::linear::{self, Matrix};
use crate::memory;
use crate::script::api::Api;
use crate::script::args;
use crate::script::bind::refusal;
use crate::script::error::{ScriptResult, fail};

/// Registers the methods.
pub fn register(api: &mut Api) {
    let context = api.context();
    let (squares, components) = (context.clone(), context.clone());
    api.method(
        "Tensor",
        "lstsq(b: Tensor) -> Tensor",
        "the least-squares solution `x` of `t x = b`, of least norm if there are many: [cols] for a vector `b`, [cols, k] \
         for `b` of shape [rows, k]",
    )
    .example("tensor([[1, 0], [1, 1], [1, 2]]).lstsq(tensor([1, 3, 5]))", "Tensor [2] [1.0, 2.0]")
    .native(move |a: &mut Tensor, b: Tensor| -> ScriptResult<Tensor> {
        let goal = match *b.dims() {
            [rows] => Matrix { rows, cols: 1, values: b.host()? },
            _ => matrix("lstsq", &b)?,
        };
        let whole = matrix("lstsq", a)?;
        let x = squares.apart(move || linear::lstsq(&whole, &goal))?.map_err(refusal::of)?;
        if b.dims().len() == 1 { vector(a, x.values) } else { tensor(a, x) }
    });
    api.method(
        "Tensor",
        "svd() -> map",
        "`u` [rows, k], `s` [k] and `vt` [k, cols] with `t = u diag(s) vt`; k is the smaller side and `s` falls",
    )
    .example("tensor([[3, 0], [0, 4]]).svd().s", "Tensor [2] [4.0, 3.0]")
    .native(move |a: &mut Tensor| -> ScriptResult<Map> {
        let whole = matrix("svd", a)?;
        let linear::Svd { u, s, vt } = context.apart(move || linear::svd(&whole))?.map_err(refusal::of)?;
        Ok(map([("u", tensor(a, u)?), ("s", vector(a, s)?), ("vt", tensor(a, vt)?)]))
    });
    api.method(
        "Tensor",
        "pca(k: int) -> map",
        "the `k` directions of largest variance of the rows: `components` [k, cols] with a positive largest entry, \
         `variance` [k] (ddof 1), `mean` [cols], and the rows along them as `scores` [rows, k]",
    )
    .example("tensor([[0, 0], [1, 1], [2, 2]]).pca(1).components", "Tensor [1, 2] [[0.7071, 0.7071]]")
    .native(move |a: &mut Tensor, k: Dynamic| -> ScriptResult<Map> {
        let (whole, k) = (matrix("pca", a)?, args::size(&k)?);
        let found = components.apart(move || linear::pca(&whole, k))?;
        let linear::Pca { mean, components, variance, scores } = found.map_err(refusal::of)?;
        Ok(map([
            ("mean", vector(a, mean)?),
            ("components", tensor(a, components)?),
            ("variance", vector(a, variance)?),
            ("scores", tensor(a, scores)?),
        ]))
    });
}

fn two_axes(method: &str, t: &Tensor) -> Box<rhai::EvalAltResult> {
    fail(format!("`{method}` takes a tensor of two axes, found shape {:?}", t.dims()))
        .help("pick a part, as in `t[0]`, or use `.reshape([rows, cols])`")
        .into()
}

fn matrix(method: &str, t: &Tensor) -> ScriptResult<Matrix> {
    match *t.dims() {
        [rows, cols] => {
            // Two results and the work on them, in float64.
            memory::reserve_many(t.inner().elem_count(), 6 * size_of::<f64>())?;
            Ok(Matrix { rows, cols, values: t.host()? })
        }
        _ => Err(two_axes(method, t)),
    }
}

/// A result of `of`, counted against the same limit.
fn tensor(of: &Tensor, matrix: Matrix) -> ScriptResult<Tensor> {
    of.derived(Numbers::from_vec(matrix.values, (matrix.rows, matrix.cols), &Device::Cpu))
}

fn vector(of: &Tensor, values: Vec<f32>) -> ScriptResult<Tensor> {
    of.derived(Numbers::new(values, &Device::Cpu))
}

fn map<const N: usize>(entries: [(&str, Tensor); N]) -> Map {
    entries.into_iter().map(|(name, tensor)| (name.into(), Dynamic::from(tensor))).collect()
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn shapes_are_checked() {
        check(&[
            (
                "zeros([2]).svd()",
                "`svd` takes a tensor of two axes, found shape [2]; pick a part, as in `t[0]`, or use `.reshape([rows, cols])`",
            ),
            (
                "tensor([[1, 0], [0, 2]]).lstsq(tensor([1, 2, 3]))",
                "`lstsq`: 2 equations, but 3 values to reach; give one value, or one row of values, a row of the matrix",
            ),
            ("tensor([[1, 0], [0, 2]]).lstsq(tensor([[1], [4]]))", "Tensor [2, 1] [[1.0], [2.0]]"),
        ]);
    }
}
