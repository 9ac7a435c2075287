//! Every entry of the script API has an example, and every example prints what it promises.

use std::path::Path;

use patchscript::script::session::Reply;
use patchscript::script::{Host, HostOptions, Session};

fn fresh() -> Session {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny");
    let model = Some(model.display().to_string());
    let out = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples"));
    Session::new(Host::new(HostOptions { model, out, ..HostOptions::default() }))
}

#[test]
fn every_signature_parses() {
    let session = fresh();
    let mistakes: Vec<_> = session.host().table().mistakes.iter().map(ToString::to_string).collect();
    assert!(mistakes.is_empty(), "{mistakes:#?}");
}

#[test]
fn every_example_prints_what_it_promises() {
    let mut wrong = Vec::new();
    for entry in &fresh().host().table().entries {
        let usage = entry.usage();
        let Some(example) = entry.example else {
            wrong.push(format!("{usage}: no example"));
            continue;
        };
        let mut session = fresh();
        let printed = match session.submit(example.code) {
            Ok(Reply::Text(text)) => text,
            Ok(_) => String::new(),
            Err(error) => session.host().render(&error, false),
        };
        if printed != example.output {
            wrong.push(format!("{usage}\n  > {}\n{printed}\n  expected\n{}", example.code, example.output));
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n\n"));
}
