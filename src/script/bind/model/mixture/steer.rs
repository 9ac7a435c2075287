//! Patches that move activations toward a component, and along its directions.

use std::sync::Arc;

use candle_core::Device;
use rhai::{Dynamic, Map};

use super::example::mixture;
use super::{Mfa, options};
use crate::analysis::mfa::{Latent, MfaError, Units};
use crate::data::rows::Matrix;
use crate::run::patch::RowMap;
use crate::run::{Edit, Patch, RunError, Site, Value};
use crate::script::api::Api;
use crate::script::args;
use crate::script::bind::model::site;
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::error::{ScriptResult, fail};

/// Registers `steer` and `steer_latent`, each toward one component and toward all.
pub fn register(api: &mut Api) {
    centroids(api);
    directions(api);
}

fn centroids(api: &mut Api) {
    api.method(
        "Mfa",
        "steer(site: Site, k: int, alpha: number) -> Patch",
        "goes a fraction of the way to the mean of component k: (1 - alpha) x + alpha mean. At every position of the site, the \
         first too; `.steps(\"all\")` steers new tokens as well",
    )
    .example(
        mixture!(
            "let run = load().run(\" John gave\", mixture.steer(resid_post(4), 1, 1.0)); \
             (run[resid_post(4)][-1] - mixture.mean(1)).abs().max() < 1e-4"
        ),
        "true",
    )
    .native(|mfa: &mut Mfa, site: Dynamic, k: i64, alpha: Dynamic| -> ScriptResult<Patch> {
        let (site, k, alpha) = (site::read(&site)?, args::size(&k.into())?, args::number(&alpha)?);
        check(alpha)?;
        let mean = mfa.inner.mean(k).map_err(refusal::of)?.to_vec();
        let mean = mfa.tensor(mean, &[mfa.inner.width()])?;
        Ok(Patch::new(site, Edit::Lerp(Value::Tensor(mean.inner().clone()), alpha)))
    });
    api.method(
        "Mfa",
        "steer(site: Site, alpha: number) -> Patch",
        "the same toward the means of all components, weighted by their shares in the activation",
    )
    .example(mixture!("mixture.steer(resid_post(4), 0.5)"), "steer resid_post.4")
    .native(|mfa: &mut Mfa, site: Dynamic, alpha: Dynamic| -> ScriptResult<Patch> {
        let (site, alpha) = (site::read(&site)?, args::number(&alpha)?);
        check(alpha)?;
        shared(mfa, site, alpha, None)
    });
}

fn directions(api: &mut Api) {
    api.method(
        "Mfa",
        "steer_latent(site: Site, k: int, alpha: number, z: array | Tensor, options?: map) -> Patch",
        "goes toward the mean of component k, then z steps along its directions, which alpha does not scale: a number a \
         direction, or a row of them a position of the site. Option `units`: \"posterior\" (a step is a standard deviation, \
         as `latent` gives them) or \"plotted\" (a step is a length of 1, as in the coordinates of `project`)",
    )
    .example(
        mixture!(
            "let run = load().run(\" John gave\", mixture.steer_latent(resid_post(4).at(-1), 1, 1.0, [2, 0])); \
             (run[resid_post(4)][-1] - mixture.mean(1) - mixture.loadings(1).t()[0] * 2.0).abs().max() < 1e-4"
        ),
        "true",
    )
    .native(|mfa: &mut Mfa, site: Dynamic, k: i64, alpha: Dynamic, z: Dynamic| {
        latent(mfa, &site, Some(k), &alpha, &z, Map::new())
    })
    .native(|mfa: &mut Mfa, site: Dynamic, k: i64, alpha: Dynamic, z: Dynamic, options: Map| {
        latent(mfa, &site, Some(k), &alpha, &z, options)
    });
    api.method(
        "Mfa",
        "steer_latent(site: Site, alpha: number, z: array | Tensor, options?: map) -> Patch",
        "the same toward all components and along the directions of each, weighted by their shares in the activation; z may \
         have a row a component",
    )
    .example(mixture!("mixture.steer_latent(resid_post(4), 0.5, [2, 0])"), "steer resid_post.4")
    .native(|mfa: &mut Mfa, site: Dynamic, alpha: Dynamic, z: Dynamic| {
        latent(mfa, &site, None, &alpha, &z, Map::new())
    })
    .native(|mfa: &mut Mfa, site: Dynamic, alpha: Dynamic, z: Dynamic, options: Map| {
        latent(mfa, &site, None, &alpha, &z, options)
    });
}

fn check(alpha: f64) -> ScriptResult<()> {
    match alpha.is_finite() {
        true => Ok(()),
        false => Err(refusal::of(MfaError::NotFinite { name: "alpha", value: alpha })),
    }
}

fn latent(
    mfa: &Mfa,
    site: &Dynamic,
    k: Option<i64>,
    alpha: &Dynamic,
    z: &Dynamic,
    map: Map,
) -> ScriptResult<Patch> {
    let (site, alpha) = (site::read(site)?, args::number(alpha)?);
    check(alpha)?;
    let mut options = options(map, "steer_latent");
    let units = match options.get_string("units")?.as_deref() {
        None | Some("posterior") => Units::Posterior,
        Some("plotted") => Units::Plotted,
        Some(other) => {
            return Err(fail(format!("no units are called `{other}`"))
                .help("give \"posterior\" or \"plotted\"")
                .into());
        }
    };
    options.finish()?;
    let z = steps(mfa, z)?;
    match k {
        Some(k) => one(mfa, site, args::size(&k.into())?, alpha, &z, units),
        None => shared(mfa, site, alpha, Some((z, units))),
    }
}

/// Numbers along the directions: one set of them, or rows of sets.
struct Steps {
    numbers: Vec<f32>,
    rows: Option<usize>,
}

fn steps(mfa: &Mfa, z: &Dynamic) -> ScriptResult<Steps> {
    let rank = mfa.inner.rank();
    let (numbers, dims) = match z.read_lock::<Tensor>() {
        Some(z) => (z.host()?, z.dims().to_vec()),
        None => {
            let numbers = args::each(z, args::number)?;
            (numbers.iter().map(|z| *z as f32).collect(), vec![numbers.len()])
        }
    };
    match dims[..] {
        [found] if found == rank => Ok(Steps { numbers, rows: None }),
        [rows, found] if found == rank => Ok(Steps { numbers, rows: Some(rows) }),
        _ => Err(fail(format!("`z` has shape {dims:?}: the mixture has {rank} directions a component"))
            .help(format!("give {rank} numbers, or rows of {rank}"))
            .into()),
    }
}

/// Toward one component: a change with the same value at each position, or with one for each.
fn one(mfa: &Mfa, site: Site, k: usize, alpha: f64, z: &Steps, units: Units) -> ScriptResult<Patch> {
    let (width, rows) = (mfa.inner.width(), z.rows.unwrap_or(1));
    let zeros = Matrix::new(vec![0.0; rows * width], width);
    let moved = mfa.inner.steer_latent(&zeros, Some(k), 0.0, Latent::PerRow(&z.numbers), units);
    let along = moved.map_err(refusal::of)?;
    let dims = if z.rows.is_some() { vec![rows, width] } else { vec![width] };
    let value = |numbers| {
        Ok::<_, Box<rhai::EvalAltResult>>(Value::Tensor(mfa.tensor(numbers, &dims)?.inner().clone()))
    };
    if alpha == 0.0 {
        return Ok(Patch::new(site, Edit::Add(value(along)?)));
    }
    // (1 - a) x + a (mean + step / a)
    let mean = mfa.inner.mean(k).map_err(refusal::of)?;
    let toward = along.iter().zip(mean.iter().cycle());
    let toward = toward.map(|(step, mean)| (f64::from(*mean) + f64::from(*step) / alpha) as f32).collect();
    Ok(Patch::new(site, Edit::Lerp(value(toward)?, alpha)))
}

/// Toward all components by their shares in the activation, which is another change for each.
fn shared(mfa: &Mfa, site: Site, alpha: f64, z: Option<(Steps, Units)>) -> ScriptResult<Patch> {
    if let Some((Steps { rows: Some(rows), .. }, _)) = &z
        && *rows != mfa.inner.components()
    {
        let components = mfa.inner.components();
        return Err(fail(format!("`z` has {rows} rows: the mixture has {components} components"))
            .help(format!("give one set of numbers, or {components} rows of them"))
            .into());
    }
    let inner = mfa.inner.clone();
    let width = inner.width();
    let map = move |x: &candle_core::Tensor| -> Result<candle_core::Tensor, RunError> {
        let dims = x.dims().to_vec();
        let rows = Matrix::new(x.flatten_all()?.to_vec1()?, width);
        let moved = match &z {
            None => inner.steer(&rows, None, alpha as f32),
            Some((z, units)) => {
                let along = match z.rows {
                    None => Latent::Same(&z.numbers),
                    Some(_) => Latent::PerComponent(&z.numbers),
                };
                inner.steer_latent(&rows, None, alpha as f32, along, *units)
            }
        };
        let moved = moved.map_err(|error| RunError::Closure(error.to_string()))?;
        Ok(candle_core::Tensor::from_vec(moved, dims, &Device::Cpu)?)
    };
    Ok(Patch::new(site, Edit::Each(RowMap { name: "steer", width, map: Arc::new(map) })))
}
