//! What the components of a mixture are.

use rhai::{Array, Dynamic, Map};

use super::Mfa;
use super::example::mixture;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::error::ScriptResult;

fn floats(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|x| *x as f32).collect()
}

/// Registers sizes, and what each component has.
pub fn register(api: &mut Api) {
    api.getter("Mfa", "components -> int", "how many there are")
        .example(mixture!("mixture.components"), "4")
        .native(|mfa: &mut Mfa| mfa.inner.components() as i64);
    api.getter("Mfa", "rank -> int", "directions a component")
        .example(mixture!("mixture.rank"), "2")
        .native(|mfa: &mut Mfa| mfa.inner.rank() as i64);
    api.getter("Mfa", "width -> int", "numbers a row that it reads")
        .example(mixture!("mixture.width"), "256")
        .native(|mfa: &mut Mfa| mfa.inner.width() as i64);
    api.getter("Mfa", "weights -> Tensor", "the weight of each component, [components]; they sum to 1")
        .example(mixture!("(mixture.weights.sum() - 1.0).abs() < 1e-6"), "true")
        .native(|mfa: &mut Mfa| mfa.tensor(floats(&mfa.inner.weights()), &[mfa.inner.components()]));
    vectors(api);
    numbers(api);
}

fn vectors(api: &mut Api) {
    api.method("Mfa", "mean(k: int) -> Tensor", "the mean of component k, its centroid, [width]")
        .example(mixture!("mixture.mean(3).shape"), "[256]")
        .native(|mfa: &mut Mfa, k: i64| -> ScriptResult<Tensor> {
            let mean = mfa.inner.mean(args::size(&k.into())?).map_err(refusal::of)?;
            mfa.tensor(mean.to_vec(), &[mfa.inner.width()])
        });
    api.method(
        "Mfa",
        "loadings(k: int) -> Tensor",
        "the directions of component k times their scales, [width, rank]: a step of one standard deviation along each",
    )
    .example(mixture!("mixture.loadings(3).shape"), "[256, 2]")
    .native(|mfa: &mut Mfa, k: i64| -> ScriptResult<Tensor> {
        let loadings = mfa.inner.loadings(args::size(&k.into())?).map_err(refusal::of)?;
        mfa.tensor(loadings, &[mfa.inner.width(), mfa.inner.rank()])
    });
    api.method(
        "Mfa",
        "directions(k: int) -> Tensor",
        "the directions of component k, each of length 1, [width, rank]",
    )
    .example(mixture!("(mixture.directions(3).t()[0].norm() - 1.0).abs() < 1e-5"), "true")
    .native(|mfa: &mut Mfa, k: i64| -> ScriptResult<Tensor> {
        let directions = mfa.inner.directions(args::size(&k.into())?).map_err(refusal::of)?;
        mfa.tensor(directions, &[mfa.inner.width(), mfa.inner.rank()])
    });
    api.method(
        "Mfa",
        "noise(k: int) -> Tensor",
        "the variance that no direction of component k explains, [width]",
    )
    .example(mixture!("mixture.noise(3).min() > 0.0"), "true")
    .native(|mfa: &mut Mfa, k: i64| -> ScriptResult<Tensor> {
        let noise = mfa.inner.noise(args::size(&k.into())?).map_err(refusal::of)?;
        mfa.tensor(noise, &[mfa.inner.width()])
    });
    api.method(
        "Mfa",
        "varimax(k: int, options?: map) -> map",
        "the directions of component k turned so that each number of a row belongs to few of them (Kaiser 1958): the \
         `rotation` [rank, rank] and the turned `loadings` [width, rank]; likelihoods stay the same. Option `gamma` (1; 0 is \
         quartimax)",
    )
    .example(mixture!("mixture.varimax(3).loadings.shape"), "[256, 2]")
    .native(|mfa: &mut Mfa, k: i64| varimax(mfa, k, Map::new()))
    .native(|mfa: &mut Mfa, k: i64, options: Map| varimax(mfa, k, options));
}

fn varimax(mfa: &Mfa, k: i64, options: Map) -> ScriptResult<Map> {
    let mut options = Options::new(options, "varimax");
    let gamma = options.get_f64("gamma")?.unwrap_or(1.0);
    options.finish()?;
    let turned = mfa.inner.varimax(args::size(&k.into())?, gamma).map_err(refusal::of)?;
    let rank = mfa.inner.rank();
    let rotation = mfa.tensor(floats(&turned.rotation), &[rank, rank])?;
    let loadings = mfa.tensor(floats(&turned.loadings), &[mfa.inner.width(), rank])?;
    let entries = [("rotation", rotation), ("loadings", loadings)];
    Ok(entries.into_iter().map(|(key, tensor)| (key.into(), Dynamic::from(tensor))).collect())
}

fn numbers(api: &mut Api) {
    api.method(
        "Mfa",
        "effective_rank(k: int) -> float",
        "in how many directions component k varies, from 1 to `rank`: the exponential of the entropy of their shares of the \
         variance",
    )
    .example(mixture!("let r = mixture.effective_rank(3); r >= 1.0 && r <= 2.0"), "true")
    .native(|mfa: &mut Mfa, k: i64| -> ScriptResult<f64> {
        mfa.inner.effective_rank(args::size(&k.into())?).map_err(refusal::of)
    });
    api.method(
        "Mfa",
        "nearest(k: int, n: int) -> array",
        "the n components whose means are nearest to that of component k: maps of `component` and `distance`",
    )
    .example(mixture!("mixture.nearest(3, 2).len()"), "2")
    .native(|mfa: &mut Mfa, k: i64, n: i64| -> ScriptResult<Array> {
        let nearest =
            mfa.inner.nearest(args::size(&k.into())?, args::size(&n.into())?).map_err(refusal::of)?;
        let entry = |(component, distance): (usize, f64)| {
            let entries: [(&str, Dynamic); 2] =
                [("component", (component as i64).into()), ("distance", distance.into())];
            entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>().into()
        };
        Ok(nearest.into_iter().map(entry).collect())
    });
}
