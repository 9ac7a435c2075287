//! `patchscript models`: what the cache of the Hub holds, what a model is, fetch it, remove it.

use indicatif::HumanBytes;

use crate::count::count;
use crate::model::hub::{self, cache};
use crate::model::info::info;
use crate::model::{self, Axes, Config, Point, Result};
use candle_core::DType;
use serde_json::{Value, json};

use super::args::{Format, Models, ModelsAction};
use super::{put, put_json, refuse, table};

/// Gives the exit code.
pub fn run(models: &Models) -> u8 {
    if let ModelsAction::Info { id, offline, format: Format::Json } = &models.action {
        let told = model::load_config(id, *offline).and_then(|config| describe_for_programs(&config));
        return told.map_or_else(|error| refuse(&error), |told| put_json(&told));
    }
    let text = match &models.action {
        ModelsAction::List => list(),
        ModelsAction::Info { id, offline, .. } => {
            model::load_config(id, *offline).and_then(|config| describe(&config))
        }
        ModelsAction::Pull { id } => pull(id),
        ModelsAction::Rm { id } => remove(id),
    };
    match text {
        Ok(text) => put(&text),
        Err(error) => refuse(&error),
    }
}

fn list() -> Result<String> {
    let models = cache::list()?;
    if models.is_empty() {
        return Ok(format!("no models in `{}`\n", cache::folder()?.display()));
    }
    let mut rows = vec![["model", "size", "revision"].map(String::from)];
    for model in models {
        let revisions = model.snapshots.iter().map(|snapshot| {
            let short = snapshot.commit.get(..7).unwrap_or(&snapshot.commit);
            let names = if snapshot.refs.is_empty() {
                String::new()
            } else {
                format!(" ({})", snapshot.refs.join(", "))
            };
            let state = if snapshot.complete { "" } else { ", not all files" };
            format!("{short}{names}{state}")
        });
        let revisions = revisions.collect::<Vec<_>>().join("; ");
        rows.push([model.name, HumanBytes(model.bytes).to_string(), revisions]);
    }
    Ok(table(&rows))
}

fn pull(id: &str) -> Result<String> {
    Ok(format!("{}\n", hub::pull(id)?.display()))
}

fn remove(id: &str) -> Result<String> {
    Ok(format!("removed `{id}`, {} are free again\n", HumanBytes(cache::remove(id)?)))
}

/// A model from its config alone: sizes, parameters, memory by dtype, every site.
fn describe(config: &Config) -> Result<String> {
    let info = info(config)?;
    let heads = match config.n_kv_heads {
        kv if kv == config.n_heads => config.n_heads.to_string(),
        kv => format!("{}, sharing {}", config.n_heads, count(kv, "key and value head")),
    };
    let windows: Vec<String> = config
        .kinds
        .iter()
        .enumerate()
        .filter_map(|(kind, of)| {
            let layers = config.layer_kinds.iter().filter(|&&other| other == kind).count();
            Some(format!("{} in {}", count(of.window?, "position"), count(layers, "layer")))
        })
        .collect();
    let memory = [("f32", DType::F32), ("bf16 or f16", DType::BF16)]
        .map(|(name, dtype)| format!("{} as {name}", HumanBytes(info.bytes(dtype) as u64)));
    let mut rows = vec![
        ["family", config.family.arch].map(String::from),
        ["layers".into(), config.n_layers.to_string()],
        ["heads".into(), heads],
        ["d_model".into(), config.d_model.to_string()],
        ["d_head".into(), config.d_head.to_string()],
        ["d_mlp".into(), config.d_mlp.to_string()],
        ["d_vocab".into(), config.d_vocab.to_string()],
        ["context".into(), count(config.n_ctx, "token")],
    ];
    if !windows.is_empty() {
        rows.push(["window".into(), windows.join(", ")]);
    }
    rows.push(["parameters".into(), thousands(info.parameters())]);
    rows.push(["weights".into(), memory.join(", ")]);
    let mut sites = vec![["site", "shape", "layers"].map(String::from)];
    for (point, axes) in &info.points {
        let layers = if point.in_layer() { format!("0 to {}", config.n_layers - 1) } else { String::new() };
        sites.push([point.name().into(), axes.to_string(), layers]);
    }
    Ok(format!("{}\n{}", table(&rows), table(&sites)))
}

/// The same for programs.
fn describe_for_programs(config: &Config) -> Result<Value> {
    let info = info(config)?;
    let site = |(point, axes): &(Point, Axes)| {
        let layers = if point.in_layer() { Some(config.n_layers) } else { None };
        json!({"site": point.name(), "shape": axes.to_string(), "layers": layers})
    };
    Ok(json!({
        "family": config.family.arch,
        "n_layers": config.n_layers,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "d_model": config.d_model,
        "d_head": config.d_head,
        "d_mlp": config.d_mlp,
        "d_vocab": config.d_vocab,
        "n_ctx": config.n_ctx,
        "parameters": info.parameters(),
        "bytes": {"f32": info.bytes(DType::F32), "bf16": info.bytes(DType::BF16), "f16": info.bytes(DType::F16)},
        "sites": info.points.iter().map(site).collect::<Vec<_>>(),
    }))
}

/// `1234567` as `1,234,567`.
fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!([7, 123, 1234, 1_234_567].map(thousands), ["7", "123", "1,234", "1,234,567"]);
    }
}
