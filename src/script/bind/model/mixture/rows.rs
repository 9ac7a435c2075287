//! What a mixture makes of activations.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::example::mixture;
use super::{Mfa, options};
use crate::analysis;
use crate::analysis::mfa::MfaError;
use crate::analysis::mfa::strongest::largest;
use crate::data::rows::{Matrix, Rows};
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::model::acts;
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::error::{ScriptResult, fail};

/// Activations from a script, and whether they are one vector.
struct Given {
    rows: Arc<dyn Rows>,
    one: bool,
}

impl Mfa {
    /// Acts, or a tensor `[n, width]` or `[width]`.
    fn given(&self, x: &Dynamic) -> ScriptResult<Given> {
        let vector = x.read_lock::<Tensor>().filter(|x| x.dims().len() == 1);
        let given = match vector {
            Some(vector) => {
                let width = vector.dims()[0];
                Given { rows: Arc::new(Matrix::new(vector.host()?, width)), one: true }
            }
            None => Given { rows: acts::rows(x)?, one: false },
        };
        self.check_width(&*given.rows)?;
        Ok(given)
    }

    /// Refuses rows of another width before anything is computed.
    pub(super) fn check_width(&self, rows: &dyn Rows) -> ScriptResult<()> {
        match (rows.width(), self.inner.width()) {
            (found, expected) if found != expected => Err(refusal::of(MfaError::Width { found, expected })),
            _ => Ok(()),
        }
    }

    /// A result with `[n, ..each]` numbers for the rows, and with `[..each]` for one vector.
    fn computed(
        &self,
        call: &NativeCallContext,
        x: &Dynamic,
        each: &[usize],
        work: impl FnOnce(&analysis::Mfa, &dyn Rows) -> Result<Vec<f32>, MfaError> + Send + 'static,
    ) -> ScriptResult<Dynamic> {
        let Given { rows, one } = self.given(x)?;
        let dims: Vec<usize> = [rows.len()].iter().chain(each).copied().collect();
        tensor::check_room(&dims)?;
        let numbers = self.served(call, "reading", move |mfa, _| work(mfa, &*rows))?;
        match (one, each) {
            (true, []) => Ok(f64::from(numbers[0]).into()),
            (true, _) => self.tensor(numbers, each).map(Dynamic::from),
            (false, _) => self.tensor(numbers, &dims).map(Dynamic::from),
        }
    }

    /// The component of each row.
    pub(super) fn assigned(&self, call: &NativeCallContext, rows: &Arc<dyn Rows>) -> ScriptResult<Vec<u32>> {
        memory::reserve_many(rows.len(), size_of::<u32>())?;
        let (rows, all) = (rows.clone(), rows.len());
        self.served(call, "reading", move |mfa, control| {
            mfa.assign(&*rows, |done| {
                control.report(done, all, "rows");
                control.check().is_ok()
            })
        })
    }
}

/// Registers what reads rows.
pub fn register(api: &mut Api) {
    densities(api);
    places(api);
    subspaces(api);
}

fn densities(api: &mut Api) {
    api.method(
        "Mfa",
        "nll(x: Acts | Tensor) -> Tensor",
        "the negative logarithm of the mixture's density at each activation, in nats, [n]; a float for one vector",
    )
    .example(mixture!("mixture.nll(acts).shape == [acts.len] && mixture.nll(acts.x[0]) > 0.0"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic| {
        mfa.computed(&call, &x, &[], |mfa, rows| Ok(mfa.nll(rows)?.into_iter().map(|x| x as f32).collect()))
    });
    api.method(
        "Mfa",
        "log_likelihoods(x: Acts | Tensor) -> Tensor",
        "the logarithm of each component's density at each activation, in nats, [n, components]; weights are no part of it",
    )
    .example(mixture!("mixture.log_likelihoods(acts.x[0]).shape"), "[4]")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic| {
        mfa.computed(&call, &x, &[mfa.inner.components()], |mfa, rows| mfa.log_likelihoods(rows))
    });
    api.method(
        "Mfa",
        "responsibilities(x: Acts | Tensor, options?: map) -> Tensor",
        "the share of each component in each activation, its posterior probability, [n, components]. Option `tau` (1): a \
         temperature",
    )
    .example(mixture!("(mixture.responsibilities(acts.x[0]).sum() - 1.0).abs() < 1e-5"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic| responsibilities(&call, mfa, &x, Map::new()))
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic, options: Map| {
        responsibilities(&call, mfa, &x, options)
    });
    api.method(
        "Mfa",
        "assign(x: Acts | Tensor) -> array",
        "the component with the largest share in each activation; an int for one vector",
    )
    .example(
        mixture!("mixture.assign(acts).len() == acts.len && mixture.assign(mixture.mean(2)) == 2"),
        "true",
    )
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic| -> ScriptResult<Dynamic> {
        let Given { rows, one } = mfa.given(&x)?;
        mfa.context.check_len(rows.len())?;
        let assigned = mfa.assigned(&call, &rows)?;
        let mut assigned = assigned.into_iter().map(|k| Dynamic::from(i64::from(k)));
        Ok(if one { assigned.next().unwrap_or_default() } else { assigned.collect::<Array>().into() })
    });
}

fn responsibilities(call: &NativeCallContext, mfa: &Mfa, x: &Dynamic, map: Map) -> ScriptResult<Dynamic> {
    let mut options = options(map, "responsibilities");
    let tau = options.get_f64("tau")?.unwrap_or(1.0);
    options.finish()?;
    mfa.computed(call, x, &[mfa.inner.components()], move |mfa, rows| mfa.responsibilities(rows, tau))
}

fn places(api: &mut Api) {
    api.method(
        "Mfa",
        "latent(x: Acts | Tensor, k: int) -> Tensor",
        "the posterior mean of each activation's place along the directions of component k, in standard deviations, [n, rank]",
    )
    .example(mixture!("mixture.latent(mixture.mean(1), 1).abs().max() < 1e-3"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic, k: i64| -> ScriptResult<Dynamic> {
        let k = args::size(&k.into())?;
        mfa.inner.mean(k).map_err(refusal::of)?;
        mfa.computed(&call, &x, &[mfa.inner.rank()], move |mfa, rows| mfa.latent(rows, k))
    });
    api.method(
        "Mfa",
        "reconstruct(x: Acts | Tensor) -> Tensor",
        "what the mixture makes of each activation, [n, width]: the components' means moved along their directions to the \
         posterior means, weighted by their shares",
    )
    .example(mixture!("mixture.reconstruct(acts.x[0]).shape"), "[256]")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic| {
        mfa.computed(&call, &x, &[mfa.inner.width()], |mfa, rows| mfa.reconstruct(rows))
    });
}

fn subspaces(api: &mut Api) {
    api.method(
        "Mfa",
        "project(x: Acts | Tensor, k: int, options?: map) -> map",
        "where the activations of component k lie in its subspace: `rows` (which they are), `coordinates` [rows, rank] by \
         least squares in directions of length 1, `energy` and `ratio` (what the subspace holds of each), `centroid` (the \
         coordinates of the mean). These are no posterior means: for those there is `latent`. Options: `assign` (\"hard\": \
         rows with their largest share there, or \"threshold\": at least `min_alpha`, 0.2), `tau`, `center` (measure from \
         the part of the mean outside the subspace), `max_points` (100000)",
    )
    .example(mixture!("let p = mixture.project(acts, 1); p.coordinates.shape == [p.rows.len(), 2]"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic, k: i64| project(&call, mfa, &x, k, Map::new()))
    .native(|call: NativeCallContext, mfa: &mut Mfa, x: Dynamic, k: i64, options: Map| {
        project(&call, mfa, &x, k, options)
    });
}

/// Which rows are a component's.
enum Chosen {
    Hard,
    Threshold(f32),
}

fn chosen(options: &mut Options) -> ScriptResult<Chosen> {
    let assign = options.get_string("assign")?.unwrap_or_else(|| "hard".into());
    let least = options.get_f64("min_alpha")?;
    match (assign.as_str(), least) {
        ("hard", None) => Ok(Chosen::Hard),
        ("hard", Some(_)) => {
            Err(fail("`min_alpha` is for `assign: \"threshold\"`").help("drop it, or add that").into())
        }
        ("threshold", least) => Ok(Chosen::Threshold(least.unwrap_or(0.2) as f32)),
        (other, _) => Err(fail(format!("no `assign` is called `{other}`"))
            .help("give \"hard\" or \"threshold\"")
            .into()),
    }
}

fn project(call: &NativeCallContext, mfa: &Mfa, x: &Dynamic, k: i64, map: Map) -> ScriptResult<Map> {
    let k = args::size(&k.into())?;
    mfa.inner.mean(k).map_err(refusal::of)?;
    let mut options = options(map, "project");
    let chosen = chosen(&mut options)?;
    let tau = options.get_f64("tau")?.unwrap_or(1.0);
    let center = options.get_bool("center")?.unwrap_or(false);
    let most = options.get_usize("max_points")?.unwrap_or(100_000);
    options.finish()?;
    let rows = mfa.given(x)?.rows;
    let (width, rank) = (mfa.inner.width(), mfa.inner.rank());
    let room = most.min(rows.len());
    memory::reserve_many(room.saturating_mul(width + rank + 2), size_of::<f32>())?;
    let all = rows.len();
    let (ids, projection) = mfa.served(call, "projecting", move |mfa, control| {
        let mut ids: Vec<usize> = Vec::new();
        let seen = mfa.each_responsibilities(&*rows, tau, |first, shares| {
            for (i, shares) in shares.chunks(mfa.components()).enumerate() {
                let own = match chosen {
                    Chosen::Hard => largest(shares) == k,
                    Chosen::Threshold(least) => shares[k] >= least,
                };
                if own && ids.len() < most {
                    ids.push(first + i);
                }
            }
            control.report(first, all, "rows");
            ids.len() < most && control.check().is_ok()
        });
        match seen {
            // Enough were found.
            Err(MfaError::Interrupted) if ids.len() >= most => {}
            seen => seen?,
        }
        let numbers: Vec<f32> = ids.iter().flat_map(|i| rows.row(*i)).copied().collect();
        let projection = mfa.project(&Matrix::new(numbers, rows.width()), k, center)?;
        Ok((ids, projection))
    })?;
    mfa.context.check_len(ids.len())?;
    let n = ids.len();
    let entries: [(&str, Dynamic); 5] = [
        ("rows", ids.into_iter().map(|i| Dynamic::from(i as i64)).collect::<Array>().into()),
        ("coordinates", Dynamic::from(mfa.tensor(projection.coordinates, &[n, rank])?)),
        ("energy", Dynamic::from(mfa.tensor(projection.energy, &[n])?)),
        ("ratio", Dynamic::from(mfa.tensor(projection.ratio, &[n])?)),
        ("centroid", Dynamic::from(mfa.tensor(projection.centroid, &[rank])?)),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}
