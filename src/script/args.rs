//! Reading script values in bindings, with errors that say what was expected.

use std::collections::BTreeSet;

use rhai::{Array, Dynamic, FnPtr, Map};

use super::api::script_type;
use super::error::{Failure, ScriptResult, fail};
use crate::nearest::nearest;

/// The type of a value as scripts know it.
pub fn type_of(value: &Dynamic) -> String {
    if value.is_string() { "string".into() } else { script_type(value.type_name()) }
}

/// "expected a number, found `string`".
pub fn expected(what: &str, value: &Dynamic) -> Failure {
    fail(format!("expected {what}, found `{}`", type_of(value)))
}

/// An int or a float.
pub fn number(value: &Dynamic) -> ScriptResult<f64> {
    match (value.as_int(), value.as_float()) {
        (Ok(int), _) => Ok(int as f64),
        (_, Ok(float)) => Ok(float),
        _ => Err(expected("a number", value).into()),
    }
}

/// An int; a float is refused even if it is whole, since it is mostly a forgotten rounding.
pub fn int(value: &Dynamic) -> ScriptResult<i64> {
    value.as_int().map_err(|_| expected("an int", value).into())
}

/// An int that is not negative: a count, a layer.
pub fn size(value: &Dynamic) -> ScriptResult<usize> {
    let int = int(value)?;
    usize::try_from(int)
        .map_err(|_| fail(format!("expected an int that is not negative, found {int}")).into())
}

pub fn boolean(value: &Dynamic) -> ScriptResult<bool> {
    value.as_bool().map_err(|_| expected("`true` or `false`", value).into())
}

pub fn string(value: &Dynamic) -> ScriptResult<String> {
    value.clone().into_immutable_string().map(Into::into).map_err(|_| expected("a string", value).into())
}

pub fn array(value: &Dynamic) -> ScriptResult<Array> {
    value.clone().into_array().map_err(|_| expected("an array", value).into())
}

pub fn function(value: &Dynamic) -> ScriptResult<FnPtr> {
    value.clone().try_cast().ok_or_else(|| expected("a function", value).into())
}

/// Reads every element of an array; an error names the element's index.
pub fn each<T>(value: &Dynamic, read: impl Fn(&Dynamic) -> ScriptResult<T>) -> ScriptResult<Vec<T>> {
    let items = array(value)?;
    items
        .iter()
        .enumerate()
        .map(|(i, item)| read(item).map_err(|error| within(&format!("element {i}"), error)))
        .collect()
}

/// Says where in a larger value the refused one stands.
pub fn within(place: &str, mut error: Box<rhai::EvalAltResult>) -> Box<rhai::EvalAltResult> {
    if let rhai::EvalAltResult::ErrorRuntime(payload, _) = error.as_mut()
        && let Some(mut failure) = payload.write_lock::<Failure>()
    {
        failure.message = format!("{place}: {}", failure.message);
    }
    error
}

/// The trailing option map of a call. Each `get` names an option that exists; [`Options::finish`]
/// refuses the others.
#[derive(Debug)]
pub struct Options {
    map: Map,
    owner: &'static str,
    known: BTreeSet<String>,
}

impl Options {
    /// `owner` is the function or type that takes the options.
    pub fn new(map: Map, owner: &'static str) -> Self {
        Self { map, owner, known: BTreeSet::new() }
    }

    /// The raw value; `()` counts as not given.
    pub fn get(&mut self, name: &'static str) -> Option<Dynamic> {
        self.known.insert(name.into());
        self.map.get(name).filter(|value| !value.is_unit()).cloned()
    }

    /// The value read by `read`; an error names the option.
    pub fn get_with<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&Dynamic) -> ScriptResult<T>,
    ) -> ScriptResult<Option<T>> {
        let value = self.get(name);
        value
            .map(|value| read(&value).map_err(|error| within(&format!("option `{name}`"), error)))
            .transpose()
    }

    /// The values of options whose names are known at run time only.
    pub fn get_all(&mut self, names: BTreeSet<String>) -> Map {
        let given = self.map.iter().filter(|(name, value)| {
            names.contains(name.as_str()) && !self.known.contains(name.as_str()) && !value.is_unit()
        });
        let values = given.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.known.extend(names);
        values
    }

    pub fn get_f64(&mut self, name: &'static str) -> ScriptResult<Option<f64>> {
        self.get_with(name, number)
    }

    pub fn get_int(&mut self, name: &'static str) -> ScriptResult<Option<i64>> {
        self.get_with(name, int)
    }

    pub fn get_usize(&mut self, name: &'static str) -> ScriptResult<Option<usize>> {
        self.get_with(name, size)
    }

    pub fn get_bool(&mut self, name: &'static str) -> ScriptResult<Option<bool>> {
        self.get_with(name, boolean)
    }

    pub fn get_string(&mut self, name: &'static str) -> ScriptResult<Option<String>> {
        self.get_with(name, string)
    }

    /// Refuses options that no `get` asked for.
    pub fn finish(self) -> ScriptResult<()> {
        #[cfg(test)]
        seen().entry(self.owner.into()).or_default().extend(self.known.iter().cloned());
        let known = self.known.iter().map(String::as_str);
        match self.map.keys().find(|key| !self.known.contains(key.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(unknown_option(self.owner, unknown, known).into()),
        }
    }
}

/// The valid options of all calls so far, by their owners.
#[cfg(test)]
pub fn seen() -> std::sync::MutexGuard<'static, std::collections::BTreeMap<String, BTreeSet<String>>> {
    static SEEN: std::sync::Mutex<std::collections::BTreeMap<String, BTreeSet<String>>> =
        std::sync::Mutex::new(std::collections::BTreeMap::new());
    SEEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The refusal of an option that does not exist.
pub fn unknown_option<'a>(
    owner: &str,
    unknown: &str,
    valid: impl Iterator<Item = &'a str> + Clone,
) -> Failure {
    let mut message = format!("unknown option `{unknown}` of `{owner}`");
    if let Some(name) = nearest(unknown, valid.clone()) {
        message += &format!("; did you mean `{name}`?");
    }
    let valid = valid.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    fail(message).help(format!("valid options: {valid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure<T>(result: ScriptResult<T>) -> Failure {
        match result.err().map(|error| *error) {
            Some(rhai::EvalAltResult::ErrorRuntime(payload, _)) => payload.cast(),
            _ => panic!("expected a failure"),
        }
    }

    fn map(entries: &[(&str, Dynamic)]) -> Map {
        entries.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()
    }

    #[test]
    fn numbers_accept_ints_and_name_what_they_found() {
        assert_eq!(number(&2i64.into()).unwrap(), 2.0);
        assert_eq!(number(&2.5.into()).unwrap(), 2.5);
        assert_eq!(failure(number(&"2".into())).message, "expected a number, found `string`");
        assert_eq!(failure(size(&(-1i64).into())).message, "expected an int that is not negative, found -1");
        assert_eq!(failure(int(&1.0.into())).message, "expected an int, found `float`");
    }

    #[test]
    fn options_are_read_by_type() {
        let mut options = Options::new(map(&[("layer", 3i64.into()), ("scale", 2i64.into())]), "f");
        assert_eq!(options.get_usize("layer").unwrap(), Some(3));
        assert_eq!(options.get_f64("scale").unwrap(), Some(2.0));
        assert_eq!(options.get_string("name").unwrap(), None);
        options.finish().unwrap();
    }

    #[test]
    fn an_unknown_option_lists_the_valid_ones() {
        let mut options = Options::new(map(&[("lyaer", 3i64.into())]), "sweep");
        options.get_usize("layer").unwrap();
        options.get_usize("head").unwrap();
        let failure = failure(options.finish());
        assert_eq!(failure.message, "unknown option `lyaer` of `sweep`; did you mean `layer`?");
        assert_eq!(failure.help.as_deref(), Some("valid options: `head`, `layer`"));
    }

    #[test]
    fn names_known_at_run_time_are_options_too() {
        let mut options =
            Options::new(map(&[("a", 1i64.into()), ("b", 2i64.into()), ("d", 3i64.into())]), "f");
        assert_eq!(options.get_usize("a").unwrap(), Some(1));
        let rest = options.get_all(["a", "b", "c"].map(String::from).into());
        assert_eq!(rest.keys().collect::<Vec<_>>(), ["b"]);
        let failure = failure(options.finish());
        assert!(failure.message.starts_with("unknown option `d` of `f`"), "{}", failure.message);
        assert_eq!(failure.help.as_deref(), Some("valid options: `a`, `b`, `c`"));
    }

    #[test]
    fn errors_name_the_option_and_the_element() {
        let mut options = Options::new(map(&[("layers", vec![Dynamic::from(1i64), "x".into()].into())]), "f");
        let error = options.get_with("layers", |value| each(value, size));
        assert_eq!(failure(error).message, "option `layers`: element 1: expected an int, found `string`");
    }
}
