//! Text, JSON and JSONL files.

use std::io::Write;
use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use super::json::{from_json, ordered};
use crate::data::json;
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Bytes that a byte of JSON becomes, roughly: numbers of a digit are read twice, and take the room of a value.
const JSON_BYTE: usize = 12;

/// Registers reading and writing.
pub fn register(api: &mut Api) {
    text(api);
    read_json(api);
    write_json(api);
}

/// Fills `path` with `bytes` and says where that is.
pub fn write(context: &Context, path: &str, bytes: &[u8]) -> ScriptResult<String> {
    Ok(context.write(path, |to| to.write_all(bytes))?.display().to_string())
}

pub fn read(context: &Context, path: &str) -> ScriptResult<String> {
    context.files()?.read_text(path).map_err(refusal::of)
}

fn text(api: &mut Api) {
    let context = api.context();
    api.function("read_text(path: string) -> string", "the text of a file")
        .example("write_text(\"note.txt\", \"Hello\\n\"); read_text(\"note.txt\")", "\"Hello\\n\"")
        .native(move |path: &str| read(&context, path));
    let context = api.context();
    api.function("read_lines(path: string) -> array", "the lines of a file, without their line breaks")
        .example(
            "write_text(\"names.txt\", \"Mary\\nJohn\\n\"); read_lines(\"names.txt\")",
            "[\"Mary\", \"John\"]",
        )
        .native(move |path: &str| -> ScriptResult<Array> {
            Ok(read(&context, path)?.lines().map(|line| Dynamic::from(line.to_string())).collect())
        });
    let context = api.context();
    api.function(
        "write_text(path: string, text: string) -> string",
        "writes a file into the output folder; returns where it is",
    )
    .example("write_text(\"note.txt\", \"Hello\\n\").ends_with(\"note.txt\")", "true")
    .native(move |path: &str, text: &str| write(&context, path, text.as_bytes()));
}

fn read_json(api: &mut Api) {
    let context = api.context();
    api.function("read_json(path: string) -> any", "the value in a json file; `null` is `()`")
        .example("write_text(\"a.json\", `{\"n\": [1, 2.5]}`); read_json(\"a.json\")", "#{n: [1, 2.5]}")
        .native(move |path: &str| -> ScriptResult<Dynamic> {
            let text = read(&context, path)?;
            memory::reserve_many(text.len(), JSON_BYTE)?;
            json::parse(path, &text).map(from_json).map_err(refusal::of)
        });
    let context = api.context();
    api.function("read_jsonl(path: string) -> array", "the values in a jsonl file, one a line")
        .example("write_text(\"a.jsonl\", `{\"n\": 1}\n{\"n\": 2}`); read_jsonl(\"a.jsonl\")", "n\n1\n2")
        .native(move |path: &str| -> ScriptResult<Array> {
            let text = read(&context, path)?;
            memory::reserve_many(text.len(), JSON_BYTE)?;
            let values = json::parse_lines(path, &text).map_err(refusal::of)?;
            Ok(values.into_iter().map(from_json).collect())
        });
}

fn write_json(api: &mut Api) {
    let context = api.context();
    let pretty = move |path: &str, value: &Dynamic, options: Map| -> ScriptResult<String> {
        let mut options = Options::new(options, "write_json");
        let indent = options.get_usize("indent")?.unwrap_or(2);
        let keys = keys_of(&mut options)?;
        options.finish()?;
        if indent > 16 {
            return Err(fail(format!("an indent of {indent} is too wide")).help("use 0 to 16 spaces").into());
        }
        let value = ordered(value, keys.as_deref())?;
        let written = context.write(path, |to| json::write_pretty(to, &value, indent))?;
        Ok(written.display().to_string())
    };
    let pretty = Arc::new(pretty);
    let plain = pretty.clone();
    api.function(
        "write_json(path: string, value: any, options?: map) -> string",
        "writes a json file, tensors as nested arrays; options: `indent` (2 spaces a level), `keys` (all \
         keys of the map, in the order to write; else alphabetical)",
    )
    .example(
        "write_json(\"r.json\", #{layer: 3, acc: tensor([0.5, 1])}); read_json(\"r.json\")",
        "#{acc: [0.5, 1.0], layer: 3}",
    )
    .native(move |path: &str, value: Dynamic| plain(path, &value, Map::new()))
    .native(move |path: &str, value: Dynamic, options: Map| pretty(path, &value, options));

    let context = api.context();
    let plain = context.clone();
    api.function(
        "write_jsonl(path: string, rows: array, options?: map) -> string",
        "writes a jsonl file, one value a line; options: `keys` (all keys of every row, in the order to write; else \
         alphabetical)",
    )
    .example(
        "write_jsonl(\"r.jsonl\", [#{n: 1}, #{n: 2}]); read_lines(\"r.jsonl\")",
        "[\"{\\\"n\\\":1}\", \"{\\\"n\\\":2}\"]",
    )
    .native(move |path: &str, rows: Array| lines(&plain, path, rows, Map::new()))
    .native(move |path: &str, rows: Array, options: Map| lines(&context, path, rows, options));
}

fn lines(context: &Context, path: &str, rows: Array, options: Map) -> ScriptResult<String> {
    let mut options = Options::new(options, "write_jsonl");
    let keys = keys_of(&mut options)?;
    options.finish()?;
    let values = args::each(&rows.into(), |row| ordered(row, keys.as_deref()))?;
    let write = |to: &mut dyn Write| values.iter().try_for_each(|row| json::write_line(&mut *to, row));
    Ok(context.write(path, write)?.display().to_string())
}

/// The option `keys`: all keys of a map, in the order to write.
pub fn keys_of(options: &mut Options) -> ScriptResult<Option<Vec<String>>> {
    options.get_with("keys", |keys| args::each(keys, args::string))
}
