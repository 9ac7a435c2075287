//! `patchscript show`: a recorded run as one page, which needs no network and no other file.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indicatif::HumanBytes;
use serde_json::Value;

use super::args::Show;
use super::files::replace;
use super::verify::{VerifyError, read_record};
use super::{put, refuse};

/// The kinds of pictures that a page can hold.
const PICTURES: &[(&str, &str)] = &[("png", "image/png"), ("svg", "image/svg+xml")];
/// The kinds of texts that it shows, and how many bytes of one.
const TEXTS: &[&str] = &["txt", "json", "jsonl", "csv", "tsv", "md"];
const MOST_TEXT: usize = 20_000;

/// Writes the page beside the record; gives the exit code.
pub fn run(given: &Show) -> u8 {
    let page = match read_record(&given.record) {
        Ok(record) => page(&record, given.record.parent().unwrap_or(Path::new(""))),
        Err(error) => return refuse_usage(&error),
    };
    let to = given.to.clone().unwrap_or_else(|| given.record.with_extension("html"));
    match replace(&to, page.as_bytes()) {
        Ok(()) => put(&format!("{}\n", to.display())),
        Err(error) => refuse(&error),
    }
}

fn refuse_usage(error: &VerifyError) -> u8 {
    refuse(error);
    2
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
h1,h2{font-weight:600;line-height:1.2}pre{background:#f6f6f4;padding:.8rem;overflow:auto;font-size:.85rem;line-height:1.4}\
table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0;font-weight:400}\
th{color:#666}img{max-width:100%;height:auto}figure{margin:1rem 0}figcaption{color:#666;font-size:.9rem}.failed{color:#a00}";

/// The page of a record whose results lie in `folder`.
fn page(record: &Value, folder: &Path) -> String {
    let name = text(&record["script"]["name"]);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escaped(&name)
    );
    if record["ended"] != "done" {
        let why = format!("{}: {}", text(&record["ended"]), text(&record["error"]["message"]));
        page += &format!("<p class=\"failed\">{}</p>\n", escaped(&why));
    }
    page += &rows(&facts(record));
    if let Some(printed) = record["printed"]["text"].as_str().filter(|printed| !printed.is_empty()) {
        page += &format!("<h2>Printed</h2>\n<pre>{}</pre>\n", escaped(printed));
    }
    page += "<h2>Results</h2>\n";
    for artefact in each(&record["artefacts"]) {
        page += &result(&text(&artefact["path"]), artefact, folder);
    }
    page += &format!("<h2>Script</h2>\n<pre>{}</pre>\n", escaped(&text(&record["script"]["text"])));
    for module in each(&record["modules"]) {
        if let Some(text) = module["text"].as_str() {
            page += &format!(
                "<h2>{}</h2>\n<pre>{}</pre>\n",
                escaped(&self::text(&module["name"])),
                escaped(text)
            );
        }
    }
    page + "</body></html>\n"
}

/// What a run was made of and took, by names.
fn facts(record: &Value) -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.into(), value));
    for (name, value) in record["parameters"].as_object().into_iter().flatten() {
        fact(name, value.to_string());
    }
    for model in each(&record["models"]) {
        fact(
            "model",
            ["id", "family", "device", "dtype", "precision"].map(|key| text(&model[key])).join(", "),
        );
    }
    for data in each(&record["data"]).filter(|data| !data["sum"].is_null()) {
        fact("data", format!("{} (checksum {})", text(&data["file"]), text(&data["sum"])));
    }
    let sweeps = &record["sweeps"];
    if sweeps["sweeps"].as_u64().is_some_and(|sweeps| sweeps > 0) {
        let counts = ["cells", "computed", "merged", "known", "unreachable", "idle"];
        fact("sweeps", counts.map(|key| format!("{} {key}", sweeps[key])).join(", "));
        fact(
            "largest change",
            format!(
                "{}; of a cell without effect, of the metric: {}",
                sweeps["largest_change"], sweeps["largest_noop"]
            ),
        );
    }
    for of in each(&sweeps["noise"]) {
        let metric = format!("{} on {}", text(&of["metric"]), text(&of["model"]));
        fact("noise", format!("{metric}: {} between a cell alone and among others", of["noise"]));
    }
    let took = &record["took"];
    let seconds = |key: &str| took[key].as_f64().unwrap_or(0.0);
    let mut time =
        format!("{:.2} s, {:.2} s of all cores together", seconds("seconds"), seconds("processor_seconds"));
    if let Some(peak) = took["peak_bytes"].as_u64() {
        let _ = write!(time, ", {} at most", HumanBytes(peak));
    }
    fact("took", time);
    let machine = ["arch", "os", "instructions"].map(|key| text(&record["machine"][key])).join(" ");
    fact("made by", format!("patchscript {}, {machine}", text(&record["patchscript"])));
    facts
}

fn rows(facts: &[(String, String)]) -> String {
    let row = |(name, value): &(String, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
    };
    format!("<table>\n{}</table>\n", facts.iter().map(row).collect::<String>())
}

/// A picture, a text, or the name of what is neither; what changed since the run is not shown as its result.
fn result(name: &str, artefact: &Value, folder: &Path) -> String {
    let caption = format!("{}, {}", escaped(name), HumanBytes(artefact["bytes"].as_u64().unwrap_or(0)));
    let kind = Path::new(name).extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    let bytes = fs::read(folder.join(name)).unwrap_or_default();
    if bytes.is_empty() || bytes.len() as u64 != artefact["bytes"].as_u64().unwrap_or(0) {
        return format!("<p>{caption}: not there as the run left it</p>\n");
    }
    if let Some((_, media)) = PICTURES.iter().find(|(picture, _)| *picture == kind) {
        let data = STANDARD.encode(&bytes);
        return format!(
            "<figure><img alt=\"{0}\" src=\"data:{media};base64,{data}\"><figcaption>{caption}</figcaption></figure>\n",
            escaped(name)
        );
    }
    if TEXTS.contains(&kind) {
        let all = String::from_utf8_lossy(&bytes);
        let cut = all.char_indices().map(|(at, _)| at).take_while(|at| *at <= MOST_TEXT).last().unwrap_or(0);
        let (shown, more) = if all.len() <= MOST_TEXT { (&*all, "") } else { (&all[..cut], "\n…") };
        return format!("<p>{caption}</p>\n<pre>{}{more}</pre>\n", escaped(shown));
    }
    format!("<p>{caption}</p>\n")
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".into(),
        '>' => "&gt;".into(),
        '"' => "&quot;".into(),
        c => c.into(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_holds_all_and_no_markup_of_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.png"), b"\x89PNG").unwrap();
        fs::write(folder.path().join("b.txt"), "<b>é</b>".repeat(4000)).unwrap();
        let record = json!({
            "script": {"name": "<i>.rhai", "text": "print(1 < 2);"}, "ended": "failed", "error": {"message": "a & b"},
            "parameters": {"layer": 3}, "printed": {"text": "true\n"},
            "artefacts": [
                {"path": "a.png", "bytes": 4}, {"path": "b.txt", "bytes": 36000}, {"path": "gone.png", "bytes": 7},
            ],
        });
        let page = page(&record, folder.path());
        for part in [
            "<h1>&lt;i&gt;.rhai</h1>",
            "failed: a &amp; b",
            "<th>layer</th><td>3</td>",
            "data:image/png;base64,iVBORw==",
            "&lt;b&gt;é&lt;/b&gt;",
            "\n…</pre>",
            "gone.png, 7 B: not there as the run left it",
            "print(1 &lt; 2);",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("<b>") && !page.contains("http://") && !page.contains("https://"));
    }
}
