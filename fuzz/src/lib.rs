//! Loads a file of one kind, whatever is in it: it must give a model or an error, never panic, and never hold more than
//! four times the file's size. The fuzzer feeds it, and a plain test replays `corpus/` through it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use patchscript::model::gguf::Gguf;
use patchscript::model::info::info;
use patchscript::model::tokenizer::{Bos, Tokenizer};
use patchscript::model::{LoadOptions, Model, load_config};

/// What loading holds whatever the file's size: the other files of the model, tables, threads.
const SLACK: usize = 64 << 20;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting.
pub struct Counting;

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(HELD.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// `kind`: `config`, `gguf`, `safetensors` or `tokenizer`.
pub fn try_file(kind: &str, data: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of this crate, or of the one whose test replays the corpus.
    let root =
        manifest.ancestors().find(|folder| folder.join("fuzz/corpus").is_dir()).expect("the repository");
    let tiny = root.join("fuzz/model");
    let copy = |name: &str| std::fs::copy(tiny.join(name), path(name)).expect("a fixture");
    let write = |name: &str| std::fs::write(path(name), data).expect("a file");

    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let options = LoadOptions { device: "cpu".into(), offline: true, ..LoadOptions::default() };
    match kind {
        "gguf" => {
            write("model.gguf");
            if let Ok(gguf) = Gguf::open(&path("model.gguf")) {
                for name in gguf.tensor_names() {
                    let _ = gguf.tensor(name, &patchscript::model::parse_device("cpu").expect("the CPU"));
                }
                let _ = Tokenizer::from_gguf(&gguf).map(|tokenizer| tokenizer.map(|t| use_it(&t)));
            }
            for quantized in [false, true] {
                let options = LoadOptions { quantized, ..options.clone() };
                let _ = Model::load(&path("model.gguf").display().to_string(), &options);
            }
        }
        "tokenizer" => {
            write("tokenizer.json");
            let _ = Tokenizer::from_folder(folder.path()).map(|tokenizer| use_it(&tokenizer));
        }
        "config" => {
            write("config.json");
            copy("model.safetensors");
            let id = folder.path().display().to_string();
            let _ = load_config(&id, true).and_then(|config| info(&config));
            let _ = Model::load(&id, &options);
        }
        "safetensors" => {
            copy("config.json");
            write("model.safetensors");
            let _ = Model::load(&folder.path().display().to_string(), &options);
        }
        _ => panic!("no such kind: {kind}"),
    }
    let held = PEAK.load(Relaxed).saturating_sub(before);
    assert!(held <= 4 * data.len() + SLACK, "{held} bytes for a file of {}", data.len());
}

fn use_it(tokenizer: &Tokenizer) {
    if let Ok(ids) = tokenizer.encode(" John gave\n50% é<bos>", Bos::Auto, true) {
        tokenizer.decode_each(&ids);
    }
    tokenizer.decode(&[0, 1, 2, 77, u32::MAX]);
}
