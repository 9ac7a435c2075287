//! `patchscript new`: scripts that travel in the program.

use super::*;

#[test]
fn a_starter_runs_and_is_never_overwritten() {
    let folder = folder(&[]);
    let written = patchscript(folder.path(), &["new", "sub/first"]);
    prints(&written, "sub/first.rhai\nrun it with `patchscript run sub/first.rhai`\n");
    let ran = patchscript(folder.path(), &["run", "sub/first.rhai"]);
    prints(&ran, "without a patch:  Paris\nwith it:  Rome\n");
    assert!(folder.path().join("out/first/grid.png").is_file());
    fs::write(folder.path().join("sub/first.rhai"), "mine").expect("a file");
    fails(
        &patchscript(folder.path(), &["new", "sub/first.rhai"]),
        2,
        "
error: there is a file `sub/first.rhai` already
 = help: give another name or folder, or move `sub/first.rhai`
",
    );
    assert_eq!(fs::read_to_string(folder.path().join("sub/first.rhai")).expect("the file"), "mine");
    assert_eq!(patchscript(folder.path(), &["new"]).code, Some(2));
    assert_eq!(patchscript(folder.path(), &["new", ".rhai"]).code, Some(2));
}

#[test]
fn a_shipped_script_runs_anywhere_with_its_data() {
    let folder = folder(&[]);
    prints(
        &patchscript(folder.path(), &["new", "--from", "patchscope"]),
        "patchscope.rhai\nrun it with `patchscript run patchscope.rhai`\n",
    );
    let ran = patchscript(folder.path(), &["run", "patchscope.rhai"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("the neuron at ` x`: 84.3"), "{}", ran.out);
    // A second one shares its data; data that somebody changed stay.
    assert_eq!(patchscript(folder.path(), &["new", "again", "--from", "patchscope"]).code, Some(0));
    fs::write(folder.path().join("data/texts.jsonl"), "mine").expect("a file");
    let refused = patchscript(folder.path(), &["new", "third", "--from", "patchscope"]);
    assert!(refused.err.starts_with("error: there is a file `data/texts.jsonl` already"), "{}", refused.err);
    assert!(refused.code == Some(2) && !folder.path().join("third.rhai").exists());
    let unknown = patchscript(folder.path(), &["new", "--from", "patchscop"]);
    assert!(unknown.code == Some(2) && unknown.err.contains("patchscope"), "{}", unknown.err);
}
