//! Code that has no file: `-e CODE`, and scripts from standard input.

use super::*;

fn piped(args: &[&str], input: &str) -> (Ran, TempDir) {
    let folder = folder(&[]);
    let mut child = command(folder.path(), args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    (child.wait_with_output().expect("the end").into(), folder)
}

#[test]
fn a_line_is_run_as_at_the_prompt() {
    let folder = folder(&[]);
    prints(&patchscript(folder.path(), &["-e", "load().n_layers"]), "8\n");
    prints(&patchscript(folder.path(), &["-e", "let x = 6;", "-e", "x * 7"]), "42\n");
    let failed = patchscript(folder.path(), &["-e", "1.lyaer", "-e", "print(2)"]);
    assert_eq!((failed.code, failed.out.as_str()), (Some(1), ""));
    assert!(failed.err.starts_with("error: `int` has no field `lyaer`"), "{}", failed.err);
    assert_eq!(patchscript(folder.path(), &["-e", "("]).code, Some(2));
}

#[test]
fn a_script_comes_from_standard_input() {
    let script = "let n = param(\"n\", 2);\nwrite_text(\"a.txt\", \"x\");\nprint(n + 1);\n";
    let (ran, folder) = piped(&["run", "-", "--set", "n=4"], script);
    prints(&ran, "5\n");
    assert!(folder.path().join("out/stdin/a.txt").is_file());
    let (ran, _folder) = piped(&["run", "-", "--params"], script);
    prints(&ran, "n = 2\n");
    let (ran, _folder) = piped(&["run", "-"], "let a = 1;\na.b\n");
    assert!(ran.err.contains("--> stdin:2:3"), "{}", ran.err);
    let (ran, _folder) = piped(&["run", "-i", "-"], script);
    fails(
        &ran,
        2,
        "
error: the prompt cannot read from where the script came
 = help: write the script to a file: `patchscript run -i FILE`
",
    );
}
