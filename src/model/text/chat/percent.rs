//! `'%s: %s' % (role, text)`: Python's formatting by an operator, which minijinja knows as arithmetic alone.
//!
//! What stands on both sides of a `%` in a template becomes a call of the filter [`NAME`], which does what Python does
//! for the value on the left. A remainder by a number is left as it stands.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};

pub const NAME: &str = "python_percent";

/// `left % right`.
pub fn percent(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let several = right.downcast_object_ref::<Tuple>();
        let arguments = match several {
            Some(several) => several.to_vec(),
            None => vec![right.clone()],
        };
        // A mapping serves any number of places, and a list counts as one.
        let places = places(text);
        let unused = "not all arguments are converted by the format";
        let single = right.kind() == ValueKind::Map || right.kind() == ValueKind::Seq && several.is_none();
        if places.is_some_and(|places| arguments.len() > places) && !(single && places == Some(0)) {
            return Err(Error::new(ErrorKind::InvalidOperation, unused));
        }
        return format(FormatStyle::Printf, text, &arguments).map(Value::from);
    }
    let number = |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool);
    let zero = || Error::new(ErrorKind::InvalidOperation, "a remainder by zero");
    if !number(left) || !number(right) {
        let kinds = format!("{} and {}", left.kind(), right.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, format!("`%` of {kinds}")));
    }
    let whole = |value: &Value| i64::try_from(value.clone()).ok().map(i128::from);
    if let (Some(a), Some(b), false) = (whole(left), whole(right), is_float(left) || is_float(right)) {
        let remainder = a.checked_rem(b).ok_or_else(zero)?;
        let floored = if remainder != 0 && (remainder < 0) != (b < 0) { remainder + b } else { remainder };
        return Ok(i64::try_from(floored).map_or(Value::from(floored), Value::from));
    }
    let (a, b) = (f64::try_from(left.clone())?, f64::try_from(right.clone())?);
    if b == 0.0 {
        return Err(zero());
    }
    let remainder = a % b;
    Ok(if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }.into())
}

/// How many arguments a format takes; `None` if it takes them by name.
fn places(format: &str) -> Option<usize> {
    let mut count = 0;
    let mut chars = format.chars();
    while chars.by_ref().any(|c| c == '%') {
        for c in chars.by_ref() {
            match c {
                '(' => return None,
                '#' | '0'..='9' | '-' | ' ' | '+' | '.' => continue,
                '%' => break,
                _ => {
                    count += 1;
                    break;
                }
            }
        }
    }
    Some(count)
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

/// The source with every `%` between two expressions spelled as a filter.
pub fn spelled_out(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    let mut raw = false;
    while let Some(at) = rest.find("{%").into_iter().chain(rest.find("{{")).chain(rest.find("{#")).min() {
        let (before, tag) = rest.split_at(at);
        text += before;
        let (open, inside) = tag.split_at(2);
        text += open;
        // The sign of white space control is not one of the expression.
        let (sign, inside) = inside.split_at(usize::from(inside.starts_with(['-', '+'])));
        text += sign;
        let end = match open {
            _ if raw && open != "{%" => 0,
            "{#" => inside.find("#}").unwrap_or(inside.len()),
            "{%" => tokens(inside, "%}").1,
            _ => tokens(inside, "}}").1,
        };
        let (code, after) = inside.split_at(end);
        let word = code.trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        match open {
            "{%" if raw || ["raw", "endraw"].contains(&word) => {
                raw = word != "endraw";
                text += code;
            }
            "{#" => text += code,
            _ if code.contains('%') => {
                let close = if open == "{%" { "%}" } else { "}}" };
                text += &rewritten(code, &tokens(code, close).0, 0);
            }
            _ => text += code,
        }
        rest = after;
    }
    text + rest
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A name, a number or a keyword.
    Word,
    /// All between two brackets.
    Group,
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    /// Where it begins in the code.
    at: usize,
}

/// The tokens of an expression up to `close`, brackets with all that is in them as one, and where `close` is.
fn tokens<'a>(code: &'a str, close: &str) -> (Vec<Token<'a>>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        if rest.starts_with(close) {
            return (found, at);
        }
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let (kind, len) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '\'' | '"' => (Kind::Text, quoted(rest)),
            '(' | '[' | '{' => (Kind::Group, group(rest)),
            c if c.is_ascii_digit() => {
                // A point belongs to a number where a digit follows.
                let digits = |s: &str| s.find(|c| !word(c)).unwrap_or(s.len());
                let whole = digits(rest);
                let after =
                    rest[whole..].strip_prefix('.').filter(|s| s.starts_with(|c: char| c.is_ascii_digit()));
                (Kind::Word, after.map_or(whole, |after| whole + 1 + digits(after)))
            }
            c if word(c) => (Kind::Word, rest.find(|c| !word(c)).unwrap_or(rest.len())),
            _ => {
                let double = ["**", "//", "==", "!=", "<=", ">="].iter().any(|sign| rest.starts_with(sign));
                (Kind::Sign, if double { 2 } else { c.len_utf8() })
            }
        };
        found.push(Token { kind, text: &rest[..len], at });
        at += len;
    }
    (found, code.len())
}

/// How long a text in quotes is.
fn quoted(code: &str) -> usize {
    let mut chars = code.char_indices();
    let quote = chars.next().map(|(_, quote)| quote);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if Some(c) == quote {
            return at + 1;
        }
    }
    code.len()
}

/// How long something in brackets is.
fn group(code: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = code[at..].chars().next() {
        match c {
            '\'' | '"' => {
                at += quoted(&code[at..]);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// Words that no operand goes beyond.
const KEYWORDS: [&str; 19] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "recursive",
    "set",
    "print",
    "call",
    "filter",
    "with",
    "macro",
    "include",
    "import",
    "from",
];

/// Brackets within brackets that are looked into.
const MOST_BRACKETS: usize = 50;

fn rewritten(code: &str, tokens: &[Token], depth: usize) -> String {
    let all = |code: &str| match depth {
        MOST_BRACKETS => code.to_string(),
        depth => rewritten(code, &self::tokens(code, "\0").0, depth + 1),
    };
    let inner = |token: &Token| match token.kind {
        Kind::Group if token.text.contains('%') => {
            let inside = &token.text[1..token.text.len().max(2) - 1];
            let close = &token.text[token.text.len() - 1..];
            format!("{}{}{close}", &token.text[..1], all(inside))
        }
        _ => token.text.to_string(),
    };
    // What is written so far, and where in it each token of the operand before the next sign begins.
    let mut text = String::new();
    let mut operand_at = 0;
    let mut written = 0; // of `code`
    let mut i = 0;
    while let Some(token) = tokens.get(i) {
        text += &code[written..token.at];
        written = token.at + token.text.len();
        let unary = i == 0 || ends_operand(&tokens[i - 1]);
        if token.text == "%" && token.kind == Kind::Sign && !unary {
            let end = operand_end(tokens, i + 1);
            let right = &tokens[i + 1..end];
            let left = &text[operand_at..];
            let number = |c: char| c.is_ascii_digit() || c == '.';
            let plain = matches!(right, [only] if only.text.starts_with(|c: char| c.is_ascii_digit()) && only.text.chars().all(number));
            if let (Some(last), false) =
                (right.last(), plain && !left.trim_start().starts_with(['\'', '"', '(']))
            {
                let right_end = last.at + last.text.len();
                let operand = all(&code[written..right_end]);
                let call = format!("({})|{NAME}({})", left.trim(), operand.trim());
                text.truncate(operand_at + left.len() - left.trim_start().len());
                text += &call;
                written = right_end;
                i = end;
                continue;
            }
        }
        text += &inner(token);
        let breaks = match token.kind {
            Kind::Sign => {
                let within = ["*", "/", "//", "%", "**", ".", "|"].contains(&token.text);
                !(within || unary && "+-".contains(token.text))
            }
            Kind::Word => {
                KEYWORDS.contains(&token.text)
                    && tokens.get(i.wrapping_sub(1)).is_none_or(|before| before.text != ".")
            }
            _ => false,
        };
        if breaks {
            operand_at = text.len();
        }
        i += 1;
    }
    text + &code[written..]
}

/// Whether a sign after this token has no operand before it.
fn ends_operand(token: &Token) -> bool {
    token.kind == Kind::Sign || token.kind == Kind::Word && KEYWORDS.contains(&token.text)
}

/// Behind the operand that begins at `start`: with its attributes, calls and filters, and a power.
fn operand_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    let is = |at: usize, sign: &str| {
        tokens.get(at).is_some_and(|token| token.text == sign && token.kind == Kind::Sign)
    };
    loop {
        while is(at, "-") || is(at, "+") {
            at += 1;
        }
        at += 1;
        loop {
            if is(at, ".") || is(at, "|") {
                at += 2;
            } else if tokens
                .get(at)
                .is_some_and(|token| token.kind == Kind::Group && !token.text.starts_with('{'))
            {
                at += 1;
            } else {
                break;
            }
        }
        if !is(at, "**") {
            return at.min(tokens.len());
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_found() {
        for (source, expected) in [
            ("a % b {{ loop.index0 % 2 == 0 }}{% if x|length % 2 %}", None),
            ("{# 'a' % b #}{% raw %}{{ 'a' % b }}{% endraw %}{{ '100%' }}", None),
            ("{{ '%s' % x }}", Some("{{ ('%s')|python_percent(x) }}")),
            ("{{- '%s' % (x, y) + z -}}", Some("{{- ('%s')|python_percent((x, y)) + z -}}")),
            (
                "{% set y = '%s' % m.a['b']|upper ~ 'c' %}",
                Some("{% set y = ('%s')|python_percent(m.a['b']|upper) ~ 'c' %}"),
            ),
            (
                "{{ f(a % b, {'k': 'x' % y}) }}",
                Some("{{ f((a)|python_percent(b), {'k': ('x')|python_percent(y)}) }}"),
            ),
            ("{{ a * b % c % d }}", Some("{{ ((a * b)|python_percent(c))|python_percent(d) }}")),
            ("{% if 'a%d' % -n == b %}", Some("{% if ('a%d')|python_percent(-n) == b %}")),
            ("{{ not '%s' % 1 }}{{ x }}", Some("{{ not ('%s')|python_percent(1) }}{{ x }}")),
            ("{{ '%s' % {'a': 1} }}", Some("{{ ('%s')|python_percent({'a': 1}) }}")),
        ] {
            assert_eq!(spelled_out(source), expected.unwrap_or(source));
        }
    }
}
