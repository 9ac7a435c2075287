//! A number as C and Python write it, for scripts and figures.

/// The fewest digits that mean this float, as `repr` has them: with an exponent below 1e-4 and from 1e16 on.
pub fn shortest(x: f64) -> String {
    let fewest = format!("{x:e}");
    let digits = fewest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    // Of the texts with as few digits, the nearest, which the shortest one need not be.
    let nearest = format!("{x:.0$e}", digits.saturating_sub(1));
    let scientific = if nearest.parse() == Ok(x) { nearest } else { fewest };
    let power: i64 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    match power {
        -4..=15 => {
            let decimals = usize::try_from(digits as i64 - 1 - power).unwrap_or(0).max(1);
            let nearest = format!("{x:.decimals$}");
            if nearest.parse() == Ok(x) { nearest } else { format!("{x:?}") }
        }
        _ => padded(&scientific),
    }
}

/// `digits` digits after the point and an exponent of at least two, with its sign: `1.50e-03`.
pub fn exponent(x: f64, digits: usize) -> String {
    padded(&format!("{x:.digits$e}"))
}

/// `1.50e-03` of Rust's `1.50e-3`.
fn padded(text: &str) -> String {
    match text.split_once('e') {
        Some((mantissa, power)) => match power.strip_prefix('-') {
            Some(power) => format!("{mantissa}e-{power:0>2}"),
            None => format!("{mantissa}e+{power:0>2}"),
        },
        None => text.into(),
    }
}

/// `digits` significant digits without trailing zeros; very large and very small values with an exponent.
/// `keep_point` is the rule for a float without a letter: at least one digit after the point, and an
/// exponent one step earlier.
pub fn general(x: f64, digits: usize, keep_point: bool) -> String {
    let before = digits - 1;
    let scientific = exponent(x, before);
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
