//! What was tried at the prompt, as a script: the inputs that ran, with the values that were seen printed.
//!
//! An input that failed counts up to the statement that did. What is named by `_` or `_3` gets a name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rhai::{ASTNode, Expr, Position};

use super::entry::parse;
use super::results::Given;
use super::source::{identifiers, token_at, tokens};

/// The inputs so far.
#[derive(Debug, Default)]
pub struct Transcript(Vec<Line>);

#[derive(Debug)]
struct Line {
    text: String,
    /// The number of the input, if it gave a value, which was shown and is `_` from there on.
    gave: Option<usize>,
    /// Its functions with their numbers of parameters, but no closures.
    functions: BTreeSet<(String, usize)>,
}

impl Transcript {
    /// Takes down an input that ran, with its number if it gave a value.
    pub fn add(&mut self, input: &str, gave: Option<usize>) {
        let text = input.trim();
        let Ok(ast) = parse(text) else { return };
        let named = ast.iter_functions().filter(|function| !function.name.starts_with("anon$"));
        let functions = named.map(|function| (function.name.to_string(), function.params.len())).collect();
        self.0.push(Line { text: text.into(), gave, functions });
    }

    /// Takes down the statements of an input that ran before the one at `failed`.
    pub fn add_until(&mut self, input: &str, failed: Position) {
        let at = token_at(input, failed).start;
        let mut ends = boundaries(input);
        ends.retain(|end| *end <= at && parse(&input[..*end]).is_ok());
        if let Some(end) = ends.last().filter(|end| **end > 0) {
            self.add(&input[..*end], None);
        }
    }

    /// The script, without a check that it runs; empty if nothing ran.
    pub fn script(&self) -> String {
        let words: BTreeSet<_> = self.0.iter().flat_map(|line| identifiers(&line.text)).collect();
        let mut names = (1..).map(|n| format!("last_{n}")).filter(|name| !words.contains(name.as_str()));
        let mut given = BTreeMap::new();
        let mut last: Option<String> = None;
        let mut script = String::new();
        for (i, line) in self.0.iter().enumerate() {
            if self.is_replaced(i) {
                continue;
            }
            let text = with_names(&line.text, |asked| match asked {
                Given::Last => last.as_deref(),
                Given::By(number) => given.get(&number).map(String::as_str),
            });
            let Some(number) = line.gave else {
                script += &ended(&text);
                script.push('\n');
                continue;
            };
            if let Some(tail) = value(&text) {
                script += &text[..tail.start];
                let (value, rest) = (&text[tail.clone()], &text[tail.end..]);
                last = None;
                if self.is_asked_for(i) {
                    let name = names.next().unwrap_or_default();
                    script += &format!("let {name} = {value};{rest}\nprint({name});");
                    given.insert(number, name.clone());
                    last = Some(name);
                } else {
                    script += &format!("print({value});{rest}");
                }
            } else {
                last = None;
                script += &ended(&text);
            }
            script.push('\n');
        }
        script
    }

    /// Whether all that a line does is to define functions that later ones define anew.
    fn is_replaced(&self, i: usize) -> bool {
        let line = &self.0[i];
        let only = parse(&line.text).is_ok_and(|ast| ast.statements().is_empty());
        let anew = |function| self.0[i + 1..].iter().any(|later| later.functions.contains(function));
        only && !line.functions.is_empty() && line.functions.iter().all(anew)
    }

    /// Whether a later line names the value of this one.
    fn is_asked_for(&self, i: usize) -> bool {
        let number = self.0[i].gave;
        let mut is_last = true;
        self.0[i + 1..].iter().any(|line| {
            let asked = asked(&line.text).into_iter().any(|(_, asked)| match asked {
                Given::Last => is_last,
                Given::By(other) => Some(other) == number,
            });
            is_last &= line.gave.is_none();
            asked
        })
    }
}

/// Where statements at the top of a text may begin or end: at its start, and after each `;` and `}`.
fn boundaries(text: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut ends = vec![0];
    for token in tokens(text) {
        match &text[token.clone()] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    ends.push(token.end);
                }
            }
            ";" if depth == 0 => ends.push(token.end),
            _ => {}
        }
    }
    ends
}

/// The expression that gives a text its value, if it stands apart from what comes before.
fn value(text: &str) -> Option<Range<usize>> {
    let end = tokens(text).last()?.end;
    let starts = boundaries(text).into_iter().filter(|start| *start < end);
    let mut parted = starts.filter(|start| {
        let alone = parse(&format!("let value = {};", &text[*start..end]));
        parse(&text[..*start]).is_ok() && alone.is_ok_and(|ast| ast.statements().len() == 1)
    });
    let start = parted.next()?;
    let blanks = text[start..].len() - text[start..].trim_start().len();
    Some(start + blanks..end)
}

/// A text that a statement may follow.
fn ended(text: &str) -> String {
    match tokens(text).last() {
        Some(last) if parse(&format!("{text}\n1")).is_err() => {
            format!("{};{}", &text[..last.end], &text[last.end..])
        }
        _ => text.into(),
    }
}

/// Where a text names earlier values.
fn asked(text: &str) -> Vec<(Range<usize>, Given)> {
    let Ok(ast) = parse(text) else { return Vec::new() };
    let mut places = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::Variable(variable, _, at))) = path.last()
            && let Some(given) = Given::read(&variable.1)
        {
            let place = token_at(text, *at);
            if text[place.clone()] == *variable.1 {
                places.push((place, given));
            }
        }
        true
    });
    places.sort_by_key(|(place, _)| place.start);
    places.dedup();
    places
}

fn with_names<'a>(text: &str, name: impl Fn(Given) -> Option<&'a str>) -> String {
    let mut named = text.to_string();
    for (place, given) in asked(text).into_iter().rev() {
        if let Some(name) = name(given) {
            named.replace_range(place, name);
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(lines: &[(&str, bool)]) -> String {
        let mut transcript = Transcript::default();
        for (i, (line, gave)) in lines.iter().enumerate() {
            transcript.add(line, gave.then_some(i + 1));
        }
        transcript.script()
    }

    #[test]
    fn values_are_printed_and_statements_end() {
        let made = script(&[
            ("let x = 3\n", false),
            ("x + 1 // one more\n", true),
            ("let m = #{a: 1}", false),
            ("for i in 0..2 { x += i }", false),
            ("let y = 1; y + x", true),
            ("for i in 0..2 { x += i } x", true),
            ("if x > 1 { \"a\" } else { \"b\" }", true),
            ("x = 5;", false),
            ("m.a += 1", false),
        ]);
        let expected = "\
let x = 3;
print(x + 1); // one more
let m = #{a: 1};
for i in 0..2 { x += i }
let y = 1; print(y + x);
for i in 0..2 { x += i } print(x);
print(if x > 1 { \"a\" } else { \"b\" });
x = 5;
m.a += 1;
";
        // What comes before a value keeps the blank behind it.
        assert_eq!(made.replace(";print", "; print").replace("}print", "} print"), expected);
    }

    #[test]
    fn the_last_value_gets_a_name_where_it_is_used() {
        let made = script(&[
            ("let last_1 = 0;", false),
            ("20 + 1", true),
            ("let z = _ * 2;", false),
            ("[1, 2].map(|x| x + _)", true),
            ("`${_}`", true),
            ("1", true),
            ("switch z { 1 => 2, _ => 3 }", true),
        ]);
        let expected = "\
let last_1 = 0;
let last_2 = 20 + 1;
print(last_2);
let z = last_2 * 2;
let last_3 = [1, 2].map(|x| x + last_2);
print(last_3);
print(`${last_3}`);
print(1);
print(switch z { 1 => 2, _ => 3 });
";
        assert_eq!(made, expected);
    }

    #[test]
    fn numbered_values_get_names_too() {
        let made =
            script(&[("7", true), ("8", true), ("let x = _1 + _2 + _;", false), ("_1", true), ("_9", true)]);
        let expected = "let last_1 = 7;\nprint(last_1);\nlet last_2 = 8;\nprint(last_2);\n\
                        let x = last_1 + last_2 + last_2;\nprint(last_1);\nprint(_9);\n";
        assert_eq!(made, expected);
    }

    #[test]
    fn a_function_that_was_defined_anew_is_there_once() {
        let made =
            script(&[("fn f(a) { a }", false), ("fn f(a, b) { a }", false), ("fn f(a) { 2 * a }", false)]);
        assert_eq!(made, "fn f(a, b) { a }\nfn f(a) { 2 * a }\n");
    }

    #[test]
    fn what_failed_counts_up_to_there() {
        let mut transcript = Transcript::default();
        let input = "let a = 1; if a > 0 { a += 1; }\nlet b = a.c; let d = 4;";
        transcript.add_until(input, Position::new(2, 10));
        transcript.add_until("x.y", Position::new(1, 3));
        assert_eq!(transcript.script(), "let a = 1; if a > 0 { a += 1; }\n");
    }
}
