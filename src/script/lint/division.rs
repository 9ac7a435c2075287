//! `3 / 4`: between whole numbers, `/` drops the remainder.

use std::collections::HashSet;

use rhai::{AST, ASTNode, Expr, FnCallExpr, Stmt};

use super::Warning;
use crate::script::operators::DIVISION_HELP;

/// Fields that are whole numbers on every type.
const INT_FIELDS: &[&str] =
    &["d_head", "d_mlp", "d_model", "d_vocab", "len", "n_ctx", "n_heads", "n_kv_heads", "n_layers"];

/// Functions and methods that give whole numbers.
const INT_CALLS: &[&str] = &["floor_div", "index_of", "len", "parse_int", "to_int"];

/// Warns where both sides are whole numbers for sure. What only a run shows is told by the run.
pub fn lint(ast: &AST, _text: &str) -> Vec<Warning> {
    let ints = Ints::of(ast);
    let mut found = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) =
            path.last()
            && let Some((a, b)) = division(call)
            && ints.is_int(a)
            && ints.is_int(b)
            && !leaves_nothing(a, b)
        {
            found.push(Warning {
                code: "division",
                position: *at,
                message: "both sides of this `/` are whole numbers, so that the remainder is dropped".into(),
                help: DIVISION_HELP.into(),
            });
        }
        true
    });
    found
}

fn division(call: &FnCallExpr) -> Option<(&Expr, &Expr)> {
    match (call.name.as_str(), &call.args[..]) {
        ("/", [a, b]) => Some((a, b)),
        _ => None,
    }
}

/// Whether both are written out, and divide evenly.
fn leaves_nothing(a: &Expr, b: &Expr) -> bool {
    matches!((a, b), (Expr::IntegerConstant(a, _), Expr::IntegerConstant(b, _)) if a.checked_rem(*b) == Some(0))
}

/// The names of the variables that hold nothing but ints.
#[derive(Default)]
struct Ints(HashSet<String>);

impl Ints {
    fn of(ast: &AST) -> Self {
        let mut given: Vec<(String, Option<Expr>)> = Vec::new();
        for function in ast.iter_functions() {
            given.extend(function.params.iter().map(|param| (param.to_string(), None)));
        }
        ast.walk(&mut |path: &[ASTNode]| {
            match path.last() {
                Some(ASTNode::Stmt(Stmt::Var(x, ..))) => {
                    given.push((x.0.name.to_string(), Some(x.1.clone())))
                }
                Some(ASTNode::Stmt(Stmt::Assignment(x))) => {
                    if let Expr::Variable(variable, ..) = &x.1.lhs {
                        given.push((variable.1.to_string(), Some(x.1.rhs.clone())));
                    }
                }
                Some(ASTNode::Stmt(Stmt::For(x, ..))) => {
                    given.push((x.0.name.to_string(), end_of_range(&x.2.expr)));
                }
                _ => {}
            }
            true
        });
        let mut ints = Self(given.iter().map(|(name, _)| name.clone()).collect());
        // One that gets anything else drops out, and with it those that get it.
        while let Some((name, _)) = given.iter().find(|(name, value)| {
            ints.0.contains(name) && !value.as_ref().is_some_and(|value| ints.is_int(value))
        }) {
            ints.0.remove(name);
        }
        ints
    }

    fn is_int(&self, expression: &Expr) -> bool {
        match expression {
            Expr::IntegerConstant(..) => true,
            Expr::Variable(x, ..) => self.0.contains(x.1.as_str()),
            Expr::FnCall(call, _) => match (call.name.as_str(), &call.args[..]) {
                ("-" | "+" | "*" | "/" | "%" | "abs" | "max" | "min", args) => {
                    args.iter().all(|arg| self.is_int(arg))
                }
                ("param", [_, default, ..]) => self.is_int(default),
                ("round_half_even", [_]) => true,
                (name, _) => INT_CALLS.contains(&name),
            },
            Expr::MethodCall(call, _) => INT_CALLS.contains(&call.name.as_str()),
            Expr::Property(x, _) => INT_FIELDS.contains(&x.2.as_str()),
            Expr::Dot(x, ..) => self.is_int(&x.rhs),
            _ => false,
        }
    }
}

/// The upper end of a range, which is of the type of what runs over it.
fn end_of_range(over: &Expr) -> Option<Expr> {
    let Expr::FnCall(call, _) = over else { return None };
    (call.name.starts_with("..")).then(|| call.args.get(1).cloned())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::lint::testing::check;

    #[test]
    fn divisions_of_whole_numbers_are_told() {
        check(
            lint,
            &[
                ("3 / 4", Some(3)),
                ("let right = 0; let all = 4; right += 1; right / all", Some(47)),
                ("let m = [1]; m.len / 2", Some(20)),
                ("for i in 0..9 { i / 2; }", Some(19)),
                ("let n = param(\"n\", 8); n / 3", Some(26)),
                ("8 / 2", None),
                ("3.0 / 4", None),
                ("let right = 3.0; right / 4", None),
                ("let n = 3; n = 2.5; n / 2", None),
                ("let f = |x| x / 2; f.call(3)", None),
                ("let all = 4; 3.to_float() / all", None),
                ("let all = 4; 3.floor_div(all)", None),
            ],
        );
    }
}
