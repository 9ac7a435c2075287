//! Every entry of the script API has an example, and every example prints what it promises.

use std::fs;
use std::path::Path;

use patchscript::script::session::Reply;
use patchscript::script::{Host, HostOptions, Session};

/// With the embedded model, which a user gets from `load()`. Two sessions cannot write to one folder.
fn fresh(out: &str) -> Session {
    let out = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join(out));
    Session::new(Host::new(HostOptions { out, ..HostOptions::default() }))
}

#[test]
fn every_signature_parses() {
    let session = fresh("signatures");
    let mistakes: Vec<_> = session.host().table().mistakes.iter().map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn every_example_prints_what_it_promises() {
    let mut wrong = Vec::new();
    for entry in &fresh("entries").host().table().entries {
        let usage = entry.usage();
        let Some(example) = entry.example else {
            wrong.push(format!("{usage}: no example"));
            continue;
        };
        let printed = said(&mut fresh("examples"), example.code);
        if printed != example.output {
            wrong.push(format!("{usage}\n  > {}\n{printed}\n  expected\n{}", example.code, example.output));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n\n"));
}

/// In `stdlib/*.rhai` an example stands in a function's doc, after `>`, with the line that it prints below.
#[test]
fn every_example_of_the_stdlib_prints_what_it_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib");
    let mut wrong = Vec::new();
    for file in fs::read_dir(folder).expect("the stdlib") {
        let path = file.expect("an entry").path();
        let module = path.file_stem().expect("a name").to_string_lossy();
        let text = fs::read_to_string(&path).expect("a module");
        let mut session = fresh("stdlib");
        let setting = format!(
            "import \"{module}\" as {module}; let m = load(); let metric = logit_diff(\" Europe\", \" the\"); \
             let oslo = m.trace(\"Oslo lies in\"); let lima = m.trace(\"Lima lies in\");"
        );
        session.submit(&setting).expect("the setting of the examples");
        if module == "mfa" {
            let setting = "let acts = collect(m, [\"Oslo lies in Europe\", \"Lima lies in South America\"], resid_post(4)); \
                let mixture = mfa(acts, #{components: 3, rank: 2, epochs: 2, init: \"random\", seed: 0});";
            session.submit(setting).expect("the mixture of the examples");
        }
        let mut example = None;
        for line in text.lines() {
            if let Some(code) = line.strip_prefix("/// > ") {
                example = Some((code, ""));
            } else if let (Some((_, output @ "")), Some(line)) = (&mut example, line.strip_prefix("/// ")) {
                *output = line;
            } else if let Some(function) = line.strip_prefix("fn ") {
                let Some((code, output)) = example.take() else {
                    wrong.push(format!("{module}::{function}: no example"));
                    continue;
                };
                let printed = said(&mut session, code);
                if printed != output {
                    wrong.push(format!("> {code}\n{printed}\n  expected\n{output}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n\n"));
}

/// What the session answers.
fn said(session: &mut Session, code: &str) -> String {
    match session.submit(code) {
        Ok(Reply::Text(text)) => text,
        Ok(_) => String::new(),
        Err(error) => session.host().render(&error, false),
    }
}
