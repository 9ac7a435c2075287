//! Real models whose weights stay quantised: the same numbers in less memory. One test, so that nothing else in the
//! process takes memory meanwhile.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use patchscript::model::info::info;
use patchscript::model::{LoadOptions, Model};
use std::path::Path;
use std::sync::Arc;

/// Logits of a prompt, and how many bytes were held at most while the model was loaded and ran.
fn logits(path: &Path, quantized: bool) -> (Vec<f32>, usize, usize) {
    let before = status("VmRSS:");
    let options = LoadOptions { device: "cpu".into(), quantized, ..LoadOptions::default() };
    let mut dense = 0;
    let mut found = Vec::new();
    let peak = peak(|| {
        let model = Arc::new(Model::load(path.to_str().unwrap(), &options).unwrap());
        dense = info(model.config()).unwrap().bytes(model.transformer.dtype);
        // Kernels for few rows and for more.
        for len in [40, 3] {
            let ids: Vec<u32> = (0..len).map(|i| i * i + 5).collect();
            found.extend(flat(&common::logits(&run(&model, &id_tokens(&model, &ids), vec![], &[]))));
        }
    });
    (found, peak.saturating_sub(before), dense)
}

#[test]
fn weights_that_stay_quantised_take_less_memory() {
    for path in [smollm2_path(), gemma3_path()].into_iter().flatten() {
        let (kept, held, weights) = logits(&path, true);
        let file = std::fs::metadata(&path).unwrap().len() as usize;
        println!("{}: {} MiB held, {} MiB of float32 weights", path.display(), held >> 20, weights >> 20);
        // The file is there twice, mapped and as weights; beyond it a matrix, logits, what the tokenizer holds.
        let allowed = 2 * file + (160 << 20);
        assert!(held <= allowed, "{held} bytes held, {allowed} allowed");
        let (dense, held, _) = logits(&path, false);
        assert!(held > allowed.max(weights), "the test cannot fail: {held} bytes held by dense weights");
        assert!(kept == dense, "{}", path.display());
    }
}
