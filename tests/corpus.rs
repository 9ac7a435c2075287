//! Files that once broke a loader, seeds of every kind, and what fuzzing found new, through the loaders again (`fuzz/`).

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

#[global_allocator]
static ALLOCATOR: fuzz::Counting = fuzz::Counting;

/// One test, so that nothing else in the process takes memory meanwhile.
#[test]
fn no_file_of_the_corpus_breaks_a_loader() {
    for kind in ["config", "gguf", "safetensors", "tokenizer"] {
        let mut files = 0;
        for entry in std::fs::read_dir(format!("fuzz/corpus/{kind}")).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            fuzz::try_file(kind, &std::fs::read(&path).unwrap());
            files += 1;
        }
        assert!(files > 0, "{kind}");
    }
}
