//! What an atlas holds, whatever the length of its corpus. One test, so that nothing else in the process takes memory
//! meanwhile.
#![cfg(target_os = "linux")]

mod common;

use std::fmt::Write;

use common::*;
use patchscript::script::{Host, HostOptions, Session};

#[test]
fn an_atlas_of_many_texts_holds_no_more_than_one_of_few() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = |n: usize| {
        let words = ["gave", "John", "museum", "of the", "21%", "Norway", "and the queen"];
        let text = (0..n).fold(String::new(), |mut text, i| {
            let word = |k: usize| words[(i * 2_654_435_761 / k) % words.len()];
            writeln!(text, "{i} {} {} {} {}", word(1), word(7), word(53), word(411)).unwrap();
            text
        });
        let path = folder.path().join(format!("{n}.txt"));
        std::fs::write(&path, text).unwrap();
        path
    };
    let options = HostOptions {
        allow_read: vec![folder.path().into()],
        out: Some(folder.path().into()),
        memory: Some(64 << 20),
        ..HostOptions::default()
    };
    // Each run has threads of its own: with one heap for all, what those of the run before have left is used again.
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator; no other thread of this process works yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
    let mut session = Session::new(Host::new(options));
    session.submit("let m = load();").unwrap();
    let mut held = |n: usize| {
        let path = corpus(n);
        let code =
            format!("let a = atlas(m, {path:?}, mlp_post(2), #{{top: 2}}); assert(a.read == {n});  a = ();");
        peak(|| drop(session.submit(&code).unwrap_or_else(|error| panic!("{error}"))))
    };
    // What is touched once is used again.
    held(1000);
    let (few, many) = (held(1000), held(20_000));
    println!("1,000 texts: {} MiB, 20,000 texts: {} MiB", few >> 20, many >> 20);
    // What the allocator does with the pieces; all texts and their tokens would be thrice that.
    assert!(many <= few + (4 << 20), "{few} bytes for 1,000 texts, {many} for 20,000");
}
