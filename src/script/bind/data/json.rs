//! Script values as JSON and back.

use rhai::{Array, Dynamic, Map};
use serde_json::Value;

use super::table::Table;
use crate::data::json::{self, JsonError};
use crate::memory;
use crate::script::args::{expected, type_of};
use crate::script::bind::refusal;
use crate::script::bind::tensor::{self, Tensor};
use crate::script::error::{ScriptResult, fail};
use crate::script::key_order;

/// `value` as JSON: `()` is `null`, a tensor nested arrays, a table an array of objects. What JSON cannot
/// express is refused with its place.
pub fn to_json(value: &Dynamic) -> Result<Value, JsonError> {
    if let Some(items) = value.read_lock::<Array>() {
        let item = |(i, item)| to_json(item).map_err(|error| error.in_index(i));
        return items.iter().enumerate().map(item).collect();
    }
    if let Some(map) = value.read_lock::<Map>() {
        let entry = |(key, value): (&rhai::Identifier, _)| match to_json(value) {
            Ok(value) => Ok((key.to_string(), value)),
            Err(error) => Err(error.in_key(key)),
        };
        return map.iter().map(entry).collect();
    }
    if let Some(table) = value.read_lock::<Table>() {
        return table.rows().map(|row| to_json(&row.into())).collect();
    }
    if let Some(t) = value.read_lock::<Tensor>() {
        return numbers(&t);
    }
    if let Ok(text) = value.clone().into_immutable_string() {
        return Ok(Value::String(text.into()));
    }
    match (value.as_int(), value.as_float(), value.as_bool(), value.as_char()) {
        (Ok(int), ..) => Ok(int.into()),
        (_, Ok(float), ..) => json::f64_number(float).map(Value::Number),
        (_, _, Ok(truth), _) => Ok(truth.into()),
        (.., Ok(letter)) => Ok(letter.to_string().into()),
        _ if value.is_unit() => Ok(Value::Null),
        _ => Err(not_json(format!("it is a `{}`", type_of(value)))),
    }
}

/// Float32 numbers are written with the fewest digits that mean them.
fn numbers(t: &Tensor) -> Result<Value, JsonError> {
    memory::reserve_many(t.inner().elem_count(), 2 * size_of::<Value>())
        .map_err(|full| not_json(full.to_string()))?;
    if t.inner().dtype().is_int() {
        return to_json(&tensor::to_dynamic(t).map_err(|error| not_json(error.to_string()))?);
    }
    json::f32_array(t.dims(), &t.host().map_err(|error| not_json(error.to_string()))?)
}

/// A row or a whole value as JSON. With `keys`, it is a map with exactly these keys, written in their order; else keys
/// stand in alphabetical order.
pub(super) fn ordered(value: &Dynamic, keys: Option<&[String]>) -> ScriptResult<Value> {
    let json = to_json(value).map_err(refusal::of)?;
    let Some(keys) = keys else { return Ok(json) };
    let Value::Object(mut entries) = json else {
        return Err(expected("a map", value).help("`keys` orders the entries of a map").into());
    };
    let mut ordered = serde_json::Map::new();
    for key in keys {
        let value = entries.remove(key).ok_or_else(|| {
            fail(format!("there is no `{key}`, which `keys` lists")).help("set it to `()` for `null`")
        })?;
        ordered.insert(key.clone(), value);
    }
    match entries.keys().next() {
        None => Ok(Value::Object(ordered)),
        Some(extra) => {
            Err(fail(format!("`keys` does not list `{extra}`")).help("list every key, in order").into())
        }
    }
}

fn not_json(reason: String) -> JsonError {
    JsonError::NotJson { reason, path: String::new() }
}

/// JSON as script values: `null` is `()`; a number is an int if it is written as one that fits, else a float.
pub fn from_json(value: Value) -> Dynamic {
    match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(truth) => truth.into(),
        Value::Number(number) => match number.as_i64() {
            Some(int) => int.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        Value::String(text) => text.into(),
        Value::Array(items) => items.into_iter().map(from_json).collect::<Array>().into(),
        Value::Object(entries) => {
            let entry = |(place, (key, value)): (_, (String, _))| {
                let mut value = from_json(value);
                key_order::mark(&mut value, place);
                (key.into(), value)
            };
            entries.into_iter().enumerate().map(entry).collect::<Map>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use rhai::Engine;
    use serde_json::json;

    use super::*;

    fn eval(code: &str) -> Dynamic {
        Engine::new().eval(code).unwrap()
    }

    #[test]
    fn values_survive_the_round_trip() {
        let value = json!({"a": [1, 2.5, null, true, "x"], "b": {}});
        assert_eq!(to_json(&from_json(value.clone())).unwrap(), value);
        assert_eq!(from_json(json!(1.0)).type_name(), "f64");
        assert_eq!(from_json(json!(u64::MAX)).type_name(), "f64");
        assert_eq!(to_json(&eval("['c', ()]")).unwrap(), json!(["c", null]));
    }

    #[test]
    fn what_json_lacks_is_named_by_its_place() {
        let told = |code| to_json(&eval(code)).unwrap_err().to_string();
        assert_eq!(told("#{runs: [1, |x| x]}"), "`.runs[1]` cannot be written as json: it is a `function`");
        assert_eq!(told("[0.0 / 0.0]"), "`[0]` is NaN, which json cannot express");
    }
}
