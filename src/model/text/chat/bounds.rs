//! Chat templates come from strangers, so what one rendering may do is bounded: its steps, its time, the text and the
//! lists that it makes, and how deep these nest.
//!
//! minijinja counts steps, and nothing else. Here the instructions of a compiled template are rewritten so that each
//! one that makes a value passes by [`guard`]: operators and filters become calls of it, other values go through it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use minijinja::machinery::{self, Instruction, Instructions};
use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};

use super::{percent, python};

/// Instructions of one rendering. The longest conversations of the largest templates take some hundred thousand.
const STEPS: u64 = 10_000_000;
const TIME: Duration = Duration::from_secs(4);
/// Bytes of all text, and of lists by their entries, that one rendering makes, and more for each byte that it is given.
const BYTES: u64 = 256 << 20;
const BYTES_A_BYTE: u64 = 256;
/// Lists in lists, and maps.
const DEPTH: usize = 64;
/// What an entry of a list counts as.
const ENTRY: u64 = 16;

/// The filter that all values go through; its last argument says what for.
const GUARD: &str = "guard";
/// The name of a value that is made already.
const MADE: &str = "made";
/// The name of a part of a list.
const PART: &str = "part";
/// Operators and filters whose lists nest no deeper than those that they are given.
const FLAT: [&str; 11] =
    ["+", "*", PART, "list", "reverse", "select", "reject", "selectattr", "rejectattr", "sort", "unique"];
/// The name of a value that a namespace is about to hold.
const KEPT: &str = "kept";
/// The name of an item that a loop takes up.
const ITEM: &str = "item";

/// What a template takes too much of, found again in the chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Excess(String);

fn excess(what: impl Into<String>) -> Error {
    let what = what.into();
    Error::new(ErrorKind::InvalidOperation, what.clone()).with_source(Excess(what))
}

thread_local! {
    /// What the rendering on this thread may still make, and until when.
    static LEFT: Cell<(u64, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// Makes an environment fit for [`render`].
pub fn install(environment: &mut Environment<'static>) {
    environment.set_fuel(Some(STEPS));
    environment.set_formatter(|out, state, value| {
        spend(text(value)?)?;
        minijinja::escape_formatter(out, state, value)
    });
    environment.add_filter(GUARD, guard);
    // Not Jinja's, and without end or bottom.
    for alien in ["chain", "zip"] {
        environment.remove_filter(alien);
    }
    environment.remove_global("debug");
    environment.set_unknown_method_callback(|state, value, method, arguments| {
        let all: Vec<Value> = std::iter::once(value.clone()).chain(arguments.iter().cloned()).collect();
        spend(price(method, &all)?)?;
        python::call(state, value, method, arguments)
    });
}

/// Renders the template `name`, which is given `bytes` of text.
pub fn render(
    environment: &Environment<'_>,
    name: &str,
    context: Value,
    bytes: usize,
) -> Result<String, Error> {
    let template = environment.get_template(name)?;
    let compiled = machinery::get_compiled_template(&template);
    let instructions = guarded(&compiled.instructions)?;
    let blocks = compiled.blocks.iter().map(|(name, block)| Ok((*name, guarded(block)?)));
    let blocks = blocks.collect::<Result<BTreeMap<_, _>, Error>>()?;
    let mut text = String::new();
    LEFT.set((
        BYTES.saturating_add(BYTES_A_BYTE.saturating_mul(bytes as u64)),
        Instant::now().checked_add(TIME),
    ));
    let mut out = machinery::make_string_output(&mut text);
    machinery::eval(environment, &instructions, context, &blocks, &mut out, AutoEscape::None)?;
    drop(out);
    Ok(text)
}

fn guarded<'s>(old: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut new = Instructions::new(old.name(), old.source());
    // Where each old instruction begins, for jumps.
    let mut places = Vec::new();
    for index in 0.. {
        let instruction = old.get(index);
        places.push(new.get_len());
        let Some(instruction) = instruction else { break };
        for part in replacement(instruction)? {
            new.add_with_line(part, old.get_line(index).unwrap_or(0).try_into().unwrap_or(u16::MAX));
        }
    }
    for index in 0.. {
        match new.get_mut(index) {
            Some(
                Instruction::Iterate(to)
                | Instruction::Jump(to)
                | Instruction::JumpIfFalse(to)
                | Instruction::JumpIfFalseOrPop(to)
                | Instruction::JumpIfTrueOrPop(to)
                | Instruction::BuildMacro(_, to, _),
            ) => *to = places.get(*to as usize).copied().unwrap_or(*to),
            Some(_) => {}
            None => return Ok(new),
        }
    }
    Ok(new)
}

/// What stands in place of an instruction.
fn replacement<'s>(instruction: &Instruction<'s>) -> Result<Vec<Instruction<'s>>, Error> {
    let guard = |name: &str, arguments: u16| {
        [
            Instruction::LoadConst(Value::from(name)),
            Instruction::ApplyFilter(GUARD, Some(arguments + 1), u8::MAX),
        ]
    };
    let own = instruction.clone();
    Ok(match instruction {
        // Printed as a value is.
        Instruction::EmitRaw(text) => vec![Instruction::LoadConst(Value::from(*text)), Instruction::Emit],
        Instruction::Add => guard("+", 2).into(),
        Instruction::Mul => guard("*", 2).into(),
        Instruction::StringConcat => guard("~", 2).into(),
        Instruction::Eq => guard("==", 2).into(),
        Instruction::Ne => guard("!=", 2).into(),
        Instruction::ApplyFilter(name, Some(arguments), _) => guard(name, *arguments).into(),
        Instruction::Slice => std::iter::once(own).chain(guard(PART, 1)).collect(),
        Instruction::BuildList(_)
        | Instruction::BuildTuple(_)
        | Instruction::BuildMap(_)
        | Instruction::BuildKwargs(_)
        | Instruction::MergeKwargs(_)
        | Instruction::CallFunction(..)
        | Instruction::CallMethod(..)
        | Instruction::CallObject(_) => std::iter::once(own).chain(guard(MADE, 1)).collect(),
        Instruction::Iterate(_) => std::iter::once(own).chain(guard(ITEM, 1)).collect(),
        Instruction::SetAttr(_) => {
            let [name, call] = guard(KEPT, 1);
            vec![Instruction::Swap, name, call, Instruction::Swap, own]
        }
        Instruction::UnpackLists(_) | Instruction::ApplyFilter(_, None, _) => {
            return Err(excess("lists that are unpacked with `*`"));
        }
        Instruction::Include(_) | Instruction::LoadBlocks => {
            return Err(excess("other templates, which a model does not have"));
        }
        _ => vec![own],
    })
}

trait Length {
    fn get_len(&self) -> u32;
}

impl Length for Instructions<'_> {
    /// The index of the next instruction.
    fn get_len(&self) -> u32 {
        (0..).find(|index| self.get(*index).is_none()).unwrap_or(0)
    }
}

/// Computes the operator or filter that the last argument names, of the others.
fn guard(state: &mut State, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut arguments = arguments.into_values();
    let name = arguments.pop().unwrap_or_default();
    let name = name.as_str().unwrap_or_default();
    if LEFT.get().1.is_some_and(|end| Instant::now() > end) {
        return Err(excess(format!("more than {} s", TIME.as_secs())));
    }
    match (name, arguments.as_slice()) {
        (ITEM, [value]) => Ok(value.clone()),
        (MADE, [value]) if is_namespace(value) => Ok(value.clone()),
        (MADE | KEPT | PART, [value]) => made(name, value.clone()),
        ("==", [a, b]) => compared(a, b).map(|equal| Value::from(equal && a == b)),
        ("!=", [a, b]) => compared(a, b).map(|equal| Value::from(!equal || a != b)),
        ("+" | "*" | "~", [a, b]) => {
            spend(price(name, &arguments)?)?;
            made(name, operate(state, name, a, b)?)
        }
        _ => {
            spend(price(name, &arguments)?)?;
            let filtered = state.apply_filter(name, &arguments);
            let filtered = filtered.map_err(|error| match error.kind() {
                ErrorKind::UnknownFilter => Error::new(error.kind(), format!("filter {name} is unknown")),
                _ => error,
            })?;
            made(name, filtered)
        }
    }
}

/// Whether two values can be equal at all, for what it costs to see whether they are.
fn compared(a: &Value, b: &Value) -> Result<bool, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        if a.len() != b.len() {
            return Ok(false);
        }
        spend(a.len() as u64 / ENTRY)?;
    }
    Ok(true)
}

/// The engine's own operators, which it keeps to itself.
fn operate(state: &State, name: &str, a: &Value, b: &Value) -> Result<Value, Error> {
    let source = match name {
        "+" => "a + b",
        "*" => "a * b",
        _ => "a ~ b",
    };
    state.env().compile_expression(source)?.eval(minijinja::context! { a => a, b => b })
}

/// Takes from what the rendering may still make.
fn spend(bytes: u64) -> Result<(), Error> {
    let (left, end) = LEFT.get();
    let left = left.checked_sub(bytes).ok_or_else(|| excess("more text than a conversation has"))?;
    LEFT.set((left, end));
    Ok(())
}

/// A value that was just made by `name`, its entries counted, its depth checked, and no longer waiting for others.
fn made(name: &str, value: Value) -> Result<Value, Error> {
    let value = match value.kind() {
        ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                spend(ENTRY)?;
                items.push(item);
            }
            Value::from(items)
        }
        _ => value,
    };
    match value.as_str() {
        Some(text) => spend(text.len() as u64 / ENTRY)?,
        None if FLAT.contains(&name) => {}
        None => walk(&value, DEPTH, &mut |_| spend(ENTRY))?,
    }
    Ok(value)
}

fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("Namespace"))
}

/// Visits a value and all in it.
fn walk(
    value: &Value,
    depth: usize,
    visit: &mut dyn FnMut(&Value) -> Result<(), Error>,
) -> Result<(), Error> {
    visit(value)?;
    let inner = match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => value.try_iter()?,
        _ => return Ok(()),
    };
    if is_namespace(value) {
        // It could come to hold itself.
        return Err(excess("a namespace within another value"));
    }
    let depth = depth.checked_sub(1).ok_or_else(|| excess(format!("lists nested more than {DEPTH} deep")))?;
    let is_map = value.kind() == ValueKind::Map;
    for item in inner {
        if is_map {
            walk(&value.get_item(&item)?, depth, visit)?;
        }
        walk(&item, depth, visit)?;
    }
    Ok(())
}

/// Bytes of a value as text, at most about.
fn text(value: &Value) -> Result<u64, Error> {
    let mut bytes = 0;
    let mut limit = LEFT.get().0;
    walk(value, DEPTH, &mut |value| {
        let more = value.as_str().map_or(ENTRY, |text| text.len() as u64 + ENTRY);
        bytes += more;
        limit = limit.checked_sub(more).ok_or_else(|| excess("more text than a conversation has"))?;
        Ok(())
    })?;
    Ok(bytes)
}

/// What a call makes at most, in bytes, before it is made. The first argument is what it is called on.
fn price(name: &str, arguments: &[Value]) -> Result<u64, Error> {
    let Some(subject) = arguments.first() else { return Ok(0) };
    let length = |value: &Value| match value.as_str() {
        Some(text) => text.len() as u64,
        None => value.len().unwrap_or(1) as u64 * ENTRY,
    };
    let shallow: u64 = arguments.iter().map(length).sum();
    let number = || numbers(arguments);
    let string = |index: usize| arguments.get(index).and_then(Value::as_str).unwrap_or_default();
    Ok(match name {
        "length" | "count" | "first" | "last" | "default" | "d" => 0,
        "+" => shallow,
        "*" => length(subject).max(arguments.get(1).map_or(0, length)).saturating_mul(number()),
        "~" | "string" | "pprint" | "sort" | "sum" | "unique" | "groupby" => {
            let whole = arguments.iter().map(text).sum::<Result<u64, _>>()?;
            let items = if name == "sum" { subject.len().unwrap_or(1) as u64 } else { 1 };
            let is_text = subject.try_iter().is_ok_and(|mut items| items.any(|item| !item.is_number()));
            if is_text { whole.saturating_mul(items) } else { whole }
        }
        "replace" => {
            let from = string(1);
            let subject = string(0);
            // By name, or for nothing: everywhere.
            let matches = if from.is_empty() { subject.len() + 1 } else { subject.matches(from).count() };
            (subject.len() as u64).saturating_add((matches as u64).saturating_mul(number()))
        }
        "join" => {
            let whole = arguments.iter().map(text).sum::<Result<u64, _>>()?;
            let separators =
                arguments.iter().filter_map(Value::as_str).map(str::len).max().unwrap_or(0) as u64;
            let items = arguments.iter().filter_map(Value::len).max().unwrap_or(0) as u64;
            whole.saturating_add(separators.saturating_mul(items))
        }
        "tojson" => text(subject)?.saturating_mul(6).saturating_add(
            // Each entry on a line of its own, as deep as it can be.
            (text(subject)? / ENTRY).saturating_mul(number()).saturating_mul(DEPTH as u64),
        ),
        "indent" | "batch" | "slice" | "center" | "ljust" | "rjust" | "zfill" | "expandtabs" | "wordwrap" => {
            let lines = string(0).matches(['\n', '\t']).count() as u64 + 1;
            shallow.saturating_add(lines.saturating_mul(number()).saturating_mul(ENTRY))
        }
        // Widths can be in the text, or `*` and so among the arguments.
        "format" | percent::NAME => {
            let widest = string(0).split(|c: char| !c.is_ascii_digit()).map(|digits| match digits.len() {
                0..=9 => digits.parse().unwrap_or(0),
                _ => u64::MAX,
            });
            let fields = string(0).matches(['%', '{']).count() as u64;
            let whole = arguments.iter().map(text).sum::<Result<u64, _>>()?;
            let width = widest.max().unwrap_or(0).max(number()).saturating_add(whole);
            shallow.saturating_add(fields.saturating_mul(width))
        }
        _ => shallow,
    })
}

/// The largest whole number, or length of a text, among arguments, by position or by name.
fn numbers(arguments: &[Value]) -> u64 {
    let number = |value: &Value| match value.as_str() {
        Some(text) => text.len() as u64,
        None => u64::try_from(value.clone()).unwrap_or(0),
    };
    let one = |value: &Value| match value.is_kwargs() {
        true => {
            let names = value.try_iter().into_iter().flatten();
            names.filter_map(|name| value.get_item(&name).ok()).map(|value| number(&value)).max().unwrap_or(0)
        }
        false => number(value),
    };
    let first = arguments.first().filter(|first| first.is_number());
    arguments.iter().skip(1).chain(first).map(one).max().unwrap_or(0)
}
