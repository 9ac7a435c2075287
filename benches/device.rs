//! The golden values and a few times on one device, as a table.
//!
//! `PATCHSCRIPT_TEST_DEVICE=cuda cargo bench --features cuda --bench device` (needs the model that
//! `tests/fetch-smollm2.sh` fetches). Fails where a value is off by more than [`ALLOWED`], or a token differs.

#[path = "../tests/common/mod.rs"]
mod common;

use common::*;
use patchscript::model::{LoadOptions, Model, Point};
use patchscript::run::generate::{GenerateOptions, Generation, generate};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Heads, Metric, Patch, Pos, Site, Tokens, Trace, Value, trace};
use serde_json::Value as Json;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Largest difference in float32 from the reference values, which were computed on a CPU.
const ALLOWED: f32 = 1e-3;
/// In half precision: how many of its roundings of the largest logit.
const ROUNDINGS: f32 = 32.0;

fn main() -> ExitCode {
    let Some(path) = smollm2_path() else { return ExitCode::FAILURE };
    println!("device {}, float32\n", device());
    println!("| compared with the reference | values | largest difference |\n|---|---|---|");
    let mut table = Table::default();
    tiny_checkpoints(&mut table);
    let start = Instant::now();
    let model = load(path.to_str().unwrap());
    let load_seconds = start.elapsed().as_secs_f64();
    texts(&model, &mut table);
    let power = power(&model);
    table.row("power pair, layer × position grid", &power.values(), &numbers(&power.golden["grid"]));
    indirect_objects(&model, &mut table);

    let patched = power.patched_prompts(66);
    let together = greedy(&model, &patched, 10);
    let alone = |i: &usize| greedy(&model, &patched[*i..*i + 1], 10).remove(0);
    let some = (0..patched.len()).step_by(5);
    let differing = some.clone().filter(|i| alone(i).ids != together[*i].ids).count();
    table.texts("texts with a donor's residual, beside a call of their own", differing, some.count());

    println!("\n| median after warm-up | seconds | rate |\n|---|---|---|");
    println!("| loading | {load_seconds:.2} | |");
    let prompt = [(power.base.clone(), vec![])];
    time("forward of 58 tokens", "tokens", || {
        trace(&model, &prompt, &[], &Control::default()).unwrap()[0]
            .last()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        58
    });
    time("grid of the power pair", "cells", || power.values().len());
    // All different, since equal ones are computed once.
    let prompts: Vec<_> = (0..16).map(|i| (power.base.slice(i..i + 12), vec![])).collect();
    time("32 tokens after 1 prompt", "tokens", || count(&greedy(&model, &prompts[..1], 32)));
    time("32 tokens after 16 prompts", "tokens", || count(&greedy(&model, &prompts, 32)));
    time("10 tokens after 66 prompts, each with a donor's residual", "tokens", || {
        count(&greedy(&model, &patched, 10))
    });
    if table.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What was compared so far.
#[derive(Default)]
struct Table {
    failed: bool,
}

impl Table {
    fn row(&mut self, name: &str, found: &[f32], want: &[f32]) {
        let diff = max_diff_of(found, want);
        self.failed |= diff.is_nan() || diff > ALLOWED;
        println!("| {name} | {} | {diff:.1e} |", want.len());
    }

    /// A largest difference as a share of the largest value.
    fn share(&mut self, name: &str, share: f32, allowed: f32) {
        self.failed |= share.is_nan() || share > allowed;
        println!("| {name} | | {:.2} % of the largest |", 100.0 * share);
    }

    fn texts(&mut self, name: &str, differing: usize, of: usize) {
        self.failed |= differing > 0;
        println!("| {name} | {of} | {differing} differ |");
    }
}

/// Prints the median time of `work`, which says how much it did, and its rate.
fn time(name: &str, unit: &str, mut work: impl FnMut() -> usize) {
    let mut done = work();
    let mut seconds: Vec<f64> = Vec::new();
    for _ in 0..std::env::var("REPEATS").map_or(5, |n| n.parse().unwrap()) {
        let start = Instant::now();
        done = work();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!("| {name} | {median:.3} | {:.0} {unit}/s |", done as f64 / median);
}

/// All numbers of nested arrays.
fn numbers(json: &Json) -> Vec<f32> {
    match json {
        Json::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

/// Every family in float32, and in half precision beside its own float32: relative to the largest logit, as half
/// precision is.
fn tiny_checkpoints(table: &mut Table) {
    for arch in ARCHS {
        let expected = tiny_expected(arch, "expected");
        let rows = expected["input_ids"].to_vec2::<i64>().unwrap();
        let rows: Vec<Vec<u32>> = rows.iter().map(|ids| ids.iter().map(|&id| id as u32).collect()).collect();
        let logits = |model: &Arc<Model>| -> Vec<f32> {
            let prompts: Vec<_> = rows.iter().map(|ids| (id_tokens(model, ids), vec![])).collect();
            let runs = trace(model, &prompts, &[], &Control::default()).unwrap();
            runs.iter().flat_map(|run| flat(&run.logits(&Control::default()).unwrap())).collect()
        };
        let want = flat(&expected["logits"]);
        table.row(&format!("tiny {arch}, logits"), &logits(&tiny(arch)), &want);
        if device() == "cpu" {
            continue;
        }
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (dtype, allowed) in [("bf16", ROUNDINGS * 2f32.powi(-8)), ("f16", ROUNDINGS * 2f32.powi(-11))] {
            let options = LoadOptions { device: device(), dtype: dtype.into(), ..LoadOptions::default() };
            let model = Arc::new(Model::load(&format!("tests/golden/tiny/{arch}"), &options).unwrap());
            table.share(
                &format!("tiny {arch}, {dtype}"),
                max_diff_of(&logits(&model), &want) / largest,
                allowed,
            );
        }
    }
}

fn greedy(model: &Arc<Model>, prompts: &[(Tokens, Vec<Patch>)], max_new_tokens: usize) -> Vec<Generation> {
    let options = GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
    generate(model, prompts, &options, &Control::default()).unwrap()
}

fn count(generations: &[Generation]) -> usize {
    generations.iter().map(|g| g.ids.len()).sum()
}

/// Logits and greedy tokens of four prompts, which it gives.
fn texts(model: &Arc<Model>, table: &mut Table) {
    let golden = golden("smollm2_basic.json");
    let prompts = golden["prompts"].as_array().unwrap();
    let inputs: Vec<_> = prompts.iter().map(|p| (id_tokens(model, &ids(&p["ids"])), vec![])).collect();
    let runs = trace(model, &inputs, &[], &Control::default()).unwrap();
    let (mut found, mut want) = (Vec::new(), Vec::new());
    for (run, prompt) in runs.iter().zip(prompts) {
        let last = flat(&run.last().unwrap());
        found.extend(ids(&prompt["top10_ids"]).iter().map(|&id| last[id as usize]));
        want.extend(floats(&prompt["top10_logits"]));
    }
    table.row("SmolLM2, ten largest logits of four prompts", &found, &want);
    let found = greedy(model, &inputs, 24);
    let differing = found.iter().zip(prompts).filter(|(g, prompt)| g.ids != ids(&prompt["greedy_ids"]));
    table.texts("SmolLM2, greedy texts of 24 tokens", differing.count(), prompts.len());
}

/// The prompts of the layer × position heatmap.
struct Power {
    model: Arc<Model>,
    golden: Json,
    base: Tokens,
    donor: Arc<Trace>,
    metric: Metric,
}

fn power(model: &Arc<Model>) -> Power {
    let golden = golden("smollm2_heatmap.json");
    let set = |key: &str| TokenSet::Ids(ids(&golden[key]));
    let metric = Metric::new(Kind::LogprobDiff(set("yes_ids"), set("no_ids")));
    let donor = run(model, &id_tokens(model, &ids(&golden["source_ids"])));
    let base = id_tokens(model, &ids(&golden["base_ids"]));
    Power { model: model.clone(), golden, base, donor, metric }
}

impl Power {
    fn patch(&self, layer: usize, pos: usize) -> Patch {
        set(Site::new(Point::ResidPost, layer).at(Pos::Index(pos as i64)), &self.donor)
    }

    fn values(&self) -> Vec<f32> {
        let positions = self.golden["sentence_start"].as_u64().unwrap() as usize..self.base.len();
        let layers = 0..self.model.config().n_layers;
        let cells = layers.flat_map(|l| positions.clone().map(move |pos| vec![self.patch(l, pos)]));
        values(&self.model, &self.base, cells.collect(), &self.metric)
    }

    fn patched_prompts(&self, n: usize) -> Vec<(Tokens, Vec<Patch>)> {
        let n_layers = self.model.config().n_layers;
        let patch = |i: usize| self.patch(i % n_layers, self.base.len() - 1 - i % 5);
        (0..n).map(|i| (self.base.clone(), vec![patch(i)])).collect()
    }
}

fn run(model: &Arc<Model>, prompt: &Tokens) -> Arc<Trace> {
    Arc::new(trace(model, &[(prompt.clone(), vec![])], &[], &Control::default()).unwrap().remove(0))
}

fn set(site: Site, donor: &Arc<Trace>) -> Patch {
    Patch { allow_noop: true, ..Patch::new(site, Edit::Set(Value::Trace(donor.clone()))) }
}

fn values(model: &Arc<Model>, prompt: &Tokens, cells: Vec<Vec<Patch>>, metric: &Metric) -> Vec<f32> {
    let found = sweep(model, prompt, &cells, metric, SweepOptions::default(), &Control::default()).unwrap();
    found.values.into_iter().map(|value| value as f32).collect()
}

/// Layers, positions, heads and noising of the indirect object pair.
fn indirect_objects(model: &Arc<Model>, table: &mut Table) {
    let golden = golden("smollm2_ioi.json");
    let token = |key: &str| TokenSet::Ids(vec![golden[key].as_u64().unwrap() as u32]);
    let metric = Metric::new(Kind::LogitDiff(token("correct_id"), token("incorrect_id")));
    let prompt = |key: &str| id_tokens(model, &ids(&golden[key]));
    let (clean, corrupted) = (prompt("clean_ids"), prompt("corrupted_ids"));
    let (clean_run, corrupted_run) = (run(model, &clean), run(model, &corrupted));
    let (layers, len, heads) = (0..model.config().n_layers, clean.len(), model.config().n_heads);
    let resid = |layer| Site::new(Point::ResidPost, layer);
    let whole = |donor: &Arc<Trace>| layers.clone().map(|l| vec![set(resid(l), donor)]).collect::<Vec<_>>();
    let cell = |site| vec![set(site, &clean_run)];
    let positions = layers.clone().flat_map(|l| (0..len).map(move |p| resid(l).at(Pos::Index(p as i64))));
    let heads =
        layers.clone().flat_map(|l| (0..heads).map(move |h| Site::new(Point::Z, l).heads(Heads::One(h))));
    for (key, prompt, cells) in [
        ("layer", &corrupted, whole(&clean_run)),
        ("position", &corrupted, positions.map(cell).collect()),
        ("head", &corrupted, heads.map(cell).collect()),
        ("noising", &clean, whole(&corrupted_run)),
    ] {
        let found = values(model, prompt, cells, &metric);
        table.row(&format!("indirect object, {key}"), &found, &numbers(&golden[&format!("{key}_raw")]));
    }
}
