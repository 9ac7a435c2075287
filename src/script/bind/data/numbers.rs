//! Statistics of arrays of numbers, and tables of counts.

use std::collections::HashMap;

use candle_core::Device;
use rhai::{Array, Dynamic, Map};

use crate::data::statistics::{self, StatisticsError};
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options, type_of};
use crate::script::bind::refusal;
use crate::script::bind::tensor::{Tensor, check_room, refused};
use crate::script::error::{ScriptResult, fail};

/// Registers the statistics.
pub fn register(api: &mut Api) {
    for (signature, summary, code, output, compute) in DESCRIPTIVE {
        api.function(signature, summary)
            .example(code, output)
            .native(move |values: Array| compute(&numbers(values)?).map_err(refusal::of));
    }
    api.function(
        "quantile(values: array, q: number) -> float",
        "the number below which a fraction `q` lies, between two numbers by a straight line as NumPy's",
    )
    .example("quantile([1, 2, 3, 10], 0.75)", "4.75")
    .native(|values: Array, q: Dynamic| {
        statistics::quantile(&numbers(values)?, args::number(&q)?).map_err(refusal::of)
    });
    inference(api);
    confusion(api);
}

/// A function of an array: its signature, meaning, example and output.
type Statistic =
    (&'static str, &'static str, &'static str, &'static str, fn(&[f64]) -> Result<f64, StatisticsError>);

const DESCRIPTIVE: [Statistic; 4] = [
    ("mean(values: array) -> float", "the mean", "mean([1, 2, 6])", "3.0", statistics::mean),
    (
        "std(values: array) -> float",
        "the standard deviation, divided by n as NumPy's (ddof 0)",
        "std([1, 3])",
        "1.0",
        statistics::std,
    ),
    (
        "stderr(values: array) -> float",
        "the standard error of the mean, from the deviation divided by n - 1 as SciPy's `sem` (ddof 1)",
        "stderr([1, 3, 1, 3, 2])",
        "0.4472135954999579",
        statistics::stderr,
    ),
    (
        "median(values: array) -> float",
        "the middle number; of an even count the mean of the middle two",
        "median([1, 10, 2, 3])",
        "2.5",
        statistics::median,
    ),
];

fn numbers(values: Array) -> ScriptResult<Vec<f64>> {
    args::each(&values.into(), args::number)
}

fn inference(api: &mut Api) {
    let context = api.context();
    let default_seed = context.options.seed.unwrap_or(0);
    let resampled = context.clone();
    let bootstrap = move |values: Array, options: Map| -> ScriptResult<Map> {
        let mut options = Options::new(options, "bootstrap");
        let n = options.get_usize("n")?.unwrap_or(10_000);
        let level = options.get_f64("level")?.unwrap_or(0.95);
        let seed = options.get_usize("seed")?.map_or(default_seed, |seed| seed as u64);
        options.finish()?;
        memory::reserve_many(n, 2 * size_of::<f64>())?;
        let found = statistics::bootstrap(&numbers(values)?, n, level, seed, &|| !resampled.interrupted());
        let found =
            found.map_err(|error| resampled.check_interrupt().err().unwrap_or_else(|| refusal::of(error)))?;
        let entries =
            [("mean", found.mean), ("low", found.low), ("high", found.high), ("stderr", found.stderr)];
        Ok(entries.into_iter().map(|(name, x)| (name.into(), x.into())).collect())
    };
    let plain = bootstrap.clone();
    api.function(
        "bootstrap(values: array, options?: map) -> map",
        "how sure a mean is: `mean`, the ends `low` and `high` of its percentile interval, and `stderr`, from resampling \
         as SciPy's `bootstrap`; options: `n` (10000), `level` (0.95), `seed`",
    )
    .example("bootstrap([0, 1, 1, 0, 1, 1], #{n: 1000}).low", "0.3333333333333333")
    .native(move |values: Array| plain(values, Map::new()))
    .native(bootstrap);

    let test = move |a: Array, b: Array, options: Map| -> ScriptResult<Map> {
        let mut options = Options::new(options, "permutation_test");
        let n = options.get_usize("n")?.unwrap_or(10_000);
        let paired = options.get_bool("paired")?.unwrap_or(false);
        let seed = options.get_usize("seed")?.map_or(default_seed, |seed| seed as u64);
        options.finish()?;
        let go_on = || !context.interrupted();
        let found = statistics::permutation_test(&numbers(a)?, &numbers(b)?, n, paired, seed, &go_on);
        let found =
            found.map_err(|error| context.check_interrupt().err().unwrap_or_else(|| refusal::of(error)))?;
        let entries = [("difference", found.difference), ("p", found.p)];
        Ok(entries.into_iter().map(|(name, x)| (name.into(), x.into())).collect())
    };
    let plain = test.clone();
    api.function(
        "permutation_test(a: array, b: array, options?: map) -> map",
        "whether two samples differ: the `difference` of their means, and `p`, how often random relabelling makes one as \
         large on either side; options: `n` (10000), `paired` (false), `seed`",
    )
    .example("permutation_test([1, 2, 3], [4, 5, 6], #{n: 1000}).difference", "-3.0")
    .native(move |a: Array, b: Array| plain(a, b, Map::new()))
    .native(test);
}

fn confusion(api: &mut Api) {
    let context = api.context();
    api.function(
        "confusion(targets: array, predictions: array, labels: array) -> Tensor",
        "how often each label was predicted for each target, [targets, predictions], both in the order of `labels`",
    )
    .example(
        "confusion([\"a\", \"a\", \"b\"], [\"a\", \"b\", \"b\"], [\"a\", \"b\"])",
        "Tensor [2, 2] [[1.0, 1.0], [0.0, 1.0]]",
    )
    .native(move |targets: Array, predictions: Array, labels: Array| -> ScriptResult<Tensor> {
        if targets.len() != predictions.len() {
            let (targets, predictions) = (targets.len(), predictions.len());
            return Err(fail(format!("{targets} targets, but {predictions} predictions"))
                .help("give a prediction for each target")
                .into());
        }
        let n = labels.len();
        check_room(&[n, n])?;
        let key = |value: &Dynamic| (type_of(value), value.to_string());
        // The first of equal labels counts.
        let places: HashMap<_, _> = labels.iter().enumerate().rev().map(|(i, label)| (key(label), i)).collect();
        let index = |side: &str, i: usize, value: &Dynamic| -> ScriptResult<usize> {
            places.get(&key(value)).copied().ok_or_else(|| {
                let known: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
                let value = if value.is_unit() { "()".into() } else { value.to_string() };
                fail(format!("{side} {i}, `{value}`, is none of the labels"))
                    .help(format!("the labels are {}", known.join(", ")))
                    .into()
            })
        };
        let mut counts = vec![0.0_f32; n * n];
        for (i, (target, prediction)) in targets.iter().zip(&predictions).enumerate() {
            counts[index("target", i, target)? * n + index("prediction", i, prediction)?] += 1.0;
        }
        let counts = candle_core::Tensor::from_vec(counts, (n, n), &Device::Cpu).map_err(refused)?;
        Tensor::new(&context, counts)
    });
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
            (
                "let inf = 1.0 / 0.0; [median([inf, inf]), quantile([1, inf, inf], 0.75), median([1, inf])]",
                "[inf, inf, inf]",
            ),
            (
                "let nan = 0.0 / 0.0; [median([1, nan]), mean([1, nan]), quantile([-nan, 1], 0), std([1, nan])]",
                "[NaN, NaN, NaN, NaN]",
            ),
            ("[quantile([5], 0.3), std([5]), median([5])]", "[5.0, 0.0, 5.0]"),
            ("quantile([3, 1, 2], 50)", "quantile 50 is not between 0 and 1; write 95 percent as `0.95`"),
            (
                "bootstrap([0.0 / 0.0])",
                "`bootstrap` of values of which number 0 is NaN; leave out what has no value before",
            ),
            (
                "confusion([\"a\", ()], [\"a\", \"a\"], [\"a\"])",
                "target 1, `()`, is none of the labels; the labels are `a`",
            ),
            ("confusion([1], [], [1])", "1 targets, but 0 predictions; give a prediction for each target"),
            ("confusion([1], [true], [1, true, \"1\"])[0]", "Tensor [3] [0.0, 1.0, 0.0]"),
        ]);
    }
}
