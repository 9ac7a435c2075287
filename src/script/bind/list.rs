//! What arrays, ranges and texts can do beyond the engine's own functions.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use rhai::{Array, Dynamic, FnPtr, NativeCallContext};

use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Registers this file's functions.
pub fn register(api: &mut Api) {
    arrays(api);
    ranges(api);
    let context = api.context();
    api.operator("string", "*(n: int) -> string", "the text `n` times")
        .example("\"=\" * 5", "\"=====\"")
        .native(move |text: &str, n: i64| repeat(&context, text, n));
}

fn arrays(api: &mut Api) {
    api.function("sum(values: array) -> number", "the sum of numbers; of none 0")
        .example("[sum([1, 2, 3]), [0.5, 1].sum()]", "[6, 1.5]")
        .native(|values: Array| sum(&values));
    for (signature, summary, code, output, name) in [
        (
            "max(values: array) -> number",
            "the largest number; NaN if one of them is",
            "[3, 1, 2].max()",
            "3",
            "max",
        ),
        (
            "min(values: array) -> number",
            "the smallest number; NaN if one of them is",
            "min([3, 1.5, 2])",
            "1.5",
            "min",
        ),
    ] {
        api.function(signature, summary)
            .example(code, output)
            .native(move |values: Array| extreme(&values, name));
    }
}

fn sum(values: &Array) -> ScriptResult<Dynamic> {
    let too_large = || fail("the sum does not fit an int").help("add a float: `0.0 + …`");
    let mut ints = 0i64;
    let mut floats: Option<f64> = None;
    for (i, value) in values.iter().enumerate() {
        match (value.as_int(), floats) {
            (Ok(int), None) => ints = ints.checked_add(int).ok_or_else(too_large)?,
            _ => floats = Some(floats.unwrap_or(ints as f64) + item(value, i)?),
        }
    }
    Ok(floats.map_or(Dynamic::from(ints), Dynamic::from))
}

fn extreme(values: &Array, name: &'static str) -> ScriptResult<Dynamic> {
    let better = |a: f64, b: f64| if name == "max" { a > b } else { a < b };
    let mut best: Option<(f64, &Dynamic)> = None;
    for (i, value) in values.iter().enumerate() {
        let x = item(value, i)?;
        if best.is_none_or(|(y, _)| !y.is_nan() && (x.is_nan() || better(x, y))) {
            best = Some((x, value));
        }
    }
    let empty = || fail(format!("`{name}` of no numbers")).help("check what filtered the values");
    best.map(|(_, value)| value.clone()).ok_or_else(|| empty().into())
}

fn item(value: &Dynamic, i: usize) -> ScriptResult<f64> {
    args::number(value).map_err(|error| args::within(&format!("element {i}"), error))
}

fn ranges(api: &mut Api) {
    api.function(
        "range(start: int, end?: int, step?: int) -> range",
        "the ints from `start` up to `end`, which is left out; of one int those below it, from 0",
    )
    .example("range(3).to_array()", "[0, 1, 2]")
    .native(|end: i64| 0..end);
    let context = api.context();
    let ints = move |start: i64, end: i128| -> ScriptResult<_> {
        let len = (end - i128::from(start)).max(0);
        context.check_len(usize::try_from(len).unwrap_or(usize::MAX))?;
        Ok((0..len as i64).map(move |i| start + i))
    };
    let ints = Arc::new(ints);
    let up_to = |range: &Range<i64>| (range.start, i128::from(range.end));
    let through = |range: &RangeInclusive<i64>| (*range.start(), i128::from(*range.end()) + 1);

    let (a, b) = (ints.clone(), ints.clone());
    api.method("range", "to_array() -> array", "its ints as an array")
        .example("(0..3).to_array()", "[0, 1, 2]")
        .native(move |range: &mut Range<i64>| -> ScriptResult<Array> {
            let (start, end) = up_to(range);
            Ok(a(start, end)?.map(Dynamic::from).collect())
        })
        .native(move |range: &mut RangeInclusive<i64>| -> ScriptResult<Array> {
            let (start, end) = through(range);
            Ok(b(start, end)?.map(Dynamic::from).collect())
        });
    let (a, b) = (ints.clone(), ints.clone());
    api.method("range", "map(f: fn(int) -> any) -> array", "what `f` gives for each of its ints")
        .example("(0..4).map(|l| l * l)", "[0, 1, 4, 9]")
        .native(move |call: NativeCallContext, range: &mut Range<i64>, f: FnPtr| {
            let (start, end) = up_to(range);
            map(&call, a(start, end)?, &f)
        })
        .native(move |call: NativeCallContext, range: &mut RangeInclusive<i64>, f: FnPtr| {
            let (start, end) = through(range);
            map(&call, b(start, end)?, &f)
        });
    let (a, b) = (ints.clone(), ints);
    api.method("range", "filter(f: fn(int) -> bool) -> array", "those of its ints for which `f` is true")
        .example("(0..8).filter(|l| l % 3 == 0)", "[0, 3, 6]")
        .native(move |call: NativeCallContext, range: &mut Range<i64>, f: FnPtr| {
            let (start, end) = up_to(range);
            filter(&call, a(start, end)?, &f)
        })
        .native(move |call: NativeCallContext, range: &mut RangeInclusive<i64>, f: FnPtr| {
            let (start, end) = through(range);
            filter(&call, b(start, end)?, &f)
        });
}

fn map(call: &NativeCallContext, ints: impl Iterator<Item = i64>, f: &FnPtr) -> ScriptResult<Array> {
    ints.map(|i| f.call_within_context(call, (i,))).collect()
}

fn filter(call: &NativeCallContext, ints: impl Iterator<Item = i64>, f: &FnPtr) -> ScriptResult<Array> {
    let mut kept = Array::new();
    for i in ints {
        let keep: Dynamic = f.call_within_context(call, (i,))?;
        if keep.as_bool().map_err(|_| expected("`true` or `false` from the closure", &keep))? {
            kept.push(i.into());
        }
    }
    Ok(kept)
}

fn repeat(context: &Context, text: &str, n: i64) -> ScriptResult<String> {
    let n = usize::try_from(n)
        .map_err(|_| fail(format!("a text {n} times")).help("take a count that is not negative"))?;
    let limit = context.options.limits.string_bytes;
    if text.len().checked_mul(n).is_none_or(|bytes| bytes > limit) {
        return Err(fail(format!("a text of {} bytes {n} times is longer than {limit} bytes", text.len()))
            .help("repeat it fewer times")
            .into());
    }
    memory::reserve(text.len() * n)?;
    Ok(text.repeat(n))
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn numbers_keep_their_type_and_nan_wins() {
        check(&[
            ("[[].sum(), [1, 2].sum(), [1, 2.5].sum(), [-1, 4].max(), [2.5, 2].min()]", "[0, 3, 3.5, 4, 2]"),
            ("[[1.0, 0.0 / 0.0, 2.0].max().is_nan(), [0.0 / 0.0, 1].min().is_nan()]", "[true, true]"),
            ("[].max()", "`max` of no numbers; check what filtered the values"),
            ("sum([1, \"2\"])", "element 1: expected a number, found `string`"),
            ("sum([9223372036854775807, 1])", "the sum does not fit an int; add a float: `0.0 + …`"),
        ]);
    }

    #[test]
    fn ranges_of_any_size_are_answered() {
        check(&[
            (
                "[(2..5).map(|i| i), (2..=5).filter(|i| i > 3), (5..2).to_array(), (5..=4).to_array()]",
                "[[2, 3, 4], [4, 5], [], []]",
            ),
            ("(9223372036854775806..=9223372036854775807).to_array().len()", "2"),
            (
                "(-9223372036854775808..9223372036854775807).map(|i| i)",
                "an array of 18446744073709551615 values is too long: it may have 10000000; take fewer at once, or allow more: \
                 `--max-array`",
            ),
            ("(0..3).filter(|i| i)", "expected `true` or `false` from the closure, found `int`"),
            ("\"ab\" * 0", "\"\""),
            ("\"ab\" * -1", "a text -1 times; take a count that is not negative"),
            (
                "\"ab\" * 9223372036854775807",
                "a text of 2 bytes 9223372036854775807 times is longer than 64000000 bytes; repeat it fewer times",
            ),
        ]);
    }
}
