//! Models that outlive a run.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::model::{LoadOptions, Model};
use crate::script::error::ScriptResult;

/// By what a model was asked for.
pub type Asked = (String, LoadOptions);

/// Length and date of each of a model's files.
type Stamps = Vec<Option<(u64, SystemTime)>>;

/// Models that outlive a run, for whoever runs a script again and again: each as long as its files stay as they are.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<HashMap<Asked, (Arc<Model>, Stamps)>>);

impl Shelf {
    /// The model there, or the one that `load` gives.
    pub fn take(
        &self,
        asked: &Asked,
        load: impl FnOnce() -> ScriptResult<Model>,
    ) -> ScriptResult<Arc<Model>> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((model, before)) = shelf.get(asked) {
            if stamps(model) == *before {
                return Ok(model.clone());
            }
            // Not two at once.
            shelf.remove(asked);
        }
        let model = Arc::new(load()?);
        shelf.insert(asked.clone(), (model.clone(), stamps(&model)));
        Ok(model)
    }
}

fn stamps(model: &Model) -> Stamps {
    let stamp = |file: &PathBuf| {
        let data = file.metadata().ok()?;
        Some((data.len(), data.modified().ok()?))
    };
    model.files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::bind::refusal;
    use std::path::Path;

    #[test]
    fn a_model_stays_loaded_as_long_as_its_files_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(Path::new("tests/golden/tiny/llama").join(name), folder.path().join(name)).unwrap();
        }
        let options = LoadOptions { device: "cpu".into(), ..LoadOptions::default() };
        let asked: Asked = (folder.path().display().to_string(), options);
        let (shelf, mut loads) = (Shelf::default(), 0);
        let mut take = || {
            let model = shelf.take(&asked, || {
                loads += 1;
                Model::load(&asked.0, &asked.1).map_err(refusal::model)
            });
            (model.unwrap(), loads)
        };
        let (first, _) = take();
        let (second, loads) = take();
        assert!(Arc::ptr_eq(&first, &second) && loads == 1);
        let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        std::fs::write(folder.path().join("config.json"), config + "\n").unwrap();
        let (third, loads) = take();
        assert!(!Arc::ptr_eq(&first, &third) && loads == 2);
    }
}
