//! Tensors in files: NumPy's `.npy` for one, its `.npz` and `.safetensors` for several by name.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use candle_core::Device;
use rhai::{Dynamic, Map};
use safetensors::tensor::{Dtype, TensorView};

use super::data::{refused_data, write};
use super::tensor::{Tensor, refused};
use crate::data::npy;
use crate::data::npz::{self, Npz};
use crate::script::api::Api;
use crate::script::args::expected;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

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
        let written = context.files()?.write(path, |to| npy::write_npy(to, t.dims(), &numbers));
        Ok(written.map_err(refused_data)?.display().to_string())
    });
    let context = api.context();
    api.function("load_npy(path: string) -> Tensor", "an array that `save_npy` or `np.save` wrote")
        .example("save_npy(\"t.npy\", tensor([[1, 2]])); load_npy(\"t.npy\")", "Tensor [1, 2] [[1.0, 2.0]]")
        .native(move |path: &str| -> ScriptResult<Tensor> {
            let bytes = context.files()?.read(path).map_err(refused_data)?;
            made(&context, npy::read_npy(path, &bytes).map_err(refused_data)?)
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
            arrays.push((name, t.dims().to_vec(), t.host()?));
        }
        let mut bytes = Cursor::new(Vec::new());
        npz::write_npz(&mut bytes, arrays.iter().map(|(name, dims, data)| (*name, &dims[..], &data[..])))
            .map_err(|error| fail(format!("cannot write `{path}`: {error}")))?;
        write(&context, path, bytes.get_ref())
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
        let bytes = all.files()?.read(path).map_err(refused_data)?;
        let mut npz = Npz::open(path, &bytes).map_err(refused_data)?;
        let names = npz.members();
        let read = |name: String| Ok((name.as_str().into(), Dynamic::from(member(&all, &mut npz, &name)?)));
        names.into_iter().map(read).collect()
    })
    .native(move |path: &str, name: &str| -> ScriptResult<Tensor> {
        let bytes = context.files()?.read(path).map_err(refused_data)?;
        member(&context, &mut Npz::open(path, &bytes).map_err(refused_data)?, name)
    });
}

fn member(context: &Arc<Context>, npz: &mut Npz, name: &str) -> ScriptResult<Tensor> {
    // A small file may hold a large array.
    context.tensor_bytes.check(npz.size(name).map_err(refused_data)?)?;
    made(context, npz.read(name).map_err(refused_data)?)
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
    api.function("load_safetensors(path: string) -> map", "the tensors of a file by their names")
        .example(
            "save_safetensors(\"t.safetensors\", #{w: tensor([1, 2])}); load_safetensors(\"t.safetensors\").w",
            "Tensor [2] [1.0, 2.0]",
        )
        .native(move |path: &str| -> ScriptResult<Map> {
            let bytes = context.files()?.read(path).map_err(refused_data)?;
            let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| {
                fail(format!("`{path}` is not a safetensors file: {error}"))
                    .help("write it with `save_safetensors`, or download it again")
            })?;
            let named = |(name, tensor): (String, _)| {
                Ok((name.into(), Dynamic::from(Tensor::new(&context, tensor)?)))
            };
            tensors.into_iter().map(named).collect()
        });
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

/// The bytes of the file, the same for the same tensors.
fn serialize(tensors: &Map) -> ScriptResult<Vec<u8>> {
    let mut parts = BTreeMap::new();
    for (name, t) in named(tensors)? {
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
    use crate::script::HostOptions;
    use crate::script::bind::testing::run;
    use crate::script::limits::Limits;

    #[test]
    fn members_of_an_npz_are_named() {
        let out = tempfile::tempdir().unwrap();
        let limits = Limits { tensor_bytes: 200, ..Limits::default() };
        let options = HostOptions { out: Some(out.path().into()), limits, ..HostOptions::default() };
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
        // The header of an npy file takes 128 bytes.
        let told = run("save_npz(\"t.npz\", #{w: zeros([20])}); load_npz(\"t.npz\")", options);
        assert!(told.starts_with("a tensor of 208 bytes does not fit"), "{told}");
    }
}
