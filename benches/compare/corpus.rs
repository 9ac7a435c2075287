//! Many texts through one layer, by the verbs of scripts: what `bench_collect.py` and `bench_atlas.py` time of a rival.

use std::fs;
use std::path::Path;

use patchscript::script::{Host, HostOptions, Session};

use crate::timing::timed;
use crate::{emit, emit_timing};

/// The prompts of the corpus, so many times.
const TIMES: usize = 9;

/// Prints the times of `collect` and `atlas`, and how many rows were collected.
pub fn print(model: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let prompts = folder.path().join("prompts.jsonl");
    let corpus = fs::read_to_string("demo/corpus.jsonl").unwrap();
    fs::write(&prompts, corpus.repeat(TIMES)).unwrap();
    let mut session = Session::new(Host::new(HostOptions {
        model: Some(model.to_str().unwrap().into()),
        allow_read: vec![folder.path().into()],
        out: Some(folder.path().join("out")),
        ..HostOptions::default()
    }));
    let mut run = |code: &str| drop(session.submit(code).unwrap_or_else(|error| panic!("{error}")));
    run("let m = load();");
    let collect = format!("let acts = collect(m, {prompts:?}, resid_post(m.n_layers / 2), #{{bos: true}});");
    run(&collect.replace("bos: true", "bos: true, limit: 4000"));
    emit_timing("collect", &timed(1, || run(&collect)));
    let atlas = "let a = atlas(m, \"scripts/data/texts.jsonl\", mlp_post(m.n_layers / 2));";
    run(atlas);
    emit_timing("atlas", &timed(3, || run(atlas)));
    emit("collected", serde_json::json!({ "prompts": corpus.lines().count() * TIMES }));
}
