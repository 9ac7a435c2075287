//! Mixtures of factor analysers: the type `Mfa`.
//!
//! [`train`] makes one, [`parts`] tells what its components are, [`rows`] what it makes of activations, [`contexts`] which of
//! them are most a component's own, [`report`] shows all of them on a page, and [`steer`] moves activations. [`example`] is the mixture of all examples.

mod contexts;
mod example;
mod parts;
mod report;
mod rows;
mod steer;
mod train;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use candle_core::Device;
use rhai::NativeCallContext;

use super::acts::Acts;
use crate::analysis::mfa::strongest::{Aggregate, Own, Score};
use crate::analysis::{self, mfa::MfaError};
use crate::run::Control;
use crate::script::api::Api;
use crate::script::args::Options;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::bind::{closure, data, refusal};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// The strongest rows of every component, by how they were found, and how many were looked for.
type Strongest = HashMap<(Score, Aggregate), (usize, Arc<Vec<Vec<Own>>>)>;

/// A mixture of a script. A clone shares the numbers.
#[derive(Clone)]
pub struct Mfa {
    inner: Arc<analysis::Mfa>,
    /// What it was trained on, or is shown by.
    acts: Option<Acts>,
    /// What has been found out about those.
    strongest: Arc<Mutex<Strongest>>,
    context: Arc<Context>,
}

impl Mfa {
    fn new(inner: analysis::Mfa, acts: Option<Acts>, context: &Arc<Context>) -> Mfa {
        Mfa { inner: Arc::new(inner), acts, strongest: Arc::default(), context: context.clone() }
    }

    /// The activations that it is shown by.
    fn acts(&self) -> ScriptResult<&Acts> {
        self.acts.as_ref().ok_or_else(|| {
            fail("the mixture has no activations to show").help("give it some: `mixture.over(acts)`").into()
        })
    }

    /// A tensor of the script from float32 numbers.
    fn tensor(&self, numbers: Vec<f32>, dims: &[usize]) -> ScriptResult<Tensor> {
        let tensor = candle_core::Tensor::from_vec(numbers, dims, &Device::Cpu).map_err(tensor::refused)?;
        Tensor::new(&self.context, tensor)
    }

    /// Runs what takes long on a thread of its own, and lets it be stopped.
    fn served<T: Send + 'static>(
        &self,
        call: &NativeCallContext,
        label: &'static str,
        work: impl FnOnce(&analysis::Mfa, &Control) -> Result<T, MfaError> + Send + 'static,
    ) -> ScriptResult<T> {
        let inner = self.inner.clone();
        served(call, &self.context, label, move |control| work(&inner, control))
    }
}

/// Runs what takes long on a thread of its own, and lets it be stopped.
fn served<T: Send + 'static>(
    call: &NativeCallContext,
    context: &Arc<Context>,
    label: &'static str,
    work: impl FnOnce(&Control) -> Result<T, MfaError> + Send + 'static,
) -> ScriptResult<T> {
    let control = super::runs::control_with_progress(context, label);
    let done = closure::serve(call, context, control, move |control: &Control| match work(control) {
        Err(MfaError::Interrupted) => Err(crate::model::ModelError::Interrupted.into()),
        done => Ok(done),
    })?;
    done.map_err(refusal::of)
}

/// Registers Mfa.
pub fn register(api: &mut Api) {
    api.ty::<Mfa>("Mfa", "a mixture of factor analysers", |mfa| {
        let inner = &mfa.inner;
        let (components, rank, width) = (inner.components(), inner.rank(), inner.width());
        let of = inner.metadata.get("site").map_or(String::new(), |site| format!(" of {site}"));
        format!("Mfa{of}: {components} components of rank {rank} in {width} dimensions")
    });
    train::register(api);
    files(api);
    parts::register(api);
    rows::register(api);
    contexts::register(api);
    report::register(api);
    steer::register(api);
}

fn files(api: &mut Api) {
    let context = api.context();
    api.function(
        "load_mfa(path: string) -> Mfa",
        "a mixture that `.save` wrote, or one of the published layout as safetensors; `.over(acts)` gives it activations to \
         be shown by",
    )
    .example(
        example::mixture!("mixture.save(\"mixture.safetensors\"); load_mfa(\"mixture.safetensors\").components"),
        "4",
    )
    .native(move |path: &str| -> ScriptResult<Mfa> {
        let bytes = context.files()?.read(path).map_err(refusal::of)?;
        let inner = analysis::Mfa::from_bytes(&bytes).map_err(refusal::of)?;
        Ok(Mfa::new(inner, None, &context))
    });
    api.method(
        "Mfa",
        "save(path: string) -> string",
        "writes safetensors for `load_mfa`; returns where it is",
    )
    .example(
        example::mixture!("mixture.save(\"mixture.safetensors\").ends_with(\"mixture.safetensors\")"),
        "true",
    )
    .native(|mfa: &mut Mfa, path: &str| -> ScriptResult<String> {
        if !path.ends_with(".safetensors") {
            return Err(fail(format!("`{path}` does not name a file of safetensors"))
                .help("end the name in `.safetensors`")
                .into());
        }
        let written = mfa.context.write(path, |to| mfa.inner.save(to))?;
        Ok(written.display().to_string())
    });
    api.method("Mfa", "over(acts: Acts) -> Mfa", "the same mixture, shown by other activations")
        .example(example::mixture!("mixture.over(acts.take(9)).top_contexts(0, 20).len()"), "9")
        .native(|mfa: &mut Mfa, acts: Acts| -> ScriptResult<Mfa> {
            mfa.check_width(&acts.inner)?;
            Ok(Mfa { acts: Some(acts), strongest: Arc::default(), ..mfa.clone() })
        });
    api.getter(
        "Mfa",
        "metadata -> map",
        "what its file says of it besides its numbers: of one that was trained here the `site`, the `model` and the options",
    )
    .example(example::mixture!("mixture.metadata.site"), "\"resid_post.4\"")
    .native(|mfa: &mut Mfa| data::from_json(serde_json::json!(mfa.inner.metadata)));
    api.getter(
        "Mfa",
        "history -> array",
        "a map an epoch of training: `train_nll` while it went on, and `val_nll` at its end, in nats a row; `()` without \
         validation rows",
    )
    .example(example::mixture!("mixture.history.len()"), "4")
    .native(|mfa: &mut Mfa| data::from_json(serde_json::json!(mfa.inner.history)));
}

/// Options of a method whose last argument they are.
fn options(map: rhai::Map, owner: &'static str) -> Options {
    Options::new(map, owner)
}
