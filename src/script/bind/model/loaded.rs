//! Models: loading, sizes, tokens and weights. What a model runs is in [`runs`](super::runs).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use candle_core::DType;
use indicatif::HumanBytes;
use rhai::{Array, Dynamic, Map};

use super::prompt;
use super::shelf::Asked;
use super::tokens::Tokens;
use crate::data::files::FileError;
use crate::memory;
use crate::model::chat::{ChatOptions, Message};
use crate::model::tokenizer::Bos;
use crate::model::{self, LoadOptions, Precision, embedded, identity};
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::bind::data::{from_json, to_json};
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// A model, shared by all values made from it.
#[derive(Clone)]
pub struct Model {
    pub inner: Arc<model::Model>,
    pub context: Arc<Context>,
}

impl Model {
    pub fn tokens(&self, inner: crate::run::Tokens) -> Tokens {
        Tokens { inner, model: self.inner.clone() }
    }

    /// Tokens, an array of ids, or one id.
    fn ids(&self, value: &Dynamic) -> ScriptResult<Vec<u32>> {
        match value.read_lock::<Tokens>() {
            Some(tokens) => Ok(tokens.inner.ids().to_vec()),
            None => prompt::ids(&self.inner, value),
        }
    }

    /// What the model computes outside a run.
    fn computed(
        &self,
        work: impl FnOnce(&model::Model) -> model::Result<candle_core::Tensor> + Send + 'static,
    ) -> ScriptResult<Tensor> {
        let inner = self.inner.clone();
        let tensor = self.context.apart(move || work(&inner))?;
        Tensor::new(&self.context, tensor.map_err(refusal::model)?)
    }

    /// A token's id, or the id of a text that is exactly one token.
    pub fn token(&self, value: &Dynamic) -> ScriptResult<u32> {
        if !value.is_string() {
            return prompt::id(&self.inner, value);
        }
        let tokenizer = self.inner.tokenizer().map_err(refusal::model)?;
        tokenizer.single(&args::string(value)?).map_err(refusal::model)
    }

    fn unembed(&self, resid: &Tensor) -> ScriptResult<Tensor> {
        let d_model = self.inner.config().d_model;
        let dims = resid.dims().to_vec();
        if !(dims.len() == 1 || dims.len() == 2) || dims.last() != Some(&d_model) {
            return Err(fail(format!(
                "expected a tensor of shape [{d_model}] or [rows, {d_model}], found {dims:?}"
            ))
            .help("read one with `trace[resid_post(l)]`")
            .into());
        }
        let resid = resid.inner().clone();
        self.computed(move |model| {
            let logits = model.transformer.logit_lens(&resid.reshape(((), d_model))?)?;
            Ok(if dims.len() == 1 { logits.get(0)? } else { logits })
        })
    }
}

/// The models of this run, by id and options: each is loaded once.
#[derive(Default)]
struct Loaded(Mutex<HashMap<Asked, Arc<model::Model>>>);

impl Loaded {
    fn get(&self, context: &Arc<Context>, id: &str, options: Map) -> ScriptResult<Model> {
        let mut options = Options::new(options, "load");
        let given = &context.options;
        let dtype = options.get_string("dtype")?.or(given.dtype.clone()).unwrap_or("f32".into());
        let precision = options.get_string("precision")?.or(given.precision.clone());
        let precision = precision.unwrap_or_else(|| Precision::default().to_string());
        let device = options.get_string("device")?.or(given.device.clone()).unwrap_or("auto".into());
        let revision = options.get_string("revision")?;
        let quantized = options.get_bool("quantized")?.unwrap_or(false);
        let seed = options.get_usize("seed")?.map(|seed| seed as u64).or(given.seed).unwrap_or(0);
        options.finish()?;
        let id = revision.map_or(id.to_string(), |revision| format!("{id}@{revision}"));

        let options = LoadOptions { device, dtype, precision, offline: given.offline, quantized, seed };
        let key = (id.clone(), options.clone());
        let mut loaded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = loaded.get(&key) {
            context.loaded(inner);
            return Ok(Model { inner: inner.clone(), context: context.clone() });
        }
        let (made, of) = model::split_made(&id);
        let of = place(context, of)?;
        if made == "random:" && !options.device.starts_with("cuda") {
            room_for_random(&of, options.offline)?;
        }
        let place = format!("{made}{of}");
        let load = || {
            let began = SystemTime::now();
            let model = memory::limit::load(|| model::Model::load(&place, &options));
            let mut model = model.map_err(refusal::model)?;
            model.id = id;
            model.identity =
                context.cache.as_ref().and_then(|cache| identity::identity(&model, &options, began, cache));
            Ok(model)
        };
        let inner = context.shelf.take(&key, load)?;
        context.resume.loaded(&inner.files);
        context.record.model(&inner);
        context.loaded(&inner);
        loaded.insert(key, inner.clone());
        Ok(Model { inner, context: context.clone() })
    }
}

/// Refuses a config whose weights no memory would hold, since no file does either.
fn room_for_random(place: &str, offline: bool) -> ScriptResult<()> {
    let config = model::load_config(place, offline).map_err(refusal::model)?;
    let bytes = model::info::info(&config).map_err(refusal::model)?.bytes(DType::F32);
    match bytes > memory::total() {
        true => Err(fail(format!("random weights of this config take {}", HumanBytes(bytes as u64)))
            .help("make its sizes smaller, or load it on a card with room for them")
            .into()),
        false => Ok(()),
    }
}

/// What to load for an id: a path that the script may read, or the id itself where it names no file.
pub(super) fn place(context: &Arc<Context>, id: &str) -> ScriptResult<String> {
    // The command line and a person at the prompt decide for themselves what is read, and the embedded model is no file.
    if id == embedded::ID || context.options.model.as_deref() == Some(id) || context.was_typed(id) {
        return Ok(id.into());
    }
    match context.files()?.read_path(id) {
        Ok(path) => Ok(path.display().to_string()),
        Err(FileError::Missing { .. }) if !Path::new(id).exists() => Ok(id.into()),
        Err(error) => Err(refusal::of(error)),
    }
}

/// The layers of the largest of these models (none: the one of the command line), by their configs; `None` if one is not
/// known. Without a run that follows, the command line is not known either.
pub fn layers_of(context: &Arc<Context>, ids: &BTreeSet<Option<String>>, runs: bool) -> Option<usize> {
    let layers = ids.iter().map(|id| {
        let id = match id {
            Some(id) => id,
            None => context.options.model.as_deref().or(runs.then_some(embedded::ID))?,
        };
        // Nothing is fetched for a check.
        model::load_config(&place(context, model::split_made(id).1).ok()?, true)
            .ok()
            .map(|config| config.n_layers)
    });
    layers.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// Registers Model.
pub fn register(api: &mut Api) {
    api.ty::<Model>("Model", "a language model", |model| {
        let config = model.inner.config();
        format!(
            "Model {}: {}, {} layers, d_model {}, {} heads",
            model.inner.id, config.family.arch, config.n_layers, config.d_model, config.n_heads
        )
    });
    load(api);
    fields(api);
    special_ids(api);
    tokenizer(api);
    chat(api);
    weights(api);
}

fn load(api: &mut Api) {
    let context = api.context();
    let loaded = Arc::new(Loaded::default());
    let default = {
        let (context, loaded) = (context.clone(), loaded.clone());
        move || -> ScriptResult<Model> {
            let id = context.options.model.as_deref().unwrap_or(embedded::ID);
            loaded.get(&context, id, Map::new())
        }
    };
    let by_id = {
        let (context, loaded) = (context.clone(), loaded.clone());
        move |id: &str| loaded.get(&context, id, Map::new())
    };
    api.function(
        "load(id?: string, options?: map) -> Model",
        "the model given by `--model`, else the embedded `demo`; or by id: `demo`, a folder, a `.gguf` file or `org/name`, after `shuffled:` with each tensor's entries in another order, after `random:` with random weights (a folder or a `config.json` is enough); options: `dtype`, `device`, `precision` (as `--precision`), `revision`, `seed` (of those weights), `quantized` (the weights of a `.gguf` file stay as small as they are there)",
    )
    .example("load().n_layers", "8")
    .native(default)
    .native(by_id)
    .native(move |id: &str, options: Map| loaded.get(&context, id, options));
}

/// A size of the model.
type Size = (&'static str, &'static str, fn(&model::Config) -> usize, &'static str, &'static str);

const SIZES: &[Size] = &[
    ("n_layers -> int", "layers", |c| c.n_layers, "load().n_layers", "8"),
    ("d_model -> int", "width of the residual stream", |c| c.d_model, "load().d_model", "256"),
    ("n_heads -> int", "query heads a layer", |c| c.n_heads, "load().n_heads", "8"),
    ("n_kv_heads -> int", "key and value heads a layer", |c| c.n_kv_heads, "load().n_kv_heads", "4"),
    ("d_head -> int", "width of a head", |c| c.d_head, "load().d_head", "32"),
    ("d_mlp -> int", "neurons a layer", |c| c.d_mlp, "load().d_mlp", "416"),
    ("d_vocab -> int", "tokens in the vocabulary", |c| c.d_vocab, "load().d_vocab", "4096"),
    ("n_ctx -> int", "the longest context, in tokens", |c| c.n_ctx, "load().n_ctx", "1024"),
];

fn fields(api: &mut Api) {
    for &(signature, summary, size, code, output) in SIZES {
        api.getter("Model", signature, summary)
            .example(code, output)
            .native(move |model: &mut Model| size(model.inner.config()) as i64);
    }
    api.getter("Model", "id -> string", "what it was loaded by")
        .example("load().id.len() > 0", "true")
        .native(|model: &mut Model| model.inner.id.clone());
    api.getter("Model", "arch -> string", "the model family")
        .example("load().arch", "\"llama\"")
        .native(|model: &mut Model| model.inner.config().family.arch);
    api.getter("Model", "dtype -> string", "the number type of the weights")
        .example("load().dtype", "\"f32\"")
        .native(|model: &mut Model| model.inner.transformer.dtype.as_str());
    api.getter("Model", "precision -> string", "how exactly float32 is multiplied: \"highest\" or \"high\"")
        .example("load(\"demo\", #{precision: \"highest\"}).precision", "\"highest\"")
        .native(|model: &mut Model| model.inner.transformer.precision.to_string());
    api.getter("Model", "device -> string", "where it runs: \"cpu\" or \"cuda\"")
        .example("[\"cpu\", \"cuda\"].contains(load().device)", "true")
        .native(|model: &mut Model| if model.inner.transformer.device.is_cpu() { "cpu" } else { "cuda" });
    api.getter("Model", "config -> map", "`config.json` as it was read")
        .example("load().config.rope_theta", "10000.0")
        .native(|model: &mut Model| from_json(model.inner.config().raw.clone()));
    api.getter(
        "Model",
        "generation_config -> map",
        "`generation_config.json` as it was read; empty if there is none",
    )
    .example("load().generation_config", "#{bos_token_id: 1, eos_token_id: [2, 4], pad_token_id: 0}")
    .native(|model: &mut Model| from_json(model.inner.generation_config.clone()));
}

/// A special token's id, if there is one.
type Special =
    (&'static str, &'static str, fn(&model::tokenizer::Tokenizer) -> Option<u32>, &'static str, &'static str);

const SPECIALS: &[Special] = &[
    (
        "bos_id -> int",
        "the id that begins a sequence; `()` if there is none",
        |t| t.bos_id(),
        "load().bos_id",
        "1",
    ),
    (
        "eos_id -> int",
        "the id that ends a sequence; `()` if there is none",
        |t| t.eos_ids().first().copied(),
        "load().eos_id",
        "2",
    ),
    ("pad_id -> int", "the padding id; `()` if there is none", |t| t.pad_id(), "load().pad_id", "0"),
];

fn special_ids(api: &mut Api) {
    for &(signature, summary, id, code, output) in SPECIALS {
        api.getter("Model", signature, summary).example(code, output).native(move |model: &mut Model| {
            let id = model.inner.tokenizer().ok().and_then(id);
            id.map_or(Dynamic::UNIT, |id| Dynamic::from(i64::from(id)))
        });
    }
}

fn tokenizer(api: &mut Api) {
    api.method(
        "Model",
        "tokens(text: any, options?: map) -> Tokens",
        "a text, or an array of ids, as tokens; options: `bos` (true, false, \"auto\"), `special` (whether special \
         tokens in the text are read as such)",
    )
    .example("load().tokens(\" John gave\", #{bos: true})", "Tokens[\"<|bos|>\", \" John\", \" gave\"]")
    .native(|model: &mut Model, value: Dynamic| -> ScriptResult<Tokens> {
        Ok(model.tokens(prompt::one(model, &value)?))
    })
    .native(|model: &mut Model, text: &str, options: Map| -> ScriptResult<Tokens> {
        let mut options = Options::new(options, "tokens");
        let bos = options.get_with("bos", bos)?.unwrap_or_default();
        let special = options.get_bool("special")?.unwrap_or(true);
        options.finish()?;
        Ok(model.tokens(prompt::text(model, text.into(), bos, special)?))
    });
    api.method("Model", "decode(ids: any) -> string", "the text of ids, of one id or of Tokens")
        .example("let m = load(); m.decode(m.tokens(\" John gave\").ids)", "\"<|bos|> John gave\"")
        .native(|model: &mut Model, ids: Dynamic| -> ScriptResult<String> {
            let ids = model.ids(&ids)?;
            prompt::long(model, ids.len(), move |model| Ok(model.tokenizer()?.decode(&ids)))
        });
    api.method("Model", "token(text: string) -> int", "the id of a text that is exactly one token")
        .example("load().token(\" John\")", "1392")
        .native(|model: &mut Model, text: &str| -> ScriptResult<i64> {
            Ok(i64::from(model.token(&text.into())?))
        });
    api.method(
        "Model",
        "variants(word: string) -> array",
        "ids of the spellings word, Word, WORD, with and without a space, that are one token",
    )
    .example(
        "let m = load(); let ids = m.variants(\"true\"); ids.map(|id| m.decode(id))",
        "[\" true\", \" TRUE\"]",
    )
    .native(|model: &mut Model, word: &str| -> ScriptResult<Array> {
        let ids = model.inner.tokenizer().map_err(refusal::model)?.variants(word);
        Ok(ids.into_iter().map(|id| Dynamic::from(i64::from(id))).collect())
    });
}

pub(super) fn bos(value: &Dynamic) -> ScriptResult<Bos> {
    match (value.as_bool(), value.is_string()) {
        (Ok(true), _) => Ok(Bos::Yes),
        (Ok(false), _) => Ok(Bos::No),
        (_, true) if args::string(value)? == "auto" => Ok(Bos::Auto),
        _ => Err(expected("`true`, `false` or \"auto\"", value).into()),
    }
}

fn chat(api: &mut Api) {
    api.method(
        "Model",
        "chat(messages: array, options?: map) -> string",
        "a conversation as the text that the model was trained on; messages are `#{role, content}`; options: \
         `continue_final`, `add_generation_prompt`, `date` (where a template needs today's date and none is given it \
         gets `26 Jul 2024`, on every day), and variables that the model's template reads, such as \
         `enable_thinking`, or `tools`, whose keys stay in the order in which they were read or written",
    )
    .example(
        "load().chat([#{role: \"user\", content: \"hello\"}], #{add_generation_prompt: true})",
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant",
    )
    .native(|model: &mut Model, messages: Array| render(model, messages, Map::new()))
    .native(|model: &mut Model, messages: Array, options: Map| render(model, messages, options));
}

fn render(model: &Model, messages: Array, options: Map) -> ScriptResult<String> {
    let messages = args::each(&messages.into(), |message| {
        let map = message.read_lock::<Map>().ok_or_else(|| expected("a map `#{role, content}`", message))?;
        let mut fields = Options::new(map.clone(), "a message");
        let mut field = |name| -> ScriptResult<String> {
            let missing = || {
                fail(format!("a message needs `{name}`")).help("write `#{role: \"user\", content: \"…\"}`")
            };
            Ok(fields.get_string(name)?.ok_or_else(missing)?)
        };
        let message = Message { role: field("role")?, content: field("content")? };
        fields.finish()?;
        Ok(message)
    })?;
    let template = model.inner.chat().map_err(refusal::model)?;
    let mut options = Options::new(options, "chat");
    let mut chat = ChatOptions {
        continue_final: options.get_bool("continue_final")?.unwrap_or(false),
        add_generation_prompt: options.get_bool("add_generation_prompt")?.unwrap_or(false),
        date: options.get_string("date")?,
        ..ChatOptions::default()
    };
    for (name, value) in options.get_all(template.variables()) {
        let json = to_json(&value).map_err(refusal::of)?;
        let json = model.context.key_orders.restore(&name, &value, json)?;
        chat.variables.insert(name.into(), json);
    }
    options.finish()?;
    template.render(&messages, &chat).map_err(refusal::model)
}

fn weights(api: &mut Api) {
    api.method(
        "Model",
        "weight(name: string) -> Tensor",
        "a weight by its TransformerLens name and in its shape: `embed.W_E`, `unembed.W_U`, `blocks.3.attn.W_Q`, `blocks.3.mlp.W_in`; \
         biases as `blocks.3.mlp.b_in`; what norms multiply by, as `ln_final.w` and `blocks.3.ln1.w`",
    )
    .example("load().weight(\"blocks.1.attn.W_O\").shape", "[8, 32, 256]")
    .native(|model: &mut Model, name: &str| {
        let name = name.to_string();
        model.computed(move |model| model.weight(&name))
    });
    api.method(
        "Model",
        "unembed(resid: Tensor) -> Tensor",
        "the logit lens: final norm and unembedding of one residual vector, or of one a row",
    )
    .example("let m = load(); m.unembed(m.trace(\" John gave\")[resid_post(2)]).shape", "[3, 4096]")
    .native(|model: &mut Model, resid: Tensor| model.unembed(&resid));
    api.method(
        "Model",
        "embed(ids: any) -> Tensor",
        "the token embeddings of ids or of Tokens, [ids, d_model]",
    )
    .example("let m = load(); m.embed(m.tokens(\" John gave\")).shape", "[3, 256]")
    .native(|model: &mut Model, ids: Dynamic| -> ScriptResult<Tensor> {
        let ids = model.ids(&ids)?;
        model.computed(move |model| model.transformer.embeddings(&ids))
    });
}
