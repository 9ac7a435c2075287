//! What may stand where the cursor is.

use super::code::is_name;
use super::facts::Facts;
use super::known::Known;
use super::place::{Frame, Place};
use super::texts;
use crate::script::api::{Entry, Kind};
use crate::script::session::command_names;

/// One way to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What stands there then.
    pub text: String,
    /// How it stands in a list.
    pub shown: String,
    /// What is put behind it where it is the only one.
    pub then: &'static str,
}

/// What may replace the end of a line from byte `start` on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    pub start: usize,
    pub offers: Vec<Offer>,
}

impl Offer {
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { shown: text.clone(), text, then: "" }
    }

    /// A function or method that takes so many parameters.
    fn call(name: &str, params: usize) -> Self {
        let then = if params == 0 { "()" } else { "(" };
        Self { text: name.into(), shown: format!("{name}()"), then }
    }

    fn entry(entry: &Entry) -> Self {
        match &entry.signature.params {
            Some(params) => Self::call(entry.name(), params.len()),
            None => Self::plain(entry.name()),
        }
    }
}

/// Commands that code follows.
const BEFORE_CODE: [&str; 2] = [":time ", ":explain "];
/// What a name follows that help is asked for.
const BEFORE_NAMES: [&str; 5] = [":help ", "help ", "help(\"", "help(", "?"];
/// Words of the language, and what the prompt alone knows.
const WORDS: &[&str] = &[
    "let", "const", "fn", "if", "else", "for", "in", "while", "loop", "break", "continue", "return", "throw",
    "try", "catch", "import", "switch", "true", "false", "print", "help", "vars",
];

/// What may continue this text; `first` says that an input begins with it.
pub fn offers(facts: &Facts, text: &str, first: bool) -> Offers {
    if first && let Some(rest) = text.strip_prefix(':') {
        if !rest.contains(' ') {
            return among(text, rest, command_names().map(Offer::plain).collect());
        }
        if let Some(file) = [":load ", ":save "].iter().find_map(|command| text.strip_prefix(command)) {
            return texts::files(text, file.trim_start_matches('"'));
        }
    }
    if first && let Some(name) = BEFORE_NAMES.iter().find_map(|head| text.strip_prefix(head)) {
        let name = name.rsplit('.').next().unwrap_or(name);
        let types = facts.table.types.iter().map(|ty| ty.name);
        let names = facts.table.entries.iter().filter(|entry| is_name(entry.name())).map(Entry::name);
        return among(text, name, types.chain(names).map(Offer::plain).collect());
    }
    let code =
        BEFORE_CODE.iter().filter(|_| first).find_map(|command| text.strip_prefix(command)).unwrap_or(text);
    let offers = in_code(facts, code);
    Offers { start: offers.start + text.len() - code.len(), ..offers }
}

fn in_code(facts: &Facts, text: &str) -> Offers {
    let place = Place::at_end_of(text);
    if let Some(start) = place.text {
        return texts::offers(facts, &place, text, start);
    }
    let start = text.rfind(|c: char| !(c.is_alphanumeric() || c == '_'));
    let start = start.map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let (before, word) = text.split_at(start);
    // A comment is nobody's code.
    let place = Place::at_end_of(before);
    let end = place.code.len();
    let found = match place.code.last().unwrap_or_default() {
        "." | "?." => match facts.operand(&place.code, end - 1).0 {
            Some(of) => members(facts, &of),
            // Without a letter there would be too many.
            None if word.is_empty() => Vec::new(),
            None => any_members(facts),
        },
        "::" => {
            let functions = facts.modules.get(place.code.before(end - 1)).into_iter().flatten();
            functions.map(|name| Offer::call(name, 1)).collect()
        }
        _ if place.map().is_some() => options(facts, &place),
        _ => {
            let numbers = layers(facts, &place);
            if !numbers.is_empty() && word.chars().all(|c| c.is_ascii_digit()) {
                let kept = numbers.into_iter().filter(|number| number.starts_with(word));
                return Offers { start, offers: kept.map(Offer::plain).collect() };
            }
            // A list of everything helps nobody.
            if word.is_empty() { own_variables(facts) } else { names(facts) }
        }
    };
    among(text, word, found)
}

/// Of these what begins with the word that the text ends in, or else what holds it.
pub fn among(text: &str, word: &str, mut offers: Vec<Offer>) -> Offers {
    offers.sort_by(|a, b| a.text.cmp(&b.text).then(a.then.cmp(b.then)));
    offers.dedup_by(|a, b| a.text == b.text);
    let lower = word.to_lowercase();
    let starts =
        |offer: &Offer| offer.text.starts_with(word) && (offer.text != word || !offer.then.is_empty());
    let holds =
        |offer: &Offer| word.len() > 1 && offer.text != word && offer.text.to_lowercase().contains(&lower);
    match offers.iter().any(starts) {
        true => offers.retain(starts),
        false => offers.retain(holds),
    }
    Offers { start: text.len() - word.len(), offers }
}

/// Fields and methods of a value.
fn members(facts: &Facts, of: &Known) -> Vec<Offer> {
    let named = |entry: &&Entry| matches!(entry.kind, Kind::Method | Kind::Getter);
    let ours = facts.members(of).into_iter().filter(named).map(Offer::entry);
    let own =
        facts.own_members(of).into_iter().map(|function| Offer::call(&function.name, function.params()));
    let keys: &[_] = if let Known::Map(entries) = of { entries } else { &[] };
    let keys = keys.iter().map(|(key, _)| key).filter(|key| rhai::is_valid_identifier(key));
    ours.chain(own).chain(keys.map(Offer::plain)).collect()
}

/// Those of any type of ours.
fn any_members(facts: &Facts) -> Vec<Offer> {
    let named = |entry: &&Entry| matches!(entry.kind, Kind::Method | Kind::Getter);
    facts.table.entries.iter().filter(named).map(Offer::entry).collect()
}

/// The options that the call around a map takes and does not have yet.
fn options(facts: &Facts, place: &Place) -> Vec<Offer> {
    let (Some(map), Some(around)) = (place.map(), place.frames.iter().rev().nth(1)) else {
        return Vec::new();
    };
    let given = place.keys(map);
    let entries = facts.callees(&place.code, around.open);
    let mut names: Vec<_> = entries.iter().filter_map(|entry| entry.options()).flatten().collect();
    names.retain(|name| !given.contains(name));
    names.into_iter().map(|name| Offer { then: ": ", ..Offer::plain(name) }).collect()
}

/// The layers, or heads, of the model, where one is asked for.
fn layers(facts: &Facts, place: &Place) -> Vec<String> {
    let (Some(model), Some(Frame { open, commas: 0, .. })) = (&facts.model, place.call()) else {
        return Vec::new();
    };
    if place.code.last() != Some("(") {
        return Vec::new();
    }
    let entries = facts.callees(&place.code, open);
    let wanted = entries.iter().filter(|entry| entry.signature.result == "Site").find_map(|entry| {
        let param = entry.signature.params.as_ref()?.first()?;
        match param.name {
            "layer" => Some(model.config().n_layers),
            "head" => Some(model.config().n_heads),
            _ => None,
        }
    });
    (0..wanted.unwrap_or(0)).map(|layer| layer.to_string()).collect()
}

fn names(facts: &Facts) -> Vec<Offer> {
    let absent: Vec<_> = match &facts.model {
        Some(_) => {
            let there = facts.points();
            crate::model::Point::ALL
                .into_iter()
                .filter(|point| !there.contains(point))
                .map(|p| p.name())
                .collect()
        }
        None => Vec::new(),
    };
    let functions = facts.table.entries.iter().filter(|entry| entry.kind == Kind::Function);
    let functions = functions.filter(|entry| !absent.contains(&entry.name())).map(Offer::entry);
    let own = facts.functions.iter().map(|name| Offer::call(name, 1));
    let modules = facts.modules.keys().map(|name| Offer { then: "::", ..Offer::plain(name) });
    let words = WORDS.iter().copied().map(Offer::plain);
    let variables = facts.variables.keys().map(Offer::plain);
    functions.chain(own).chain(modules).chain(variables).chain(words).collect()
}

/// Those that a person declared.
fn own_variables(facts: &Facts) -> Vec<Offer> {
    facts.variables.keys().filter(|name| !name.starts_with('_')).map(Offer::plain).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::assist;
    use crate::script::assist::Assist;

    /// What is offered after these lines, and where it goes.
    fn offered(assist: &Assist, before: &str, line: &str) -> (usize, Vec<String>) {
        let offers = assist.offers(before, line);
        (offers.start, offers.offers.into_iter().map(|offer| offer.text).collect())
    }

    fn names(assist: &Assist, line: &str) -> Vec<String> {
        offered(assist, "", line).1
    }

    #[test]
    fn names_come_from_the_table_the_variables_and_the_language() {
        let assist = assist(&["let parade = 1;", "fn parse_all(x) { x }", "import \"lens\" as lens;"]);
        assert_eq!(offered(&assist, "", "1 + para"), (4, vec!["parade".into(), "param".into()]));
        assert_eq!(names(&assist, "parse_a"), ["parse_all"]);
        assert_eq!(names(&assist, "ret"), ["return"]);
        assert_eq!(names(&assist, "join("), ["parade"]);
        assert_eq!(names(&assist, ":sa"), ["save"]);
        assert_eq!(names(&assist, ":time heatm"), ["heatmap"]);
        assert_eq!(names(&assist, "lens::logit"), ["logit_lens"]);
        assert_eq!(names(&assist, "help(swee"), ["sweep"]);
        assert_eq!(names(&assist, "?Model.swee"), ["sweep"]);
        assert_eq!(names(&assist, "HEATM"), ["heatmap"], "what holds the word, where nothing begins with it");
        assert_eq!(offered(&assist, "let x = [\n", "é + para").0, 5);
    }

    #[test]
    fn a_dot_is_followed_by_what_hangs_from_the_value() {
        let assist = assist(&[
            "let m = load();",
            "let e = (); try { assert(false) } catch (x) { e = x }",
            "let n = 1;",
            "let answers = [#{prompt: \"a\", score: 1.0}];",
        ]);
        assert_eq!(names(&assist, "e.m"), ["message"]);
        assert!(names(&assist, "n.mess").is_empty());
        assert_eq!(names(&assist, "m.n_l"), ["n_layers"]);
        let of_trace = names(&assist, "m.trace(\"x\").");
        assert!(
            ["top", "logits", "tokens"].iter().all(|name| of_trace.iter().any(|other| other == name)),
            "{of_trace:?}"
        );
        assert!(!of_trace.iter().any(|name| name == "generate"), "{of_trace:?}");
        assert_eq!(names(&assist, "m.trace(\"x\")[resid_post(1)].argma"), ["argmax"]);
        assert_eq!(names(&assist, "\"a\".to_upp"), ["to_upper"]);
        assert_eq!(names(&assist, "answers[0].sc"), ["score"]);
        assert_eq!(offered(&assist, "let t = m.trace(p);\n", "t.led"), (2, vec!["ledger".into()]));
    }

    #[test]
    fn a_map_is_filled_with_the_options_of_its_call() {
        let assist = assist(&["let m = load();"]);
        assert_eq!(names(&assist, "m.generate(\"a\", #{max_"), ["max_new_tokens"]);
        let left = names(&assist, "m.generate(\"a\", #{n: 2, seed: f(1, 2), ");
        assert!(left.contains(&"top_k".to_string()) && !left.contains(&"n".to_string()), "{left:?}");
        assert!(!left.contains(&"seed".to_string()), "{left:?}");
        assert_eq!(names(&assist, "heatmap(x, #{\n  titl"), ["title"]);
        assert!(names(&assist, "let a = #{he").is_empty());
        assert_eq!(names(&assist, "heatmap(x, #{title: joi"), ["join"], "a value is no key");
    }

    #[test]
    fn sites_and_layers_are_those_of_the_model() {
        let assist = assist(&["let m = load(); let t = m.trace(\" John\");"]);
        assert_eq!(names(&assist, "resid_post("), ["0", "1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(names(&assist, "z(1).head(1"), ["1"]);
        assert_eq!(names(&assist, "t[\"resid_p"), ["resid_post", "resid_pre"]);
        assert_eq!(names(&assist, "m.trace(p, [\"z."), ["*", "0", "1", "2", "3", "4", "5", "6", "7"]);
        assert_eq!(
            names(&assist, "m.trace(p, \"z.3."),
            (0..8).map(|head| head.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(names(&assist, "site(\"ln_f"), ["ln_final"]);
        assert_eq!(names(&assist, "m.generate(p, #{watch: [\"mlp_po"), ["mlp_post"]);
        assert!(names(&assist, "pos_emb").is_empty(), "the model has no such point");
    }

    #[test]
    fn texts_name_files_modules_and_models() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        std::fs::write(folder.path().join("data/facts.tsv"), "").unwrap();
        let place = folder.path().display();
        let assist = assist(&[]);
        assert_eq!(names(&assist, &format!("read_tsv(\"{place}/da")), ["data"]);
        assert_eq!(names(&assist, &format!("read_tsv(\"{place}/data/")), ["facts.tsv"]);
        assert_eq!(names(&assist, &format!(":load {place}/data/f")), ["facts.tsv"]);
        assert_eq!(names(&assist, "import \"patchs"), ["patchscope"]);
        assert_eq!(names(&assist, "load(\"dem"), ["demo"]);
        assert!(names(&assist, "read_text(\"/nowhere/at all/").is_empty());
    }
}
