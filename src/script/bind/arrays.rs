//! The engine's own methods of arrays and maps whose answers would be silently wrong.
//!
//! As the engine has them, `filter` and its kin take what is no `bool` for `false`, `for_each` hands an index for the
//! element, `sort` leaves NaN anywhere, and `dedup` and `contains` take what cannot be compared for different. `sort`,
//! `order` and `dedup` by a function are in [`order`](super::order).

use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};

use super::tensor::rising;
use crate::script::api::Api;
use crate::script::args::type_of;
use crate::script::error::{ScriptResult, fail};
use crate::script::operators::{comparable, equal, order};

/// Registers the methods.
pub fn register(api: &mut Api) {
    sorting(api);
    asking(api);
    searching(api);
    sifting(api);
}

type Call<'a> = NativeCallContext<'a>;

fn sorting(api: &mut Api) {
    api.method("array", "sort()", "puts numbers, texts or truth values in rising order, NaN last")
        .example("let a = [2, 3.5, 1]; a.sort(); a", "[1, 2, 3.5]")
        .native(|array: &mut Array| -> ScriptResult<()> {
            *array = sorted("sort", array)?;
            Ok(())
        });
    api.method("array", "sort_desc()", "puts numbers, texts or truth values in falling order, NaN first")
        .example("let a = [2, 3.5, 1]; a.sort_desc(); a", "[3.5, 2, 1]")
        .native(|array: &mut Array| -> ScriptResult<()> {
            *array = falling("sort_desc", array)?;
            Ok(())
        });
    api.method("array", "order() -> array", "the items in rising order, as a new array, NaN last")
        .example("[3, 1, 2].order()", "[1, 2, 3]")
        .native(|array: &mut Array| sorted("order", array));
    api.method("array", "order_desc() -> array", "the items in falling order, as a new array, NaN first")
        .example("[3, 1, 2].order_desc()", "[3, 2, 1]")
        .native(|array: &mut Array| falling("order_desc", array));
}

/// A sorted copy, with NaN above all numbers; values without an order are refused.
fn sorted(name: &str, array: &Array) -> ScriptResult<Array> {
    // What has an order with the first is of its kind, and so has one with all the others.
    for item in array {
        if order(name, item, &array[0]).is_err() {
            let (a, b) = (type_of(&array[0]), type_of(item));
            return Err(fail(format!("`{name}`: `{a}` and `{b}` have no order"))
                .help(format!("give a function: `.{name}(|a, b| a.score - b.score)`"))
                .into());
        }
    }
    let number = |x: &Dynamic| x.as_float().unwrap_or(0.0);
    let mut sorted = array.clone();
    sorted.sort_by(|a, b| order(name, a, b).ok().flatten().unwrap_or_else(|| rising(number(a), number(b))));
    Ok(sorted)
}

fn falling(name: &str, array: &Array) -> ScriptResult<Array> {
    let mut falling = sorted(name, array)?;
    falling.reverse();
    Ok(falling)
}

/// What a function says of an element; it may take its index, too.
fn asked(call: &Call, name: &str, function: &FnPtr, item: &mut Dynamic, i: usize) -> ScriptResult<bool> {
    let said = function.call_raw_with_extra_args(name, call, Some(item), [], [(i as i64).into()], Some(0))?;
    said.as_bool().map_err(|_| not_a_truth(name, &said))
}

fn not_a_truth(name: &str, said: &Dynamic) -> Box<rhai::EvalAltResult> {
    let help = match type_of(said).as_str() {
        "Tensor" => "ask the mask: `.any()` or `.all()`",
        _ => "compare, as in `|x| x > 0`",
    };
    fail(format!("the function of `{name}` gave a `{}`, not `true` or `false`", type_of(said)))
        .help(help)
        .into()
}

fn asking(api: &mut Api) {
    api.method(
        "array",
        "for_each(function: function)",
        "calls a function with each element, or with each and its index",
    )
    .example("let sum = 0; [10, 20].for_each(|x| sum += x); sum", "30")
    .native(|call: Call, array: &mut Array, function: FnPtr| -> ScriptResult<()> {
        for (i, item) in array.iter_mut().enumerate() {
            let index = [(i as i64).into()];
            let _ = function.call_raw_with_extra_args("for_each", &call, Some(item), [], index, Some(0))?;
        }
        Ok(())
    });
    api.method("array", "filter(keep: function) -> array", "the elements of which a function says `true`")
        .example("[1, 5, 3].filter(|x| x > 2)", "[5, 3]")
        .native(|call: Call, array: &mut Array, keep: FnPtr| -> ScriptResult<Array> {
            let mut kept = Array::new();
            for (i, item) in array.iter_mut().enumerate() {
                if asked(&call, "filter", &keep, item, i)? {
                    kept.push(item.clone());
                }
            }
            Ok(kept)
        });
    api.method("array", "some(holds: function) -> bool", "whether a function says `true` of any element")
        .example("[1, 5, 3].some(|x| x > 4)", "true")
        .native(|call: Call, array: &mut Array, holds: FnPtr| {
            place(&call, "some", array, &holds, 0).map(|place| place.is_some())
        });
    api.method("array", "all(holds: function) -> bool", "whether a function says `true` of every element")
        .example("[1, 5, 3].all(|x| x > 4)", "false")
        .native(|call: Call, array: &mut Array, holds: FnPtr| -> ScriptResult<bool> {
            let mut items = array.iter_mut().enumerate();
            items.try_fold(true, |all, (i, item)| Ok(all && asked(&call, "all", &holds, item, i)?))
        });
}

/// The first index, from `start` on, of which a function says `true`.
fn place(
    call: &Call,
    name: &str,
    array: &mut Array,
    holds: &FnPtr,
    start: usize,
) -> ScriptResult<Option<usize>> {
    for (i, item) in array.iter_mut().enumerate().skip(start) {
        if asked(call, name, holds, item, i)? {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// An index counted from the end if negative, as the engine takes it.
fn start_of(array: &Array, start: i64) -> usize {
    let len = array.len() as i64;
    let start = if start < 0 { start.saturating_add(len).max(0) } else { start };
    start.min(len) as usize
}

fn searching(api: &mut Api) {
    let index = |place: Option<usize>| place.map_or(-1, |place| place as i64);
    api.method(
        "array",
        "index_of(what: any, start?: int) -> int",
        "where a value stands first, or an element of which a function says `true`; -1 if nowhere",
    )
    .example("[[3, 5].index_of(5), [3, 5].index_of(|x| x > 9)]", "[1, -1]")
    .native(move |array: &mut Array, value: Dynamic| found(array, "index_of", &value, 0).map(index))
    .native(move |array: &mut Array, value: Dynamic, start: i64| {
        found(array, "index_of", &value, start_of(array, start)).map(index)
    })
    .native(move |call: Call, array: &mut Array, holds: FnPtr| {
        place(&call, "index_of", array, &holds, 0).map(index)
    })
    .native(move |call: Call, array: &mut Array, holds: FnPtr, start: i64| {
        let start = start_of(array, start);
        place(&call, "index_of", array, &holds, start).map(index)
    });
    let item =
        |array: &Array, place: Option<usize>| place.map_or(Dynamic::UNIT, |place| array[place].clone());
    api.method(
        "array",
        "find(holds: function, start?: int) -> any",
        "the first element of which a function says `true`, or `()`",
    )
    .example("[1, 5, 3].find(|x| x > 2)", "5")
    .native(move |call: Call, array: &mut Array, holds: FnPtr| -> ScriptResult<Dynamic> {
        let place = place(&call, "find", array, &holds, 0)?;
        Ok(item(array, place))
    })
    .native(move |call: Call, array: &mut Array, holds: FnPtr, start: i64| -> ScriptResult<Dynamic> {
        let start = start_of(array, start);
        let place = place(&call, "find", array, &holds, start)?;
        Ok(item(array, place))
    });
    api.method(
        "array",
        "contains(value: any) -> bool",
        "whether an element equals the value; `value in array` asks the same",
    )
    .example("[3 in [1, 3], [1, 3].contains(2)]", "[true, false]")
    .native(|array: &mut Array, value: Dynamic| {
        found(array, "contains", &value, 0).map(|place| place.is_some())
    });
}

/// Where a value stands first, from `start` on. Elements of other kinds are passed by, but not if all are.
fn found(array: &Array, name: &str, value: &Dynamic, start: usize) -> ScriptResult<Option<usize>> {
    if let Some(other) = array.first().filter(|_| !array.iter().any(|item| comparable(item, value))) {
        let message = format!("`{name}`: an array of `{}` holds no `{}`", type_of(other), type_of(value));
        return Err(fail(message).help("look for a value of the same kind").into());
    }
    for (i, item) in array.iter().enumerate().skip(start) {
        if comparable(item, value) && equal(item, value)? {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

fn sifting(api: &mut Api) {
    api.method(
        "array",
        "drain(takes: function) -> array",
        "takes out the elements of which a function says `true`",
    )
    .example("let a = [1, 5, 3]; [a.drain(|x| x > 2), a]", "[[5, 3], [1]]")
    .native(|call: Call, array: &mut Array, takes: FnPtr| sift(&call, "drain", array, &takes, true));
    api.method(
        "array",
        "retain(keeps: function) -> array",
        "takes out the elements of which a function says `false`",
    )
    .example("let a = [1, 5, 3]; [a.retain(|x| x > 2), a]", "[[1], [5, 3]]")
    .native(|call: Call, array: &mut Array, keeps: FnPtr| sift(&call, "retain", array, &keeps, false));
    api.method("array", "dedup()", "of neighbours that are equal keeps the first")
        .example("let a = [1, 1, 2, 1]; a.dedup(); a", "[1, 2, 1]")
        .native(dedup);
    type Keep = fn(&Call, &str, &FnPtr, (&rhai::Identifier, &mut Dynamic)) -> ScriptResult<bool>;
    let says: Keep = |call, name, function, (key, value)| {
        let said =
            function.call_raw_with_extra_args(name, call, Some(value), [key.as_str().into()], [], Some(1))?;
        said.as_bool().map_err(|_| not_a_truth(name, &said))
    };
    api.method("map", "filter(keep: function) -> map", "the entries of which a function says `true`")
        .example("#{a: 1, b: 5}.filter(|key, x| x > 2)", "#{b: 5}")
        .native(move |call: Call, map: &mut Map, keep: FnPtr| -> ScriptResult<Map> {
            let mut kept = Map::new();
            for (key, value) in map.iter_mut() {
                if says(&call, "filter", &keep, (key, value))? {
                    kept.insert(key.clone(), value.clone());
                }
            }
            Ok(kept)
        });
    for (name, signature, summary, code, output, taken) in [
        (
            "drain",
            "drain(takes: function) -> map",
            "takes out the entries of which a function says `true`",
            "let m = #{a: 1, b: 5}; [m.drain(|key, x| x > 2), m]",
            "[#{b: 5}, #{a: 1}]",
            true,
        ),
        (
            "retain",
            "retain(keeps: function) -> map",
            "takes out the entries of which a function says `false`",
            "let m = #{a: 1, b: 5}; [m.retain(|key, x| x > 2), m]",
            "[#{a: 1}, #{b: 5}]",
            false,
        ),
    ] {
        api.method("map", signature, summary).example(code, output).native(
            move |call: Call, map: &mut Map, function: FnPtr| -> ScriptResult<Map> {
                let (mut out, mut left) = (Map::new(), Map::new());
                for (key, value) in map.iter_mut() {
                    let side = if says(&call, name, &function, (key, value))? == taken {
                        &mut out
                    } else {
                        &mut left
                    };
                    side.insert(key.clone(), value.clone());
                }
                *map = left;
                Ok(out)
            },
        );
    }
}

/// Takes out the elements of which a function says `out`.
fn sift(call: &Call, name: &str, array: &mut Array, function: &FnPtr, out: bool) -> ScriptResult<Array> {
    let said = array.iter_mut().enumerate().map(|(i, item)| asked(call, name, function, item, i));
    let said = said.collect::<ScriptResult<Vec<bool>>>()?;
    let (mut taken, mut left) = (Array::new(), Array::new());
    for (item, said) in std::mem::take(array).into_iter().zip(said) {
        if said == out { taken.push(item) } else { left.push(item) }
    }
    *array = left;
    Ok(taken)
}

fn dedup(array: &mut Array) -> ScriptResult<()> {
    let mut kept = Array::new();
    for item in array.iter() {
        let repeats = match kept.last() {
            Some(last) => comparable(last, item) && equal(last, item)?,
            None => false,
        };
        if !repeats {
            kept.push(item.clone());
        }
    }
    *array = kept;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn sorting_takes_what_has_an_order() {
        check(&[
            ("let nan = 0.0 / 0.0; let a = [nan, 2, -nan, 1.5]; a.sort(); a", "[1.5, 2, NaN, NaN]"),
            ("[0.0 / 0.0, 1, 2.5].order_desc()", "[NaN, 2.5, 1]"),
            ("[\"b\", \"a\"].order()", "[\"a\", \"b\"]"),
            ("[].order()", "[]"),
            (
                "let a = [1, \"a\"]; a.sort(); a",
                "`sort`: `int` and `string` have no order; give a function: `.sort(|a, b| a.score - b.score)`",
            ),
            (
                "[(), ()].order()",
                "`order`: `()` and `()` have no order; give a function: `.order(|a, b| a.score - b.score)`",
            ),
        ]);
    }

    #[test]
    fn questions_want_true_or_false() {
        check(&[
            (
                "[1, 2].filter(|x| x)",
                "the function of `filter` gave a `int`, not `true` or `false`; compare, as in `|x| x > 0`",
            ),
            (
                "[tensor([1])].some(|t| t > 0)",
                "the function of `some` gave a `Tensor`, not `true` or `false`; ask the mask: `.any()` or `.all()`",
            ),
            ("[5, 6].filter(|x, i| i > 0)", "[6]"),
            ("let seen = []; [5, 6].for_each(|x, i| seen.push([x, i])); seen", "[[5, 0], [6, 1]]"),
            ("let a = [1, 2]; a.for_each(|| this += 1); a", "[2, 3]"),
            ("[1, \"a\", ()].contains(\"a\")", "true"),
            (
                "[1, 2].contains(\"1\")",
                "`contains`: an array of `int` holds no `string`; look for a value of the same kind",
            ),
            ("[1, 2].index_of(2.0)", "1"),
            ("[].contains(1)", "false"),
            (
                "[1, 2] == [1, \"2\"]",
                "`==` does not work between `int` and `string`; read the number in the text first: `parse_float(text)` or `parse_int(text)`",
            ),
        ]);
    }
}
