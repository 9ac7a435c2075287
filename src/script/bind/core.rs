//! Parameters, assertions, text and numbers that the engine lacks.

use std::cell::Cell;

use fancy_regex::Captures;
use rhai::{Array, Dynamic, ImmutableString, Map, NativeCallContext};

use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::context::apart_if_long;
use crate::script::error::{Failure, ScriptResult, fail};
use crate::script::format;
use crate::script::pattern::Pattern;

/// Registers this file's functions.
pub fn register(api: &mut Api) {
    api.ty::<Failure>("Error", "what `catch` receives: `.message` and `.help`", ToString::to_string);
    api.getter("Error", "message -> string", "what is wrong")
        .example(
            "let m = \"\"; try { assert(false, \"too far\") } catch (e) { m = e.message } m",
            "\"too far\"",
        )
        .native(|error: &mut Failure| error.message.clone());
    api.getter("Error", "help -> string", "the cure; `()` if there is none")
        .example("let h = 0; try { parse_int(\"x\", 99) } catch (e) { h = e.help } h", "")
        .native(|error: &mut Failure| error.help.clone().map_or(Dynamic::UNIT, Dynamic::from));
    // What a script throws is caught as it is, mostly a text; it is read like any other error.
    api.getter("string", "message -> string", "of a text that was thrown: the text")
        .example("let m = (); try { throw \"too far\" } catch (e) { m = e.message } m", "\"too far\"")
        .native(|text: &mut ImmutableString| text.clone());
    api.getter("string", "help -> ()", "of a text that was thrown: nothing")
        .example("let h = 0; try { throw \"too far\" } catch (e) { h = e.help } h", "")
        .native(|_: &mut ImmutableString| ());
    params(api);
    text(api);
    numbers(api);
}

fn params(api: &mut Api) {
    let context = api.context();
    let read = move |name: &str, default: Dynamic| -> ScriptResult<Dynamic> {
        let value = context.params.value(name, default)?;
        context.record.parameter(name, &value);
        Ok(value)
    };
    let read_with_help = read.clone();
    api.function(
        "param(name: string, default: any, help?: string) -> any",
        "a value that `--set name=value` sets, of the default's type",
    )
    .example("param(\"layer\", 6, \"which layer to patch\")", "6")
    .native(move |name: &str, default: Dynamic| read(name, default))
    .native(move |name: &str, default: Dynamic, _help: &str| read_with_help(name, default));

    api.function("assert(condition: bool, message?: string)", "ends the script unless the condition holds")
        .example("assert(1 + 1 == 2, \"arithmetic\")", "")
        .native(|condition: bool| assert(condition, "assertion failed"))
        .native(|condition: bool, message: &str| assert(condition, message));

    api.function(
        "assert_equal(found: any, expected: any, message?: string)",
        "ends the script unless both are equal, and then shows them",
    )
    .example("assert_equal([1, 2].len, 2)", "")
    .native(|call: NativeCallContext, found: Dynamic, expected: Dynamic| {
        assert_equal(&call, &found, &expected, "")
    })
    .native(|call: NativeCallContext, found: Dynamic, expected: Dynamic, message: &str| {
        assert_equal(&call, &found, &expected, message)
    });
}

fn assert_equal(
    call: &NativeCallContext,
    found: &Dynamic,
    expected: &Dynamic,
    message: &str,
) -> ScriptResult<()> {
    let equal: Dynamic = call.call_native_fn("==", (found.clone(), expected.clone()))?;
    let equal = match equal.as_bool() {
        Ok(equal) => equal,
        // Of tensors it is a mask.
        Err(_) => call.call_native_fn("all", (equal,))?,
    };
    if equal {
        return Ok(());
    }
    let values = format!("found {}, expected {}", shown(call, found)?, shown(call, expected)?);
    let separator = if message.is_empty() { "" } else { ": " };
    Err(fail(format!("{message}{separator}{values}")).into())
}

fn assert(condition: bool, message: &str) -> ScriptResult<()> {
    if condition { Ok(()) } else { Err(fail(message).into()) }
}

fn text(api: &mut Api) {
    api.function(
        "print(values...: any)",
        "a line of the values, with blanks between them; up to eight values",
    )
    .example("print(\"layers\", 3, [0.5])", "")
    .variadic(2..=8, |call, values| {
        let values: Result<Vec<_>, _> = values.iter().map(|value| shown(call, value)).collect();
        // The engine prints what a function of this name returns.
        Ok(values?.join(" ").into())
    });

    api.function(
        "fmt(template: string, values...: any) -> string",
        "fills `{}`, `{:.3f}`, `{:>8}`, … as Python's `format` does; up to six values",
    )
    .example("fmt(\"{:.3f} of {}\", 2.0 / 3.0, \"all\")", "\"0.667 of all\"")
    .variadic(2..=7, |call, values| match values {
        [template, values @ ..] => Ok(fill(call, &args::string(template)?, values)?.into()),
        [] => Ok(Dynamic::UNIT),
    });

    api.method(
        "string",
        "format(values: map) -> string",
        "fills `{name}`, `{name:.3}`, … with the values of those names",
    )
    .example("\"{who} has {n:03d}\".format(#{who: \"Ada\", n: 7})", "\"Ada has 007\"")
    .native(|call: NativeCallContext, template: &str, values: Map| -> ScriptResult<String> {
        let show = |value: &Dynamic| shown(&call, value).unwrap_or_else(|_| value.to_string());
        Ok(format::format_map(template, &values, show)?)
    });

    api.function(
        "regex_find_all(pattern: string, text: string) -> array",
        "all matches, from left to right; with one group its text, with several an array of their texts, as Python's \
         `re.findall`, whose dialect this is (with `\\p{..}` beside)",
    )
    .example("regex_find_all(\"[a-z]+\", \"one 2 three\")", "[\"one\", \"three\"]")
    .native(find_all);

    api.function("join(items: array, separator: string) -> string", "the items as text, one after the other")
        .example("join([1, \"a\", 2.5], \", \")", "\"1, a, 2.5\"")
        .native(|call: NativeCallContext, items: Array, separator: &str| -> ScriptResult<String> {
            let items = items.iter().map(|item| shown(&call, item)).collect::<ScriptResult<Vec<String>>>()?;
            let len: usize = items.iter().map(String::len).sum();
            memory::reserve(len.saturating_add(items.len().saturating_mul(separator.len())))?;
            Ok(items.join(separator))
        });
}

/// Steps of a search through a byte of text.
const SEARCH: usize = 64;

fn find_all(call: NativeCallContext, pattern: &str, text: &str) -> ScriptResult<Array> {
    let (pattern, text) = (pattern.to_string(), text.to_string());
    // 0 stands for no limit.
    let most = Some(call.engine().max_array_size()).filter(|most| *most > 0).unwrap_or(usize::MAX);
    Ok(apart_if_long(text.len().saturating_mul(SEARCH), move || matches(&pattern, &text, most))??)
}

/// Matches of at most `most` texts in all.
fn matches(pattern: &str, text: &str, most: usize) -> Result<Array, Failure> {
    let texts = Cell::new(0);
    let group = |found: &Captures<'_, str>, i: usize| {
        Dynamic::from(found.get(i).map_or("", |part| part.as_str()).to_string())
    };
    let value = |found: &Captures<'_, str>| {
        texts.set(texts.get() + found.len().max(2) - 1);
        if texts.get() > most {
            return Err(fail(format!("the matches are too many: an array may have {most} values"))
                .help("search in parts of the text, or allow more: `--max-array`"));
        }
        Ok(match found.len() {
            1 => group(found, 0),
            2 => group(found, 1),
            n => (1..n).map(|i| group(found, i)).collect::<Array>().into(),
        })
    };
    Pattern::new(pattern)?.find_all(text, value)
}

fn fill(call: &NativeCallContext, template: &str, values: &[Dynamic]) -> ScriptResult<String> {
    Ok(format::format(template, values, |value| shown(call, value).unwrap_or_else(|_| value.to_string()))?)
}

/// The value as `print` shows it.
fn shown(call: &NativeCallContext, item: &Dynamic) -> ScriptResult<String> {
    call.call_native_fn(rhai::FUNC_TO_STRING, (item.clone(),))
}

fn numbers(api: &mut Api) {
    api.function(
        "round_half_even(x: number, digits?: int) -> number",
        "rounds halves to even as Python's `round` does: to an int, or to a float with `digits`",
    )
    .example("[round_half_even(2.5), round_half_even(0.125, 2)]", "[2, 0.12]")
    .native(|x: Dynamic| -> ScriptResult<i64> { to_int(args::number(&x)?.round_ties_even()) })
    .native(|x: Dynamic, digits: i64| -> ScriptResult<f64> {
        let digits = usize::try_from(digits).ok().filter(|digits| *digits <= 300);
        let digits = digits.ok_or_else(|| fail("expected 0 to 300 digits"))?;
        // Printing rounds the exact binary value half to even, which scaling by a power of ten would not.
        let text = format!("{:.digits$}", args::number(&x)?);
        text.parse().map_err(|_| expected("a number", &x).into())
    });
    api.method("int", "floor_div(divisor: int) -> int", "the quotient rounded down, as Python's `//`")
        .example("[7.floor_div(2), (-7).floor_div(2)]", "[3, -4]")
        .native(|a: i64, b: i64| floor_div(a, b));
    api.function("max(a: number, b: number) -> number", "the larger of two; NaN if one of them is")
        .example("[max(2, 3), max(0.5, 0.0 / 0.0)]", "[3, NaN]")
        .native(|a: f64, b: f64| larger(a, b))
        .native(|a: i64, b: f64| larger(a as f64, b))
        .native(|a: f64, b: i64| larger(a, b as f64));
    api.function("min(a: number, b: number) -> number", "the smaller of two; NaN if one of them is")
        .example("[min(2, 3), min(0.5, 0.0 / 0.0)]", "[2, NaN]")
        .native(|a: f64, b: f64| -larger(-a, -b))
        .native(|a: i64, b: f64| -larger(-(a as f64), -b))
        .native(|a: f64, b: i64| -larger(-a, -(b as f64)));
    api.method("float", "to_int() -> int", "the number without what stands after its point; NaN is refused")
        .example("[2.7.to_int(), (-2.7).to_int()]", "[2, -2]")
        .native(|x: f64| to_int(x.trunc()));
}

fn floor_div(a: i64, b: i64) -> ScriptResult<i64> {
    let quotient =
        a.checked_div_euclid(b).ok_or_else(|| fail(format!("`{a}.floor_div({b})` has no value")))?;
    // Euclid's remainder is never negative, the one that belongs to rounding down has the sign of the divisor.
    Ok(if b < 0 && a.rem_euclid(b) != 0 { quotient - 1 } else { quotient })
}

fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The int that `x` is; NaN and what is too large are refused.
fn to_int(x: f64) -> ScriptResult<i64> {
    // The bounds are exact powers of two; NaN fails both.
    match x >= i64::MIN as f64 && x < -(i64::MIN as f64) {
        true => Ok(x as i64),
        false => Err(fail(format!("`{x}` does not fit an int")).into()),
    }
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn what_is_not_equal_is_shown() {
        check(&[
            ("assert_equal(3, 4)", "found 3, expected 4"),
            ("assert_equal([1, \"a\"], [1, \"a\"])", ""),
            ("assert_equal(tensor([1, 2]), tensor([1, 2]))", ""),
            (
                "assert_equal(tensor([1.5]), tensor([2.5]), \"the row\")",
                "the row: found Tensor [1] [1.5], expected Tensor [1] [2.5]",
            ),
        ]);
    }

    #[test]
    fn matches_are_those_of_pythons_findall() {
        check(&[
            ("regex_find_all(`(\\d)(\\w)?`, \"1a 2\")", "[[\"1\", \"a\"], [\"2\", \"\"]]"),
            ("regex_find_all(`x=(\\d+)`, \"x=1 y=2 x=34\")", "[\"1\", \"34\"]"),
            (
                "regex_find_all(\"(\", \"\")",
                "`(` is no regular expression: opening parenthesis without closing parenthesis; write a backslash before a special character to mean \
                 itself, and strings between backticks",
            ),
        ]);
    }
}
