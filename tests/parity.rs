//! Activations, logits and texts against transformers and nnsight (`tests/golden/README.md`).

mod common;

use candle_core::Tensor;
use common::*;
use patchscript::model::{Model, Point};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::{Control, Pos, Site, trace};
use std::sync::Arc;

#[test]
fn tiny_checkpoints_agree_with_transformers() {
    for arch in ARCHS {
        agrees(arch, &tiny(arch));
    }
}

#[test]
fn the_older_spelling_of_a_config_is_the_same_model() {
    for arch in ARCHS.into_iter().filter(|arch| *arch != "gpt2") {
        let model = tiny_with(arch, &golden(&format!("tiny/{arch}/config_legacy.json")));
        assert_eq!(model.config().kinds, tiny(arch).config().kinds, "{arch}");
        agrees(arch, &model);
    }
}

/// Every entry of every site at every position: what `expected.safetensors` has of both prompts, and of the first one's
/// first tokens all others (`fixtures/make_sites.py`).
fn agrees(arch: &str, model: &Arc<Model>) {
    let expected = tiny_expected(arch, "expected");
    let golden = tiny_expected(arch, "sites");
    let prompts = expected["input_ids"].to_vec2::<i64>().unwrap();
    let prompts = prompts.iter().map(|ids| ids.iter().map(|&id| id as u32).collect::<Vec<_>>());
    let prompts: Vec<_> = prompts.map(|ids| (id_tokens(model, &ids), vec![])).collect();
    let sites = all_sites(model.config());
    let mut compared = 0;
    for (i, run) in trace(model, &prompts, &sites, &Control::default()).unwrap().iter().enumerate() {
        for site in &sites {
            if let Some(name) = name_in_transformers(site, model.config().n_layers) {
                let want = expected[&name].get(i).unwrap();
                agree(&format!("{arch} prompt {i} {site}"), &read(run, site), &want);
            } else if i == 0 {
                let want = golden.get(&site.to_string());
                let raw = || site.to_string().replace("_out.", "_out_raw.");
                let want = want.unwrap_or_else(|| &golden[&raw()]);
                let found = first(&read(run, site), want.dims());
                agree(&format!("{arch} {site}"), &found, want);
                compared += 1;
            }
        }
    }
    assert!(compared >= golden.len(), "{arch}: {compared} of {} sites", golden.len());
    let greedy = expected["greedy"].flatten_all().unwrap().to_vec1::<i64>().unwrap();
    let greedy: Vec<u32> = greedy.into_iter().map(|id| id as u32).collect();
    let len = prompts[0].0.len();
    let options = GenerateOptions { max_new_tokens: greedy.len() - len, ..GenerateOptions::default() };
    let found = generate(model, &prompts[..1], &options, &Control::default()).unwrap();
    assert_eq!(found[0].ids, greedy[len..], "{arch}");
}

/// A site whose values are among the outputs of transformers' models.
fn name_in_transformers(site: &Site, n_layers: usize) -> Option<String> {
    let layer = site.at.layer;
    match site.at.point {
        Point::ResidPre => Some(format!("hidden_states.{layer}")),
        Point::ResidPost => Some(format!("resid_post.{layer}")),
        Point::Pattern => Some(format!("attn.{layer}")),
        Point::LnFinal => Some(format!("hidden_states.{n_layers}")),
        Point::Logits => Some("logits".to_string()),
        _ => None,
    }
}

/// No entry is off by 1e-4 of what entries there usually are; where these are large, by no more than 1e-4 itself.
#[track_caller]
fn agree(name: &str, found: &Tensor, want: &Tensor) {
    let entries: Vec<f32> = flat(want).into_iter().filter(|x| x.is_finite()).collect();
    let rms = (entries.iter().map(|x| x * x).sum::<f32>() / entries.len() as f32).sqrt();
    let (diff, allowed) = (max_diff(found, want), 1e-4 * rms.min(1.0));
    assert!(diff < allowed, "{name}: {diff}, of {rms} on average");
}

/// The corner of a tensor with these sizes.
fn first(x: &Tensor, dims: &[usize]) -> Tensor {
    dims.iter().enumerate().fold(x.clone(), |x, (axis, &size)| x.narrow(axis, 0, size).unwrap())
}

/// Yarn and dynamic scaling, within the original context and beyond it; `fixtures/make_rope.py` wrote the file.
#[test]
fn stretched_contexts_agree_with_transformers() {
    let golden = golden("rope.json");
    let all: Vec<u32> =
        golden["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let mut config = common::golden("tiny/llama/config.json");
        let settings = config.as_object_mut().unwrap();
        settings.remove("rope_parameters");
        settings.extend(case["config"].as_object().unwrap().clone());
        let model = tiny_with("llama", &config);
        // Both lengths in one packed batch: each turns by its own.
        let prompts = [100, 40].map(|len| (id_tokens(&model, &all[..len]), vec![]));
        let runs = trace(&model, &prompts, &[], &Control::default()).unwrap();
        for (run, len) in runs.iter().zip([100, 40]) {
            let expected: Vec<f32> = serde_json::from_value(case["logits"][len.to_string()].clone()).unwrap();
            let logits = run.logits(&Control::default()).unwrap();
            let expected = candle_core::Tensor::new(expected, logits.device()).unwrap();
            let diff = max_diff(&logits.get(len - 1).unwrap(), &expected);
            assert!(diff < 1e-4, "{} {len}: {diff}", case["config"]);
        }
        let options = GenerateOptions { max_new_tokens: 26, ..GenerateOptions::default() };
        let long =
            generate(&model, &[(id_tokens(&model, &all[..40]), vec![])], &options, &Control::default());
        let dynamic = case["config"].to_string().contains("dynamic");
        assert_eq!(long.is_err(), dynamic, "{}", case["config"]);
    }
}

/// A window shorter than the prompt hides keys, and nothing else.
#[test]
fn windows_matter_from_their_length_on() {
    let mut config = golden("tiny/mistral/config.json");
    assert_eq!(config["sliding_window"], 5);
    config["sliding_window"] = serde_json::Value::Null;
    let (windowed, full) = (tiny("mistral"), tiny_with("mistral", &config));
    let prompt = pair(&windowed).0;
    let [windowed, full] = [windowed, full].map(|model| run(&model, &prompt, vec![], &[]));
    let diff = |pos: usize| max_diff(&logits(&windowed).get(pos).unwrap(), &logits(&full).get(pos).unwrap());
    assert!((0..5).all(|pos| diff(pos) < 1e-5));
    assert!((5..prompt.len()).all(|pos| diff(pos) > 1e-2));
}

#[test]
fn smollm2_agrees_with_transformers() {
    let Some(model) = smollm2() else { return };
    agrees_with_golden(&model, &golden("smollm2_basic.json"), 2e-3);
}

#[test]
fn gemma3_agrees_with_transformers() {
    let Some(path) = gemma3_path() else { return };
    agrees_with_golden(&load(path.to_str().unwrap()), &golden("gemma3_basic.json"), 5e-3);
}

/// Every prompt of a golden file: ids, top 10 in order with logits within `tolerance`, activations, greedy text.
fn agrees_with_golden(model: &Arc<Model>, golden: &serde_json::Value, tolerance: f32) {
    let n_layers = model.config().n_layers;
    let sites: Vec<Site> = (0..n_layers).map(|layer| Site::new(Point::ResidPost, layer)).collect();
    for prompt in golden["prompts"].as_array().unwrap() {
        let text = prompt["text"].as_str().unwrap();
        let input = [(tokens(model, text), vec![])];
        assert_eq!(input[0].0.ids(), ids(&prompt["ids"]), "{text:?}");
        let run = trace(model, &input, &sites, &Control::default()).unwrap().remove(0);

        let last = run.last().unwrap().to_vec1::<f32>().unwrap();
        let mut order: Vec<u32> = (0..last.len() as u32).collect();
        order.sort_by(|&a, &b| last[b as usize].total_cmp(&last[a as usize]));
        let top = ids(&prompt["top10_ids"]);
        assert_eq!(order[..10], top, "{text:?}");
        let found: Vec<f32> = top.iter().map(|&id| last[id as usize]).collect();
        let diff = max_diff_of(&found, &floats(&prompt["top10_logits"]));
        assert!(diff < tolerance, "{text:?}: top-10 logits differ by {diff}");

        for (layer, want) in floats(&prompt["resid_post_norm"]).into_iter().enumerate() {
            let last = read(&run, &Site::new(Point::ResidPost, layer).at(Pos::Last));
            let norm = last.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
            assert!((norm / want - 1.0).abs() < 1e-3, "{text:?} layer {layer}: norm {norm}, expected {want}");
        }
        points_agree(&run, &prompt["points"]);

        let options = GenerateOptions { max_new_tokens: 24, ..GenerateOptions::default() };
        let found = generate(model, &input, &options, &Control::default()).unwrap().remove(0);
        assert_eq!(found.ids, ids(&prompt["greedy_ids"]), "{text:?}");
        assert_eq!(found.text, prompt["greedy_text"].as_str().unwrap());
    }
}

/// Every recorded point of the reference: norm and first 16 entries at the last position.
fn points_agree(run: &patchscript::run::Trace, points: &serde_json::Value) {
    for (name, want) in points.as_object().unwrap() {
        let site = match name.split_once('.') {
            None if name == "final_norm" => Site::new(Point::LnFinal, 0),
            None => Site::parse(name).unwrap(),
            Some((module, layer)) => {
                let point = match module {
                    "q_proj" => Point::Q,
                    "k_proj" => Point::K,
                    "v_proj" => Point::V,
                    "o_proj_in" => Point::Z,
                    "mlp_in" => Point::Ln2,
                    "mlp_act" => Point::MlpPost,
                    // What the modules give, before any norm after them.
                    "attn_out" => Point::AttnOutRaw,
                    "mlp_out" => Point::MlpOutRaw,
                    _ => Site::parse(name).unwrap().at.point,
                };
                Site::new(point, layer.parse().unwrap())
            }
        };
        let last = flat(&read(run, &site.at(Pos::Last)));
        let norm = last.iter().map(|x| x * x).sum::<f32>().sqrt();
        let want_norm = want["norm"].as_f64().unwrap() as f32;
        assert!((norm / want_norm - 1.0).abs() < 1e-3, "{name}: norm {norm}, expected {want_norm}");
        let diff = max_diff_of(&last[..16], &floats(&want["dims16"]));
        assert!(diff < 2e-3 * want_norm.max(1.0), "{name}: first entries differ by {diff}");
    }
}
