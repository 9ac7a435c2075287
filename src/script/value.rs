//! How a value is shown: by the REPL (strings quoted) and inside other text (strings bare).

use rhai::{Dynamic, FnPtr};

use super::api::Table;
use super::draw;

/// Elements of an array or map that the REPL prints before it only counts the rest.
const MAX_SHOWN: usize = 100;

/// What the REPL prints for a value that stands alone; `None` for `()`.
pub fn echo(table: &Table, value: &Dynamic) -> Option<String> {
    (!value.is_unit()).then(|| draw::draw(table, value).unwrap_or_else(|| quoted(table, value)))
}

/// The value as part of a text: a string as it is, everything else as the REPL prints it.
pub fn plain(table: &Table, value: &Dynamic) -> String {
    match value.clone().into_immutable_string() {
        Ok(text) => text.to_string(),
        Err(_) => quoted(table, value),
    }
}

/// The value as code would write it, as far as that can be.
pub fn quoted(table: &Table, value: &Dynamic) -> String {
    if value.is_unit() {
        return "()".into();
    }
    if let Some(shown) = table.show(value) {
        return shown;
    }
    if let Some(function) = value.read_lock::<FnPtr>() {
        return if function.is_anonymous() {
            "a closure".into()
        } else {
            format!("function `{}`", function.fn_name())
        };
    }
    if let Some(items) = value.read_lock::<rhai::Array>() {
        return format!("[{}]", list(items.iter().map(|item| quoted(table, item)), items.len()));
    }
    if let Some(map) = value.read_lock::<rhai::Map>() {
        let entries = map.iter().map(|(key, value)| format!("{}: {}", key_text(key), quoted(table, value)));
        return format!("#{{{}}}", list(entries, map.len()));
    }
    match value.clone().into_immutable_string() {
        Ok(text) => format!("{:?}", text.as_str()),
        Err(_) => value.to_string(),
    }
}

fn key_text(key: &str) -> String {
    if rhai::is_valid_identifier(key) { key.to_string() } else { format!("{key:?}") }
}

fn list(items: impl Iterator<Item = String>, len: usize) -> String {
    let mut shown: Vec<_> = items.take(MAX_SHOWN).collect();
    if len > MAX_SHOWN {
        shown.push(format!("… {} more", len - MAX_SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_like_the_code_that_makes_them() {
        let engine = rhai::Engine::new();
        let table = Table::default();
        for (code, shown) in [
            ("1.0", "1.0"),
            ("-3", "-3"),
            ("\"a\\n\"", "\"a\\n\""),
            ("[1, [true, 'c'], ()]", "[1, [true, c], ()]"),
            ("#{b: 1, \"a b\": \"x\"}", "#{\"a b\": \"x\", b: 1}"),
            ("|x| x", "a closure"),
            ("0..3", "0..3"),
        ] {
            let value: Dynamic = engine.eval(code).unwrap();
            assert_eq!(echo(&table, &value).as_deref(), Some(shown));
        }
        assert_eq!(echo(&table, &Dynamic::UNIT), None);
        assert_eq!(plain(&table, &"a".into()), "a");
    }

    #[test]
    fn long_arrays_are_cut() {
        let value: Dynamic = vec![Dynamic::from(0i64); 105].into();
        assert!(echo(&Table::default(), &value).unwrap().ends_with("0, … 5 more]"));
    }
}
