//! Mixtures of factor analysers as scripts train, read and steer by them.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{script, succeeds};
use serde_json::Value as Json;

/// Activations of the embedded model, and a mixture of them.
const MIXTURE: &str = "let m = load(); let site = resid_post(4);
    let acts = collect(m, \"scripts/data/texts.jsonl\", site, #{to: 60});
    let mixture = mfa(acts, #{components: 6, rank: 3, epochs: 3, batch: 64, lr: 0.01, seed: 1});";

#[track_caller]
fn holds(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    succeeds(&script(text, &folder.path().join("out"), &["--allow-read", "."]));
}

#[track_caller]
fn fails(text: &str, told: &str) {
    let folder = tempfile::tempdir().unwrap();
    let output = script(text, &folder.path().join("out"), &["--allow-read", "."]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && err.contains(told), "expected `{told}` in\n{err}");
    assert!(err.contains("help:"), "no cure in\n{err}");
}

#[test]
fn steering_is_the_formula_at_every_position_and_step() {
    holds(&format!(
        "{MIXTURE}
        let near = |a, b| (a - b).abs().max() < 1e-4 * b.abs().max();
        let x = m.trace(\" John gave Mary\")[site];
        let at = |patch| m.run(\" John gave Mary\", patch)[site];
        let mean = mixture.mean(2);
        assert(near.call(at.call(mixture.steer(site, 2, 0.6)), x * 0.4 + mean * 0.6), \"one component\");
        let r = mixture.responsibilities(x);
        let means = stack((0..6).map(|k| mixture.mean(k)), 0);
        assert(near.call(at.call(mixture.steer(site, 0.6)), x * 0.4 + r.matmul(means) * 0.6), \"all by their shares\");
        let z = [2.0, -1.0, 0.5];
        let w = mixture.loadings(2).matmul(tensor(z));
        assert(near.call(at.call(mixture.steer_latent(site, 2, 0.6, z)), x * 0.4 + mean * 0.6 + w), \"two stages\");
        assert(near.call(at.call(mixture.steer_latent(site, 2, 0.0, z)), x + w), \"the second alone\");
        let u = mixture.directions(2).matmul(tensor(z));
        assert(near.call(at.call(mixture.steer_latent(site, 2, 0.6, z, #{{units: \"plotted\"}})), x * 0.4 + mean * 0.6 + u), \"plotted units\");
        let each = stack((0..6).map(|k| mixture.loadings(k).matmul(tensor(z))), 0);
        assert(near.call(at.call(mixture.steer_latent(site, 0.6, z)), x * 0.4 + r.matmul(means) * 0.6 + r.matmul(each)), \"all, two stages\");
        let places = mixture.project(acts, 0);
        let moved = mixture.project(acts.rows(places.rows) + mixture.directions(0).t()[1] * 3.0, 0, #{{assign: \"threshold\", min_alpha: 0.0}});
        assert(near.call(moved.coordinates.t()[1], places.coordinates.t()[1] + 3.0), \"plotted units are those of `project`\");
        let made = m.generate(\" John gave\", #{{patches: mixture.steer(site, 1, 1.0).steps(\"all\"), max_new_tokens: 3, watch: site}});
        assert(made.tokens.len == 3);"
    ));
}

#[test]
fn steering_where_rows_are_of_another_width_tells_the_mixture_s() {
    for patch in [
        "steer(mlp_post(4), 1, 0.5)",
        "steer(mlp_post(4), 0.5)",
        "steer_latent(mlp_post(4), 1, 0.5, [1, 0, 0])",
    ] {
        fails(
            &format!("{MIXTURE} m.run(\" John gave\", mixture.{patch});"),
            "it is of a site with 256 numbers a position: patch one of those",
        );
    }
    fails(
        "mfa(zeros([20, 4]), #{components: 2, rank: 1, method: \"em\", device: \"cuda\"});",
        "option `device`: `method: \"em\"` does not run on `cuda`",
    );
}

#[test]
fn components_by_strengths_are_one_sweep_that_equals_runs() {
    holds(&format!(
        "{MIXTURE}
        let metric = logit_diff(\" Europe\", \" the\");
        for all in [false, true] {{
            let patch = |k, alpha| if all {{ mixture.steer(resid_post(k), alpha) }} else {{ mixture.steer(site, k, alpha) }};
            let grid = m.sweep(\"Oslo lies in\", 0..6, [0.2, 0.6, 1.0], patch, metric);
            for k in 0..6 {{ for (alpha, j) in [0.2, 0.6, 1.0] {{
                let alone = metric.of(m.run(\"Oslo lies in\", patch.call(k, alpha)));
                assert((grid.values[k][j] - alone).abs() < 1e-3, `${{all}} ${{k}} ${{alpha}}: ${{grid.values[k][j]}} ${{alone}}`);
            }} }}
        }}"
    ));
}

#[test]
fn files_and_tensors_give_the_same_mixture() {
    holds(&format!(
        "{MIXTURE}
        let again = mfa(acts.x, #{{components: 6, rank: 3, epochs: 3, batch: 64, lr: 0.01, seed: 1}});
        assert((again.mean(3) - mixture.mean(3)).abs().max() == 0.0, \"acts and their numbers\");
        mixture.save(\"m.safetensors\");
        let read = load_mfa(\"m.safetensors\");
        assert((read.nll(acts) - mixture.nll(acts)).abs().max() < 1e-5 * mixture.nll(acts).abs().max(), \"likelihoods\");
        assert(read.history == mixture.history, \"history\");
        assert(read.metadata.site == \"resid_post.4\" && read.metadata.model == \"demo\");
        let top = mixture.top_contexts(1, 5);
        assert(read.over(acts).top_contexts(1, 5).map(|own| own.row) == top.map(|own| own.row), \"contexts\");
        assert(top.all(|own| acts.row(own.row).token == own.token));
        let best = mixture.log_likelihoods(acts).t()[1].max();
        assert((top[0].score - best).abs() < 1e-2 * best.abs());"
    ));
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let some = "let x = randn([40, 6], rng(0));";
    for (text, told) in [
        ("mfa(x, #{components: 50, rank: 2})", "40 rows are too few for 50 components"),
        ("mfa(x, #{components: 4, rank: 7})", "7 directions a component, in rows of 6 numbers"),
        ("mfa(x * (0.0 / 0.0), #{components: 4, rank: 2})", "the rows hold NaN, in row 0"),
        ("mfa(x, #{components: 4, rank: 2, method: \"vb\"})", "`vb`"),
        ("mfa(x, #{components: 4, rank: 2, init: zeros([4, 5])})", "`init` holds 20 numbers, expected 24"),
        (
            "mfa(x, #{components: 4, rank: 2, init: \"random\"}).mean(4)",
            "component 4 does not exist: the mixture has 4",
        ),
        (
            "mfa(x, #{components: 4, rank: 2, init: \"random\"}).nll(zeros([3, 7]))",
            "rows of 6 numbers, these have 7",
        ),
        ("mfa(x, #{components: 4, rank: 2, init: \"random\"}).top_contexts(0, 3)", "no activations to show"),
        (
            "mfa(x, #{components: 4, rank: 2, init: \"random\"}).steer(resid_post(1), 9, 0.5)",
            "component 9 does not exist",
        ),
        (
            "load().run(\" John\", mfa(x, #{components: 4, rank: 2, init: \"random\"}).steer(resid_post(1), 0.5))",
            "but the value is",
        ),
        ("kmeans(x, 41)", "40"),
        ("kmeans(x, 4, #{pool: 3})", "pool"),
        ("load_mfa(\"README.md\")", "not a safetensors file"),
    ] {
        fails(&format!("{some} {text}"), told);
    }
}

/// The value of a key in what a script wrote.
fn written(out: &Path, name: &str) -> Json {
    serde_json::from_slice(&fs::read(out.join(name)).expect(name)).expect("JSON")
}

#[test]
fn the_experiment_raises_what_components_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "run",
        "scripts/mfa_steering.rhai",
        "--offline",
        "--out",
    ]);
    let output = command.arg(&out).stdin(Stdio::null()).output().expect("the binary starts");
    succeeds(&output);
    let told = written(&out, "steering.json");
    let rises = told["rises"].as_array().expect("an array");
    let clear = rises.iter().filter(|rise| rise["share"].as_f64().unwrap() > 0.95).count();
    assert!(rises.len() >= 20 && clear * 5 >= rises.len() * 4, "{clear} of {}", rises.len());
    for name in ["mixture.html", "component.png", "training.png", "centroids.npy", "mixture.safetensors"] {
        assert!(fs::metadata(out.join(name)).expect(name).len() > 500, "{name}");
    }
    // Every stage can be read instead of computed, with the same result.
    let again = folder.path().join("again");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "scripts/mfa_steering.rhai", "--offline"]);
    for (name, file) in [("acts", "acts"), ("mixture", "mixture.safetensors")] {
        command.arg("--set").arg(format!("{name}={}", out.join(file).display()));
    }
    let output = command.arg("--allow-read").arg(&out).arg("--out").arg(&again).output().expect("it starts");
    succeeds(&output);
    assert_eq!(written(&again, "steering.json"), told);
}
