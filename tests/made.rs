//! Models whose weights no file holds as they are.

mod common;

use common::*;
use patchscript::model::{LoadOptions, Model};
use patchscript::script::session::Reply;
use patchscript::script::{Host, HostOptions, Session};
use std::sync::Arc;

fn made(id: &str, seed: u64) -> Arc<Model> {
    let options = LoadOptions { device: device(), seed, ..LoadOptions::default() };
    Arc::new(Model::load(id, &options).unwrap_or_else(|e| panic!("{id}: {e}")))
}

fn weight(model: &Model, name: &str) -> Vec<f32> {
    flat(&model.weight(name).unwrap())
}

#[test]
fn a_shuffled_model_has_its_own_weights_in_another_order() {
    let whole = load("demo");
    let [shuffled, again, other] = [1, 1, 2].map(|seed| made("shuffled:demo", seed));
    for name in ["embed.W_E", "blocks.3.attn.W_Q", "blocks.0.mlp.W_out"] {
        let own = weight(&shuffled, name);
        assert_eq!(own, weight(&again, name), "{name}");
        assert!(own != weight(&other, name) && own != weight(&whole, name), "{name}");
        let sorted = |mut numbers: Vec<f32>| {
            numbers.sort_by(f32::total_cmp);
            numbers
        };
        assert_eq!(sorted(own), sorted(weight(&whole, name)), "{name}");
    }
    assert_eq!(shuffled.id, "shuffled:demo");
    let prompt = tokens(&shuffled, " John gave");
    assert!(flat(&run(&shuffled, &prompt, vec![], &[]).last().unwrap()).iter().all(|x| x.is_finite()));
}

#[test]
fn a_random_model_needs_only_a_config() {
    for arch in ARCHS {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.json");
        std::fs::copy(format!("tests/golden/tiny/{arch}/config.json"), &config).unwrap();
        let id = format!("random:{}", config.display());
        let [model, again, other] = [1, 1, 2].map(|seed| made(&id, seed));
        let logits = |model: &Arc<Model>| {
            let (prompt, _) = pair(model);
            flat(&run(model, &prompt, vec![], &[]).last().unwrap())
        };
        let own = logits(&model);
        assert!(own.iter().all(|x| x.is_finite()) && own.iter().any(|x| *x != own[0]), "{arch}");
        assert_eq!(own, logits(&again), "{arch}");
        assert_ne!(own, logits(&other), "{arch}");
        let from_folder = made(&format!("random:{}", folder.path().display()), 1);
        assert_eq!(own, logits(&from_folder), "{arch}");
    }
}

/// From a script, with its seed; and what cannot be is refused before anything is made.
#[test]
fn scripts_make_models() {
    let mut session =
        Session::new(Host::new(HostOptions { device: Some(device()), ..HostOptions::default() }));
    let mut said = |code: &str| match session.submit(code) {
        Ok(Reply::Text(text)) => text,
        Ok(_) => String::new(),
        Err(error) => session.host().render(&error, false),
    };
    let differ = "let a = load(\"random:demo\", #{seed: 1}); let b = load(\"random:demo\", #{seed: 2}); \
        let id = |m| m.trace(\" John gave\").top(1)[0].logit; id.call(a) != id.call(b)";
    assert_eq!(said(differ), "true");
    assert!(said("load(\"random:demo\", #{quantized: true})").contains("quantized weights need"));
    assert!(said("load(\"shuffled:no/such/model\")").contains("no model at"));
}
