//! What several test programs share: golden data, models, small comparisons.
#![allow(dead_code, reason = "every test program uses its own part")]

use candle_core::{DType, Tensor};
use patchscript::help::Help;
use patchscript::model::tokenizer::Bos;
use patchscript::model::{Config, LoadOptions, Model, Point};
use patchscript::run::{Control, Edit, Patch, Site, Tokens, Trace, Value, trace};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

mod skip;
pub use skip::skip;

pub fn golden(name: &str) -> Json {
    let text = std::fs::read_to_string(Path::new("tests/golden").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Where the models of tests and benchmarks run: `PATCHSCRIPT_TEST_DEVICE`, else the CPU.
pub fn device() -> String {
    std::env::var("PATCHSCRIPT_TEST_DEVICE").unwrap_or_else(|_| "cpu".into())
}

pub fn load(id: &str) -> Arc<Model> {
    let options = LoadOptions { device: device(), ..LoadOptions::default() };
    Arc::new(Model::load(id, &options).unwrap_or_else(|e| panic!("{id}: {e}")))
}

/// One of the tiny random checkpoints of `tests/golden/tiny`.
pub fn tiny(arch: &str) -> Arc<Model> {
    load(&format!("tests/golden/tiny/{arch}"))
}

/// The same weights with another config.
pub fn tiny_with(arch: &str, config: &Json) -> Arc<Model> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let weights = format!("tests/golden/tiny/{arch}/model.safetensors");
    std::fs::copy(weights, folder.path().join("model.safetensors")).unwrap();
    load(folder.path().to_str().unwrap())
}

/// What transformers makes of such a checkpoint: `expected` or `sites`.
pub fn tiny_expected(arch: &str, file: &str) -> HashMap<String, Tensor> {
    let path = format!("tests/golden/tiny/{arch}/{file}.safetensors");
    candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap()
}

/// What a script of `tests/` fetched into the cache folder, if it is there. Without it the test is skipped.
fn fetched(name: &str, script: &str) -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("PATCHSCRIPT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("patchscript")))
        .or_else(|| std::env::home_dir().map(|folder| folder.join(".cache/patchscript")))
        .unwrap();
    let path = cache.join(name);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{} is missing: run {script}", path.display()));
    None
}

pub fn smollm2_path() -> Option<PathBuf> {
    fetched("SmolLM2-135M-Instruct.Q4_1.gguf", "tests/fetch-smollm2.sh")
}

pub fn gemma3_path() -> Option<PathBuf> {
    fetched("gemma-3-270m-q4_k_m.gguf", "tests/fetch-gemma3.sh")
}

/// A folder of published chat templates, one `NAME.jinja` a model.
pub fn chat_templates() -> Option<PathBuf> {
    fetched("chat-templates", "tests/fetch-chat-templates.sh")
}

/// SmolLM2, loaded once a test program.
pub fn smollm2() -> Option<Arc<Model>> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    let path = smollm2_path()?;
    Some(MODEL.get_or_init(|| load(path.to_str().unwrap())).clone())
}

pub fn ids(json: &Json) -> Vec<u32> {
    serde_json::from_value(json.clone()).unwrap()
}

pub fn floats(json: &Json) -> Vec<f32> {
    serde_json::from_value(json.clone()).unwrap()
}

pub fn id_tokens(model: &Model, ids: &[u32]) -> Tokens {
    Tokens::new(ids.to_vec(), model.pieces(ids))
}

pub fn tokens(model: &Model, text: &str) -> Tokens {
    id_tokens(model, &model.tokenizer().unwrap().encode(text, Bos::Auto, true).unwrap())
}

pub fn flat(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference of two tensors' entries; equal infinities do not differ.
pub fn max_diff(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    max_diff_of(&flat(a), &flat(b))
}

pub fn max_diff_of(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let diff = |(x, y): (&f32, &f32)| if x == y { 0.0 } else { (x - y).abs() };
    // `f32::max` would drop a NaN, which must fail every comparison.
    a.iter().zip(b).map(diff).fold(0.0, |max, d| if d > max || d.is_nan() { d } else { max })
}

/// Random entries, different at every call with another `seed`.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    use rand::{Rng, SeedableRng};
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap()
}

/// The families that have a tiny checkpoint.
pub const ARCHS: [&str; 12] = [
    "llama",
    "gpt2",
    "gemma3_text",
    "gpt_neox",
    "phi",
    "olmo2",
    "gemma2",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "llama_tied",
];

/// Every site that exists.
pub fn all_sites(config: &Config) -> Vec<Site> {
    let layers = |point: Point| if point.in_layer() { config.n_layers } else { 1 };
    let sites = Point::ALL.into_iter().flat_map(|p| (0..layers(p)).map(move |layer| Site::new(p, layer)));
    sites.filter(|site| site.validate(config).is_ok()).collect()
}

/// One prompt, run alone.
pub fn run(model: &Arc<Model>, prompt: &Tokens, patches: Vec<Patch>, sites: &[Site]) -> Arc<Trace> {
    let runs = trace(model, &[(prompt.clone(), patches)], sites, &Control::default());
    Arc::new(runs.unwrap_or_else(|e| panic!("{e}: {:?}", e.help())).remove(0))
}

pub fn logits(run: &Trace) -> Tensor {
    run.logits(&Control::default()).unwrap()
}

/// What a run has at a site, recorded or not.
pub fn read(run: &Trace, site: &Site) -> Tensor {
    run.read(site, &Control::default()).unwrap()
}

/// A patch that may change nothing.
pub fn set(site: Site, value: Value) -> Patch {
    Patch { allow_noop: true, ..Patch::new(site, Edit::Set(value)) }
}

/// Two prompts of 11 tokens that first differ at position 4.
pub fn pair(model: &Model) -> (Tokens, Tokens) {
    let a: Vec<u32> = vec![17, 200, 33, 90, 150, 61, 12, 250, 77, 301, 8];
    let mut b = a.clone();
    (b[4], b[7]) = (151, 40);
    (id_tokens(model, &a), id_tokens(model, &b))
}

/// A line of this process' status, in bytes.
pub fn status(key: &str) -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
}

/// The most bytes held from here to the end of `work`.
pub fn peak(work: impl FnOnce()) -> usize {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    work();
    status("VmHWM:")
}

/// Runs a script in the repository's root, writing to `out`.
pub fn script(text: &str, out: &Path, more: &[&str]) -> Output {
    command(text, out, more).output().expect("the binary starts")
}

pub fn command(text: &str, out: &Path, more: &[&str]) -> Command {
    std::fs::create_dir_all(out).expect("a folder");
    // Beside the output folder, and by the same name for all runs.
    let path = out.with_extension("rhai");
    std::fs::write(&path, text).expect("the script");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("run")
        .arg(path)
        .args(["--offline", "--out"])
        .arg(out);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
pub fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The first texts of the demo model's corpus.
pub fn corpus(n: usize) -> Vec<String> {
    let text = std::fs::read_to_string("demo/corpus.jsonl").unwrap();
    let row = |line: &str| serde_json::from_str::<Json>(line).unwrap()["text"].as_str().unwrap().to_string();
    text.lines().take(n).map(row).collect()
}

pub fn encoded(model: &Model, texts: &[String], max_len: usize) -> Vec<Vec<u32>> {
    let tokenizer = model.tokenizer().unwrap();
    let encode = |text: &String| {
        let mut ids = tokenizer.encode(text, Bos::Auto, true).unwrap();
        ids.truncate(max_len);
        ids
    };
    texts.iter().map(encode).collect()
}
