//! `let t = s.trim()`: a method that changes a value in place, taken for one that returns it changed.

use rhai::{AST, ASTNode, Expr, Stmt};

use super::Warning;

/// Methods that return nothing, whatever they are called on.
const METHODS: &[&str] = &[
    "append",
    "clear",
    "insert",
    "make_lower",
    "make_upper",
    "pad",
    "push",
    "replace",
    "reverse",
    "trim",
    "truncate",
];

/// Warns where the nothing that such a method returns is kept or handed over.
pub fn lint(ast: &AST, _: &str) -> Vec<Warning> {
    let mut found = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        if let [.., user, ASTNode::Expr(Expr::Dot(dot, ..)), ASTNode::Expr(Expr::MethodCall(call, at))] = path
            && matches!(&dot.rhs, Expr::MethodCall(_, end) if end == at)
            && METHODS.contains(&call.name.as_str())
            && uses(user)
        {
            found.push(Warning {
                code: "in-place",
                position: *at,
                message: format!("`{}` changes its value in place and returns nothing", call.name),
                help: "write it on a line of its own, and use the variable after it".into(),
            });
        }
        true
    });
    found
}

fn uses(user: &ASTNode) -> bool {
    match user {
        ASTNode::Stmt(statement) => {
            matches!(statement, Stmt::Var(..) | Stmt::Assignment(..) | Stmt::FnCall(..))
        }
        ASTNode::Expr(value) => matches!(value, Expr::FnCall(..) | Expr::MethodCall(..) | Expr::Array(..)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::lint;
    use crate::script::lint::testing::check;

    #[test]
    fn only_a_result_that_is_used_is_warned_of() {
        check(
            lint,
            &[
                ("let s = \" a\"; let t = s.trim();", Some(25)),
                ("let a = [1]; print(a.push(2));", Some(22)),
                ("let a = [1]; a = a.reverse();", Some(20)),
                ("let a = [1]; a.push(2); a", None),
                ("let a = [1]; [2].for_each(|x| a.push(x));", None),
                ("let s = \"a\"; let n = s.len();", None),
            ],
        );
    }
}
