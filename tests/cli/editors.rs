//! What editors, shells and readers are given, and tests of scripts.

use super::*;

#[test]
fn definitions_completions_and_the_manual_are_written() {
    let folder = folder(&[]);
    prints(&patchscript(folder.path(), &["definitions", "defs"]), "");
    let ours = fs::read_to_string(folder.path().join("defs/patchscript.d.rhai")).expect("the definitions");
    assert!(ours.starts_with("module static;\n") && ours.contains("fn load() -> Model;"), "{ours}");
    assert!(folder.path().join("defs/patching.d.rhai").is_file());
    for (shell, text) in
        [("bash", "complete -F"), ("zsh", "#compdef patchscript"), ("fish", "complete -c patchscript")]
    {
        let ran = patchscript(folder.path(), &["completions", shell]);
        assert!(ran.code == Some(0) && ran.out.contains(text) && ran.out.contains("verify"), "{shell}");
    }
    let man = patchscript(folder.path(), &["man"]);
    assert!(
        man.code == Some(0)
            && man.out.contains(".TH patchscript 1")
            && man.out.contains(".TH patchscript-run 1")
    );
}

#[test]
fn the_reference_is_printed() {
    let folder = folder(&[]);
    let page = patchscript(folder.path(), &["doc"]);
    assert!(page.out.starts_with("# Reference\n") && page.out.contains("- `Model.sweep("), "{}", page.out);
    let sweep = patchscript(folder.path(), &["doc", "Model.sweep"]);
    assert!(sweep.out.starts_with("Model.sweep("), "{}", sweep.out);
    let module = patchscript(folder.path(), &["doc", "metrics"]);
    assert!(module.out.contains("### metrics::recovered(values, clean, corrupt)"), "{}", module.out);
    fails(
        &patchscript(folder.path(), &["doc", "swepp"]),
        2,
        "
error: nothing is known about `swepp`; did you mean `sweep`?
 = help: `patchscript doc` prints the whole reference
",
    );
}

#[test]
fn test_functions_are_run() {
    let folder = folder(&[
        (
            "sub/a.rhai",
            "import \"b\" as b;\nthrow \"the script ran\";\nfn test_two() { assert(b::two() == 2, \"two\"); }\n\
             fn test_wrong() {\n  assert(b::two() == 3, `${b::two()} is not 3`);\n}\n",
        ),
        ("sub/b.rhai", "fn two() { 2 }\n"),
        ("out/c.rhai", "fn test_never() { assert(false, \"a result\"); }"),
    ]);
    let ran = patchscript(folder.path(), &["test"]);
    let told = "ok      ./sub/a.rhai test_two\nFAILED  ./sub/a.rhai test_wrong\n1 test passed, 1 failed\n";
    assert_eq!(ran.out, told);
    fails(
        &ran,
        1,
        "
error: 2 is not 3
  --> ./sub/a.rhai:5:3
  |
5 |   assert(b::two() == 3, `${b::two()} is not 3`);
  |   ^^^^^^
",
    );
    assert_eq!(patchscript(folder.path(), &["test", "sub/b.rhai"]).code, Some(2));
    assert_eq!(patchscript(folder.path(), &["test", "none"]).code, Some(2));
}

#[test]
fn the_stdlib_passes_its_own_tests() {
    let folder = folder(&[]);
    let ran = patchscript(folder.path(), &["test", "--stdlib"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{}", ran.out);
    assert!(
        ran.out.contains("ok      probes test_") && ran.out.contains("ok      steering test_"),
        "{}",
        ran.out
    );
}
