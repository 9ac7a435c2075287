//! Statistics of samples: what describes one, how sure its mean is, and whether two differ.

use super::random::{Generator, RandomError};

/// Why a statistic has no value.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum StatisticsError {
    #[error("`{statistic}` of an empty array")]
    Empty { statistic: &'static str },
    #[error("`{statistic}` of a single number")]
    Single { statistic: &'static str },
    #[error("`{statistic}` of values of which number {index} is {value}")]
    NotFinite { statistic: &'static str, index: usize, value: f64 },
    #[error("{what} {value} is not between 0 and 1")]
    Fraction { what: &'static str, value: f64 },
    #[error("`{statistic}` with {n} draws")]
    TooManyDraws { statistic: &'static str, n: usize, most: usize },
    #[error("`{statistic}` was stopped")]
    Stopped { statistic: &'static str },
    #[error("`{statistic}` with no draws")]
    NoDraws { statistic: &'static str },
    #[error("pairs need two arrays of one length, found {a} and {b}")]
    Unpaired { a: usize, b: usize },
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Resamples, at most: the mean of each is kept.
const MOST_RESAMPLES: usize = 100_000_000;
/// Relabellings, at most: they are only counted, and no digit of a result shows what they would add beyond that.
const MOST_RELABELLINGS: usize = 10_000_000_000;

/// Between two questions whether to go on, in numbers that were drawn.
const STRIDE: usize = 1 << 16;

type Result<T> = std::result::Result<T, StatisticsError>;

/// The mean.
pub fn mean(x: &[f64]) -> Result<f64> {
    not_empty("mean", x)?;
    Ok(average(x))
}

/// The standard deviation, divided by n as NumPy's (ddof 0).
pub fn std(x: &[f64]) -> Result<f64> {
    not_empty("std", x)?;
    Ok((squares(x) / x.len() as f64).sqrt())
}

/// The standard error of the mean, from the deviation divided by n - 1 as SciPy's `sem` (ddof 1).
pub fn stderr(x: &[f64]) -> Result<f64> {
    not_empty("stderr", x)?;
    if x.len() < 2 {
        return Err(StatisticsError::Single { statistic: "stderr" });
    }
    Ok((squares(x) / (x.len() - 1) as f64 / x.len() as f64).sqrt())
}

/// The middle number; of an even count the mean of the middle two. NaN if one of the numbers is.
pub fn median(x: &[f64]) -> Result<f64> {
    not_empty("median", x)?;
    Ok(quantile_of_sorted(&sorted(x), 0.5))
}

/// The number below which a fraction `q` lies, between two numbers by a straight line as NumPy's `quantile`. NaN if
/// one of the numbers is.
pub fn quantile(x: &[f64], q: f64) -> Result<f64> {
    not_empty("quantile", x)?;
    if !(0.0..=1.0).contains(&q) {
        return Err(StatisticsError::Fraction { what: "quantile", value: q });
    }
    Ok(quantile_of_sorted(&sorted(x), q))
}

/// What resampling says of a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// The deviation of the resampled means (ddof 1).
    pub stderr: f64,
}

/// The percentile interval of the mean from `n` resamples (Efron 1979), draw for draw that of SciPy's
/// `bootstrap(method="percentile", rng=default_rng(seed))`. `level` is the interval's, 0.95 for 95 percent.
///
/// Asks `go_on` now and then.
pub fn bootstrap(x: &[f64], n: usize, level: f64, seed: u64, go_on: &dyn Fn() -> bool) -> Result<Interval> {
    const NAME: &str = "bootstrap";
    not_empty(NAME, x)?;
    finite(NAME, x)?;
    if !(level > 0.0 && level < 1.0) {
        return Err(StatisticsError::Fraction { what: "level", value: level });
    }
    if n < 2 {
        return Err(StatisticsError::NoDraws { statistic: NAME });
    }
    let rounds = rounds(NAME, n, MOST_RESAMPLES, x.len(), go_on)?;
    let mut rng = Generator::new(seed);
    let mut means = Vec::with_capacity(n);
    for round in rounds {
        round?;
        let picked = rng.choice(x.len(), x.len(), true, None)?;
        means.push(picked.into_iter().map(|i| x[i]).sum::<f64>() / x.len() as f64);
    }
    let stderr = (squares(&means) / (n - 1) as f64).sqrt();
    let means = sorted(&means);
    let tail = (1.0 - level) / 2.0;
    Ok(Interval {
        mean: average(x),
        low: quantile_of_sorted(&means, tail),
        high: quantile_of_sorted(&means, 1.0 - tail),
        stderr,
    })
}

/// Whether two samples differ in their means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// `mean(a) - mean(b)`.
    pub difference: f64,
    /// How often chance makes a difference as large, on either side.
    pub p: f64,
}

/// Compares the means of two samples with those of `n` random relabellings: swaps within pairs if `paired`, else
/// any. `p` counts the samples themselves as one relabelling, so that it is never 0 (Phipson and Smyth 2010).
/// Asks `go_on` now and then.
pub fn permutation_test(
    a: &[f64],
    b: &[f64],
    n: usize,
    paired: bool,
    seed: u64,
    go_on: &dyn Fn() -> bool,
) -> Result<Difference> {
    const NAME: &str = "permutation_test";
    for x in [a, b] {
        not_empty(NAME, x)?;
        finite(NAME, x)?;
    }
    if paired && a.len() != b.len() {
        return Err(StatisticsError::Unpaired { a: a.len(), b: b.len() });
    }
    if n == 0 {
        return Err(StatisticsError::NoDraws { statistic: NAME });
    }
    let rounds = rounds(NAME, n, MOST_RELABELLINGS, a.len() + b.len(), go_on)?;
    let mut rng = Generator::new(seed);
    let difference = average(a) - average(b);
    let mut all = [a, b].concat();
    // Sums in another order differ in the last bits, which must not hide an equal difference.
    let scale = all.iter().fold(0.0_f64, |max, x| max.max(x.abs()));
    let limit = difference.abs() - 1e-12 * scale;
    let mut as_large = 0;
    for round in rounds {
        round?;
        if paired {
            for i in 0..a.len() {
                if rng.choice(2, 1, true, None)? == [1] {
                    all.swap(i, a.len() + i);
                }
            }
        } else {
            rng.shuffle(&mut all);
        }
        let (a, b) = all.split_at(a.len());
        as_large += usize::from((average(a) - average(b)).abs() >= limit);
    }
    Ok(Difference { difference, p: (as_large + 1) as f64 / (n + 1) as f64 })
}

/// `n` rounds, of at most `most`, of `len` draws each, which end early with an error if `go_on` says no.
fn rounds<'a>(
    statistic: &'static str,
    n: usize,
    most: usize,
    len: usize,
    go_on: &'a dyn Fn() -> bool,
) -> Result<impl Iterator<Item = Result<()>> + use<'a>> {
    if n > most {
        return Err(StatisticsError::TooManyDraws { statistic, n, most });
    }
    let stride = (STRIDE / len.max(1)).max(1);
    Ok((0..n).map(move |i| match i.is_multiple_of(stride) && !go_on() {
        true => Err(StatisticsError::Stopped { statistic }),
        false => Ok(()),
    }))
}

fn not_empty(statistic: &'static str, x: &[f64]) -> Result<()> {
    if x.is_empty() { Err(StatisticsError::Empty { statistic }) } else { Ok(()) }
}

fn finite(statistic: &'static str, x: &[f64]) -> Result<()> {
    match x.iter().position(|x| !x.is_finite()) {
        Some(index) => Err(StatisticsError::NotFinite { statistic, index, value: x[index] }),
        None => Ok(()),
    }
}

fn average(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The summed squared distances from the mean.
fn squares(x: &[f64]) -> f64 {
    let mean = average(x);
    x.iter().map(|x| (x - mean).powi(2)).sum()
}

fn sorted(x: &[f64]) -> Vec<f64> {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn quantile_of_sorted(x: &[f64], q: f64) -> f64 {
    // A NaN sorts to one of the ends, by its sign.
    if let Some(nan) = x.iter().find(|x| x.is_nan()) {
        return *nan;
    }
    let place = q * (x.len() - 1) as f64;
    let (below, above) = (x[place.floor() as usize], x[place.ceil() as usize]);
    let along = place.fract();
    if below == above {
        return below;
    }
    if below.is_infinite() || above.is_infinite() {
        // Nothing lies between but the infinite end; NaN between both.
        return below + above;
    }
    // From the nearer side, as NumPy.
    if along < 0.5 { below + (above - below) * along } else { above - (above - below) * (1.0 - along) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, from_value};

    use super::*;
    use crate::data::random::generator::golden;

    fn numbers(json: &Json) -> Vec<f64> {
        from_value(json.clone()).unwrap()
    }

    fn close(a: f64, b: &Json) {
        let b = b.as_f64().unwrap();
        assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{a}, expected {b}");
    }

    #[test]
    fn quantiles_are_numpys() {
        let golden = &golden()["quantiles"];
        let values = numbers(&golden["values"]);
        for (q, expected) in numbers(&golden["q"]).into_iter().zip(numbers(&golden["found"])) {
            assert_eq!(quantile(&values, q).unwrap(), expected, "{q}");
        }
        assert!(quantile(&[1.0, -f64::NAN], 1.0).unwrap().is_nan());
        assert!(median(&[f64::NAN, 0.0, 1.0]).unwrap().is_nan());
        assert_eq!(median(&[1.0, 10.0, 2.0, 3.0]), Ok(2.5));
        assert_eq!(quantile(&[1.0], 95.0).unwrap_err().to_string(), "quantile 95 is not between 0 and 1");
    }

    #[test]
    fn intervals_are_scipys() {
        for case in golden()["bootstrap"].as_array().unwrap() {
            let [n, seed] = ["n", "seed"].map(|key| case[key].as_u64().unwrap());
            let values = numbers(&case["values"]);
            let level = case["level"].as_f64().unwrap();
            let found = bootstrap(&values, n as usize, level, seed, &|| true).unwrap();
            close(found.low, &case["low"]);
            close(found.high, &case["high"]);
            close(found.stderr, &case["stderr"]);
            assert!(found.low < found.mean && found.mean < found.high);
        }
        let nan = bootstrap(&[0.5, f64::NAN], 10, 0.95, 0, &|| true).unwrap_err();
        assert_eq!(nan.to_string(), "`bootstrap` of values of which number 1 is NaN");
        assert!(
            bootstrap(&[], 10, 0.95, 0, &|| true).is_err()
                && bootstrap(&[1.0], 10, 95.0, 0, &|| true).is_err()
        );
    }

    #[test]
    fn permutation_tests_find_the_share_of_relabellings() {
        // Of the 20 ways to label 3 of 6 numbers, these two splits alone are as far apart: p = 2/20.
        let (a, b) = ([0.1, 0.7, 0.3], [5.0, 4.0, 6.5]);
        let found = permutation_test(&a, &b, 20_000, false, 1, &|| true).unwrap();
        assert!((found.p - 0.1).abs() < 0.01, "{found:?}");
        assert!((found.difference - (1.1 - 15.5) / 3.0).abs() < 1e-12);
        // Of the 8 ways to swap within pairs, two: p = 1/4.
        let paired = permutation_test(&a, &b, 20_000, true, 1, &|| true).unwrap();
        assert!((paired.p - 0.25).abs() < 0.015, "{paired:?}");
        assert_eq!(permutation_test(&a, &a, 100, false, 1, &|| true).unwrap().p, 1.0);
        assert_eq!(
            permutation_test(&a, &b[..2], 9, true, 0, &|| true).unwrap_err(),
            StatisticsError::Unpaired { a: 3, b: 2 }
        );
    }
}
