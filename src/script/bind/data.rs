//! Text, JSON and JSONL files. Tables are in [`data_table`](super::data_table).

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use super::data_json::{from_json, to_json};
use crate::data::{DataError, json};
use crate::script::api::Api;
use crate::script::args::Options;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Registers reading and writing.
pub fn register(api: &mut Api) {
    text(api);
    read_json(api);
    write_json(api);
}

/// What the data layer refused, for the script.
pub(super) fn refused_data(error: impl Into<DataError>) -> Box<rhai::EvalAltResult> {
    let error = error.into();
    fail(error.to_string()).maybe_help(error.help()).into()
}

/// Fills `path` with `bytes` and says where that is.
pub(super) fn write(context: &Context, path: &str, bytes: &[u8]) -> ScriptResult<String> {
    let written = context.files()?.write(path, |to| to.write_all(bytes)).map_err(refused_data)?;
    Ok(written.display().to_string())
}

pub(super) fn read(context: &Context, path: &str) -> ScriptResult<String> {
    context.files()?.read_text(path).map_err(refused_data)
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
            json::parse(path, &read(&context, path)?).map(from_json).map_err(refused_data)
        });
    let context = api.context();
    api.function("read_jsonl(path: string) -> array", "the values in a jsonl file, one a line")
        .example(
            "write_text(\"a.jsonl\", `{\"n\": 1}\n{\"n\": 2}`); read_jsonl(\"a.jsonl\")",
            "[#{n: 1}, #{n: 2}]",
        )
        .native(move |path: &str| -> ScriptResult<Array> {
            let values = json::parse_lines(path, &read(&context, path)?).map_err(refused_data)?;
            Ok(values.into_iter().map(from_json).collect())
        });
}

fn write_json(api: &mut Api) {
    let context = api.context();
    let pretty = move |path: &str, value: &Dynamic, options: Map| -> ScriptResult<String> {
        let mut options = Options::new(options, "write_json");
        let indent = options.get_usize("indent")?.unwrap_or(2);
        options.finish()?;
        if indent > 16 {
            return Err(fail(format!("an indent of {indent} is too wide")).help("use 0 to 16 spaces").into());
        }
        let value = to_json(value).map_err(refused_data)?;
        let written = context.files()?.write(path, |to| json::write_pretty(to, &value, indent));
        Ok(written.map_err(refused_data)?.display().to_string())
    };
    let pretty = Arc::new(pretty);
    let plain = pretty.clone();
    api.function(
        "write_json(path: string, value: any, options?: map) -> string",
        "writes a json file, keys in alphabetical order, tensors as nested arrays; `#{indent: 2}` spaces a level",
    )
    .example("write_json(\"r.json\", #{layer: 3, acc: tensor([0.5, 1])}); read_json(\"r.json\")", "#{acc: [0.5, 1.0], layer: 3}")
    .native(move |path: &str, value: Dynamic| plain(path, &value, Map::new()))
    .native(move |path: &str, value: Dynamic, options: Map| pretty(path, &value, options));

    let context = api.context();
    api.function(
        "write_jsonl(path: string, rows: array) -> string",
        "writes a jsonl file, one value a line, keys in alphabetical order",
    )
    .example(
        "write_jsonl(\"r.jsonl\", [#{n: 1}, #{n: 2}]); read_lines(\"r.jsonl\")",
        "[\"{\\\"n\\\":1}\", \"{\\\"n\\\":2}\"]",
    )
    .native(move |path: &str, rows: Array| -> ScriptResult<String> {
        let values = to_json(&rows.into()).map_err(refused_data)?;
        let written = context.files()?.write(path, |to| {
            values.as_array().into_iter().flatten().try_for_each(|row| json::write_line(&mut *to, row))
        });
        Ok(written.map_err(refused_data)?.display().to_string())
    });
}
