//! The README's script, its talk with the REPL and its error, through the real binary.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The texts of the README's blocks of a language, in order.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string("README.md").expect("the README");
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.map(String::from).collect()
}

/// Runs patchscript in a folder that holds `a.rhai`.
fn patchscript(script: &str, args: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.rhai"), script).expect("the script");
    let mut child = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(folder.path())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    child.wait_with_output().expect("the end")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_script_prints_what_the_readme_says() {
    let ran = patchscript(&blocks("rhai")[0], &["run", "a.rhai"], "");
    assert_eq!((text(&ran.stdout), text(&ran.stderr)), (blocks("text")[0].clone(), String::new()));
}

#[test]
fn the_repl_answers_what_the_readme_says() {
    let talks: Vec<_> = blocks("text").into_iter().filter(|block| block.starts_with("> ")).collect();
    assert_eq!(talks.len(), 2);
    for talk in talks {
        let (inputs, answers): (Vec<_>, Vec<_>) = talk.lines().partition(|line| line.starts_with("> "));
        let inputs: String = inputs.iter().map(|line| format!("{}\n", &line[2..])).collect();
        let ran = patchscript("", &[], &inputs);
        assert_eq!((text(&ran.stdout), text(&ran.stderr)), (answers.join("\n") + "\n", String::new()));
    }
}

#[test]
fn the_long_run_is_a_run() {
    let script = format!("let m = load(); let prompts = [\"Rome\", \"Paris is\"];\n{}", blocks("rhai")[1]);
    let ran = patchscript(&script, &["run", "a.rhai"], "");
    assert_eq!((text(&ran.stderr), ran.status.code()), (String::new(), Some(0)));
}

#[test]
fn the_error_is_the_readmes() {
    let texts = blocks("text");
    let error = texts.iter().find(|block| block.starts_with("error: ")).expect("an error");
    let line = error.lines().find_map(|line| line.strip_prefix("2 | ")).expect("the script's line");
    let ran = patchscript(&format!("let m = load();\n{line}\n"), &["run", "a.rhai"], "");
    assert_eq!(text(&ran.stderr), *error);
    assert_eq!(ran.status.code(), Some(1));
}
