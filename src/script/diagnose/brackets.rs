//! Brackets that are left open, or closed twice.

use super::spot::Spot;
use super::syntax::Advice;

/// The first bracket that is not closed, or one too many.
pub fn find(spot: &Spot) -> Option<Advice> {
    let mut open = Vec::new();
    for i in 0..spot.len() {
        let token = spot.token(i);
        let fits = |open: &usize| matches!((spot.token(*open), token), ("(", ")") | ("[", "]") | ("{", "}"));
        match token {
            "(" | "[" | "{" => open.push(i),
            ")" | "]" | "}" => match open.pop() {
                Some(opened) if fits(&opened) => {}
                Some(opened) => return Some(unclosed(spot, opened)),
                None => {
                    return Some(Advice {
                        message: Some(format!("`{token}` closes nothing")),
                        help: Some("drop it, or open it before".into()),
                        at: Some(spot.start(i)),
                    });
                }
            },
            _ => {}
        }
    }
    // Of several the engine was inside the innermost one where it stopped.
    open.iter().rev().find(|i| **i < spot.at()).map(|opened| unclosed(spot, *opened))
}

fn unclosed(spot: &Spot, opened: usize) -> Advice {
    let (open, close) = match spot.token(opened) {
        "(" => ("(", ")"),
        "[" => ("[", "]"),
        _ => ("{", "}"),
    };
    Advice {
        message: Some(format!("`{open}` is not closed")),
        help: Some(format!("add `{close}` where it ends")),
        at: Some(spot.start(opened)),
    }
}
