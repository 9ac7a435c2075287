//! Script parameters: `param("layer", 6, "which layer")`, set with `--set layer=8`.
//!
//! The compiled script is searched for `param` calls before it runs, so a misspelt `--set` is
//! refused at once and `--params` needs no run.

use std::collections::HashMap;

use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, Position, Stmt};

use super::args::type_of;
use super::bind::data::from_json;
use super::error::{Failure, fail};
use crate::nearest::nearest;

/// The values given with `--set`.
#[derive(Debug, Default)]
pub struct Params {
    sets: HashMap<String, String>,
}

/// A `param` call found in a script. `default` is known when it is a literal.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    pub default: Option<Dynamic>,
    pub help: Option<String>,
    pub position: Position,
}

/// The `param` calls of a script. When one has a computed name, the list is not complete.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub declared: Vec<Declared>,
    pub complete: bool,
}

impl Params {
    /// Later settings of a name win.
    pub fn new(sets: &[(String, String)]) -> Self {
        Self { sets: sets.iter().cloned().collect() }
    }

    /// The value for a parameter: as set, of the default's type, else the default.
    pub fn value(&self, name: &str, default: Dynamic) -> Result<Dynamic, Failure> {
        match self.sets.get(name) {
            Some(text) => parse(name, text, &default),
            None => Ok(default),
        }
    }

    /// Refuses settings that the script has no parameter for, and values of the wrong type. A refusal
    /// of a value comes with the position of its `param`.
    pub fn check(&self, scan: &Scan) -> Result<(), (Failure, Position)> {
        for declared in &scan.declared {
            if let Some(default) = &declared.default
                && let Err(failure) = self.value(&declared.name, default.clone())
            {
                return Err((failure, declared.position));
            }
        }
        let names = || scan.declared.iter().map(|declared| declared.name.as_str());
        let mut unknown: Vec<_> = self.sets.keys().filter(|set| !names().any(|name| name == *set)).collect();
        unknown.sort();
        match unknown.first() {
            Some(set) if scan.complete => {
                let mut message = format!("the script has no parameter `{set}`");
                if let Some(name) = nearest(set, names()) {
                    message += &format!("; did you mean `{name}`?");
                }
                let list = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let help = match list.as_str() {
                    "" => format!("drop `--set {set}=…`, or declare `param(\"{set}\", default)`"),
                    list => format!("its parameters are {list}"),
                };
                Err((fail(message).help(help), Position::NONE))
            }
            _ => Ok(()),
        }
    }
}

/// Reads the text of a `--set` as the default's type; any type that fits if the default is `()`.
fn parse(name: &str, text: &str, default: &Dynamic) -> Result<Dynamic, Failure> {
    let wrong = |ty: &str| {
        fail(format!("parameter `{name}` is {ty}, found `{text}`"))
            .help(format!("write `--set {name}=…` with {ty}, like the default"))
    };
    let json = || serde_json::from_str(text).ok().map(from_json);
    if default.is_unit() {
        return Ok(json().unwrap_or_else(|| text.to_string().into()));
    }
    match type_of(default).as_str() {
        "int" => text.parse::<i64>().map(Dynamic::from).map_err(|_| wrong("an int")),
        "float" => text.parse::<f64>().map(Dynamic::from).map_err(|_| wrong("a number")),
        "bool" => text.parse::<bool>().map(Dynamic::from).map_err(|_| wrong("`true` or `false`")),
        "string" => Ok(text.to_string().into()),
        "array" => json().filter(Dynamic::is_array).ok_or_else(|| wrong("an array as JSON")),
        "map" => json().filter(Dynamic::is_map).ok_or_else(|| wrong("a map as JSON")),
        other => Err(fail(format!("parameter `{name}` of type `{other}` cannot be set from outside"))
            .help("give it a number, a string, a bool, an array or a map as default")),
    }
}

/// Finds the `param` calls of a script, in the order of the text.
pub fn scan(ast: &AST) -> Scan {
    let mut scan = Scan { declared: Vec::new(), complete: true };
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(
                ASTNode::Expr(Expr::FnCall(call, position)) | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) if call.name == "param" && !call.is_qualified() => match declared(call, *position) {
                Some(declared) => scan.declared.push(declared),
                None => scan.complete = false,
            },
            // An imported script may have parameters of its own.
            Some(ASTNode::Stmt(Stmt::Import(..))) => scan.complete &= is_embedded(path),
            _ => {}
        }
        true
    });
    scan.declared.sort_by_key(|declared| declared.position);
    scan.declared.dedup_by_key(|declared| declared.position);
    scan
}

fn is_embedded(path: &[ASTNode]) -> bool {
    match path.last() {
        Some(ASTNode::Stmt(Stmt::Import(import, _))) => match &import.0 {
            Expr::StringConstant(name, _) => super::modules::is_embedded(name),
            _ => false,
        },
        _ => false,
    }
}

fn declared(call: &FnCallExpr, position: Position) -> Option<Declared> {
    let name = literal(call.args.first()?)?.into_string().ok()?;
    let help = call.args.get(2).and_then(literal).and_then(|help| help.into_string().ok());
    Some(Declared { name, default: call.args.get(1).and_then(literal), help, position })
}

fn literal(expr: &Expr) -> Option<Dynamic> {
    expr.get_literal_value(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(text: &str) -> Scan {
        scan(&rhai::Engine::new().compile(text).unwrap())
    }

    fn params(name: &str, value: &str) -> Params {
        Params::new(&[(name.into(), value.into())])
    }

    #[test]
    fn calls_are_found_anywhere_with_their_defaults() {
        let scan = scanned(
            "let l = param(\"layer\", -3, \"which layer\");\nfn f() { if param(\"on\", true) { 1 } else { 2 } }",
        );
        let names: Vec<_> = scan.declared.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["layer", "on"]);
        assert_eq!(scan.declared[0].default.as_ref().unwrap().as_int(), Ok(-3));
        assert_eq!(scan.declared[0].help.as_deref(), Some("which layer"));
        assert!(scan.complete);
        assert!(!scanned("let n = \"a\" + type_of(1); param(n, 1)").complete);
    }

    #[test]
    fn values_take_the_type_of_the_default() {
        let value = |text: &str, default: Dynamic| params("x", text).value("x", default);
        assert_eq!(value("8", 1i64.into()).unwrap().as_int(), Ok(8));
        assert_eq!(value("8", 1.0.into()).unwrap().as_float(), Ok(8.0));
        assert_eq!(value("8", "a".into()).unwrap().into_string(), Ok("8".into()));
        assert_eq!(value("[1, 2]", Dynamic::from_array(vec![])).unwrap().into_array().unwrap().len(), 2);
        assert_eq!(value("8", Dynamic::UNIT).unwrap().as_int(), Ok(8));
        assert_eq!(value("3.5", 1i64.into()).unwrap_err().message, "parameter `x` is an int, found `3.5`");
    }

    #[test]
    fn unknown_settings_are_refused_only_when_the_list_is_complete() {
        let scan = scanned("param(\"layer\", 1)");
        let (failure, _) = params("lyaer", "1").check(&scan).unwrap_err();
        assert_eq!(failure.message, "the script has no parameter `lyaer`; did you mean `layer`?");
        assert!(params("lyaer", "1").check(&Scan { complete: false, ..scan.clone() }).is_ok());
        let (failure, position) = params("layer", "x").check(&scan).unwrap_err();
        assert_eq!(
            (failure.message.as_str(), position.line()),
            ("parameter `layer` is an int, found `x`", Some(1))
        );
    }
}
