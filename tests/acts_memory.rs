//! What collecting holds, whatever the length of the corpus. One test, so that nothing else in the process takes memory
//! meanwhile.
#![cfg(target_os = "linux")]

mod common;

use std::fmt::Write;

use common::*;
use patchscript::script::{Host, HostOptions, Session};

#[test]
fn activations_of_many_texts_hold_no_more_than_those_of_few() {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions {
        allow_read: vec![folder.path().into()],
        out: Some(folder.path().into()),
        memory: Some(16 << 20),
        ..HostOptions::default()
    };
    let mut session = Session::new(Host::new(options));
    session.submit("let m = load();").unwrap();
    let mut held = |n: usize| {
        let text = (0..n).fold(String::new(), |mut text, i| {
            writeln!(text, "{i} John gave the queen 21% of the museum").unwrap();
            text
        });
        let path = folder.path().join(format!("{n}.txt"));
        std::fs::write(&path, text).unwrap();
        let code = format!(
            "let acts = collect(m, {path:?}, resid_post(1), #{{folder: \"a\"}}); assert(acts.row(-1).prompt == {n} - 1); acts = ();"
        );
        peak(|| drop(session.submit(&code).unwrap_or_else(|error| panic!("{error}"))))
    };
    // What is touched once is used again.
    held(3000);
    let (few, many) = (held(3000), held(20_000));
    println!("3,000 texts: {} MiB, 20,000 texts: {} MiB", few >> 20, many >> 20);
    // 210 MiB of numbers are more. Pages of mapped files, which the system takes back when it wants, count here too: where
    // rows are from is looked through when they are mapped, and what lies around it is mapped along.
    assert!(many <= few + (96 << 20), "{few} bytes for 3,000 texts, {many} for 20,000");
}
