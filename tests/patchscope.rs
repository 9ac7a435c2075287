//! The stdlib's patchscopes and lenses: what they must read, and what must be equal.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{gemma3_path, smollm2_path};

/// What a script prints, with the embedded model or the one at `model`.
#[track_caller]
fn printed(script: &str, model: Option<&Path>) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.rhai"), script).expect("the script");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(folder.path()).args(["run", "a.rhai", "--offline"]).stdin(Stdio::null());
    if let Some(model) = model {
        command.arg("--model").arg(model);
    }
    let output = command.output().expect("the binary starts");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn numbers(script: &str, model: Option<&Path>) -> Vec<f64> {
    printed(script, model).lines().map(|line| line.parse().expect("a number")).collect()
}

#[test]
fn the_identity_prompt_reads_entities_of_the_embedded_model() {
    let rows = fs::read_to_string("demo/train/lexicon/countries.tsv").expect("the lexicon");
    let rows = rows.lines().skip(1).flat_map(|line| line.split('\t').take(2));
    let names: Vec<String> = rows.map(|name| format!("{:?}", format!(" {name}"))).collect();
    let script = format!(
        r#"
import "patchscope" as patchscope;
let m = load();
let names = [{}].filter(|name| m.tokens(name).len == 2);
print(names.len);
let right = names.map(|name| {{
    let said = patchscope::over_layers(m, name, patchscope::IDENTITY, 0..m.n_layers, #{{max_new_tokens: 3}});
    said.map(|made| if made.text.starts_with(" ->" + name) {{ 1 }} else {{ 0 }})
}});
print(tensor(right).mean(0).max());
print(tensor(right).mean(0)[m.n_layers - 1]);
"#,
        names.join(", ")
    );
    let [entities, best, last] = numbers(&script, None)[..] else { panic!("three numbers") };
    assert!(entities > 100.0, "{entities} entities");
    assert!(best >= 0.8, "{best} at the best layer");
    // The last layer holds the next token instead.
    assert!(last < 0.5, "{last} at the last layer");
}

const LENS: &str = r#"
import "patchscope" as patchscope;
let m = load();
for prompt in ["The capital of France is", "Mary gave John a book, and then"] {
    let layers = 0..m.n_layers;
    let run = m.trace(prompt);
    let read = patchscope::logit_lens(m, prompt, layers);
    for layer in layers { print((read[layer] - m.unembed(run[resid_post(layer)][-1])).abs().max()); }
    print((read[m.n_layers - 1] - run.last).abs().max());
    print(if (read[0] - run.last).abs().max() > 0.1 { 0 } else { 1 });
}
"#;

#[test]
fn the_logit_lens_is_a_patchscope_to_the_bit() {
    for model in [None, smollm2_path()] {
        let differences = numbers(LENS, model.as_deref());
        assert!(differences.len() >= 2 * (8 + 2), "{differences:?}");
        assert!(differences.iter().all(|difference| *difference == 0.0), "{differences:?}");
    }
}

const ATTRIBUTION: &str = r#"
import "lens" as lens;
let m = load();
let asked = [["The capital of France is", " Paris", " London"], ["When Mary and John went out, John gave a book to", " Mary", " John"]];
for one in asked {
    let parts = lens::attribution(m, one[0], one[1], one[2]);
    print(parts.total - logit_diff(one[1], one[2]).of(m.trace(one[0])));
    // These families' attention has no bias.
    print((parts.heads.sum(1) - parts.attn).abs().max());
    print(if parts.attn.abs().max() > 0.1 && parts.mlp.abs().max() > 0.1 { 0 } else { 1 });
}
"#;

#[test]
fn attributions_sum_to_the_logit_difference() {
    for model in [None, smollm2_path(), gemma3_path()] {
        let differences = numbers(ATTRIBUTION, model.as_deref());
        assert_eq!(differences.len(), 6);
        assert!(differences.iter().all(|difference| difference.abs() < 1e-3), "{differences:?}");
    }
}

/// LayerNorm with biases, a parallel MLP, biased unembedding, norms after attention, capped logits: random checkpoints of
/// every kind of family.
#[test]
fn attributions_sum_on_every_family() {
    for arch in common::ARCHS {
        let folder = Path::new("tests/golden/tiny").join(arch).canonicalize().expect("a checkpoint");
        let script = r#"
import "lens" as lens;
let m = load();
let prompt = [3, 14, 15, 9, 2, 6];
let parts = lens::attribution(m, prompt, 7, 11);
let direction = |plus, minus| m.logit_direction(m.trace(prompt)[resid_post(m.n_layers - 1)][-1], plus, minus);
let last = m.trace(prompt).last;
let cap = if "final_logit_softcapping" in m.config { m.config.final_logit_softcapping };
// Before the cap: the inverse of cap tanh(x / cap).
let uncapped = |x| if cap == () { x } else { 0.5 * cap * ((1.0 + x / cap) / (1.0 - x / cap)).ln() };
print(parts.total - (uncapped.call(last[7]) - uncapped.call(last[11])));
print((parts.attn - parts.heads.sum(1)).abs().max());
"#;
        let [difference, biases] = numbers(script, Some(&folder))[..] else { panic!("two numbers") };
        assert!(difference.abs() < 1e-4, "{arch}: {difference}");
        let biased = ["gpt2", "gpt_neox", "phi"].contains(&arch);
        assert_eq!(biases.abs() > 1e-4, biased, "{arch}: heads and attention differ by {biases}");
    }
}

/// Rows of the demo's corpus as a script's array of texts.
fn corpus(texts: usize) -> String {
    let corpus = fs::read_to_string("demo/corpus.jsonl").expect("the corpus");
    let rows: Vec<String> = corpus.lines().take(texts).map(|row| format!("#{row}")).collect();
    format!("[{}].map(|row| row.text)", rows.join(", "))
}

#[test]
fn affine_maps_lead_from_layer_to_layer() {
    let script = format!(
        r#"
import "patchscope" as patchscope;
let m = load();
let texts = {};
// Two copies of a model have read the same everywhere, and a layer becomes itself.
let pair = patchscope::aligned(m, m, texts.extract(0, 400), 2, 2, rng(0));
print((pair[0] - pair[1]).abs().max());
print((patchscope::mapped(patchscope::affine(pair[0], pair[1]), pair[0]) - pair[1]).norm() / pair[1].norm());
// What is left of the next layer but one, on texts that the map was not fitted to, and of its mean.
let pair = patchscope::aligned(m, m, texts, 1, 3, rng(1));
let map = patchscope::affine(pair[0][0..1000], pair[1][0..1000]);
let rest = pair[1][1000..texts.len];
print((patchscope::mapped(map, pair[0][1000..texts.len]) - rest).norm());
print((rest - pair[1][0..1000].mean(0)).norm());
"#,
        corpus(1200)
    );
    let [apart, itself, left, spread] = numbers(&script, None)[..] else { panic!("four numbers") };
    assert_eq!(apart, 0.0);
    assert!(itself < 1e-4, "{itself}");
    assert!(left < 0.6 * spread, "{left} of {spread}");
}

#[test]
fn positions_of_two_models_are_those_where_both_have_read_the_same() {
    let Some(smollm2) = smollm2_path() else { return };
    let script = format!(
        r#"
import "patchscope" as patchscope;
let from = load();
let to = load("demo");
let pair = patchscope::aligned(from, to, {}, 8, 2, rng(0));
for x in pair {{ print(x.shape[0]); print(x.shape[1]); }}
let map = patchscope::affine(pair[0], pair[1]);
print((patchscope::mapped(map, pair[0]) - pair[1]).norm() / (pair[1] - pair[1].mean(0)).norm());
"#,
        corpus(300)
    );
    let [rows, wide, others, narrow, left] = numbers(&script, Some(&smollm2))[..] else {
        panic!("five numbers")
    };
    assert_eq!((wide, narrow, rows), (576.0, 256.0, others));
    assert!((270.0..=300.0).contains(&rows), "{rows} of 300 texts");
    // Fewer rows than columns: the map goes through all of them.
    assert!(left < 1e-3, "{left}");
}

#[test]
fn a_tuned_lens_predicts_better_than_the_logit_lens() {
    let script = format!(
        r#"
import "lens" as lens;
import "patchscope" as patchscope;
let m = load();
let texts = {};
let layers = 0..m.n_layers;
let held = texts.extract(200, 40);
let maps = lens::translators(m, texts.extract(0, 200));
for maps in [layers.map(|layer| ()), maps] {{
    let seen = patchscope::agreement(m, held, patchscope::next_by_lens(m, held, layers, maps));
    for layer in layers {{ print(seen.surprisal[layer]); }}
    print(seen.precision[m.n_layers - 1]);
}}
let own = m.trace(held, []).map(|run| -run.top(1)[0].prob.ln());
print(mean(own));
let seen = lens::tuned_lens(m, held[0], maps);
print(if seen.texts.len == m.n_layers && seen.texts[7][-1] == m.trace(held[0]).top(1)[0].token {{ 0 }} else {{ 1 }});
"#,
        corpus(240)
    );
    let found = numbers(&script, None);
    let [plain, tuned, rest] = [&found[..9], &found[9..18], &found[18..]];
    // Of all layers but the last, which needs no map.
    let mean = |surprisal: &[f64]| surprisal[..7].iter().sum::<f64>() / 7.0;
    assert!(mean(tuned) < 0.9 * mean(plain), "{tuned:?}, without maps {plain:?}");
    // At the last layer the lens is the model: always right, and as surprised as the model is sure.
    for lens in [plain, tuned] {
        assert_eq!(lens[8], 1.0);
        assert!((lens[7] - rest[0]).abs() < 1e-4, "{lens:?} {rest:?}");
    }
    assert_eq!(rest[1], 0.0);
}
