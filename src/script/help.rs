//! `help`, printed from the table; what names nothing is looked for by [`search`].

mod search;

use rhai::FuncMetadata;

use super::api::{Entry, Kind, Table};
use super::clock;
use super::signature::Param;
use crate::nearest::nearest;

/// All types and functions, one line each.
pub fn overview(table: &Table) -> String {
    let mut out = String::new();
    let width = table.types.iter().map(|ty| ty.name.len()).max().unwrap_or(0);
    if !table.types.is_empty() {
        out += "types\n";
    }
    for ty in &table.types {
        out += &format!("  {:width$}  {}\n", ty.name, ty.summary);
    }
    out += "functions\n";
    for entry in table.entries.iter().filter(|entry| entry.kind == Kind::Function) {
        out += &line(entry);
    }
    out + "help(name) tells more, of a function, a type or a variable, help(\"words\") looks for words in all of this; the\n\
        language's own types are string, array, map, int, float, bool, char, range and function. vars lists the\n\
        variables, `_` is the last value, `_3` that of input [3], Tab completes, Ctrl-R finds earlier inputs by a few\n\
        letters, Ctrl-C stops what runs and keeps what it made, :save FILE writes what ran as a script, :load FILE runs\n\
        one, :edit opens the last input in an editor, :time INPUT tells what it takes, :explain what the next sweep\n\
        will, :limits what an input may, Ctrl-D or :quit leaves"
}

/// What is known about a name: a type, a member of one (`Model.sweep`), all entries of that name, or else what speaks
/// of these words.
pub fn about(table: &Table, engine: &[EngineFunction], name: &str) -> String {
    let asked = name;
    if let Some((_, summary)) = OWN_TYPES.iter().find(|(own, _)| *own == name) {
        return own_type(table, engine, name, summary);
    }
    let (on, name) = name.split_once('.').map_or((None, name), |(on, name)| (Some(on), name));
    let ty = table.types.iter().find(|ty| ty.name == name);
    let entries: Vec<_> = table.named(name).filter(|entry| on.is_none() || entry.receiver == on).collect();
    let own: Vec<_> =
        engine.iter().filter(|f| f.name == name && on.is_none_or(|on| f.receiver == on)).collect();
    match (ty, entries.as_slice()) {
        (Some(ty), _) => {
            let members = table.of_type(name).map(line).collect::<String>();
            format!("{name}: {}\n{}", ty.summary, members.trim_end())
        }
        (None, []) if !own.is_empty() => own.iter().map(|f| f.told("  ", "")).collect::<Vec<_>>().join("\n"),
        (None, []) => {
            if let Some(found) = search::search(table, asked) {
                return found;
            }
            let ours = table.entries.iter().map(Entry::name).chain(table.types.iter().map(|ty| ty.name));
            let near = nearest(name, ours).or_else(|| nearest(name, engine.iter().map(|f| f.name.as_str())));
            match near {
                Some(near) => format!("nothing is known about `{name}`; did you mean `{near}`?"),
                None => format!("nothing is known about `{name}`; `help` lists everything"),
            }
        }
        (None, entries) => entries.iter().map(|entry| full(entry)).collect::<Vec<_>>().join("\n"),
    }
}

/// The language's own types.
const OWN_TYPES: &[(&str, &str)] = &[
    (
        "string",
        "a text: `\"…\"` with escapes, or `` `…${x}…` `` with values in it, over several lines if need be",
    ),
    ("array", "values in order: `[1, \"a\", [2]]`; `xs[0]` is the first, `xs[-1]` the last"),
    (
        "map",
        "values by name: `#{name: 1}`; read and set as `m.name` or `m[\"name\"]`, tested by `\"name\" in m`",
    ),
    ("int", "a whole number of 64 bits; `/` between two leaves the remainder out"),
    ("float", "a number of 64 bits with a point: `0.5`, `1e-3`"),
    ("bool", "`true` or `false`, for `if` and `while`"),
    ("char", "one character of a text: `'a'`"),
    ("range", "ints from a start up to an end: `0..8` without it, `0..=8` with it"),
    ("function", "a closure, `|x| x + n`, called by `.call(…)`; it sees the variables around it"),
];

fn own_type(table: &Table, engine: &[EngineFunction], name: &str, summary: &str) -> String {
    let mut lines: Vec<String> = table.of_type(name).map(line).collect();
    let takes = |entry: &&Entry| {
        let first = entry.signature.params.iter().flatten().next();
        let is_value = |param: &Param| param.ty == name && (name == "array" || param.name == "text");
        entry.kind == Kind::Function && first.is_some_and(is_value)
    };
    lines.extend(table.entries.iter().filter(takes).map(line));
    lines.extend(
        engine
            .iter()
            .filter(|f| f.receiver == name)
            .map(|f| format!("  {}\n      {}\n", f.usage(), f.summary)),
    );
    format!("{name}: {summary}\n{}", lines.concat().trim_end())
}

/// A function of the engine's own, as its documentation tells.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EngineFunction {
    pub name: String,
    /// The type of its first argument.
    pub receiver: &'static str,
    params: Vec<String>,
    pub result: Option<&'static str>,
    summary: String,
}

impl EngineFunction {
    /// From what the engine tells; `None` for operators, and for what it tells nothing about.
    pub fn read(told: &FuncMetadata) -> Option<Self> {
        let name = told.name.strip_prefix("get$").unwrap_or(&told.name);
        let mut params = told.params_info.iter().filter_map(|param| {
            let (name, ty) = param.split_once(':')?;
            Some((name.trim(), type_name(ty)?))
        });
        let (_, receiver) = params.next()?;
        let is_own = OWN_TYPES.iter().any(|(own, _)| *own == receiver);
        let hidden =
            clock::FUNCTIONS.contains(&name) || ["print", "debug", "to_debug", "blob"].contains(&name);
        if !is_own || hidden || !rhai::is_valid_identifier(name) {
            return None;
        }
        let lines = told.comments.iter().flat_map(|comment| comment.lines());
        let text =
            lines.map(|line| line.trim_start_matches('/').trim()).find(|line| !line.is_empty()).unwrap_or("");
        let text = text.trim_end_matches('.');
        let mut summary: String = text.chars().take(1).flat_map(char::to_lowercase).collect();
        summary.extend(text.chars().skip(1));
        Some(Self {
            name: name.into(),
            receiver,
            params: params.map(|(name, ty)| format!("{}: {ty}", name.trim_start_matches('_'))).collect(),
            result: type_name(&told.return_type),
            summary: summary.replace("object map", "map").replace("BLOB", "blob"),
        })
    }

    /// The call, and below it what it means, where the engine tells.
    fn told(&self, indent: &str, first: &str) -> String {
        match self.summary.as_str() {
            "" => format!("{first}{}", self.usage()),
            summary => format!("{first}{}\n{indent}{summary}", self.usage()),
        }
    }

    pub fn usage(&self) -> String {
        let result = self.result.map_or(String::new(), |ty| format!(" -> {ty}"));
        format!("{}.{}({}){result}", self.receiver, self.name, self.params.join(", "))
    }

    /// How many parameters it takes behind its first, the receiver.
    pub fn params(&self) -> usize {
        self.params.len()
    }
}

/// A Rust type as scripts know it; `None` for nothing.
fn type_name(rust: &str) -> Option<&'static str> {
    let ty = rust.trim().trim_start_matches('&').trim_start_matches("mut ");
    let ty = ty.strip_prefix("RhaiResultOf<").or(ty.strip_prefix("Result<")).unwrap_or(ty);
    let ty = ty.split([',', '>']).next().unwrap_or(ty).trim();
    Some(match ty {
        "" | "()" => return None,
        "str" | "String" | "ImmutableString" | "string" => "string",
        "Array" | "array" => "array",
        "Map" | "map" => "map",
        "INT" | "i64" | "int" => "int",
        "FLOAT" | "f64" | "float" => "float",
        "bool" => "bool",
        "char" => "char",
        "FnPtr" | "Fn" => "function",
        ty if ty.contains("Range") || ty.starts_with("range") => "range",
        "Blob" => "blob",
        _ => "any",
    })
}

fn line(entry: &Entry) -> String {
    format!("  {}\n      {}\n", entry.usage(), entry.summary)
}

fn full(entry: &Entry) -> String {
    let mut out = format!("{}\n  {}", entry.usage(), entry.summary);
    if let Some(example) = entry.example {
        out += &format!("\n  > {}", example.code);
        if !example.output.is_empty() {
            out += &format!("\n  {}", example.output.replace('\n', "\n  "));
        }
    }
    out
}
