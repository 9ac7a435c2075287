//! The shipped scripts through the real binary, against the reference values of `tests/golden`; and scripts that must
//! be refused, word for word.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{chat_templates, golden, smollm2_path};
use serde_json::Value as Json;
use tempfile::TempDir;

const TOLERANCE: f64 = 5e-3;
const TINY: &str = "tests/fixtures/tiny";

/// Runs a script from the root of the repository; results go to the folder that comes back.
fn run(script: &str, args: &[&str]) -> (Output, TempDir) {
    let out = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", script, "--offline", "--out"])
        .arg(out.path().join("results"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    (output, out)
}

/// Whether a run left nothing but its record.
fn left_nothing(out: &Path) -> bool {
    let files = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").file_name()).collect()
    };
    let results = files(&out.join("results"));
    files(out).iter().all(|name| name == "results") && results.iter().all(|name| name == "run.json")
}

/// Asserts that the script is refused with exactly this text and leaves nothing behind.
#[track_caller]
fn refused(script: &str, args: &[&str], expected: &str) {
    let (output, out) = run(script, args);
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected, "{script}");
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{script}: {}", output.status);
    assert!(left_nothing(out.path()), "{script} left a file");
}

/// Runs a shipped script with the real model; gives its JSON and what it printed.
fn results(script: &str, args: &[&str], json: &str) -> Option<(Json, String)> {
    let model = smollm2_path()?.display().to_string();
    Some(shown(script, &[&["--model", &model], args].concat(), json))
}

/// The same with the model that `args` name, or the embedded one.
#[track_caller]
fn shown(script: &str, args: &[&str], json: &str) -> (Json, String) {
    let (output, out) = run(script, args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    assert_eq!(err, "");
    let folder = out.path().join("results");
    for entry in fs::read_dir(&folder).expect("results") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "png") {
            assert!(fs::read(&path).expect("a picture").starts_with(b"\x89PNG"), "{}", path.display());
        }
    }
    let text = fs::read_to_string(folder.join(json)).expect("the script's JSON");
    (serde_json::from_str(&text).expect("JSON"), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Numbers within the tolerance, everything else equal.
#[track_caller]
fn close(found: &Json, expected: &Json, place: &str) {
    match (found, expected) {
        (Json::Array(a), Json::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{place}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                close(a, b, &format!("{place}[{i}]"));
            }
        }
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
            assert!((a - b).abs() <= TOLERANCE, "{place}: {a}, expected {b}");
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

#[test]
fn power_heatmap_equals_the_reference() {
    let args = ["--set", "data=data/power_long.tsv"];
    let Some((found, printed)) = results("scripts/power_heatmap.rhai", &args, "power_heatmap.json") else {
        return;
    };
    let golden = golden("smollm2_heatmap.json");
    for (key, reference) in [
        ("entity", "entity"),
        ("source_prompt", "source_prompt"),
        ("base_prompt", "base_prompt"),
        ("source_sentence", "source_sentence"),
        ("base_sentence", "base_sentence"),
        ("sentence_start", "sentence_start"),
        ("token_labels", "labels"),
        ("num_layers", "layers"),
        ("patching_results", "grid"),
    ] {
        close(&found[key], &golden[reference], key);
    }
    for run in ["source", "base"] {
        let values = &golden[run];
        let number = |key: &str| values[key].as_f64().expect("a number");
        let line = format!(
            "{run}: P(TRUE) {:.4}, P(FALSE) {:.4}, log difference {:.3}",
            number("p_true"),
            number("p_false"),
            number("log_diff")
        );
        assert!(printed.contains(&line), "{printed}\nlacks\n{line}");
    }
}

#[test]
fn ioi_patching_equals_the_reference() {
    let Some((found, _)) = results("scripts/ioi_patching.rhai", &["--set", "prompts=2"], "ioi.json") else {
        return;
    };
    let golden = golden("smollm2_ioi.json");
    for key in [
        "clean_prompt",
        "corrupted_prompt",
        "clean_diff",
        "corrupted_diff",
        "layer_raw",
        "layer_norm",
        "noising_raw",
        "noising_norm",
        "position_raw",
        "position_norm",
        "head_raw",
        "head_norm",
    ] {
        close(&found[key], &golden[key], key);
    }
}

/// What someone sees who starts each script without options, over fewer percentages.
#[test]
fn every_script_shows_its_effect_on_the_embedded_model() {
    let number = |json: &Json| json.as_f64().expect("a number");
    let (found, _) = shown("scripts/patchscope.rhai", &[], "patchscope.json");
    let (neuron, again) = (&found["neuron"], number(&found["again"]));
    let most = |kind: &str| {
        found["controls"][kind].as_array().expect("numbers").iter().map(number).fold(f64::MIN, f64::max)
    };
    assert_eq!((&neuron["neuron"], &neuron["token"]), (&86.into(), &" detained".into()));
    assert!(again > 0.9 * number(&neuron["value"]), "the neuron fires again: {again}");
    assert!(most("random") < 0.2 * again && most("mean") < 0.2 * again, "and not for any vector: {found}");
    assert_ne!(found["texts"][0], found["texts"][1]);
    // The text that the notebook took for the neuron's is another one.
    let (found, _) = shown("scripts/patchscope.rhai", &["--set", "published=true"], "patchscope.json");
    assert!(number(&found["again"]) < 0.1 * number(&found["neuron"]["value"]), "{found}");

    let (found, _) = shown("scripts/patchscope_layers.rhai", &[], "patchscope.json");
    assert_eq!(found["texts"][0], ": country in Europe with the capital Paris");

    let (found, _) = shown("scripts/attribute_extraction.rhai", &["--set", "items=4"], "accuracy.json");
    assert_eq!(
        (&found["items"], &found["known"], number(&found["without_a_vector"])),
        (&4.into(), &80.into(), 0.0)
    );
    let best: Vec<f64> = found["best"].as_array().expect("layers").iter().map(number).collect();
    assert!(best[..5].iter().all(|best| *best == 1.0) && best[7] < 0.5, "{best:?}");

    let (found, _) = shown("scripts/power_heatmap.rhai", &["--set", "pairs=8"], "power_mean.json");
    let rows = found["mean"].as_array().expect("rows");
    let last = |layer: usize| number(rows[layer].as_array().expect("a row").last().expect("a position"));
    assert!(
        last(0) < -5.0 && last(7) > 5.0,
        "the answer moves to the last token: {} to {}",
        last(0),
        last(7)
    );

    let (found, printed) = shown("scripts/ioi_patching.rhai", &[], "ioi_mean.json");
    assert!(printed.ends_with("8 of 8 prompts are solved\n"), "{printed}");
    let part = |layer: usize, part: usize| number(&found["positions_mean"][layer][part]);
    assert!(part(2, 1) > 0.9 && part(2, 3) < 0.1 && part(7, 1) < 0.1 && part(7, 3) > 0.9, "{found}");

    let args = ["--set", "n=100", "--set", "subset=all", "--set", "sweep_layers=[1, 7]"];
    let (found, printed) = shown("scripts/percentage_patching.rhai", &args, "results.json");
    assert!(printed.contains("most answers move at the number, after layer 1: 16 of 16\n"), "{printed}");
    let moved: Vec<_> =
        found["sweep"].as_array().expect("cells").iter().map(|cell| number(&cell["moved"])).collect();
    assert!(moved[0] == 16.0 && moved[1] == 0.0 && moved[4] == 0.0, "number, % and later number: {moved:?}");
}

#[test]
fn a_citys_whole_vector_carries_its_country_until_the_last_layer() {
    let mut args = Vec::new();
    for setting in
        ["learned=20", "asked=12", "pairs=3", "stride=10", "few=4", "many=32", "regions=4", "rank=2"]
    {
        args.extend(["--set", setting]);
    }
    let Some((found, printed)) = results("scripts/ravel_cities.rhai", &args, "ravel.json") else { return };
    let numbers =
        |key: &str| -> Vec<Vec<f64>> { serde_json::from_value(found[key].clone()).expect("numbers") };
    let (cause, isolate) = (numbers("cause"), numbers("isolate"));
    assert!(cause[0][0] > 0.3 && isolate[0][0] < 0.5, "{printed}");
    // After the last layer no other position reads a city's.
    assert!(cause[2].iter().all(|x| *x == 0.0) && isolate[2].iter().all(|x| *x == 1.0), "{printed}");
}

#[test]
fn patchscope_reads_every_layer_that_was_asked_for() {
    let args = ["--set", "layers=[8, 20, 29]", "--set", "tokens=4"];
    let Some((found, printed)) = results("scripts/patchscope_layers.rhai", &args, "patchscope.json") else {
        return;
    };
    let texts = found["texts"].as_array().expect("an array");
    assert_eq!(texts.len(), 3);
    assert!(texts.iter().any(|text| *text != found["unpatched"]), "no vector changed the text: {printed}");
    assert_eq!(found["source_token"], " France");
    assert_eq!(found["replaced_token"], " x");
    assert!(printed.contains("unpatched"), "{printed}");
}

#[test]
fn patchscope_decodes_the_next_token_of_its_source() {
    let args = [
        "--set",
        "layers=[29]",
        "--set",
        "tokens=1",
        "--set",
        "target=identity",
        "--set",
        "source=The capital of France is",
    ];
    let Some((found, _)) = results("scripts/patchscope_layers.rhai", &args, "patchscope.json") else {
        return;
    };
    // The last layer's vector alone decides the next token.
    assert_eq!(found["texts"][0], " Paris");
}

/// Runs `power_heatmap.rhai` with the embedded model over this table.
fn power(table: &str, args: &[&str]) -> (Output, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("pairs.tsv");
    fs::write(&data, table).expect("the table");
    let folder = folder.path().to_str().expect("UTF-8");
    let data = format!("data={}", data.display());
    let more = ["--set", &data, "--allow-read", folder];
    run("scripts/power_heatmap.rhai", &[&more[..], args].concat())
}

#[test]
fn power_is_averaged_over_pairs() {
    let table =
        "name\tpower\tno_power\nIda\tIda hit Bo.\tIda met Bo.\nMax\tMax beat the old man.\tMax saw Bo.\n";
    let args = ["--set", "pairs=2", "--set", "pad=false"];
    let (output, out) = power(table, &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = out.path().join("results");
    let pairs = lines(&folder, "pairs.jsonl");
    let keys: Vec<_> = pairs[0].as_object().expect("a map").keys().map(String::as_str).collect();
    let expected = "model entity source_prompt base_prompt source_sentence base_sentence sentence_start token_labels \
                    num_layers patching_results";
    assert_eq!(keys.join(" "), expected);
    let text = fs::read_to_string(folder.join("power_mean.json")).expect("the mean");
    let mean: Json = serde_json::from_str(&text).expect("JSON");
    let width = mean["positions"].as_array().expect("an array").len();
    let grids: Vec<Vec<Vec<f64>>> = pairs
        .iter()
        .map(|pair| serde_json::from_value(pair["patching_results"].clone()).expect("a grid"))
        .collect();
    assert_eq!(width, grids.iter().map(|grid| grid[0].len()).min().expect("pairs"));
    // Of two numbers the standard error is half their distance.
    let of_both = |f: fn(f64, f64) -> f64| -> Json {
        let from_end = |grid: &[Vec<f64>], row: usize, col: usize| grid[row][grid[row].len() - width + col];
        let row = |row| (0..width).map(move |col| (row, col));
        let cell = |(row, col)| f(from_end(&grids[0], row, col), from_end(&grids[1], row, col));
        Json::from((0..grids[0].len()).map(|r| row(r).map(cell).collect::<Json>()).collect::<Vec<_>>())
    };
    close(&mean["mean"], &of_both(|a, b| (a + b) / 2.0), "mean");
    close(&mean["stderr"], &of_both(|a, b| (a - b).abs() / 2.0), "stderr");
}

#[test]
fn bad_tables_of_pairs_are_refused() {
    for (table, message) in [
        ("", "`{data}` is empty"),
        ("name\tPower\tno_power\n", "no column `power` in `{data}`"),
        ("name\tPower\tno_power\n", "the columns are `name`, `Power`, `no_power`"),
        ("name\tpower\tno_power\n", "no row 0 in `{data}`: it has 0"),
        ("name\tpower\tno_power\na\tb\n", "line 2 of `{data}`: expected 3 cells, found 2"),
        (
            "name\tpower\tno_power\nIda\tIda hit Bo\tWe slept\n",
            "the sentences about Ida have no token in common, so there is nothing to align",
        ),
        ("name\tpower\tno_power\nIda\tIda slept.\tIda slept.\n", "the sentences about Ida are the same"),
    ] {
        let (output, out) = power(table, &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(message.split("`{data}`").all(|part| told.contains(part)), "{told}\nlacks\n{message}");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(results_left(out.path()), 0, "half a result was written");
    }
}

/// A template that writes BOS, as Llama-3.1's does, gives a rendered chat two when the tokenizer adds its own. The
/// original kept both.
#[test]
fn percentages_keep_a_second_bos_unless_told_not_to() {
    let Some(templates) = chat_templates() else { return };
    let model = tiny_copy();
    let edit = |file: &str, change: &dyn Fn(&mut Json)| {
        let path = model.path().join(file);
        let mut json = serde_json::from_slice(&fs::read(&path).expect("the file")).expect("JSON");
        change(&mut json);
        fs::write(&path, json.to_string()).expect("written");
    };
    let template = fs::read_to_string(templates.join("llama-3.1.jinja")).expect("the template");
    edit("tokenizer_config.json", &|config| {
        config["chat_template"] = template.clone().into();
        config["add_bos_token"] = true.into();
    });
    edit("config.json", &|config| config["max_position_embeddings"] = 1024.into());
    let token_ids = |switch: &str| {
        let model = model.path().display().to_string();
        let small = ["n=2", "subset=all", "sweep_rows=0", switch];
        let set = small.iter().flat_map(|value| ["--set", value]);
        let args: Vec<&str> = ["--model", &model].into_iter().chain(set).collect();
        let (output, out) = run("scripts/percentage_patching.rhai", &args);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines(&out.path().join("results"), "metadata.jsonl")
            .iter()
            .map(|row| (common::ids(&row["token_ids"]), row["pct_token_index"].as_u64().expect("a position")))
            .collect::<Vec<_>>()
    };
    let (faithful, clean) = (token_ids("clean_bos=false"), token_ids("clean_bos=true"));
    for ((faithful, at), (clean, clean_at)) in faithful.iter().zip(&clean) {
        assert_eq!(faithful[..2], [1, 1]);
        assert_ne!(faithful[2], 1);
        assert_eq!((&faithful[1..], *at), (&clean[..], clean_at + 1));
    }
}

/// The JSONL file `name` of a run.
fn lines(folder: &Path, name: &str) -> Vec<Json> {
    let text = fs::read_to_string(folder.join(name)).expect("the log");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The published answers in place of the model: everything up to the donors is decided by the script alone.
#[test]
fn percentages_equal_the_published_experiment() {
    let (output, out) =
        run("scripts/percentage_patching.rhai", &["--set", "answers=data/percentage_answers.tsv"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in ["MSE 45.339\n", "Unmapped rate: 135/1000\n", "Matched: 329 of 1000\n", "66 rows to patch\n"]
    {
        assert!(printed.contains(line), "{printed}\nlacks\n{line}");
    }
    let folder = out.path().join("results");
    let rows = lines(&folder, "metadata.jsonl");
    let drawn: Vec<_> = rows
        .iter()
        .map(|row| Json::from(vec![row["target_frac"].clone(), row["target_pct"].clone()]))
        .collect();
    assert_eq!(Json::from(drawn), golden("seed000_prompts.json")["ps"]);
    let keys: Vec<_> = rows[0].as_object().expect("a map").keys().map(String::as_str).collect();
    let expected = "seq_id token_ids pct_token_index decoded_tokens decoded_sequence target_frac target_pct decoded_frac \
                    decoded_pct matched";
    assert_eq!(keys.join(" "), expected);
    assert!(rows.iter().all(|row| row["matched"] == row["decoded_pct"].is_number()));

    let text = fs::read_to_string(folder.join("results.json")).expect("the results");
    let results: Json = serde_json::from_str(&text).expect("JSON");
    // Targets by row, answers by column, both in the order of the classes, with the unmapped last.
    let mut matrix = [[0.0; 12]; 12];
    for (target, answers) in [
        (0, vec![(0, 44), (11, 53)]),
        (1, vec![(2, 47), (11, 40)]),
        (2, vec![(2, 83), (11, 8)]),
        (3, vec![(2, 12), (3, 28), (4, 8), (11, 34)]),
        (4, vec![(4, 77), (5, 4), (10, 12)]),
        (5, vec![(5, 11), (10, 78)]),
        (6, vec![(8, 29), (10, 67)]),
        (7, vec![(8, 4), (10, 73)]),
        (8, vec![(10, 92)]),
        (9, vec![(10, 104)]),
        (10, vec![(8, 6), (10, 86)]),
    ] {
        answers.iter().for_each(|&(answer, count)| matrix[target][answer] = f64::from(count));
    }
    assert_eq!(results["confusion"], serde_json::json!(matrix));
    let correct: Vec<_> = rows.iter().filter(|row| row["decoded_frac"] == row["target_frac"]).collect();
    let tested = [
        11, 197, 127, 31, 327, 107, 72, 20, 247, 42, 226, 174, 289, 71, 316, 207, 185, 284, 279, 321, 199,
        171, 194, 297, 120, 55, 276, 91, 210, 234, 95, 295, 263, 306, 206, 142, 94, 291, 296, 236, 188, 90,
        239, 246, 26, 12, 48, 272, 30, 238, 317, 144, 54, 6, 162, 125, 33, 275, 184, 292, 167, 41, 155, 75,
        148, 19,
    ];
    let tested: Vec<_> = tested.iter().map(|i| correct[*i as usize]["seq_id"].clone()).collect();
    assert_eq!(results["patched_seq_ids"], Json::from(tested));
    let donors = [
        48, 27, 25, 30, 32, 33, 12, 58, 45, 46, 25, 33, 65, 18, 59, 64, 15, 25, 63, 24, 26, 24, 15, 10, 57,
        33, 61, 10, 61, 17, 45, 50, 16, 9, 4, 3, 44, 59, 41, 10, 25, 6, 50, 37, 55, 32, 38, 17, 0, 4, 30, 53,
        20, 41, 36, 9, 28, 18, 38, 53, 52, 58, 40, 34, 16, 12,
    ];
    assert_eq!(results["donor_rows"], serde_json::json!(donors.to_vec()));
}

/// 40 prompts with the real model, against the same work done in nnsight.
#[track_caller]
fn percentages_equal(reference: &str, args: &[&str]) {
    let Some(model) = smollm2_path() else { return };
    let model = model.display().to_string();
    let args = [&["--model", &model, "--set", "n=40", "--set", "sweep_rows=0"], args].concat();
    let (output, out) = run("scripts/percentage_patching.rhai", &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let golden = golden(reference);
    let folder = out.path().join("results");
    let rows = lines(&folder, "metadata.jsonl");
    let expected = golden["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(expected) {
        for (key, reference) in [
            ("seq_id", "seq_id"),
            ("target_frac", "target_frac"),
            ("target_pct", "target_pct"),
            ("token_ids", "token_ids"),
            ("pct_token_index", "pct_token_index"),
            ("decoded_sequence", "decoded"),
            ("decoded_frac", "decoded_frac"),
            ("decoded_pct", "decoded_pct"),
            ("matched", "matched"),
        ] {
            assert_eq!(row[key], expected[reference], "row {}, {key}", row["seq_id"]);
        }
        let npy = fs::read(folder.join(format!("activations/{}.npy", row["seq_id"]))).expect("an array");
        let (shape, values) = patchscript::data::npy::read_npy("an array", &npy).expect("numbers");
        assert_eq!(shape[0], row["token_ids"].as_array().expect("ids").len());
        let at = row["pct_token_index"].as_u64().expect("a position") as usize * shape[1];
        close(&serde_json::json!(values[at..at + 8]), &expected["resid_mid_pct_8"], "the activation");
    }
    let patched = lines(&folder, "patched.jsonl");
    let expected = golden["patched_all"]["patched"].as_array().expect("rows");
    assert_eq!(patched.len(), expected.len());
    for (row, expected) in patched.iter().zip(expected) {
        for (key, reference) in [
            ("seq_id", "seq_id"),
            ("source_row", "row"),
            ("donor_row", "donor_row"),
            ("pct_token_index", "pct_token_index"),
            ("source_frac", "source_frac"),
            ("donor_frac", "donor_frac"),
            ("donor_pct", "donor_pct"),
            ("decoded_sequence", "decoded"),
            ("decoded_frac", "decoded_frac"),
            ("decoded_pct", "decoded_pct"),
        ] {
            assert_eq!(row[key], expected[reference], "patched row {}, {key}", row["source_row"]);
        }
    }
    let text = fs::read_to_string(folder.join("results.json")).expect("the results");
    let results: Json = serde_json::from_str(&text).expect("JSON");
    close(&results["mse"], &golden["baseline"]["mse"], "mse");
    assert_eq!(results["unmapped"], golden["baseline"]["unmapped"]);
    assert_eq!(results["labels"], golden["baseline"]["labels"]);
    close(&results["confusion"], &golden["baseline"]["confusion"], "confusion");
}

#[test]
fn percentages_equal_the_reference() {
    percentages_equal("smollm2_manifold.json", &["--set", "subset=all"]);
}

#[test]
fn percentages_with_examples_equal_the_reference() {
    percentages_equal("smollm2_manifold_fewshot.json", &["--set", "subset=mapped", "--set", "shots=true"]);
}

/// A script of one sweep, with the tiny model.
fn tiny_sweep(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("a.rhai");
    let text = "let m = load(); let mary = m.trace(\" Mary gave half\");\n\
                print(m.sweep(\" John gave half\", 0..3, 0..3, |l, p| z(l).at(p).set(mary), logit(5)).ledger.computed);";
    fs::write(&script, text).expect("the script");
    run(script.to_str().expect("UTF-8"), &[&["--model", TINY], args].concat()).0
}

#[test]
fn a_sweep_is_explained_before_it_runs() {
    let output = tiny_sweep(&["--explain", "--memory", "1MiB"]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((out.as_ref(), output.status.code()), ("7\n", Some(0)), "{err}");
    let expected = "\
sweep of 9 cells, 3 tokens, 3 layers
  computed     7
  merged       0 (equal to another cell)
  known        0 (the donor is the base run there)
  unreachable  2 (the metric cannot see the patch)
  rows         6..13 a layer (0: 6, 1: 12, 2: 13)
  layers       entered at 3 of 3: 0 to 2
  chunks       1
  donors       1 to run
";
    assert!(err.starts_with(expected), "{err}\nis not\n{expected}");
    let plain = tiny_sweep(&[]);
    assert_eq!((plain.stdout, plain.stderr), (output.stdout, Vec::new()));

    let refused = tiny_sweep(&["--memory", "1GB"]);
    assert_eq!(refused.status.code(), Some(2));
    let err = String::from_utf8_lossy(&refused.stderr);
    assert!(err.contains("write it like `2GiB`, `512MiB` or `800000000`"), "{err}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_sweep_after_its_layer() {
    let Some(model) = smollm2_path() else { return };
    let out = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "run",
            "scripts/power_heatmap.rhai",
            "--set",
            "data=data/power_long.tsv",
            "--offline",
            "--no-cache",
            "--model",
        ])
        .arg(model)
        .arg("--out")
        .arg(out.path().join("results"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The second line stands before the sweep.
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.take(2).last().expect("two lines").expect("text").starts_with("base: "));
    std::thread::sleep(Duration::from_millis(500));
    let sent = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success());
    let ran = child.wait_with_output().expect("the end");
    // Twice the time that is promised: other tests run beside this one.
    assert!(sent.elapsed() < Duration::from_millis(400), "{:?}", sent.elapsed());
    assert_eq!(String::from_utf8_lossy(&ran.stderr), "error: interrupted\n");
    assert_eq!(ran.status.code(), Some(130));
    assert_eq!(results_left(out.path()), 0, "half a result was written");
}

/// How many files a run left, apart from its logs and its record.
fn results_left(out: &Path) -> usize {
    let logs = ["pairs.jsonl", ".resume.json", "run.json"];
    fs::read_dir(out.join("results")).map_or(0, |files| {
        let names = files.map(|file| file.expect("an entry").file_name());
        names.filter(|name| !logs.iter().any(|log| name == log)).count()
    })
}

#[test]
fn mistakes_are_refused_before_anything_is_written() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let mut cases = 0;
    for entry in fs::read_dir(&suite).expect("the suite") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rhai") {
            continue;
        }
        let script = format!("tests/suite/{}", path.file_name().expect("a name").to_string_lossy());
        let expected = fs::read_to_string(path.with_extension("stderr")).expect("the expected text");
        refused(&script, &["--model", TINY], &expected);
        cases += 1;
    }
    assert!(cases > 10, "{cases} cases");
}

/// What a script of the suite prints on both streams, and its exit code.
fn told(script: &str) -> String {
    let (output, out) = run(script, &["--model", TINY]);
    let code = output.status.code().expect("no signal");
    assert!(matches!(code, 0..=2), "{script}: {code}");
    assert!(left_nothing(out.path()), "{script} left a file");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let said = text(output.stderr) + text(output.stdout).as_str();
    let here = |said: String, folder: &Path, name: &str| said.replace(&folder.display().to_string(), name);
    here(here(said, out.path(), "OUT"), Path::new(env!("CARGO_MANIFEST_DIR")), "HERE")
}

/// The fifty first mistakes of a newcomer: each is named with its cure, warned of, or does what was meant.
#[test]
fn no_mistake_is_silent() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/fifty");
    let mut names: Vec<_> = fs::read_dir(&suite)
        .expect("the suite")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rhai"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 50);
    let wrong: Vec<_> = names.iter().filter_map(|path| differs(path)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How the output of a script differs from the text beside it. `BLESS=1` writes that text.
fn differs(path: &Path) -> Option<String> {
    let name = path.file_name().expect("a name").to_string_lossy();
    let found = told(&format!("tests/suite/fifty/{name}"));
    let file = path.with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &found).expect("written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    (found != expected).then(|| format!("{name}\n{found}\nexpected\n{expected}"))
}

/// Words and habits of other languages, each with what is said about it: in `tests/suite/habits.txt` a script stands after
/// `>`, and below it the output. `BLESS=1` writes the outputs.
#[test]
fn habits_of_other_languages_are_cured() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/habits.txt");
    let text = fs::read_to_string(&file).expect("the habits");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("a.rhai");
    let mut found = String::new();
    for case in text.split("\n\n> ").map(|case| case.trim_start_matches("> ")) {
        let code: Vec<_> = case
            .lines()
            .enumerate()
            .map_while(|(i, line)| if i == 0 { Some(line) } else { line.strip_prefix("> ") })
            .collect();
        fs::write(&script, code.join("\n")).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
            .current_dir(folder.path())
            .args(["run", "a.rhai", "--offline"])
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        assert!(matches!(output.status.code(), Some(0..=2)), "{case}: {}", output.status);
        let said =
            [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
        let code = code.join("\n> ");
        found += &format!("> {code}\n{}\n\n", said.trim_end());
    }
    let found = found.trim_end().to_string() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &found).expect("written");
        return;
    }
    assert_eq!(found, text);
}

/// A folder with a copy of the tiny model.
fn tiny_copy() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join(TINY);
    for entry in fs::read_dir(tiny).expect("the tiny model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    folder
}

#[test]
fn variables_of_the_chat_template_are_options() {
    let folder = tiny_copy();
    let template =
        "{{ messages[0].content }}{% if think is defined and not think %} without thinking{% endif %}";
    fs::write(folder.path().join("chat_template.jinja"), template).expect("a template");
    let script = folder.path().join("chat.rhai").display().to_string();
    let code = r#"
        let m = load();
        let hi = [#{role: "user", content: "hi"}];
        print(`${m.chat(hi)}, ${m.chat(hi, #{think: true})}, ${m.chat(hi, #{think: false})}`);
        m.chat(hi, #{thinks: false});
    "#;
    fs::write(&script, code).expect("a script");
    let (output, _) = run(&script, &["--model", &folder.path().display().to_string()]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hi, hi, hi without thinking\n");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("unknown option `thinks` of `chat`; did you mean `think`?"), "{told}");
}

/// A refusal of `load` in `tests/suite/load.txt`.
fn refusal(message: &str, help: &str) -> String {
    format!(
        "error: {message}\n  --> tests/suite/load.txt:1:9\n  |\n1 | let m = load();\n  |         ^^^^\n  |\n  = help: {help}\n"
    )
}

/// What a script that only loads its model says about this one.
fn load_error(model: &Path) -> String {
    let (output, out) = run("tests/suite/load.txt", &["--model", &model.display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(left_nothing(out.path()));
    String::from_utf8_lossy(&output.stderr).replace(&model.display().to_string(), "MODEL")
}

#[test]
fn a_model_that_was_cut_short_is_refused() {
    let Some(model) = smollm2_path() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cut = folder.path().join("cut.gguf");
    let mut head = Vec::new();
    fs::File::open(model).expect("the model").take(4 << 20).read_to_end(&mut head).expect("its head");
    fs::write(&cut, head).expect("the file");
    let told = load_error(&cut);
    let (before, after) = told.split_once("tensor `").expect("the tensor that is cut off");
    assert_eq!(before, "error: `MODEL` is truncated: ");
    assert!(after.contains("the file has 4194304\n"), "{told}");
    assert!(after.ends_with("= help: download `MODEL` again and compare its checksum\n"), "{told}");
}

#[test]
fn models_that_cannot_be_read_are_refused() {
    let folder = tiny_copy();
    let weights = folder.path().join("model.safetensors");
    let bytes = fs::read(&weights).expect("the weights");
    fs::write(&weights, &bytes[..bytes.len() / 2]).expect("half the weights");
    assert_eq!(
        load_error(folder.path()),
        refusal(
            "`MODEL/model.safetensors` cannot be read as safetensors: \
             incomplete metadata, file not fully covered",
            "the file may have been cut short: fetch it again"
        )
    );

    let gguf = folder.path().join("cut.gguf");
    fs::write(&gguf, b"GGUF\x03\0\0\0\x10\0\0\0\0\0\0\0").expect("the head of a file");
    assert_eq!(
        load_error(&gguf),
        refusal(
            "`MODEL` is truncated: the header ends at byte 24, the file has 16",
            "download `MODEL` again and compare its checksum"
        )
    );

    assert_eq!(
        load_error(&folder.path().join("nothing")),
        refusal(
            "no model at `MODEL`",
            "give a folder in Hugging Face layout, a `.gguf` file, or `org/name` on the Hub, \
             like `openai-community/gpt2`"
        )
    );
}
