//! The models that a run is given.

use super::*;

#[test]
fn the_seed_decides_what_is_sampled() {
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny");
    let sample = |more: &[&str]| {
        let text = "print(load().generate(\" John\", #{temperature: 2.0, max_new_tokens: 12}).ids);";
        let ran = run(text, &[&["--model", tiny], more].concat());
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)));
        ran.out
    };
    assert_eq!(sample(&["--seed", "7"]), sample(&["--seed", "7"]));
    assert_ne!(sample(&["--seed", "7"]), sample(&["--seed", "8"]));
    assert_eq!(sample(&[]), sample(&["--seed", "0"]));
}

/// The tiny checkpoint of a family, with what transformers computes for it beside it.
fn checkpoint(family: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny").join(family);
    let folder = folder(&[]);
    for name in ["config.json", "model.safetensors", "expected.json"] {
        fs::copy(from.join(name), folder.path().join(name)).expect("a file of the checkpoint");
    }
    folder
}

#[test]
fn check_model_keeps_every_promise() {
    for family in ["llama", "gpt2", "gemma2"] {
        let folder = checkpoint(family);
        let ran = patchscript(folder.path(), &["check-model", ".", "--device", "cpu"]);
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)), "{family}: {}", ran.out);
        let promises: Vec<_> =
            ran.out.lines().skip_while(|line| !line.starts_with("promise")).skip(1).collect();
        assert_eq!(promises.len(), 7, "{}", ran.out);
        assert!(promises.iter().all(|line| line.contains("  kept  ")), "{}", ran.out);
    }
}

#[test]
fn check_model_shows_a_broken_promise() {
    let folder = checkpoint("llama");
    let path = folder.path().join("expected.json");
    let mut expected: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("the file")).expect("JSON");
    expected["logits_last"][1][7] = 99.into();
    fs::write(&path, expected.to_string()).expect("written");
    let ran = patchscript(folder.path(), &["check-model", ".", "--device", "cpu"]);
    assert_eq!(ran.code, Some(1));
    let broken: Vec<_> = ran.out.lines().filter(|line| line.contains("BROKEN")).collect();
    assert!(broken.len() == 1 && broken[0].starts_with("logits are those of `expected.json`"), "{}", ran.out);
}

#[test]
fn one_variable_limits_the_instructions() {
    let folder = checkpoint("llama");
    let limited = |to: &str, args: &[&str]| -> Ran {
        command(folder.path(), args).env("PATCHSCRIPT_CPU", to).output().expect("the binary starts").into()
    };
    for args in [&["--version", "--verbose"][..], &["check-model", ".", "--device", "cpu"]] {
        let ran = limited("scalar", args);
        assert_eq!((ran.err.as_str(), ran.code), ("", Some(0)), "{}", ran.out);
        let line = ran.out.lines().find(|line| line.starts_with("instructions")).expect("the line");
        let said: Vec<_> = line.split_whitespace().collect();
        assert_eq!(said[1].trim_end_matches(','), "scalar", "{line}");
        assert!(said.len() == 2 || line.ends_with("limited by `PATCHSCRIPT_CPU`"), "{line}");
    }
    assert_eq!(limited("", &["--version"]).out, concat!("patchscript ", env!("CARGO_PKG_VERSION"), "\n"));
    let ran = limited("sse9", &["check-model", "."]);
    assert_eq!(ran.code, Some(2));
    let start = "error: `PATCHSCRIPT_CPU` is `sse9`, which names no instructions of this architecture\n = help: it may be `scalar`, ";
    assert!(ran.err.starts_with(start), "{}", ran.err);
}

#[test]
fn texts_are_found_though_their_characters_are_split() {
    let ran = run(
        "let t = load().tokens(\"The city of 東京 is far from Köln 🙂.\");\n\
         for text in [\"東京\", \"京\", \"Köln\", \"🙂\", \" is\"] {\n\
             let tokens = t[t.span(text)];\n\
             print(text + \" \" + load().decode(tokens).contains(text) + \" \" + (t.find(text) == t.span(text).start));\n\
         }\n\
         try { t.span(\"京東\") } catch (e) { print(e.message); }",
        &[],
    );
    prints(
        &ran,
        "東京 true true\n京 true true\nKöln true true\n🙂 true true\n is true true\nthe prompt does not contain `京東`\n",
    );
}

/// A model folder with this chat template.
fn chatting(template: &str) -> TempDir {
    let folder = folder(&[("model/chat_template.jinja", template)]);
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(format!("tests/fixtures/tiny/{file}"), folder.path().join("model").join(file))
            .expect("a copy");
    }
    folder
}

#[test]
fn a_chat_template_gets_the_keys_of_tools_in_their_order() {
    let files =
        chatting("{% for tool in tools %}{{ tool | tojson }}\r\n{% endfor %}{{ messages[0].content }}");
    let said = |tools: &str| {
        let text = format!(
            "print(load(\"model\").chat([#{{role: \"user\", content: \"hi\"}}], #{{tools: {tools}}}));"
        );
        fs::write(files.path().join("a.rhai"), text).expect("a file");
        patchscript(files.path(), &["run", "a.rhai"])
    };
    let json = r#"[{"type": "function", "function": {"name": "look_up", "description": "é"}}]"#;
    fs::write(files.path().join("tools.json"), json).expect("a file");
    let line = &json[1..json.len() - 1];
    prints(&said("read_json(\"tools.json\")"), &format!("{line}\nhi\n"));
    prints(
        &said("[#{type: \"function\", function: #{name: \"look_up\", description: \"é\"}}]"),
        &format!("{line}\nhi\n"),
    );
    let ran = said("{ let tool = #{}; tool.type = 1; tool.name = 2; [tool] }");
    assert!(
        ran.err.contains("the order of the keys of `tools[0]` is not known: `name`, `type`")
            && ran.err.contains("help:"),
        "{}",
        ran.err
    );
}

#[test]
fn a_folder_says_why_it_is_no_model() {
    let files = chatting("hi");
    let model = files.path().join("model");
    let told = || {
        fs::write(files.path().join("a.rhai"), "load(\"model\")").expect("a file");
        patchscript(files.path(), &["run", "a.rhai"]).err
    };
    assert_eq!(told(), "");
    fs::write(model.join("adapter_config.json"), "{}").expect("a file");
    assert!(told().contains("holds an adapter, `adapter_config.json`"), "{}", told());
    fs::remove_file(model.join("adapter_config.json")).expect("removed");
    fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).expect("renamed");
    assert!(told().contains("`pytorch_model.bin`, whose weights are pickled"), "{}", told());
}
