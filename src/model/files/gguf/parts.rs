//! A model in several files, as llama.cpp's `gguf-split` writes them: `NAME-00001-of-00003.gguf`, …. The first part has
//! the metadata, each has some of the tensors; `split.count` and `split.no` (from 0) say that and which.

use std::path::{Path, PathBuf};

use super::{Gguf, Problem, Result, optional};

/// The most that five digits name.
const MOST: u32 = 99_999;

/// The paths of all parts, in order, if `gguf` is one of several.
///
/// # Errors
/// A part whose name does not say where the others are, or one of these that is not there.
pub fn all(gguf: &Gguf) -> Result<Option<Vec<PathBuf>>> {
    let Some(count) = optional(gguf.u32("split.count"))?.filter(|count| *count > 1) else { return Ok(None) };
    let part = gguf.u32("split.no")?.saturating_add(1);
    if part > count || count > MOST {
        return Err(gguf.error(Problem::Corrupt(format!("it says that it is part {part} of {count}"))));
    }
    let Some(stem) = stem(gguf.path(), part, count) else {
        return Err(gguf.error(Problem::PartName { part, count }));
    };
    let path = |part: u32| gguf.path().with_file_name(named(&stem, part, count));
    let paths: Vec<PathBuf> = (1..=count).map(path).collect();
    match paths.iter().find(|path| !path.is_file()) {
        Some(missing) => Err(gguf.error(Problem::PartMissing { part, count, missing: missing.clone() })),
        None => Ok(Some(paths)),
    }
}

fn named(stem: &str, part: u32, count: u32) -> String {
    format!("{stem}-{part:05}-of-{count:05}.gguf")
}

fn stem(path: &Path, part: u32, count: u32) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(&named("", part, count))?.to_string())
}
