//! What the embedded model is for: the classic experiments have clear effects on it. Each test runs a script through
//! the real binary, without `--model`; `demo/README.md` gives the same figures over more prompts.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use patchscript::model::{LoadOptions, Model};
use serde_json::Value as Json;

/// Runs a script in the repository's root; the value of its variable `result`.
fn result(script: &str) -> Json {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.rhai");
    fs::write(&path, format!("let m = load();\n{script}\nwrite_json(\"result.json\", result);"))
        .expect("the script");
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", path.to_str().expect("UTF-8"), "--offline", "--out"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.path().join("result.json")).expect("the result");
    serde_json::from_str(&text).expect("JSON")
}

fn numbers(json: &Json) -> Vec<f64> {
    match json {
        Json::Array(items) => items.iter().flat_map(numbers).collect(),
        _ => vec![json.as_f64().expect("a number")],
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The largest and the middle one.
fn best_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() - 1], values[values.len() / 2])
}

#[test]
fn it_opens_at_once() {
    let open = || {
        let start = Instant::now();
        Model::load("demo", &LoadOptions { device: "cpu".into(), ..LoadOptions::default() })
            .expect("the model");
        start.elapsed()
    };
    let best = (0..40).map(|_| open()).min().expect("some");
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[test]
fn it_answers_held_out_prompts() {
    let shares = result(
        r#"
        let result = #{};
        let rows = read_jsonl("demo/prompts.jsonl").filter(|row| row.behaviour != "greater" && row.behaviour != "induction");
        let answers = m.generate(rows.map(|row| row.prompt), #{max_new_tokens: 10});
        for i in 0..rows.len {
            let wanted = rows[i].answer;
            // Any adjective will do.
            if rows[i].behaviour == "agreement" { wanted = if wanted.starts_with(" are") { " are" } else { " is" }; }
            let right = if answers[i].text.starts_with(wanted) { 1.0 } else { 0.0 };
            if !(rows[i].behaviour in result) { result[rows[i].behaviour] = []; }
            result[rows[i].behaviour] += [right];
        }"#,
    );
    let shares = shares.as_object().expect("a map");
    assert_eq!(shares.len(), 7);
    for (behaviour, right) in shares {
        let share = mean(&numbers(right));
        let bar = if behaviour == "ioi" { 0.98 } else { 0.95 };
        assert!(share >= bar, "{behaviour}: {share}");
    }
}

#[test]
fn it_prefers_the_indirect_object_by_far() {
    let differences = result(
        r#"
        let result = [];
        for row in read_jsonl("demo/prompts.jsonl").filter(|row| row.behaviour == "ioi") {
            let run = m.trace(row.prompt);
            // The giver comes last of what has a capital letter.
            let capitals = run.tokens.texts.filter(|text| text.len > 2 && text[1] != text[1].to_lower());
            let giver = capitals[-1];
            result += [logit_diff(row.answer.sub_string(0, row.answer.len - 1), giver).of(run)];
        }"#,
    );
    let differences = numbers(&differences);
    assert_eq!(differences.len(), 100);
    assert!(mean(&differences) >= 3.0, "{differences:?}");
}

#[test]
fn years_come_after_years_and_sequences_repeat() {
    let shares = result(
        r#"
        let years = [];
        let repeats = [];
        for row in read_jsonl("demo/prompts.jsonl") {
            if row.behaviour == "greater" {
                let first = parse_int(row.prompt.sub_string(row.prompt.index_of("from the year ") + 16, 2));
                let valid = [];
                for year in (first + 1)..100 { valid.push(m.token(if year < 10 { `0${year}` } else { `${year}` })); }
                years += [prob(valid).of(m.trace(row.prompt))];
            }
            if row.behaviour == "induction" {
                let run = m.tokens(row.prompt + row.answer);
                let start = m.tokens(row.prompt).len - 1;
                let said = m.trace(run).logits[start..run.len - 1].argmax(1).to_array();
                for i in 0..said.len { repeats += [if said[i] == run.ids[start + 1 + i] { 1.0 } else { 0.0 }]; }
            }
        }
        let result = [years, repeats];"#,
    );
    let (years, repeats) = (mean(&numbers(&shares[0])), mean(&numbers(&shares[1])));
    assert!(years >= 0.95, "{years}");
    assert!(repeats >= 0.95, "{repeats}");
}

#[test]
fn power_moves_from_the_verb_to_the_last_token() {
    let pairs = result(
        r#"
        let template = "In the following sentence, {} exercises power over someone or something else. TRUE or FALSE? Sentence: {} Answer:";
        let metric = logit_diff(" TRUE", " FALSE");
        let result = [];
        let table = read_tsv("demo/power_pairs.tsv");
        for i in 0..table.len {
            let row = table.row(i);
            let clean = m.trace(fmt(template, row.name, row.power));
            let base = m.tokens(fmt(template, row.name, row.no_power));
            let cell = |layer, position| resid_post(layer).at(position).set(clean).allow_noop();
            let start = base.span("Sentence:").end;
            let grid = m.sweep(base, 0..m.n_layers, start..base.len, cell, metric);
            result += [grid.normalized(metric.of(clean), grid.base).values];
        }"#,
    );
    let pairs = pairs.as_array().expect("an array");
    assert_eq!(pairs.len(), 50);
    for grid in pairs {
        let (best, median) = best_and_median(numbers(grid));
        assert!(best >= 0.9 && median < 0.1, "best cell {best}, median {median}");
    }
    let corner = |grid: &Json, layer: usize| *numbers(&grid[layer]).last().expect("a position");
    let last = |layer: usize| mean(&pairs.iter().map(|grid| corner(grid, layer)).collect::<Vec<_>>());
    assert!(
        last(2) < 0.1 && last(6) > 0.9,
        "the last token holds {} after layer 2, {} after 6",
        last(2),
        last(6)
    );
}

#[test]
fn one_head_carries_a_third_of_the_indirect_object() {
    let grids = result(
        r#"
        let clean = m.trace("After John and Mary went to the store, Mary gave a bottle of milk to");
        let corrupt = m.tokens("After John and Mary went to the store, John gave a bottle of milk to");
        let metric = logit_diff(" John", " Mary");
        let best = metric.of(clean);
        let residual = |layer, position| resid_post(layer).at(position).set(clean).allow_noop();
        let grid = m.sweep(corrupt, 0..m.n_layers, 0..corrupt.len, residual, metric);
        let head = |layer, head| z(layer).head(head).set(clean);
        let heads = m.sweep(corrupt, 0..m.n_layers, 0..m.n_heads, head, metric);
        let result = [[best, grid.base], grid.normalized(best, grid.base).values, heads.normalized(best, grid.base).values];"#,
    );
    let ends = numbers(&grids[0]);
    assert!(ends[0] > 3.0 && ends[1] < -3.0, "{ends:?}");
    let (best, median) = best_and_median(numbers(&grids[1]));
    assert!(best >= 0.9 && median < 0.1, "best cell {best}, median {median}");
    let (head, most) = best_and_median(numbers(&grids[2]));
    assert!(head >= 0.3 && most < 0.1, "best head {head}, median {most}");
}

#[test]
fn a_percentage_is_what_its_number_says_and_not_its_sign() {
    let shares = result(
        r#"
        let names = ["one half", "two thirds", "three quarters", "one third", "one quarter", "one fifth", "one sixth", "one seventh", "one eighth", "one ninth", "one tenth"];
        let values = [50.0, 200.0 / 3.0, 75.0, 100.0 / 3.0, 25.0, 20.0, 100.0 / 6.0, 100.0 / 7.0, 12.5, 100.0 / 9.0, 10.0];
        let nearest = |p| {
            let best = 0;
            for i in 0..values.len { if (values[i] - p).abs() < (values[best] - p).abs() { best = i; } }
            names[best]
        };
        let chat = |p| m.chat([
            #{role: "system", content: `Respond with exactly one of: [${join(names, ", ")}].`},
            #{role: "user", content: `${p}% is`}, #{role: "assistant", content: "Answer:"},
        ], #{continue_final: true});
        let from = [50, 9, 33, 70, 24, 62, 12, 79];
        let to = [20, 67, 11, 45, 75, 10, 31, 14];
        let donors = to.map(|p| m.trace(chat.call(p)));
        let number = donors[0].tokens.find("%") - 1;
        let result = [];
        for at in number..donors[0].tokens.len {
            for layer in 0..m.n_layers {
                let patches = donors.map(|donor| [resid_post(layer).at(at).set(donor).allow_noop()]);
                let said = m.generate(from.map(|p| chat.call(p)), #{max_new_tokens: 3, patches: patches});
                let moved = 0.0;
                for i in 0..to.len { if said[i].text.starts_with(" " + nearest.call(to[i].to_float())) { moved += 1.0; } }
                result += [moved / to.len];
            }
        }"#,
    );
    let cells = numbers(&shares);
    let tokens: Vec<&[f64]> = cells.chunks(8).collect();
    assert!(tokens[0][1] >= 0.8 && tokens[0][7] < 0.1, "the number: {shares}");
    assert!(tokens[1].iter().all(|&share| share < 0.1), "the sign: {shares}");
    let still = cells.iter().filter(|&&share| share < 0.1).count();
    assert!(5 * still >= 4 * cells.len(), "most cells: {shares}");
}

#[test]
fn a_patchscope_names_the_entity() {
    let shares = result(
        r#"
        let entities = ["France", "Japan", "Kenya", "Peru", "Norway", "Fiji", "wolf", "eagle", "shark", "cobra", "bee", "newt"];
        let target = m.tokens("cat -> cat\n1135 -> 1135\nhello -> hello\n?");
        let result = [];
        for source in ["{}", "My uncle told me a long story about {}"] {
            let patches = entities.map(|entity| [resid_post(3).at(-1).set(m.trace(fmt(source, entity))[resid_post(3).at(-1)])]);
            let said = m.generate(entities.map(|entity| target), #{max_new_tokens: 2, patches: patches});
            let named = 0.0;
            for i in 0..entities.len { if said[i].text == ` -> ${entities[i]}` { named += 1.0; } }
            result.push(named / entities.len);
        }"#,
    );
    assert!(numbers(&shares).iter().all(|&share| share >= 0.8), "{shares}");
}

#[test]
fn adding_the_direction_of_true_flips_answers() {
    let flips = result(
        r#"
        let rows = read_jsonl("demo/prompts.jsonl").filter(|row| row.behaviour == "power");
        let site = resid_post(5).at(-1);
        let metric = logit_diff(" TRUE", " FALSE");
        let sums = [zeros([m.d_model]), zeros([m.d_model])];
        let counts = [0.0, 0.0];
        // The direction from the first half of the prompts, the flips on the other one.
        for i in 0..50 {
            let kind = if rows[i].answer == " TRUE" { 1 } else { 0 };
            sums[kind] += m.trace(rows[i].prompt)[site];
            counts[kind] += 1.0;
        }
        let direction = sums[1] / counts[1] - sums[0] / counts[0];
        let result = [];
        for i in 50..rows.len {
            let before = metric.of(m.trace(rows[i].prompt));
            let sign = if before > 0.0 { -1.0 } else { 1.0 };
            let after = metric.of(m.run(rows[i].prompt, site.add(direction * sign)));
            result += [if after * before < 0.0 { 1.0 } else { 0.0 }];
        }"#,
    );
    let share = mean(&numbers(&flips));
    assert!(share >= 0.9, "{share}");
}
