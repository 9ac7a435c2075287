//! The record of a run, and `verify`, through the real binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tempfile::TempDir;

const SCRIPT: &str = r#"
import "own" as own;
let m = load();
let layer = param("layer", 1);
let words = read_lines("words.txt");
let grid = m.sweep(words[0], layer..3, 0..3, |l, p| resid_post(l).at(p).scale(0.5), logit(5));
print(own::text(grid.base));
let log = jsonl("log.jsonl");
for row in grid.values.to_array() { log.append(#{row: row}); }
grid.heatmap().save("sub/grid.png");
write_text("layer.txt", `${layer}`);
"#;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn patchscript(folder: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(folder)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with a script, what it reads and a model, in which the script was run.
fn house() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.rhai"), SCRIPT).expect("the script");
    fs::write(at("own.rhai"), "fn text(x) { fmt(\"base {:.4f}\", x) }\n").expect("the module");
    fs::write(at("words.txt"), " John gave half\n Mary\n").expect("the data");
    fs::create_dir(at("model")).expect("a folder");
    for entry in fs::read_dir("tests/fixtures/tiny").expect("the model") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, at("model").join(path.file_name().expect("a name"))).expect("a copy");
    }
    let ran = patchscript(folder.path(), &["run", "a.rhai", "--model", "model", "--set", "layer=1"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    folder
}

fn record(folder: &Path) -> Json {
    let text = fs::read_to_string(folder.join("out/a/run.json")).expect("the record");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_record_says_what_a_run_was_made_of_and_gave() {
    let house = house();
    let record = record(house.path());
    assert_eq!(record["patchscript"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&record["ended"], &record["error"]), (&"done".into(), &Json::Null));
    assert_eq!((&record["script"]["name"], &record["script"]["text"]), (&"a.rhai".into(), &SCRIPT.into()));
    assert_eq!(record["modules"][0]["name"], "own.rhai");
    assert_eq!(record["parameters"]["layer"], 1);
    assert_eq!(record["options"]["set"][0], "layer=1");
    assert_eq!(record["data"][0]["path"], "words.txt");
    assert_eq!(
        (&record["models"][0]["device"], &record["models"][0]["dtype"]),
        (&"cpu".into(), &"f32".into())
    );
    let weights =
        |file: &&Json| file["file"].as_str().is_some_and(|file| file.ends_with("model.safetensors"));
    let weights = record["model_files"].as_array().expect("files").iter().find(weights);
    assert_eq!(weights.expect("the weights")["sum"].as_str().map(str::len), Some(16));
    let sweeps = &record["sweeps"];
    assert_eq!((sweeps["sweeps"].as_u64(), sweeps["cells"].as_u64()), (Some(1), Some(6)));
    assert!(sweeps["largest_change"].as_f64().is_some_and(|change| change > 0.0));
    assert!(record["took"]["peak_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    assert!(record["printed"]["text"].as_str().is_some_and(|text| text.starts_with("base ")));
    let artefacts: Vec<_> =
        record["artefacts"].as_array().expect("files").iter().map(|file| &file["path"]).collect();
    assert_eq!(artefacts, ["layer.txt", "log.jsonl", "sub/grid.png"]);
    assert_eq!(record["folder"], "../..");
}

#[test]
fn a_run_that_fails_is_recorded_and_a_mistake_that_keeps_it_from_running_is_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.rhai"), "write_text(\"a.txt\", \"x\");\nlet a = [1];\na[3]\n")
        .expect("it");
    assert_eq!(patchscript(folder.path(), &["run", "a.rhai"]).code, Some(1));
    let failed = record(folder.path());
    assert_eq!((&failed["ended"], failed["artefacts"].as_array().map(Vec::len)), (&"failed".into(), Some(1)));
    assert_eq!((&failed["error"]["code"], &failed["error"]["line"]), (&"index".into(), &3.into()));
    // The results that a run begins to write are no longer those of the record.
    let script = "write_text(\"a.txt\", \"y\");\nlet text = read_text(\"run.json\");";
    fs::write(folder.path().join("a.rhai"), script).expect("it");
    let gone = patchscript(folder.path(), &["run", "a.rhai"]);
    assert!(gone.err.contains("no file `run.json`"), "{}", gone.err);
    fs::write(folder.path().join("a.rhai"), "write_text(\"run.json\", \"y\");").expect("it");
    let reserved = patchscript(folder.path(), &["run", "a.rhai"]);
    assert!(
        reserved.err.contains("may not write `run.json`: the record of the run goes there"),
        "{}",
        reserved.err
    );
    fs::remove_dir_all(folder.path().join("out")).expect("removed");
    fs::write(folder.path().join("a.rhai"), "let a = ;").expect("it");
    assert_eq!(patchscript(folder.path(), &["run", "a.rhai"]).code, Some(2));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_file_of_that_name_that_is_no_record_stays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("run.json"), "{\"mine\": 1}").expect("it");
    fs::write(folder.path().join("a.rhai"), "write_text(\"a.txt\", \"x\"); print(1);").expect("it");
    let ran = patchscript(folder.path(), &["run", "a.rhai", "--out", "."]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "1\n"));
    assert!(ran.err.starts_with("warning: the record of this run was not written: "), "{}", ran.err);
    assert_eq!(fs::read_to_string(folder.path().join("run.json")).expect("it"), "{\"mine\": 1}");
}

#[test]
fn the_same_run_gives_the_same() {
    let house = house();
    let same = "the same to the bit: standard output and 3 files\n";
    let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (same, "", Some(0)));
    // From another folder, and after the whole has moved.
    let moved = tempfile::tempdir().expect("a temporary folder");
    fs::rename(house.path(), moved.path().join("moved")).expect("moved");
    let ran = patchscript(&moved.path().join("moved/out/a"), &["verify", "run.json"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (same, "", Some(0)));
}

/// What was asked for, by the command line and by a script, and what served; both are asked for again.
#[test]
fn the_precision_is_recorded_and_asked_for_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "load(); print(load(\"demo\", #{precision: \"highest\"}).precision);";
    fs::write(folder.path().join("a.rhai"), script).expect("the script");
    let ran = patchscript(folder.path(), &["run", "a.rhai", "--device", "cpu", "--precision", "high"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.ends_with("highest\n"), "{}", ran.out);
    let record = record(folder.path());
    assert_eq!(record["options"]["precision"], "high");
    let unit = record["machine"]["instructions"].as_str().is_some_and(|said| said.starts_with("amx"));
    assert_eq!(record["models"][0]["precision"], if unit { "high" } else { "highest" });
    assert_eq!(record["models"][1]["precision"], "highest");
    let ran = patchscript(folder.path(), &["verify", "out/a/run.json"]);
    assert!(ran.out.starts_with("the same to the bit"), "{}{}", ran.out, ran.err);
    let ran = patchscript(folder.path(), &["run", "a.rhai", "--precision", "exact"]);
    assert!(ran.err.starts_with("error: precision `exact` is not known\n"), "{}", ran.err);
}

#[test]
fn what_changed_is_told() {
    let house = house();
    let at = |name: &str| house.path().join(name);
    let edit = |name: &str, from: &str, to: &str| {
        let before = fs::read_to_string(at(name)).expect("a file");
        assert!(before.contains(from), "{name}: {from}");
        fs::write(at(name), before.replacen(from, to, 1)).expect("written");
        before
    };
    let told = |lines: &[&str], code: i32| {
        let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(code)), "{}", ran.out);
        for line in lines {
            assert!(ran.out.lines().any(|told| told.trim() == *line), "{}\nlacks\n{line}", ran.out);
        }
    };
    let results = ["standard output differs", "`log.jsonl` differs", "`sub/grid.png` differs"];
    for (name, from, to, line, code) in [
        ("words.txt", " John gave half", " John gave Mary", "the file `words.txt` changed", 1),
        ("own.rhai", "base {:.4f}", "base {:.3f}", "the module `own.rhai` changed", 1),
        ("own.rhai", "fn text", "// a word\nfn text", "the module `own.rhai` changed", 0),
        ("a.rhai", "scale(0.5)", "scale(0.6)", "the script `a.rhai` changed", 1),
        (
            "out/a/run.json",
            "\"patchscript\": \"",
            "\"patchscript\": \"0.",
            "patchscript was 0.0.1.0, is 0.1.0",
            0,
        ),
        ("out/a/run.json", "layer=1", "layer=2", "the parameter `layer` was `1`, is `2`", 1),
        ("out/a/run.json", "\"arch\": \"", "\"arch\": \"not-", "it is made of something else:", 0),
    ] {
        let before = edit(name, from, to);
        told(&[line], code);
        fs::write(at(name), before).expect("written");
    }
    // One weight.
    let before = fs::read(at("model/model.safetensors")).expect("the weights");
    let mut weights = before.clone();
    let last = weights.len() - 1;
    weights[last] ^= 0x40;
    fs::write(at("model/model.safetensors"), &weights).expect("written");
    let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
    assert!(ran.out.contains("model.safetensors` changed"), "{}", ran.out);
    fs::write(at("model/model.safetensors"), before).expect("written");
    let before = edit("words.txt", " John gave half", " half John gave");
    told(&results, 1);
    fs::write(at("words.txt"), before).expect("written");
    fs::remove_file(at("a.rhai")).expect("removed");
    let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.starts_with("error: it cannot be run again: cannot read script `a.rhai`"), "{}", ran.err);
    fs::write(at("out/a/run.json"), "{}").expect("written");
    let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
    assert!(
        ran.code == Some(2) && ran.err.contains("is no record of a run: it has no `patchscript`"),
        "{}",
        ran.err
    );
}

#[test]
fn a_picture_of_another_machine_may_have_other_pixels() {
    let house = house();
    let mut record = record(house.path());
    record["machine"]["arch"] = "elsewhere".into();
    let picture = &mut record["artefacts"][2];
    assert_eq!(picture["path"], "sub/grid.png");
    picture["sum"] = "0".into();
    let write = |record: &Json| {
        fs::write(house.path().join("out/a/run.json"), format!("{record:#}")).expect("written");
    };
    write(&record);
    let ran = patchscript(house.path(), &["verify", "out/a/run.json"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let told = "pictures that another machine draws otherwise:\n  `sub/grid.png` has other pixels\n";
    assert!(ran.out.ends_with(told), "{}", ran.out);
    record["artefacts"][0]["sum"] = "0".into();
    fs::write(house.path().join("out/a/layer.txt"), "7").expect("written");
    write(&record);
    let ran = patchscript(house.path(), &["verify", "out/a/run.json", "--format", "json"]);
    let found: Json = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((&found["ok"], ran.code), (&false.into(), Some(1)));
    assert_eq!(found["gave"], serde_json::json!(["`layer.txt` differs"]));
    assert_eq!(found["drawn"], serde_json::json!(["`sub/grid.png` has other pixels"]));
    assert!(found["made_of"][0].as_str().is_some_and(|line| line.contains("elsewhere before")), "{found}");
}

#[test]
fn how_exact_a_metric_is_is_recorded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = "let m = load(); let other = m.trace(\" Mary gave half\");\n\
        let cell = |l, p| resid_post(l).at(p).set(other);\n\
        m.sweep(\" John gave half\", 0..8, 0..4, cell, logit_diff(\" Mary\", \" John\"));\n\
        m.sweep(\" John gave half\", 0..8, 0..4, cell, |logits| logits[5]);\n\
        m.sweep(\" John gave half\", 0..8, 0..4, |l, p| resid_post(l).at(p).scale(1.0), entropy());";
    fs::write(folder.path().join("a.rhai"), script).expect("it");
    let ran = patchscript(folder.path(), &["run", "a.rhai", "--no-cache"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let sweeps = &record(folder.path())["sweeps"];
    let noise = sweeps["noise"].as_array().expect("a list");
    let named: Vec<_> = noise.iter().map(|of| (&of["model"], &of["metric"])).collect();
    assert_eq!(named, [(&"demo".into(), &"entropy".into()), (&"demo".into(), &"logit_diff".into())]);
    assert!(
        noise.iter().all(|of| of["noise"].as_f64().is_some_and(|noise| (0.0..1e-3).contains(&noise))),
        "{sweeps}"
    );
    // The patches of the last sweep change nothing, and the metric hardly.
    assert!(sweeps["idle"].as_u64().is_some_and(|idle| idle >= 29), "{sweeps}");
    assert!(sweeps["largest_noop"].as_f64().is_some_and(|noop| (0.0..1e-3).contains(&noop)), "{sweeps}");
}

#[test]
fn a_run_is_shown_on_one_page() {
    let house = house();
    let ran = patchscript(house.path(), &["show", "out/a/run.json"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), ("out/a/run.html\n", "", Some(0)));
    let page = fs::read_to_string(house.path().join("out/a/run.html")).expect("the page");
    for part in
        ["<th>layer</th><td>1</td>", "data:image/png;base64,", "6 cells", "fn text(x)", "default-src 'none'"]
    {
        assert!(page.contains(part), "{part}");
    }
    // It is no result, and so none that differs.
    assert_eq!(patchscript(house.path(), &["verify", "out/a/run.json"]).code, Some(0));
    assert_eq!(patchscript(house.path(), &["show", "none.json"]).code, Some(2));
}

#[test]
fn a_script_from_standard_input_is_run_again_from_its_record() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = fs::File::create_new(folder.path().join("text")).and_then(|mut file| {
        std::io::Write::write_all(&mut file, b"write_text(\"a.txt\", \"x\"); print(6 * 7);")?;
        fs::File::open(folder.path().join("text"))
    });
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(folder.path())
        .args(["run", "-"])
        .stdin(script.expect("the script"))
        .output()
        .expect("the binary starts");
    assert!(output.status.success());
    let ran = patchscript(folder.path(), &["verify", "out/stdin/run.json"]);
    assert_eq!(ran.out, "the same to the bit: standard output and 1 file\n", "{}", ran.err);
}

#[test]
fn every_shipped_script_is_verified() {
    let out = tempfile::tempdir().expect("a temporary folder");
    for (script, settings) in [
        ("attribute_extraction", &["items=3"][..]),
        ("ioi_patching", &["prompts=1"]),
        ("mfa_steering", &["epochs=2", "components=6", "rank=2", "limit=2000"]),
        ("patchscope", &[]),
        ("patchscope_layers", &[]),
        ("percentage_patching", &["n=40", "sweep_rows=2"]),
        ("power_heatmap", &[]),
    ] {
        let results = out.path().join(script).display().to_string();
        let file = format!("scripts/{script}.rhai");
        let sets = settings.iter().flat_map(|set| ["--set", set]);
        let args: Vec<_> = ["run", &file, "--out", &results].into_iter().chain(sets).collect();
        let ran = patchscript(Path::new(env!("CARGO_MANIFEST_DIR")), &args);
        assert_eq!(ran.code, Some(0), "{script}: {}", ran.err);
        let verified = patchscript(out.path(), &["verify", &format!("{script}/run.json")]);
        assert!(
            verified.out.starts_with("the same to the bit"),
            "{script}: {}{}",
            verified.out,
            verified.err
        );
        assert_eq!(verified.code, Some(0));
    }
}
