//! How a number is written: Python's and C's format strings, as far as a cell needs them.

use super::PlotError;
use crate::number;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// `{}`: the shortest text that reads back as the same number.
    Shortest,
    /// `f`, and a bare precision.
    Fixed(usize),
    /// `e`: as C writes it, with at least two digits of exponent.
    Exponent(usize),
    /// `g`: significant digits, without trailing zeros.
    General(usize),
    /// `%`: a fraction as percent.
    Percent(usize),
}

/// A parsed format string: text around one number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NumberFormat {
    before: String,
    after: String,
    plus: bool,
    style: Style,
}

impl NumberFormat {
    /// Reads `{}`, `{:[+][.N][type]}` or `%[+][.N]type`, with text before and after; the type is one of
    /// `f`, `e`, `g`, `d` and, in braces, `%`.
    ///
    /// # Errors
    /// [`PlotError::NumberFormat`].
    pub fn parse(fmt: &str) -> Result<Self, PlotError> {
        let braces = || {
            let (before, rest) = fmt.split_once('{')?;
            let (spec, after) = rest.split_once('}')?;
            let (plus, style) = spec_of(if spec.is_empty() { spec } else { spec.strip_prefix(':')? })?;
            Some(Self { before: before.to_owned(), after: after.to_owned(), plus, style })
        };
        let percent = || {
            let (before, rest) = fmt.split_once('%')?;
            let (spec, after) = rest.split_at(rest.find(['f', 'e', 'g', 'd'])? + 1);
            let (plus, style) = spec_of(spec)?;
            Some(Self { before: before.to_owned(), after: after.replace("%%", "%"), plus, style })
        };
        braces().or_else(percent).ok_or_else(|| PlotError::NumberFormat { fmt: fmt.to_owned() })
    }

    /// With as many decimals as tell the `values` apart: two of numbers around 1, none of whole numbers or thousands, more
    /// of small ones.
    pub fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let largest = finite.clone().map(f32::abs).fold(0.0, f32::max);
        let style = match largest {
            _ if finite.clone().all(|value| value.fract() == 0.0) => Style::Fixed(0),
            1e6.. => Style::Exponent(1),
            1000.0.. => Style::Fixed(0),
            100.0.. => Style::Fixed(1),
            // Of 0.0995 two decimals would leave one digit.
            0.0995.. => Style::Fixed(2),
            1e-5.. => Style::Fixed((1.0 - largest.log10().floor()) as usize),
            _ => Style::Exponent(1),
        };
        Self { before: String::new(), after: String::new(), plus: false, style }
    }

    pub fn write(&self, value: f32) -> String {
        let number = match value {
            v if v.is_nan() => "nan".to_owned(),
            v if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_owned(),
            v => self.style.write(v),
        };
        // A rounded `-0.00` only raises the question which small number that was.
        let zero = number.starts_with('-') && !number.contains(|c: char| matches!(c, '1'..='9' | 'n'));
        let number = if zero { number.trim_start_matches('-') } else { &number };
        let plus = if self.plus && !number.starts_with(['-', 'n']) { "+" } else { "" };
        format!("{}{plus}{number}{}", self.before, self.after)
    }
}

/// Reads `[+][.N][type]`.
fn spec_of(spec: &str) -> Option<(bool, Style)> {
    let (plus, spec) = match spec.strip_prefix('+') {
        Some(rest) => (true, rest),
        None => (false, spec),
    };
    let (digits, kind) = match spec.find(|c: char| c.is_ascii_alphabetic() || c == '%') {
        Some(at) => spec.split_at(at),
        None => (spec, ""),
    };
    // More digits than any f32 has would only fill the cell.
    let precision = match digits.strip_prefix('.') {
        Some(n) => Some(n.parse::<usize>().ok().filter(|n| *n <= 50)?),
        None if digits.is_empty() => None,
        None => return None,
    };
    let style = match (kind, precision) {
        ("", None) => Style::Shortest,
        ("" | "f", n) => Style::Fixed(n.unwrap_or(6)),
        ("e", n) => Style::Exponent(n.unwrap_or(6)),
        ("g", n) => Style::General(n.unwrap_or(6).max(1)),
        ("%", n) => Style::Percent(n.unwrap_or(6)),
        ("d", None) => Style::Fixed(0),
        _ => return None,
    };
    Some((plus, style))
}

impl Style {
    fn write(self, value: f32) -> String {
        let wide = f64::from(value);
        match self {
            Self::Shortest => value.to_string(),
            Self::Fixed(n) => format!("{wide:.n$}"),
            Self::Percent(n) => format!("{:.n$}%", wide * 100.0),
            Self::Exponent(n) => number::exponent(wide, n),
            Self::General(n) => number::general(wide, n, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        for (fmt, value, expected) in [
            ("{:.2}", 0.125, "0.12"),
            ("{:.2f}", -1.0, "-1.00"),
            ("%.2f", -0.001, "0.00"),
            ("{}", 0.1, "0.1"),
            ("{:+.1f}", 2.0, "+2.0"),
            ("{:+.1f}", f32::NAN, "nan"),
            ("{:.0%}", 0.25, "25%"),
            ("%.1f%%", 12.5, "12.5%"),
            ("%d", 41.6, "42"),
            ("{:.1e}", 0.000_012, "1.2e-05"),
            ("{:.3g}", 1234.5, "1.23e+03"),
            ("{:.3g}", 0.5, "0.5"),
            ("p={:.1f}", f32::NEG_INFINITY, "p=-inf"),
        ] {
            assert_eq!(NumberFormat::parse(fmt).expect(fmt).write(value), expected, "{fmt} of {value}");
        }
    }

    #[test]
    fn other_formats_are_refused() {
        for fmt in ["", "2", "{", "{:.2", "{:.x}", "{:>8}", "%", "%s", "{:.999}", "{:x}", "{.2}"] {
            assert_eq!(NumberFormat::parse(fmt), Err(PlotError::NumberFormat { fmt: fmt.into() }), "{fmt}");
        }
    }

    #[test]
    fn decimals_follow_the_values() {
        let write = |values: &[f32]| -> Vec<String> {
            let format = NumberFormat::of(values.iter().copied());
            values.iter().map(|value| format.write(*value)).collect()
        };
        assert_eq!(write(&[0.5, -1.25, f32::NAN]), ["0.50", "-1.25", "nan"]);
        assert_eq!(write(&[0.0021, -0.0004]), ["0.0021", "-0.0004"]);
        assert_eq!(write(&[3.0, -12.0, 0.0]), ["3", "-12", "0"]);
        assert_eq!(write(&[120.55, 3.0]), ["120.6", "3.0"]);
        assert_eq!(write(&[1234.6, 3.2]), ["1235", "3"]);
        assert_eq!(write(&[3.5e-8]), ["3.5e-08"]);
        assert_eq!(write(&[2.5e7, 0.5]), ["2.5e+07", "5.0e-01"]);
    }
}
