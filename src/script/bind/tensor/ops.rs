//! Arithmetic of tensors: element by element with broadcasting, and products.

use candle_core::{Device, Shape, Tensor as Numbers};
use rhai::Dynamic;

use super::value::{Tensor, refused};
use crate::script::api::{Api, Binding};
use crate::script::args;
use crate::script::context::apart_if_long;
use crate::script::error::{ScriptResult, fail};

pub(super) type Binary = fn(&Numbers, &Numbers) -> candle_core::Result<Numbers>;
type Unary = fn(&Numbers) -> candle_core::Result<Numbers>;

/// Registers operators, functions of each element, and products.
pub fn register(api: &mut Api) {
    operators(api);
    elementwise(api);
    products(api);
}

fn operators(api: &mut Api) {
    binary(
        api,
        "+",
        "+(other: Tensor | number) -> Tensor",
        "the sum, number by number; axes of length 1 broadcast as in NumPy",
        ("tensor([[1, 2], [3, 4]]) + tensor([10, 20])", "Tensor [2, 2] [[11.0, 22.0], [13.0, 24.0]]"),
        |a, b| a.broadcast_add(b),
    );
    binary(
        api,
        "-",
        "-(other: Tensor | number) -> Tensor",
        "the difference, number by number; `-t` changes the signs",
        ("1 - tensor([0.25, 0.75])", "Tensor [2] [0.75, 0.25]"),
        |a, b| a.broadcast_sub(b),
    );
    binary(
        api,
        "*",
        "*(other: Tensor | number) -> Tensor",
        "the product, number by number; `.matmul` is the matrix product",
        ("tensor([1, 2, 3]) * 0.5", "Tensor [3] [0.5, 1.0, 1.5]"),
        |a, b| a.broadcast_mul(b),
    );
    binary(
        api,
        "/",
        "/(other: Tensor | number) -> Tensor",
        "the quotient, number by number",
        (
            "let t = tensor([[3, 1], [2, 2]]); t / t.sum(1).reshape([2, 1])",
            "Tensor [2, 2] [[0.75, 0.25], [0.5, 0.5]]",
        ),
        |a, b| a.broadcast_div(b),
    );
    binary(
        api,
        "**",
        "**(other: Tensor | number) -> Tensor",
        "to the power, number by number; NaN for a fraction of a power below 0",
        ("tensor([3, -4]) ** 2", "Tensor [2] [9.0, 16.0]"),
        power,
    );
    let negated = api.operator("Tensor", "-() -> Tensor", "changes all signs");
    unary(negated.example("-tensor([1, -2])", "Tensor [2] [-1.0, 2.0]"), |t| t.neg());
}

/// As in NumPy: the tensor library's own goes through logarithms, which numbers below 0 lack.
fn power(a: &Numbers, b: &Numbers) -> candle_core::Result<Numbers> {
    let dims = a.shape().broadcast_shape_binary_op(b.shape(), "pow")?;
    let spread = |t: &Numbers| t.broadcast_as(&dims)?.flatten_all()?.to_vec1::<f32>();
    let powers = spread(a)?.into_iter().zip(spread(b)?).map(|(x, y)| x.powf(y)).collect::<Vec<_>>();
    Numbers::from_vec(powers, dims, &Device::Cpu)
}

/// Registers an operator between two tensors, and between a tensor and a number on either side.
pub(super) fn binary(
    api: &mut Api,
    op: &'static str,
    signature: &'static str,
    summary: &'static str,
    (code, output): (&'static str, &'static str),
    compute: Binary,
) {
    let left = move |t: Tensor, x: f64| with_number(&t, x, compute);
    let right = move |x: f64, t: Tensor| with_number(&t, x, move |t, x| compute(x, t));
    api.operator("Tensor", signature, summary)
        .example(code, output)
        .native(move |a: Tensor, b: Tensor| broadcast(op, &a, &b, compute))
        .native(left)
        .native(move |t: Tensor, x: i64| left(t, x as f64))
        .native(right)
        .native(move |x: i64, t: Tensor| right(x as f64, t));
}

fn with_number(
    t: &Tensor,
    x: f64,
    compute: impl Fn(&Numbers, &Numbers) -> candle_core::Result<Numbers> + Send + 'static,
) -> ScriptResult<Tensor> {
    t.check_room(t.dims())?;
    let number = Numbers::new(x as f32, t.inner().device()).map_err(refused)?;
    let numbers = t.floats()?;
    t.derived(apart_if_long(numbers.elem_count(), move || compute(&numbers, &number))?)
}

/// The shape to which both broadcast; `op` is what errors call it.
pub(super) fn common_shape(op: &str, a: &Tensor, b: &Tensor) -> ScriptResult<Vec<usize>> {
    let shape = a.inner().shape().broadcast_shape_binary_op(b.inner().shape(), "broadcast");
    let shape = shape.map_err(|_| {
        fail(format!("`{op}`: shapes {:?} and {:?} do not fit", a.dims(), b.dims())).help(
            "counted from the last, each pair of axes must be equal, or one of them 1; use `.reshape([..])`",
        )
    })?;
    Ok(shape.into_dims())
}

/// `compute` on two tensors whose shapes broadcast; `op` is what errors call it.
fn broadcast(op: &str, a: &Tensor, b: &Tensor, compute: Binary) -> ScriptResult<Tensor> {
    let dims = common_shape(op, a, b)?;
    a.check_room(&dims)?;
    let (x, y) = operands(a, b)?;
    a.derived(apart_if_long(dims.iter().product(), move || compute(&x, &y))?)
}

/// Both tensors in float32 on one device: a tensor in main memory moves to the other's.
fn operands(a: &Tensor, b: &Tensor) -> ScriptResult<(Numbers, Numbers)> {
    let device = if a.inner().device().is_cpu() { b.inner().device() } else { a.inner().device() };
    let on = |t: &Tensor| t.floats()?.to_device(device).map_err(refused);
    Ok((on(a)?, on(b)?))
}

fn elementwise(api: &mut Api) {
    let relu = api.method("Tensor", "relu() -> Tensor", "negative numbers become 0");
    let relu = relu.example("tensor([-1, 2]).relu()", "Tensor [2] [0.0, 2.0]");
    relu.native(|t: &mut Tensor| each(t, |x| if x < 0.0 { 0.0 } else { x }));
    let abs = api.method("Tensor", "abs() -> Tensor", "without signs");
    unary(abs.example("tensor([-1, 2]).abs()", "Tensor [2] [1.0, 2.0]"), |t| t.abs());
    let exp = api.method("Tensor", "exp() -> Tensor", "e to the power of each number");
    unary(exp.example("tensor([0, 1]).exp()", "Tensor [2] [1.0, 2.7183]"), |t| t.exp());
    let log = api.method("Tensor", "log() -> Tensor", "natural logarithms");
    unary(log.example("tensor([1, 10]).log()", "Tensor [2] [0.0, 2.3026]"), |t| t.log());
    let sqrt = api.method("Tensor", "sqrt() -> Tensor", "square roots");
    unary(sqrt.example("tensor([4, 9]).sqrt()", "Tensor [2] [2.0, 3.0]"), |t| t.sqrt());
    let tanh = api.method("Tensor", "tanh() -> Tensor", "hyperbolic tangents");
    tanh.example("tensor([0, 1]).tanh()", "Tensor [2] [0.0, 0.7616]")
        .native(|t: &mut Tensor| each(t, f32::tanh));
    api.method(
        "Tensor",
        "clamp(low: number, high: number) -> Tensor",
        "numbers outside the range move to its nearer end",
    )
    .example("tensor([-3, 0.5, 7]).clamp(0, 1)", "Tensor [3] [0.0, 0.5, 1.0]")
    .native(|t: &mut Tensor, low: Dynamic, high: Dynamic| -> ScriptResult<Tensor> {
        let (low, high) = (args::number(&low)?, args::number(&high)?);
        if low.is_nan() || high.is_nan() {
            return Err(fail("`clamp`: NaN is no end of a range").help("give two numbers").into());
        }
        if low > high {
            return Err(fail(format!("`clamp`: {low} is above {high}"))
                .help(format!("write `.clamp({high}, {low})`"))
                .into());
        }
        each(t, move |x| x.clamp(low as f32, high as f32))
    });
}

/// A function of each number, where the tensor library's own would lose NaN.
fn each(t: &Tensor, function: impl Fn(f32) -> f32 + Send + 'static) -> ScriptResult<Tensor> {
    t.check_room(t.dims())?;
    let numbers = t.host()?;
    let numbers: Vec<f32> =
        apart_if_long(numbers.len(), move || numbers.into_iter().map(function).collect())?;
    t.derived(Numbers::from_vec(numbers, t.dims(), &Device::Cpu))
}

/// Gives an entry a function of each number.
fn unary(entry: Binding, compute: Unary) {
    entry.native(move |t: &mut Tensor| -> ScriptResult<Tensor> {
        t.check_room(t.dims())?;
        let numbers = t.floats()?;
        t.derived(apart_if_long(numbers.elem_count(), move || compute(&numbers))?)
    });
}

fn products(api: &mut Api) {
    api.method(
        "Tensor",
        "matmul(other: Tensor) -> Tensor | float",
        "the matrix product over the last axis and the other's second to last, as in NumPy",
    )
    .example("tensor([[1, 2], [3, 4]]).matmul(tensor([1, 10]))", "Tensor [2] [21.0, 43.0]")
    .native(|a: &mut Tensor, b: Tensor| matmul(a, &b));
    api.method("Tensor", "dot(other: Tensor) -> float", "the scalar product of two vectors")
        .example("tensor([1, 2, 3]).dot(tensor([1, 0, 2]))", "7.0")
        .native(|a: &mut Tensor, b: Tensor| -> ScriptResult<f64> {
            match (a.dims(), b.dims()) {
                ([n], [m]) if n == m => Ok(f64::from(dot(&a.host()?, &b.host()?) as f32)),
                (x, y) => Err(fail(format!(
                    "`dot`: expected two vectors of one length, found shapes {x:?} and {y:?}"
                ))
                .help("use `.matmul(..)` for matrices")
                .into()),
            }
        });
    api.method(
        "Tensor",
        "cos_sim(other: Tensor) -> float | Tensor",
        "the cosine of the angle between vectors, along the last axis; NaN for a vector of zeros",
    )
    .example("tensor([[1, 0], [3, 4]]).cos_sim(tensor([0, 2]))", "Tensor [2] [0.0, 0.8]")
    .native(|a: &mut Tensor, b: Tensor| cos_sim(a, &b));
}

/// Products that take as long as a step of other work.
const PRODUCTS: usize = 32;

fn matmul(a: &Tensor, b: &Tensor) -> ScriptResult<Dynamic> {
    let mismatch = || {
        let help = match (a.dims(), b.dims()) {
            ([.., n], [.., m]) if n == m => "transpose one of them, as in `.matmul(other.t())`",
            _ => "the last axis of the first must be as long as the second to last of the other",
        };
        fail(format!("`matmul`: shapes {:?} and {:?} do not fit", a.dims(), b.dims())).help(help)
    };
    let (x, y) = operands(a, b)?;
    // A vector is a row on the left and a column on the right; the axis that this adds is dropped again.
    let (row, column) = (x.rank() == 1, y.rank() == 1);
    let x = if row { x.unsqueeze(0).map_err(refused)? } else { x };
    let y = if column { y.unsqueeze(1).map_err(refused)? } else { y };
    let ([left @ .., n, k], [right @ .., l, m]) = (x.dims(), y.dims()) else { return Err(mismatch().into()) };
    let outer = Shape::from(left).broadcast_shape_binary_op(&Shape::from(right), "matmul");
    let mut dims = outer.map_err(|_| mismatch())?.into_dims();
    if k != l {
        return Err(mismatch().into());
    }
    dims.extend([n, m]);
    a.check_room(&dims)?;
    let size = dims.iter().product::<usize>().saturating_mul(*k);
    let product = apart_if_long(size / PRODUCTS, move || x.contiguous()?.broadcast_matmul(&y.contiguous()?))?;
    let product = product.map_err(refused)?;
    let product = if column { product.squeeze(product.rank() - 1).map_err(refused)? } else { product };
    a.value(if row { product.squeeze(product.rank() - usize::from(!column) - 1) } else { Ok(product) })
}

/// In float64, as all sums.
fn dot(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

fn cos_sim(a: &Tensor, b: &Tensor) -> ScriptResult<Dynamic> {
    if a.dims().is_empty() || b.dims().is_empty() {
        return Err(fail("`cos_sim`: a tensor without axes is no vector").into());
    }
    let mut dims = common_shape("cos_sim", a, b)?;
    a.check_room(&dims)?;
    let spread = |t: &Tensor| -> ScriptResult<Vec<f32>> {
        let spread = t.floats()?.broadcast_as(dims.as_slice()).and_then(|t| t.flatten_all()?.to_vec1());
        spread.map_err(refused)
    };
    let (x, y) = (spread(a)?, spread(b)?);
    let len = dims.pop().unwrap_or(1);
    let count = dims.iter().product::<usize>();
    let cosine = |row: usize| {
        let (x, y) = (&x[row * len..(row + 1) * len], &y[row * len..(row + 1) * len]);
        (dot(x, y) / (dot(x, x).sqrt() * dot(y, y).sqrt())) as f32
    };
    a.value(Numbers::from_vec((0..count).map(cosine).collect::<Vec<_>>(), dims, &Device::Cpu))
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn shapes_broadcast_or_are_named() {
        check(&[
            ("zeros([2, 1]) + tensor([1, 2, 3])", "Tensor [2, 3] [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]"),
            ("2 / tensor([1, 4]) - 1.0", "Tensor [2] [1.0, -0.5]"),
            ("let t = tensor([1]); t += 1; t *= t; t", "Tensor [1] [4.0]"),
            (
                "zeros([2, 3]) * zeros([2])",
                "`*`: shapes [2, 3] and [2] do not fit; counted from the last, each pair of axes must be equal, \
                 or one of them 1; use `.reshape([..])`",
            ),
            ("2 ** tensor([[0, 3], [-1, 0.5]])", "Tensor [2, 2] [[1.0, 8.0], [0.5, 1.4142]]"),
            ("(tensor([-8]) ** (1.0 / 3)).to_array()[0].is_nan()", "true"),
            ("tensor([1, 2]) ** tensor([[2], [3]])", "Tensor [2, 2] [[1.0, 4.0], [1.0, 8.0]]"),
            ("tensor([100, -100]).tanh()", "Tensor [2] [1.0, -1.0]"),
            ("tensor([1]).clamp(2, 1)", "`clamp`: 2 is above 1; write `.clamp(1, 2)`"),
        ]);
    }

    #[test]
    fn products_follow_numpy() {
        check(&[
            (
                "let m = tensor([[1, 2], [3, 4]]); m.matmul(m.t())",
                "Tensor [2, 2] [[5.0, 11.0], [11.0, 25.0]]",
            ),
            ("tensor([1, 10]).matmul(tensor([[1, 2], [3, 4]]))", "Tensor [2] [31.0, 42.0]"),
            ("tensor([1, 2]).matmul(tensor([3, 4]))", "11.0"),
            ("(zeros([5, 1, 2, 3]) + 1).matmul(zeros([4, 3, 2])).shape", "[5, 4, 2, 2]"),
            ("zeros([5, 2, 3]).matmul(zeros([3])).shape", "[5, 2]"),
            ("zeros([2]).matmul(zeros([5, 2, 3])).shape", "[5, 3]"),
            (
                "zeros([2, 3]).matmul(zeros([2, 3]))",
                "`matmul`: shapes [2, 3] and [2, 3] do not fit; transpose one of them, as in `.matmul(other.t())`",
            ),
            (
                "tensor([1, 2]).dot(tensor([1]))",
                "`dot`: expected two vectors of one length, found shapes [2] and [1]; use `.matmul(..)` for matrices",
            ),
        ]);
    }
}
