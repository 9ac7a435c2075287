//! Statistics of arrays of numbers.

use rhai::Dynamic;

use crate::script::api::Api;
use crate::script::args;
use crate::script::error::{ScriptResult, fail};

/// Registers the statistics.
pub fn register(api: &mut Api) {
    statistic(api, "mean", "mean(values: array) -> float", "the mean", ("mean([1, 2, 6])", "3.0"), |x| {
        Some(x.iter().sum::<f64>() / x.len() as f64)
    });
    statistic(
        api,
        "std",
        "std(values: array) -> float",
        "the standard deviation, divided by n as NumPy's (ddof 0)",
        ("std([1, 3])", "1.0"),
        |x| Some((squares(x) / x.len() as f64).sqrt()),
    );
    statistic(
        api,
        "stderr",
        "stderr(values: array) -> float",
        "the standard error of the mean, from the deviation divided by n - 1 as SciPy's `sem` (ddof 1)",
        ("stderr([1, 3, 1, 3, 2])", "0.4472135954999579"),
        |x| (x.len() > 1).then(|| (squares(x) / (x.len() - 1) as f64 / x.len() as f64).sqrt()),
    );
    statistic(
        api,
        "median",
        "median(values: array) -> float",
        "the middle number; of an even count the mean of the middle two",
        ("median([1, 10, 2, 3])", "2.5"),
        median,
    );
}

/// Registers a function of at least one number; it returns none where it needs more than one.
fn statistic(
    api: &mut Api,
    name: &'static str,
    signature: &'static str,
    summary: &'static str,
    (code, output): (&'static str, &'static str),
    compute: fn(&[f64]) -> Option<f64>,
) {
    let native = move |values: rhai::Array| -> ScriptResult<f64> {
        let numbers = args::each(&Dynamic::from(values), args::number)?;
        let found = numbers.len();
        let value = (found > 0).then(|| compute(&numbers)).flatten();
        value.ok_or_else(|| {
            let needed = if found == 0 { "an empty array" } else { "a single number" };
            fail(format!("`{name}` of {needed}")).help("check what filtered the values").into()
        })
    };
    api.function(signature, summary).example(code, output).native(native);
}

/// The summed squared distances from the mean.
fn squares(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    x.iter().map(|x| (x - mean).powi(2)).sum()
}

/// NaN if one of the numbers is.
fn median(x: &[f64]) -> Option<f64> {
    if x.iter().any(|x| x.is_nan()) {
        return Some(f64::NAN);
    }
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = (sorted.get((x.len() - 1) / 2)?, sorted.get(x.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn statistics_need_numbers() {
        check(&[
            ("mean([])", "`mean` of an empty array; check what filtered the values"),
            ("stderr([1])", "`stderr` of a single number; check what filtered the values"),
            ("std([1, \"2\"])", "element 1: expected a number, found `string`"),
            ("median([3, 1, 2])", "2.0"),
        ]);
    }
}
