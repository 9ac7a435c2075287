//! Tensors in files: NumPy's `.npy` for one, its `.npz` and `.safetensors` for several by name.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use candle_core::safetensors::Load;
use candle_core::{DType, Device};
use rhai::{Dynamic, Map};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::value::{Tensor, refused};
use crate::data::npy;
use crate::data::npz::{self, Npz};
use crate::memory;
use crate::nearest::nearest;
use crate::script::api::Api;
use crate::script::args::expected;
use crate::script::bind::data::write;
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{Failure, ScriptResult, fail};

/// Registers saving and loading.
pub fn register(api: &mut Api) {
    npy(api);
    npz(api);
    safetensors(api);
}

fn npy(api: &mut Api) {
    let context = api.context();
    api.function(
        "save_npy(path: string, tensor: Tensor) -> string",
        "writes float32 for NumPy's `np.load`; returns where the file is",
    )
    .example("save_npy(\"t.npy\", tensor([1, 2])).ends_with(\"t.npy\")", "true")
    .native(move |path: &str, t: Tensor| -> ScriptResult<String> {
        let numbers = t.host()?;
        let written = context.write(path, |to| npy::write_npy(to, t.dims(), &numbers))?;
        Ok(written.display().to_string())
    });
    let context = api.context();
    api.function("load_npy(path: string) -> Tensor", "an array that `save_npy` or `np.save` wrote")
        .example("save_npy(\"t.npy\", tensor([[1, 2]])); load_npy(\"t.npy\")", "Tensor [1, 2] [[1.0, 2.0]]")
        .native(move |path: &str| -> ScriptResult<Tensor> {
            let bytes = context.files()?.read(path).map_err(refusal::of)?;
            made(&context, npy::read_npy(path, &bytes).map_err(refusal::of)?)
        });
}

fn npz(api: &mut Api) {
    let context = api.context();
    api.function(
        "save_npz(path: string, tensors: map) -> string",
        "writes named tensors as float32 for NumPy's `np.load`; returns where the file is",
    )
    .example("save_npz(\"t.npz\", #{w: zeros([2])}).ends_with(\"t.npz\")", "true")
    .native(move |path: &str, tensors: Map| -> ScriptResult<String> {
        let mut arrays = Vec::new();
        for (name, t) in named(&tensors)? {
            reserve_copies(&t)?;
            arrays.push((name.to_string(), t.dims().to_vec(), t.host()?));
        }
        let made = context.apart(move || {
            let mut bytes = Cursor::new(Vec::new());
            let arrays = arrays.iter().map(|(name, dims, data)| (name.as_str(), &dims[..], &data[..]));
            npz::write_npz(&mut bytes, arrays).map(|()| bytes.into_inner())
        })?;
        let bytes = made.map_err(|error| fail(format!("cannot write `{path}`: {error}")))?;
        write(&context, path, &bytes)
    });
    let context = api.context();
    let all = context.clone();
    api.function(
        "load_npz(path: string, member?: string) -> map | Tensor",
        "the arrays that `save_npz` or `np.savez` wrote by their names, or the one of that name",
    )
    .example(
        "save_npz(\"t.npz\", #{w: tensor([1, 2]), b: zeros([1])}); load_npz(\"t.npz\", \"w\")",
        "Tensor [2] [1.0, 2.0]",
    )
    .native(move |path: &str| -> ScriptResult<Map> {
        let bytes = all.files()?.read(path).map_err(refusal::of)?;
        let mut npz = Npz::open(path, &bytes).map_err(refusal::of)?;
        let names = npz.members();
        let read = |name: String| Ok((name.as_str().into(), Dynamic::from(member(&all, &mut npz, &name)?)));
        names.into_iter().map(read).collect()
    })
    .native(move |path: &str, name: &str| -> ScriptResult<Tensor> {
        let bytes = context.files()?.read(path).map_err(refusal::of)?;
        member(&context, &mut Npz::open(path, &bytes).map_err(refusal::of)?, name)
    });
}

fn member(context: &Arc<Context>, npz: &mut Npz, name: &str) -> ScriptResult<Tensor> {
    // A small file may hold a large array.
    let size = npz.size(name).map_err(refusal::of)?;
    memory::reserve(usize::try_from(size).unwrap_or(usize::MAX))?;
    made(context, npz.read(name).map_err(refusal::of)?)
}

/// A tensor of a file.
fn made(context: &Arc<Context>, (dims, numbers): (Vec<usize>, Vec<f32>)) -> ScriptResult<Tensor> {
    let tensor = candle_core::Tensor::from_vec(numbers, dims, &Device::Cpu).map_err(refused)?;
    Tensor::new(context, tensor)
}

fn safetensors(api: &mut Api) {
    let context = api.context();
    api.function(
        "save_safetensors(path: string, tensors: map) -> string",
        "writes named tensors as float32; returns where the file is",
    )
    .example("save_safetensors(\"t.safetensors\", #{w: zeros([2])}).ends_with(\"t.safetensors\")", "true")
    .native(move |path: &str, tensors: Map| -> ScriptResult<String> {
        write(&context, path, &serialize(&tensors)?)
    });
    let context = api.context();
    let all = context.clone();
    api.function(
        "load_safetensors(path: string, name?: string) -> map | Tensor",
        "the tensors of a file by their names, or the one of that name; booleans are 0 and 1. In the map, a tensor of a \
         type that cannot be read is an `Error` that names it",
    )
    .example(
        "save_safetensors(\"t.safetensors\", #{w: tensor([1, 2])}); load_safetensors(\"t.safetensors\").w",
        "Tensor [2] [1.0, 2.0]",
    )
    .native(move |path: &str| -> ScriptResult<Map> {
        let bytes = all.files()?.read(path).map_err(refusal::of)?;
        let file = opened(path, &bytes)?;
        let mut tensors = Map::new();
        for (name, view) in file.iter() {
            let value = match view_numbers(path, name, &view) {
                Ok(tensor) => Dynamic::from(Tensor::new(&all, tensor)?),
                Err(failure) => Dynamic::from(failure),
            };
            tensors.insert(name.into(), value);
        }
        Ok(tensors)
    })
    .native(move |path: &str, name: &str| -> ScriptResult<Tensor> {
        let bytes = context.files()?.read(path).map_err(refusal::of)?;
        let file = opened(path, &bytes)?;
        let Ok(view) = file.tensor(name) else {
            let mut names = file.names();
            names.sort_unstable();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has `{}`", names.join("`, `")),
            };
            return Err(fail(format!("`{path}` has no tensor `{name}`")).help(help).into());
        };
        Tensor::new(&context, view_numbers(path, name, &view)?)
    });
}

fn opened<'b>(path: &str, bytes: &'b [u8]) -> Result<SafeTensors<'b>, Failure> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        fail(format!("`{path}` is not a safetensors file: {error}"))
            .help("write it with `save_safetensors`, or download it again")
    })
}

/// The numbers of one tensor of a file, as their own type where the tensor library has it.
fn view_numbers(path: &str, name: &str, view: &TensorView) -> Result<candle_core::Tensor, Failure> {
    let bytes = view.data();
    let (dims, cpu) = (view.shape(), &Device::Cpu);
    let tensor = match view.dtype() {
        Dtype::BOOL => candle_core::Tensor::from_vec(
            bytes.iter().map(|byte| f32::from(u8::from(*byte != 0))).collect::<Vec<_>>(),
            dims,
            cpu,
        ),
        Dtype::I8 => candle_core::Tensor::from_vec(
            bytes.iter().map(|byte| i32::from(*byte as i8)).collect::<Vec<_>>(),
            dims,
            cpu,
        ),
        Dtype::U64 => {
            let whole = |bytes: &[u8; 8]| i64::try_from(u64::from_le_bytes(*bytes));
            let numbers: Result<Vec<_>, _> = bytes.as_chunks::<8>().0.iter().map(whole).collect();
            let numbers = numbers.map_err(|_| {
                fail(format!("`{name}` of `{path}` holds a number beyond 64 bits with a sign"))
                    .help("write it as smaller numbers, or as floats")
            })?;
            candle_core::Tensor::from_vec(numbers, dims, cpu)
        }
        // The upper half of a float16.
        Dtype::F8_E5M2 => candle_core::Tensor::from_vec(
            bytes.iter().map(|byte| half::f16::from_bits(u16::from(*byte) << 8).to_f32()).collect::<Vec<_>>(),
            dims,
            cpu,
        ),
        Dtype::F8_E4M3 => view.load(cpu).and_then(|tensor| tensor.to_dtype(DType::F32)),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::I16 | Dtype::I32 | Dtype::I64 => view.load(cpu),
        Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64 => view.load(cpu),
        other => {
            return Err(fail(format!("`{name}` of `{path}` holds {other:?}, which cannot be read"))
                .help("convert it first, to float32 or bfloat16"));
        }
    };
    tensor.map_err(|error| fail(format!("`{name}` of `{path}` cannot be read: {error}")))
}

/// The tensors of a map, in the order of their names.
fn named(tensors: &Map) -> ScriptResult<Vec<(&str, Tensor)>> {
    let mut found = Vec::new();
    for (name, value) in tensors {
        let Some(t) = value.read_lock::<Tensor>() else {
            let message = expected("a tensor", value).message;
            return Err(fail(format!("`{name}`: {message}"))
                .help("make a tensor of an array with `tensor([..])`")
                .into());
        };
        found.push((name.as_str(), t.clone()));
    }
    Ok(found)
}

/// Room for the numbers in order, their bytes, and the bytes of the file.
fn reserve_copies(t: &Tensor) -> ScriptResult<()> {
    Ok(memory::reserve_many(t.inner().elem_count(), 3 * size_of::<f32>())?)
}

/// The bytes of the file, the same for the same tensors.
fn serialize(tensors: &Map) -> ScriptResult<Vec<u8>> {
    let mut parts = BTreeMap::new();
    for (name, t) in named(tensors)? {
        reserve_copies(&t)?;
        let bytes: Vec<u8> = t.host()?.into_iter().flat_map(f32::to_le_bytes).collect();
        parts.insert(name, (t.dims().to_vec(), bytes));
    }
    let views = parts.iter().map(|(name, (dims, bytes))| {
        TensorView::new(Dtype::F32, dims.clone(), bytes).map(|view| (*name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>();
    let bytes = views.and_then(|views| safetensors::tensor::serialize(views, None));
    bytes.map_err(|error| fail(format!("cannot write safetensors: {error}")).into())
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use crate::script::HostOptions;
    use crate::script::bind::testing::run;

    /// A file with these tensors, each a name, a type, a shape and bytes.
    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let view = |(name, dtype, dims, bytes): &(&str, Dtype, &[usize], &[u8])| {
            (name.to_string(), TensorView::new(*dtype, dims.to_vec(), bytes.to_vec().leak()).unwrap())
        };
        safetensors::tensor::serialize(tensors.iter().map(view).collect::<Vec<_>>(), None).unwrap()
    }

    #[test]
    fn a_tensor_that_cannot_be_read_leaves_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (path, out) = (folder.path().join("x.safetensors"), folder.path().to_path_buf());
        let bytes = file(&[
            ("mask", Dtype::BOOL, &[3], &[1, 0, 1]),
            ("small", Dtype::I8, &[2], &[0xfb, 7]),
            ("ids", Dtype::U64, &[1], &[9, 0, 0, 0, 0, 0, 0, 0]),
            ("eighth", Dtype::F8_E5M2, &[3], &[0x3c, 0xc1, 0x00]),
            ("fourth", Dtype::F8_E4M3, &[2], &[0x38, 0xc0]),
            ("wave", Dtype::C64, &[1], &[0; 8]),
            ("w", Dtype::F32, &[1], &1.5_f32.to_le_bytes()),
        ]);
        std::fs::write(&path, bytes).unwrap();
        let options = HostOptions { allow_read: vec![out.clone()], out: Some(out), ..HostOptions::default() };
        let load = format!("let x = load_safetensors({path:?}); ");
        let one = format!("load_safetensors({path:?}, ");
        let unread = format!("`wave` of `{}` holds C64, which cannot be read", path.display());
        for (code, told) in [
            (format!("{load}x.mask"), "Tensor [3] [1.0, 0.0, 1.0]".to_string()),
            (format!("{load}x.small"), "Tensor [2] i32 [-5, 7]".into()),
            (format!("{load}x.ids.item()"), "9".into()),
            (format!("{load}x.eighth"), "Tensor [3] [1.0, -2.5, 0.0]".into()),
            (format!("{load}x.fourth"), "Tensor [2] [1.0, -2.0]".into()),
            (format!("{load}x.wave.message == \"{unread}\""), "true".into()),
            (format!("{one}\"w\")"), "Tensor [1] [1.5]".into()),
            (format!("{one}\"wave\")"), format!("{unread}; convert it first, to float32 or bfloat16")),
            (
                format!("{one}\"masc\")"),
                format!("`{}` has no tensor `masc`; did you mean `mask`?", path.display()),
            ),
        ] {
            assert_eq!(run(&code, options.clone()), told, "{code}");
        }
    }

    #[test]
    fn members_of_an_npz_are_named() {
        let out = tempfile::tempdir().unwrap();
        let options = HostOptions { out: Some(out.path().into()), ..HostOptions::default() };
        let save = "save_npz(\"t.npz\", #{w: tensor([[1, 2]]), b: zeros([3])}); ";
        for (code, told) in [
            ("load_npz(\"t.npz\").keys()", "[\"b\", \"w\"]"),
            ("load_npz(\"t.npz\").w", "Tensor [1, 2] [[1.0, 2.0]]"),
            ("load_npz(\"t.npz\", \"v\")", "`t.npz` has no member `v`; it has `b`, `w`"),
            (
                "save_npz(\"t.npz\", #{w: [1]})",
                "`w`: expected a tensor, found `array`; make a tensor of an array with `tensor([..])`",
            ),
        ] {
            assert_eq!(run(&format!("{save}{code}"), options.clone()), told, "{code}");
        }
    }
}
