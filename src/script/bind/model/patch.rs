//! Patches: what to change at a site.

use std::sync::Arc;

use candle_core::Device;
use rhai::{Array, Dynamic, FnPtr};

use super::site;
use super::trace::Trace;
use crate::run::{Edit, Patch, Site, Steps, Value};
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::bind::closure;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::error::{ScriptResult, fail};

/// Registers Patch and the methods of Site that make one.
pub fn register(api: &mut Api) {
    api.ty::<Patch>("Patch", "a change at a site", |patch| format!("{patch:?}"));
    values(api);
    edits(api);
    api.method(
        "Patch",
        "steps(steps: any) -> Patch",
        "when a generation applies it: \"prompt\" (the default), \"generated\", \"all\", or a range of new tokens",
    )
    .example("resid_post(1).scale(2.0).steps(\"generated\")", "scale resid_post.1")
    .native(|patch: &mut Patch, steps: Dynamic| -> ScriptResult<Patch> {
        Ok(Patch { steps: read_steps(&steps)?, ..patch.clone() })
    });
    api.method("Patch", "allow_noop() -> Patch", "may change nothing")
        .example(
            "load().run(\" John gave\", resid_post(1).scale(1.0).allow_noop()).ledger[0].max_change",
            "0.0",
        )
        .native(|patch: &mut Patch| Patch { allow_noop: true, ..patch.clone() });
}

/// One patch or an array of patches.
pub fn list(value: &Dynamic) -> ScriptResult<Vec<Patch>> {
    let one = |value: &Dynamic| -> ScriptResult<Patch> {
        match value.read_lock::<Patch>() {
            Some(patch) => Ok(patch.clone()),
            None => Err(expected("a Patch", value)
                .help("a site becomes a patch with `.set(value)`, `.add(v)`, `.scale(a)`, `.zero()`, …")
                .into()),
        }
    };
    if value.is_array() { args::each(value, one) } else { Ok(vec![one(value)?]) }
}

/// A Trace, a Tensor, an array of numbers or a number.
fn read_value(value: &Dynamic) -> ScriptResult<Value> {
    if let Some(trace) = value.read_lock::<Trace>() {
        return Ok(Value::Trace(trace.inner.clone()));
    }
    if let Some(tensor) = value.read_lock::<Tensor>() {
        return Ok(Value::Tensor(tensor.inner().clone()));
    }
    let tensor = if value.is_array() {
        let numbers = args::each(value, args::number)?.into_iter().map(|x| x as f32);
        candle_core::Tensor::from_iter(numbers, &Device::Cpu)
    } else if let Ok(number) = args::number(value) {
        candle_core::Tensor::new(number as f32, &Device::Cpu)
    } else {
        return Err(expected("a value: a Tensor, a Trace, an array of numbers or a number", value).into());
    };
    Ok(Value::Tensor(tensor.map_err(tensor::refused)?))
}

fn direction(value: &Dynamic) -> ScriptResult<candle_core::Tensor> {
    match read_value(value)? {
        Value::Tensor(tensor) => tensor.to_dtype(candle_core::DType::F32).map_err(tensor::refused),
        Value::Trace(_) | Value::Mean(_) => {
            Err(expected("a direction: a Tensor or an array of numbers", value).into())
        }
    }
}

fn read_steps(value: &Dynamic) -> ScriptResult<Steps> {
    if let Some((from, to)) = site::range(value) {
        return match (usize::try_from(from), usize::try_from(to)) {
            (Ok(from), Ok(to)) if from < to => Ok(Steps::Range(from, to)),
            _ => Err(fail(format!("`{from}..{to}` is no range of new tokens"))
                .help("new tokens count from 0: `0..4` are the first four")
                .into()),
        };
    }
    if !value.is_string() {
        return Err(expected("\"prompt\", \"generated\", \"all\" or a range", value).into());
    }
    match args::string(value)?.as_str() {
        "prompt" => Ok(Steps::Prompt),
        "generated" => Ok(Steps::Generated),
        "all" => Ok(Steps::All),
        other => Err(fail(format!("unknown steps `{other}`"))
            .help("steps are \"prompt\", \"generated\", \"all\", or a range of new tokens like `0..4`")
            .into()),
    }
}

/// Patches that bring a value.
fn values(api: &mut Api) {
    api.method(
        "Site",
        "set(value: any) -> Patch",
        "replaces the activation: by a Tensor of the site's shape, one vector for all positions, numbers, or what a \
         Trace has there",
    )
    .example(
        "let m = load(); let mary = m.trace(\" Mary gave\"); \
         m.run(\" John gave\", resid_post(2).set(mary)).top(1)[0].id == mary.top(1)[0].id",
        "true",
    )
    .native(|site: &mut Site, value: Dynamic| -> ScriptResult<Patch> {
        Ok(Patch::new(site.clone(), Edit::Set(read_value(&value)?)))
    });
    api.method("Site", "add(value: any) -> Patch", "adds to the activation: a steering vector")
        .example(
            "let m = load(); let v = m.embed([5])[0]; m.run(\" John gave\", resid_post(1).at(-1).add(v)).ledger[0].fired",
            "1",
        )
        .native(|site: &mut Site, value: Dynamic| -> ScriptResult<Patch> {
            Ok(Patch::new(site.clone(), Edit::Add(read_value(&value)?)))
        });
    api.method(
        "Site",
        "lerp(value: any, fraction: number) -> Patch",
        "goes a fraction of the way to the value: (1 - a) x + a v",
    )
    .example("mlp_post(1).neuron(7).lerp(4.0, 0.5)", "lerp mlp_post.1.7")
    .native(|site: &mut Site, value: Dynamic, fraction: Dynamic| -> ScriptResult<Patch> {
        Ok(Patch::new(site.clone(), Edit::Lerp(read_value(&value)?, args::number(&fraction)?)))
    });
    api.method(
        "Site",
        "mean(traces: array) -> Patch",
        "mean ablation: replaces the activation by its mean over runs",
    )
    .example(
        "let m = load(); let runs = m.trace([\" Mary gave\", \" Paris is\"]); \
             m.run(\" John gave\", z(1).head(0).mean(runs)).ledger[0].fired",
        "1",
    )
    .native(|site: &mut Site, traces: Array| -> ScriptResult<Patch> {
        let traces = args::each(&traces.into(), |trace| match trace.read_lock::<Trace>() {
            Some(trace) => Ok(trace.inner.clone()),
            None => Err(expected("a Trace", trace).into()),
        })?;
        Ok(Patch::new(site.clone(), Edit::Set(Value::Mean(traces))))
    });
}

/// Patches that work on what is there.
fn edits(api: &mut Api) {
    api.method("Site", "zero() -> Patch", "zero ablation")
        .example("load().run(\" John gave\", z(1).head(0).zero()).ledger[0].fired", "1")
        .native(|site: &mut Site| Patch::new(site.clone(), Edit::Zero));
    api.method("Site", "scale(factor: number) -> Patch", "multiplies the activation")
        .example("attn_out(1).at(-1).scale(0.5)", "scale attn_out.1 at -1")
        .native(|site: &mut Site, factor: Dynamic| -> ScriptResult<Patch> {
            Ok(Patch::new(site.clone(), Edit::Scale(args::number(&factor)?)))
        });
    api.method("Site", "project_out(direction: any) -> Patch", "removes the part along a direction")
        .example(
            "let m = load(); let v = m.embed([5])[0]; \
             let run = m.run(\" John gave\", resid_post(1).at(-1).project_out(v)); \
             run[resid_post(1).at(-1)].dot(v).abs() < 1e-5",
            "true",
        )
        .native(|site: &mut Site, value: Dynamic| -> ScriptResult<Patch> {
            Ok(Patch::new(site.clone(), Edit::ProjectOut(direction(&value)?)))
        });
    let context = api.context();
    api.method("Site", "edit(change: function) -> Patch", "any change: a closure from the activation to its new value")
        .example(
            "let m = load(); let run = m.run(\" John gave\", mlp_post(1).neuron(7).at(-1).edit(|x| x * 0.0 + 3.0)); \
             run[\"mlp_post.1.7\"][-1]",
            "3.0",
        )
        .native(move |site: &mut Site, change: FnPtr| {
            let edit: Arc<_> = closure::edit(&context, change);
            Patch::new(site.clone(), Edit::Func(edit))
        });
}
