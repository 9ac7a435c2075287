//! Literals that a run would refuse, refused before it: names of options, colour maps, sites, layers and files to read.
//!
//! Only what is certain is refused: the callee must be ours, and what depends on the model or on the files must stand where
//! the script comes by whenever it runs. Inside of `try` nothing is looked at, for the script may count on the refusal.

use std::collections::BTreeSet;
use std::sync::Arc;

use rhai::{AST, ASTNode, Dynamic, Expr, FnCallExpr, Position, Stmt};

use super::api::{Entry, Kind, Table};
use super::args::unknown_option;
use super::bind::{check_colormap, check_site, layers_of};
use super::context::Context;
use super::diagnostic::{Diagnostic, Place};
use super::error::{Failure, ScriptResult};
use super::modules::is_embedded;
use crate::data::files::FileError;

/// A literal that would be refused, and where it stands.
type Refused = (Position, Failure);

/// Refuses the first literal, in the order of the text, that a run would refuse. `runs` says that a run follows, with
/// these options.
pub fn check(
    ast: &AST,
    source: &str,
    table: &Table,
    context: &Arc<Context>,
    runs: bool,
) -> Result<(), Box<Diagnostic>> {
    let script = Script::read(ast, table, context, runs);
    let mut first: Option<Refused> = None;
    ast.walk(&mut |path: &[ASTNode]| {
        let in_try = path.iter().any(|node| matches!(node, ASTNode::Stmt(Stmt::TryCatch(..))));
        let found = if in_try { None } else { script.refused(path) };
        if let Some((position, failure)) = found
            && first.as_ref().is_none_or(|(earlier, _)| position < *earlier)
        {
            first = Some((position, failure));
        }
        true
    });
    let Some((position, Failure { message, help })) = first else { return Ok(()) };
    let place = Place { source: source.into(), position };
    Err(Box::new(Diagnostic { code: "literal", message, help, place: Some(place), ..Diagnostic::default() }))
}

/// What the check knows of a script.
struct Script<'a> {
    table: &'a Table,
    context: &'a Arc<Context>,
    runs: bool,
    /// Names that the script defines itself, as functions or as entries of maps.
    own: BTreeSet<String>,
    /// Variables that hold a trace and nothing else.
    traces: BTreeSet<String>,
    /// Layers of the largest model that the script can load; none if that is not known.
    layers: Option<usize>,
    /// Whether a file may come to be while the script runs.
    writes: bool,
}

impl<'a> Script<'a> {
    fn read(ast: &AST, table: &'a Table, context: &'a Arc<Context>, runs: bool) -> Self {
        let mut script = Self {
            table,
            context,
            runs,
            own: ast.iter_functions().map(|function| function.name.to_string()).collect(),
            traces: BTreeSet::new(),
            layers: None,
            writes: false,
        };
        let (mut loads, mut declared) = (Some(BTreeSet::new()), BTreeSet::new());
        let mut changed = BTreeSet::new();
        ast.walk(&mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(variable, ..))) => {
                    let name = variable.0.name.to_string();
                    if !declared.insert(name.clone()) {
                        changed.insert(name.clone());
                    }
                    if is_trace(&variable.1) {
                        script.traces.insert(name);
                    }
                }
                Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => {
                    changed.extend(variable(&assignment.1.lhs).map(String::from));
                }
                Some(ASTNode::Stmt(Stmt::For(clauses, _))) => {
                    changed.insert(clauses.0.name.to_string());
                }
                Some(ASTNode::Stmt(Stmt::Import(import, _))) => {
                    let stdlib = matches!(&import.0, Expr::StringConstant(name, _) if is_embedded(name));
                    script.writes |= !stdlib;
                    loads = if stdlib { loads.take() } else { None };
                }
                Some(ASTNode::Expr(Expr::Map(entries, _))) => {
                    script.own.extend(entries.0.iter().map(|(key, _)| key.name.to_string()));
                }
                _ => {}
            }
            if let Some((call, ..)) = called(path) {
                script.writes |= WRITERS.iter().any(|writer| call.name.starts_with(writer));
                if call.name == "load"
                    && let Some(ids) = &mut loads
                {
                    match call.args.as_slice() {
                        [] => drop(ids.insert(None)),
                        [Expr::StringConstant(id, _), ..] => drop(ids.insert(Some(id.to_string()))),
                        _ => loads = None,
                    }
                }
            }
            true
        });
        let parameters = ast.iter_functions().flat_map(|function| function.params);
        changed.extend(parameters.map(ToString::to_string));
        script.traces.retain(|name| !changed.contains(name));
        script.layers = loads.and_then(|ids| layers_of(context, &ids, runs));
        script
    }

    fn refused(&self, path: &[ASTNode]) -> Option<Refused> {
        if let Some(ASTNode::Expr(Expr::Index(index, ..))) = path.last()
            && variable(&index.lhs).is_some_and(|name| self.traces.contains(name))
        {
            return text(&index.rhs).and_then(|(name, at)| refusal(check_site(name), at));
        }
        let (call, at, is_method) = called(path)?;
        if self.own.contains(call.name.as_str()) {
            return None;
        }
        let entries: Vec<_> = self.table.named(&call.name).collect();
        self.options(call, &entries, is_method)
            .or_else(|| self.site(call, at, path))
            .or_else(|| self.file(call, &entries, at, path))
    }

    /// `#{…}` at the end of a call whose options are known.
    fn options(&self, call: &FnCallExpr, entries: &[&Entry], is_method: bool) -> Option<Refused> {
        let Some(Expr::Map(given, _)) = call.args.last() else { return None };
        let mut valid = BTreeSet::new();
        // A method without a list of its own takes what the function of its name takes.
        for entry in entries.iter().filter(|entry| is_method || entry.kind == Kind::Function) {
            let place = entry.signature.params.as_ref()?.iter().position(|param| param.name == "options");
            let Some(place) = place else { continue };
            // A function is a method of its first argument too.
            let place = place - usize::from(is_method && entry.kind == Kind::Function);
            (call.args.len() > place).then_some(())?;
            valid.extend(entry.options().unwrap_or_default());
        }
        if valid.is_empty() {
            return None;
        }
        for (key, value) in &given.0 {
            if !valid.contains(key.name.as_str()) {
                return Some((key.pos, unknown_option(&call.name, &key.name, valid.iter().copied())));
            }
            if key.name == "cmap"
                && let Some(map) = value.get_literal_value(None)
            {
                return refusal(check_colormap(&map), value.position());
            }
        }
        None
    }

    /// `site("…")`, `resid_post(12)`.
    fn site(&self, call: &FnCallExpr, at: Position, path: &[ASTNode]) -> Option<Refused> {
        if call.name == "site" {
            return text(call.args.first()?).and_then(|(name, at)| refusal(check_site(name), at));
        }
        let [Expr::IntegerConstant(layer, _)] = call.args.as_slice() else { return None };
        let layers = self.layers.filter(|_| is_always_run(path))?;
        let is_site = |entry: &Entry| {
            let first = entry.signature.params.iter().flatten().next();
            entry.signature.result == "Site" && first.is_some_and(|param| param.name == "layer")
        };
        let out_of_range = usize::try_from(*layer).is_ok_and(|layer| layer >= layers);
        (out_of_range && self.table.named(&call.name).any(is_site)).then(|| {
            let failure =
                super::error::fail(format!("layer {layer} does not exist: this model has {layers} layers"));
            (at, failure.help(format!("layers count from 0 to {}", layers - 1)))
        })
    }

    /// `read_csv("…")` of a file that is not there.
    fn file(&self, call: &FnCallExpr, entries: &[&Entry], at: Position, path: &[ASTNode]) -> Option<Refused> {
        let reads = ["read_", "load_"].iter().any(|start| call.name.starts_with(start));
        let takes_path =
            |entry: &&Entry| entry.signature.params.iter().flatten().next().is_some_and(|p| p.name == "path");
        if self.writes || !reads || !entries.iter().any(takes_path) || !is_always_run(path) {
            return None;
        }
        let (file, _) = text(call.args.first()?)?;
        let error = self.context.files().ok()?.read_path(file).err()?;
        // What else may be read is decided by the options of the run.
        let certain = self.runs || matches!(error, FileError::Missing { .. });
        certain.then(|| (at, super::error::refused(&error)))
    }
}

/// Functions that make files, by how their names begin.
const WRITERS: &[&str] = &["write", "save", "jsonl", "collect", "atlas", "call"];

/// The call at the end of this path, where it stands, and whether it is one of a method.
fn called<'a>(path: &'a [ASTNode]) -> Option<(&'a FnCallExpr, Position, bool)> {
    match path.last()? {
        ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))
            if !call.is_qualified() =>
        {
            Some((call, *at, false))
        }
        ASTNode::Expr(Expr::MethodCall(call, at)) => Some((call, *at, true)),
        _ => None,
    }
}

fn variable(value: &Expr) -> Option<&str> {
    match value {
        Expr::Variable(variable, ..) => Some(&variable.1),
        _ => None,
    }
}

/// `m.trace(…)` of one prompt.
fn is_trace(value: &Expr) -> bool {
    let Expr::Dot(dot, ..) = value else { return false };
    let Expr::MethodCall(call, _) = &dot.rhs else { return false };
    let several = |prompt: &Expr| matches!(prompt, Expr::Array(..));
    call.name == "trace" && call.args.first().is_some_and(|prompt| !several(prompt))
}

/// The text that an index begins with, and where it stands.
fn text(value: &Expr) -> Option<(&str, Position)> {
    match value {
        Expr::StringConstant(text, at) => Some((text, *at)),
        Expr::Dot(chain, ..) | Expr::Index(chain, ..) => text(&chain.lhs),
        _ => None,
    }
}

fn refusal<T>(result: ScriptResult<T>, at: Position) -> Option<Refused> {
    let error = result.err()?;
    match *error {
        rhai::EvalAltResult::ErrorRuntime(payload, _) => Some((at, Dynamic::try_cast(payload)?)),
        _ => None,
    }
}

/// Whether a script comes by here whenever it runs: a loop is taken to run.
fn is_always_run(path: &[ASTNode]) -> bool {
    let top = path.first().is_some_and(|node| matches!(node, ASTNode::Stmt(_)));
    top && path.iter().all(|node| {
        !matches!(
            node,
            ASTNode::Stmt(Stmt::If(..) | Stmt::Switch(..) | Stmt::While(..))
                | ASTNode::Expr(Expr::And(..) | Expr::Or(..) | Expr::Coalesce(..))
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::script::args::seen;
    use crate::script::{Error, Host, HostOptions, Session};
    use rhai::Scope;

    fn options() -> HostOptions {
        HostOptions { model: Some("tests/fixtures/tiny".into()), ..HostOptions::default() }
    }

    /// What the check of a script that runs says, and of which line and column.
    fn said(code: &str) -> Option<String> {
        let host = Host::new(options());
        let script = host.compile("a.rhai", code, &Scope::new()).unwrap();
        match host.check_for(&script, true) {
            Ok(()) => None,
            Err(Error::Unusable(diagnostic)) => {
                Some(format!("{} @ {}", diagnostic.message, diagnostic.place.unwrap().position))
            }
            Err(error) => panic!("{code}: {error:?}"),
        }
    }

    #[test]
    fn only_what_is_certain_is_refused() {
        for (code, expected) in [
            (
                "heatmap([1], #{cmap: \"Purpels\"})",
                Some("option `cmap`: unknown colour map `Purpels` @ line 1, position 22"),
            ),
            (
                "heatmap([1], #{cmap: [\"white\", \"nvay\"]})",
                Some("option `cmap`: unknown colour `nvay` @ line 1, position 22"),
            ),
            (
                "if false { [1].map(|x| heatmap([x], #{titel: 1})) }",
                Some("unknown option `titel` of `heatmap`; did you mean `title`? @ line 1, position 39"),
            ),
            ("heatmap([1], #{cmap: \"Purples\", title: \"a\"})", None),
            ("try { heatmap([1], #{titel: 1}) } catch { }", None),
            ("fn heatmap(x, o) { o.titel } heatmap([1], #{titel: 1})", None),
            ("let m = #{heatmap: |x, o| o.titel}; m.heatmap([1], #{titel: 1})", None),
            ("write_json(\"a.json\", #{titel: 1})", None),
            ("load().chat([], #{think: true})", None),
            ("site(\"resid_pots.1\")", Some("unknown site `resid_pots.1` @ line 1, position 6")),
            (
                "let t = load().trace(\"a\"); t[\"resid_pots.1\"].shape",
                Some("unknown site `resid_pots.1` @ line 1, position 30"),
            ),
            ("let t = load().trace([\"a\"]); t[\"resid_pots.1\"]", None),
            ("let t = load().trace(\"a\"); t = #{}; t[\"resid_pots.1\"]", None),
            ("let t = #{}; t[\"resid_pots.1\"]", None),
            (
                "let m = load(); m.trace(\"a\")[resid_post(3)]",
                Some("layer 3 does not exist: this model has 3 layers @ line 1, position 30"),
            ),
            ("let m = load(); resid_post(2); resid_post(-1)", None),
            ("let m = load(); if m.n_layers > 3 { resid_post(3) }", None),
            ("let m = load(); let s = load(\"demo\"); resid_post(7)", None),
            ("let m = load(param(\"id\", \"demo\")); resid_post(99)", None),
            ("resid_post(99)", None),
            ("read_csv(\"none.csv\")", Some("no file `none.csv`")),
            ("write_text(\"none.csv\", \"a\"); read_csv(\"none.csv\")", None),
            ("if false { read_csv(\"none.csv\") }", None),
            ("read_text(\"Cargo.toml\")", None),
        ] {
            let said = said(code);
            match expected {
                None => assert_eq!(said, None, "{code}"),
                Some(expected) => {
                    assert!(said.as_ref().is_some_and(|said| said.starts_with(expected)), "{code}: {said:?}")
                }
            }
        }
    }

    /// The options that a summary lists are those that a call takes: a missing one would be refused wrongly.
    #[test]
    fn summaries_list_all_options() {
        let out = tempfile::tempdir().unwrap();
        let host = Host::new(options());
        let mut compared = 0;
        for entry in host.table().entries.iter().filter(|entry| entry.options().is_some()) {
            let options = HostOptions { out: Some(out.path().into()), ..options() };
            let Some(example) = entry.example else { continue };
            let _ = Session::new(Host::new(options)).submit(example.code);
            let Some(valid) = seen().get(entry.name()).cloned() else { continue };
            let listed = entry.options().unwrap();
            let missing: Vec<_> = valid.iter().filter(|name| !listed.contains(&name.as_str())).collect();
            assert!(missing.is_empty(), "{}: {missing:?} are not listed", entry.usage());
            compared += 1;
        }
        assert!(compared >= 12, "{compared}");
    }
}
