//! A page of examples: runs of tokens on the colours of their values, to look through by token, text or number. It is no
//! [`Figure`](super::Figure): there may be thousands, of which a browser draws those that are looked for.

use serde_json::{Value, json};

use super::PlotError;
use super::svg::escaped;
use super::text::one_line;

/// Examples that a page holds at most, and tokens of their texts.
const MOST: usize = 10_000;
const MOST_TOKENS: usize = 1_000_000;
/// Shades of a colour.
const SHADES: f32 = 35.0;

/// A text that examples point into.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// What it is called, such as the row that it came from.
    pub name: String,
    pub tokens: Vec<String>,
}

/// Values of some tokens of a passage that follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Whose it is, by number.
    pub of: usize,
    /// An index into the passages.
    pub passage: usize,
    /// The token that it is about.
    pub position: usize,
    /// The value there, which has the full colour.
    pub value: f32,
    /// The token of the first of `values`.
    pub start: usize,
    pub values: Vec<f32>,
}

/// What a page shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    pub title: String,
    /// What `of` numbers: `neuron`.
    pub unit: String,
    pub passages: Vec<Passage>,
    /// The first to be shown first.
    pub examples: Vec<Example>,
}

impl Examples {
    /// The complete page: one file, which needs neither network nor server. It holds as many examples as a browser takes
    /// well, and says so where that leaves some out.
    ///
    /// # Errors
    /// No examples, or one that points outside its passage.
    pub fn page(&self) -> Result<Vec<u8>, PlotError> {
        if self.examples.is_empty() {
            return Err(PlotError::Empty { figure: "a page" });
        }
        let mut places = vec![None; self.passages.len()];
        let (mut passages, mut examples, mut tokens) = (Vec::new(), Vec::new(), 0);
        for (index, example) in self.examples.iter().enumerate() {
            let passage = self.passages.get(example.passage).map(|passage| passage.tokens.len());
            let end = example.start.saturating_add(example.values.len());
            if passage.is_none_or(|len| end > len || example.position >= len) {
                return Err(PlotError::NoPlace { name: "examples", index, value: example.position as f64 });
            }
            let passage = &self.passages[example.passage];
            if places[example.passage].is_none() {
                tokens += passage.tokens.len();
            }
            if examples.len() == MOST || (tokens > MOST_TOKENS && !examples.is_empty()) {
                break;
            }
            let place = *places[example.passage].get_or_insert_with(|| {
                passages.push(json!([passage.name, passage.tokens]));
                passages.len() - 1
            });
            examples.push(Value::from(vec![
                json!(example.of),
                json!(example.value.to_string()),
                json!(place),
                json!(example.position),
                json!(example.start),
                json!(example.values.iter().map(|value| shade(*value, example.value)).collect::<String>()),
            ]));
        }
        let note = match self.examples.len() - examples.len() {
            0 => String::new(),
            left => format!("The first {} of {}.", examples.len(), examples.len() + left),
        };
        let data = json!({ "unit": self.unit, "passages": passages, "examples": examples });
        Ok(shell(&self.title, &self.unit, &note, "", include_str!("page/examples.js"), &data))
    }
}

/// A page with a field to look for tokens, texts or numbers of `unit`, around a script that shows `data`.
pub(super) fn shell(title: &str, unit: &str, note: &str, style: &str, script: &str, data: &Value) -> Vec<u8> {
    let page = format!(
        include_str!("page/examples.html"),
        title = escaped(&one_line(title)),
        unit = escaped(unit),
        note = note,
        style = [include_str!("page/examples.css"), style].concat(),
        script = script,
        // No text may end the script element that holds it.
        data = data.to_string().replace('<', "\\u003c"),
    );
    page.into_bytes()
}

/// How strongly `value` is coloured beside `full`, as a digit of base 36. What has the other sign is white.
fn shade(value: f32, full: f32) -> char {
    let share = if full == 0.0 { 0.0 } else { value / full };
    char::from_digit((share.clamp(0.0, 1.0) * SHADES).round() as u32, 36).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(token: &str) -> Examples {
        let passage = Passage { name: "row 3".into(), tokens: vec!["a".into(), token.into(), "c".into()] };
        let example =
            Example { of: 7, passage: 1, position: 1, value: -2.0, start: 0, values: vec![1.0, -2.0, -1.0] };
        let (title, unit) = ("<b> of m".into(), "neuron".into());
        Examples { title, unit, passages: vec![passage.clone(), passage], examples: vec![example] }
    }

    #[test]
    fn the_page_holds_what_is_shown_and_no_text_ends_it() {
        let page = String::from_utf8(examples("</script><img src=x>").page().unwrap()).unwrap();
        assert_eq!(page.matches("</script>").count(), 2);
        assert!(page.contains("<title>&lt;b&gt; of m</title>") && !page.contains("<img"));
        let (_, rest) = page.split_once("id=\"data\">").unwrap();
        let data: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(data["passages"], json!([["row 3", ["a", "</script><img src=x>", "c"]]]));
        assert_eq!(data["examples"], json!([[7, "-2", 0, 1, 0, "0zi"]]));
        assert!(!page.contains("http:") && !page.contains("https:"));
    }

    #[test]
    fn a_page_is_bounded_and_says_so() {
        let mut many = examples("b");
        many.examples = vec![many.examples[0].clone(); MOST + 5];
        let page = String::from_utf8(many.page().unwrap()).unwrap();
        assert!(page.contains("The first 10000 of 10005."));
        many.examples[3].start = usize::MAX;
        assert!(many.page().is_err());
        many.examples.clear();
        assert!(many.page().is_err());
    }
}
