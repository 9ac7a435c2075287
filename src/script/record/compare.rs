//! Two records: what the runs were made of, and whether they gave the same.

use std::collections::BTreeMap;

use serde_json::Value;

use super::alike::Alike;

/// What differs between an earlier run and a later one, a line each.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// In what they were made of.
    pub made_of: Vec<String>,
    /// In what they gave.
    pub gave: Vec<String>,
    /// In how pictures are drawn, on another machine, which is no difference of what they show.
    pub drawn: Vec<String>,
}

/// How far numbers of runs on two machines may be apart: this much, or this share of the larger one.
pub const TOLERANCE: f64 = 1e-3;

/// Compares the records; `alike` says how an artefact (`None`: standard output) of runs on two machines differs, whose
/// numbers are to be as near as [`TOLERANCE`] asks.
pub fn compare(before: &Value, after: &Value, alike: impl Fn(Option<&str>) -> Alike) -> Differences {
    let mut made_of = Vec::new();
    let versions = [before, after].map(|record| text(&record["patchscript"]));
    if versions[0] != versions[1] {
        made_of.push(format!("patchscript was {}, is {}", versions[0], versions[1]));
    }
    for (key, named) in [("arch", "kind"), ("os", "system"), ("instructions", "instructions")] {
        let [was, is] = [before, after].map(|record| text(&record["machine"][key]));
        if was != is {
            made_of.push(format!("of the machine, the {named}: {was} before, {is} now"));
        }
    }
    let elsewhere = before["machine"] != after["machine"] || before["models"] != after["models"];
    if before["script"]["sum"] != after["script"]["sum"] {
        made_of.push(format!("the script `{}` changed", text(&after["script"]["name"])));
    }
    let tables = [
        ("modules", "name", "sum", "module"),
        ("data", "path", "sum", "file"),
        ("model_files", "file", "sum", "model's file"),
    ];
    for (list, name, sum, kind) in tables {
        made_of.extend(changes(
            &table(&before[list], name, sum),
            &table(&after[list], name, sum),
            |name, change| format!("the {kind} `{name}` {change}"),
        ));
    }
    let values = |record: &Value| entries(&record["parameters"]);
    for (name, (was, is)) in joined(&values(before), &values(after)) {
        if was != is {
            made_of.push(format!("the parameter `{name}` was {}, is {}", shown(was), shown(is)));
        }
    }
    for (was, is) in each(&before["models"]).zip(each(&after["models"])).filter(|(was, is)| was != is) {
        made_of.push(format!("the model was {}, is {}", model(was), model(is)));
    }

    let mut gave = Vec::new();
    if before["ended"] != after["ended"] {
        let why = after["error"]["message"].as_str().map_or(String::new(), |why| format!(": {why}"));
        gave.push(format!("the run was {}, is {}{why}", text(&before["ended"]), text(&after["ended"])));
    }
    let alike = |file: Option<&str>| if elsewhere { alike(file) } else { Alike::No };
    if before["printed"]["sum"] != after["printed"]["sum"] && alike(None) != Alike::Near {
        gave.push("standard output differs".into());
    }
    let mut drawn = Vec::new();
    let artefacts = |record: &Value| table(&record["artefacts"], "path", "sum");
    let (was, is) = (artefacts(before), artefacts(after));
    for (name, (was, is)) in joined(&was, &is) {
        gave.extend(match (was, is) {
            (Some(was), Some(is)) if was == is => None,
            (Some(_), Some(_)) => match alike(Some(name)) {
                Alike::Near => None,
                Alike::Drawn => {
                    drawn.push(format!("`{name}` has other pixels"));
                    None
                }
                Alike::No => Some(format!("`{name}` differs")),
            },
            (Some(_), None) => Some(format!("`{name}` is not written any more")),
            (None, _) => Some(format!("`{name}` is new")),
        });
    }
    Differences { made_of, gave, drawn }
}

/// Whether two numbers are as near as [`TOLERANCE`] asks.
pub fn close(x: f64, y: f64) -> bool {
    let finite = x.is_finite() && y.is_finite();
    x == y || finite && (x - y).abs() <= TOLERANCE * x.abs().max(y.abs()).max(1.0)
}

/// Whether two texts are the same but for numbers that are near each other.
pub fn near(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a, b);
    loop {
        let (number_a, number_b) = (number(a), number(b));
        match (number_a, number_b) {
            (Some((x, rest_a)), Some((y, rest_b))) => {
                // A NaN is written as a word, and words must be the same.
                if !close(x, y) {
                    return false;
                }
                (a, b) = (rest_a, rest_b);
            }
            (None, None) => match (a.chars().next(), b.chars().next()) {
                (None, None) => return true,
                (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
                _ => return false,
            },
            _ => return false,
        }
    }
}

/// The number that a text begins with, and the rest.
fn number(text: &str) -> Option<(f64, &str)> {
    let signs = text.len() - text.trim_start_matches(['-', '+']).len();
    text[signs..].starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    let end = text[signs..].find(|c: char| !(c.is_ascii_digit() || ".eE-+".contains(c)));
    let mut end = end.map_or(text.len(), |end| signs + end);
    while end > 0 {
        if let Ok(number) = text[..end].parse::<f64>() {
            return Some((number, &text[end..]));
        }
        end -= 1;
    }
    None
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".into(), |value| format!("`{value}`"))
}

fn model(value: &Value) -> String {
    let parts = ["device", "dtype", "precision"].map(|part| text(&value[part]));
    format!("`{}` ({})", text(&value["id"]), parts.join(", "))
}

fn entries(map: &Value) -> BTreeMap<String, Value> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The entries of a list, by one of their fields.
fn table(list: &Value, name: &str, value: &str) -> BTreeMap<String, Value> {
    each(list).map(|entry| (text(&entry[name]), entry[value].clone())).collect()
}

type Pair<'a> = (Option<&'a Value>, Option<&'a Value>);

fn joined<'a>(a: &'a BTreeMap<String, Value>, b: &'a BTreeMap<String, Value>) -> BTreeMap<&'a str, Pair<'a>> {
    let names = a.keys().chain(b.keys());
    names.map(|name| (name.as_str(), (a.get(name), b.get(name)))).collect()
}

fn changes(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    line: impl Fn(&str, &str) -> String,
) -> Vec<String> {
    let change = |(was, is): Pair| match (was, is) {
        // Of a run that was stopped, sums of models are not known.
        (Some(was), Some(is)) => {
            (was != is && !was.is_null() || was.is_null() != is.is_null()).then_some("changed")
        }
        (Some(_), None) => Some("is not read any more"),
        (None, _) => Some("is new"),
    };
    joined(before, after).into_iter().filter_map(|(name, pair)| Some(line(name, change(pair)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record() -> Value {
        json!({
            "patchscript": "0.1.0",
            "ended": "done",
            "script": {"name": "a.rhai", "sum": "1"},
            "modules": [{"name": "stdlib/plots.rhai", "sum": "2"}],
            "parameters": {"layer": 3},
            "data": [{"path": "a.tsv", "file": "a.tsv", "sum": "3"}, {"path": "none.tsv", "file": null, "sum": null}],
            "models": [{"id": "demo", "device": "cpu", "dtype": "f32", "precision": "highest"}],
            "model_files": [{"file": "m/model.safetensors", "sum": "4"}],
            "machine": {"arch": "x86_64", "os": "linux", "instructions": "avx2", "cores": 2},
            "printed": {"bytes": 3, "sum": "5"},
            "artefacts": [{"path": "a.png", "sum": "6"}, {"path": "b.json", "sum": "7"}],
        })
    }

    fn alike(file: Option<&str>) -> Alike {
        match file {
            Some("a.png") => Alike::Drawn,
            file => Alike::from(file == Some("b.json")),
        }
    }

    fn changed(pointer: &str, value: Value) -> Differences {
        let mut after = record();
        *after.pointer_mut(pointer).unwrap() = value;
        compare(&record(), &after, alike)
    }

    #[test]
    fn every_change_is_told() {
        assert_eq!(compare(&record(), &record(), |_| Alike::No), Differences::default());
        for (pointer, value, line) in [
            ("/patchscript", json!("0.2.0"), "patchscript was 0.1.0, is 0.2.0"),
            ("/script/sum", json!("x"), "the script `a.rhai` changed"),
            ("/modules/0/sum", json!("x"), "the module `stdlib/plots.rhai` changed"),
            ("/data/0/sum", json!("x"), "the file `a.tsv` changed"),
            ("/data/1/sum", json!("x"), "the file `none.tsv` changed"),
            ("/parameters/layer", json!(4), "the parameter `layer` was `3`, is `4`"),
            ("/model_files/0/sum", json!("x"), "the model's file `m/model.safetensors` changed"),
            (
                "/machine/instructions",
                json!("neon"),
                "of the machine, the instructions: avx2 before, neon now",
            ),
            (
                "/models/0/dtype",
                json!("bf16"),
                "the model was `demo` (cpu, f32, highest), is `demo` (cpu, bf16, highest)",
            ),
            (
                "/models/0/precision",
                json!("high"),
                "the model was `demo` (cpu, f32, highest), is `demo` (cpu, f32, high)",
            ),
        ] {
            let found = changed(pointer, value);
            assert_eq!((found.made_of, found.gave), (vec![line.to_string()], vec![]), "{pointer}");
        }
        for (pointer, value, line) in [
            ("/printed/sum", json!("x"), "standard output differs"),
            ("/artefacts/1/sum", json!("x"), "`b.json` differs"),
            ("/artefacts", json!([{"path": "a.png", "sum": "6"}]), "`b.json` is not written any more"),
            ("/ended", json!("failed"), "the run was done, is failed"),
        ] {
            let found = changed(pointer, value);
            assert_eq!((found.made_of, found.gave), (vec![], vec![line.to_string()]), "{pointer}");
        }
    }

    #[test]
    fn on_another_machine_numbers_may_be_near() {
        let mut after = record();
        after["machine"]["arch"] = json!("aarch64");
        for artefact in 0..2 {
            after["artefacts"][artefact]["sum"] = json!("x");
        }
        let found = compare(&record(), &after, alike);
        assert_eq!((found.gave.len(), found.drawn), (0, vec!["`a.png` has other pixels".to_string()]));
        assert_eq!(found.made_of, ["of the machine, the kind: x86_64 before, aarch64 now"]);
    }

    #[test]
    fn numbers_are_near_and_words_the_same() {
        for (a, b, alike) in [
            ("[1.0, -2.5e3]", "[1.0009, -2500.9]", true),
            ("x 1.0", "x 1.002", false),
            ("layer 3: 0.5", "layer 3: 0.5001", true),
            ("layer 3", "layer 4", false),
            ("a 1", "b 1", false),
            ("1", "1 ", false),
            ("1", "-1", false),
            ("NaN", "1", false),
            ("1-2", "1-2", true),
            ("", "", true),
        ] {
            assert_eq!(near(a, b), alike, "{a} | {b}");
        }
    }
}
