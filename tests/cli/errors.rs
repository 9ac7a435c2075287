//! Mistakes in scripts, their texts word for word.

use super::*;

#[test]
fn literals_are_checked_before_the_run() {
    let text = "print(\"first\");\nheatmap([1], #{cmap: \"Purpels\"});\n";
    let expected = "
error: option `cmap`: unknown colour map `Purpels`
  --> a.rhai:2:22
  |
2 | heatmap([1], #{cmap: \"Purpels\"});
  |                      ^^^^^^^^^
  |
  = help: write `Purples`; known are";
    let ran = run(text, &[]);
    assert!(ran.err.starts_with(expected.trim_start()), "{}", ran.err);
    assert_eq!((ran.out.as_str(), ran.code), ("", Some(2)));
}

#[test]
fn a_missing_file_is_a_usage_error() {
    let folder = folder(&[]);
    fails(
        &patchscript(folder.path(), &["run", "b.rhai"]),
        2,
        "
error: cannot read script `b.rhai`: No such file or directory (os error 2)
 = help: check the path `b.rhai`, or name another script
",
    );
}

#[test]
fn a_syntax_error_has_a_line_and_a_caret() {
    fails(
        &run("let x = 1;\nlet y = [1, 2;\n", &[]),
        2,
        "
error: `[` is not closed
  --> a.rhai:2:9
  |
2 | let y = [1, 2;
  |         ^
  |
  = help: add `]` where it ends
",
    );
}

#[test]
fn a_runtime_error_shows_the_way_to_it() {
    fails(
        &run("fn f(a) {\n  a[3]\n}\nprint(\"first\");\nf([1, 2]);\n", &[]),
        1,
        "
error: index 3 is out of range for an array of 2
  --> a.rhai:2:5
  |
2 |   a[3]
  |     ^
  .
5 | f([1, 2]);
  | - in call to `f`
  |
  = help: indices go from 0 to 1, or back from -1 to -2
",
    );
}

#[test]
fn an_unknown_function_suggests_the_nearest() {
    fails(
        &run("print(\"first\");\njion([1], \",\");\n", &[]),
        2,
        r#"
error: unknown function `jion`
  --> a.rhai:2:1
  |
2 | jion([1], ",");
  | ^^^^
  |
  = help: did you mean `join(items: array, separator: string) -> string`?
"#,
    );
}

#[test]
fn wrong_arguments_list_what_is_taken() {
    fails(
        &run("join([1], 2);\n", &[]),
        1,
        "
error: `join` expects (items: array, separator: string), found (array, int)
  --> a.rhai:1:1
  |
1 | join([1], 2);
  | ^^^^
  |
  = help: its form is `join(items: array, separator: string) -> string`
",
    );
}

#[test]
fn an_unknown_variable_is_found_before_the_run() {
    fails(
        &run("let prompt = 1;\nprint(\"first\");\nprint(promt);\n", &[]),
        2,
        "
error: unknown variable `promt`
  --> a.rhai:3:7
  |
3 | print(promt);
  |       ^^^^^
  |
  = help: did you mean `prompt`?
",
    );
}

#[test]
fn an_unknown_map_entry_suggests_the_nearest() {
    fails(
        &run("let m = #{layer: 3};\nprint(m.lyaer);\n", &[]),
        1,
        "
error: the map has no entry `lyaer`
  --> a.rhai:2:9
  |
2 | print(m.lyaer);
  |         ^^^^^
  |
  = help: did you mean `layer`?
",
    );
}

#[test]
fn operators_name_both_sides() {
    fails(
        &run("let a = #{};\na * 2", &[]),
        1,
        "
error: `*` does not work between `map` and `int`
  --> a.rhai:2:3
  |
2 | a * 2
  |   ^
",
    );
}

#[test]
fn a_thrown_text_is_the_message() {
    fails(
        &run("throw \"no good\";", &[]),
        1,
        r#"
error: no good
  --> a.rhai:1:1
  |
1 | throw "no good";
  | ^^^^^
"#,
    );
}

#[test]
fn check_finds_mistakes_without_running() {
    let folder = folder(&[
        ("good.rhai", "let m = #{f: |x| x};\nfn g(x) { x + 1 }\nprint(g(m.f(1)));\n"),
        ("bad.rhai", "print(1);\nif false { [1].psuh(2) }\n"),
    ]);
    prints(&patchscript(folder.path(), &["check", "good.rhai"]), "");
    prints(&patchscript(folder.path(), &["run", "good.rhai"]), "2\n");
    fails(
        &patchscript(folder.path(), &["check", "bad.rhai"]),
        2,
        "
error: unknown method `psuh`
  --> bad.rhai:2:16
  |
2 | if false { [1].psuh(2) }
  |                ^^^^
  |
  = help: did you mean `push`?
",
    );
}

#[test]
fn options_without_a_map_are_understood() {
    for (text, message, help) in [
        (
            "heatmap([1], title = 1)",
            "arguments have no names here",
            "options are a map, with a `#` in front: `#{title: …}`",
        ),
        (
            "heatmap([1], {title: 1})",
            "braces without `#` hold lines of code",
            "options are a map with a `#` in front: `#{title: …}`",
        ),
        (
            "round_half_even(0.5, digits = 1)",
            "arguments have no names here",
            "write them in their order: its form is `round_half_even(x: number, digits?: int) -> number`",
        ),
    ] {
        let ran = run(text, &[]);
        assert!(ran.err.starts_with(&format!("error: {message}\n")), "{}", ran.err);
        assert!(ran.err.ends_with(&format!("= help: {help}\n")), "{}", ran.err);
    }
}

#[test]
fn slips_of_other_languages_are_explained() {
    for (text, message, help) in [
        ("print('hello')", "single quotes hold one character", "write text in double quotes: `\"hello\"`"),
        (
            "let n = 3; for i in n {}",
            "this value cannot be looped over",
            "loop over an array, or over a range: `for i in 0..n`",
        ),
        (
            "try { assert(false) } catch (e) { e.message() }",
            "`message` of `Error` is a field, not a method",
            "drop the brackets: `.message`",
        ),
    ] {
        let ran = run(text, &[]);
        assert!(ran.err.starts_with(&format!("error: {message}\n")), "{}", ran.err);
        assert!(ran.err.ends_with(&format!("= help: {help}\n")), "{}", ran.err);
    }
}

#[test]
fn a_script_without_run_is_told_the_command() {
    let folder = folder(&[("a.rhai", "print(1);")]);
    let ran = patchscript(folder.path(), &["a.rhai"]);
    assert!(ran.err.contains("tip: to run this script: `patchscript run a.rhai`"), "{}", ran.err);
    assert_eq!(ran.code, Some(2));
}

#[test]
fn warnings_leave_the_exit_code() {
    let folder = folder(&[("a.rhai", "print(`a\\nb`);\n")]);
    let warning = r#"warning: `\n` between backticks is a backslash and a letter, not a line break
  --> a.rhai:1:7
  |
1 | print(`a\nb`);
  |       ^^^^^^
  |
  = help: write the line break itself, or the text in double quotes; a backslash that is meant is `\\n` there
"#;
    for (command, out) in [("check", ""), ("run", "a\\nb\n")] {
        let ran = patchscript(folder.path(), &[command, "a.rhai"]);
        assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (out, warning, Some(0)), "{command}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_script() {
    let files = folder(&[
        ("a.rhai", "\u{feff}import \"b\" as b;\nprint(b::two() + read_json(\"c.json\").one);"),
        ("b.rhai", "\u{feff}fn two() { 2 }"),
        ("c.json", "\u{feff}{\"one\": 1}"),
    ]);
    prints(&patchscript(files.path(), &["run", "a.rhai"]), "3\n");
    let utf16: Vec<u8> = "\u{feff}print(1);".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(files.path().join("a.rhai"), &utf16).expect("a file");
    fails(
        &patchscript(files.path(), &["run", "a.rhai"]),
        2,
        "error: script `a.rhai` is UTF-16 text, by its byte order mark\n = help: save it as UTF-8 in your editor\n",
    );
    fs::write(files.path().join("a.rhai"), "read_text(\"c.json\")").expect("a file");
    fs::write(files.path().join("c.json"), &utf16).expect("a file");
    let ran = patchscript(files.path(), &["run", "a.rhai"]);
    assert!(
        ran.err.contains("`c.json` is UTF-16 text") && ran.err.contains("-f utf-16 -t utf-8"),
        "{}",
        ran.err
    );
}

#[test]
fn a_text_is_no_position_but_may_name_a_token() {
    let text = "let m = load();\nlet p = z(3).at(\" France\").zero();\n";
    fails(
        &run(text, &[]),
        1,
        r#"
error: expected a position: an int, a range, an array, `tok`, `span` or `last`, found `string`
  --> a.rhai:2:14
  |
2 | let p = z(3).at(" France").zero();
  |              ^^
  |
  = help: the token of a text is `tok(" France")`
"#,
    );
}
