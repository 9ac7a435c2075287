//! Names, calls, fields and operators that do not exist, or not for these values.

use super::spot::Spot;
use super::syntax::{self, Advice};
use super::{Diagnoser, Text, engine_words, words};
use crate::nearest::nearest;
use crate::script::api::{Entry, Kind, script_type};
use crate::script::diagnostic::Place;
use crate::script::source::{identifiers, token_at};

/// The longest argument that a cure repeats.
const MAX_ARGUMENT: usize = 30;

impl Diagnoser<'_> {
    /// A name that is no variable: what was meant by it.
    pub(super) fn unknown_variable(&self, name: &str, spot: &Spot) -> Advice {
        let meant = self.named_argument(spot).or_else(|| syntax::of_name(spot));
        meant.or_else(|| self.outside_of_function(name, spot)).unwrap_or_else(|| {
            let function = self.table.named(name).find(|entry| entry.kind == Kind::Function);
            let help = match function {
                Some(entry) => format!("`{name}` is a function; call it: `{}`", entry.usage()),
                None if spot.between(0, spot.len()).contains(&format!("as {name};")) => {
                    format!("functions of a module are called with `::`: `{name}::{}(…)`", spot.after(2))
                }
                None => self
                    .nearest_word(name, spot.text)
                    .unwrap_or_else(|| format!("declare it first: `let {name} = …;`")),
            };
            Advice { help: Some(help), ..Advice::default() }
        })
    }

    /// `f(x, name = 1)`, as other languages write options.
    pub(super) fn named_argument(&self, spot: &Spot) -> Option<Advice> {
        let (callee, name) = syntax::named_argument(spot)?;
        let entries: Vec<_> = self.table.named(callee).collect();
        let has_options = |entry: &&Entry| {
            let last = entry.signature.params.as_ref().and_then(|params| params.last());
            last.is_some_and(|param| param.ty == "map" || param.ty.starts_with("#{"))
        };
        let help = match entries.first() {
            Some(_) if !entries.iter().any(has_options) => {
                let word = if ["dim", "axis", "keepdim", "keepdims"].contains(&name) { "axis" } else { name };
                let takes =
                    |entry: &&&Entry| entry.signature.params.iter().flatten().any(|param| param.name == word);
                let meant: Vec<_> = entries.iter().filter(takes).copied().collect();
                let forms = forms(if meant.is_empty() { entries } else { meant }).unwrap_or_default();
                format!("write them in their order: {forms}")
            }
            _ => format!("options are a map, with a `#` in front: `#{{{name}: …}}`"),
        };
        Some(Advice { message: Some("arguments have no names here".into()), help: Some(help), at: None })
    }

    /// A variable that exists, but not inside of the `fn` that uses it.
    fn outside_of_function(&self, name: &str, spot: &Spot) -> Option<Advice> {
        let (function, parameters) = spot.function()?;
        (spot.declares(name) || self.variables.iter().any(|known| known == name)).then_some(())?;
        let constant = spot.text.contains(&format!("const {name} "));
        let outside = if constant {
            format!("a constant of the script is `global::{name}`; or ")
        } else {
            String::new()
        };
        let handed = if parameters.is_empty() { name.to_string() } else { format!("{parameters}, {name}") };
        Some(Advice {
            message: Some(format!("`fn {function}` does not see the variable `{name}`")),
            help: Some(format!(
                "a function sees its parameters only: {outside}write `fn {function}({handed})`, or a closure, which sees what is around \
                 it: `let {function} = |{parameters}| …`"
            )),
            at: None,
        })
    }

    /// The nearest word of the text, or variable of the REPL.
    fn nearest_word(&self, name: &str, text: &str) -> Option<String> {
        let words = identifiers(text);
        let known = words.into_iter().chain(self.variables.iter().map(String::as_str));
        nearest(name, known).map(|name| format!("did you mean `{name}`?"))
    }

    /// `call` is the engine's `name (type, type)`.
    pub(super) fn unknown_call(&self, call: &str, place: &Place) -> Text {
        let (name, types) = call.split_once(" (").unwrap_or((call, ""));
        let types: Vec<_> = types
            .strip_suffix(')')
            .unwrap_or(types)
            .split(", ")
            .filter(|ty| !ty.is_empty())
            .map(script_type)
            .collect();
        let function = name.rsplit("::").next().unwrap_or(name);
        let text = self.context.sources.get(&place.source).unwrap_or_default();
        let spot = Spot::new(&text, place.position);
        if spot.here() == "in" && function == "contains" {
            let within = types.first().map_or("value", String::as_str);
            return (
                format!("`in` does not look into a `{within}`"),
                Some("it looks into arrays, ranges, texts and the keys of maps".into()),
            );
        }
        if !rhai::is_valid_identifier(function) {
            return self.bad_operator(function, &types);
        }
        let found = types.join(", ");
        if name != function {
            let module = name.trim_end_matches(function).trim_end_matches("::");
            let help = self.nearest_of_modules(function);
            return (format!("module `{module}` has no function `{function}` that takes ({found})"), help);
        }
        let is_method = spot.before(1) == ".";
        if let Some(help) = self.closure_call(name, &spot).filter(|_| !is_method) {
            return (format!("`{name}` is a variable, not a function"), Some(help));
        }
        let on = types.first().filter(|_| is_method).map(String::as_str);
        let cure = self.cure_of_call(name, on, &spot);
        let entries: Vec<_> = self.table.named(function).collect();
        if !entries.is_empty() {
            let arguments = spot.arguments(spot.at()).filter(|_| !is_method);
            let (message, help) = wrong_arguments(function, &entries, &types, arguments);
            return (message, cure.or(help));
        }
        if self.builtins.iter().any(|builtin| builtin == name) {
            let message = match on {
                Some(on) => format!("`{name}` of `{on}` does not take ({})", types[1..].join(", ")),
                None => format!("`{name}` does not take ({found})"),
            };
            return (message, cure);
        }
        let message = match on {
            Some(receiver) => format!("`{receiver}` has no method `{name}`"),
            None => format!("unknown function `{name}`"),
        };
        let near = || self.nearest_call(name, is_method, on).or_else(|| self.nearest_word(name, &text));
        (message, cure.or_else(near).or_else(|| no_idea(is_method)))
    }

    /// Help for a call of a name that exists nowhere.
    pub fn unknown_name(&self, name: &str, is_method: bool, place: &Place) -> Text {
        let text = self.context.sources.get(&place.source).unwrap_or_default();
        let spot = Spot::new(&text, place.position);
        if let Some(help) = self.closure_call(name, &spot).filter(|_| !is_method) {
            return (format!("`{name}` is a variable, not a function"), Some(help));
        }
        let message = format!("unknown {} `{name}`", if is_method { "method" } else { "function" });
        let help = self.cure_of_call(name, None, &spot);
        (message, help.or_else(|| self.nearest_call(name, is_method, None)).or_else(|| no_idea(is_method)))
    }

    /// What to write for a call that other languages have.
    fn cure_of_call(&self, name: &str, on: Option<&str>, spot: &Spot) -> Option<String> {
        let is_method = spot.before(1) == ".";
        let cure = match is_method {
            true => words::member(name, on.or_else(|| spot.receiver())),
            false => words::function(name).or_else(|| words::name(name)).map(String::from),
        }?;
        let written = match is_method {
            true => spot.at().checked_sub(2).map(|i| spot.token(i)),
            false => spot.arguments(spot.at()),
        };
        // A cure with a long or cut argument in it would not be read.
        let fits = |x: &&str| {
            let operand = x.chars().all(|c| c.is_alphanumeric() || "_.[]()".contains(c));
            let quoted = x.starts_with('"') && x.ends_with('"') && x.matches('"').count() == 2;
            !x.is_empty() && x.len() <= MAX_ARGUMENT && (operand && *x != ")" || quoted)
        };
        let written = written.filter(fits).unwrap_or("x");
        Some(cure.replace(
            "{x}",
            &if written.contains("..") { format!("({written})") } else { written.to_string() },
        ))
    }

    /// `f(3)` where `f` is a variable.
    fn closure_call(&self, name: &str, spot: &Spot) -> Option<String> {
        (spot.declares(name) || self.variables.iter().any(|known| known == name)).then_some(())?;
        let arguments = spot.arguments(spot.at()).filter(|x| x.len() <= MAX_ARGUMENT && !x.contains('\n'));
        Some(format!("a closure is called by `.call`: `{name}.call({})`", arguments.unwrap_or("…")))
    }

    /// "did you mean", over the table and the engine's own functions.
    fn nearest_call(&self, name: &str, is_method: bool, receiver: Option<&str>) -> Option<String> {
        let fits = |entry: &&Entry| match receiver {
            Some(receiver) => entry.receiver == Some(receiver),
            None => entry.receiver.is_some() == is_method,
        };
        let entry = nearest(name, self.table.entries.iter().filter(fits).map(Entry::name));
        if let Some(entry) = entry.and_then(|name| self.table.named(name).find(fits)) {
            return Some(format!("did you mean `{}`?", entry.usage()));
        }
        match (nearest(name, self.builtins.iter().map(String::as_str)), receiver) {
            (Some(builtin), _) => Some(format!("did you mean `{builtin}`?")),
            (None, Some(receiver)) if self.table.of_type(receiver).next().is_some() => {
                Some(format!("see `help({receiver})`"))
            }
            _ => None,
        }
    }

    /// The nearest function of all sources that were read.
    fn nearest_of_modules(&self, name: &str) -> Option<String> {
        let texts = self.context.sources.texts();
        let functions = texts.values().flat_map(|text| text.split("fn ").skip(1));
        let names = functions.map(|rest| rest.split('(').next().unwrap_or("").trim());
        nearest(name, names).map(|name| format!("did you mean `{name}`?"))
    }

    fn bad_operator(&self, operator: &str, types: &[String]) -> Text {
        let [left, right] = types else {
            let help = (operator == "!").then(|| "compare: `x == 0`, `x == ()`".to_string());
            return (format!("`{operator}` does not work on `{}`", types.join(", ")), help);
        };
        let entries = self.table.named(operator).filter(|entry| entry.receiver == Some(left));
        let usages = entries.map(|entry| format!("`{}`", entry.usage())).collect::<Vec<_>>().join(", ");
        let is = |ty: &str| left == ty || right == ty;
        let help = if is("()") {
            Some("one side is `()`, no value: look where it comes from".to_string())
        } else if is("array") && operator == "+" {
            Some(
                "`.push(x)` adds an item; to compute with the numbers make a tensor: `tensor(xs) + 1`".into(),
            )
        } else if is("array") {
            Some(format!("to compute with the numbers make a tensor: `tensor(xs) {operator} 2`"))
        } else if left == "string" && operator == "%" {
            Some("values are put into a text by `fmt(\"{:.3} of {}\", a, b)`".into())
        } else if is("bool") {
            Some("a condition is no number: write `if c { 1 } else { 0 }`".into())
        } else if is("string") && (is("int") || is("float")) {
            Some("a text becomes a number by `parse_int(text)` or `parse_float(text)`".into())
        } else {
            (!usages.is_empty()).then(|| format!("possible are {usages}"))
        };
        (format!("`{operator}` does not work between `{left}` and `{right}`"), help)
    }

    pub(super) fn unknown_entry(&self, name: &str, place: &Place) -> Text {
        let text = self.context.sources.get(&place.source).unwrap_or_default();
        let known = words::member(name, Some("map")).map(|cure| cure.replace("{x}", "m"));
        let help = known.or_else(|| self.nearest_word(name, &text));
        let help = help.unwrap_or_else(|| {
            format!("`.keys()` lists its entries; test for one first: `\"{name}\" in map`")
        });
        (format!("the map has no entry `{name}`"), Some(help))
    }

    /// `text` is "Unknown property 'x' - a getter is not registered for type 'T'", or of a setter.
    pub(super) fn unknown_field(&self, text: &str) -> Text {
        let mut quoted = text.split('\'').skip(1).step_by(2);
        let (Some(field), Some(ty)) = (quoted.next(), quoted.next()) else {
            return (engine_words(text), None);
        };
        let ty = script_type(ty);
        if text.starts_with("No writable") {
            let help = "make a new value: the fields of this one are fixed";
            return (format!("field `{field}` of `{ty}` cannot be set"), Some(help.into()));
        }
        let on_type = |kind: Kind| self.table.of_type(&ty).filter(move |entry| entry.kind == kind);
        let method = on_type(Kind::Method).find(|entry| entry.name() == field);
        let cure = words::member(field, Some(&ty)).map(|cure| cure.replace("{x}", "x"));
        let help = method
            .map(|method| format!("`{field}` is a method; call it: `{}`", method.usage()))
            .or(cure)
            .or_else(|| {
                let near = nearest(field, on_type(Kind::Getter).map(Entry::name));
                near.map(|name| format!("did you mean `{name}`?"))
                    .or_else(|| {
                        self.builtins
                            .iter()
                            .any(|name| name == field)
                            .then(|| format!("call it: `.{field}()`"))
                    })
                    .or_else(|| self.table.of_type(&ty).next().map(|_| format!("see `help({ty})`")))
            });
        (format!("`{ty}` has no field `{field}`"), help)
    }

    /// `text` is "T [U]", or "T [U] = V".
    pub(super) fn not_indexable(&self, text: &str) -> Text {
        let (ty, index) = text.split_once(" [").unwrap_or((text, ""));
        let (index, value) = index.split_once(']').unwrap_or((index, ""));
        let (ty, index) = (script_type(ty), script_type(index));
        if !value.is_empty() {
            let help = (ty == "Tensor").then(|| "write `x.set_at([i, j], value)`".to_string());
            return (format!("elements of `{ty}` cannot be set by `{index}`"), help);
        }
        let entries = self.table.of_type(&ty).filter(|entry| entry.kind == Kind::Indexer);
        (format!("`{ty}` cannot be indexed by `{index}`"), forms(entries))
    }

    pub(super) fn wrong_type(&self, expected: &str, found: &str, place: &Place) -> Text {
        let text = self.context.sources.get(&place.source).unwrap_or_default();
        let start = token_at(&text, place.position).start;
        let is_index = text[..start].trim_end().ends_with('[');
        let help = match (expected, found) {
            ("int", "range") if is_index => {
                Some("a part of an array is `.extract(1..3)`, a part of a text `.sub_string(1..3)`")
            }
            ("int", _) if is_index => Some("arrays and texts are indexed by ints, counted from 0"),
            ("string", _) if is_index => Some("maps are indexed by texts: `m[\"name\"]`"),
            ("bool", "Tensor") => Some("ask the mask: `.any()` or `.all()`"),
            ("bool", _) => Some("compare: `x != 0`, `x != ()`"),
            _ => None,
        };
        (format!("expected `{expected}`, found `{found}`"), help.map(String::from))
    }
}

/// The name exists, but not for these arguments: say what it takes.
/// `arguments` is the text of those of a call that is none of a method.
fn wrong_arguments(name: &str, entries: &[&Entry], types: &[String], arguments: Option<&str>) -> Text {
    let receiver = types.first().map(String::as_str);
    let fits = |entry: &&&Entry| entry.receiver.is_none() || entry.receiver == receiver;
    let fitting: Vec<&Entry> = entries.iter().filter(fits).copied().collect();
    let Some(first) = fitting.first() else {
        let message = match receiver {
            Some(ty) if arguments.is_none() => format!("`{ty}` has no method `{name}`"),
            Some(ty) => format!("`{name}` does not take ({ty})"),
            None => format!("`{name}` is a method of a value"),
        };
        if receiver == Some("()") {
            let help =
                "what stands before the dot gives nothing: `sort`, `push`, `trim` and the like work in place";
            return (message, Some(help.into()));
        }
        if receiver == Some("array") && entries.iter().any(|entry| entry.receiver == Some("Tensor")) {
            return (message, Some(format!("make it a tensor first: `tensor(xs).{name}(…)`")));
        }
        return (message, forms(entries.iter().copied()));
    };
    if fitting.iter().all(|entry| entry.kind == Kind::Getter) {
        let ty = receiver.unwrap_or_default();
        return (
            format!("`{name}` of `{ty}` is a field, not a method"),
            Some(match arguments {
                Some(on) => format!("write `{on}.{name}`"),
                None => format!("drop the brackets: `.{name}`"),
            }),
        );
    }
    let takes = fitting.iter().map(|entry| parameters(entry)).collect::<Vec<_>>().join(") or (");
    let found: Vec<_> = types.iter().skip(usize::from(first.receiver.is_some())).cloned().collect();
    let message = format!("`{name}` expects ({takes}), found ({})", found.join(", "));
    if found.iter().any(|ty| ty == "char") && takes.contains("string") {
        return (message, Some("single quotes hold one character: write text in double quotes".into()));
    }
    (message, forms(fitting))
}

/// The ways to call, as help.
fn forms<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Option<String> {
    let forms: Vec<_> = entries.into_iter().map(|entry| format!("`{}`", entry.usage())).collect();
    match forms.as_slice() {
        [] => None,
        [form] => Some(format!("its form is {form}")),
        forms => Some(format!("its forms are {}", forms.join(", "))),
    }
}

/// Where to look for what a name should have been.
fn no_idea(is_method: bool) -> Option<String> {
    Some(match is_method {
        true => "`help(x)` lists what a value `x` can do".into(),
        false => "`help` lists all functions; your own is `fn name(x) { … }`".into(),
    })
}

fn parameters(entry: &Entry) -> String {
    entry.signature.params.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
