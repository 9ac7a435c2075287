//! Python's `json.dumps`, which chat templates call through `tojson`.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`; the last two by name alone.
pub fn tojson(
    value: &Value,
    ensure_ascii: Option<bool>,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let indent = match indent {
        None => options.get("indent")?,
        given => given,
    };
    let indent = match indent.filter(|indent: &Value| !indent.is_none()) {
        None => None,
        Some(indent) => Some(match indent.as_str() {
            Some(text) => text.into(),
            None => " ".repeat(usize::try_from(indent)?),
        }),
    };
    let given: Option<Vec<String>> = options.get("separators")?;
    let (item, key) = match given.as_deref() {
        None if indent.is_some() => (",".into(), ": ".into()),
        None => (", ".into(), ": ".into()),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "`separators` are two strings")),
    };
    let ensure_ascii = match ensure_ascii {
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        Some(given) => given,
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;

    let mut json = Writer { text: String::new(), indent, item, key, ensure_ascii, sort_keys };
    json.value(value, 0)?;
    Ok(json.text)
}

struct Writer {
    text: String,
    /// Of one level; `None` writes all on one line.
    indent: Option<String>,
    item: String,
    key: String,
    ensure_ascii: bool,
    sort_keys: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Map => {
                let mut pairs = Vec::new();
                for key in value.try_iter()? {
                    pairs.push((name(&key)?, value.get_item(&key)?));
                }
                if self.sort_keys {
                    pairs.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.items('{', pairs, '}', depth, |json, (key, value)| {
                    json.string(&key);
                    json.text += &json.key.clone();
                    json.value(&value, depth + 1)
                })
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.collect();
                self.items('[', items, ']', depth, |json, item| json.value(&item, depth + 1))
            }
            ValueKind::String => {
                self.string(value.as_str().unwrap_or_default());
                Ok(())
            }
            _ => {
                self.text += &scalar(value)?;
                Ok(())
            }
        }
    }

    fn items<T>(
        &mut self,
        open: char,
        items: Vec<T>,
        close: char,
        depth: usize,
        mut write: impl FnMut(&mut Self, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        let empty = items.is_empty();
        for (i, item) in items.into_iter().enumerate() {
            if i > 0 {
                self.text += &self.item.clone();
            }
            self.line(depth + 1);
            write(self, item)?;
        }
        if !empty {
            self.line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.text.push('\n');
            self.text += &indent.repeat(depth);
        }
    }

    fn string(&mut self, text: &str) {
        // Python and serde_json escape the same characters.
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ensure_ascii {
            self.text += &quoted;
            return;
        }
        for c in quoted.chars() {
            if matches!(c, ' '..='~') {
                self.text.push(c);
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    self.text += &format!("\\u{unit:04x}");
                }
            }
        }
    }
}

fn scalar(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Number => Ok(float(f64::try_from(value.clone())?)),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} cannot be written as JSON"))),
    }
}

/// A key of an object: text, or another scalar as text.
fn name(key: &Value) -> Result<String, Error> {
    match key.as_str() {
        Some(text) => Ok(text.into()),
        None => scalar(key),
    }
}

/// Python's `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on.
fn float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    let shortest = format!("{x:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => format!("{x:?}"),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};

    /// What `json.dumps` of Python 3.11 gives for the same arguments.
    #[test]
    fn agrees_with_python() {
        let mut environment = Environment::new();
        environment.add_filter("tojson", super::tojson);
        let value = "{'b': [1, true, none, 1.5, -0.0, 1e16, 1.5e-5, 0.0001, 123456789012345.0, []], \
                     'a': {text: {}, 'z': [[1], {'y': 2}]}}";
        let text = "é<&'\"\\\n\u{1}🙂";
        for (filter, expected) in [
            (
                "tojson",
                r#"{"b": [1, true, null, 1.5, -0.0, 1e+16, 1.5e-05, 0.0001, 123456789012345.0, []], "a": {"é<&'\"\\\n\u0001🙂": {}, "z": [[1], {"y": 2}]}}"#,
            ),
            (
                "tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true)",
                r#"{"a":{"z":[[1],{"y":2}],"\u00e9<&'\"\\\n\u0001\ud83d\ude42":{}},"b":[1,true,null,1.5,-0.0,1e+16,1.5e-05,0.0001,123456789012345.0,[]]}"#,
            ),
        ] {
            let source = format!("{{{{ {value} | {filter} }}}}");
            assert_eq!(environment.render_str(&source, context! { text }).unwrap(), expected);
        }
        let text =
            environment.render_str("{{ {'a': [1, {}, []], 'b': 'c'} | tojson(indent=2) }}", ()).unwrap();
        assert_eq!(text, "{\n  \"a\": [\n    1,\n    {},\n    []\n  ],\n  \"b\": \"c\"\n}");
        assert_eq!(environment.render_str("{{ [1, 2] | tojson(false, '-') }}", ()).unwrap(), "[\n-1,\n-2\n]");
        assert!(environment.render_str("{{ absent | tojson }}", ()).is_err());
        assert!(environment.render_str("{{ 1 | tojson(colour=2) }}", ()).is_err());
    }
}
