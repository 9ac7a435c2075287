//! What a folder holds that is no model as it stands, and what to do about it.

use crate::model::error::{ModelError, Result};
use std::path::Path;

/// Weights in a form that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// The rest of "holds no weights that can be read, but …".
    pub found: String,
    pub cure: String,
}

/// The error of a folder without `file`: by what else is there, if that says more.
pub fn missing(folder: &Path, file: &str) -> ModelError {
    let names = names(folder);
    if let Some(file) = adapter(&names) {
        return ModelError::Adapter { folder: folder.into(), file };
    }
    match other(folder, &names) {
        Some(what) => ModelError::OtherWeights { folder: folder.into(), what },
        None => ModelError::NotFound(folder.join(file).display().to_string()),
    }
}

/// # Errors
/// A folder with an adapter (LoRA and its like) beside the weights: with it they would be others.
pub fn refuse_adapter(folder: &Path) -> Result<()> {
    match adapter(&names(folder)) {
        Some(file) => Err(ModelError::Adapter { folder: folder.into(), file }),
        None => Ok(()),
    }
}

pub fn adapter_cure(file: &str) -> String {
    format!(
        "merge it into the weights with the Python package `peft` (`model.merge_and_unload().save_pretrained(..)`) \
         and load that folder; for the base model alone, move `{file}` elsewhere"
    )
}

/// Names of the folder's files, sorted; none of a folder that cannot be listed.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// As `peft` names them.
fn adapter(names: &[String]) -> Option<String> {
    let is_adapter = |name: &&String| {
        let kept = [".safetensors", ".bin", ".pt", ".gguf"].iter().any(|end| name.ends_with(end));
        ["adapter_config.json", "adapters.safetensors"].contains(&name.as_str())
            || name.starts_with("adapter_model.") && kept
    };
    names.iter().find(is_adapter).cloned()
}

fn other(folder: &Path, names: &[String]) -> Option<Other> {
    let find = |is: &dyn Fn(&str) -> bool| names.iter().find(|name| is(name)).map(String::as_str);
    let save = |load: &str, from: &str| {
        format!(
            "convert it once with the Python package `transformers`: \
             `AutoModelForCausalLM.from_pretrained(\"{}\"{load}).save_pretrained(\"NEW\")` reads {from} and writes \
             `model.safetensors`",
            folder.display()
        )
    };
    let other = |found: String, cure: String| Some(Other { found, cure });
    if let Some(name) = find(&|name| name.starts_with("pytorch_model") && name.contains(".bin")) {
        let found = format!("`{name}`, whose weights are pickled, and a pickle can run code");
        return other(found, save("", &format!("`{name}`")));
    }
    if let Some(name) = find(&|name| name.ends_with(".gguf")) {
        return other(format!("`{name}`"), format!("load the file: `{}`", folder.join(name).display()));
    }
    if let Some(name) = find(&|name| name.starts_with("consolidated.") || name.ends_with(".pth")) {
        let cure = "get the model in Hugging Face layout, or convert it with the script \
                    `convert_…_weights_to_hf.py` that transformers has for its family";
        return other(format!("`{name}`, weights in the layout of the model's authors"), cure.into());
    }
    if let Some(name) = find(&|name| name.starts_with("tf_model") && name.contains(".h5")) {
        let cure = save(", from_tf=True", &format!("`{name}` (up to transformers 4)"));
        return other(format!("`{name}`, weights of TensorFlow"), cure);
    }
    if let Some(name) = find(&|name| name.starts_with("flax_model") && name.contains(".msgpack")) {
        let cure = save(", from_flax=True", &format!("`{name}` (up to transformers 4)"));
        return other(format!("`{name}`, weights of Flax"), cure);
    }
    if let Some(name) = find(&|name| name.ends_with(".onnx") || name.ends_with(".mlmodel")) {
        return other(format!("`{name}`, a compiled model"), "get the weights that it was made from".into());
    }
    if let Some(name) = find(&|name| [".bin", ".pt", ".ckpt"].iter().any(|end| name.ends_with(end))) {
        let cure = "save the model with transformers' `save_pretrained`, which writes `model.safetensors`";
        return other(format!("`{name}`, which may be pickled weights"), cure.into());
    }
    let name = find(&|name| name.ends_with(".safetensors"))?;
    let cure = "if these are the weights of the model, rename it to `model.safetensors`; several files need \
                `model.safetensors.index.json` beside them";
    other(format!("`{name}`"), cure.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;

    fn told(files: &[&str]) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let error = missing(folder.path(), "model.safetensors");
        let text = |text: String| text.replace(&folder.path().display().to_string(), "M");
        (text(error.to_string()), text(error.help().unwrap()))
    }

    #[test]
    fn weights_of_other_kinds_are_told() {
        for (files, message, help) in [
            (&["pytorch_model.bin", "config.json"][..], "but `pytorch_model.bin`, whose", "save_pretrained"),
            (&["pytorch_model-00001-of-00002.bin"], "but `pytorch_model-00001-of-00002.bin`, w", "(\"M\")"),
            (&["m-Q4_0.gguf"], "but `m-Q4_0.gguf`", "load the file: `M/m-Q4_0.gguf`"),
            (&["consolidated.00.pth", "params.json"], "but `consolidated.00.pth`", "convert_"),
            (&["consolidated.safetensors"], "but `consolidated.safetensors`", "convert_"),
            (&["tf_model.h5"], "TensorFlow", "from_tf=True"),
            (&["flax_model.msgpack"], "Flax", "from_flax=True"),
            (&["model.onnx"], "compiled", "made from"),
            (&["weights.pt"], "but `weights.pt`", "save_pretrained"),
            (&["other.safetensors"], "but `other.safetensors`", "rename"),
            (&["adapter_config.json", "adapter_model.bin"], "an adapter, `adapter_config.json`", "peft"),
            (&["README.md"], "no model at `M/model.safetensors`", "Hugging Face layout"),
        ] {
            let (found, cure) = told(files);
            assert!(found.contains(message), "{found}");
            assert!(cure.contains(help), "{cure}");
        }
    }

    #[test]
    fn an_adapter_beside_weights_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.safetensors"), "").unwrap();
        assert!(refuse_adapter(folder.path()).is_ok());
        std::fs::write(folder.path().join("adapter_model.safetensors"), "").unwrap();
        assert!(matches!(refuse_adapter(folder.path()), Err(ModelError::Adapter { .. })));
    }
}
