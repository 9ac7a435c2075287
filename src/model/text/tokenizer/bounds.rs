//! A `tokenizer.json` comes from strangers. Its steps are looked at before they are built: none may turn a short text
//! into one of any length, count on more than a text can have, or match without end.

use serde::Deserialize;
use serde_json::Value as Json;

/// Steps in all, and how much longer a text may become by all that stand in a row. Published tokenizers have a dozen,
/// and make `▁` of a space.
const STEPS: usize = 100;
const GROWTH: f64 = 1000.0;
/// Characters that a step cuts off, and pieces that a template puts around a text.
const COUNT: u64 = 1000;

/// The steps of a file, without its vocabulary.
#[derive(Deserialize)]
pub struct Outline {
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    post_processor: Json,
    #[serde(default)]
    decoder: Json,
}

/// Why a tokenizer is refused; `None` if it is not.
pub fn problem(tokenizer: &[u8]) -> Option<String> {
    // What is no outline is told better by its reader.
    let outline: Outline = serde_json::from_slice(tokenizer).ok()?;
    let rows = [
        [outline.normalizer, outline.pre_tokenizer].to_vec(),
        [outline.post_processor].to_vec(),
        [outline.decoder].to_vec(),
    ];
    rows.iter().find_map(|row| {
        let mut left = STEPS;
        let growth = row.iter().map(|step| growth(step, &mut left)).product::<Result<f64, String>>();
        match growth {
            Ok(growth) if growth <= GROWTH => None,
            Ok(growth) => Some(format!("its steps can make a text {growth:.0} times as long")),
            Err(reason) => Some(reason),
        }
    })
}

/// How much longer a text can become by a step.
fn growth(step: &Json, left: &mut usize) -> Result<f64, String> {
    *left = left.checked_sub(1).ok_or_else(|| format!("it has more than {STEPS} steps"))?;
    let bytes = |name: &str| step[name].as_str().map_or(0, str::len) as f64;
    let kind = step["type"].as_str().unwrap_or_default();
    if let Some(pattern) = step["pattern"].as_object()
        && pattern.values().any(|pattern| pattern == "")
    {
        return Err(format!("its step `{kind}` looks for nothing"));
    }
    match kind {
        "Sequence" => {
            let inner = ["normalizers", "pretokenizers", "processors", "decoders"];
            let inner = inner.iter().filter_map(|name| step[*name].as_array()).flatten();
            inner.map(|step| growth(step, left)).product()
        }
        "Replace" => Ok(match step["pattern"]["String"].as_str() {
            Some(pattern) => (bytes("content") / pattern.len().max(1) as f64).max(1.0),
            // It may match everywhere, and between.
            None => 1.0 + bytes("content"),
        }),
        "Prepend" => Ok(1.0 + bytes("prepend")),
        "Metaspace" => Ok(bytes("replacement").max(1.0)),
        "ByteLevel" | "BertNormalizer" | "ByteFallback" => Ok(2.0),
        "Strip" => {
            match ["start", "stop"].iter().filter_map(|name| step[*name].as_u64()).find(|n| *n > COUNT) {
                Some(n) => Err(format!("its step `Strip` cuts off {n} characters")),
                None => Ok(1.0),
            }
        }
        "FixedLength" if step["length"] == 0 => Err("its step `FixedLength` cuts pieces of length 0".into()),
        "TemplateProcessing" => {
            let pieces = ["single", "pair"].iter().filter_map(|name| step[*name].as_array()).map(Vec::len);
            match pieces.max() {
                Some(pieces) if pieces as u64 > COUNT => Err(format!("its template has {pieces} pieces")),
                pieces => Ok(pieces.unwrap_or(1).max(1) as f64),
            }
        }
        "Precompiled" => match charsmap(step["precompiled_charsmap"].as_str().unwrap_or_default()) {
            true => Ok(3.0),
            false => Err("its step `Precompiled` is damaged".into()),
        },
        _ => Ok(1.0),
    }
}

/// Whether a map of SentencePiece, in base64, has the table that its first four bytes announce.
fn charsmap(base64: &str) -> bool {
    let sextet = |byte: u8| -> Option<u32> {
        Some(
            match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            }
            .into(),
        )
    };
    let start = base64.bytes().take(6).map(sextet).collect::<Option<Vec<_>>>().unwrap_or_default();
    if start.len() < 6 {
        return base64.is_empty();
    }
    // 36 bits, of which the last 4 belong to the fifth byte.
    let bits = start.iter().fold(0_u64, |bits, sextet| bits << 6 | u64::from(*sextet)) >> 4;
    let announced = u64::from((bits as u32).swap_bytes());
    announced <= (base64.len() as u64) * 3 / 4 && announced.is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(role: &str, step: Json) -> Option<String> {
        problem(json!({ role: step, "model": {"vocab": {}} }).to_string().as_bytes())
    }

    #[test]
    fn steps_that_grow_a_text_without_bound_are_refused() {
        let doubles = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let row =
            |name: &str, step: &Json, n: usize| json!({"type": "Sequence", name: vec![step.clone(); n]});
        assert_eq!(found("normalizer", row("normalizers", &doubles, 9)), None);
        for (role, name) in
            [("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")]
        {
            let grows = found(role, row(name, &doubles, 60)).unwrap();
            assert!(grows.starts_with("its steps can make a text 1152921504606846976 times"), "{grows}");
            assert_eq!(
                found(role, row(name, &json!({"type": "Fuse"}), 100)).unwrap(),
                "it has more than 100 steps"
            );
        }
        let nested = row("normalizers", &row("normalizers", &doubles, 8), 8);
        assert!(found("normalizer", nested).is_some());
        let regex = json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "a".repeat(99)});
        assert!(found("normalizer", row("normalizers", &regex, 2)).is_some());
        let pieces = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 2000];
        let template = json!({"type": "TemplateProcessing", "single": pieces, "pair": []});
        assert_eq!(found("post_processor", template).unwrap(), "its template has 2000 pieces");
    }

    #[test]
    fn what_no_text_has_is_refused() {
        for (role, step) in [
            ("decoder", json!({"type": "Strip", "content": "a", "start": 10_u64.pow(18), "stop": 0})),
            ("decoder", json!({"type": "Strip", "content": "a", "start": 0, "stop": u64::MAX})),
            ("pre_tokenizer", json!({"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated"})),
            ("normalizer", json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"})),
            ("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
            (
                "normalizer",
                json!({"type": "Precompiled", "precompiled_charsmap": "/////////////////////w=="}),
            ),
            ("normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "EAAAAA=="})),
        ] {
            assert!(found(role, step.clone()).is_some(), "{step}");
        }
        // A table of 4 bytes, then texts.
        assert!(charsmap("BAAAAAECAwRhYmM=") && charsmap(""));
    }

    /// The steps that published tokenizers have.
    #[test]
    fn published_steps_pass() {
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        for (role, step) in [
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]}),
            ),
            (
                "normalizer",
                json!({"type": "Sequence", "normalizers": [
                {"type": "Replace", "pattern": {"String": "``"}, "content": "\""}, {"type": "NFKD"},
                {"type": "StripAccents"}, {"type": "Lowercase"},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}),
            ),
            (
                "decoder",
                json!({"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}),
            ),
            (
                "pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false}]}),
            ),
            ("pre_tokenizer", json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})),
            ("normalizer", Json::Null),
        ] {
            assert_eq!(found(role, step.clone()), None, "{step}");
        }
        assert_eq!(problem(&std::fs::read("tests/fixtures/tiny/tokenizer.json").unwrap()), None);
        assert_eq!(problem(&std::fs::read("demo/tokenizer.json").unwrap()), None);
    }
}
