//! The book in `docs/`: its summary lists every page, its links and pictures hold, every block of script runs and prints
//! what the page says, and mdbook makes pages of it.
//!
//! A block marked `rhai` runs with the embedded model; `rhai,smollm2` and `rhai,gemma3` with that model; `rhai,continued` after
//! the blocks before it on the page. A block `text` that follows one under the same heading is what it prints.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const DOCS: &str = "docs";
/// Printed by `patchscript doc` when the book is built.
const GENERATED: &str = "reference.md";

/// The pages that the summary lists, in order.
fn pages() -> Vec<String> {
    let summary = fs::read_to_string(Path::new(DOCS).join("SUMMARY.md")).expect("the summary");
    links(&summary).into_iter().map(|(_, target)| target).collect()
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(DOCS).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Texts and targets of a page's links and pictures, outside its blocks and spans of code.
fn links(text: &str) -> Vec<(String, String)> {
    let mut code = false;
    let mut links = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("");
        let parts: Vec<&str> = if code { vec![] } else { prose.split("](").collect() };
        for pair in parts.windows(2) {
            let text = pair[0].rsplit('[').next().unwrap_or_default();
            let target = pair[1].split(')').next().unwrap_or_default();
            links.push((text.to_owned(), target.to_owned()));
        }
    }
    links
}

/// What a heading is called in a link, as mdbook and forges do.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn the_summary_lists_every_page_once() {
    let listed = pages();
    let once: BTreeSet<_> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "{listed:?}");
    let mut there = BTreeSet::from([GENERATED.to_owned()]);
    let mut folders = vec![PathBuf::from(DOCS)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md")
                && !path.ends_with("SUMMARY.md")
            {
                there.insert(path.strip_prefix(DOCS).expect("below").to_string_lossy().into_owned());
            }
        }
    }
    assert_eq!(once, there);
}

#[test]
fn links_and_pictures_hold() {
    let (mut faults, mut shown) = (Vec::new(), BTreeSet::new());
    for name in pages().iter().filter(|name| *name != GENERATED) {
        let text = page(name);
        for (words, target) in links(&text) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let folder = Path::new(name).parent().expect("a page is in a folder");
            let path = if file.is_empty() { PathBuf::from(name) } else { folder.join(file) };
            let mut plain = PathBuf::new();
            for part in path.components() {
                if part.as_os_str() == ".." {
                    plain.pop();
                } else {
                    plain.push(part);
                }
            }
            let of_book = plain == Path::new(GENERATED);
            if !of_book && !Path::new(DOCS).join(&plain).is_file() || path.starts_with("..") {
                faults.push(format!("{name}: [{words}]({target}): no such file in the book"));
            } else if !heading.is_empty()
                && !of_book
                && !anchors(&page(&plain.to_string_lossy())).contains(&heading.to_owned())
            {
                faults.push(format!("{name}: [{words}]({target}): no such heading"));
            }
            shown.insert(plain);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for picture in fs::read_dir(Path::new(DOCS).join("images")).expect("pictures") {
        let name = Path::new("images").join(picture.expect("an entry").file_name());
        let in_code = name.ends_with("plotters_lines.png");
        assert!(in_code || shown.contains(&name), "no page shows {}", name.display());
    }
}

#[test]
fn links_are_told_from_code_and_headings_are_named_as_forges_do() {
    let text = "a [b](c.md#d) `x[1](2)` ![e](f.png)\n```\n[g](h)\n```\n[i](https://j)";
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(links(text), [pair("b", "c.md#d"), pair("e", "f.png"), pair("i", "https://j")]);
    assert_eq!(anchor(" `run.json`, and more "), "runjson-and-more");
}

/// A block of script: what marks it, the script, and what the page says that it prints.
struct Block {
    marks: Vec<String>,
    script: String,
    output: Option<String>,
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // Whether what the last script prints may follow: up to the next heading or block.
    let mut open = false;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        open &= !line.starts_with('#');
        let Some(info) = line.strip_prefix("```") else { continue };
        let body = lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
        let mut marks = info.split(',').map(str::to_owned);
        let language = marks.next().unwrap_or_default();
        match blocks.last_mut() {
            Some(last) if open && language == "text" => last.output = Some(body),
            _ if language == "rhai" => {
                blocks.push(Block { marks: marks.collect(), script: body, output: None })
            }
            _ => {}
        }
        open = language == "rhai";
    }
    blocks
}

/// The model that a block's marks name; `None` where that is not there.
fn model(marks: &[String]) -> Option<Option<PathBuf>> {
    for mark in marks {
        match mark.as_str() {
            "smollm2" => return common::smollm2_path().map(Some),
            "gemma3" => return common::gemma3_path().map(Some),
            "continued" => {}
            other => panic!("no block is marked `{other}`"),
        }
    }
    Some(None)
}

/// Runs a script as a reader would, in the repository: what it prints, and what it complains of.
fn run(script: &str, model: Option<&Path>) -> (String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("a.rhai");
    fs::write(&file, script).expect("the script");
    let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
    command.arg("run").arg(&file).arg("--offline").arg("--out").arg(folder.path().join("out"));
    if let Some(model) = model {
        command.arg("--model").arg(model);
    }
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_block_runs_and_prints_what_the_page_says() {
    let (mut faults, mut ran) = (Vec::new(), 0);
    for name in pages().iter().filter(|name| *name != GENERATED) {
        let (mut before, mut printed) = (String::new(), String::new());
        for (i, Block { marks, script, output }) in blocks(&page(name)).into_iter().enumerate() {
            let Some(model) = model(&marks) else { continue };
            if !marks.contains(&"continued".to_owned()) {
                (before, printed) = (String::new(), String::new());
            }
            before += &script;
            let (stdout, stderr) = run(&before, model.as_deref());
            ran += 1;
            let new = stdout.strip_prefix(&printed).unwrap_or(&stdout);
            if !stderr.is_empty() {
                faults.push(format!("{name}, block {i}:\n{stderr}"));
            } else if output.as_deref().is_some_and(|output| output.trim_end() != new.trim_end()) {
                faults.push(format!("{name}, block {i} prints\n{new}"));
            }
            printed = stdout;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(ran > 20, "only {ran} blocks were found");
}

#[test]
fn the_experiments_of_a_week_are_short() {
    let week = pages().into_iter().filter(|name| name.starts_with("experiments/"));
    let scripts: Vec<String> = week
        .flat_map(|name| blocks(&page(&name)))
        .filter(|block| !block.marks.contains(&"continued".to_owned()))
        .map(|block| block.script)
        .collect();
    let lines: usize = scripts.iter().map(|script| script.lines().count()).sum();
    assert!(scripts.len() >= 17 && lines <= 220, "{} scripts of {lines} lines", scripts.len());
}

#[test]
fn the_book_builds() {
    let Some(mdbook) = std::env::var_os("PATCHSCRIPT_TEST_MDBOOK") else {
        return common::skip("PATCHSCRIPT_TEST_MDBOOK is not set; tests/book/install.sh prints its value");
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book");
    let program = env!("CARGO_BIN_EXE_patchscript");
    let output = Command::new("tests/book/build.sh")
        .args([mdbook.as_ref(), program.as_ref(), folder.as_os_str()])
        .output();
    let output = output.expect("the script starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("WARN") && !told.contains("ERROR"), "{told}");
    for name in pages() {
        let page = folder.join("book").join(&name).with_extension("html");
        let html = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(html.contains("<main>") && html.len() > 2000, "{name}");
    }
}
