//! Activations over texts, with where each row is from.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use candle_core::Device;
use rhai::{Array, Dynamic, Map};

use super::collect;
use crate::count;
use crate::data;
use crate::data::acts::{CONTEXT, Place};
use crate::data::rows::{Matrix, Rows};
use crate::memory;
use crate::run::Site;
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Activations of a script. A clone shares the numbers.
#[derive(Clone)]
pub struct Acts {
    pub inner: data::Acts,
    pub context: Arc<Context>,
}

impl Acts {
    /// The whole site that they are of.
    pub fn site(&self) -> ScriptResult<Site> {
        Site::parse(&self.inner.origin().site).map_err(refusal::run)
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    /// These rows, `[ids, d]`.
    fn tensor(&self, ids: impl ExactSizeIterator<Item = usize>) -> ScriptResult<Tensor> {
        let dims = [ids.len(), self.inner.width()];
        tensor::check_room(&dims)?;
        let mut numbers = Vec::with_capacity(dims[0] * dims[1]);
        ids.for_each(|i| numbers.extend_from_slice(self.inner.row(i)));
        let tensor = candle_core::Tensor::from_vec(numbers, &dims, &Device::Cpu).map_err(tensor::refused)?;
        Tensor::new(&self.context, tensor)
    }

    /// The place of a row, counted from the end if negative.
    fn row(&self, i: i64) -> ScriptResult<usize> {
        let len = self.len();
        let row = if i < 0 { i.checked_add(len as i64) } else { Some(i) };
        let row = row.and_then(|row| usize::try_from(row).ok()).filter(|row| *row < len);
        row.ok_or_else(|| {
            fail(format!("row {i} does not exist: the activations have {}", count::count(len, "row")))
                .help(format!("rows count from 0 to {}, or back from -1", len.saturating_sub(1)))
                .into()
        })
    }

    fn slice(&self, start: i64, end: i64) -> ScriptResult<Acts> {
        let len = self.len();
        let from_end = |i: i64| usize::try_from(if i < 0 { i.saturating_add(len as i64) } else { i });
        let inner = match (from_end(start), from_end(end)) {
            (Ok(start), Ok(end)) => self.inner.slice(start..end),
            _ => None,
        };
        let inner = inner.ok_or_else(|| {
            fail(format!(
                "range `{start}..{end}` does not fit: the activations have {}",
                count::count(len, "row")
            ))
            .help(format!("stay within `0..{len}`"))
        })?;
        Ok(Acts { inner, context: self.context.clone() })
    }

    /// Something of each row.
    fn each(&self, of: impl Fn(Place) -> Dynamic) -> ScriptResult<Array> {
        self.context.check_len(self.len())?;
        Ok(self.inner.places().map(of).collect())
    }

    /// Where a row is from, and what its token and the tokens around it say.
    pub fn describe(&self, i: usize) -> Map {
        let place = self.inner.place(i);
        let entries: [(&str, Dynamic); 7] = [
            ("prompt", (place.prompt as i64).into()),
            ("position", (place.position as i64).into()),
            ("id", i64::from(place.token()).into()),
            ("token", self.inner.text(&[place.token()]).into()),
            ("label", label(place)),
            ("context", self.inner.context(i, CONTEXT).into()),
            ("text", self.inner.text(place.ids).into()),
        ];
        entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
    }

    /// How often each token is there, the most frequent first; of equal ones that of the lower id.
    fn token_freq(&self) -> ScriptResult<Array> {
        let counts = self.inner.token_counts();
        self.context.check_len(counts.len())?;
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        let entry = |(id, count): (u32, usize)| {
            let entries: [(&str, Dynamic); 3] = [
                ("id", i64::from(id).into()),
                ("token", self.inner.text(&[id]).into()),
                ("count", (count as i64).into()),
            ];
            entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>().into()
        };
        Ok(counts.into_iter().map(entry).collect())
    }
}

fn label(place: Place) -> Dynamic {
    place.label.map_or(Dynamic::UNIT, |label| label.to_string().into())
}

/// Rows of numbers from a script: Acts as they lie, or a tensor `[n, d]`.
pub fn rows(value: &Dynamic) -> ScriptResult<Arc<dyn Rows>> {
    if let Some(acts) = value.read_lock::<Acts>() {
        return Ok(Arc::new(acts.inner.clone()));
    }
    let Some(x) = value.read_lock::<Tensor>() else { return Err(expected("Acts or a Tensor", value).into()) };
    let &[_, width] = x.dims() else {
        return Err(fail(format!("expected activations of shape [n, d], found {:?}", x.dims()))
            .help("put the heads of a row side by side with `.reshape([n, d])`")
            .into());
    };
    Ok(Arc::new(Matrix::new(x.host()?, width)))
}

/// Three prompts with the demo model, and `$rest` of their activations.
macro_rules! example {
    ($rest:literal) => {
        concat!(
            "let acts = collect(load(), #{a: [\"John gave Mary\", \"Mary gave\"], b: [\"Wei left.\"]}, resid_post(2)); ",
            $rest
        )
    };
}

/// Registers Acts.
pub fn register(api: &mut Api) {
    api.ty::<Acts>("Acts", "activations over texts, with where each row is from", |acts| {
        let origin = acts.inner.origin();
        let (site, model, width) = (&origin.site, &origin.model, origin.width);
        let (rows, prompts) = (count::count(acts.len(), "row"), count::count(acts.inner.prompts(), "prompt"));
        format!("Acts {site} of {model}: {rows} of {width}, {prompts}")
    });
    collect::register(api);
    numbers(api);
    places(api);
    api.method(
        "Acts",
        "save(folder: string) -> string",
        "writes them as a folder of safetensors files for `load_acts`; returns where it is",
    )
    .example(
        example!("acts.take(4).save(\"acts\"); load_acts(\"acts\").tokens == acts.take(4).tokens"),
        "true",
    )
    .native(|acts: &mut Acts, folder: &str| collect::save(&acts.context, folder, &acts.inner));
}

fn numbers(api: &mut Api) {
    api.getter("Acts", "x -> Tensor", "all numbers in memory, [n, d]")
        .example(example!("acts.x.shape"), "[10, 256]")
        .native(|acts: &mut Acts| acts.tensor(0..acts.len()));
    api.getter("Acts", "len -> int", "rows")
        .example(example!("acts.len"), "10")
        .native(|acts: &mut Acts| acts.len() as i64);
    api.getter("Acts", "shape -> array", "rows, and numbers a row")
        .example(example!("acts.shape"), "[10, 256]")
        .native(|acts: &mut Acts| -> Array {
            vec![(acts.len() as i64).into(), (acts.inner.width() as i64).into()]
        });
    api.getter("Acts", "site -> Site", "where they were read")
        .example(example!("acts.site"), "resid_post.2")
        .native(|acts: &mut Acts| acts.site());
    api.getter("Acts", "model -> string", "what the model was loaded by that they are of")
        .example(example!("acts.model"), "\"demo\"")
        .native(|acts: &mut Acts| acts.inner.origin().model.clone());
    api.method("Acts", "take(n: int) -> Acts", "the first `n` rows, or all if there are fewer")
        .example(example!("acts.take(3)"), "Acts resid_post.2 of demo: 3 rows of 256, 1 prompt")
        .native(|acts: &mut Acts, n: i64| -> ScriptResult<Acts> {
            let n = args::size(&n.into())?.min(acts.len());
            acts.slice(0, n as i64)
        });
    api.indexer("Acts", "[rows: range] -> Acts", "some rows, counted from the end if negative")
        .example(example!("acts[3..5].tokens == acts.tokens.extract(3..5)"), "true")
        .native(|acts: &mut Acts, range: Range<i64>| acts.slice(range.start, range.end))
        .native(|acts: &mut Acts, range: RangeInclusive<i64>| match range.end().saturating_add(1) {
            // `..=-1` ends with the last row.
            0 => acts.slice(*range.start(), acts.len() as i64),
            end => acts.slice(*range.start(), end),
        });
    api.method("Acts", "rows(ids: array) -> Tensor", "the numbers of some rows in any order, [ids, d]")
        .example(example!("(acts.rows([7, 0])[0] - acts.x[7]).abs().max()"), "0.0")
        .native(|acts: &mut Acts, ids: Dynamic| -> ScriptResult<Tensor> {
            let ids = args::each(&ids, |id| acts.row(args::int(id)?))?;
            acts.tensor(ids.into_iter())
        });
}

fn places(api: &mut Api) {
    api.getter("Acts", "tokens -> array", "the id of each row's token")
        .example(example!("load().decode(acts.tokens.extract(0..3))"), "\"John gave Mary\"")
        .native(|acts: &mut Acts| acts.each(|place| i64::from(place.token()).into()));
    api.getter(
        "Acts",
        "prompts -> array",
        "of each row, which of the texts it is from: its row in the corpus",
    )
    .example(example!("acts.prompts"), "[0, 0, 0, 1, 1, 1, 2, 2, 2, 2]")
    .native(|acts: &mut Acts| acts.each(|place| (place.prompt as i64).into()));
    api.getter(
        "Acts",
        "positions -> array",
        "the position of each row's token in its text, as a trace counts it",
    )
    .example(example!("acts.positions"), "[1, 2, 3, 1, 2, 3, 1, 2, 3, 4]")
    .native(|acts: &mut Acts| acts.each(|place| (place.position as i64).into()));
    api.getter("Acts", "labels -> array", "the label of each row's text; `()` where it has none")
        .example(example!("acts.labels.filter(|label| label == \"b\").len()"), "4")
        .native(|acts: &mut Acts| -> ScriptResult<Array> {
            let longest = |place: Place| place.label.map_or(0, str::len);
            memory::reserve(acts.inner.places().map(longest).sum())?;
            acts.each(label)
        });
    api.method(
        "Acts",
        "row(i: int) -> map",
        "where a row is from: `prompt`, `position`, `id` and `token`, `label`, the `context` (five tokens around it on \
         either side) and the whole `text`, as far as it was read",
    )
    .example(example!("acts.row(1).context"), "\"<|bos|>John gave Mary\"")
    .native(|acts: &mut Acts, i: i64| -> ScriptResult<Map> { Ok(acts.describe(acts.row(i)?)) });
    api.method(
        "Acts",
        "context(i: int, tokens: int) -> string",
        "the text around a row's token, with so many tokens before and after it",
    )
    .example(example!("acts.context(1, 1)"), "\"John gave Mary\"")
    .native(|acts: &mut Acts, i: i64, tokens: i64| -> ScriptResult<String> {
        Ok(acts.inner.context(acts.row(i)?, args::size(&tokens.into())?))
    });
    api.method(
        "Acts",
        "token_freq() -> array",
        "how often each token is there: maps of `id`, `token` and `count`, the most frequent first",
    )
    .example(example!("acts.token_freq()[0].count"), "2")
    .native(|acts: &mut Acts| acts.token_freq());
}
