//! Tensors in files: NumPy's `.npy` for one, `.safetensors` for several by name.

use std::collections::BTreeMap;

use candle_core::Device;
use rhai::{Dynamic, Map};
use safetensors::tensor::{Dtype, TensorView};

use super::data::refused_data;
use super::tensor::{Tensor, refused};
use crate::data::npy;
use crate::script::api::Api;
use crate::script::args::expected;
use crate::script::error::{ScriptResult, fail};

/// Registers saving and loading.
pub fn register(api: &mut Api) {
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
            let (dims, numbers) = npy::read_npy(path, &bytes).map_err(refused_data)?;
            let tensor = candle_core::Tensor::from_vec(numbers, dims, &Device::Cpu).map_err(refused)?;
            Tensor::new(&context, tensor)
        });
    let context = api.context();
    api.function(
        "save_safetensors(path: string, tensors: map) -> string",
        "writes named tensors as float32; returns where the file is",
    )
    .example("save_safetensors(\"t.safetensors\", #{w: zeros([2])}).ends_with(\"t.safetensors\")", "true")
    .native(move |path: &str, tensors: Map| -> ScriptResult<String> {
        let bytes = serialize(&tensors)?;
        let written = context.files()?.write(path, |to| to.write_all(&bytes)).map_err(refused_data)?;
        Ok(written.display().to_string())
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

/// The bytes of the file, the same for the same tensors.
fn serialize(tensors: &Map) -> ScriptResult<Vec<u8>> {
    let mut parts = BTreeMap::new();
    for (name, value) in tensors {
        let Some(t) = value.read_lock::<Tensor>() else {
            let message = expected("a tensor", value).message;
            return Err(fail(format!("`{name}`: {message}"))
                .help("make a tensor of an array with `tensor([..])`")
                .into());
        };
        let bytes: Vec<u8> = t.host()?.into_iter().flat_map(f32::to_le_bytes).collect();
        parts.insert(name.as_str(), (t.dims().to_vec(), bytes));
    }
    let views = parts.iter().map(|(name, (dims, bytes))| {
        TensorView::new(Dtype::F32, dims.clone(), bytes).map(|view| (*name, view))
    });
    let views = views.collect::<Result<Vec<_>, _>>();
    let bytes = views.and_then(|views| safetensors::tensor::serialize(views, None));
    bytes.map_err(|error| fail(format!("cannot write safetensors: {error}")).into())
}
