//! What decides the numbers of a model's runs, besides what they are asked: its files, how its weights are made of them, the
//! program, and what computes. Two models of one identity give the same to the bit.

use std::hash::Hash;
use std::time::SystemTime;

use super::cpu::isa;
use super::{LoadOptions, Model, split_made};
use crate::cache::{Cache, Key};

/// The identity of a model that was loaded with these options since `began`; `None` where it is not known: a file that
/// changed meanwhile, or a model on a card.
pub fn identity(model: &Model, options: &LoadOptions, began: SystemTime, cache: &Cache) -> Option<String> {
    if !model.transformer.device.is_cpu() {
        return None;
    }
    // The version alone would not tell a program that was built anew; and the embedded model is part of it.
    let program = cache.file_sum_at(&std::env::current_exe().ok()?, began)?;
    let files: Vec<_> =
        model.files.iter().map(|file| cache.file_sum_at(file, began)).collect::<Option<_>>()?;
    let mut key = Key::new("model");
    (program, files, model.config().raw.to_string()).hash(&mut key);
    let transformer = &model.transformer;
    (split_made(&model.id).0, options.seed, options.quantized).hash(&mut key);
    (transformer.dtype.as_str(), transformer.precision).hash(&mut key);
    // Products and sums are divided among threads, and by what the instructions can do.
    (isa::description(), processor(), rayon::current_num_threads()).hash(&mut key);
    Some(key.name())
}

/// What the system says of the first core, but for its clock: some products are divided by the sizes of its caches.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let lines = text.lines().take_while(|line| !line.is_empty());
    let constant = |line: &&str| !line.contains("MHz") && !line.to_ascii_lowercase().contains("bogomips");
    Some(lines.filter(constant).collect())
}
