//! `` `a\nb` ``: a text in backticks takes a backslash as it is.

use rhai::{AST, ASTNode, Expr, Position, Stmt};

use super::Warning;
use crate::script::source::token_at;

/// Warns of `\n` and `\t` in backticks, unless the text is, or looks like, a regular expression or TeX.
pub fn lint(ast: &AST, text: &str) -> Vec<Warning> {
    let mut found = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        let (node, escape) = match path {
            // The pieces of a text are no texts of their own.
            [.., ASTNode::Expr(Expr::InterpolatedString(..)), ASTNode::Expr(Expr::StringConstant(..))] => {
                return true;
            }
            [.., ASTNode::Expr(node @ Expr::StringConstant(piece, _))] => (node, escape(piece)),
            [.., ASTNode::Expr(node @ Expr::InterpolatedString(pieces, _))] => {
                let pieces =
                    pieces.iter().filter_map(|piece| piece.get_literal_value(None)?.into_string().ok());
                (node, escape(&pieces.collect::<String>()))
            }
            _ => return true,
        };
        if let Some(escape) = escape
            && text[token_at(text, node.position())].starts_with('`')
            && !is_pattern(path)
        {
            found.push(warning(node.position(), escape));
        }
        true
    });
    found
}

/// The escape that was meant; none where another backslash shows that backslashes are meant.
fn escape(text: &str) -> Option<char> {
    let mut escapes = text.match_indices('\\').map(|(at, _)| &text[at + 1..]);
    let first = escapes.clone().next()?.chars().next().filter(|c| matches!(c, 'n' | 't'))?;
    let plain = |rest: &str| rest.starts_with(['n', 't']) && !TEX.iter().any(|word| rest.starts_with(word));
    escapes.all(plain).then_some(first)
}

/// Words of TeX that begin like an escape.
const TEX: &[&str] =
    &["nabla", "neg", "neq", "ne ", "not", "nu", "tan", "tau", "text", "theta", "tilde", "times", "to "];

/// Whether the text goes to a function that reads backslashes itself.
fn is_pattern(path: &[ASTNode]) -> bool {
    let callee = match path.iter().rev().nth(1) {
        Some(
            ASTNode::Expr(Expr::FnCall(call, _) | Expr::MethodCall(call, _))
            | ASTNode::Stmt(Stmt::FnCall(call, _)),
        ) => call.name.as_str(),
        _ => return false,
    };
    callee.starts_with("regex")
}

fn warning(position: Position, escape: char) -> Warning {
    let what = if escape == 'n' { "line break" } else { "tab" };
    Warning {
        code: "backslash",
        position,
        message: format!("`\\{escape}` between backticks is a backslash and a letter, not a {what}"),
        help: format!(
            "write the {what} itself, or the text in double quotes; a backslash that is meant is `\\\\{escape}` there"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::lint;
    use crate::script::lint::testing::check;

    #[test]
    fn only_what_is_no_pattern_and_no_tex_is_warned_of() {
        check(
            lint,
            &[
                (r"print(`a\nb`)", Some(7)),
                (r"let x = 1; print(`${x}\tb`)", Some(18)),
                (r"let x = 1; print(`a\n${x} b`)", Some(18)),
                ("let f = |x| `a\\t${x}`; f.call(1)", Some(13)),
                (r#"print("a\nb")"#, None),
                (r#"print("`a\\nb`")"#, None),
                ("print(`a\nb`)", None),
                (r"print(regex_find_all(`a\nb`, ``))", None),
                (r"let p = `\d+\n`;", None),
                (r"let title = `$\theta$ over $\nu$`;", None),
                (r"let path = `C:\data\new`;", None),
            ],
        );
    }
}
