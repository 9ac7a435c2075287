use super::*;
use crate::help::Help;
use crate::script::HostOptions;

fn session() -> Session {
    Session::new(Host::new(HostOptions::default()))
}

fn says(session: &mut Session, input: &str) -> String {
    match session.submit(input) {
        Ok(Reply::Text(text)) => text,
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn variables_functions_and_the_last_value_stay() {
    let mut session = session();
    assert_eq!(says(&mut session, "let x = 20;"), "Nothing");
    assert_eq!(says(&mut session, "fn twice(a) { 2 * a }"), "Nothing");
    assert_eq!(says(&mut session, "twice(x) + 2"), "42");
    assert_eq!(says(&mut session, "_ + 1"), "43");
    assert_eq!(says(&mut session, "switch x { 1 => 1, _ => 2 }"), "2");
    assert_eq!(says(&mut session, "let x = \"a\";"), "Nothing");
    assert_eq!(says(&mut session, "fn twice(a) { a + a }"), "Nothing");
    assert_eq!(says(&mut session, "twice(x)"), "\"aa\"");
    assert_eq!(says(&mut session, "vars"), "x: string = \"a\"");
}

#[test]
fn values_have_numbers() {
    let mut session = session();
    for (input, gave) in [
        ("40", "40"),
        ("let x = 1;", "Nothing"),
        ("\"b\"", "\"b\""),
        ("_1 + _", "\"40b\""),
        ("[_1 - 1, _1 -1, _1-1, _1 + -1, -_1]", "[39, 39, 39, 39, -40]"),
        ("switch x { 1 => _1, _ => 0 }", "40"),
        ("[1].map(|y| y + _1)", "[41]"),
        ("_2", "error: unknown variable `_2`"),
        ("vars", "x: int = 1"),
    ] {
        assert_eq!(says(&mut session, input), gave, "{input}");
    }
    assert_eq!(session.next_number(), 9);
    assert!(session.script().unwrap().contains("let last_1 = 40;\n"));
    // Scripts have no such names.
    let host = Host::new(HostOptions::default());
    assert!(host.compile("a.rhai", "let _1 = 2;", &Scope::new()).is_err());
}

#[test]
fn a_sweep_is_explained_when_asked() {
    let mut session = session();
    assert_eq!(says(&mut session, ":explain"), "the next sweep prints its plan before it runs");
    assert!(session.host().context().explains());
    assert!(!session.host().context().explains(), "the next one only");
    assert_eq!(says(&mut session, ":explain 1 + 1"), "2");
    assert!(!session.host().context().explains());
}

#[test]
fn the_model_has_a_short_name() {
    for (model, name) in [
        (None, "demo"),
        (Some("HuggingFaceTB/SmolLM2-135M@main"), "SmolLM2-135M"),
        (Some("/models/smollm2/"), "smollm2"),
        (Some("a/tiny.gguf"), "tiny"),
    ] {
        let options = HostOptions { model: model.map(String::from), ..HostOptions::default() };
        assert_eq!(Session::new(Host::new(options)).model_name(), name);
    }
}

#[test]
fn closures_and_loops_see_the_variables() {
    let mut session = session();
    says(&mut session, "let n = 3; let add = |a| a + n;");
    assert_eq!(says(&mut session, "add.call(1)"), "4");
    assert_eq!(says(&mut session, "let s = 0; for i in 0..n { s += i } s"), "3");
}

#[test]
fn a_byte_order_mark_is_no_input() {
    let mut session = session();
    assert_eq!(says(&mut session, "\u{feff}1 + 2\n"), "3");
    assert_eq!(says(&mut session, "\u{feff}\n"), "Nothing");
}

#[test]
fn what_ran_before_an_error_stays() {
    let mut session = session();
    says(&mut session, "let x = 1;");
    let input = "fn f(a) { a + 1 } let y = 2; for i in 0..3 { let z = i; if i == 1 { throw \"no\" } }";
    assert_eq!(says(&mut session, input), "error: no");
    assert_eq!(says(&mut session, "f(x + y)"), "4");
    assert_eq!(says(&mut session, "vars"), "x: int = 1\ny: int = 2");
    // An input that cannot be read does not run at all.
    says(&mut session, "x = 5; nothing_of_that_name");
    assert_eq!(says(&mut session, "x"), "1");
}

#[test]
fn commands_that_do_not_exist_are_named() {
    let mut session = session();
    assert_eq!(says(&mut session, ":run a.rhai"), "error: there is no command `:run`");
    let Err(error) = session.submit(":quitt") else { panic!() };
    let help = error.help().unwrap();
    assert!(
        help.starts_with("did you mean `:quit`? the commands are `:help`, `:vars`, `:quit`, `:save`"),
        "{help}"
    );
    assert_eq!(says(&mut session, ":quit"), "Quit");
}

#[test]
fn files_are_for_a_person_at_the_prompt() {
    let mut session = session();
    for command in [":save a", ":load a.rhai", ":edit"] {
        let Err(error) = session.submit(command) else { panic!("{command}") };
        assert_eq!(error.help().as_deref(), Some("only a person at the prompt can use it"));
    }
    let mut session = Session::with_person(Host::new(HostOptions::default()));
    assert_eq!(session.submit(":save a").unwrap(), Reply::Save("a.rhai".into()));
    assert_eq!(session.submit(":load b.txt").unwrap(), Reply::Load("b.txt".into()));
    assert!(session.submit(":save").unwrap_err().help().unwrap().contains("name a file"));
    assert!(says(&mut session, ":time 6 * 7").starts_with("42\n0."));
    assert!(says(&mut session, ":limits").contains("--max-call-levels"));
}

#[test]
fn what_ran_is_a_script_that_runs() {
    let mut session = session();
    assert_eq!(session.script().unwrap_err().to_string(), "nothing ran yet");
    for input in ["let a = 2; let b = a.c;", "fn f(x) { x + 1 }", "f(a)", "_ * 10", "nothing", "let a = _"] {
        let _ = session.submit(input);
    }
    let script = session.script().unwrap();
    let expected = "let a = 2;\nfn f(x) { x + 1 }\nlet last_1 = f(a);\nprint(last_1);\n\
                    let last_2 = last_1 * 10;\nprint(last_2);\nlet a = last_2;\n";
    assert_eq!(script, expected);
    let _ = session.submit("let two = [1, 2]; two[7]");
    assert_eq!(says(&mut session, "two"), "[1, 2]");
    assert!(session.script().unwrap().ends_with("let two = [1, 2];\nprint(two);\n"));
}

#[test]
fn errors_point_into_the_input_that_defined_the_function() {
    let mut session = session();
    says(&mut session, "fn f(x) { x.lyaer }");
    let error = session.submit("f(1)").unwrap_err();
    let expected = "\
error: `int` has no field `lyaer`
  --> repl[1]:1:13
  |
1 | fn f(x) { x.lyaer }
  |             ^^^^^
  |
  --> repl[2]:1:1
  |
1 | f(1)
  | - in call to `f`
  |
  = help: see `help(int)`
";
    assert_eq!(session.host().render(&error, false), expected);
}

#[test]
fn help_knows_names_and_values() {
    let mut session = session();
    let join = says(&mut session, "help(join)");
    assert!(join.starts_with("join(items: array, separator: string) -> string\n"), "{join}");
    assert_eq!(says(&mut session, "help(jion)"), "nothing is known about `jion`; did you mean `join`?");
    assert!(says(&mut session, "help").contains("assert(condition: bool, message?: string)"));
    let sweep = says(&mut session, "help(Model.sweep)");
    assert!(sweep.starts_with("Model.sweep("), "{sweep}");
    for asking in ["help sweep", "help(\"sweep\")", "?sweep", "sweep?", ":help sweep"] {
        assert!(says(&mut session, asking).starts_with("Model.sweep("), "{asking}");
    }
    for (ty, member) in
        [("string", "to_upper"), ("array", "push"), ("map", "keys"), ("int", "floor_div"), ("range", "map")]
    {
        let text = says(&mut session, &format!("help({ty})"));
        assert!(text.contains(&format!("  {ty}.{member}(")), "{text}");
    }
    for (asking, found) in [
        ("help(\"patch\")", "  Model.run(prompt: any, patches: any, sites?: any) -> Trace\n"),
        ("help unpatched prompt", "  Grid.base -> float\n      the metric of the unpatched prompt"),
        ("help(\"contrastive\")", "  steering::"),
    ] {
        let text = says(&mut session, asking);
        assert!(text.contains(found), "{asking}: {text}");
    }
    assert!(says(&mut session, "help(\"the\")").contains("more: ask with more words"));
    says(&mut session, "let xs = [1];");
    assert!(says(&mut session, "help(xs)").starts_with("array: "));
}
