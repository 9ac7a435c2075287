//! `patchscript check-model`: does the engine keep its promises on this model, and what does the model cost?

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::HumanBytes;

use crate::count::count;
use crate::model::cpu::isa;
use crate::model::info::info;
use crate::model::{self, LoadOptions, Model};
use crate::run::check::{self, Finding};
use crate::run::{Control, RunError};
use crate::script::{interrupt, output};

use super::args::CheckModel;
use super::{put, refuse, table};

/// Prints a table; gives the exit code, 1 if a promise is broken.
pub fn run(given: &CheckModel) -> u8 {
    let control = Control::default();
    if let Err(error) = interrupt::install(control.interrupted.clone()) {
        output::tell(format_args!("warning: Ctrl-C will not stop the check cleanly: {error}"));
    }
    match check(given, &control) {
        Ok((text, ok)) => put(&text).max(u8::from(!ok)),
        Err(error) if error.is_interrupt() => 130,
        Err(error) => refuse(&error),
    }
}

fn check(given: &CheckModel, control: &Control) -> Result<(String, bool), RunError> {
    let options = LoadOptions {
        device: given.device.clone(),
        dtype: given.dtype.clone(),
        offline: given.offline,
        ..LoadOptions::default()
    };
    let started = Instant::now();
    let model = Arc::new(Model::load(&given.id, &options)?);
    let load = started.elapsed();

    let mut findings = check::check(&model, control)?;
    let expected = Path::new(&given.id).join("expected.json");
    if expected.is_file() {
        findings.extend(check::parity(&model, &model::read_json(&expected)?, control)?);
    }
    let speed = check::speed(&model, control)?;

    let config = model.config();
    let info = info(config)?;
    let weights = HumanBytes(info.bytes(model.transformer.dtype) as u64);
    let rows = [
        [
            "model".to_string(),
            format!("{}, {}, {}", model.id, config.family.arch, count(config.n_layers, "layer")),
        ],
        ["instructions".into(), isa::description()],
        ["load".into(), format!("{:.2} s", load.as_secs_f64())],
        ["weights".into(), weights.to_string()],
        ["memory".into(), peak().map_or("unknown".into(), |peak| format!("{} at most", HumanBytes(peak)))],
        ["prompts".into(), format!("{:.0} tokens a second", speed.prompt)],
        ["generation".into(), format!("{:.1} tokens a second", speed.generation)],
    ];
    let mut promises = vec![["promise", "", ""].map(String::from)];
    for Finding { promise, kept, figure } in &findings {
        promises.push([(*promise).into(), if *kept { "kept" } else { "BROKEN" }.into(), figure.clone()]);
    }
    Ok((format!("{}\n{}", table(&rows), table(&promises)), findings.iter().all(|finding| finding.kept)))
}

/// The most bytes that this process held so far.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
