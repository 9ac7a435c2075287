//! What was meant where the engine stopped reading: the syntax of other languages.

use super::spot::Spot;
use super::{brackets, words};

/// A better explanation than the engine's own: each part that is given replaces the engine's.
#[derive(Default)]
pub struct Advice {
    pub message: Option<String>,
    pub help: Option<String>,
    /// Where it points, in bytes.
    pub at: Option<usize>,
}

fn cure(message: &str, help: impl Into<String>) -> Option<Advice> {
    Some(Advice { message: Some(message.into()), help: Some(help.into()), at: None })
}

type Habit = fn(&Spot) -> Option<Advice>;

/// Habits that the engine takes for an unknown variable, in the order in which they are looked for.
const OF_NAMES: &[Habit] = &[
    prefixed_text,
    doc_text,
    arrow,
    import,
    spread,
    colon_in_braces,
    comprehension,
    comparison,
    foreign_word,
    symbol,
    missing_brackets,
];

/// Habits that end in other syntax errors.
const OF_SYNTAX: &[Habit] = &[
    colon_in_index,
    colon_of_block,
    colon_of_type,
    default_of_parameter,
    bare_fraction,
    comma_in_index,
    pair,
    unpacking,
    two_loop_variables,
    conditional_value,
    slashes,
    body_without_braces,
];

/// The habit that explains why the engine knows no variable of the name at this spot.
pub fn of_name(spot: &Spot) -> Option<Advice> {
    OF_NAMES.iter().find_map(|habit| habit(spot))
}

/// The habit, or the bracket, that explains why the engine can read no further.
pub fn of_syntax(spot: &Spot) -> Option<Advice> {
    OF_SYNTAX.iter().chain(OF_NAMES).find_map(|habit| habit(spot)).or_else(|| brackets::find(spot))
}

/// `f"layer {x}"`.
fn prefixed_text(spot: &Spot) -> Option<Advice> {
    let (prefix, text) = (spot.here(), spot.after(1));
    let is_prefix =
        ["f", "r", "b", "u", "fr", "rf", "F", "R"].contains(&prefix) && text.starts_with(['"', '\'']);
    if !is_prefix || spot.end(spot.at()) != spot.start(spot.at() + 1) {
        return None;
    }
    let inner = text.trim_matches(['"', '\'']);
    match prefix.to_lowercase().contains('f') {
        true => cure(
            &format!("there are no `{prefix}\"…\"` texts here"),
            format!(
                "a text with values in it stands between backticks: `` `{}` ``",
                inner.replace('{', "${")
            ),
        ),
        false => cure(
            &format!("there are no `{prefix}\"…\"` texts here"),
            format!("a text between backticks takes backslashes as they are: `` `{inner}` ``"),
        ),
    }
}

/// `"""…"""`.
fn doc_text(spot: &Spot) -> Option<Advice> {
    let quoted = |i: usize| spot.token(i).starts_with("\"\"") && spot.end(i) == spot.start(i + 1);
    let at = (spot.at().saturating_sub(4)..=spot.at())
        .find(|&i| quoted(i) && spot.token(i + 1).starts_with('"'))?;
    Some(Advice {
        at: Some(spot.start(at)),
        ..cure(
            "there are no texts between `\"\"\"` here",
            "a text of several lines stands between backticks; a comment begins with `//`, at the head of a file with `//!`",
        )?
    })
}

/// `(x) => x + 1`, `function(x) { … }`.
fn arrow(spot: &Spot) -> Option<Advice> {
    let open = spot.bracket().filter(|&open| spot.token(open) == "(")?;
    let close = spot.closing(open)?;
    let named = open.checked_sub(1).map_or("", |i| spot.token(i));
    (spot.token(close + 1) == "=>" || named == "function").then_some(())?;
    cure(
        "there are no arrow functions here",
        format!("a closure is written `|{}| …`", spot.between(open + 1, close)),
    )
}

/// `import numpy as np`, `import patching`.
fn import(spot: &Spot) -> Option<Advice> {
    (spot.before(1) == "import" && !spot.here().starts_with(['"', '`'])).then_some(())?;
    let name = spot.here();
    match words::name(name) {
        Some(help) => cure(&format!("there is no module `{name}` here"), help),
        None => cure(
            &format!("`{name}` is no file name"),
            format!("modules are imported by their file, in quotes: `import \"{name}\" as {name};`"),
        ),
    }
}

/// The called function and the name in `f(x, name = 1)`. The engine stops at the name if it knows no such variable, else
/// at the sign after it.
pub fn named_argument<'t>(spot: &Spot<'t>) -> Option<(&'t str, &'t str)> {
    let name = if spot.here() == "=" { spot.at().checked_sub(1)? } else { spot.at() };
    let lead = spot.token(name.checked_sub(1)?);
    let open = spot.bracket().filter(|&open| spot.token(open) == "(")?;
    let is_word = spot.token(name).starts_with(|c: char| c.is_alphabetic() || c == '_');
    let is_head = open >= 2 && spot.token(open - 2) == "fn";
    let named = is_word && !is_head && ["(", ","].contains(&lead) && spot.token(name + 1) == "=";
    named.then(|| Some((spot.token(open.checked_sub(1)?), spot.token(name))))?
}

/// `f(*xs)`, `f(**options)`.
fn spread(spot: &Spot) -> Option<Advice> {
    let star = (spot.at()..spot.at() + 4).find(|&i| ["*", "**", "..."].contains(&spot.token(i)))?;
    let lead = star.checked_sub(1).map_or("", |i| spot.token(i));
    ["(", ","].contains(&lead).then_some(())?;
    let (sign, name) = (spot.token(star), spot.token(star + 1));
    Some(Advice {
        at: Some(spot.start(star)),
        ..match sign {
            "**" => {
                cure("options are not spread by `**` here", format!("hand over the map itself: `{name}`"))
            }
            _ => cure(
                &format!("an array is not spread by `{sign}` here"),
                format!("hand over the array itself, `{name}`, or name its items"),
            ),
        }?
    })
}

/// `x[1:3]`.
fn colon_in_index(spot: &Spot) -> Option<Advice> {
    let open =
        spot.bracket().filter(|&open| spot.token(open) == "[" && open > 0 && spot.ends_a_value(open - 1))?;
    spot.here().starts_with(':').then_some(())?;
    let close = spot.closing(open).unwrap_or(spot.len());
    let inner = spot.between(open + 1, close);
    let on = spot.token(open - 1);
    if inner.contains(',') {
        return cure(
            "several axes are not indexed at once here",
            format!("pick from one axis after the other, `{on}[0][1]`; a column is `{on}.t()[0]`"),
        );
    }
    let (from, to) = inner.split_once(':')?;
    let from = if from.trim().is_empty() { "0" } else { from.trim() };
    let len = format!("{on}.len");
    let to = if to.trim().is_empty() { &len } else { to.trim() };
    cure(
        "a part is not cut out with `:` here",
        format!(
            "write `{on}[{from}..{to}]`; of an array `{on}.extract({from}..{to})`, of a text `{on}.sub_string({from}..{to})`"
        ),
    )
}

const HEADS: &[&str] =
    &["for", "if", "while", "else", "elif", "try", "except", "def", "with", "loop", "class", "switch"];

/// `for x in xs:`.
fn colon_of_block(spot: &Spot) -> Option<Advice> {
    (spot.here() == ":").then_some(())?;
    let head = spot.word_before(HEADS).filter(|head| !spot.between(*head, spot.at()).contains('{'))?;
    cure(
        "a block does not begin with `:` here",
        format!("it stands in braces: `{} {{ … }}`", spot.between(head, spot.at())),
    )
}

/// `let x: int = 3`, `fn f(x: int)`, `fn f(x) -> int`.
fn colon_of_type(spot: &Spot) -> Option<Advice> {
    let typed = spot.here() == ":" && (spot.before(2) == "let" || spot.word_before(&["fn"]).is_some())
        || spot.here() == "->" && spot.before(1) == ")";
    typed.then_some(())?;
    cure("types are not written here", "drop the type: a name takes a value of any type")
}

/// `fn f(x = 1)`.
fn default_of_parameter(spot: &Spot) -> Option<Advice> {
    let open = spot.bracket().filter(|&open| open >= 2 && spot.token(open - 2) == "fn")?;
    (spot.here() == "=").then_some(())?;
    let name = spot.token(open - 1);
    cure(
        "parameters have no defaults here",
        format!(
            "write a second function of that name with fewer parameters: `fn {name}() {{ {name}({}) }}`",
            spot.after(1)
        ),
    )
}

/// `.5`.
fn bare_fraction(spot: &Spot) -> Option<Advice> {
    let digits = spot.after(1);
    (spot.here() == "." && digits.starts_with(|c: char| c.is_ascii_digit())).then_some(())?;
    cure("a number does not begin with `.` here", format!("write `0.{digits}`"))
}

/// `{"a": 1}`, `f({name: 1})`.
fn colon_in_braces(spot: &Spot) -> Option<Advice> {
    let colon = match spot.here() {
        ":" => spot.at(),
        _ if spot.after(1) == ":" => spot.at() + 1,
        _ => return None,
    };
    if spot.word_before(&["switch"]).is_some() {
        return cure("a case is followed by `=>`", format!("write `{} => …`", spot.before(1)));
    }
    let brace = colon.checked_sub(2)?;
    (spot.token(brace) == "{" && (brace == 0 || spot.token(brace - 1) != "#")).then_some(())?;
    let what = if brace > 0 && ["(", ","].contains(&spot.token(brace - 1)) {
        "options are a map"
    } else {
        "a map is written"
    };
    cure(
        "braces without `#` hold lines of code",
        format!("{what} with a `#` in front: `#{{{}: …}}`", spot.token(brace + 1)),
    )
}

/// `x[1, 2]`.
fn comma_in_index(spot: &Spot) -> Option<Advice> {
    let open =
        spot.bracket().filter(|&open| spot.token(open) == "[" && open > 0 && spot.ends_a_value(open - 1))?;
    (spot.here() == ",").then_some(())?;
    let inner = spot.between(open + 1, spot.closing(open)?);
    let on = spot.token(open - 1);
    let parts: Vec<_> = inner.split(',').map(str::trim).collect();
    let whole = |part: &&str| *part == ":" || *part == "..";
    match parts.as_slice() {
        [first, second] if whole(first) => cure(
            "several axes are not indexed at once here",
            format!("a column is a row of the transposed: `{on}.t()[{second}]`"),
        ),
        parts => cure(
            "several axes are not indexed at once here",
            format!(
                "write `{on}{}`, or `{on}.at([{}])` for one number",
                parts.iter().filter(|part| !whole(part)).map(|part| format!("[{part}]")).collect::<String>(),
                parts.join(", ")
            ),
        ),
    }
}

/// `(1, 2)`.
fn pair(spot: &Spot) -> Option<Advice> {
    let open = spot.bracket().filter(|&open| spot.token(open) == "(")?;
    (spot.here() == "," && (open == 0 || !spot.ends_a_value(open - 1))).then_some(())?;
    let inner = spot.between(open + 1, spot.closing(open)?);
    cure("there are no tuples here", format!("write an array: `[{inner}]`"))
}

/// `let a, b = xs`.
fn unpacking(spot: &Spot) -> Option<Advice> {
    (spot.here() == ",").then_some(())?;
    let head = spot.word_before(&["let", "const"]).filter(|head| head + 2 == spot.at())?;
    cure(
        "one `let` declares one variable",
        format!(
            "write `let pair = …; let {} = pair[0]; let {} = pair[1];`",
            spot.token(head + 1),
            spot.after(1)
        ),
    )
}

/// `for i, x in xs`.
fn two_loop_variables(spot: &Spot) -> Option<Advice> {
    (spot.here() == "," && spot.before(2) == "for").then_some(())?;
    let (first, second) = (spot.before(1), spot.after(1));
    cure(
        "a loop with two variables has them in brackets, the index second",
        format!("write `for ({second}, {first}) in xs {{ … }}`"),
    )
}

/// `[x * 2 for x in xs]`.
fn comprehension(spot: &Spot) -> Option<Advice> {
    let open = spot.bracket().filter(|&open| spot.token(open) == "[")?;
    let close = spot.closing(open)?;
    let word = (open + 1..close).find(|&i| spot.token(i) == "for" && spot.token(i + 2) == "in")?;
    let (item, name) = (spot.between(open + 1, word), spot.token(word + 1));
    let test = (word..close).find(|&i| spot.token(i) == "if");
    let over = spot.between(word + 3, test.unwrap_or(close));
    let over = if over.contains([' ', '.']) && !over.ends_with(')') {
        format!("({over})")
    } else {
        over.to_string()
    };
    let filter =
        test.map(|test| format!(".filter(|{name}| {})", spot.between(test + 1, close))).unwrap_or_default();
    cure(
        "an array is not made by a `for` inside it here",
        format!("write `{over}{filter}.map(|{name}| {item})`"),
    )
}

/// `a if c else b`, `c ? a : b`.
fn conditional_value(spot: &Spot) -> Option<Advice> {
    let choice = "write `if c { a } else { b }`, which is a value";
    match spot.here() {
        "?" => cure("there is no `? :` here", choice),
        "if" if spot.ends_a_value(spot.at().checked_sub(1)?) => {
            let otherwise = (spot.at()..spot.len()).find(|&i| spot.token(i) == "else")?;
            (spot.token(otherwise + 1) != "{").then_some(())?;
            cure("a value is not followed by its `if` here", choice)
        }
        _ => None,
    }
}

/// `if x = 3`.
fn comparison(spot: &Spot) -> Option<Advice> {
    let sign = if spot.here() == "=" { spot.at() } else { spot.at() + 1 };
    (spot.token(sign) == "=" && sign >= 2 && ["if", "while"].contains(&spot.token(sign - 2))).then_some(())?;
    cure("`=` assigns", format!("compare with `==`: `{} == {}`", spot.token(sign - 1), spot.token(sign + 1)))
}

/// `print(7 // 2)`: all that follows was read as a comment.
fn slashes(spot: &Spot) -> Option<Advice> {
    let last = spot.at().checked_sub(1)?;
    let gap = &spot.text[spot.end(last)..spot.start(spot.at())];
    let comment = gap.lines().next()?.trim_start().strip_prefix("//")?;
    let ended = comment.trim_end().ends_with([';', ')', ']', '}', ',']);
    (ended && spot.ends_a_value(last) && spot.token(last) != "}").then_some(())?;
    Some(Advice {
        at: Some(spot.end(last) + gap.find("//")?),
        ..cure("`//` begins a comment", "write `/`, which leaves the remainder out between two ints")?
    })
}

/// A keyword of another language, here or just before.
fn foreign_word(spot: &Spot) -> Option<Advice> {
    let cured = |i: usize| words::name(spot.token(i)).map(|help| (i, help));
    let (at, help) =
        (spot.at()..spot.at() + 2).find_map(cured).filter(|(at, _)| !spot.declares(spot.token(*at)))?;
    // Only an operator can stand after a value.
    (at == spot.at() || OPERATORS.contains(&spot.token(at))).then_some(())?;
    let word = spot.token(at);
    let help = match (word, spot.token(at + 1), spot.token(at + 2)) {
        ("not", "in", _) => "write `!in`: `x !in xs`",
        ("is", "not", _) => "compare with `!=`: `x != ()`",
        ("console", ".", "log") => "write `print(…)`",
        _ => help,
    };
    Some(Advice { at: Some(spot.start(at)), ..cure(&format!("there is no `{word}` here"), help)? })
}

/// Words that are operators in other languages.
const OPERATORS: &[&str] = &["and", "or", "not", "is"];

/// Signs of other languages.
fn symbol(spot: &Spot) -> Option<Advice> {
    let name = spot.before(1);
    let next =
        if SYMBOLS.iter().any(|(sign, _)| spot.here().starts_with(sign)) { spot.at() } else { spot.at() + 1 };
    let sign = spot.token(next);
    let (sign, help) = SYMBOLS.iter().find(|(symbol, _)| *symbol == sign)?;
    let name = if next == spot.at() { name } else { spot.here() };
    let is_name = |name: &&str| name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let name = Some(name).filter(is_name).or(Some(spot.token(next + 1)).filter(is_name)).unwrap_or("x");
    let help = help.replace("{x}", name);
    Some(Advice { at: Some(spot.start(next)), ..cure(&format!("there is no `{sign}` here"), help)? })
}

const SYMBOLS: &[(&str, &str)] = &[
    ("++", "write `{x} += 1`"),
    ("--", "write `{x} -= 1`"),
    ("<-", "assign with `=`: `let {x} = …`"),
    (":=", "declare with `let {x} = …`"),
    ("===", "compare with `==`"),
    ("!==", "compare with `!=`"),
    ("#", "a comment begins with `//`; a map is `#{name: value}`, without a space after `#`"),
    ("->", "a closure is written `|x| …`"),
    ("=>", "a closure is written `|x| …`"),
    ("@", "matrices are multiplied by `.matmul(…)`"),
    ("~", "write `!` for a condition"),
    ("$", "a value stands in a text between backticks: `` `${x}` ``"),
    ("|>", "call methods one after the other: `x.f().g()`"),
];

/// `print x`.
fn missing_brackets(spot: &Spot) -> Option<Advice> {
    let name = spot.here();
    let value = spot.after(1);
    let is_value = value.starts_with(|c: char| c.is_alphanumeric() || "_\"`'".contains(c));
    (["print", "debug", "assert", "throw"].contains(&name) && is_value).then_some(())?;
    cure(&format!("`{name}` is a function"), format!("write its arguments in brackets: `{name}({value})`"))
}

/// `fn f(x) x + 1`.
fn body_without_braces(spot: &Spot) -> Option<Advice> {
    let head = spot.word_before(&["fn"])?;
    let close = spot.closing(head + 2).filter(|_| spot.token(head + 2) == "(")?;
    (close + 1 == spot.at() && spot.here() != "{").then_some(())?;
    cure(
        "the body of a function stands in braces",
        format!("write `{} {{ … }}`", spot.between(head, close + 1)),
    )
}
