//! The activations of one site over prompts of any number: packed passes that stop at the layer of the site and compute
//! no logits. Nothing is kept; who wants something of it takes it as it comes.

use super::again::depth;
use crate::model::{At, Axes, Config, Model, ModelError, Stage};
use crate::run::walking::walk::{Past, Walk, Walker};
use crate::run::{Control, Heads, Pos, Result, RunError, Site, memory};
use candle_core::{DType, Tensor};

/// The numbers of `site` at each position: neurons, or entries of the stream, or those of all heads side by side.
///
/// # Errors
/// A site that does not exist, one after the last layer, one of scores, one that is narrowed, one of an autoencoder's features.
pub fn width(site: &Site, config: &Config) -> Result<usize> {
    site.validate(config)?;
    let refused = |expected| Err(RunError::Option { option: "site", expected });
    if site.at.point.stage() == Stage::Ending {
        return refused("a site of a layer, such as `mlp_post(2)`");
    }
    if site.pos != Pos::All || site.heads != Heads::All || site.neuron.is_some() {
        return refused("a whole site, without positions, heads or neurons");
    }
    if site.features.is_some() {
        return refused("a site of the model, not of a sparse autoencoder");
    }
    match site.at.point.axes(config) {
        Axes::Row { width } => Ok(width),
        Axes::Heads { heads, width } => Ok(heads * width),
        Axes::Scores { .. } => refused("a site with a row a position, such as `mlp_post(2)`"),
    }
}

/// Runs prompts, given as ids, and hands the rows of each at `at` to `sink` in their order: the index of the prompt and
/// `[pos, width]`, row-major float32. They are packed as far as fits the memory budget; a prompt without ids is passed
/// over.
///
/// # Errors
/// A prompt longer than the model's context, before anything runs; what `sink` refuses.
pub fn stream(
    model: &Model,
    at: At,
    prompts: &[Vec<u32>],
    control: &Control,
    mut sink: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let n_ctx = model.config().n_ctx;
    if let Some(len) = prompts.iter().map(Vec::len).find(|len| *len > n_ctx) {
        return Err(ModelError::TooLong { len, n_ctx }.into());
    }
    let some: Vec<usize> = (0..prompts.len()).filter(|&i| !prompts[i].is_empty()).collect();
    let lens = some.iter().map(|&i| prompts[i].len());
    let budget = memory::budget(control, &model.transformer.device);
    for pack in memory::packs(model, lens, at, budget) {
        control.check()?;
        let pack = &some[pack];
        let rows = pack.iter().map(|&i| memory::recorded(model, prompts[i].len(), &[at]));
        crate::memory::reserve(rows.sum())?;
        let walker =
            |&i: &usize| Walker { ids: &prompts[i], first: 0, past: 0, entry: 0, tail: 0, writes: &[] };
        let walkers: Vec<Walker> = pack.iter().map(walker).collect();
        let walk = Walk {
            model,
            control,
            past: Past::default(),
            from: None,
            depth: depth(&[at], model.config().n_layers),
            keep: [at].into(),
            keep_kv: false,
        };
        for (record, &i) in walk.run(&walkers, |_| {})?.records()?.iter().zip(pack) {
            sink(i, &numbers(record.get(&at), at)?)?;
        }
    }
    Ok(())
}

fn numbers(x: Option<&Tensor>, at: At) -> Result<Vec<f32>> {
    let x = x.ok_or_else(|| ModelError::Tensor(format!("`{}` was not recorded", at.point.name())))?;
    Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
