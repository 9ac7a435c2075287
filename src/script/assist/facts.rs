//! What a session knows that helps to type: the table, the engine's own functions, the variables, the model. By it the
//! value of an expression is known as far as the types of calls tell.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::code::{Code, is_name};
use super::known::Known;
use crate::model::{Model, Point};
use crate::script::api::{Entry, Kind, Table};
use crate::script::help::EngineFunction;
use crate::script::host::Host;
use crate::script::session::Session;

/// How far an expression is followed: calls of calls of calls.
const DEPTH: usize = 64;

pub struct Facts {
    pub table: Arc<Table>,
    pub engine: Vec<EngineFunction>,
    pub variables: BTreeMap<String, Known>,
    /// The session's own functions.
    pub functions: Vec<String>,
    /// The functions of imported modules, by the name of the import.
    pub modules: BTreeMap<String, Vec<String>>,
    /// The model that was loaded last.
    pub model: Option<Arc<Model>>,
    names: HashSet<String>,
}

impl Facts {
    pub fn of(host: &Host) -> Self {
        let (table, engine) = (host.shared_table(), host.engine_functions());
        let callable = |entry: &&Entry| matches!(entry.kind, Kind::Function | Kind::Method);
        let ours = table.entries.iter().filter(callable).map(|entry| entry.name().to_string());
        let names = ours.chain(engine.iter().map(|function| function.name.clone())).collect();
        Self {
            table,
            engine,
            names,
            variables: BTreeMap::new(),
            functions: Vec::new(),
            modules: BTreeMap::new(),
            model: None,
        }
    }

    pub fn learn(&mut self, session: &Session) {
        self.variables = session.each_variable(|name, value| (name.to_string(), Known::value(value)));
        self.functions = session.function_names();
        self.modules = session.host().imported().clone();
        self.model = session.host().context().model();
    }

    pub fn is_function(&self, name: &str) -> bool {
        let imported = || self.modules.values().flatten().any(|function| function == name);
        self.names.contains(name) || self.functions.iter().any(|own| own == name) || imported()
    }

    /// The points that the model has; all there are before a model is loaded.
    pub fn points(&self) -> Vec<Point> {
        let there =
            |point: &Point| self.model.as_ref().is_none_or(|model| point.absent(model.config()).is_none());
        Point::ALL.into_iter().filter(there).collect()
    }

    /// The entries that the bracket here may call, the likeliest first.
    pub fn callees(&self, code: &Code, open: usize) -> Vec<&Entry> {
        let name = code.before(open);
        if !is_name(name) {
            return Vec::new();
        }
        let of_kind = |kind| self.table.entries.iter().filter(|entry| entry.kind == kind).collect();
        let mut entries: Vec<&Entry> = match code.before(open - 1) {
            "." | "?." => match self.operand(code, open - 2).0 {
                Some(receiver) => self.members(&receiver),
                None => of_kind(Kind::Method),
            },
            "::" => Vec::new(),
            _ => of_kind(Kind::Function),
        };
        entries.retain(|entry| entry.name() == name);
        entries
    }

    /// What hangs from a value.
    pub fn members<'a>(&'a self, receiver: &Known) -> Vec<&'a Entry> {
        let hangs = |entry: &&Entry| entry.receiver.is_some_and(|of| receiver.may_be(of));
        self.table.entries.iter().filter(hangs).collect()
    }

    /// The same of the engine's own functions.
    pub fn own_members<'a>(&'a self, receiver: &Known) -> Vec<&'a EngineFunction> {
        self.engine.iter().filter(|function| receiver.may_be(function.receiver)).collect()
    }

    /// The operand that ends before the token `end`, as far as it is known, and the token that it starts with.
    pub fn operand(&self, code: &Code, end: usize) -> (Option<Known>, usize) {
        self.operand_at(code, end, DEPTH)
    }

    fn operand_at(&self, code: &Code, end: usize, depth: usize) -> (Option<Known>, usize) {
        let (Some(depth), Some(last)) = (depth.checked_sub(1), end.checked_sub(1)) else {
            return (None, end);
        };
        let token = code.token(last);
        match token {
            ")" | "]" | "}" => {
                let Some(open) = code.opening(last) else { return (None, end) };
                let behind = open > 0 && code.ends_operand(open - 1);
                match token {
                    ")" if behind && is_name(code.before(open)) => {
                        self.call(code, open, code.arguments(open, last), depth)
                    }
                    ")" if !behind => {
                        let (inner, start) = self.operand_at(code, last, depth);
                        (inner.filter(|_| start == open + 1), open)
                    }
                    "]" if behind => {
                        let (of, start) = self.operand_at(code, open, depth);
                        (of.and_then(|of| self.part(of, code, open, last)), start)
                    }
                    "]" => {
                        let first = (open + 1..last).find(|index| code.token(*index) == ",").unwrap_or(last);
                        let (item, start) = self.operand_at(code, first, depth);
                        (Some(Known::Array(item.filter(|_| start == open + 1).map(Box::new))), open)
                    }
                    "}" if code.before(open) == "#" => (Some(Known::Of("map".into())), open - 1),
                    _ => (None, end),
                }
            }
            _ if token.starts_with(['"', '`']) => (Some(Known::Of("string".into())), last),
            _ if token.starts_with(|c: char| c.is_ascii_digit()) => {
                (Some(Known::Of(if token.contains('.') { "float" } else { "int" }.into())), last)
            }
            _ if !is_name(token) => (None, end),
            _ => match code.before(last) {
                "." | "?." => {
                    let (of, start) = self.operand_at(code, last - 1, depth);
                    (of.and_then(|of| self.field(of, token)), start)
                }
                _ => (self.variable(code, last, depth), last),
            },
        }
    }

    /// The result of the call whose bracket opens here.
    fn call(&self, code: &Code, open: usize, arguments: usize, depth: usize) -> (Option<Known>, usize) {
        let name = code.token(open - 1);
        let takes = |entry: &&Entry| {
            let params = entry.signature.params.as_deref().unwrap_or_default();
            let needed = params.iter().filter(|param| !param.optional).count();
            (needed..=params.len()).contains(&arguments)
        };
        let result = |entry: &Entry| Known::result(entry.signature.result);
        match code.before(open - 1) {
            "." | "?." => {
                let (of, start) = self.operand_at(code, open - 2, depth);
                let known = of.and_then(|of| {
                    let mut ours = self.members(&of);
                    ours.retain(|entry| entry.name() == name && entry.kind == Kind::Method);
                    let own = || self.own_members(&of).into_iter().find(|function| function.name == name);
                    match ours.iter().copied().find(takes).or(ours.first().copied()) {
                        Some(entry) => result(entry),
                        None => own().and_then(|function| Known::result(function.result?)),
                    }
                });
                (known, start)
            }
            "::" => (None, open.saturating_sub(3)),
            _ if self.functions.iter().any(|own| own == name) => (None, open - 1),
            _ => {
                let functions = || self.table.named(name).filter(|entry| entry.kind == Kind::Function);
                (functions().find(takes).or(functions().next()).and_then(result), open - 1)
            }
        }
    }

    /// What an index in these brackets gives.
    fn part(&self, of: Known, code: &Code, open: usize, close: usize) -> Option<Known> {
        match of {
            Known::Array(item) => item.map(|item| *item),
            Known::Map(entries) => {
                let key = code.token(open + 1).trim_matches(['"', '`']);
                entries.into_iter().find(|(name, _)| name == key && open + 2 == close).map(|(_, value)| value)
            }
            of => {
                let indexer = self.members(&of).into_iter().find(|entry| entry.kind == Kind::Indexer);
                indexer.and_then(|entry| Known::result(entry.signature.result))
            }
        }
    }

    fn field(&self, of: Known, name: &str) -> Option<Known> {
        if let Known::Map(entries) = of {
            return entries.into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
        }
        let of = self.members(&of).into_iter();
        let mut getters = of.filter(|entry| entry.kind == Kind::Getter && entry.name() == name);
        getters.next().and_then(|entry| Known::result(entry.signature.result))
    }

    /// A variable, by what the same input lets it be, or by the value that it has.
    fn variable(&self, code: &Code, at: usize, depth: usize) -> Option<Known> {
        let name = code.token(at);
        let declared = (0..at.saturating_sub(2)).rev().find(|index| {
            ["let", "const"].contains(&code.token(*index))
                && code.token(index + 1) == name
                && code.token(index + 2) == "="
        });
        let Some(declared) = declared else { return self.variables.get(name).cloned() };
        let end = (declared..at).find(|index| code.token(*index) == ";")?;
        let (value, start) = self.operand_at(code, end, depth);
        value.filter(|_| start == declared + 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::HostOptions;

    fn types(facts: &Facts, text: &str) -> String {
        let code = Code::new(text);
        match facts.operand(&code, code.len()).0 {
            Some(Known::Of(ty)) => ty,
            Some(Known::Array(item)) => format!("array of {item:?}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_type_of_an_expression_follows_from_the_table() {
        let mut session = Session::new(Host::new(HostOptions::default()));
        for input in ["let m = load();", "let top = m.trace(\" John\").top(2);", "fn load2(a) { a }"] {
            session.submit(input).unwrap();
        }
        let mut facts = Facts::of(session.host());
        facts.learn(&session);
        for (text, ty) in [
            ("m", "Model"),
            ("load()", "Model"),
            ("1 + m.trace(\"a (\")", "Trace"),
            ("load().trace(p)[resid_post(3)]", "Tensor"),
            ("m.trace(p).tokens", "Tokens"),
            ("m.sweep(p, [a, b], logit(5))", "Tensor"),
            ("m.sweep(p, 0..8, 1..3, |l, p| z(l).at(p).zero(), logit(5))", "Grid"),
            ("resid_post(l).at(p)", "Site"),
            ("f(z(1).zero()", "Patch"),
            ("(m)", "Model"),
            ("[m].x; \"abc\"", "string"),
            ("\"abc\".to_upper()", "string"),
            ("\"abc\".split(\"b\")", "array of None"),
            ("top[0].token", "string"),
            ("top[0][\"prob\"]", "float"),
            ("let t = load().trace(p); t", "Trace"),
            ("#{a: 1}", "map"),
            ("2.5", "float"),
            ("m.nothing().trace", "None"),
            ("load2(m)", "None"),
            ("lens::f(m)", "None"),
            ("", "None"),
            (")", "None"),
            ("a)", "None"),
            (".", "None"),
            ("].b", "None"),
        ] {
            assert_eq!(types(&facts, text), ty, "{text}");
        }
        // However long, it is not followed for ever.
        types(&facts, &format!("m{}", ".a".repeat(100_000)));
    }
}
