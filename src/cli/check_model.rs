//! `patchscript check-model`: does the engine keep its promises on this model, and what does the model cost?

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::count::count;
use crate::model::cpu::isa;
use crate::model::info::info;
use crate::model::{self, LoadOptions, Model};
use crate::run::check::{self, Finding};
use crate::run::{Control, RunError};
use crate::script::spent::Watch;
use crate::script::{interrupt, output};

use super::args::{CheckModel, Format};
use super::{put, put_json, refuse, table};

/// Prints a table; gives the exit code, 1 if a promise is broken.
pub fn run(given: &CheckModel) -> u8 {
    let control = Control::default();
    if let Err(error) = interrupt::install(control.interrupted.clone()) {
        output::tell(format_args!("warning: Ctrl-C will not stop the check cleanly: {error}"));
    }
    match check(given, &control) {
        Ok(found) if given.format == Format::Json => {
            put_json(&found.for_programs()).max(u8::from(!found.is_kept()))
        }
        Ok(found) => put(&found.text()).max(u8::from(!found.is_kept())),
        Err(error) if error.is_interrupt() => 130,
        Err(error) => refuse(&error),
    }
}

/// What was found about a model.
struct Found {
    model: String,
    family: &'static str,
    layers: usize,
    load: Duration,
    /// Bytes of the weights, and the most that the process held.
    weights: usize,
    peak: Option<usize>,
    speed: check::Speed,
    findings: Vec<Finding>,
}

fn check(given: &CheckModel, control: &Control) -> Result<Found, RunError> {
    let options = LoadOptions {
        device: given.device.clone(),
        dtype: given.dtype.clone(),
        precision: given.precision.clone(),
        offline: given.offline,
        ..LoadOptions::default()
    };
    let watch = Watch::start();
    let model = Arc::new(Model::load(&given.id, &options)?);
    let load = watch.spent().wall;

    let mut findings = check::check(&model, control)?;
    let expected = Path::new(&given.id).join("expected.json");
    if expected.is_file() {
        findings.extend(check::parity(&model, &model::read_json(&expected)?, control)?);
    }
    let speed = check::speed(&model, control)?;

    let config = model.config();
    Ok(Found {
        model: model.id.clone(),
        family: config.family.arch,
        layers: config.n_layers,
        load,
        weights: info(config)?.bytes(model.transformer.dtype),
        peak: watch.spent().peak,
        speed,
        findings,
    })
}

impl Found {
    fn is_kept(&self) -> bool {
        self.findings.iter().all(|finding| finding.kept)
    }

    fn text(&self) -> String {
        let bytes = |bytes: usize| HumanBytes(bytes as u64).to_string();
        let rows = [
            [
                "model".to_string(),
                format!("{}, {}, {}", self.model, self.family, count(self.layers, "layer")),
            ],
            ["instructions".into(), isa::description()],
            ["load".into(), format!("{:.2} s", self.load.as_secs_f64())],
            ["weights".into(), bytes(self.weights)],
            ["memory".into(), self.peak.map_or("unknown".into(), |peak| bytes(peak) + " at most")],
            ["prompts".into(), format!("{:.0} tokens a second", self.speed.prompt)],
            ["generation".into(), format!("{:.1} tokens a second", self.speed.generation)],
        ];
        let mut promises = vec![["promise", "", ""].map(String::from)];
        for Finding { promise, kept, figure } in &self.findings {
            promises.push([(*promise).into(), if *kept { "kept" } else { "BROKEN" }.into(), figure.clone()]);
        }
        format!("{}\n{}", table(&rows), table(&promises))
    }

    fn for_programs(&self) -> Value {
        let promises = self.findings.iter().map(
            |Finding { promise, kept, figure }| json!({"promise": promise, "kept": kept, "figure": figure}),
        );
        json!({
            "ok": self.is_kept(),
            "model": self.model,
            "family": self.family,
            "n_layers": self.layers,
            "instructions": isa::description(),
            "load_seconds": self.load.as_secs_f64(),
            "weight_bytes": self.weights,
            "peak_bytes": self.peak,
            "prompt_tokens_per_second": self.speed.prompt,
            "generated_tokens_per_second": self.speed.generation,
            "promises": promises.collect::<Vec<_>>(),
        })
    }
}
