//! `fmt("{:>8.3f}", x)`: Python's format language for numbers and text.
//!
//! A field is `{[name][:[[fill]align][sign][0][width][grouping][.precision][kind]]}` with an align of `<`, `>`, `^` or
//! `=`, a sign of `+`, `-` or a space, a grouping of `,` or `_`, and a kind of `b d e E f F g G o s x X %`; `{{` and `}}`
//! are braces. Source: the "Format Specification Mini-Language" of Python's library reference.

use crate::number;
use rhai::{Dynamic, Map};

use super::args::type_of;
use super::error::{Failure, fail};
use crate::memory;
use crate::nearest::nearest;

#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    /// What stands before a number that is not negative.
    sign: Option<char>,
    /// Zeros between the sign and the digits, up to the width.
    zero: bool,
    width: usize,
    /// What stands between groups of digits.
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Widest field and highest precision, so that a typo cannot fill the memory.
const MAX_WIDTH: usize = 10_000;

/// Fills the fields of `template` with `values`, one each.
pub fn format(
    template: &str,
    values: &[Dynamic],
    show: impl Fn(&Dynamic) -> String,
) -> Result<String, Failure> {
    let mut left = values.iter();
    let mut value = |name: &str| match name {
        "" => left.next().ok_or_else(|| count_mismatch(template, values.len())),
        _ => Err(not_understood(name)),
    };
    let out = fill(template, &mut value, &show)?;
    match left.next() {
        None => Ok(out),
        Some(_) => Err(count_mismatch(template, values.len())),
    }
}

/// Fills the fields of `template`, each with the entry of `values` that it names: `{name}`, `{name:.3}`.
pub fn format_map(
    template: &str,
    values: &Map,
    show: impl Fn(&Dynamic) -> String,
) -> Result<String, Failure> {
    let mut value = |name: &str| match name {
        "" => Err(fail(format!("a field of `{template}` has no name")).help("name it, as in `{name}`")),
        _ => values.get(name).ok_or_else(|| {
            let known: Vec<_> = values.keys().map(|key| format!("`{key}`")).collect();
            let help = match nearest(name, values.keys().map(|key| key.as_str())) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the values are {}", known.join(", ")),
            };
            fail(format!("there is no value for the field `{name}`")).help(help)
        }),
    };
    fill(template, &mut value, &show)
}

fn fill<'v>(
    template: &str,
    value: &mut impl FnMut(&str) -> Result<&'v Dynamic, Failure>,
    show: &impl Fn(&Dynamic) -> String,
) -> Result<String, Failure> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out += &rest[..at];
        let tail = &rest[at..];
        if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| tail.starts_with(brace)) {
            out += &brace[..1];
            rest = &tail[2..];
            continue;
        }
        let field = tail.strip_prefix('{').and_then(|field| field.split_once('}'));
        let Some((field, after)) = field else {
            return Err(fail(format!("unmatched brace in format `{template}`"))
                .help("write `{{` or `}}` for a brace in the text"));
        };
        let (name, spec) = field.split_once(':').map_or((field, None), |(name, spec)| (name, Some(spec)));
        out += &one(field, spec.unwrap_or(""), value(name)?, show)?;
        // Each field may be much longer than its place in the template.
        memory::reserve(out.len())?;
        rest = after;
    }
    Ok(out + rest)
}

fn not_understood(field: &str) -> Failure {
    fail(format!("format `{{{field}}}` is not understood"))
        .help("write a field such as `{}`, `{:.3}`, `{:>8}`, `{:05d}`, `{:+.2e}` or `{:.1%}`")
}

fn count_mismatch(template: &str, values: usize) -> Failure {
    let fields = template.replace("{{", "").matches('{').count();
    fail(format!("format `{template}` has {fields} fields, found {values} values"))
        .help("give one value for each `{}`")
}

fn one(
    field: &str,
    spec: &str,
    value: &Dynamic,
    show: &impl Fn(&Dynamic) -> String,
) -> Result<String, Failure> {
    let spec = parse(spec).ok_or_else(|| not_understood(field))?;
    let unfit = || fail(format!("format `{{{field}}}` does not fit a value of type `{}`", type_of(value)));
    let body = match (value.as_int(), value.as_float()) {
        (Ok(int), _) => match whole(int.unsigned_abs(), &spec) {
            Some(digits) => digits,
            None if spec.kind.is_some_and(|kind| kind == 's') => return Err(unfit()),
            None => float(int.unsigned_abs() as f64, spec.kind, spec.precision),
        },
        (_, Ok(_)) if spec.kind.is_some_and(|kind| "bdosxX".contains(kind)) => return Err(unfit()),
        (_, Ok(x)) => float(x.abs(), spec.kind, spec.precision),
        _ => {
            let numeric = spec.sign.is_some() || spec.grouping.is_some() || spec.align == Some('=');
            if numeric || spec.kind.is_some_and(|kind| kind != 's') {
                return Err(unfit());
            }
            let shown = show(value);
            let cut = spec.precision.map_or(shown.clone(), |n| shown.chars().take(n).collect());
            return Ok(pad("", &cut, &spec, '<'));
        }
    };
    let negative = value.as_int().is_ok_and(|int| int < 0)
        || value.as_float().is_ok_and(|x| x.is_sign_negative() && !x.is_nan());
    let sign = match (negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let body = grouped(sign.len(), &body, &spec);
    Ok(pad(sign, &body, &spec, '>'))
}

/// The digits of a whole number without its sign; none if they are asked for as those of a float.
fn whole(n: u64, spec: &Spec) -> Option<String> {
    match spec.kind {
        None | Some('d') if spec.precision.is_none() => Some(n.to_string()),
        Some('b') if spec.precision.is_none() => Some(format!("{n:b}")),
        Some('o') if spec.precision.is_none() => Some(format!("{n:o}")),
        Some('x') if spec.precision.is_none() => Some(format!("{n:x}")),
        Some('X') if spec.precision.is_none() => Some(format!("{n:X}")),
        _ => None,
    }
}

fn parse(text: &str) -> Option<Spec> {
    let mut spec = Spec::default();
    let mut chars = text.chars().peekable();
    let is_align = |c: char| "<>^=".contains(c);
    if text.chars().nth(1).is_some_and(is_align) {
        spec.fill = chars.next();
    }
    spec.align = chars.next_if(|c| is_align(*c));
    spec.sign = chars.next_if(|c| "+- ".contains(*c));
    spec.zero = spec.fill.is_none() && chars.next_if_eq(&'0').is_some();
    let number = |chars: &mut std::iter::Peekable<std::str::Chars>| -> Option<Option<usize>> {
        let mut digits = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        match digits.as_str() {
            "" => Some(None),
            digits => digits.parse().ok().filter(|n| *n <= MAX_WIDTH).map(Some),
        }
    };
    spec.width = number(&mut chars)?.unwrap_or(0);
    spec.grouping = chars.next_if(|c| ",_".contains(*c));
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(&mut chars)??);
    }
    spec.kind = chars.next_if(|c| "bdeEfFgGosxX%".contains(*c));
    // Thousands have commas; other bases have none.
    let fits = spec.grouping != Some(',') || spec.kind.is_none_or(|kind| !"bosxX".contains(kind));
    (chars.next().is_none() && fits).then_some(spec)
}

/// A number without its sign. Without a letter a precision counts significant digits, as in Python.
fn float(x: f64, kind: Option<char>, precision: Option<usize>) -> String {
    let digits = precision.unwrap_or(6);
    let text = match kind.map(|kind| kind.to_ascii_lowercase()) {
        Some('%') if !x.is_finite() => format!("{}%", infinite(x)),
        _ if !x.is_finite() => infinite(x).into(),
        Some('f') => format!("{x:.digits$}"),
        Some('%') => match x * 100.0 {
            x if x.is_finite() => format!("{x:.digits$}%"),
            x => format!("{}%", infinite(x)),
        },
        Some('e') => number::exponent(x, digits),
        None if precision.is_none() => number::shortest(x),
        kind => number::general(x, digits.max(1), kind.is_none()),
    };
    if kind.is_some_and(|kind| kind.is_ascii_uppercase()) { text.to_uppercase() } else { text }
}

fn infinite(x: f64) -> &'static str {
    if x.is_nan() { "nan" } else { "inf" }
}

/// The body with its leading digits in groups, and with zeros in groups before them where zeros fill the width, of
/// which the sign takes `signs`.
fn grouped(signs: usize, body: &str, spec: &Spec) -> String {
    let Some(separator) = spec.grouping else { return body.into() };
    let group = if spec.kind.is_some_and(|kind| "boxX".contains(kind)) { 4 } else { 3 };
    let hex = spec.kind.is_some_and(|kind| "xX".contains(kind));
    let is_digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
    let end = body.find(|c: char| !is_digit(c)).unwrap_or(body.len());
    let (digits, rest) = body.split_at(end);
    if digits.is_empty() {
        return body.into();
    }
    let zeros = match spec.align {
        None => spec.zero,
        Some(align) => align == '=' && (spec.zero || spec.fill == Some('0')),
    };
    let room = if zeros { spec.width.saturating_sub(signs + rest.len()) } else { 0 };
    let mut reversed = String::new();
    let mut left = digits.chars().rev();
    for i in 0.. {
        let digit = match left.next() {
            Some(digit) => digit,
            None if reversed.len() < room => '0',
            None => break,
        };
        if i > 0 && i % group == 0 {
            reversed.push(separator);
        }
        reversed.push(digit);
    }
    reversed.chars().rev().chain(rest.chars()).collect()
}

/// The sign and the body on `spec.width` places, aligned as `usual` where the field does not say.
fn pad(sign: &str, body: &str, spec: &Spec, usual: char) -> String {
    let missing = spec.width.saturating_sub(sign.len() + body.chars().count());
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let run = |n: usize| fill.to_string().repeat(n);
    let usual = if spec.zero && usual == '>' { '=' } else { usual };
    match spec.align.unwrap_or(usual) {
        '=' => format!("{sign}{}{body}", run(missing)),
        '<' => format!("{sign}{body}{}", run(missing)),
        '^' => format!("{}{sign}{body}{}", run(missing / 2), run(missing - missing / 2)),
        _ => format!("{}{sign}{body}", run(missing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fmt(template: &str, value: impl Into<Dynamic>) -> String {
        format(template, &[value.into()], |value| value.to_string()).unwrap()
    }

    /// The expected texts are what CPython 3 prints for the same template and value.
    #[test]
    fn fields_print_as_in_python() {
        for (template, value, expected) in [
            ("{:.3f}", Dynamic::from(5.14159), "5.142"),
            ("{:.3}", 5.14159.into(), "5.14"),
            ("{:.3}", 1234.5.into(), "1.23e+03"),
            ("{:.3}", 2.0.into(), "2.0"),
            ("{:.2g}", 0.0001234.into(), "0.00012"),
            ("{:g}", 1e-7.into(), "1e-07"),
            ("{:+.2e}", 1500.0.into(), "+1.50e+03"),
            ("{:8.2f}|", (-1.5).into(), "   -1.50|"),
            ("{:08.2f}", (-1.5).into(), "-0001.50"),
            ("{:.1%}", 0.256.into(), "25.6%"),
            ("{:5d}", 42i64.into(), "   42"),
            ("{:05d}", (-42i64).into(), "-0042"),
            ("{:,}", 1234567i64.into(), "1,234,567"),
            ("{:.2f}", 2i64.into(), "2.00"),
            ("{:<5}|", "ab".into(), "ab   |"),
            ("{:*^6}", "ab".into(), "**ab**"),
            ("{:.1}", "ab".into(), "a"),
            ("{:.0f}", 2.5.into(), "2"),
            ("{}", f64::NAN.into(), "nan"),
            ("{:020,.2f}", 1234.5.into(), "0,000,000,001,234.50"),
            ("{:=012,}", 42i64.into(), "0,000,000,042"),
            ("{:08,}", f64::NAN.into(), "00000nan"),
            ("{:014}", 786_465_653_486_797.3.into(), "786465653486797.2"),
            ("{}", 0.0001.into(), "0.0001"),
            ("{}", 1e15.into(), "1000000000000000.0"),
            ("{}", 0.1.into(), "0.1"),
            ("{}", 5e-324.into(), "5e-324"),
            ("{:>10}", 1e-7.into(), "     1e-07"),
            ("{:.2f}", f64::NEG_INFINITY.into(), "-inf"),
            ("{{{}}}", 1i64.into(), "{1}"),
        ] {
            assert_eq!(fmt(template, value), expected, "{template}");
        }
    }

    #[test]
    fn fields_take_values_by_name() {
        let values: Map = [("x".into(), 0.5.into()), ("name".into(), "Ada".into())].into_iter().collect();
        let filled = |template| format_map(template, &values, |value| value.to_string());
        assert_eq!(filled("{name}: {x:.2f} {{x}} {name:>4}").unwrap(), "Ada: 0.50 {x}  Ada");
        let error = filled("{nmae}").unwrap_err();
        assert_eq!(error.message, "there is no value for the field `nmae`");
        assert_eq!(error.help.unwrap(), "did you mean `name`?");
        assert_eq!(filled("{}").unwrap_err().message, "a field of `{}` has no name");
    }

    #[test]
    fn mistakes_are_named() {
        let error = |template: &str, values: &[Dynamic]| {
            format(template, values, |value| value.to_string()).unwrap_err().message
        };
        assert_eq!(error("{} {}", &[1i64.into()]), "format `{} {}` has 2 fields, found 1 values");
        assert_eq!(error("a", &[1i64.into()]), "format `a` has 0 fields, found 1 values");
        assert_eq!(error("{:d}", &[1.5.into()]), "format `{:d}` does not fit a value of type `float`");
        assert_eq!(error("{:.2f}", &["x".into()]), "format `{:.2f}` does not fit a value of type `string`");
        assert_eq!(error("{:q}", &[1i64.into()]), "format `{:q}` is not understood");
        assert_eq!(error("{:99999}", &[1i64.into()]), "format `{:99999}` is not understood");
        assert_eq!(error("{", &[]), "unmatched brace in format `{`");
    }
}
