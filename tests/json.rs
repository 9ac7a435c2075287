//! What programs are told: the same as people are.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value as Json;

const TINY: &str = "tests/fixtures/tiny";

fn patchscript(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

fn parsed(text: &[u8]) -> Json {
    serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)))
}

/// The objects on the lines of standard error.
fn lines(output: &Output) -> Vec<Json> {
    output.stderr.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parsed).collect()
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_fifty_mistakes_are_told_to_programs_as_to_people() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out").display().to_string();
    let mut told = 0;
    for entry in fs::read_dir("tests/suite/fifty").expect("the suite") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "rhai") {
            continue;
        }
        let script = path.display().to_string();
        let people = fs::read_to_string(path.with_extension("txt")).expect("the text");
        let output =
            patchscript(&["run", &script, "--model", TINY, "--offline", "--out", &out, "--format", "json"]);
        for found in lines(&output) {
            let severity = text(&found["severity"]);
            if severity == "end" {
                continue;
            }
            let message = text(&found["message"]);
            // Paths stand in the texts by other names, and long messages over several lines.
            let head = message.lines().next().unwrap_or_default();
            let head = head.split("; looked for").next().unwrap_or_default();
            assert!(people.contains(&format!("{severity}: {head}")), "{script}: {head}\n{people}");
            if let (Some(line), Some(column)) = (found["line"].as_u64(), found["column"].as_u64()) {
                assert!(
                    people.contains(&format!(":{line}:{column}\n")),
                    "{script}: {line}:{column}\n{people}"
                );
                assert_eq!(text(&found["file"]), script);
            }
            let help = text(&found["help"]).lines().next().unwrap_or_default();
            let known = help.is_empty()
                || people.contains(&format!("= help: {help}"))
                || help.contains(env!("CARGO_MANIFEST_DIR"));
            assert!(known, "{script}: {help}\n{people}");
            if severity == "error" {
                let code = text(&found["code"]);
                assert!(
                    !code.is_empty() && code.chars().all(|c| c == '-' || c.is_ascii_lowercase()),
                    "{code}"
                );
            }
            told += 1;
        }
        let errors = |text: &str| text.lines().filter(|line| line.starts_with("error: ")).count();
        let found = lines(&output).iter().filter(|found| found["severity"] == "error").count();
        assert_eq!(found, errors(&people), "{script}");
    }
    assert!(told >= 40, "{told}");
}

#[test]
fn a_check_is_an_object() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("a.rhai");
    let check = |text: &str| {
        fs::write(&script, text).expect("written");
        let output = patchscript(&["check", &script.display().to_string(), "--format", "json"]);
        assert!(output.stderr.is_empty());
        (parsed(&output.stdout), output.status.code())
    };
    assert_eq!(check("print(1);"), (serde_json::json!({"ok": true, "found": []}), Some(0)));
    let (found, code) = check("let x = 1;\nlet y = 3 / 4;\n");
    assert_eq!((&found["ok"], code), (&true.into(), Some(0)));
    assert_eq!(
        (&found["found"][0]["severity"], &found["found"][0]["code"]),
        (&"warning".into(), &"division".into())
    );
    for (text, code, line, column) in [
        ("let x = [1;\n", "syntax", 1, 9),
        ("print(1);\nfoo(2);", "unknown-function", 2, 1),
        ("y + 1", "unknown-variable", 1, 1),
        ("heatmap([1], #{cmap: \"Purpels\"});", "literal", 1, 22),
        ("sleep(3);", "switched-off", 1, 1),
    ] {
        let (found, exit) = check(text);
        let found = &found["found"][0];
        assert_eq!(
            (text_of(found), &found["line"], &found["column"]),
            (code, &line.into(), &column.into()),
            "{text}"
        );
        assert_eq!(exit, Some(2));
    }
}

fn text_of(found: &Json) -> &str {
    text(&found["code"])
}

#[test]
fn a_run_tells_its_plans_and_its_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = folder.path().join("a.rhai");
    let code = "let m = load(); write_text(\"a.txt\", \"x\");\n\
                print(m.sweep(\" John gave\", [resid_post(1).at(1).zero()], logit(5)).shape);\nload().n_lyers\n";
    fs::write(&script, code).expect("written");
    let (script, out) = (script.display().to_string(), folder.path().join("out").display().to_string());
    let output =
        patchscript(&["run", &script, "--explain", "--model", TINY, "--out", &out, "--format", "json"]);
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"[1]\n"[..], Some(1)));
    let told = lines(&output);
    assert_eq!(told[0]["severity"], "plan");
    assert_eq!(told[0]["plan"]["counts"]["computed"], 1);
    assert_eq!((text(&told[1]["code"]), &told[1]["line"]), ("unknown-field", &3.into()));
    fs::write(folder.path().join("a.rhai"), code.replace("load().n_lyers", "")).expect("written");
    let told = lines(&patchscript(&["run", &script, "--model", TINY, "--out", &out, "--format", "json"]));
    assert!(told.len() == 1 && told[0]["severity"] == "end", "{told:?}");
    assert!(Path::new(text(&told[0]["record"])).is_file() && text(&told[0]["results"][0]).ends_with("a.txt"));
}

#[test]
fn models_are_described_and_checked() {
    let info = parsed(&patchscript(&["models", "info", TINY, "--format", "json"]).stdout);
    assert_eq!((info["n_layers"].as_u64(), text(&info["family"])), (Some(3), "llama"));
    let sites = info["sites"].as_array().expect("sites");
    assert!(sites.iter().any(|site| site["site"] == "resid_post" && site["layers"] == 3), "{info}");
    let output = patchscript(&["check-model", TINY, "--device", "cpu", "--format", "json"]);
    let found = parsed(&output.stdout);
    assert_eq!((&found["ok"], output.status.code()), (&true.into(), Some(0)), "{found}");
    assert!(found["promises"].as_array().is_some_and(|promises| promises.len() >= 5));
    let output = patchscript(&["models", "info", "no/such", "--offline", "--format", "json"]);
    let told = lines(&output);
    assert_eq!((text(&told[0]["severity"]), output.status.code()), ("error", Some(1)));
}
