//! Methods of Python's `str`, `dict`, `list` and `tuple`, which chat templates call: Jinja is written in Python.
//!
//! As in transformers' sandbox, nothing changes a value in place. Indices count characters.

use minijinja::value::{Kwargs, Rest, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::letters::{self, is_space};

type Result<T> = std::result::Result<T, Error>;

/// No template pads a text to more.
const MOST_PADDING: i64 = 1 << 20;

/// What minijinja calls for a method that a value does not have.
pub fn call(_: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value> {
    match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, method, args),
        (ValueKind::Map, _) => of_map(value, method, args),
        (ValueKind::Seq, _) => of_sequence(value, method, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.into())
}

/// The arguments of these names.
///
/// # Errors
/// More arguments than there are names, or another name.
fn arguments<const N: usize>(args: &[Value], names: [&str; N]) -> Result<[Value; N]> {
    let (by_place, by_name): (Rest<Value>, Kwargs) = from_args(args)?;
    named(by_place, by_name, names)
}

/// The same of arguments by place and by name.
pub fn named<const N: usize>(by_place: Rest<Value>, by_name: Kwargs, names: [&str; N]) -> Result<[Value; N]> {
    if by_place.0.len() > N {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let mut values = names.map(|_| Value::UNDEFINED);
    for (i, (value, name)) in values.iter_mut().zip(names).enumerate() {
        let by_name = by_name.get::<Option<Value>>(name)?;
        *value = by_place.0.get(i).cloned().or(by_name).unwrap_or(Value::UNDEFINED);
    }
    by_name.assert_all_used()?;
    Ok(values)
}

fn none(args: &[Value]) -> Result<()> {
    arguments(args, []).map(|_| ())
}

/// `None` counts as left out.
pub fn given(value: &Value) -> Option<&Value> {
    (!value.is_undefined() && !value.is_none()).then_some(value)
}

pub fn text(value: &Value) -> Result<&str> {
    value.as_str().ok_or_else(|| match value.is_undefined() {
        true => ErrorKind::MissingArgument.into(),
        false => refused(format!("expected a string, found {}", value.kind())),
    })
}

fn int(value: &Value) -> Result<i64> {
    match value.kind() {
        ValueKind::Number if value.is_integer() => Ok(i64::try_from(value.clone())?),
        ValueKind::Bool => Ok(value.is_true().into()),
        ValueKind::Undefined => Err(ErrorKind::MissingArgument.into()),
        kind => Err(refused(format!("expected a whole number, found {kind}"))),
    }
}

pub fn int_or(value: &Value, default: i64) -> Result<i64> {
    given(value).map_or(Ok(default), int)
}

fn texts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

pub fn of_text(s: &str, method: &str, args: &[Value]) -> Result<Value> {
    if let Some(is) = letters::test(method) {
        none(args)?;
        return Ok(is(s).into());
    }
    if let Some(convert) = letters::conversion(method) {
        none(args)?;
        return Ok(convert(s).into());
    }
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => {
            let [chars] = arguments(args, ["chars"])?;
            let chars = given(&chars).map(text).transpose()?;
            let stripped = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            let s = if method == "rstrip" { s } else { s.trim_start_matches(stripped) };
            if method == "lstrip" { s } else { s.trim_end_matches(stripped) }.into()
        }
        "removeprefix" => {
            let [prefix] = arguments(args, ["prefix"])?;
            s.strip_prefix(text(&prefix)?).unwrap_or(s).into()
        }
        "removesuffix" => {
            let [suffix] = arguments(args, ["suffix"])?;
            s.strip_suffix(text(&suffix)?).unwrap_or(s).into()
        }
        "split" | "rsplit" => {
            let [sep, most] = arguments(args, ["sep", "maxsplit"])?;
            let most = usize::try_from(int_or(&most, -1)?).unwrap_or(usize::MAX);
            let sep = given(&sep).map(text).transpose()?;
            match (sep, method) {
                (Some(""), _) => return Err(refused("empty separator")),
                (Some(sep), "split") => texts(s.splitn(most.saturating_add(1), sep)),
                (None, "split") => texts(split_spaces(s, most)),
                (Some(sep), _) => reversed(s.rsplitn(most.saturating_add(1), sep)),
                (None, _) => reversed(rsplit_spaces(s, most)),
            }
        }
        "splitlines" => {
            let [keep] = arguments(args, ["keepends"])?;
            texts(lines(s, keep.is_true()))
        }
        "partition" | "rpartition" => {
            let [sep] = arguments(args, ["sep"])?;
            let sep = text(&sep)?;
            if sep.is_empty() {
                return Err(refused("empty separator"));
            }
            let parts = match method {
                "partition" => s.split_once(sep).map_or([s, "", ""], |(before, after)| [before, sep, after]),
                _ => s.rsplit_once(sep).map_or(["", "", s], |(before, after)| [before, sep, after]),
            };
            Tuple::from(parts.map(Value::from)).into()
        }
        "join" => {
            let [items] = arguments(args, ["iterable"])?;
            let mut parts = Vec::new();
            for item in items.try_iter()? {
                parts.push(text(&item)?.to_string());
            }
            parts.join(s).into()
        }
        "replace" => {
            let [old, new, count] = arguments(args, ["old", "new", "count"])?;
            replace(s, text(&old)?, text(&new)?, int_or(&count, -1)?).into()
        }
        "count" => {
            let [what, start, end] = arguments(args, ["sub", "start", "end"])?;
            let what = text(&what)?;
            window(s, &start, &end)?.map_or(0, |(_, part)| part.matches(what).count()).into()
        }
        "find" | "rfind" | "index" | "rindex" => {
            let [what, start, end] = arguments(args, ["sub", "start", "end"])?;
            let what = text(&what)?;
            let found = window(s, &start, &end)?.and_then(|(before, part)| {
                let at = if method.starts_with('r') { part.rfind(what) } else { part.find(what) };
                at.map(|at| before + part[..at].chars().count())
            });
            match found {
                Some(at) => at.into(),
                None if method.ends_with("find") => (-1).into(),
                None => return Err(refused("substring not found")),
            }
        }
        "startswith" | "endswith" => {
            let [affix, start, end] = arguments(args, ["prefix", "start", "end"])?;
            let part = window(s, &start, &end)?.map(|(_, part)| part);
            let has = |affix: &str| {
                part.is_some_and(|part| match method {
                    "startswith" => part.starts_with(affix),
                    _ => part.ends_with(affix),
                })
            };
            match affix.downcast_object_ref::<Tuple>() {
                Some(affixes) => {
                    let affixes: Vec<&str> = affixes.iter().map(text).collect::<Result<_>>()?;
                    affixes.into_iter().any(has).into()
                }
                None => has(text(&affix)?).into(),
            }
        }
        "ljust" | "rjust" | "center" => {
            let [width, fill] = arguments(args, ["width", "fillchar"])?;
            let fill = given(&fill).map_or(Ok(" "), text)?;
            if fill.chars().count() != 1 {
                return Err(refused("the fill character must be exactly one character long"));
            }
            let (missing, width) = padding(s, &width)?;
            let left = match method {
                "ljust" => 0,
                "rjust" => missing,
                // As CPython rounds it.
                _ => missing / 2 + (missing & width & 1),
            };
            format!("{}{s}{}", fill.repeat(left), fill.repeat(missing - left)).into()
        }
        "zfill" => {
            let [width] = arguments(args, ["width"])?;
            let zeros = "0".repeat(padding(s, &width)?.0);
            let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
            let sign = &s[..s.len() - digits.len()];
            format!("{sign}{zeros}{digits}").into()
        }
        "expandtabs" => {
            let [size] = arguments(args, ["tabsize"])?;
            let size = int_or(&size, 8)?.clamp(0, MOST_PADDING) as usize;
            expand_tabs(s, size).into()
        }
        "format" => {
            minijinja::formatting::format(minijinja::formatting::FormatStyle::StrFormat, s, args)?.into()
        }
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

fn reversed<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    let mut parts: Vec<&str> = parts.collect();
    parts.reverse();
    texts(parts)
}

/// At runs of white space, at most `most` times; the rest keeps its trailing space.
fn split_spaces(s: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = s.trim_start_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let (part, after) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        parts.push(part);
        rest = after.trim_start_matches(is_space);
    }
    parts
}

/// The same from the end, the last part first.
fn rsplit_spaces(s: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut parts = Vec::new();
    let mut rest = s.trim_end_matches(is_space);
    while !rest.is_empty() {
        if parts.len() == most {
            parts.push(rest);
            break;
        }
        let start =
            rest.rfind(is_space).map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
        let (before, part) = rest.split_at(start);
        parts.push(part);
        rest = before.trim_end_matches(is_space);
    }
    parts.into_iter()
}

/// Python breaks lines at more than line feeds.
pub fn lines(s: &str, keep: bool) -> Vec<&str> {
    let ends = |c: char| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = s;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let end = match rest[at..].chars().next() {
            Some('\r') if rest[at..].starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        lines.push(&rest[..if keep { at + end } else { at }]);
        rest = &rest[at + end..];
    }
    lines
}

pub fn replace(s: &str, old: &str, new: &str, count: i64) -> String {
    match usize::try_from(count) {
        Ok(count) => s.replacen(old, new, count),
        Err(_) => s.replace(old, new),
    }
}

/// `s[start:end]` and how many characters are before it; `None` where it would begin behind its end, or that of `s`.
fn window<'a>(s: &'a str, start: &Value, end: &Value) -> Result<Option<(usize, &'a str)>> {
    let len = s.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at };
    let (start, end) = (place(int_or(start, 0)?), place(int_or(end, len)?).min(len));
    if start > end {
        return Ok(None);
    }
    let byte = |at: i64| s.char_indices().nth(at as usize).map_or(s.len(), |(byte, _)| byte);
    Ok(Some((start as usize, &s[byte(start)..byte(end)])))
}

/// How many characters `s` lacks to `width`, and that.
fn padding(s: &str, width: &Value) -> Result<(usize, usize)> {
    let width = int(width)?;
    if width > MOST_PADDING {
        return Err(refused(format!("a width of {width} is more than {MOST_PADDING}")));
    }
    let width = width.max(0) as usize;
    Ok((width.saturating_sub(s.chars().count()), width))
}

fn expand_tabs(s: &str, size: usize) -> String {
    let (mut expanded, mut column) = (String::new(), 0);
    for c in s.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                expanded += &" ".repeat(spaces);
                column += spaces;
            }
            c => {
                expanded.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    expanded
}

fn of_map(map: &Value, method: &str, args: &[Value]) -> Result<Value> {
    let pairs = || -> Result<Vec<[Value; 2]>> {
        map.try_iter()?.map(|key| Ok([key.clone(), map.get_item(&key)?])).collect()
    };
    match method {
        "get" => {
            let [key, default] = arguments(args, ["key", "default"])?;
            let found = map.get_item(&key)?;
            Ok(match (found.is_undefined(), default.is_undefined()) {
                (false, _) => found,
                (true, false) => default,
                (true, true) => ().into(),
            })
        }
        "keys" => {
            none(args)?;
            Ok(map.try_iter()?.collect())
        }
        "values" => {
            none(args)?;
            Ok(pairs()?.into_iter().map(|[_, value]| value).collect())
        }
        "items" => {
            none(args)?;
            Ok(pairs()?.into_iter().map(|pair| Value::from(Tuple::from(pair))).collect())
        }
        "copy" => {
            none(args)?;
            Ok(map.clone())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn of_sequence(items: &Value, method: &str, args: &[Value]) -> Result<Value> {
    match method {
        "count" => {
            let [what] = arguments(args, ["value"])?;
            Ok(items.try_iter()?.filter(|item| *item == what).count().into())
        }
        "index" => {
            let [what] = arguments(args, ["value"])?;
            let at = items.try_iter()?.position(|item| item == what);
            at.map(Value::from).ok_or_else(|| refused(format!("{what} is not in the list")))
        }
        "copy" => {
            none(args)?;
            Ok(items.clone())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}
