//! The type `Tensor`: making one from numbers, and reading it back.
//!
//! Results have float32 numbers, whatever the operands have. They lie in main memory wherever the model runs, so
//! that a script may combine any two.
//! A result without axes is a float: scripts never meet a tensor of shape `[]` unless they make it.

use std::sync::Arc;

use candle_core::{DType, Device};
use rhai::{Array, Dynamic};

use super::show::show;
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};
use crate::script::limits::reserve_values;

/// Axes that a tensor may have, as many as NumPy's arrays.
const MAX_RANK: usize = 64;

/// A tensor of a script. Cloning shares the numbers, which never change.
#[derive(Clone, Debug)]
pub struct Tensor(Arc<candle_core::Tensor>);

impl Tensor {
    /// Hands a tensor to the script.
    pub fn new(_: &Arc<Context>, tensor: candle_core::Tensor) -> ScriptResult<Self> {
        Self::of(tensor)
    }

    /// A tensor that was made of no other.
    pub(super) fn of(tensor: candle_core::Tensor) -> ScriptResult<Self> {
        check_shape(tensor.dims())?;
        Ok(Self(Arc::new(tensor.to_device(&Device::Cpu).map_err(refused)?)))
    }

    /// The numbers, in the type they came with.
    pub fn inner(&self) -> &candle_core::Tensor {
        &self.0
    }

    pub fn dims(&self) -> &[usize] {
        self.inner().dims()
    }

    /// The numbers as float32.
    pub fn floats(&self) -> ScriptResult<candle_core::Tensor> {
        self.inner().to_dtype(DType::F32).map_err(refused)
    }

    /// The numbers as float32 in row-major order.
    pub fn host(&self) -> ScriptResult<Vec<f32>> {
        self.check_room(self.dims())?;
        self.floats()?.flatten_all().and_then(|flat| flat.to_vec1()).map_err(refused)
    }

    /// What was computed from this tensor, as a tensor of the script.
    pub fn derived(&self, result: candle_core::Result<candle_core::Tensor>) -> ScriptResult<Self> {
        Self::of(result.map_err(refused)?)
    }

    /// What was computed from this tensor: a number if it has no axes, else a tensor.
    pub fn value(&self, result: candle_core::Result<candle_core::Tensor>) -> ScriptResult<Dynamic> {
        let result = result.map_err(refused)?;
        match result.rank() {
            0 => number(&result),
            _ => self.derived(Ok(result)).map(Dynamic::from),
        }
    }

    /// Refuses a float32 result of shape `dims` that would not fit, before it is computed.
    pub fn check_room(&self, dims: &[usize]) -> ScriptResult<()> {
        check_room(dims)
    }
}

/// The error of the tensor library, where no message of ours came first.
pub fn refused(error: candle_core::Error) -> Box<rhai::EvalAltResult> {
    fail(error.to_string()).into()
}

/// Refuses a float32 tensor of shape `dims` that would not fit, before it is made.
pub fn check_room(dims: &[usize]) -> ScriptResult<()> {
    check_shape(dims)?;
    Ok(memory::reserve(dims.iter().fold(size_of::<f32>(), |bytes, dim| bytes.saturating_mul(*dim)))?)
}

/// Refuses shapes whose axes are too many, or too long to be counted even where one of length 0 makes them empty.
pub fn check_shape(dims: &[usize]) -> ScriptResult<()> {
    let rank = dims.len();
    if rank > MAX_RANK {
        return Err(fail(format!("a tensor of {rank} axes: it may have {MAX_RANK}"))
            .help("put axes together with `.reshape([..])`")
            .into());
    }
    let countable = dims.iter().try_fold(1usize, |count, dim| count.checked_mul((*dim).max(1)));
    match countable.is_some_and(|count| count <= isize::MAX as usize / size_of::<f64>()) {
        true => Ok(()),
        false => Err(fail(format!("a tensor of shape {dims:?} has more places than can be counted"))
            .help("make its axes shorter")
            .into()),
    }
}

/// The one number of a tensor with one element: an int if the tensor holds ints.
fn number(tensor: &candle_core::Tensor) -> ScriptResult<Dynamic> {
    let flat = tensor.flatten_all().and_then(|flat| flat.get(0)).map_err(refused)?;
    if flat.dtype().is_int() {
        return flat
            .to_dtype(DType::I64)
            .and_then(|x| x.to_scalar::<i64>())
            .map(Dynamic::from)
            .map_err(refused);
    }
    let x = flat.to_dtype(DType::F32).and_then(|x| x.to_scalar::<f32>()).map_err(refused)?;
    Ok(Dynamic::from(f64::from(x)))
}

/// Registers the type, its constructors and readers.
pub fn register(api: &mut Api) {
    api.ty::<Tensor>("Tensor", "numbers in rows and columns", show);
    constructors(api);
    readers(api);
}

fn constructors(api: &mut Api) {
    api.function("tensor(values: array) -> Tensor", "nested arrays of numbers as float32")
        .example("tensor([[1, 2, 3], [4, 5, 6.5]])", "Tensor [2, 3] [[1.0, 2.0, 3.0], [4.0, 5.0, 6.5]]")
        .native(|values: Array| -> ScriptResult<Tensor> {
            let (dims, numbers) = nested(&values)?;
            check_shape(&dims)?;
            Tensor::of(candle_core::Tensor::from_vec(numbers, dims, &Device::Cpu).map_err(refused)?)
        });
    api.function("zeros(shape: array) -> Tensor", "zeros in float32")
        .example("zeros([2, 3])", "Tensor [2, 3] [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]")
        .native(|shape: Dynamic| -> ScriptResult<Tensor> {
            let dims = args::each(&shape, args::size)?;
            check_room(&dims)?;
            Tensor::of(candle_core::Tensor::zeros(dims, DType::F32, &Device::Cpu).map_err(refused)?)
        });
}

fn readers(api: &mut Api) {
    api.getter("Tensor", "shape -> array", "the length of each axis")
        .example("zeros([2, 3]).shape", "[2, 3]")
        .native(|t: &mut Tensor| t.dims().iter().map(|dim| Dynamic::from(*dim as i64)).collect::<Array>());
    api.getter("Tensor", "dtype -> string", "the number type: `f32`, `bf16`, `u32`, …")
        .example("zeros([2, 3]).dtype", "\"f32\"")
        .native(|t: &mut Tensor| t.inner().dtype().as_str().to_string());
    api.getter("Tensor", "len -> int", "the length of the first axis; 1 without axes")
        .example("zeros([2, 3]).len", "2")
        .native(|t: &mut Tensor| t.dims().first().map_or(1, |dim| *dim as i64));
    api.method("Tensor", "item() -> number", "the number in a tensor that holds just one")
        .example("tensor([[0.5]]).item()", "0.5")
        .native(|t: &mut Tensor| match t.inner().elem_count() {
            1 => number(t.inner()),
            n => Err(fail(format!("`item` takes a tensor of one number, found {n} in shape {:?}", t.dims()))
                .help(format!(
                    "pick one, as in `.at({:?})`, or reduce them, as in `.mean()`",
                    vec![0; t.dims().len()]
                ))
                .into()),
        });
    api.method("Tensor", "to_array() -> array", "the numbers as nested arrays")
        .example("tensor([[1, 2], [3, 4]]).to_array()", "[[1.0, 2.0], [3.0, 4.0]]")
        .native(|t: &mut Tensor| to_dynamic(t));
}

/// Nested arrays of ints or floats; a number if the tensor has no axes.
pub fn to_dynamic(t: &Tensor) -> ScriptResult<Dynamic> {
    // The numbers one after the other, and again in their arrays, which nest.
    reserve_values(t.inner().elem_count().saturating_mul(3))?;
    let numbers: Vec<Dynamic> = if t.inner().dtype().is_int() {
        let flat = t.inner().to_dtype(DType::I64).and_then(|t| t.flatten_all());
        let numbers = flat.and_then(|flat| flat.to_vec1::<i64>()).map_err(refused)?;
        numbers.into_iter().map(Dynamic::from).collect()
    } else {
        t.host()?.into_iter().map(|x| Dynamic::from(f64::from(x))).collect()
    };
    Ok(nest(t.dims(), &mut numbers.into_iter()))
}

fn nest(dims: &[usize], numbers: &mut impl Iterator<Item = Dynamic>) -> Dynamic {
    match dims {
        [] => numbers.next().unwrap_or_default(),
        [len, inner @ ..] => (0..*len).map(|_| nest(inner, numbers)).collect::<Array>().into(),
    }
}

/// The shape of nested arrays and their numbers in row-major order.
fn nested(values: &[Dynamic]) -> ScriptResult<(Vec<usize>, Vec<f32>)> {
    let dims = first_shape(values);
    let mut numbers = Vec::new();
    collect(values, &dims, &mut Vec::new(), &mut numbers)?;
    Ok((dims, numbers))
}

/// The shape as the first elements have it.
fn first_shape(values: &[Dynamic]) -> Vec<usize> {
    let inner = values.first().and_then(|first| first.read_lock::<Array>());
    let mut dims = vec![values.len()];
    dims.extend(inner.map(|inner| first_shape(&inner)).unwrap_or_default());
    dims
}

/// Appends all numbers, or names the place that does not fit `dims`.
fn collect(
    values: &[Dynamic],
    dims: &[usize],
    place: &mut Vec<usize>,
    numbers: &mut Vec<f32>,
) -> ScriptResult<()> {
    let Some((len, inner)) = dims.split_first() else { return Ok(()) };
    let here = |place: &[usize]| place.iter().map(|i| format!("[{i}]")).collect::<String>();
    if values.len() != *len {
        let first = here(&vec![0; place.len()]);
        let message = format!("`{}` has {} elements, but `{first}` has {len}", here(place), values.len());
        return Err(fail(message).help("give all rows the same length").into());
    }
    for (i, value) in values.iter().enumerate() {
        place.push(i);
        match (value.read_lock::<Array>(), inner) {
            (Some(_), []) | (None, [_, ..]) => {
                let wanted = if inner.is_empty() { "a number" } else { "an array" };
                let message = expected(wanted, value).message;
                let message =
                    format!("`{}`: {message}, unlike `{}`", here(place), here(&vec![0; place.len()]));
                return Err(fail(message).help("nest all numbers equally deep").into());
            }
            (Some(array), _) => collect(&array, inner, place, numbers)?,
            (None, []) => numbers.push(args::number(value).map_err(|_| {
                let help = value.is::<Tensor>().then(|| "join tensors with `stack([..], 0)`".into());
                fail(format!("`{}`: {}", here(place), expected("a number", value).message)).maybe_help(help)
            })? as f32),
        }
        place.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::script::HostOptions;
    use crate::script::bind::testing::{check, run};

    #[test]
    fn nested_arrays_must_be_rectangles_of_numbers() {
        check(&[
            ("tensor([[1, 2], [3]])", "`[1]` has 1 elements, but `[0]` has 2; give all rows the same length"),
            (
                "tensor([1, [2]])",
                "`[1]`: expected a number, found `array`, unlike `[0]`; nest all numbers equally deep",
            ),
            (
                "tensor([[1], 2])",
                "`[1]`: expected an array, found `int`, unlike `[0]`; nest all numbers equally deep",
            ),
            ("tensor([[1, \"2\"]])", "`[0][1]`: expected a number, found `string`"),
            ("tensor([[]])", "Tensor [1, 0] [[]]"),
            (
                "tensor([tensor([1])])",
                "`[0]`: expected a number, found `Tensor`; join tensors with `stack([..], 0)`",
            ),
        ]);
    }

    #[test]
    fn item_wants_one_number() {
        check(&[
            (
                "tensor([1, 2]).item()",
                "`item` takes a tensor of one number, found 2 in shape [2]; pick one, as in `.at([0])`, or reduce them, as in `.mean()`",
            ),
            ("tensor([0.5, 2]).topk(1).indices.item()", "1"),
        ]);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_it_is_computed() {
        let run = |code| run(code, HostOptions::default());
        let refused = run("zeros([1000000, 1000000, 1000000])");
        assert!(refused.starts_with("3.47 EiB do not fit: "), "{refused}");
        assert!(run("let a = zeros([10000000, 1]); a + a.t()").contains(" do not fit: "));
        let axes = run("let s = []; s.pad(65, 1); zeros(s)");
        assert_eq!(axes, "a tensor of 65 axes: it may have 64; put axes together with `.reshape([..])`");
        assert!(
            run("let s = []; s.pad(100000, 1); zeros([1]).reshape(s)").starts_with("a tensor of 100000 axes")
        );
    }

    #[test]
    fn large_tensors_print_their_corners() {
        check(&[
            ("zeros([9])", "Tensor [9] [0.0, 0.0, 0.0, …, 0.0, 0.0, 0.0]"),
            (
                "let t = zeros([2, 20]); t.set_at([1, 0], -1234.5); t",
                "Tensor [2, 20] [[0.0, 0.0, 0.0, …, 0.0, 0.0, 0.0], [-1234.5, 0.0, 0.0, …, 0.0, 0.0, 0.0]]",
            ),
            (
                "let t = zeros([2, 2, 20]); t.set_at([1, 0, 0], 1e-7); t",
                "Tensor [2, 2, 20]\n\
                 [[[     0.0,      0.0,      0.0, …,      0.0,      0.0,      0.0],\n\
                 \x20 [     0.0,      0.0,      0.0, …,      0.0,      0.0,      0.0]],\n\
                 \x20[[1.000e-7,      0.0,      0.0, …,      0.0,      0.0,      0.0],\n\
                 \x20 [     0.0,      0.0,      0.0, …,      0.0,      0.0,      0.0]]]",
            ),
        ]);
    }
}
