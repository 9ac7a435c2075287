//! Mixtures that are trained, and the centroids that they begin at.

use std::io;
use std::sync::Arc;

use candle_core::Device;
use rhai::{Dynamic, Map, NativeCallContext};

use super::example::mixture;
use super::{Mfa, served};
use crate::analysis;
use crate::analysis::kmeans::{self, KMeansError, KMeansOptions, Metric};
use crate::analysis::mfa::kept::Kept;
use crate::analysis::mfa::train::{self, Done, Init, Method, Progress, TrainOptions, Watch};
use crate::analysis::mfa::{MfaError, Sizes, Stored, parameters};
use crate::data::random::Generator;
use crate::data::rows::{Chosen, Rows};
use crate::memory;
use crate::model::parse_device;
use crate::run::Control;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::model::acts::{self, Acts};
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Registers `kmeans` and `mfa`.
pub fn register(api: &mut Api) {
    let context = api.context();
    api.function(
        "mfa(x: Acts | Tensor, options?: map) -> Mfa",
        "a mixture of factor analysers trained on activations [n, d] (Shafran et al. 2026), the same for the same seed. \
         Options: `components` (100), `rank` (10 directions a component), `init` (\"kmeans\", \"random\" rows, centroids \
         [components, d], an Mfa, or a map of its parameters `mu`, `dir_raw`, `scale_rho`, `psi_rho`, `pi_logits`), `method` \
         (\"adam\" or \"em\"), `epochs` (5), `batch` (128), `lr` (0.001), `shuffle` (true), `steps_per_epoch`, `clip` (the \
         longest gradient), `validation` (a share of the activations, or others; the epoch that does best there is kept), \
         `patience` (epochs without a better one), `psi_per_component` (false), `seed`, `file` (where its state is kept after \
         every epoch, for `--resume`), `device` (where Adam steps, as in `load`; `method: \"em\"` runs on the CPU)",
    )
    .example(mixture!("mixture"), "Mfa of resid_post.4: 4 components of rank 2 in 256 dimensions")
    .native({
        let context = context.clone();
        move |call: NativeCallContext, x: Dynamic| trained(&context, &call, &x, Map::new())
    })
    .native(move |call: NativeCallContext, x: Dynamic, options: Map| trained(&context, &call, &x, options));
    let context = api.context();
    api.function(
        "kmeans(x: Acts | Tensor, k: int, options?: map) -> Tensor",
        "the centres of k clusters of activations [n, d], [k, d]: found among a pool of them, best of some beginnings \
         (k-means++), then refined on all. Options: `pool` (activations; 100 a cluster, 10000 at least), `project` (find them in \
         so many random dimensions), `restarts` (10), `rounds` (50 of each at most), `refine` (25 rounds over all at most), \
         `tolerance` (0.0001), `metric` (\"euclidean\" or \"cosine\"), `weights` (how likely each comes into the pool: an array, \
         or \"tokens\": rare tokens as likely as frequent ones), `seed`",
    )
    .example("kmeans(tensor([[0, 0], [0, 1], [9, 9], [9, 8]]), 2, #{seed: 0}).sum(0)", "Tensor [2] [9.0, 9.0]")
    .native({
        let context = context.clone();
        move |call: NativeCallContext, x: Dynamic, k: i64| centres(&context, &call, &x, k, Map::new())
    })
    .native(move |call: NativeCallContext, x: Dynamic, k: i64, options: Map| {
        centres(&context, &call, &x, k, options)
    });
}

/// Watches for a script: stops where it is interrupted, tells how far it is, and keeps the state after every epoch.
struct Watcher<'a> {
    control: &'a Control,
    context: &'a Context,
    file: Option<&'a str>,
    options: &'a TrainOptions,
}

impl Watch for Watcher<'_> {
    fn go_on(&mut self, progress: Progress) -> bool {
        match (progress, &self.options.init) {
            (Progress::KMeans(progress), Init::KMeans(options)) => {
                report_rounds(self.control, progress, options)
            }
            (Progress::KMeans(_), _) => {}
            (Progress::Step { epoch, step, steps, nll }, _) => {
                let all = self.options.epochs.saturating_mul(steps);
                let done = epoch.saturating_mul(steps).saturating_add(step);
                // None yet at the first step of an epoch.
                let unit =
                    if nll.is_finite() { format!("steps, {nll:.2} nats a row") } else { "steps".into() };
                self.control.report(done, all, &unit);
            }
        }
        self.control.check().is_ok()
    }

    fn epoch(&mut self, done: &Done<'_>) -> io::Result<()> {
        let Some(file) = self.file else { return Ok(()) };
        let written = self.context.write(file, |to| done.keep(to));
        written.map(drop).map_err(|error| io::Error::other(error.to_string()))
    }
}

fn report_rounds(control: &Control, progress: kmeans::Progress, options: &KMeansOptions) {
    let (done, all) = progress.rounds(options);
    control.report(done, all, "rounds of k-means");
}

fn trained(context: &Arc<Context>, call: &NativeCallContext, x: &Dynamic, map: Map) -> ScriptResult<Mfa> {
    let rows = acts::rows(x)?;
    let of = x.read_lock::<Acts>().map(|acts| acts.clone());
    let default = TrainOptions::default();
    let mut options = Options::new(map, "mfa");
    let seed = seed(&mut options, context)?;
    let init = options.get("init");
    let psi_per_component = options.get_bool("psi_per_component")?.unwrap_or(default.psi_per_component);
    let method = options.get_with("method", method)?.unwrap_or(default.method);
    let given = TrainOptions {
        components: options.get_usize("components")?.unwrap_or(default.components),
        rank: options.get_usize("rank")?.unwrap_or(default.rank),
        psi_per_component,
        init: read_init(init)?,
        method,
        epochs: options.get_usize("epochs")?.unwrap_or(default.epochs),
        batch: options.get_usize("batch")?.unwrap_or(default.batch),
        lr: options.get_f64("lr")?.unwrap_or(default.lr),
        shuffle: options.get_bool("shuffle")?.unwrap_or(default.shuffle),
        seed,
        clip: options.get_f64("clip")?,
        steps_per_epoch: options.get_usize("steps_per_epoch")?,
        patience: options.get_usize("patience")?,
        device: device(options.get_string("device")?, method, context)?,
    };
    let (rows, validation) = held_out(rows, options.get("validation"), seed)?;
    let file = options.get_string("file")?;
    if let Some(file) = file.as_ref().filter(|file| !file.ends_with(".safetensors")) {
        return Err(fail(format!("option `file`: `{file}` does not end in `.safetensors`"))
            .help(format!("write `{file}.safetensors`"))
            .into());
    }
    options.finish()?;
    let kept = match &file {
        Some(file) if context.options.resume => kept(context, file)?,
        _ => None,
    };
    let parameters =
        given.components.saturating_mul(rows.width()).saturating_mul(given.rank.saturating_add(1));
    // Parameters with two averages each, and the best of them.
    memory::reserve_many(parameters.saturating_mul(4), size_of::<f32>())?;
    let told = context.clone();
    let mut inner = served(call, context, "training", move |control| {
        let watch = &mut Watcher { control, context: &told, file: file.as_deref(), options: &given };
        train::train(&*rows, validation.as_deref(), &given, kept, watch)
    })?;
    if let Some(acts) = &of {
        let origin = acts.inner.origin();
        inner.metadata.insert("site".into(), origin.site.clone());
        inner.metadata.insert("model".into(), origin.model.clone());
    }
    Ok(Mfa::new(inner, of, context))
}

fn seed(options: &mut Options, context: &Context) -> ScriptResult<u64> {
    Ok(options.get_usize("seed")?.map(|seed| seed as u64).or(context.options.seed).unwrap_or(0))
}

/// Where the training steps: as said, else as for models.
fn device(asked: Option<String>, method: Method, context: &Context) -> ScriptResult<Device> {
    match (asked, method) {
        (Some(asked), Method::Em) if asked != "cpu" => {
            Err(fail(format!("option `device`: `method: \"em\"` does not run on `{asked}`"))
                .help("leave out `device`, or give `method: \"adam\"`")
                .into())
        }
        (_, Method::Em) => Ok(Device::Cpu),
        (asked, Method::Adam) => {
            let name = asked.or(context.options.device.clone()).unwrap_or("auto".into());
            parse_device(&name).map_err(refusal::model)
        }
    }
}

fn method(value: &Dynamic) -> ScriptResult<Method> {
    match args::string(value)?.as_str() {
        "adam" => Ok(Method::Adam),
        "em" => Ok(Method::Em),
        other => Err(fail(format!("no method is called `{other}`")).help("give \"adam\" or \"em\"").into()),
    }
}

/// The state that an earlier run left, if it left one.
fn kept(context: &Context, file: &str) -> ScriptResult<Option<Kept>> {
    let files = context.files()?;
    if !files.write_path(file).map_err(refusal::of)?.exists() {
        return Ok(None);
    }
    let bytes = files.read(file).map_err(refusal::of)?;
    Kept::from_bytes(&bytes).map(Some).map_err(refusal::of)
}

/// Rows of both kinds.
type HeldOut = (Arc<dyn Rows>, Option<Arc<dyn Rows>>);

/// Activations to learn from, and those to look at: a share of all that the seed draws, or others.
fn held_out(rows: Arc<dyn Rows>, validation: Option<Dynamic>, seed: u64) -> ScriptResult<HeldOut> {
    let Some(validation) = validation else { return Ok((rows, None)) };
    let Ok(share) = args::number(&validation) else { return Ok((rows, Some(acts::rows(&validation)?))) };
    let held = (share * rows.len() as f64).round();
    if !(share > 0.0 && share < 1.0 && held >= 1.0 && held < rows.len() as f64) {
        return Err(fail(format!("option `validation`: {share} is no share of {} activations", rows.len()))
            .help("give a number between 0 and 1, or other activations")
            .into());
    }
    memory::reserve_many(rows.len(), 2 * size_of::<usize>())?;
    // Another stream of numbers than those of the training.
    let mut order = Generator::new(seed ^ 0x6865_6c64_0000_0000).permutation(rows.len());
    let mut learned = order.split_off(held as usize);
    // In their own order, as without validation.
    order.sort_unstable();
    learned.sort_unstable();
    let validation: Arc<dyn Rows> = Arc::new(Chosen::new(rows.clone(), order));
    Ok((Arc::new(Chosen::new(rows, learned)), Some(validation)))
}

fn read_init(value: Option<Dynamic>) -> ScriptResult<Init> {
    let Some(value) = value else { return Ok(Init::KMeans(KMeansOptions::default())) };
    if let Some(mixture) = value.read_lock::<Mfa>() {
        return Ok(Init::Mfa(Box::new((*mixture.inner).clone())));
    }
    if let Some(centroids) = value.read_lock::<Tensor>() {
        if centroids.dims().len() != 2 {
            let shape = centroids.dims();
            return Err(fail(format!(
                "option `init`: centroids of shape {shape:?}, expected [components, d]"
            ))
            .help("give a row a component, as `kmeans` does")
            .into());
        }
        return Ok(Init::Centroids(centroids.host()?));
    }
    if let Some(map) = value.read_lock::<Map>() {
        return Ok(Init::Mfa(Box::new(parameters_of(&map)?)));
    }
    let given = value.is_string().then(|| args::string(&value)).transpose()?;
    match given.as_deref() {
        Some("kmeans") => Ok(Init::KMeans(KMeansOptions::default())),
        Some("random") => Ok(Init::Rows),
        _ => Err(args::expected("\"kmeans\", \"random\", centroids, an Mfa or a map of parameters", &value)
            .help("for example `init: \"kmeans\"`")
            .into()),
    }
}

/// A mixture of the parameters of the published code.
fn parameters_of(map: &Map) -> ScriptResult<analysis::Mfa> {
    let mut options = Options::new(map.clone(), "init");
    let mut take = |name: &'static str| -> ScriptResult<(Vec<usize>, Vec<f32>)> {
        let value = options.get(name).ok_or_else(|| {
            fail(format!("option `init`: the map has no `{name}`"))
                .help("a mixture is `mu`, `dir_raw`, `scale_rho`, `psi_rho` and `pi_logits`")
        })?;
        match value.read_lock::<Tensor>() {
            Some(tensor) => Ok((tensor.dims().to_vec(), tensor.host()?)),
            None => Err(args::expected("a Tensor", &value).into()),
        }
    };
    let (dims, dir_raw) = take("dir_raw")?;
    let &[components, width, rank] = &dims[..] else {
        let (found, expected) = (dims, "[components, width, rank]".into());
        return Err(refusal::of(MfaError::Shape { name: "dir_raw", found, expected }));
    };
    let [mu, scale_rho, psi_rho, pi_logits] =
        [take("mu")?, take("scale_rho")?, take("psi_rho")?, take("pi_logits")?];
    options.finish()?;
    let sizes = Sizes { components, width, rank, psi_per_component: psi_rho.0.len() == 2 };
    let (mu, scale_rho, psi_rho, pi_logits) = (mu.1, scale_rho.1, psi_rho.1, pi_logits.1);
    let eps_floor = parameters::EPS_FLOOR;
    analysis::Mfa::new(Stored { sizes, mu, dir_raw, scale_rho, psi_rho, pi_logits, eps_floor })
        .map_err(refusal::of)
}

fn centres(
    context: &Arc<Context>,
    call: &NativeCallContext,
    x: &Dynamic,
    k: i64,
    map: Map,
) -> ScriptResult<Tensor> {
    let clusters = args::size(&k.into())?;
    let rows = acts::rows(x)?;
    let default = KMeansOptions::default();
    let mut options = Options::new(map, "kmeans");
    let given = KMeansOptions {
        clusters,
        pool: options.get_usize("pool")?,
        project: options.get_usize("project")?,
        restarts: options.get_usize("restarts")?.unwrap_or(default.restarts),
        rounds: options.get_usize("rounds")?.unwrap_or(default.rounds),
        refine: options.get_usize("refine")?.unwrap_or(default.refine),
        tolerance: options.get_f64("tolerance")?.unwrap_or(default.tolerance),
        seed: seed(&mut options, context)?,
        metric: options.get_with("metric", metric)?.unwrap_or(default.metric),
    };
    let weights = options.get_with("weights", |weights| weights_of(weights, x))?;
    options.finish()?;
    let (width, centres) = (rows.width(), clusters.saturating_mul(rows.width()));
    memory::reserve_many(centres, 4 * size_of::<f32>())?;
    let found = served(call, context, "k-means", move |control| {
        let go_on = &mut |progress| {
            report_rounds(control, progress, &given);
            control.check().is_ok()
        };
        let found = kmeans::fit(&*rows, weights.as_deref(), &given, go_on);
        found.map_err(|error| match error {
            KMeansError::Interrupted => MfaError::Interrupted,
            error => error.into(),
        })
    })?;
    let centroids =
        candle_core::Tensor::from_vec(found.centroids, (clusters, width), &candle_core::Device::Cpu);
    Tensor::new(context, centroids.map_err(tensor::refused)?)
}

fn metric(value: &Dynamic) -> ScriptResult<Metric> {
    match args::string(value)?.as_str() {
        "euclidean" => Ok(Metric::Euclidean),
        "cosine" => Ok(Metric::Cosine),
        other => Err(fail(format!("no metric is called `{other}`"))
            .help("give \"euclidean\" or \"cosine\"")
            .into()),
    }
}

/// Weights from a script, or those that make all tokens as likely: one over how often each is there, and one more.
fn weights_of(value: &Dynamic, x: &Dynamic) -> ScriptResult<Vec<f64>> {
    if let Some(weights) = value.read_lock::<Tensor>() {
        return Ok(weights.host()?.into_iter().map(f64::from).collect());
    }
    if !value.is_string() {
        return args::each(value, args::number);
    }
    let acts = x.read_lock::<Acts>().filter(|_| value.to_string() == "tokens").ok_or_else(|| {
        fail(format!("option `weights`: \"{value}\" of these activations"))
            .help("give \"tokens\" with activations of `collect`, or a number for each")
    })?;
    memory::reserve_many(acts.inner.len(), size_of::<f64>())?;
    let counts = acts.inner.token_counts();
    let weight = |token: u32| 1.0 / (counts.get(&token).copied().unwrap_or(0) as f64 + 1.0);
    Ok(acts.inner.places().map(|place| weight(place.token())).collect())
}
