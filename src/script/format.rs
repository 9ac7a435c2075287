//! `fmt("{:>8.3f}", x)`: the part of Python's format language that experiments use.
//!
//! A field is `{[name][:[[fill]align][+][0][width][,][.precision][d|f|e|g|%|s]]}`; `{{` and `}}` are braces.
//! Source: the "Format Specification Mini-Language" of Python's library reference.

use rhai::{Dynamic, Map};

use super::args::type_of;
use super::error::{Failure, fail};
use crate::nearest::nearest;

#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    plus: bool,
    zero: bool,
    width: usize,
    comma: bool,
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
    let numeric = value.is_int() || value.is_float();
    let body = match (spec.kind, value.as_int(), value.as_float()) {
        (None | Some('d'), Ok(int), _) if spec.precision.is_none() => int.unsigned_abs().to_string(),
        (Some('d' | 's'), _, _) if numeric => return Err(unfit()),
        (kind, Ok(int), _) => float(int.unsigned_abs() as f64, kind, spec.precision),
        (None, _, Ok(x)) if spec.precision.is_none() => show(&x.abs().into()),
        (kind, _, Ok(x)) => float(x.abs(), kind, spec.precision),
        (None | Some('s'), ..) if !spec.plus && !spec.comma => {
            let shown = show(value);
            spec.precision.map_or(shown.clone(), |n| shown.chars().take(n).collect())
        }
        _ => return Err(unfit()),
    };
    let negative = value.as_int().is_ok_and(|int| int < 0)
        || value.as_float().is_ok_and(|x| x.is_sign_negative() && !x.is_nan());
    let sign = match negative {
        true => "-",
        false if spec.plus && numeric => "+",
        false => "",
    };
    let body = if spec.comma { with_commas(&body) } else { body };
    Ok(pad(sign, &body, &spec, numeric))
}

fn parse(text: &str) -> Option<Spec> {
    let mut spec = Spec::default();
    let mut chars = text.chars().peekable();
    let is_align = |c: char| "<>^".contains(c);
    if text.chars().nth(1).is_some_and(is_align) {
        spec.fill = chars.next();
    }
    spec.align = chars.next_if(|c| is_align(*c));
    spec.plus = chars.next_if_eq(&'+').is_some();
    spec.zero = chars.next_if_eq(&'0').is_some();
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
    spec.comma = chars.next_if_eq(&',').is_some();
    if chars.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(&mut chars)??);
    }
    spec.kind = chars.next_if(|c| "dfeg%s".contains(*c));
    chars.next().is_none().then_some(spec)
}

/// A number without its sign. Without a letter a precision counts significant digits, as in Python.
fn float(x: f64, kind: Option<char>, precision: Option<usize>) -> String {
    let digits = precision.unwrap_or(6);
    match kind {
        _ if !x.is_finite() => if x.is_nan() { "nan" } else { "inf" }.into(),
        Some('f') => format!("{x:.digits$}"),
        Some('%') => format!("{:.digits$}%", x * 100.0),
        Some('e') => exponent(x, digits),
        _ => general(x, digits.max(1), kind.is_none()),
    }
}

/// `1.50e-03`: at least two digits of exponent, with its sign.
fn exponent(x: f64, digits: usize) -> String {
    let text = format!("{x:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, power)) => match power.strip_prefix('-') {
            Some(power) => format!("{mantissa}e-{power:0>2}"),
            None => format!("{mantissa}e+{power:0>2}"),
        },
        None => text,
    }
}

/// `digits` significant digits without trailing zeros; very large and very small values with an exponent.
/// `keep_point` is the rule for a float without a letter: at least one digit after the point, and an
/// exponent one step earlier.
fn general(x: f64, digits: usize, keep_point: bool) -> String {
    let scientific = exponent(x, digits - 1);
    let power: i64 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    let limit = digits as i64 - i64::from(keep_point);
    if power < -4 || power >= limit {
        return match scientific.split_once('e') {
            Some((mantissa, power)) => format!("{}e{power}", trim(mantissa)),
            None => scientific,
        };
    }
    let decimals = usize::try_from(digits as i64 - 1 - power).unwrap_or(0);
    let text = trim(&format!("{x:.decimals$}"));
    if keep_point && !text.contains('.') { text + ".0" } else { text }
}

fn with_commas(body: &str) -> String {
    let end = body.find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len());
    let (whole, rest) = body.split_at(end);
    let mut out = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

fn pad(sign: &str, body: &str, spec: &Spec, numeric: bool) -> String {
    let missing = spec.width.saturating_sub(sign.len() + body.chars().count());
    let zeros = spec.zero && spec.align.is_none() && numeric;
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    let run = |n: usize| fill.to_string().repeat(n);
    match spec.align.unwrap_or(if numeric { '>' } else { '<' }) {
        _ if zeros => format!("{sign}{}{body}", run(missing)),
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
            ("{}", f64::NAN.into(), "NaN"),
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
