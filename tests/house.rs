//! The house is as its maps say: every room lists its modules, and imports go one way. `docs/architecture.md` draws it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom. What a room does not list is above it, or none of its business.
const ROOMS: &[(&str, &[&str])] = &[
    ("cli", &["script", "run", "model", "cache", "count", "help"]),
    (
        "script",
        &[
            "run", "model", "analysis", "cache", "plot", "data", "memory", "count", "help", "nearest",
            "number", "plain", "utf8",
        ],
    ),
    ("run", &["model", "cache", "memory", "count", "help", "nearest"]),
    ("analysis", &["model", "data", "help"]),
    ("model", &["cache", "data", "help", "plain"]),
    ("cache", &["data", "plain"]),
    ("plot", &["count", "help", "nearest", "number"]),
    ("data", &["count", "help", "nearest", "plain", "utf8"]),
    ("memory", &["help"]),
    ("count", &[]),
    ("help", &[]),
    ("nearest", &[]),
    ("number", &[]),
    ("plain", &[]),
    ("utf8", &[]),
];

/// Crates that are the business of some rooms only.
const CRATES: &[(&str, &[&str])] = &[
    ("rhai", &["script"]),
    ("candle_core", &["cli", "script", "run", "model", "analysis"]),
    ("candle_nn", &["run", "model"]),
    ("tokenizers", &["model"]),
    ("minijinja", &["model"]),
    ("ureq", &["model"]),
    ("clap", &["cli"]),
    ("rustyline", &["cli"]),
    ("ndarray", &["data"]),
    ("png", &["plot"]),
    ("pdf_writer", &["plot"]),
];

#[test]
fn every_map_lists_its_modules() {
    let maps = sources().into_iter().filter(|(_, text)| !declared(text).is_empty());
    let faults: Vec<_> = maps.flat_map(|(path, text)| map_faults(&path, &text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_go_one_way() {
    let rooms = sources().into_iter().filter(|(path, _)| !["lib", "main"].contains(&room(path).as_str()));
    let faults: Vec<_> = rooms.flat_map(|(path, text)| import_faults(&path, &text)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let rooms: BTreeSet<_> = sources().iter().map(|(path, _)| room(path)).collect();
    let mut listed: BTreeSet<_> = ROOMS.iter().map(|(room, _)| room.to_string()).collect();
    listed.extend(["lib".to_string(), "main".to_string()]);
    assert_eq!(rooms, listed);
}

#[test]
fn no_arrow_leads_back() {
    let place = |name: &str| ROOMS.iter().position(|(room, _)| *room == name).expect("a room");
    // The table, read downwards, is an order of the rooms.
    for (room, allowed) in ROOMS {
        for other in *allowed {
            assert!(place(room) < place(other), "`{room}` imports `{other}`, which stands above it");
        }
    }
}

#[test]
fn a_broken_map_is_found() {
    let path = Path::new("run/mod.rs");
    let faults = |text: &str| map_faults(path, text).len();
    let whole =
        "//! [`site`], then `plan`, by [`check`](mod@check).\n\nmod check;\npub mod plan;\nmod site;\n";
    assert_eq!(faults(whole), 0);
    assert_eq!(faults(&whole.replace("[`site`]", "sites")), 1, "a module that the map leaves out");
    assert_eq!(faults(&whole.replace("mod site;\n", "")), 1, "a name of nothing");
    assert_eq!(faults(&whole.replace("mod check;\n", "pub(super) mod walk;\nmod check;\n")), 1);
    let tests = format!("{whole}#[cfg(test)]\nmod tests;\n");
    assert_eq!(faults(&tests), 0, "tests may stand in no map");
}

#[test]
fn a_broken_import_is_found() {
    let faults = |path: &str, text: &str| import_faults(Path::new(path), text).len();
    assert_eq!(
        faults("run/sweeping/plan.rs", "use crate::model::{Model, Point};\nuse crate::run::Site;\n"),
        0
    );
    assert_eq!(faults("model/hook.rs", "use crate::run::Patch;\n"), 1);
    assert_eq!(
        faults("model/hook.rs", "fn f() -> crate::script::Failure { todo() }\n"),
        1,
        "a path without `use`"
    );
    assert_eq!(
        faults("model/hook.rs", "use crate::{\n    plain,\n    run::{Site, patch},\n    script,\n};\n"),
        2
    );
    assert_eq!(
        faults("plot/layout/chart.rs", "use super::super::super::model::Model;\n"),
        1,
        "up and out of a room"
    );
    assert_eq!(faults("plot/layout/chart.rs", "use super::super::scene::Scene;\n"), 0);
    assert_eq!(faults("plot/chart.rs", "mod tests {\n    use super::super::{Figure, scene::Scene};\n}\n"), 0);
    assert_eq!(faults("run/error.rs", "use rhai::Dynamic;\n"), 1);
    assert_eq!(
        faults("run/error.rs", "//! As `rhai::Dynamic` and crate::script do.\n"),
        0,
        "comments import nothing"
    );
}

/// What is wrong with the map at the head of a file that declares modules.
fn map_faults(path: &Path, text: &str) -> Vec<String> {
    let map: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let map = map.join("\n");
    let modules = declared(text);
    let names = map.split('`').skip(1).step_by(2).map(|name| name.trim_start_matches("mod@"));
    let names: Vec<_> = names.collect();
    let left_out = modules.iter().filter(|module| !names.contains(&module.as_str()));
    let left_out = left_out.map(|module| format!("{}: the map leaves out `{module}`", path.display()));
    let links = map.split("[`").skip(1).filter_map(|link| link.split_once("`]")).map(|(name, _)| name);
    let plain = |name: &str| name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
    let known =
        |name: &str| [format!("mod {name};"), format!("fn {name}(")].iter().any(|item| text.contains(item));
    let lost = links.filter(|name| plain(name) && !known(name));
    let lost = lost.map(|name| format!("{}: the map names `{name}`, which is not there", path.display()));
    left_out.chain(lost).collect()
}

/// The modules that a file declares, but for those of its tests.
fn declared(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let module = |(at, line): (usize, &&str)| {
        let (visibility, name) = line.strip_suffix(';')?.split_once("mod ")?;
        let declares = visibility.is_empty() || visibility.starts_with("pub");
        let of_tests = at > 0 && lines[at - 1] == "#[cfg(test)]";
        (declares && !of_tests).then(|| name.to_string())
    };
    lines.iter().enumerate().filter_map(module).collect()
}

/// The imports of a file that its room may not have.
fn import_faults(path: &Path, text: &str) -> Vec<String> {
    let room = room(path);
    let allowed = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| allowed);
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let rooms = roots(path, &code).into_iter().filter(|name| ROOMS.iter().any(|(room, _)| room == name));
    let rooms = rooms.filter(|name| *name != room && !allowed.contains(&name.as_str()));
    let crates =
        CRATES.iter().filter(|(name, rooms)| !rooms.contains(&room.as_str()) && is_used(name, &code));
    let foreign = rooms.chain(crates.map(|(name, _)| name.to_string()));
    foreign.map(|name| format!("{}: `{room}` may not import `{name}`", path.display())).collect()
}

fn is_used(name: &str, code: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| !code[..at].ends_with(is_of_word))
}

/// The first names of all paths that begin at the crate's root, be it by `crate::` or by enough `super::`.
fn roots(path: &Path, code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        if !code[..at].ends_with(is_of_word) && !code[..at].ends_with('$') {
            names.extend(heads(&code[at + start.len()..]));
        }
    }
    let depth = depth(path);
    for (at, _) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut up = 0;
        while let Some(further) = rest.strip_prefix("super::") {
            (rest, up) = (further, up + 1);
        }
        // A module of tests inside the file, indented, is one deeper.
        let line = code[..at].rsplit('\n').next().unwrap_or_default();
        let inside = usize::from(line.starts_with("    "));
        if up >= depth + inside {
            names.extend(heads(rest));
        }
    }
    names
}

/// The first name of a path, or those of all that its braces hold.
fn heads(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_of_word(*c)).collect()];
    };
    let (mut names, mut name, mut deep) = (Vec::new(), String::new(), 0);
    for c in group.chars() {
        match c {
            '{' => deep += 1,
            '}' if deep == 0 => break,
            '}' => deep -= 1,
            ',' if deep == 0 => names.push(std::mem::take(&mut name)),
            _ if deep == 0 => name.push(c),
            _ => {}
        }
    }
    names.push(name);
    let first = |name: &String| name.trim().chars().take_while(|c| is_of_word(*c)).collect::<String>();
    names.iter().map(first).filter(|name| !name.is_empty()).collect()
}

fn is_of_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// How many modules a file's own is inside of, itself included: 1 for `run/mod.rs`, 2 for `run/sweeping/plan.rs`.
fn depth(path: &Path) -> usize {
    path.components().count() - usize::from(path.ends_with("mod.rs"))
}

/// The first part of a path below `src`.
fn room(path: &Path) -> String {
    let first = path.components().next().expect("a path below `src`");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()
}

/// All files of the program, by their path below `src`.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a file of the source");
                files.push((path.strip_prefix(&root).expect("below the root").into(), text));
            }
        }
    }
    files.sort();
    files
}
