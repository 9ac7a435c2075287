//! patchscript runs causal experiments on language models from short Rhai scripts.

pub mod model;
