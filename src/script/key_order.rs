//! The order of a map's keys. The engine's maps are sorted, but a chat template prints a tool's schema with its keys in
//! the order in which it was written, and a model reads other tokens if that is another one.
//!
//! A map that was read from JSON keeps it: every value carries its place in the tag that the engine has beside a
//! value. For a map that a script writes, the script's text says it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rhai::{AST, ASTNode, Array, Dynamic, Expr, Map};
use serde_json::Value;

use super::error::{Failure, ScriptResult, fail};

/// Marks a value as the one at `place` of a JSON object.
pub fn mark(value: &mut Dynamic, place: usize) {
    // Tags count from 1: 0 is on every other value.
    value.set_tag(i32::try_from(place + 1).unwrap_or(0));
}

/// The orders in which the scripts write the keys of maps.
#[derive(Debug, Default)]
pub struct KeyOrders(Mutex<HashMap<Vec<String>, Written>>);

/// How maps with a certain set of keys are written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written {
    Always(Vec<String>),
    InSeveralOrders,
}

impl KeyOrders {
    /// Looks at every map in the text of a script.
    pub fn learn(&self, ast: &AST) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ast.walk(&mut |path: &[ASTNode]| {
            if let Some(ASTNode::Expr(Expr::Map(entries, _))) = path.last() {
                let order: Vec<String> = entries.0.iter().map(|(key, _)| key.name.to_string()).collect();
                let mut keys = order.clone();
                keys.sort_unstable();
                let written = orders.entry(keys).or_insert_with(|| Written::Always(order.clone()));
                if *written != Written::Always(order) {
                    *written = Written::InSeveralOrders;
                }
            }
            true
        });
    }

    /// `json`, which is made of `value`, with the keys of every map in the order in which they were written. `name` is what
    /// errors call it.
    ///
    /// # Errors
    /// A map whose order is not known.
    pub fn restore(&self, name: &str, value: &Dynamic, json: Value) -> ScriptResult<Value> {
        match json {
            Value::Array(items) => {
                let Some(values) = value.read_lock::<Array>() else { return Ok(Value::Array(items)) };
                let items = values.iter().zip(items).enumerate();
                let item = |(i, (value, item))| self.restore(&format!("{name}[{i}]"), value, item);
                items.map(item).collect::<ScriptResult<_>>().map(Value::Array)
            }
            Value::Object(mut entries) => {
                let Some(map) = value.read_lock::<Map>() else { return Ok(Value::Object(entries)) };
                let mut ordered = serde_json::Map::new();
                for key in self.order(&map).ok_or_else(|| unknown(name, &map))? {
                    if let (Some(value), Some(entry)) = (map.get(key.as_str()), entries.remove(&key)) {
                        let entry = self.restore(&format!("{name}.{key}"), value, entry)?;
                        ordered.insert(key, entry);
                    }
                }
                Ok(Value::Object(ordered))
            }
            other => Ok(other),
        }
    }

    fn order(&self, map: &Map) -> Option<Vec<String>> {
        let keys: Vec<String> = map.keys().map(ToString::to_string).collect();
        if keys.len() < 2 {
            return Some(keys);
        }
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&keys).cloned();
        match (read_order(map), written) {
            (Some((read, _)), None) => Some(read),
            // Some values of a map that a script writes may have been read.
            (Some((_, false)) | None, Some(Written::Always(written))) => Some(written),
            (Some((read, true)), Some(Written::Always(written))) if read == written => Some(read),
            (Some((read, true)), Some(Written::InSeveralOrders)) => Some(read),
            _ => None,
        }
    }
}

/// The order of a map that was read, and whether all of it was. One entry that was added since is the last.
fn read_order(map: &Map) -> Option<(Vec<String>, bool)> {
    let mut places: Vec<_> = map.iter().map(|(key, value)| (value.tag(), key.to_string())).collect();
    places.sort_unstable();
    let added = places.iter().filter(|(place, _)| *place == 0).count();
    places.rotate_left(added);
    let read = &places[..places.len() - added];
    let distinct = read.windows(2).all(|pair| pair[0].0 != pair[1].0);
    // Where places are missing, the entry without one may stand for one of them.
    let whole = read.last().is_some_and(|(last, _)| usize::try_from(*last) == Ok(read.len()));
    let known = distinct && (added == 0 || added == 1 && whole);
    known.then(|| (places.into_iter().map(|(_, key)| key).collect(), added == 0))
}

fn unknown(name: &str, map: &Map) -> Failure {
    let keys: Vec<String> = map.keys().take(5).map(|key| format!("`{key}`")).collect();
    fail(format!("the order of the keys of `{name}` is not known: {}", keys.join(", "))).help(
        "a template prints keys in order: take the map as `read_json` gives it, or write all its keys in one `#{..}`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostOptions};

    /// What a template would get of `code`; `r` is a map that was read.
    fn ordered(code: &str) -> Result<String, String> {
        use crate::script::bind::data::{from_json, to_json};
        let host = Host::new(HostOptions::default());
        let mut scope = rhai::Scope::new();
        let read = r#"{"type": "f", "parameters": {"z": 1, "a": [{"y": 2, "b": 3}]}, "name": "n"}"#;
        scope.push("r", from_json(serde_json::from_str(read).unwrap()));
        let script = host.compile("test", code, &scope).unwrap();
        let value = rhai::Engine::new().eval_ast_with_scope::<Dynamic>(&mut scope, &script.ast).unwrap();
        let json = to_json(&value).unwrap();
        let json = host.context().key_orders.restore("tools", &value, json);
        json.map(|json| json.to_string()).map_err(|error| match *error {
            rhai::EvalAltResult::ErrorRuntime(failure, _) => failure.cast::<Failure>().message,
            other => other.to_string(),
        })
    }

    #[test]
    fn maps_keep_the_order_in_which_they_were_written() {
        for (code, expected) in [
            ("r", r#"{"type":"f","parameters":{"z":1,"a":[{"y":2,"b":3}]},"name":"n"}"#),
            ("let t = r; t.remove(\"parameters\"); [t]", r#"[{"type":"f","name":"n"}]"#),
            ("r.parameters.b = 1; r.parameters", r#"{"z":1,"a":[{"y":2,"b":3}],"b":1}"#),
            ("#{type: 1, b: #{y: 1, x: 2}, a: 3}", r#"{"type":1,"b":{"y":1,"x":2},"a":3}"#),
            // What is put into it was read, its own order was not.
            ("#{z: r.type, b: r.parameters.a[0].y}", r#"{"z":"f","b":2}"#),
            ("#{name: 1, type: r.type}", r#"{"name":1,"type":"f"}"#),
            ("let b = r.parameters.a[0]; #{y: b.y, b: b.b}", r#"{"y":2,"b":3}"#),
            ("fn f(x) { #{z: x, a: x} } f(1)", r#"{"z":1,"a":1}"#),
        ] {
            assert_eq!(ordered(code).as_deref(), Ok(expected), "{code}");
        }
    }

    #[test]
    fn an_order_that_is_not_known_is_refused() {
        for code in [
            "let m = #{}; m.b = 1; m.a = 2; m",
            "r.b = 1; r.a = 2; r",
            "r.parameters = 1; r",
            "r.remove(\"parameters\"); r.added = 1; r",
            "let one = #{a: 1, b: 2}; #{b: 1, a: 2}",
            "let b = r.parameters.a[0]; #{b: b.b, y: b.y}",
        ] {
            let told = ordered(code).unwrap_err();
            assert!(told.starts_with("the order of the keys of `tools` is not known: `"), "{told}");
        }
    }
}
