//! Round numbers along a colour bar, and every how many cells a label fits.

/// Round values inside `[low, high]`, in order, with the text of each; `count` is how many to aim for.
pub(in super::super) fn nice_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count.max(1) as f64;
    let exponent = rough.log10().floor();
    // Each factor with the power of ten of its last digit.
    let factors = [(1.0, 0), (2.0, 0), (2.5, -1), (5.0, 0), (10.0, 1)];
    let power = 10f64.powf(exponent);
    let (factor, digit) = factors.into_iter().find(|(f, _)| f * power >= rough * 0.999).unwrap_or((10.0, 1));
    let step = factor * power;
    // A range so narrow that a double cannot step through it has no round numbers in it.
    if !(step.is_normal() && low + step > low && high - step < high) {
        return vec![(low, format!("{low:e}"))];
    }
    // Rounding must not lose a tick that lies on an end.
    let slack = step * 1e-6;
    let (first, last) = (((low - slack) / step).ceil() as i64, ((high + slack) / step).floor() as i64);
    let (digit, largest) = (exponent as i32 + digit, low.abs().max(high.abs()));
    (first..=last)
        .map(|i| ((i as f64 * step).clamp(low, high), tick_text(i as f64 * step, digit, largest)))
        .collect()
}

/// Round values along an axis whose ends are values, or the logarithms of some.
pub(in super::super) fn ticks(low: f64, high: f64, count: usize, log: bool) -> Vec<(f64, String)> {
    if !log {
        return nice_ticks(low, high, count);
    }
    // Few powers of ten leave room for those in between, at about equal distances.
    let digits: &[i32] = if high - low < 2.5 { &[1, 2, 5] } else { &[1] };
    let powers = low.floor() as i32..=high.ceil() as i32;
    let all = powers.flat_map(|power| digits.iter().map(move |digit| (*digit, power)));
    let value = |(digit, power): (i32, i32)| f64::from(digit) * 10f64.powi(power);
    let inside = |tick: &(i32, i32)| (low - 1e-9..=high + 1e-9).contains(&value(*tick).log10());
    let inside: Vec<(i32, i32)> = all.filter(inside).collect();
    if inside.len() < 2 {
        return nice_ticks(10f64.powf(low), 10f64.powf(high), count);
    }
    let text = |(digit, power): (i32, i32)| match power {
        0..=4 => value((digit, power)).to_string(),
        -3..0 => format!("{:.*}", -power as usize, value((digit, power))),
        _ => format!("{digit}e{power}"),
    };
    let step = inside.len().div_ceil(count.max(1));
    inside.into_iter().step_by(step).map(|tick| (value(tick), text(tick))).collect()
}

/// Writes a tick down to its digit of 10^`digit`, with an exponent if the `largest` of the ticks is far from 1.
fn tick_text(tick: f64, digit: i32, largest: f64) -> String {
    if (1e-3..1e6).contains(&largest) {
        let decimals = (-digit).max(0) as usize;
        return format!("{tick:.decimals$}");
    }
    if tick == 0.0 {
        return "0".to_owned();
    }
    let decimals = (tick.abs().log10().floor() as i32 - digit).max(0) as usize;
    format!("{tick:.decimals$e}")
}

/// The smallest of 1, 2, 5, 10, 20, 50, ... cells of size `cell` that a label of size `extent` fits into.
pub(in super::super) fn label_step(extent: f64, cell: f64) -> usize {
    let needed = (extent / cell).ceil().max(1.0) as usize;
    let mut power = 1;
    loop {
        if let Some(step) = [1, 2, 5].map(|f| f * power).into_iter().find(|step| *step >= needed) {
            return step;
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64, count: usize) -> Vec<String> {
        nice_ticks(low, high, count).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(texts(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(-2.3, 4.1, 4), ["-2", "0", "2", "4"]);
        assert_eq!(texts(0.0, 1.0, 4), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(texts(0.0, 104.0, 5), ["0", "25", "50", "75", "100"]);
        assert_eq!(texts(0.0, 3e-5, 3), ["0", "1e-5", "2e-5", "3e-5"]);
        assert_eq!(texts(0.0, 5e6, 2), ["0", "2.5e6", "5.0e6"]);
        assert_eq!(texts(1.0, 1.0 + 1e-16, 3).len(), 1);
    }

    #[test]
    fn ticks_of_logarithms_are_powers_of_ten() {
        let texts = |low, high, count| {
            ticks(low, high, count, true).into_iter().map(|(_, text)| text).collect::<Vec<_>>()
        };
        assert_eq!(texts(-2.0, 1.2, 6), ["0.01", "0.1", "1", "10"]);
        assert_eq!(texts(-6.0, 6.0, 5), ["1e-6", "0.001", "1", "1000", "1e6"]);
        assert_eq!(texts(2.1, 3.95, 6), ["200", "500", "1000", "2000", "5000"]);
        assert_eq!(texts(0.31, 0.65, 4), ["3", "4"]);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!(
            [(10.0, 20.0), (10.0, 10.0), (10.0, 4.0), (13.0, 2.0), (13.0, 0.5)]
                .map(|(e, c)| label_step(e, c)),
            [1, 1, 5, 10, 50]
        );
    }
}
