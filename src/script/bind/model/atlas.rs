//! Neuron atlases: where each neuron of a site is strongest over a corpus.

use std::collections::HashMap;
use std::sync::Arc;

use rhai::{Array, Dynamic, Map, NativeCallContext};
use serde_json::json;

use super::corpus::{self, Corpus};
use super::loaded::Model;
use super::site;
use crate::analysis::Atlas;
use crate::analysis::atlas::{self, Origin, Record};
use crate::data::texts::Text;
use crate::memory;
use crate::model::tokenizer::Bos;
use crate::plot::{Example, Examples, Passage};
use crate::run::{Control, RunError, Site, stream};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::data::write;
use crate::script::bind::{closure, refusal};
use crate::script::context::Context;
use crate::script::error::{Failure, ScriptResult, fail};

/// Texts, and their bytes, that are read before they are run.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 4 << 20;
/// Groups between two times that a file is brought up to date.
const GROUPS: usize = 8;
/// The most values that are kept of a neuron.
const MOST: usize = 1000;

/// An atlas of a script.
#[derive(Clone)]
struct NeuronAtlas {
    inner: Arc<Atlas>,
    context: Arc<Context>,
}

/// What is asked.
struct Question {
    model: Model,
    site: Site,
    corpus: Corpus,
    origin: Origin,
    /// Where the atlas lies, finished or not.
    file: Option<String>,
}

impl Question {
    fn read(model: &Model, texts: &Dynamic, site: &Dynamic, options: Map) -> ScriptResult<Question> {
        let context = &model.context;
        let config = model.inner.config();
        let site = site::read(site)?;
        let width = stream::width(&site, config).map_err(refusal::run)?;
        let mut options = Options::new(options, "atlas");
        let max_len = corpus::bounded(&mut options, "max_len", 128.min(config.n_ctx), config.n_ctx)?;
        let skip_bos = options.get_bool("skip_bos")?.unwrap_or(true);
        let top = corpus::bounded(&mut options, "top", 1, MOST)?;
        let file = options.get_string("file")?;
        if let Some(file) = file.as_ref().filter(|file| !file.ends_with(".safetensors")) {
            return Err(fail(format!("option `file`: `{file}` does not end in `.safetensors`"))
                .help(format!("write `{file}.safetensors`"))
                .into());
        }
        let corpus = Corpus::open(context, texts, &mut options, false)?;
        options.finish()?;
        let made_of = match file {
            Some(_) => corpus.made_of(model, json!(()))?,
            None => String::new(),
        };
        memory::reserve(atlas::bytes(width, top, max_len))?;
        let (id, site_name, from) = (model.inner.id.clone(), site.to_string(), corpus.from());
        let origin = Origin { model: id, site: site_name, width, top, max_len, skip_bos, from, made_of };
        Ok(Question { model: model.clone(), site, corpus, origin, file })
    }

    /// The atlas to begin with: that of the run which is resumed, or a new one.
    fn begin(&mut self) -> ScriptResult<Atlas> {
        let context = &self.model.context;
        let Some(file) = self.file.as_ref().filter(|_| context.options.resume) else {
            return Ok(Atlas::new(self.origin.clone()));
        };
        let real = context.files()?.write_path(file).map_err(refusal::of)?;
        if !real.exists() {
            return Ok(Atlas::new(self.origin.clone()));
        }
        let atlas = load(context, file)?;
        if atlas.origin != self.origin {
            return Err(fail(format!(
                "cannot resume: `{file}` is of another model, other texts or other options"
            ))
            .help("undo the change, or run without `--resume` to start again")
            .into());
        }
        if let Some(next) = atlas.next {
            self.corpus.seek(next)?;
        }
        Ok(atlas)
    }

    fn answer(&mut self, control: &Control) -> ScriptResult<Atlas> {
        let mut atlas = self.begin()?;
        let before = atlas.skipped;
        let mut groups = 0;
        while atlas.next.is_some() {
            control.check().map_err(refusal::model)?;
            let group = self.corpus.group(GROUP, GROUP_BYTES)?;
            let now = self.corpus.skipped();
            atlas.skipped = std::array::from_fn(|i| before[i] + now[i]);
            let Some(last) = group.last().map(|text| text.row) else { break };
            self.add(&mut atlas, &group, control)?;
            atlas.next = Some(last + 1);
            groups += 1;
            if groups % GROUPS == 0 {
                self.write(&atlas)?;
            }
            let (done, all, unit) = self.corpus.progress();
            control.report(done, all, unit);
        }
        if atlas.read == 0 {
            return Err(fail("an atlas of no texts")
                .help("check the file, and the rows `from` and `to`")
                .into());
        }
        if atlas.next.is_some() {
            let model = &self.model.inner;
            let tokenizer = model.tokenizer().map_err(refusal::model)?;
            atlas.finish(|ids| model.texts(ids), |ids| tokenizer.decode(ids));
            self.write(&atlas)?;
        }
        Ok(atlas)
    }

    /// Runs texts and adds what their neurons did.
    fn add(&self, atlas: &mut Atlas, group: &[Text], control: &Control) -> ScriptResult<()> {
        let model = &self.model.inner;
        let tokenizer = model.tokenizer().map_err(refusal::model)?;
        let Origin { max_len, skip_bos, .. } = self.origin;
        let ids = corpus::encode(model, group, Bos::Auto, max_len)?;
        let bos = tokenizer.bos_id().filter(|_| skip_bos);
        let added = stream(model, self.site.at, &ids, control, |i, values| {
            let Text { row, text, .. } = &group[i];
            let skip = usize::from(bos.is_some() && ids[i].first().copied() == bos);
            atlas
                .add(*row, text, &ids[i], values, skip)
                .map_err(|error| RunError::Closure(format!("`{}`: {error}", self.site)))
        });
        added.map_err(refusal::run)
    }

    fn write(&self, atlas: &Atlas) -> ScriptResult<()> {
        let Some(file) = &self.file else { return Ok(()) };
        write(&self.model.context, file, &bytes(file, atlas)?).map(drop)
    }
}

fn bytes(path: &str, atlas: &Atlas) -> Result<Vec<u8>, Failure> {
    atlas.to_bytes().map_err(|error| fail(format!("cannot write `{path}`: {error}")))
}

fn load(context: &Context, path: &str) -> ScriptResult<Atlas> {
    let bytes = context.files()?.read(path).map_err(refusal::of)?;
    Atlas::from_bytes(path, &bytes).map_err(refusal::of)
}

impl NeuronAtlas {
    fn record(&self, neuron: usize, record: &Record) -> Dynamic {
        let text = self.inner.text(record.row).map_or("", |text| text.text.as_str());
        let entries: [(&str, Dynamic); 7] = [
            ("neuron", (neuron as i64).into()),
            ("value", f64::from(record.value).into()),
            ("row", (record.row as i64).into()),
            ("position", (record.position as i64).into()),
            ("token", self.inner.token(record).to_string().into()),
            ("context", record.context.clone().into()),
            ("text", text.to_string().into()),
        ];
        entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>().into()
    }

    fn records<'a>(
        &self,
        records: impl ExactSizeIterator<Item = (usize, &'a Record)>,
    ) -> ScriptResult<Array> {
        self.context.check_len(records.len())?;
        let texts =
            |(_, record): &(usize, &Record)| self.inner.text(record.row).map_or(0, |text| text.text.len());
        let records: Vec<_> = records.collect();
        memory::reserve(records.iter().map(texts).sum())?;
        Ok(records.into_iter().map(|(neuron, record)| self.record(neuron, record)).collect())
    }

    fn neuron(&self, neuron: usize) -> ScriptResult<Array> {
        let records = self.inner.neuron(neuron).ok_or_else(|| {
            let (site, width) = (&self.inner.origin.site, self.inner.width());
            fail(format!("neuron {neuron} does not exist: `{site}` has {width}"))
                .help(format!("neurons count from 0 to {}", width.saturating_sub(1)))
        })?;
        self.records(records.iter().map(|record| (neuron, record)))
    }

    fn save(&self, path: &str) -> ScriptResult<String> {
        if path.ends_with(".json") {
            let mut json = Vec::new();
            self.inner
                .write_json(&mut json)
                .map_err(|error| fail(format!("cannot write `{path}`: {error}")))?;
            return write(&self.context, path, &json);
        }
        if !path.ends_with(".safetensors") {
            return Err(fail(format!("cannot tell the format of `{path}`"))
                .help("end the name in `.safetensors`, to load it again, or in `.json`")
                .into());
        }
        write(&self.context, path, &bytes(path, &self.inner)?)
    }

    fn report(&self, path: &str) -> ScriptResult<String> {
        if !path.ends_with(".html") {
            return Err(fail(format!("`{path}` does not name a page"))
                .help("end the name in `.html`")
                .into());
        }
        let Origin { model, site, .. } = &self.inner.origin;
        let mut places = HashMap::new();
        let passages = self.inner.texts().enumerate().map(|(place, (row, text))| {
            places.insert(row, place);
            Passage { name: format!("row {row}"), tokens: text.tokens.clone() }
        });
        let passages: Vec<_> = passages.collect();
        // Of the strongest neuron all, then of the next.
        let neurons = self.inner.strongest().into_iter().map(|(neuron, _)| neuron);
        let records = neurons.flat_map(|neuron| {
            self.inner.neuron(neuron).unwrap_or_default().iter().map(move |record| (neuron, record))
        });
        let examples = records.filter_map(|(of, record)| {
            let passage = *places.get(&record.row)?;
            let start = record.window_of(passages[passage].tokens.len()).start;
            let (position, value) = (record.position, record.value);
            Some(Example { of, passage, position, value, start, values: record.window.to_vec() })
        });
        let (title, unit) = (format!("{site} of {model}"), "neuron".into());
        let examples = examples.collect();
        let page = Examples { title, unit, passages, examples }.page();
        let page = page.map_err(refusal::of)?;
        Ok(self.context.write(path, |to| to.write_all(&page))?.display().to_string())
    }
}

/// Three texts with the demo model, and `$rest` of their atlas.
macro_rules! example {
    ($rest:literal) => {
        concat!(
            "let a = atlas(load(), [\" John gave Mary\", \" Mary gave John\", \" 21% of it\"], mlp_post(2), #{top: 2}); ",
            $rest
        )
    };
}

/// Registers NeuronAtlas.
pub fn register(api: &mut Api) {
    api.ty::<NeuronAtlas>("NeuronAtlas", "where each neuron of a site is strongest over a corpus", |atlas| {
        let Origin { model, site, width, .. } = &atlas.inner.origin;
        format!("NeuronAtlas {site} of {model}: {width} neurons, {} texts", atlas.inner.read)
    });
    make(api);
    read(api);
    written(api);
}

fn make(api: &mut Api) {
    let ask = |call: &NativeCallContext, model: &Model, texts: &Dynamic, site: &Dynamic, options: Map| {
        let context = model.context.clone();
        let mut question = Question::read(model, texts, site, options)?;
        let control = model.control_with_progress("atlas");
        let inner = closure::serve(call, &context, control, move |control| Ok(question.answer(control)))??;
        match inner.skipped.iter().sum::<usize>() {
            0 => {}
            n => context.note(&format!("{n} rows are no texts and were left out: see `.skipped`")),
        }
        Ok(NeuronAtlas { inner: Arc::new(inner), context })
    };
    api.function(
        "atlas(model: Model, texts: any, site: any, options?: map) -> NeuronAtlas",
        "for each neuron of a site (or entry of another site's rows) the largest values that it takes over texts, one a \
         text, and where. The texts: an array, or a file as `load_texts` reads it, row by row; options: `max_len` (tokens \
         read of each text, 128), `skip_bos` (leave out the beginning-of-sequence token, true), `top` (values kept of each \
         neuron, 1), `field`, `from`, `to`, `skip` (as in `load_texts`), `file` (a `.safetensors` that is brought up to date \
         on the way, and taken up with `--resume`)",
    )
    .example(
        "atlas(load(), [\" John gave Mary\", \" 21% of it\"], mlp_post(2))",
        "NeuronAtlas mlp_post.2 of demo: 416 neurons, 2 texts",
    )
    .native(move |call: NativeCallContext, model: Model, texts: Dynamic, site: Dynamic| -> ScriptResult<NeuronAtlas> {
        ask(&call, &model, &texts, &site, Map::new())
    })
    .native(
        move |call: NativeCallContext,
              model: Model,
              texts: Dynamic,
              site: Dynamic,
              options: Map|
              -> ScriptResult<NeuronAtlas> { ask(&call, &model, &texts, &site, options) },
    );
    let context = api.context();
    api.function("load_atlas(path: string) -> NeuronAtlas", "an atlas that `.save` wrote as `.safetensors`")
        .example(
            example!("a.save(\"a.safetensors\"); load_atlas(\"a.safetensors\").neuron(0) == a.neuron(0)"),
            "true",
        )
        .native(move |path: &str| -> ScriptResult<NeuronAtlas> {
            let inner = load(&context, path)?;
            if inner.next.is_some() {
                return Err(fail(format!("`{path}` is not finished"))
                    .help("run the script that makes it again, with `--resume`")
                    .into());
            }
            Ok(NeuronAtlas { inner: Arc::new(inner), context: context.clone() })
        });
}

fn read(api: &mut Api) {
    api.method(
        "NeuronAtlas",
        "neuron(neuron: int) -> array",
        "the records of a neuron, the largest value first: maps of `neuron`, `value`, `row` of the corpus, `position`, \
         `token`, `context` (five tokens around it on either side) and the whole `text`",
    )
    .example(example!("a.neuron(7).map(|r| r.row).len"), "2")
    .native(|atlas: &mut NeuronAtlas, neuron: i64| atlas.neuron(args::size(&neuron.into())?));
    api.method(
        "NeuronAtlas",
        "strongest(n: int) -> array",
        "the first records of the `n` neurons with the largest values",
    )
    .example(example!("let s = a.strongest(3); s[0].value >= s[1].value && s[1].value >= s[2].value"), "true")
    .native(|atlas: &mut NeuronAtlas, n: i64| -> ScriptResult<Array> {
        let strongest = atlas.inner.strongest();
        let n = args::size(&n.into())?.min(strongest.len());
        atlas.records(strongest[..n].iter().copied())
    });
    api.method(
        "NeuronAtlas",
        "find(token: string) -> array",
        "the records whose token contains a text, the largest value first",
    )
    .example(example!("a.find(\"%\")[0].text"), "\" 21% of it\"")
    .native(|atlas: &mut NeuronAtlas, token: &str| atlas.records(atlas.inner.find(token).into_iter()));
    api.getter("NeuronAtlas", "read -> int", "texts that were read")
        .example(example!("a.read"), "3")
        .native(|atlas: &mut NeuronAtlas| atlas.inner.read as i64);
    api.getter("NeuronAtlas", "skipped -> map", "how many rows were left out, and why")
        .example(example!("a.skipped"), "#{empty: 0, huge: 0, not_utf8: 0}")
        .native(|atlas: &mut NeuronAtlas| -> Map {
            let names = ["empty", "huge", "not_utf8"].into_iter().zip(atlas.inner.skipped);
            names.map(|(name, n)| (name.into(), (n as i64).into())).collect()
        });
    api.getter("NeuronAtlas", "site -> string", "the site that it is about")
        .example(example!("a.site"), "\"mlp_post.2\"")
        .native(|atlas: &mut NeuronAtlas| atlas.inner.origin.site.clone());
    api.getter("NeuronAtlas", "width -> int", "neurons")
        .example(example!("a.width"), "416")
        .native(|atlas: &mut NeuronAtlas| atlas.inner.width() as i64);
}

fn written(api: &mut Api) {
    api.method(
        "NeuronAtlas",
        "save(path: string) -> string",
        "writes it as `.safetensors`, for `load_atlas`, or as `.json`: by neuron `text_index` (counted from the first row that \
         was read), `token_position`, `trigger_token`, `activation_score`, and `more` of these where `top` is above 1",
    )
    .example(example!("a.save(\"a.json\"); read_json(\"a.json\")[\"7\"].activation_score == a.neuron(7)[0].value"), "true")
    .native(|atlas: &mut NeuronAtlas, path: &str| atlas.save(path));
    api.method(
        "NeuronAtlas",
        "report(path: string) -> string",
        "writes a page to look through, by token, text or neuron, without network: each text with its tokens on the colour \
         of the neuron's value there",
    )
    .example(example!("a.report(\"a.html\").ends_with(\"a.html\")"), "true")
    .native(|atlas: &mut NeuronAtlas, path: &str| atlas.report(path));
}
