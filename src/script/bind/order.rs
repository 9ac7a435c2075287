//! `sort`, `order` and `dedup` by a function of the script. The engine's own go on when the function fails.

use std::cmp::Ordering;

use rhai::{Array, Dynamic, FnPtr, NativeCallContext};

use crate::script::api::Api;
use crate::script::args::expected;
use crate::script::error::{ScriptResult, fail};

/// Registers the methods.
pub fn register(api: &mut Api) {
    for name in ["sort(before: function)", "sort_by(before: function)"] {
        api.method("array", name, "puts the items in order; `before(a, b)` says whether `a` comes before `b`, or gives a number below 0 if it does, above 0 if `b` does; equals stay in their order")
            .example("let a = [\"ccc\", \"a\", \"bb\"]; a.sort(|x, y| x.len - y.len); a", "[\"a\", \"bb\", \"ccc\"]")
            .native(|call: NativeCallContext, items: &mut Array, before: FnPtr| -> ScriptResult<()> {
                *items = sorted(&call, items, &before)?;
                Ok(())
            });
    }
    for name in ["order(before: function) -> array", "order_by(before: function) -> array"] {
        api.method("array", name, "the items in order, as a new array; as `sort`")
            .example("[3, 1, 2].order(|a, b| a > b)", "[3, 2, 1]")
            .native(|call: NativeCallContext, items: &mut Array, before: FnPtr| {
                sorted(&call, items, &before)
            });
    }
    api.method(
        "array",
        "dedup(same: function)",
        "of neighbours that are the same by `same(a, b)` keeps the first",
    )
    .example("let a = [1, 1.2, 3, 3.4]; a.dedup(|x, y| y - x < 0.5); a", "[1, 3]")
    .native(|call: NativeCallContext, items: &mut Array, same: FnPtr| -> ScriptResult<()> {
        let mut kept: Array = Array::new();
        for item in items.iter() {
            let repeats = match kept.last() {
                Some(last) => {
                    let answer: Dynamic = same.call_within_context(&call, (last.clone(), item.clone()))?;
                    answer
                        .as_bool()
                        .map_err(|_| expected("`true` or `false` of the function of `dedup`", &answer))?
                }
                None => false,
            };
            if !repeats {
                kept.push(item.clone());
            }
        }
        *items = kept;
        Ok(())
    });
}

/// Merges ever longer runs. Unlike the standard library's sort this ends with whatever the function says.
fn sorted(call: &NativeCallContext, items: &[Dynamic], before: &FnPtr) -> ScriptResult<Array> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let mut run = 1;
    while run < order.len() {
        let mut merged = Vec::with_capacity(order.len());
        for pair in order.chunks(2 * run) {
            let (mut left, mut right) = pair.split_at(run.min(pair.len()));
            while let ([first, rest @ ..], [second, others @ ..]) = (left, right) {
                match compared(call, before, &items[*first], &items[*second])? {
                    Ordering::Greater => {
                        merged.push(*second);
                        right = others;
                    }
                    _ => {
                        merged.push(*first);
                        left = rest;
                    }
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        order = merged;
        run *= 2;
    }
    Ok(order.into_iter().map(|i| items[i].clone()).collect())
}

fn compared(call: &NativeCallContext, before: &FnPtr, a: &Dynamic, b: &Dynamic) -> ScriptResult<Ordering> {
    let ask = |a: &Dynamic, b: &Dynamic| -> ScriptResult<Dynamic> {
        before.call_within_context(call, (a.clone(), b.clone()))
    };
    let answer = ask(a, b)?;
    if let Ok(is_before) = answer.as_bool() {
        // `|a, b| a < b` says no to equals, which keep their order.
        return Ok(match is_before || !ask(b, a)?.as_bool().unwrap_or(false) {
            true => Ordering::Less,
            false => Ordering::Greater,
        });
    }
    let order = answer.as_int().ok().map(|int| int.cmp(&0));
    let order = order.or_else(|| answer.as_float().ok().and_then(|x| x.partial_cmp(&0.0)));
    order.ok_or_else(|| match answer.is_float() {
        true => fail("the function of `sort` gave NaN, which says nothing of the order").into(),
        false => expected("a number or `true` or `false` of the function of `sort`", &answer).into(),
    })
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn order_is_that_of_the_function() {
        check(&[
            ("let a = [0.3, 0.1, 0.2]; a.sort(|x, y| x - y); a", "[0.1, 0.2, 0.3]"),
            (
                "let a = [\"b2\", \"a1\", \"b1\", \"a2\"]; a.sort(|x, y| x[0] < y[0]); a",
                "[\"a1\", \"a2\", \"b2\", \"b1\"]",
            ),
            ("let a = [2, 1, 3]; a.sort_by(|x, y| x <= y); a", "[1, 2, 3]"),
            ("let a = []; a.sort(|x, y| x - y); a", "[]"),
            ("let a = [5, 4, 3, 2, 1, 0]; a.sort(|x, y| 1); a.len", "6"),
        ]);
    }

    #[test]
    fn errors_of_the_function_are_not_lost() {
        check(&[
            ("let a = [3, 1, 2]; a.sort(|x, y| { throw \"no\" })", "no"),
            ("let a = [3, 3]; a.dedup(|x, y| { throw \"no\" })", "no"),
            (
                "[3, 1].order(|x, y| \"x\")",
                "expected a number or `true` or `false` of the function of `sort`, found `string`",
            ),
            (
                "[3, 1].order(|x, y| 0.0 / 0.0)",
                "the function of `sort` gave NaN, which says nothing of the order",
            ),
            ("let a = [3, 1, 2]; try { a.sort(|x, y| { throw \"no\" }) } catch {} a", "[3, 1, 2]"),
        ]);
    }
}
