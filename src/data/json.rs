//! JSON and JSONL: strict reading, and writing that never passes off a NaN as `null`.
//!
//! A [`Value`] cannot hold NaN or infinities, so they are caught where numbers are made: [`f32_number`]
//! and [`f64_number`] fail, and each container on the way out adds its step to the error's path by
//! [`JsonError::in_key`] or [`JsonError::in_index`].

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Number, Value};

/// Why a text is no JSON, or a value cannot be written as JSON. Lines and columns count from 1.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("line {line}, column {column} of `{name}`: {reason}")]
    Malformed { name: String, line: usize, column: usize, reason: String },
    #[error("line {line}, column {column} of `{name}`: {number} does not fit an int of 64 bits")]
    TooLarge { name: String, line: usize, column: usize, number: String },
    #[error("{} is {number}, which json cannot express", place(path))]
    NotFinite { number: f64, path: String },
    #[error("{} cannot be written as json: {reason}", place(path))]
    NotJson { reason: String, path: String },
    #[error("expected {expected} numbers for shape {shape:?}, found {found}")]
    Shape { shape: Vec<usize>, expected: usize, found: usize },
}

impl JsonError {
    /// The error of a text that is line `line` of its file.
    pub fn on_line(self, line: usize) -> JsonError {
        match self {
            JsonError::Malformed { name, column, reason, .. } => {
                JsonError::Malformed { name, line, column, reason }
            }
            JsonError::TooLarge { name, column, number, .. } => {
                JsonError::TooLarge { name, line, column, number }
            }
            other => other,
        }
    }

    /// The error of a value that stands under `key`.
    pub fn in_key(self, key: &str) -> JsonError {
        let plain = key.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_alphanumeric() || c == '_');
        self.within(if plain { format!(".{key}") } else { format!("[{key:?}]") })
    }

    /// The error of a value that stands at `index` of an array.
    pub fn in_index(self, index: usize) -> JsonError {
        self.within(format!("[{index}]"))
    }

    fn within(self, step: String) -> JsonError {
        match self {
            JsonError::NotFinite { number, path } => {
                JsonError::NotFinite { number, path: step + path.as_str() }
            }
            JsonError::NotJson { reason, path } => JsonError::NotJson { reason, path: step + path.as_str() },
            other => other,
        }
    }
}

fn place(path: &str) -> String {
    if path.is_empty() { "the value".into() } else { format!("`{path}`") }
}

/// `x` as a JSON number; `NotFinite` for NaN and infinities.
pub fn f64_number(x: f64) -> Result<Number, JsonError> {
    Number::from_f64(x).ok_or_else(|| JsonError::NotFinite { number: x, path: String::new() })
}

/// `x` as a JSON number with the fewest digits that still mean this f32: `0.1`, not
/// `0.10000000149011612`.
pub fn f32_number(x: f32) -> Result<Number, JsonError> {
    // The shortest f32 text has at most nine digits; as an f64 it prints with the same ones.
    f64_number(x.to_string().parse().unwrap_or(f64::from(x)))
}

/// `data`, row-major, as arrays nested by `shape`; shape `[]` is a single number.
pub fn f32_array(shape: &[usize], data: &[f32]) -> Result<Value, JsonError> {
    let expected = shape.iter().fold(1_usize, |size, len| size.saturating_mul(*len));
    match (shape, data) {
        ([], [x]) => f32_number(*x).map(Value::Number),
        ([len, inner @ ..], _) if data.len() == expected => {
            let width = data.len().checked_div(*len).unwrap_or(0);
            let part = |i: usize| data.get(i * width..(i + 1) * width).unwrap_or_default();
            (0..*len).map(|i| f32_array(inner, part(i)).map_err(|error| error.in_index(i))).collect()
        }
        _ => Err(JsonError::Shape { shape: shape.into(), expected, found: data.len() }),
    }
}

/// The one JSON value in `text`; `name` is what errors call it. A whole number must fit 64 bits with its sign: as a
/// float it would lose digits.
pub fn parse(name: &str, text: &str) -> Result<Value, JsonError> {
    let text = text.trim_start_matches('\u{feff}');
    let value = serde_json::from_str(text).map_err(|error| malformed(name, 0, error))?;
    exact_ints(name, 0, text)?;
    Ok(value)
}

/// The values in `text`, one a line; blank lines are skipped.
pub fn parse_lines(name: &str, text: &str) -> Result<Vec<Value>, JsonError> {
    let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            let value = serde_json::from_str(line).map_err(|error| malformed(name, i, error))?;
            exact_ints(name, i, line)?;
            Ok(value)
        })
        .collect()
}

/// Refuses the first whole number of a valid `text` that does not fit; `lines_before` stand before the text.
fn exact_ints(name: &str, lines_before: usize, text: &str) -> Result<(), JsonError> {
    let (mut in_string, mut escaped) = (false, false);
    let mut start = None;
    for (at, byte) in text.bytes().chain(*b" ").enumerate() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match (byte, start) {
            (b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E', Some(_)) => {}
            (b'0'..=b'9' | b'-', None) => start = Some(at),
            (_, Some(first)) => {
                let number = &text[first..at];
                if !number.contains(['.', 'e', 'E']) && number.parse::<i64>().is_err() {
                    let before = &text[..first];
                    let line = before.rsplit('\n').next().unwrap_or(before);
                    return Err(JsonError::TooLarge {
                        name: name.into(),
                        line: lines_before + 1 + before.matches('\n').count(),
                        column: line.chars().count() + 1,
                        number: number.into(),
                    });
                }
                start = None;
            }
            (_, None) => {}
        }
        in_string = byte == b'"';
    }
    Ok(())
}

fn malformed(name: &str, lines_before: usize, error: serde_json::Error) -> JsonError {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    JsonError::Malformed {
        name: name.into(),
        line: lines_before + error.line(),
        column: error.column(),
        reason: reason.into(),
    }
}

/// Write `value` over several lines, each level `indent` spaces deeper, with a line break at the end.
pub fn write_pretty(mut to: impl Write, value: &Value, indent: usize) -> io::Result<()> {
    let step = " ".repeat(indent);
    let formatter = PrettyFormatter::with_indent(step.as_bytes());
    value.serialize(&mut Serializer::with_formatter(&mut to, formatter))?;
    writeln!(to)
}

/// Write `value` as one line of JSONL.
pub fn write_line(mut to: impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer(&mut to, value)?;
    writeln!(to)
}

#[cfg(test)]
mod tests {
    use crate::help::Help;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pretty(value: &Value, indent: usize) -> String {
        let mut bytes = Vec::new();
        write_pretty(&mut bytes, value, indent).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn writes_keys_in_their_order_with_the_given_indent() {
        let value = json!({"b": 1, "a": [1.0, null]});
        assert_eq!(pretty(&value, 2), "{\n  \"b\": 1,\n  \"a\": [\n    1.0,\n    null\n  ]\n}\n");
        assert!(pretty(&value, 4).starts_with("{\n    \"b\": 1"));
        let mut line = Vec::new();
        write_line(&mut line, &value).unwrap();
        assert_eq!(line, b"{\"b\":1,\"a\":[1.0,null]}\n");
    }

    #[test]
    fn arrays_nest_by_shape() {
        let data = [1.0, 2.0, 3.0, 4.0, 5.0, 0.1];
        assert_eq!(f32_array(&[2, 3], &data).unwrap(), json!([[1.0, 2.0, 3.0], [4.0, 5.0, 0.1]]));
        assert_eq!(f32_array(&[], &[0.5]).unwrap(), json!(0.5));
        assert_eq!(f32_array(&[2, 0], &[]).unwrap(), json!([[], []]));
        let error = f32_array(&[2, 2], &data).unwrap_err();
        assert_eq!(error.to_string(), "expected 4 numbers for shape [2, 2], found 6");
    }

    #[test]
    fn a_number_that_json_lacks_is_named_by_its_path() {
        let mut data = [0.0; 8];
        data[7] = f32::NAN;
        let error = f32_array(&[4, 2], &data).unwrap_err();
        let error = error.in_key("patching_results").in_key("llama 8b");
        assert_eq!(
            error.to_string(),
            "`[\"llama 8b\"].patching_results[3][1]` is NaN, which json cannot express"
        );
        assert!(error.help().unwrap().contains("`()`"));
        assert_eq!(
            f64_number(f64::NEG_INFINITY).unwrap_err().to_string(),
            "the value is -inf, which json cannot express"
        );
    }

    #[test]
    fn malformed_text_is_told_by_line_and_column() {
        let error = parse("x.json", "{\"a\": 1,\n \"b\": NaN}").unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 7 of `x.json`: expected value");
        assert!(error.help().unwrap().starts_with("`x.json` must be strict json"));
        let error = parse_lines("x.jsonl", "{}\n\n{\"a\": }\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3, column 7 of `x.jsonl`: expected value");
        assert!(parse("x.json", &"[".repeat(100_000)).is_err(), "deep nesting must not overflow the stack");
    }

    #[test]
    fn no_digit_of_a_whole_number_is_lost() {
        let text = "{\"a\": \"12345678901234567890\", \"\\\"\": [9223372036854775807, -9223372036854775808],\n \"b\": 9223372036854775808}";
        let error = parse("x.json", text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 7 of `x.json`: 9223372036854775808 does not fit an int of 64 bits"
        );
        assert!(error.help().unwrap().contains("`\"9223372036854775808\"`"));
        assert_eq!(parse("x.json", "12345678901234567890.0").unwrap(), json!(12345678901234567890.0));
        assert_eq!(parse("x.json", "-1e30").unwrap(), json!(-1e30));
        let error = parse_lines("x.jsonl", "{\"a\": 1}\n[1, -9223372036854775809]").unwrap_err();
        assert!(
            error.to_string().starts_with("line 2, column 5 of `x.jsonl`: -9223372036854775809 "),
            "{error}"
        );
    }

    #[test]
    fn lines_may_be_blank_and_follow_a_byte_order_mark() {
        let values = parse_lines("x.jsonl", "\u{feff}{\"a\":1}\r\n \n[2]").unwrap();
        assert_eq!(values, [json!({"a": 1}), json!([2])]);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|x| json!(x)),
            (-1e6_f32..1e6).prop_map(|x| json!(f32_number(x).unwrap())),
            ".{0,6}".prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::vec((".{0,4}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    /// The digits of a number without sign, point, exponent and zeros at either end.
    fn significant(text: &str) -> String {
        let mantissa = text.split('e').next().unwrap().replace(['-', '.'], "");
        mantissa.trim_matches('0').to_owned()
    }

    proptest! {
        #[test]
        fn values_read_back(value in value(), indent in 0_usize..5) {
            prop_assert_eq!(&parse("x", &pretty(&value, indent)).unwrap(), &value);
            let mut line = Vec::new();
            write_line(&mut line, &value).unwrap();
            prop_assert_eq!(parse_lines("x", &String::from_utf8(line).unwrap()).unwrap(), vec![value]);
        }

        #[test]
        fn an_f32_prints_as_short_as_it_can(x in any::<f32>().prop_filter("finite", |x| x.is_finite())) {
            let text = f32_number(x).unwrap().to_string();
            prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), x.to_bits());
            prop_assert_eq!(significant(&text), significant(&format!("{x:e}")));
        }
    }
}
