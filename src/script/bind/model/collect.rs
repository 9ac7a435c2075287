//! Collecting activations over texts: in memory while they fit, then part by part into a folder, where an interrupted
//! collection goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::json;

use super::acts::Acts;
use super::corpus::{self, Corpus};
use super::loaded::{Model, bos};
use super::site;
use crate::data;
use crate::data::acts::folder::{INDEX, part_file};
use crate::data::acts::{Gathering, Index, Origin, Part};
use crate::data::texts::Text;
use crate::memory;
use crate::model::tokenizer::Bos;
use crate::plain;
use crate::run::{self, Control, RunError, Site, stream};
use crate::script::api::Api;
use crate::script::args::Options;
use crate::script::bind::data::write;
use crate::script::bind::{closure, refusal};
use crate::script::context::Context;
use crate::script::error::{Failure, ScriptResult, fail};

/// Texts, and their bytes, that are read and split into tokens at once.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 1 << 20;
/// The most bytes of a part's numbers, and the share of the memory budget that they may take.
const PART_BYTES: usize = 32 << 20;
const PART_SHARE: usize = 4;

/// What is asked.
struct Question {
    model: Model,
    site: Site,
    corpus: Corpus,
    bos: Bos,
    origin: Origin,
    /// Where the activations are to lie.
    folder: Option<String>,
}

/// A text that waits to be run.
struct Prompt {
    text: Text,
    ids: Vec<u32>,
    /// Tokens at its start that are no rows.
    skip: usize,
}

impl Prompt {
    fn rows(&self) -> usize {
        self.ids.len() - self.skip
    }
}

impl Question {
    fn read(model: &Model, texts: &Dynamic, site: &Dynamic, options: Map) -> ScriptResult<Question> {
        let config = model.inner.config();
        let site = site::read(site)?;
        let width = stream::width(&site, config).map_err(refusal::run)?;
        let mut options = Options::new(options, "collect");
        let bos = options.get_with("bos", bos)?.unwrap_or_default();
        let mut origin = Origin {
            model: model.inner.id.clone(),
            site: site.to_string(),
            width,
            max_len: corpus::bounded(&mut options, "max_len", config.n_ctx, config.n_ctx)?,
            skip_bos: options.get_bool("skip_bos")?.unwrap_or(true),
            center: options.get_bool("center")?.unwrap_or(false),
            limit: options.get_usize("limit")?,
            from: 0,
            part_rows: 0,
            made_of: String::new(),
        };
        if origin.limit == Some(0) {
            return Err(fail("option `limit`: no rows").help("give 1 or more, or leave it out").into());
        }
        let folder = options.get_string("folder")?;
        let corpus = Corpus::open(&model.context, texts, &mut options, true)?;
        options.finish()?;
        origin.from = corpus.from();
        Ok(Question { model: model.clone(), site, corpus, bos, origin, folder })
    }

    fn answer(&mut self, control: &Control) -> ScriptResult<data::Acts> {
        let budget = run::memory::main_budget(control);
        let row = self.origin.width * size_of::<f32>();
        self.origin.part_rows = (PART_BYTES.min(budget / PART_SHARE) / row).max(1);
        let mut store = Store::begin(self, budget)?;
        let Some(next) = store.next else { return load(&self.model.context, &store.place()) };
        self.corpus.seek(next)?;
        self.origin.part_rows = store.origin.part_rows;
        let (mut waiting, mut ended) = (VecDeque::new(), false);
        loop {
            control.check().map_err(refusal::model)?;
            let left = self.origin.limit.map_or(usize::MAX, |limit| limit.saturating_sub(store.all()));
            let wanted = self.origin.part_rows.min(left);
            let mut rows = waiting.iter().map(Prompt::rows).sum::<usize>();
            while rows < wanted && !ended {
                control.check().map_err(refusal::model)?;
                let prompts = self.prompts()?;
                ended = prompts.is_none();
                rows += prompts.iter().flatten().map(Prompt::rows).sum::<usize>();
                waiting.extend(prompts.into_iter().flatten());
            }
            let (mut prompts, mut rows) = (Vec::new(), 0);
            while rows < wanted
                && let Some(prompt) = waiting.pop_front()
            {
                rows += prompt.rows();
                prompts.push(prompt);
            }
            let Some(last) = prompts.last() else { break };
            let next = last.text.row + 1;
            memory::reserve_many(rows, row)?;
            store.add(self, self.part(prompts, left, control)?, next)?;
            match self.origin.limit {
                Some(limit) => control.report(store.all(), limit, "rows"),
                None => {
                    let (done, all, unit) = self.corpus.progress();
                    control.report(done, all, unit);
                }
            }
        }
        if store.all() == 0 {
            return Err(fail("activations of no texts")
                .help("check the texts, and which of them `from`, `to` and `skip` leave")
                .into());
        }
        store.finish(self)
    }

    /// The next texts that have rows; none at the end.
    fn prompts(&mut self) -> ScriptResult<Option<Vec<Prompt>>> {
        let model = &self.model.inner;
        let group = self.corpus.group(GROUP, GROUP_BYTES)?;
        if group.is_empty() {
            return Ok(None);
        }
        let ids = corpus::encode(model, &group, self.bos, self.origin.max_len)?;
        let bos = model.tokenizer().map_err(refusal::model)?.bos_id();
        let begun = |ids: &[u32]| bos.is_some() && ids.first().copied() == bos;
        if let Some(bos) = bos.filter(|_| self.bos == Bos::Auto && self.origin.skip_bos)
            && ids.iter().any(|ids| !begun(ids))
        {
            let bos = model.texts(&[bos]).concat();
            self.model.context.note(&format!(
                "this model begins texts with no token of its own, so that the first token of each, whose activation is \
                 unlike all others, is a row; `bos: true` begins them with `{bos}` and leaves that out"
            ));
        }
        let prompt = |(text, ids): (Text, Vec<u32>)| {
            let skip = usize::from(self.origin.skip_bos && begun(&ids));
            Prompt { text, ids, skip }
        };
        let prompts = group.into_iter().zip(ids).map(prompt);
        Ok(Some(prompts.filter(|prompt| prompt.rows() > 0).collect()))
    }

    /// Runs prompts. Of all their rows the first `left` are kept.
    fn part(&self, prompts: Vec<Prompt>, mut left: usize, control: &Control) -> ScriptResult<Part> {
        let (mut ids, mut about) = (Vec::new(), Vec::new());
        for prompt in prompts {
            ids.push(prompt.ids);
            about.push((prompt.text.row, prompt.text.label, prompt.skip));
        }
        let mut part = Gathering::new(self.origin.width);
        let streamed = stream(&self.model.inner, self.site.at, &ids, control, |i, values| {
            let (row, label, skip) = &about[i];
            let end = ids[i].len().min(skip.saturating_add(left));
            left -= end - skip;
            let center = self.origin.center;
            part.add(*row, &ids[i], label.as_deref(), values, *skip..end, center)
                .map_err(|error| RunError::Closure(format!("`{}`: {error}", self.site)))
        });
        streamed.map_err(refusal::run)?;
        Ok(part.finish())
    }

    /// The checksum of what the activations depend on, beside what the origin names.
    fn made_of(&self) -> ScriptResult<String> {
        self.corpus.made_of(&self.model, json!(format!("{:?}", self.bos)))
    }
}

/// Where parts go: into memory as long as they fit, then into a folder.
struct Store {
    context: Arc<Context>,
    origin: Origin,
    /// None while they fit into memory.
    folder: Option<String>,
    /// Those in memory.
    parts: Vec<Part>,
    /// Rows of each part so far.
    rows: Vec<usize>,
    /// The tokens of all.
    ids: BTreeSet<u32>,
    /// The row of the corpus to go on with; none once all is there.
    next: Option<usize>,
    /// Bytes that the parts may hold in memory.
    budget: usize,
}

impl Store {
    /// An empty one, or that of the run which is resumed.
    fn begin(question: &Question, budget: usize) -> ScriptResult<Store> {
        let context = question.model.context.clone();
        let mut store = Store {
            context,
            origin: question.origin.clone(),
            folder: question.folder.clone(),
            parts: Vec::new(),
            rows: Vec::new(),
            ids: BTreeSet::new(),
            next: Some(question.origin.from),
            budget,
        };
        let resumes = store.context.options.resume;
        if store.folder.is_none() && !resumes {
            return Ok(store);
        }
        store.origin.made_of = question.made_of()?;
        if resumes {
            let index = format!("{}/{INDEX}", store.place());
            let real = store.context.files()?.write_path(&index).map_err(refusal::of)?;
            if real.exists() {
                store.take_up(&index)?;
                return Ok(store);
            }
        }
        match store.folder {
            // What lies there is no longer whole.
            Some(_) => store.write_index(&BTreeMap::new())?,
            None => store.origin.made_of.clear(),
        }
        Ok(store)
    }

    /// The folder that was named, or one that goes by what is asked.
    fn place(&self) -> String {
        let own = || {
            let origin = Origin { part_rows: 0, ..self.origin.clone() };
            format!("acts-{}", plain::sum(json!(origin).to_string().as_bytes()))
        };
        self.folder.as_ref().map_or_else(own, |folder| folder.trim_end_matches('/').into())
    }

    /// Goes on with what an interrupted run left.
    fn take_up(&mut self, path: &str) -> ScriptResult<()> {
        let place = self.place();
        let files = self.context.files()?;
        let index = Index::read(path, &files.read(path).map_err(refusal::of)?).map_err(refusal::of)?;
        self.origin.part_rows = index.origin.part_rows;
        if index.origin != self.origin {
            return Err(fail(format!(
                "cannot resume: `{place}` is of another model, other texts or other options"
            ))
            .help("undo the change, or run without `--resume` to start again")
            .into());
        }
        self.next = index.next;
        if self.next.is_some() {
            for part in 0..index.rows.len() {
                let name = format!("{place}/{}", part_file(part));
                let read = index.part(part, &name, open(&self.context, &name)).map_err(refusal::of)?;
                self.ids.extend(read.all_ids());
            }
        }
        self.rows = index.rows;
        self.folder = Some(place);
        Ok(())
    }

    /// Rows so far.
    fn all(&self) -> usize {
        self.rows.iter().sum()
    }

    /// Adds a part, after which the corpus goes on at `next`.
    fn add(&mut self, question: &Question, part: Part, next: usize) -> ScriptResult<()> {
        self.ids.extend(part.all_ids());
        self.rows.push(part.rows());
        self.parts.push(part);
        self.next = Some(next);
        let held = self.parts.iter().map(Part::bytes).sum::<usize>();
        if self.folder.is_none() && held > self.budget {
            self.origin.made_of = question.made_of()?;
            self.folder = Some(self.place());
        }
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let first = self.rows.len() - self.parts.len();
        for (i, part) in std::mem::take(&mut self.parts).into_iter().enumerate() {
            write_part(&self.context, &folder, &part, &self.origin, first + i)?;
        }
        self.write_index(&BTreeMap::new())
    }

    fn write_index(&self, tokens: &BTreeMap<u32, Vec<u8>>) -> ScriptResult<()> {
        let index = Index::new(&self.origin, self.rows.clone(), self.next, tokens);
        write_index(&self.context, &self.place(), &index)
    }

    /// All of it, once the corpus is through.
    fn finish(mut self, question: &Question) -> ScriptResult<data::Acts> {
        let ids: Vec<u32> = self.ids.iter().copied().collect();
        let pieces = question.model.inner.pieces(&ids).into_iter();
        let bytes = pieces.map(|piece| piece.part.unwrap_or(piece.text.into_bytes()));
        let tokens: BTreeMap<u32, Vec<u8>> = ids.iter().copied().zip(bytes).collect();
        self.next = None;
        let Some(folder) = &self.folder else {
            return Ok(data::Acts::new(self.origin, self.parts, Arc::new(tokens)));
        };
        self.write_index(&tokens)?;
        clear_after(&self.context, folder, self.rows.len())?;
        if question.folder.is_none() {
            self.context.note(&format!("the activations do not fit into memory and lie in `{folder}`"));
        }
        load(&self.context, folder)
    }
}

/// Writes activations into a folder, for [`load`]; says where that is.
pub fn save(context: &Context, folder: &str, acts: &data::Acts) -> ScriptResult<String> {
    let folder = folder.trim_end_matches('/');
    let mut rows = Vec::new();
    // What lies there is not whole until all is written.
    let unfinished = Index::new(acts.origin(), Vec::new(), Some(acts.origin().from), &BTreeMap::new());
    write_index(context, folder, &unfinished)?;
    for (i, (part, range)) in acts.parts().enumerate() {
        context.check_interrupt()?;
        rows.push(range.len());
        match range.len() == part.rows() {
            true => write_part(context, folder, part, acts.origin(), i)?,
            false => write_part(context, folder, &part.cut(range), acts.origin(), i)?,
        }
    }
    clear_after(context, folder, rows.len())?;
    write_index(context, folder, &acts.index(rows))?;
    let real = context.files()?.write_path(&format!("{folder}/{INDEX}")).map_err(refusal::of)?;
    Ok(real.parent().unwrap_or(&real).display().to_string())
}

fn write_part(
    context: &Context,
    folder: &str,
    part: &Part,
    origin: &Origin,
    place: usize,
) -> ScriptResult<()> {
    let path = format!("{folder}/{}", part_file(place));
    memory::reserve(part.bytes())?;
    let bytes = part.to_bytes(origin, place).map_err(|error| unwritten(&path, &error))?;
    write(context, &path, &bytes).map(drop)
}

fn write_index(context: &Context, folder: &str, index: &Index) -> ScriptResult<()> {
    let path = format!("{folder}/{INDEX}");
    let bytes = index.to_bytes().map_err(|error| unwritten(&path, &error))?;
    write(context, &path, &bytes).map(drop)
}

/// Removes the parts that an earlier, larger collection left in a folder.
fn clear_after(context: &Context, folder: &str, parts: usize) -> ScriptResult<()> {
    let files = context.files()?;
    let mut left = (parts..).map(|part| format!("{folder}/{}", part_file(part)));
    while files.remove(&left.next().unwrap_or_default()).map_err(refusal::of)? {}
    Ok(())
}

fn unwritten(path: &str, error: &std::io::Error) -> Failure {
    fail(format!("cannot write `{path}`: {error}"))
}

/// The file at a path that the script may read. What it holds is looked through when it is mapped, not summed up.
fn open(context: &Context, path: &str) -> std::io::Result<std::fs::File> {
    let files = context.files().map_err(|error| std::io::Error::other(error.to_string()))?;
    plain::open(&files.read_path(path).map_err(std::io::Error::other)?)
}

/// The activations in a folder.
pub fn load(context: &Context, folder: &str) -> ScriptResult<data::Acts> {
    let folder = folder.trim_end_matches('/');
    let path = format!("{folder}/{INDEX}");
    let bytes = context.files()?.read(&path).map_err(refusal::of)?;
    let index = Index::read(&path, &bytes).map_err(refusal::of)?;
    index.acts(folder, |file| open(context, &format!("{folder}/{file}"))).map_err(refusal::of)
}

/// Registers what makes Acts.
pub fn register(api: &mut Api) {
    let ask = |call: &NativeCallContext, model: &Model, texts: &Dynamic, site: &Dynamic, options: Map| {
        let context = model.context.clone();
        let mut question = Question::read(model, texts, site, options)?;
        let control = model.control_with_progress("collect");
        let (inner, skipped) = closure::serve(call, &context, control, move |control| {
            let acts = question.answer(control);
            Ok(acts.map(|acts| (acts, question.corpus.skipped())))
        })??;
        match skipped.iter().sum::<usize>() {
            0 => {}
            n => context.note(&format!("{n} rows are no texts and were left out")),
        }
        Ok(Acts { inner, context })
    };
    api.function(
        "collect(model: Model, texts: any, site: any, options?: map) -> Acts",
        "the activations of a site at every token of texts, a row a token, with where each is from. The texts: an array, a \
         map `#{label: [text, ...]}`, or a file as `load_texts` reads it, also with labels (fields `prompt` and `label`, \
         `text` and `label`, `sentence` and `concept` or `label`; texts with a label are stripped). What does not fit into \
         memory lies in a folder and is mapped; options: `limit` (the most rows), `max_len` (tokens read of each text, the \
         model's context), `bos` (true, false, \"auto\": begin texts with that token), `skip_bos` (leave it out, true), \
         `center` (subtract each row's mean, false), `folder` (where they are written on the way, and taken up with \
         `--resume`), `field`, `label` (the key or column of each), `from`, `to`, `skip` (as in `load_texts`)",
    )
    .example(
        "collect(load(), [\" John gave Mary\", \" 21% of it\"], resid_post(2))",
        "Acts resid_post.2 of demo: 8 rows of 256, 2 prompts",
    )
    .native(
        move |call: NativeCallContext, model: Model, texts: Dynamic, site: Dynamic| -> ScriptResult<Acts> {
            ask(&call, &model, &texts, &site, Map::new())
        },
    )
    .native(
        move |call: NativeCallContext,
              model: Model,
              texts: Dynamic,
              site: Dynamic,
              options: Map|
              -> ScriptResult<Acts> { ask(&call, &model, &texts, &site, options) },
    );
    let context = api.context();
    api.function(
        "load_acts(folder: string) -> Acts",
        "activations that `collect` or `.save` wrote; they are mapped, not read, and need no model",
    )
    .example(
        "collect(load(), [\" John gave Mary\"], resid_post(2)).save(\"acts\"); load_acts(\"acts\")",
        "Acts resid_post.2 of demo: 3 rows of 256, 1 prompt",
    )
    .native(move |folder: &str| -> ScriptResult<Acts> {
        Ok(Acts { inner: load(&context, folder)?, context: context.clone() })
    });
}
