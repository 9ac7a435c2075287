//! The activations of one site over prompts of any number: packed passes that stop at the layer of the site and compute
//! no logits. Nothing is kept; who wants something of it takes it as it comes.

use super::again::depth;
use super::pass::{Prompt, pass};
use crate::model::{At, Axes, Config, Model, ModelError, Stage, Transformer};
use crate::run::divide::{self, divided};
use crate::run::{Control, Heads, Pos, Result, RunError, Site, memory};
use candle_core::{DType, Device, Tensor};

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
    let packs = memory::packs(model, lens, at, memory::budget(control, model));
    let work = |copy: &&Transformer, pack: usize| {
        control.check()?;
        let pack = &some[packs[pack].clone()];
        let rows = pack.iter().map(|&i| memory::recorded(model, prompts[i].len(), &[at]));
        crate::memory::reserve(rows.sum())?;
        let packed: Vec<Prompt> = pack.iter().map(|&i| (&prompts[i][..], &[][..])).collect();
        let depth = depth(&[at], model.config().n_layers);
        let left = pass(model, [copy, copy], &packed, &[at], depth, false, control)?;
        let records = left.records.into_iter().zip(pack);
        let rows = records.map(|(mut record, &i)| match record.remove(&at) {
            Some(x) => Ok((i, Some(x.to_device(&Device::Cpu)?))),
            None => Ok((i, None)),
        });
        rows.collect::<Result<Vec<_>>>()
    };
    // One prompt's numbers at a time; what was recorded goes as a whole, or what is kept would settle in the gaps.
    let take = |_, rows: Vec<(usize, Option<Tensor>)>| {
        rows.iter().try_for_each(|(i, x)| sink(*i, &numbers(x.as_ref(), at)?))
    };
    divided(divide::copies(model, false), packs.len(), Ok, work, take)
}

fn numbers(x: Option<&Tensor>, at: At) -> Result<Vec<f32>> {
    let x = x.ok_or_else(|| ModelError::Tensor(format!("`{}` was not recorded", at.point.name())))?;
    Ok(x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
