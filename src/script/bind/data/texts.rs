//! The texts of a corpus, for scripts.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use crate::data::texts::{Choice, Label, Text, Texts};
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{Failure, ScriptResult, fail};

/// Bytes of a row as a script holds it, beside its text.
const ROW: usize = 256;

/// The options that say which texts of a file are read.
pub fn choice(options: &mut Options) -> ScriptResult<Choice> {
    let choice = Choice {
        field: options.get_string("field")?,
        from: options.get_usize("from")?.unwrap_or(0),
        to: options.get_usize("to")?,
        skip: options.get_bool("skip")?.unwrap_or(false),
        label: Label::None,
    };
    match choice.to {
        Some(to) if to <= choice.from => Err(fail(format!("no rows from {} to {to}", choice.from))
            .help("`to` is the row after the last: make it larger than `from`")
            .into()),
        _ => Ok(choice),
    }
}

/// Texts of an array with their rows: strings, which count from 0, or maps as `load_texts` makes them, in which `choice`
/// says where the text and its label are.
pub fn rows(value: &Dynamic, choice: &Choice) -> ScriptResult<Vec<Text>> {
    let mut next = 0;
    let texts = args::array(value)?.into_iter().enumerate().map(|(i, item)| {
        let within = |error| args::within(&format!("element {i}"), error);
        let (row, text, label) = match item.read_lock::<Map>() {
            Some(map) => {
                let (field, label) = choice.places(|key| map.contains_key(key));
                let entry = |name: &str| {
                    map.get(name).ok_or_else(|| expected(&format!("a map with `{name}`"), &item))
                };
                let text = entry(field.unwrap_or("text"))?;
                let label = label.map(|label| Ok::<_, Failure>(entry(label)?.clone())).transpose()?;
                (
                    map.get("row").map(args::size).transpose().map_err(within)?,
                    args::string(text).map_err(within)?,
                    label.filter(|label| !label.is_unit()).map(|label| label.to_string()),
                )
            }
            None => (None, args::string(&item).map_err(within)?, None),
        };
        let row = row.unwrap_or(next);
        if row < next {
            return Err(fail(format!("element {i}: row {row} comes after row {}", next - 1))
                .help("give rows in their order, each once, or leave `row` out")
                .into());
        }
        next = row.saturating_add(1);
        Ok(Text::new(row, text, label))
    });
    texts.collect()
}

/// Registers reading.
pub fn register(api: &mut Api) {
    let context = api.context();
    let plain = context.clone();
    api.function(
        "load_texts(path: string, options?: map) -> array",
        "the texts of a file of lines (`.txt`), `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet`, each with its row in the \
         file; options: `field` (the key or column, `text` by default), `from` and `to` (rows, the last excluded), `skip` \
         (leave out rows that are empty, of 1 MB or more or not UTF-8, which are errors else)",
    )
    .example(
        "write_text(\"a.txt\", \"one\\ntwo\\nthree\\n\"); load_texts(\"a.txt\", #{from: 1})",
        "text   row\ntwo      1\nthree    2",
    )
    .native(move |path: &str| load(&plain, path, Map::new()))
    .native(move |path: &str, options: Map| load(&context, path, options));
}

fn load(context: &Arc<Context>, path: &str, options: Map) -> ScriptResult<Array> {
    let mut options = Options::new(options, "load_texts");
    let choice = choice(&mut options)?;
    options.finish()?;
    let mut texts = Texts::open(context.files()?, path, choice).map_err(refusal::of)?;
    let mut rows = Array::new();
    for text in texts.by_ref() {
        context.check_interrupt()?;
        let Text { row, text, .. } = text.map_err(refusal::of)?;
        context.check_len(rows.len() + 1)?;
        memory::reserve(text.len().saturating_add(ROW))?;
        let entries = [("row", Dynamic::from(row as i64)), ("text", text.into())];
        rows.push(entries.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>().into());
    }
    match texts.skipped().all() {
        0 => {}
        n => context.note(&format!("{n} rows of `{path}` are no texts and were left out")),
    }
    Ok(rows)
}
