//! Filters and tests that minijinja lacks, or that do more in Jinja2 (`jinja2/filters.py`).

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

use super::python::{self, given, int_or, named, text};

type Result<T> = std::result::Result<T, Error>;

pub fn register(environment: &mut Environment<'static>) {
    for name in ["length", "count"] {
        environment.add_filter(name, length);
    }
    environment.add_filter("first", |value: &Value| match value.is_undefined() {
        true => Ok(Value::UNDEFINED),
        false => filters::first(value),
    });
    environment.add_filter("items", |value: &Value| match value.is_undefined() {
        true => Ok(Value::from(Vec::<Value>::new())),
        false => filters::items(value),
    });
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("replace", |value: &Value, args: Rest<Value>, options: Kwargs| -> Result<Value> {
        let [old, new, count] = named(args, options, ["old", "new", "count"])?;
        let [value, old, new] = [value, &old, &new].map(ToString::to_string);
        Ok(python::replace(&value, &old, &new, int_or(&count, -1)?).into())
    });
    environment.add_filter("indent", indent);
    environment.add_filter("truncate", truncate);
    environment.add_filter("center", |value: &Value, width: Option<i64>| {
        python::of_text(&value.to_string(), "center", &[width.unwrap_or(80).into()])
    });
    environment.add_filter("wordcount", |value: &Value| {
        let words = value.to_string();
        words.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).count()
    });
    environment.add_test("callable", |value: &Value| {
        matches!(value.kind(), ValueKind::Plain | ValueKind::Undefined)
    });
}

/// What is not defined is empty.
fn length(value: &Value) -> Result<usize> {
    if value.is_undefined() {
        return Ok(0);
    }
    let no = || Error::new(ErrorKind::InvalidOperation, format!("{} has no length", value.kind()));
    value.len().ok_or_else(no)
}

/// What is no number gives the default.
fn int(state: &State, value: &Value, args: Rest<Value>, options: Kwargs) -> Result<Value> {
    let [default, base] = named(args, options, ["default", "base"])?;
    let default = if default.is_undefined() { 0.into() } else { default };
    let base = given(&base).map(|base| u32::try_from(base.clone())).transpose()?;
    match value.is_undefined() {
        true => Err(ErrorKind::UndefinedError.into()),
        false => filters::int(state, value, None, base, Kwargs::from_iter([("default", default)])),
    }
}

fn float(state: &State, value: &Value, args: Rest<Value>, options: Kwargs) -> Result<Value> {
    let [default] = named(args, options, ["default"])?;
    let default = if default.is_undefined() { 0.0.into() } else { default };
    match value.is_undefined() {
        true => Err(ErrorKind::UndefinedError.into()),
        false => filters::float(state, value, None, Kwargs::from_iter([("default", default)])),
    }
}

/// `indent(width=4, first=False, blank=False)`; the width may be the text to begin lines with.
fn indent(value: &Value, args: Rest<Value>, options: Kwargs) -> Result<String> {
    let [width, first, blank] = named(args, options, ["width", "first", "blank"])?;
    let indention = match width.as_str() {
        Some(text) => text.to_string(),
        None => " ".repeat(int_or(&width, 4)?.clamp(0, 1 << 10) as usize),
    };
    // A last empty line counts.
    let value = value.to_string() + "\n";
    let indented = |(i, line): (usize, &str)| match i == 0 && !first.is_true()
        || i > 0 && line.is_empty() && !blank.is_true()
    {
        true => line.to_string(),
        false => format!("{indention}{line}"),
    };
    let lines: Vec<String> = python::lines(&value, false).into_iter().enumerate().map(indented).collect();
    Ok(lines.join("\n"))
}

/// `truncate(length=255, killwords=False, end='...', leeway=5)`
fn truncate(value: &Value, args: Rest<Value>, options: Kwargs) -> Result<String> {
    let [length, kill, end, leeway] = named(args, options, ["length", "killwords", "end", "leeway"])?;
    let (length, leeway) = (int_or(&length, 255)?, int_or(&leeway, 5)?);
    let end = given(&end).map_or(Ok("..."), text)?;
    let value = value.to_string();
    let kept = length - end.chars().count() as i64;
    if kept < 0 {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a text cannot be truncated to less than its end",
        ));
    }
    if value.chars().count() as i64 <= length.saturating_add(leeway) {
        return Ok(value);
    }
    let cut: String = value.chars().take(kept as usize).collect();
    let words =
        if kill.is_true() { &cut[..] } else { cut.rsplit_once(' ').map_or(&cut[..], |(words, _)| words) };
    Ok(format!("{words}{end}"))
}
