//! Sparse autoencoders: loading, training, and from activations to features and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::acts::{self, Acts};
use super::loaded::{Model, place};
use super::trace::Trace;
use super::{runs, site};
use crate::analysis::sae_train::{self, Goal, TrainError, TrainOptions};
use crate::memory;
use crate::model::sae::measure::FIRST_SIGHT;
use crate::model::sae::{Explained, SaeError, SaeOptions};
use crate::model::{self, At, ModelError, embedded};
use crate::run::{Control, Site};
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::bind::data::{from_json, write};
use crate::script::bind::tensor::{self, Tensor};
use crate::script::bind::{closure, refusal};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// An autoencoder, shared by all values made from it.
#[derive(Clone)]
pub struct Sae {
    pub inner: Arc<model::Sae>,
    /// Any model of its widths may be read.
    pub force: bool,
    /// Has what it was given first been looked at?
    judged: Arc<AtomicBool>,
    pub context: Arc<Context>,
}

impl Sae {
    fn new(inner: model::Sae, force: bool, context: &Arc<Context>) -> Sae {
        Sae { inner: Arc::new(inner), force, judged: Arc::default(), context: context.clone() }
    }

    /// The rows of a tensor, or what a trace has where this autoencoder reads; and whether it is one vector.
    fn rows(&self, call: &NativeCallContext, x: &Dynamic) -> ScriptResult<(candle_core::Tensor, bool)> {
        let x = self.activations(call, x, self.inner.about.reads)?;
        let (dims, width) = (x.dims().to_vec(), self.inner.d_in());
        let numbers = x.floats()?;
        // Heads lie side by side.
        let rows = match dims[..] {
            [found] if found == width => numbers.reshape((1, width)),
            [rows, heads, each] if heads * each == width => numbers.reshape((rows, width)),
            _ => Ok(numbers),
        };
        Ok((rows.map_err(tensor::refused)?, dims.len() == 1))
    }

    /// A tensor, or what a trace of a model that fits has at a place.
    fn activations(&self, call: &NativeCallContext, x: &Dynamic, at: At) -> ScriptResult<Tensor> {
        if let Some(x) = x.read_lock::<Tensor>() {
            return Ok(x.clone());
        }
        let Some(trace) = x.read_lock::<Trace>() else {
            return Err(expected("a Tensor or a Trace", x).into());
        };
        let model = trace.inner.model();
        self.inner.check(&model.id, model.config(), self.force).map_err(refused)?;
        trace.read(call, &Site::new(at.point, at.layer))
    }

    /// Asks for room for the features of so many rows, and a copy.
    fn reserve(&self, rows: usize) -> ScriptResult<()> {
        Ok(memory::reserve_many(rows.saturating_mul(self.inner.d_sae()), 2 * size_of::<f32>())?)
    }

    fn computed(
        &self,
        one: bool,
        work: impl FnOnce(&model::Sae) -> Result<candle_core::Tensor, SaeError> + Send + 'static,
    ) -> ScriptResult<Tensor> {
        let inner = self.inner.clone();
        let rows = self.context.apart(move || work(&inner))?.map_err(refused)?;
        Tensor::new(&self.context, if one { rows.get(0).map_err(tensor::refused)? } else { rows })
    }

    fn encode(&self, call: &NativeCallContext, x: &Dynamic) -> ScriptResult<Tensor> {
        let (rows, one) = self.rows(call, x)?;
        self.reserve(rows.dims()[0])?;
        self.judge(call, x, &rows)?;
        self.computed(one, move |sae| sae.encode(&rows))
    }

    /// Warns, once, where activations do not look like those that it was trained on.
    fn judge(&self, call: &NativeCallContext, x: &Dynamic, rows: &candle_core::Tensor) -> ScriptResult<()> {
        let enough =
            matches!(rows.dims(), &[n, width] if n >= *FIRST_SIGHT.start() && width == self.inner.d_in());
        if !enough || self.judged.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let y = (x.is::<Trace>() && self.inner.about.transcodes())
            .then(|| self.activations(call, x, self.inner.about.writes)?.floats())
            .transpose()?;
        let (inner, rows) = (self.inner.clone(), rows.clone());
        let odd = self.context.apart(move || inner.odd_at_first_sight(&rows, y.as_ref()))?;
        if let Some(odd) = odd.map_err(refused)? {
            self.context.note(&odd);
        }
        Ok(())
    }

    fn decode(&self, call: &NativeCallContext, f: &Tensor, x: Option<Dynamic>) -> ScriptResult<Tensor> {
        let one = f.dims().len() == 1;
        let f = f.floats()?;
        let f = if one { f.unsqueeze(0).map_err(tensor::refused)? } else { f };
        let x = x.map(|x| self.rows(call, &x)).transpose()?.map(|(x, _)| x);
        self.reserve(f.dims()[0])?;
        self.computed(one, move |sae| sae.decode(&f, x.as_ref()))
    }

    /// The `k` strongest features of one activation.
    fn features(&self, call: &NativeCallContext, x: &Dynamic, k: usize) -> ScriptResult<Array> {
        let features = self.encode(call, x)?;
        if !matches!(features.dims(), [_] | [1, _]) {
            let rows = features.dims()[0];
            return Err(fail(format!("expected one activation, found {rows} rows"))
                .help("pick one, as in `sae.features(trace[sae.at.at(-1)], 5)`")
                .into());
        }
        let features = features.host()?;
        let mut order: Vec<usize> = (0..features.len()).filter(|i| features[*i] != 0.0).collect();
        order.sort_by(|a, b| features[*b].total_cmp(&features[*a]).then(a.cmp(b)));
        let entry = |i: usize| {
            let mut map = Map::new();
            map.insert("index".into(), (i as i64).into());
            map.insert("activation".into(), f64::from(features[i]).into());
            if let Some(link) = self.inner.link(i) {
                map.insert("link".into(), link.into());
            }
            Dynamic::from(map)
        };
        Ok(order.into_iter().take(k).map(entry).collect())
    }

    fn explained(&self, call: &NativeCallContext, x: &Dynamic, y: Option<Dynamic>) -> ScriptResult<Map> {
        if let (Some(acts), None) = (x.read_lock::<Acts>(), &y) {
            return self.explained_acts(&acts);
        }
        let (rows, _) = self.rows(call, x)?;
        let writes = self.inner.about.writes;
        // A transcoder's output is in the same trace.
        let y = match (y, x.is::<Trace>() && self.inner.about.transcodes()) {
            (Some(y), _) => Some(self.activations(call, &y, writes)?),
            (None, true) => Some(self.activations(call, x, writes)?),
            (None, false) => None,
        };
        let y = y.map(|y| y.floats()).transpose()?;
        let inner = self.inner.clone();
        let found = self.context.apart(move || inner.explained(&rows, y.as_ref()))?.map_err(refused)?;
        Ok(self.told(found))
    }

    /// How well it does on the activations of where it reads.
    fn explained_acts(&self, acts: &Acts) -> ScriptResult<Map> {
        let reads = self.inner.about.reads;
        let site = acts.site()?;
        if self.inner.about.transcodes() {
            return Err(fail("a transcoder gives other activations than it reads")
                .help("give both, as tensors: `sae.explained(acts.x, y)`")
                .into());
        }
        if site.at != reads && !self.force {
            return Err(fail(format!(
                "the activations are of `{site}`, and the autoencoder reads `{reads}`"
            ))
            .help("collect them there: `collect(m, texts, sae.at)`")
            .into());
        }
        uncentred(acts)?;
        self.reserve(1024)?;
        let (inner, rows) = (self.inner.clone(), acts.inner.clone());
        let found = self.context.apart(move || inner.explained_rows(&rows))?.map_err(refused)?;
        Ok(self.told(found))
    }

    /// As a map; and a word to the user where something is odd.
    fn told(&self, found: Explained) -> Map {
        if let Some(odd) = self.inner.odd(&found) {
            self.context.note(&odd);
        }
        let Explained { variance, l0, error, silent, rows } = found;
        let numbers = [("variance", variance), ("l0", l0), ("error", error)].map(|(k, x)| (k, x.into()));
        let counts = [("silent", silent), ("rows", rows)].map(|(k, n)| (k, Dynamic::from(n as i64)));
        numbers.into_iter().chain(counts).map(|(key, value)| (key.into(), value)).collect()
    }
}

fn refused(error: SaeError) -> Box<rhai::EvalAltResult> {
    refusal::run(error.into())
}

/// Refuses activations that are not as the model has them.
fn uncentred(acts: &Acts) -> ScriptResult<()> {
    match acts.inner.origin().center {
        false => Ok(()),
        true => Err(fail("the activations are centred, unlike those that the autoencoder will meet")
            .help("collect them without `center`")
            .into()),
    }
}

/// A site that stands for a whole place.
fn whole(value: &Dynamic) -> ScriptResult<At> {
    let found = site::read(value)?;
    match found == Site::new(found.at.point, found.at.layer) {
        true => Ok(found.at),
        false => Err(fail(format!("expected a whole site, found `{found}`"))
            .help(format!("write `{}`", found.at))
            .into()),
    }
}

fn model_of(value: &Dynamic) -> ScriptResult<Model> {
    value.read_lock::<Model>().map(|model| model.clone()).ok_or_else(|| expected("a Model", value).into())
}

/// Registers Sae.
pub fn register(api: &mut Api) {
    api.ty::<Sae>("Sae", "a sparse autoencoder or transcoder", |sae| {
        let about = &sae.inner.about;
        let place = match about.transcodes() {
            true => format!("{} to {}", about.reads, about.writes),
            false => about.reads.to_string(),
        };
        format!("Sae {}: {place}, {} features", about.kind.name(), sae.inner.d_sae())
    });
    load(api);
    train(api);
    fields(api);
    methods(api);
}

fn load(api: &mut Api) {
    let context = api.context();
    let alone = context.clone();
    api.function(
        "load_sae(id: string, options?: map) -> Sae",
        "a sparse autoencoder: `demo`, a folder or file of sparsify, SAELens, Gemma Scope or `.save`, or \
         `org/name/folder` on the Hub; options: `site` (where it reads, if the files do not say), `writes` (the same of a \
         transcoder's output), `model` (a Model that it must be of), `force` (another site or model is meant), `scale` \
         (what inputs are multiplied by first), `neuronpedia` (its name there)",
    )
    .example("load_sae(\"demo\")", "Sae topk: resid_post.4, 768 features")
    .native(move |id: &str| loaded(&alone, id, Map::new()))
    .native(move |id: &str, options: Map| loaded(&context, id, options));
}

fn loaded(context: &Arc<Context>, id: &str, options: Map) -> ScriptResult<Sae> {
    let mut options = Options::new(options, "load_sae");
    let force = options.get_bool("force")?.unwrap_or(false);
    let given = SaeOptions {
        site: options.get_with("site", whole)?,
        writes: options.get_with("writes", whole)?,
        scale: options.get_f64("scale")?,
        neuronpedia: options.get_string("neuronpedia")?,
        force,
        offline: context.options.offline,
    };
    let model = options.get_with("model", model_of)?;
    options.finish()?;
    let from = if id == embedded::ID { id.to_string() } else { place(context, id)? };
    let inner = memory::limit::load(|| model::Sae::load(&from, &given)).map_err(refused)?;
    if let Some(model) = model {
        inner.check(&model.inner.id, model.inner.config(), force).map_err(refused)?;
    }
    context.resume.loaded(&inner.files);
    if let Some(unscaled) = inner.unscaled() {
        context.note(&unscaled);
    }
    Ok(Sae::new(inner, force, context))
}

fn train(api: &mut Api) {
    let context = api.context();
    let plain = context.clone();
    api.function(
        "sae_train(activations: Acts | Tensor, options?: map) -> Sae",
        "a sparse autoencoder trained on activations, or a tensor of some [n, d], the same for the same seed; options: \
         `site` (where a tensor's were read), `kind` (\"topk\" or \"jumprelu\"), `features` (8 d if not given), `k` (active \
         ones a row, 32), `steps` (2000), `batch` (rows a step, 1024), `lr` (0.001), `seed`, `model` (the Model that a \
         tensor's are of)",
    )
    .example(
        "let acts = collect(load(), [\" John gave Mary a book\"], resid_post(4)); \
         sae_train(acts, #{features: 16, k: 4, steps: 50, seed: 0})",
        "Sae topk: resid_post.4, 16 features",
    )
    .native(move |call: NativeCallContext, x: Dynamic| trained(&plain, &call, &x, Map::new()))
    .native(move |call: NativeCallContext, x: Dynamic, options: Map| trained(&context, &call, &x, options));
}

fn trained(context: &Arc<Context>, call: &NativeCallContext, x: &Dynamic, options: Map) -> ScriptResult<Sae> {
    let rows = acts::rows(x)?;
    let width = rows.width();
    // Activations know where they are from.
    let (of_site, of_model) = match x.read_lock::<Acts>() {
        Some(acts) => {
            uncentred(&acts)?;
            (Some(acts.site()?.at), Some(acts.inner.origin().model.clone()))
        }
        None => (None, None),
    };
    let mut options = Options::new(options, "sae_train");
    let goal = options.get_with("kind", goal)?.unwrap_or(Goal::TopK);
    let given = TrainOptions {
        goal,
        features: options.get_usize("features")?.unwrap_or(width.saturating_mul(8)),
        k: options.get_usize("k")?.unwrap_or(32),
        steps: options.get_usize("steps")?.unwrap_or(2000),
        batch: options.get_usize("batch")?.unwrap_or(1024),
        rate: options.get_f64("lr")?.unwrap_or(1e-3),
        seed: options.get_usize("seed")?.map(|seed| seed as u64).or(context.options.seed).unwrap_or(0),
        site: options.get_with("site", whole)?.or(of_site).ok_or_else(|| {
            fail("`sae_train` needs `site`, where the activations were read")
                .help("add it, as in `site: resid_post(4)`")
        })?,
        model: options.get_with("model", model_of)?.map(|model| model.inner.id.clone()).or(of_model.clone()),
    };
    options.finish()?;
    if let Some(at) = of_site.filter(|at| *at != given.site) {
        return Err(fail(format!("the activations are of `{at}`, not of `{}`", given.site))
            .help("drop `site`: they know where they are from")
            .into());
    }
    if let (Some(own), Some(other)) = (of_model, &given.model)
        && own != *other
    {
        return Err(fail(format!("the activations are of `{own}`, not of `{other}`"))
            .help("drop `model`: they know what they are of")
            .into());
    }
    // Both matrices with two averages each, in a copy for the product; and for each row of a batch what every feature is.
    let matrices = given.features.saturating_mul(width).saturating_mul(8);
    let batch = given.batch.saturating_mul(given.features.saturating_add(width)).saturating_mul(4);
    memory::reserve_many(matrices.saturating_add(batch), size_of::<f32>())?;
    let steps = given.steps;
    let control = runs::control_with_progress(context, "training");
    let inner = closure::serve(call, context, control, move |control: &Control| {
        let go_on = |step| {
            control.report(step, steps, "steps");
            control.check().is_ok()
        };
        match sae_train::train(&*rows, &given, go_on) {
            Err(TrainError::Interrupted) => Err(ModelError::Interrupted.into()),
            trained => Ok(trained),
        }
    })?;
    let inner = inner.map_err(refusal::of)?;
    Ok(Sae::new(inner, false, context))
}

fn goal(value: &Dynamic) -> ScriptResult<Goal> {
    match args::string(value)?.as_str() {
        "topk" => Ok(Goal::TopK),
        "jumprelu" => Ok(Goal::JumpRelu),
        other => {
            Err(fail(format!("no kind `{other}` can be trained")).help("give `topk` or `jumprelu`").into())
        }
    }
}

fn fields(api: &mut Api) {
    let site = |at: At| Site::new(at.point, at.layer);
    api.getter("Sae", "at -> Site", "where it reads")
        .example("load_sae(\"demo\").at", "resid_post.4")
        .native(move |sae: &mut Sae| site(sae.inner.about.reads));
    api.getter("Sae", "writes -> Site", "where its output belongs; elsewhere than it reads for a transcoder")
        .example("load_sae(\"demo\").writes", "resid_post.4")
        .native(move |sae: &mut Sae| site(sae.inner.about.writes));
    api.getter("Sae", "kind -> string", "`standard`, `jumprelu`, `topk` or `gated`")
        .example("load_sae(\"demo\").kind", "\"topk\"")
        .native(|sae: &mut Sae| sae.inner.about.kind.name());
    api.getter("Sae", "d_in -> int", "width of what it reads")
        .example("load_sae(\"demo\").d_in", "256")
        .native(|sae: &mut Sae| sae.inner.d_in() as i64);
    api.getter("Sae", "d_sae -> int", "features")
        .example("load_sae(\"demo\").d_sae", "768")
        .native(|sae: &mut Sae| sae.inner.d_sae() as i64);
    api.getter(
        "Sae",
        "cfg -> map",
        "its config as it was read; of one that was trained here the options and a history",
    )
    .example("load_sae(\"demo\").cfg.metadata.model_name", "\"demo\"")
    .native(|sae: &mut Sae| from_json(sae.inner.about.cfg.clone()));
}

fn methods(api: &mut Api) {
    api.method(
        "Sae",
        "encode(x: Tensor | Trace) -> Tensor",
        "features [d_sae] of an activation [d_in], or [n, d_sae] of n; of a trace, those where it reads",
    )
    .example(
        "let sae = load_sae(\"demo\"); let f = sae.encode(load().trace(\"Wei left.\")); (f > 0).sum(1).max()",
        "32.0",
    )
    .native(|call: NativeCallContext, sae: &mut Sae, x: Dynamic| sae.encode(&call, &x));
    api.method(
        "Sae",
        "decode(features: Tensor, x?: Tensor | Trace) -> Tensor",
        "the activation that features stand for; `x`, what they were encoded from, undoes a normalisation and feeds a skip \
         connection",
    )
    .example("let sae = load_sae(\"demo\"); sae.decode(zeros([768])).shape", "[256]")
    .native(|call: NativeCallContext, sae: &mut Sae, f: Tensor| sae.decode(&call, &f, None))
    .native(|call: NativeCallContext, sae: &mut Sae, f: Tensor, x: Dynamic| sae.decode(&call, &f, Some(x)));
    api.method(
        "Sae",
        "features(x: Tensor, k: int) -> array",
        "the k strongest features of one activation: `index`, `activation`, and the `link` to Neuronpedia if it is known",
    )
    .example(
        "let sae = load_sae(\"demo\"); let x = load().trace(\" John gave\")[sae.at.at(-1)]; sae.features(x, 3).len()",
        "3",
    )
    .native(|call: NativeCallContext, sae: &mut Sae, x: Dynamic, k: i64| -> ScriptResult<Array> {
        sae.features(&call, &x, args::size(&k.into())?)
    });
    api.method("Sae", "direction(feature: int) -> Tensor", "what a feature adds to the output, [d_out]")
        .example("load_sae(\"demo\").direction(7).shape", "[256]")
        .native(|sae: &mut Sae, feature: i64| -> ScriptResult<Tensor> {
            let feature = args::size(&feature.into())?;
            Tensor::new(&sae.context, sae.inner.direction(feature).map_err(refused)?)
        });
    api.method(
        "Sae",
        "explained(x: Tensor | Trace | Acts, y?: Tensor | Trace) -> map",
        "how well it does on activations [n, d_in]: the share of `variance` explained, `l0` active features and the \
         squared `error` a row, `silent` features, `rows`; `y` is what a transcoder should give",
    )
    .example(
        "let sae = load_sae(\"demo\"); let x = load().trace(\"Wei comforted the sailors.\")[sae.at.at(1..6)]; \
         sae.explained(x).l0",
        "32.0",
    )
    .native(|call: NativeCallContext, sae: &mut Sae, x: Dynamic| sae.explained(&call, &x, None))
    .native(|call: NativeCallContext, sae: &mut Sae, x: Dynamic, y: Dynamic| sae.explained(&call, &x, Some(y)));
    api.method("Sae", "save(path: string) -> string", "writes it for `load_sae`; returns where the file is")
        .example("load_sae(load_sae(\"demo\").save(\"sae.safetensors\")).kind", "\"topk\"")
        .native(|sae: &mut Sae, path: &str| -> ScriptResult<String> {
            let numbers = sae.inner.d_sae().saturating_mul(sae.inner.d_in() + sae.inner.d_out());
            memory::reserve_many(numbers, 3 * size_of::<f32>())?;
            let inner = sae.inner.clone();
            let bytes = sae.context.apart(move || inner.to_bytes())?.map_err(refused)?;
            write(&sae.context, path, &bytes)
        });
}

#[cfg(test)]
mod tests {
    use crate::script::HostOptions;
    use crate::script::bind::testing::{check, run};

    #[test]
    fn what_does_not_fit_is_refused() {
        check(&[
            (
                "load_sae(\"demo\").encode(zeros([3, 255]))",
                "expected activations of shape [rows, 256], found [3, 255]; read them where the autoencoder reads: \
                 `trace[sae.at]`",
            ),
            ("load_sae(\"demo\").encode(1)", "expected a Tensor or a Trace, found `int`"),
            (
                "load_sae(\"demo\").features(zeros([3, 256]), 2)",
                "expected one activation, found 3 rows; pick one, as in `sae.features(trace[sae.at.at(-1)], 5)`",
            ),
            (
                "load_sae(\"demo\", #{site: resid_post(3)})",
                "the autoencoder reads `resid_post.4`, not `resid_post.3`; its features mean little elsewhere; if that is \
                 the question, add `force: true`",
            ),
            ("load_sae(\"demo\", #{site: resid_post(3), force: true}).at", "resid_post.3"),
            (
                "load_sae(\"demo\", #{site: resid_post(4).at(0)})",
                "option `site`: expected a whole site, found `resid_post.4 at 0`; write `resid_post.4`",
            ),
            (
                "load_sae(\"demo\").direction(768)",
                "feature 768 does not exist: the autoencoder has 768; the last one is 767",
            ),
            (
                "sae_train(zeros([9, 4]), #{site: resid_post(1)})",
                "all 9 rows are the same; check what computed them",
            ),
            (
                "sae_train(zeros([9, 4]), #{})",
                "`sae_train` needs `site`, where the activations were read; add it, as in `site: resid_post(4)`",
            ),
        ]);
        let refused = run("load_sae(\"./no/such/folder\")", HostOptions::default());
        assert!(
            refused.starts_with("no autoencoder at `./no/such/folder`; give a folder, a file, or"),
            "{refused}"
        );
    }

    #[test]
    fn another_model_is_refused_by_name_and_by_width() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny");
        let options = || HostOptions { allow_read: vec![folder.into()], ..HostOptions::default() };
        let narrow = format!("load_sae(\"demo\", #{{model: load({folder:?}), force: true}})");
        let told = run(&narrow, options());
        assert!(told.starts_with("the autoencoder reads `resid_post.4`, which `"), "{told}");
        // Training on it, and reading elsewhere.
        let train = "let m = load(); let x = m.trace(\" John gave Mary a book\")[resid_post(2)]; \
                     let sae = sae_train(x, #{site: resid_post(2), model: m, features: 8, k: 2, steps: 3, seed: 1}); ";
        let own = run(&format!("{train}sae.encode(m.trace(\" John\")).shape"), options());
        assert_eq!(own, "[2, 8]");
        let told = run(&format!("{train}sae.encode(load({folder:?}).trace([1, 5]))"), options());
        assert!(told.contains("64") && told.contains("256 numbers at `resid_post.2`"), "{told}");
    }

    #[test]
    fn one_activation_and_many_are_the_same() {
        check(&[
            (
                "let sae = load_sae(\"demo\"); let x = randn([3, 256], rng(0)); \
                 (sae.encode(x)[1] - sae.encode(x[1])).abs().max() < 1e-4",
                "true",
            ),
            (
                "let sae = load_sae(\"demo\"); let x = randn([2, 256], rng(0)); let f = sae.encode(x); \
                 let top = sae.features(x[0], 1)[0]; f[0].argmax() == top.index && f[0].max() == top.activation",
                "true",
            ),
        ]);
    }
}
