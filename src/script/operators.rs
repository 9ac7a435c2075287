//! Comparisons and division, which the engine would answer by itself.
//!
//! Built in, `"10" < 9` and `() > 3` are `false`, `inf > 1.0` is too, floats are equal within a tolerance, and `3 / 4` is
//! 0 without a word. Here a comparison is exact or an error, and a division of whole numbers that leaves a remainder is
//! told. The operators become custom ones of the engine, so that it has no answer of its own to fall back on.

use std::cmp::Ordering;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use rhai::{Array, Dynamic, Engine, EvalAltResult, Map, NativeCallContext, Position};

use super::args::type_of;
use super::bind::tensor::Tensor;
use super::context::Context;
use super::diagnostic::{Diagnostic, Place, Severity};
use super::error::{ScriptResult, fail};

/// The operators with their precedence in the engine's grammar.
const OPERATORS: [(&str, u8); 7] =
    [("==", 90), ("!=", 90), ("<", 130), ("<=", 130), (">", 130), (">=", 130), ("/", 180)];

/// An operator, and which orders of its two sides it holds for.
type Ordered = (&'static str, fn(Ordering) -> bool);

const ORDERED: [Ordered; 4] =
    [("<", Ordering::is_lt), ("<=", Ordering::is_le), (">", Ordering::is_gt), (">=", Ordering::is_ge)];

/// Reads the operators as custom ones, for an engine that only parses, too.
pub fn read(engine: &mut Engine) {
    for (operator, precedence) in OPERATORS {
        engine.disable_symbol(operator);
        let taken = engine.register_custom_operator(operator, precedence);
        debug_assert!(taken.is_ok(), "{operator}: {taken:?}");
    }
}

/// Registers what the operators do between values of the language; the bindings add their types.
pub fn register(engine: &mut Engine, context: &Arc<Context>) {
    engine.register_fn("==", |a: Dynamic, b: Dynamic| equal(&a, &b));
    engine.register_fn("!=", |a: Dynamic, b: Dynamic| equal(&a, &b).map(|equal| !equal));
    // The engine has functions of its own for these types, which come before those for any.
    engine.register_fn("==", |a: Array, b: Array| equal(&a.into(), &b.into()));
    engine.register_fn("!=", |a: Array, b: Array| equal(&a.into(), &b.into()).map(|equal| !equal));
    engine.register_fn("==", |a: Map, b: Map| equal(&a.into(), &b.into()));
    engine.register_fn("!=", |a: Map, b: Map| equal(&a.into(), &b.into()).map(|equal| !equal));
    for (operator, holds) in ORDERED {
        engine.register_fn(operator, move |a: Dynamic, b: Dynamic| -> ScriptResult<bool> {
            // NaN is neither above, nor below, nor equal.
            Ok(order(operator, &a, &b)?.is_some_and(holds))
        });
    }
    let context = context.clone();
    engine.register_fn("/", move |call: NativeCallContext, a: i64, b: i64| divide(&context, &call, a, b));
    engine.register_fn("/", |a: f64, b: f64| a / b);
    engine.register_fn("/", |a: i64, b: f64| a as f64 / b);
    engine.register_fn("/", |a: f64, b: i64| a / b as f64);
}

/// Whether two values are the same; those of different kinds cannot be compared, except with `()`.
pub fn equal(a: &Dynamic, b: &Dynamic) -> ScriptResult<bool> {
    if a.is_unit() || b.is_unit() {
        return Ok(a.is_unit() && b.is_unit());
    }
    if let (Some(a), Some(b)) = (a.read_lock::<Array>(), b.read_lock::<Array>()) {
        return all_equal(a.len() == b.len(), a.iter().zip(b.iter()));
    }
    if let (Some(a), Some(b)) = (a.read_lock::<Map>(), b.read_lock::<Map>()) {
        return all_equal(a.keys().eq(b.keys()), a.values().zip(b.values()));
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return Ok(a == b);
    }
    macro_rules! same {
        ($($ty:ty),*) => {
            $(if let (Some(a), Some(b)) = (a.read_lock::<$ty>(), b.read_lock::<$ty>()) {
                return Ok(*a == *b);
            })*
        };
    }
    same!(Range<i64>, RangeInclusive<i64>, rhai::Blob);
    Ok(order("==", a, b)?.is_some_and(Ordering::is_eq))
}

fn all_equal<'a>(
    alike: bool,
    mut pairs: impl Iterator<Item = (&'a Dynamic, &'a Dynamic)>,
) -> ScriptResult<bool> {
    pairs.try_fold(alike, |all, (a, b)| Ok(all && equal(a, b)?))
}

/// Whether two values are of one kind, so that they can be the same.
pub fn comparable(a: &Dynamic, b: &Dynamic) -> bool {
    let text = |x: &Dynamic| x.is_string() || x.is_char();
    let number = |x: &Dynamic| x.is_int() || x.is_float();
    a.is_unit() || b.is_unit() || text(a) && text(b) || number(a) && number(b) || a.type_id() == b.type_id()
}

/// Which of two numbers, texts or truth values is greater; none with NaN.
pub fn order(operator: &str, a: &Dynamic, b: &Dynamic) -> ScriptResult<Option<Ordering>> {
    match (a.as_int(), b.as_int(), a.as_float(), b.as_float()) {
        (Ok(a), Ok(b), ..) => return Ok(Some(a.cmp(&b))),
        (.., Ok(a), Ok(b)) => return Ok(a.partial_cmp(&b)),
        (Ok(a), _, _, Ok(b)) => return Ok(exact(a, b)),
        (_, Ok(b), Ok(a), _) => return Ok(exact(b, a).map(Ordering::reverse)),
        _ => {}
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return Ok(Some(a.cmp(&b)));
    }
    let text = |x: &Dynamic| match x.as_char() {
        Ok(letter) => Some(letter.to_string()),
        Err(_) => x.clone().into_immutable_string().ok().map(|text| text.to_string()),
    };
    if let (Some(a), Some(b)) = (text(a), text(b)) {
        return Ok(Some(a.cmp(&b)));
    }
    let refused = fail(format!("`{operator}` does not work between `{}` and `{}`", type_of(a), type_of(b)));
    Err(refused.maybe_help(cure(a, b)).into())
}

/// An int against a float, without rounding the int; none for NaN.
fn exact(int: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    // The bounds are exact powers of two.
    if float >= -(i64::MIN as f64) {
        return Some(Ordering::Less);
    }
    if float < i64::MIN as f64 {
        return Some(Ordering::Greater);
    }
    let whole = float.floor();
    let fraction = if float > whole { Ordering::Less } else { Ordering::Equal };
    Some(int.cmp(&(whole as i64)).then(fraction))
}

/// How to compare two values of different kinds after all.
fn cure(a: &Dynamic, b: &Dynamic) -> Option<String> {
    let either = |is: fn(&Dynamic) -> bool| is(a) || is(b);
    if either(|x| x.is::<Tensor>()) && either(|x| x.is_array()) {
        return Some("make a tensor of the array with `tensor([..])`".into());
    }
    if either(|x| x.is::<Tensor>()) && a.type_id() == b.type_id() {
        return Some("compare tensors one by one: `(a == b).all()`".into());
    }
    if either(|x| x.is_string()) && either(|x| x.is_int() || x.is_float()) {
        return Some("read the number in the text first: `parse_float(text)` or `parse_int(text)`".into());
    }
    if either(Dynamic::is_unit) {
        return Some("ask whether it is there first: `x != ()`".into());
    }
    None
}

fn divide(context: &Context, call: &NativeCallContext, a: i64, b: i64) -> ScriptResult<i64> {
    let refused =
        |what: &str| Box::new(EvalAltResult::ErrorArithmetic(format!("{what}: {a} / {b}"), Position::NONE));
    if b == 0 {
        return Err(refused("Division by zero"));
    }
    let quotient = a.checked_div(b).ok_or_else(|| refused("Division overflow"))?;
    if a % b != 0 {
        let source = call.call_source().unwrap_or_default().to_string();
        context.advise(&Diagnostic {
            severity: Severity::Warning,
            code: "division",
            message: format!("{a} / {b} is {quotient}: whole numbers are divided without their remainder"),
            help: Some(DIVISION_HELP.into()),
            place: Some(Place { source, position: call.call_position() }),
            ..Diagnostic::default()
        });
    }
    Ok(quotient)
}

/// How to write either of what a division of whole numbers may mean.
pub const DIVISION_HELP: &str =
    "write `a / b.to_float()` for the fraction, or `a.floor_div(b)` if the whole part is meant";

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn what_has_no_order_is_refused() {
        check(&[
            (
                "\"10\" < 9",
                "`<` does not work between `string` and `int`; read the number in the text first: \
                 `parse_float(text)` or `parse_int(text)`",
            ),
            ("() > 3", "`>` does not work between `()` and `int`; ask whether it is there first: `x != ()`"),
            ("[1] < [2]", "`<` does not work between `array` and `array`"),
            ("#{} == [1]", "`==` does not work between `map` and `array`"),
            ("true == 1", "`==` does not work between `bool` and `int`"),
            ("(|x| x) == (|x| x)", "`==` does not work between `function` and `function`"),
            ("0..2 == 0..2", "true"),
            (
                "[1] == tensor([1])",
                "`==` does not work between `array` and `Tensor`; make a tensor of the array with `tensor([..])`",
            ),
            ("tensor([1]) > \"a\"", "`>` does not work between `Tensor` and `string`"),
            ("resid_post(1) >= 2", "`>=` does not work between `Site` and `int`"),
            ("resid_post(1) == ()", "false"),
            (
                "[tensor([1])] == [tensor([1])]",
                "`==` does not work between `Tensor` and `Tensor`; compare tensors one by one: `(a == b).all()`",
            ),
        ]);
    }

    /// Every pair of types: only what has a meaning gives an answer.
    #[test]
    fn no_pair_of_types_is_silently_false() {
        let code = r#"
            let m = load();
            let values = [
                ["number", 1], ["number", 0.5], ["text", "a"], ["text", 'a'], ["bool", true], ["unit", ()],
                ["array", [1]], ["map", #{a: 1}], ["range", 0..2], ["tensor", tensor([1])], ["function", |x| x],
                ["site", resid_post(1)], ["patch", resid_post(1).zero()], ["metric", logit(5)], ["rng", rng(0)],
                ["position", tok("a")], ["plot", heatmap([[1, 2], [3, 4]])], ["model", m],
                ["tokens", m.tokens("a b")], ["trace", m.trace("a b")], ["python", python_random(0)],
            ];
            let odd = [];
            let answer = |compare| {
                let got = "refused";
                try { got = type_of(compare.call()); }
                catch (error) { if !error.message.contains("does not work between") { got = error.message; } }
                got
            };
            for a in values { for b in values {
                let pair = [a[0], b[0]];
                let mask = pair in [["tensor", "tensor"], ["tensor", "number"], ["number", "tensor"]];
                let ordered = a[0] == b[0] && a[0] in ["number", "text", "bool"];
                let equal = ordered || "unit" in pair || a[0] == b[0] && a[0] in ["array", "map", "range"];
                let wanted = |has| if mask { "Tensor" } else if has { "bool" } else { "refused" };
                let x = a[1]; let y = b[1];
                for found in [answer.call(|| x < y), answer.call(|| x <= y), answer.call(|| x > y), answer.call(|| x >= y)] {
                    if found != wanted.call(ordered) { odd.push([pair, "order", found]); }
                }
                for found in [answer.call(|| x == y), answer.call(|| x != y)] {
                    if found != wanted.call(equal) { odd.push([pair, "equal", found]); }
                }
            } }
            odd
        "#;
        check(&[(code, "[]")]);
    }

    #[test]
    fn numbers_compare_exactly() {
        check(&[
            (
                "let inf = 1.0 / 0.0; [inf > 1.0, inf == inf, -inf < inf, inf >= 1]",
                "[true, true, true, true]",
            ),
            (
                "let nan = 0.0 / 0.0; [nan == nan, nan != nan, nan < 1, nan >= 1]",
                "[false, true, false, false]",
            ),
            ("9007199254740993 == 9007199254740992.0", "false"),
            ("9007199254740993 > 9007199254740992.0", "true"),
            ("9223372036854775807 < 9223372036854775808.0", "true"),
            (
                "9223372036854775808",
                "9223372036854775808 does not fit an int of 64 bits; write it as a float, `9223372036854775808.0`, or as \
                 text, `\"9223372036854775808\"`",
            ),
            ("[-1 < -0.5, -1 > -1.5, 1.0 == 1, 0.0 == -0.0]", "[true, true, true, true]"),
            ("0.1 + 0.2 == 0.3", "false"),
            ("[1, [2.0, \"a\"]] == [1.0, [2, 'a']]", "true"),
            ("#{a: 1, b: ()} == #{b: (), a: 1}", "true"),
            ("[1, 2] != [1]", "true"),
            ("\"a\" < \"b\" && 'a' == \"a\"", "true"),
        ]);
    }

    #[test]
    fn operators_bind_and_run_as_before() {
        check(&[
            ("1 + 2 * 6 / 3 < 6 == true", "true"),
            ("2 * 6 / 3 / 2 - -1", "3"),
            ("let n = 1; let f = || { n += 1; 10 }; [n < f.call(), n]", "[true, 2]"),
            ("let x = 7.5; x /= 2; x", "3.75"),
            ("1 / 0", "division by zero: 1 / 0; test for 0 first; floats divide to infinity: `1.0 / 0.0`"),
            ("[7.floor_div(2), (-7).floor_div(2), 7.floor_div(-2), 6.floor_div(-2)]", "[3, -4, -4, -3]"),
            ("1.floor_div(0)", "`1.floor_div(0)` has no value"),
            ("switch 3 { 3 if 3 > 2 => 1, _ => 2 }", "1"),
        ]);
    }
}
