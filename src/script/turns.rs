//! Closures made in a loop keep the value of their turn.
//!
//! The engine shares one variable among a loop and all closures that it makes, so that each of them sees the last value.
//! Here a closure that only reads a variable which the loop changes takes its value when it is made: a first parse finds
//! these closures, in the second one the variable has another name inside them ([`own_name`]), and where the engine asks
//! for a variable of such a name it gets a copy. A closure that changes the variable of a `for` is refused; one that
//! changes another goes on sharing it, as a count needs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{AST, ASTNode, Dynamic, Engine, Expr, FnPtr, ParseError, Position, Scope, Stmt, StmtBlock, Token};

use super::error::{Failure, fail};

/// Methods of the engine and of ours that change the value which they are called on.
const CHANGING: &[&str] = &[
    "append",
    "chop",
    "clear",
    "crop",
    "dedup",
    "drain",
    "fill_with",
    "insert",
    "make_lower",
    "make_upper",
    "mixin",
    "pad",
    "pop",
    "push",
    "remove",
    "replace",
    "retain",
    "reverse",
    "set",
    "set_at",
    "shift",
    "sort",
    "sort_by",
    "sort_desc",
    "splice",
    "trim",
    "truncate",
];

/// Marks a name that only the copy in a closure has; no script can write it.
const MARK: char = '\u{2032}';

/// The name that a variable has inside a closure with a copy of it.
fn own_name(name: &str) -> String {
    format!("{name}{MARK}")
}

/// Why a script does not compile.
pub enum Refused {
    Syntax(ParseError),
    Closure(Failure, Position),
}

/// Compiles scripts for one engine. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Where the text that is being parsed names a variable that a closure takes a copy of.
    copied: Arc<Mutex<HashSet<Position>>>,
}

impl Turns {
    fn copied(&self) -> MutexGuard<'_, HashSet<Position>> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token as it is parsed; `at` is where it stands.
    pub fn read(&self, token: Token, at: Position) -> Token {
        match token {
            Token::Identifier(name) if self.copied().contains(&at) => {
                Token::Identifier(Box::new(own_name(&name).into()))
            }
            token => token,
        }
    }

    /// Compiles a text.
    pub fn compile(&self, engine: &Engine, scope: &Scope, text: &str) -> Result<AST, Refused> {
        let ast = engine.compile_with_scope(scope, text).map_err(Refused::Syntax)?;
        let Copies { places, names, refused } = Copies::of(&ast);
        if let Some((failure, position)) = refused {
            return Err(Refused::Closure(failure, position));
        }
        if places.is_empty() {
            return Ok(ast);
        }
        // Known to the parser as variables, of which none exists.
        let mut scope = scope.clone();
        for name in names {
            scope.push(own_name(&name), ());
        }
        *self.copied() = places;
        let compiled = engine.compile_with_scope(&scope, text);
        self.copied().clear();
        compiled.map_err(Refused::Syntax)
    }
}

/// The name that a script wrote for this one.
pub fn original(name: &str) -> &str {
    name.strip_suffix(MARK).unwrap_or(name)
}

/// The value of a variable with the name of a copy, while a closure with that copy is made.
pub fn copy(name: &str, scope: &Scope) -> Option<Dynamic> {
    let original = name.strip_suffix(MARK)?;
    match scope.get(original) {
        Some(value) => Some(value.flatten_clone()),
        // Inside the closure, the name is that of a parameter.
        None if scope.contains(name) => None,
        // A closure around the loop captures the name, too, before the loop has begun.
        None => Some(Dynamic::UNIT),
    }
}

/// What one parse finds.
#[derive(Default)]
struct Copies {
    /// Where closures name variables that they need copies of.
    places: HashSet<Position>,
    names: BTreeSet<String>,
    refused: Option<(Failure, Position)>,
}

/// The bodies of a script's functions, closures among them, by name. Overloads of one name are one body: only those of
/// closures are asked for, which have a name each.
type Bodies = HashMap<String, Vec<Stmt>>;

impl Copies {
    fn of(ast: &AST) -> Self {
        let mut bodies = Bodies::new();
        for function in ast.iter_functions() {
            let mut alone = ast.clone_functions_only();
            alone.retain_functions(|_, _, name, _| name == function.name);
            let body = bodies.entry(function.name.to_string()).or_default();
            body.clear();
            alone.walk(&mut |path: &[ASTNode]| {
                if let [ASTNode::Stmt(statement)] = path {
                    body.push((*statement).clone());
                }
                true
            });
        }
        let mut copies = Self::default();
        copies.search(&bodies, ast.statements());
        bodies.values().for_each(|body| copies.search(&bodies, body));
        copies
    }

    /// Looks at the closures that these statements make.
    fn search(&mut self, bodies: &Bodies, statements: &[Stmt]) {
        every(statements, |path| {
            if let Some(ASTNode::Expr(Expr::Stmt(block))) = path.last()
                && let Some((closure, captured)) = captures(block)
                && let Some(body) = bodies.get(closure.fn_name())
            {
                for (name, at) in captured {
                    if let Some(own) = turns_over(path, name) {
                        self.capture(&Uses::of(bodies, body, name), name, at, own);
                    }
                }
            }
        });
    }

    /// A closure that captures a variable which a loop changes; whether it is the loop's `own`.
    fn capture(&mut self, uses: &Uses, name: &str, at: Position, own: bool) {
        if uses.changed && own {
            let message = format!("the closure changes `{name}`, which the loop sets for every turn");
            let help = format!("give it a variable of its own first: `let own_{name} = {name};`");
            self.refused.get_or_insert((fail(message).help(help), at));
        } else if uses.hidden {
            let message = format!("the closure has another variable `{name}` beside that of the loop");
            self.refused.get_or_insert((fail(message).help("give one of them another name"), at));
        } else if !uses.changed {
            self.names.insert(name.to_string());
            self.places.extend(&uses.places);
        }
    }
}

/// Whether a loop around the end of `path`, but not around the variable's declaration, changes the variable; and then,
/// whether the loop is the `for` that sets it.
fn turns_over(path: &[ASTNode], name: &str) -> Option<bool> {
    // Whether the child stands in this list, after a declaration of the variable.
    let declares = |list: &[Stmt], child: &ASTNode| {
        let here =
            |statement: &Stmt| matches!(child, ASTNode::Stmt(child) if std::ptr::eq(*child, statement));
        let before = list.iter().position(here).and_then(|place| list.get(..place)).unwrap_or_default();
        before.iter().any(|statement| matches!(statement, Stmt::Var(x, ..) if x.0.name == name))
    };
    let mut changed = None;
    for (depth, node) in path.iter().enumerate().rev() {
        let child = path.get(depth + 1);
        let lists: [&[Stmt]; 2] = match node {
            ASTNode::Stmt(Stmt::For(x, ..)) => {
                // What it runs over is not part of its turns.
                if matches!(child, Some(ASTNode::Expr(over)) if std::ptr::eq(*over, &x.2.expr)) {
                    continue;
                }
                [x.2.body.statements(), &[]]
            }
            ASTNode::Stmt(Stmt::While(x, ..) | Stmt::Do(x, ..)) => [x.body.statements(), &[]],
            ASTNode::Stmt(Stmt::If(x, ..) | Stmt::TryCatch(x, ..)) => {
                [x.body.statements(), x.branch.statements()]
            }
            ASTNode::Stmt(Stmt::Block(block)) => [block.statements(), &[]],
            ASTNode::Expr(Expr::Stmt(block)) => [block.statements(), &[]],
            _ => continue,
        };
        if child.is_some_and(|child| lists.iter().any(|list| declares(list, child))) {
            return changed;
        }
        match node {
            ASTNode::Stmt(Stmt::For(x, ..))
                if x.0.name == name || x.1.as_ref().is_some_and(|counter| counter.name == name) =>
            {
                return Some(true);
            }
            ASTNode::Stmt(turns @ (Stmt::For(..) | Stmt::While(..) | Stmt::Do(..)))
                if changes(turns, name) =>
            {
                changed = Some(false);
            }
            _ => {}
        }
    }
    // It is declared before all loops around: at the top, as a parameter, or in the REPL.
    changed
}

/// How a closure uses a variable that it captures.
#[derive(Default)]
struct Uses {
    places: HashSet<Position>,
    changed: bool,
    /// Whether it declares a variable of the same name.
    hidden: bool,
}

impl Uses {
    fn of(bodies: &Bodies, body: &[Stmt], name: &str) -> Self {
        let mut uses = Self::default();
        uses.add(bodies, body, name);
        uses
    }

    fn add(&mut self, bodies: &Bodies, body: &[Stmt], name: &str) {
        self.changed |= body.iter().any(|statement| changes(statement, name));
        every(body, |path| match path.last() {
            Some(ASTNode::Stmt(Stmt::Var(x, ..))) => self.hidden |= x.0.name == name,
            Some(ASTNode::Stmt(Stmt::For(x, ..))) => {
                self.hidden |= x.0.name == name || x.1.as_ref().is_some_and(|counter| counter.name == name);
            }
            Some(ASTNode::Stmt(Stmt::TryCatch(x, ..))) => {
                self.hidden |= matches!(&x.expr, Expr::Variable(caught, ..) if caught.1 == name);
            }
            Some(ASTNode::Expr(Expr::Variable(x, _, at))) if x.1 == name => {
                self.places.insert(*at);
            }
            Some(ASTNode::Expr(Expr::Stmt(block))) => {
                if let Some((closure, captured)) = captures(block)
                    && captured.iter().any(|(captured, _)| *captured == name)
                    && let Some(body) = bodies.get(closure.fn_name())
                {
                    self.add(bodies, body, name);
                }
            }
            _ => {}
        });
    }
}

/// Shows every node of these statements with those around it, but not the bodies of closures.
fn every(statements: &[Stmt], mut show: impl FnMut(&[ASTNode])) {
    for statement in statements {
        statement.walk(&mut Vec::new(), &mut |path: &[ASTNode]| {
            show(path);
            true
        });
    }
}

/// The closure that a block makes, with the variables that it captures and where it names them.
fn captures(block: &StmtBlock) -> Option<(FnPtr, Vec<(&str, Position)>)> {
    let [Stmt::Share(_), Stmt::Expr(curry)] = block.statements() else { return None };
    let Expr::FnCall(call, _) = &**curry else { return None };
    let (Expr::DynamicConstant(value, _), captured) = call.args.split_first()? else { return None };
    let variable = |argument| match argument {
        &Expr::Variable(ref x, _, at) => Some((x.1.as_str(), at)),
        _ => None,
    };
    Some((value.clone().try_cast::<FnPtr>()?, captured.iter().filter_map(variable).collect()))
}

/// Whether a statement changes a variable: assigns to it, in whole or in part, or changes its value by a method.
/// Closures that it makes change nothing yet.
fn changes(statement: &Stmt, name: &str) -> bool {
    let mut changed = false;
    every(std::slice::from_ref(statement), |path| {
        changed |= match path.last() {
            Some(ASTNode::Stmt(Stmt::Assignment(x))) => root(&x.1.lhs) == Some(name),
            Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => {
                CHANGING.contains(&call.name.as_str()) && call.args.first().and_then(root) == Some(name)
            }
            Some(ASTNode::Expr(Expr::Dot(x, ..) | Expr::Index(x, ..))) => {
                root(&x.lhs) == Some(name) && ends_in_change(&x.rhs)
            }
            _ => false,
        };
    });
    changed
}

/// The variable of which this is a part: `x` of `x.rows[0]`.
fn root(place: &Expr) -> Option<&str> {
    match place {
        Expr::Variable(x, ..) => Some(x.1.as_str()),
        Expr::Dot(x, ..) | Expr::Index(x, ..) => root(&x.lhs),
        _ => None,
    }
}

/// Whether the first call of what follows a variable, as `rows[0].push(1)` does, changes the value that it is made on.
fn ends_in_change(rest: &Expr) -> bool {
    match rest {
        Expr::MethodCall(call, _) => CHANGING.contains(&call.name.as_str()),
        Expr::Dot(x, ..) | Expr::Index(x, ..) => match &x.lhs {
            call @ Expr::MethodCall(..) => ends_in_change(call),
            _ => ends_in_change(&x.rhs),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn closures_keep_the_value_of_their_turn() {
        check(&[
            ("let fs = []; for i in 0..3 { fs.push(|x| x + i); } fs.map(|f| f.call(10))", "[10, 11, 12]"),
            (
                "let fs = []; for (x, i) in [7, 8] { fs.push(|| [x, i]); } fs.map(|f| f.call())",
                "[[7, 0], [8, 1]]",
            ),
            (
                "let fs = []; let i = 0; while i < 3 { fs.push(|| i); i += 1; } fs.map(|f| f.call())",
                "[0, 1, 2]",
            ),
            (
                "let fs = []; let i = 0; loop { i += 1; fs.push(|| `${i}`); if i == 2 { break; } } fs.map(|f| f.call())",
                "[\"1\", \"2\"]",
            ),
            (
                "let fs = []; let i = 0; do { fs.push(|| i * i); i += 1; } while i < 3; fs.map(|f| f.call())",
                "[0, 1, 4]",
            ),
            (
                "fn made() { let fs = []; for i in 0..2 { fs.push(|| i); } fs } made().map(|f| f.call())",
                "[0, 1]",
            ),
            (
                "let fs = []; for i in 0..2 { for j in 0..2 { fs.push(|| [i, j]); } } fs.map(|f| f.call())",
                "[[0, 0], [0, 1], [1, 0], [1, 1]]",
            ),
            (
                "let fs = []; for i in 0..2 { fs.push(|x| [5].map(|y| x + y + i)); } fs.map(|f| f.call(10)[0])",
                "[15, 16]",
            ),
            (
                "let fs = []; let row = []; for i in 0..2 { row.push(i); fs.push(|| row.len); } fs.map(|f| f.call())",
                "[1, 2]",
            ),
            (
                "let fs = []; let m = #{n: 0}; for i in 0..2 { m.n = i; fs.push(|| m.n); } fs.map(|f| f.call())",
                "[0, 1]",
            ),
            (
                "let make = || { let fs = []; for i in 0..2 { fs.push(|| i); } fs }; make.call().map(|f| f.call())",
                "[0, 1]",
            ),
            (
                "let fs = []; for i in 0..2 { let own = i * 2; fs.push(|| own); } fs.map(|f| f.call())",
                "[0, 2]",
            ),
            (
                "let fs = []; for t in [tensor([1]), tensor([2])] { fs.push(|x| t.dot(x)); } fs.map(|f| f.call(tensor([3])))",
                "[3.0, 6.0]",
            ),
        ]);
    }

    #[test]
    fn closures_that_count_go_on_sharing() {
        check(&[
            ("let n = 0; for i in 0..3 { [1, 2].for_each(|x| n += x); } n", "9"),
            ("let seen = []; for i in 0..2 { let note = |x| seen.push(x); note.call(i); } seen", "[0, 1]"),
            (
                "let best = 0; for i in [3, 1, 5, 2] { let better = |x| x > best; if better.call(i) { best = i; } } best",
                "5",
            ),
            ("let n = 1; let f = |x| x + n; n = 5; f.call(1)", "6"),
            (
                "for i in 0..3 { let f = || { i += 1; i }; }",
                "the closure changes `i`, which the loop sets for every turn; give it a variable of its own first: `let own_i = i;`",
            ),
            (
                "for i in 0..3 { let f = || { let a = i; for i in 0..2 { a += i; } a }; }",
                "the closure has another variable `i` beside that of the loop; give one of them another name",
            ),
        ]);
    }
}
