//! Seeded random numbers: `Rng` draws as NumPy's `default_rng`, `PythonRandom` as Python's `random.Random`.
//!
//! Both are handles: copies share one state, which every draw moves on. Arrays are values, so `shuffle` returns
//! the new order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Device;
use rhai::{Array, Dynamic, Map};

use super::tensor::{self, Tensor};
use crate::data::random::{Generator, PythonRandom, RandomError, train_test_split};
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Draws between two looks at Ctrl-C.
const STRIDE: usize = 1 << 16;

/// A generator of a script.
#[derive(Clone, Debug)]
struct Shared<G> {
    state: Arc<Mutex<G>>,
    /// Whether it was made for the rows of one `fill`, and so anew for each.
    in_fill: bool,
    context: Arc<Context>,
}

type Rng = Shared<Generator>;
type Python = Shared<PythonRandom>;

impl<G> Shared<G> {
    fn new(context: &Arc<Context>, generator: G) -> Self {
        let in_fill = context.filling.load(Ordering::Relaxed);
        Self { state: Arc::new(Mutex::new(generator)), in_fill, context: context.clone() }
    }

    /// An array; of an int `n`, the ints below it.
    fn items(&self, value: &Dynamic) -> ScriptResult<Array> {
        match value.is_int() {
            true => {
                let n = args::size(value)?;
                self.context.check_len(n)?;
                Ok((0..n as i64).map(Dynamic::from).collect())
            }
            false if value.is_array() => args::array(value),
            false => Err(expected("an array, or an int for the ints below it", value).into()),
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut G) -> Result<T, RandomError>) -> ScriptResult<T> {
        if self.context.filling.load(Ordering::Relaxed) && !self.in_fill {
            return Err(fail("a draw inside `fill` would be missing when the run is resumed")
                .help("draw for all items before, or make a generator for each item inside")
                .into());
        }
        // A generator is valid between any two draws, so a panic elsewhere does not spoil it.
        draw(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner)).map_err(refusal::of)
    }
}

impl Rng {
    /// One number, or an array of `size`.
    fn numbers<T: Into<Dynamic>>(
        &self,
        options: Map,
        owner: &'static str,
        one: impl Fn(&mut Generator) -> Result<T, RandomError>,
    ) -> ScriptResult<Dynamic> {
        let mut options = Options::new(options, owner);
        let size = options.get_usize("size")?;
        options.finish()?;
        let one = |generator: &mut Generator| one(generator).map(Into::into);
        match size {
            None => self.draw(one),
            Some(size) => {
                self.context.check_len(size)?;
                let mut drawn = Array::with_capacity(size);
                while drawn.len() < size {
                    self.context.check_interrupt()?;
                    let part = (size - drawn.len()).min(STRIDE);
                    drawn.extend(self.draw(|rng| (0..part).map(|_| one(rng)).collect::<Result<Array, _>>())?);
                }
                Ok(drawn.into())
            }
        }
    }

    fn choice(&self, items: &Dynamic, options: Map) -> ScriptResult<Dynamic> {
        let items = self.items(items)?;
        let mut options = Options::new(options, "choice");
        let size = options.get_usize("size")?;
        self.context.check_len(size.unwrap_or(1))?;
        let replace = options.get_bool("replace")?.unwrap_or(true);
        let p = options.get_with("p", |p| args::each(p, args::number))?;
        options.finish()?;
        let indices = self.draw(|rng| rng.choice(items.len(), size.unwrap_or(1), replace, p.as_deref()));
        Ok(picked(items, indices?, size.is_none()))
    }
}

/// The items at these indices; alone if one was asked for.
fn picked(items: Array, indices: Vec<usize>, alone: bool) -> Dynamic {
    let mut picked: Array = indices.into_iter().filter_map(|i| items.get(i).cloned()).collect();
    if alone { picked.pop().unwrap_or_default() } else { picked.into() }
}

/// Registers both generators, and the split.
pub fn register(api: &mut Api) {
    api.ty::<Rng>("Rng", "random numbers, those of NumPy's `default_rng`", |_| "Rng".into());
    api.ty::<Python>("PythonRandom", "random numbers, those of Python's `random.Random`", |_| {
        "PythonRandom".into()
    });
    constructors(api);
    numbers(api);
    orders(api);
    python(api);
    split(api);
}

fn constructors(api: &mut Api) {
    let context = api.context();
    let (seeded, default) = (context.clone(), context.options.seed.unwrap_or(0));
    api.function(
        "rng(seed?: int) -> Rng",
        "a generator whose draws are those of NumPy's `default_rng(seed)`; without a seed, `--seed` decides",
    )
    .example("rng(123).integers(0, 11, #{size: 5})", "[0, 7, 6, 0, 9]")
    .native(move || Rng::new(&context, Generator::new(default)))
    .native(move |seed: Dynamic| -> ScriptResult<Rng> {
        Ok(Rng::new(&seeded, Generator::new(args::size(&seed)? as u64)))
    });
    let context = api.context();
    api.function(
        "python_random(seed: int) -> PythonRandom",
        "a generator whose draws are those of Python's `random.Random(seed)`",
    )
    .example("python_random(0).sample(50, 4)", "[24, 48, 26, 2]")
    .native(move |seed: Dynamic| -> ScriptResult<Python> {
        Ok(Python::new(&context, PythonRandom::new(args::size(&seed)? as u64)))
    });
    let context = api.context();
    api.function("randn(shape: array, rng: Rng) -> Tensor", "standard normal numbers, row after row")
        .example("randn([1, 2], rng(123))", "Tensor [1, 2] [[-0.9891, -0.3678]]")
        .native(move |shape: Dynamic, rng: Rng| -> ScriptResult<Tensor> {
            let dims = args::each(&shape, args::size)?;
            tensor::check_room(&dims)?;
            let n = dims.iter().product();
            let numbers: Vec<_> =
                rng.draw(|rng| Ok((0..n).map(|_| rng.standard_normal() as f32).collect()))?;
            let tensor = candle_core::Tensor::from_vec(numbers, dims, &Device::Cpu);
            Tensor::new(&context, tensor.map_err(tensor::refused)?)
        });
}

fn numbers(api: &mut Api) {
    api.method("Rng", "random(options?: map) -> float | array", "a float in [0, 1), or an array of `size`")
        .example("rng(123).random()", "0.6823518632481435")
        .native(|rng: &mut Rng| rng.draw(|rng| Ok(rng.random())))
        .native(|rng: &mut Rng, options: Map| rng.numbers(options, "random", |rng| Ok(rng.random())));
    api.method(
        "Rng",
        "normal(mean: number, std: number, options?: map) -> float | array",
        "a normally distributed float, or an array of `size`",
    )
    .example("rng(123).normal(10, 2)", "8.021757299304298")
    .native(|rng: &mut Rng, mean: Dynamic, std: Dynamic| normal(rng, &mean, &std, Map::new()))
    .native(|rng: &mut Rng, mean: Dynamic, std: Dynamic, options: Map| normal(rng, &mean, &std, options));
    api.method(
        "Rng",
        "integers(low: int, high: int, options?: map) -> int | array",
        "an int from `low` up to, not including, `high`, or an array of `size`",
    )
    .example("rng(123).integers(0, 11)", "0")
    .native(|rng: &mut Rng, low: i64, high: i64| integers(rng, low, high, Map::new()))
    .native(|rng: &mut Rng, low: i64, high: i64, options: Map| integers(rng, low, high, options));
}

fn normal(rng: &Rng, mean: &Dynamic, std: &Dynamic, options: Map) -> ScriptResult<Dynamic> {
    let (mean, std) = (args::number(mean)?, args::number(std)?);
    rng.numbers(options, "normal", |rng| rng.normal(mean, std))
}

fn integers(rng: &Rng, low: i64, high: i64, options: Map) -> ScriptResult<Dynamic> {
    rng.numbers(options, "integers", |rng| rng.integers(low, high))
}

fn orders(api: &mut Api) {
    api.method(
        "Rng",
        "choice(items: array | int, options?: map) -> any",
        "one of the items (of an int, of the ints below it), or an array of `size`; options: `size`, `replace` (true), \
         `p` (a probability an item)",
    )
    .example("rng(123).choice([\"a\", \"b\", \"c\"], #{size: 2, replace: false})", "[\"a\", \"c\"]")
    .native(|rng: &mut Rng, items: Dynamic| rng.choice(&items, Map::new()))
    .native(|rng: &mut Rng, items: Dynamic, options: Map| rng.choice(&items, options));
    for (name, summary) in [
        (
            "permutation(items: array | int) -> array",
            "the items (of an int, the ints below it) in a random order",
        ),
        ("shuffle(items: array) -> array", "the items in a random order, as a new array"),
    ] {
        let entry = api.method("Rng", name, summary);
        let entry = match name.starts_with('p') {
            true => entry.example("rng(123).permutation(5)", "[4, 0, 2, 3, 1]"),
            false => entry.example("rng(123).shuffle([\"a\", \"b\", \"c\"])", "[\"a\", \"c\", \"b\"]"),
        };
        entry.native(|rng: &mut Rng, items: Dynamic| -> ScriptResult<Array> {
            let mut items = rng.items(&items)?;
            rng.draw(|rng| {
                rng.shuffle(&mut items);
                Ok(())
            })?;
            Ok(items)
        });
    }
}

fn python(api: &mut Api) {
    api.method("PythonRandom", "random() -> float", "a float in [0, 1)")
        .example("python_random(0).random()", "0.8444218515250481")
        .native(|random: &mut Python| random.draw(|random| Ok(random.random())));
    api.method("PythonRandom", "choice(items: array | int) -> any", "one of the items")
        .example("python_random(0).choice([\"a\", \"b\", \"c\"])", "\"b\"")
        .native(|random: &mut Python, items: Dynamic| -> ScriptResult<Dynamic> {
            let items = random.items(&items)?;
            let index = random.draw(|random| random.choice(items.len()))?;
            Ok(picked(items, vec![index], true))
        });
    api.method("PythonRandom", "sample(items: array | int, k: int) -> array", "`k` different items")
        .example("python_random(0).sample([\"a\", \"b\", \"c\"], 2)", "[\"b\", \"c\"]")
        .native(|random: &mut Python, items: Dynamic, k: Dynamic| -> ScriptResult<Dynamic> {
            let (items, k) = (random.items(&items)?, args::size(&k)?);
            random.context.check_len(k)?;
            let indices = random.draw(|random| random.sample(items.len(), k))?;
            Ok(picked(items, indices, false))
        });
    api.method(
        "PythonRandom",
        "shuffle(items: array) -> array",
        "the items in a random order, as a new array",
    )
    .example("python_random(0).shuffle([1, 2, 3, 4])", "[3, 1, 2, 4]")
    .native(|random: &mut Python, items: Array| -> ScriptResult<Array> {
        let mut items = items;
        random.draw(|random| {
            random.shuffle(&mut items);
            Ok(())
        })?;
        Ok(items)
    });
}

fn split(api: &mut Api) {
    let context = api.context();
    let default = context.options.seed.unwrap_or(0);
    let split = move |n: &Dynamic, options: Map| -> ScriptResult<Map> {
        let mut options = Options::new(options, "train_test_split");
        let test_size = options.get_f64("test_size")?.unwrap_or(0.25);
        let seed = options.get_usize("seed")?.map_or(default, |seed| seed as u64);
        options.finish()?;
        let n = args::size(n)?;
        context.check_len(n)?;
        let (train, test) = train_test_split(n, test_size, seed).map_err(refusal::of)?;
        let ints = |indices: Vec<usize>| -> Dynamic {
            indices.into_iter().map(|i| Dynamic::from(i as i64)).collect::<Array>().into()
        };
        Ok([("train".into(), ints(train)), ("test".into(), ints(test))].into_iter().collect())
    };
    let plain = split.clone();
    api.function(
        "train_test_split(n: int, options?: map) -> map",
        "the ints below `n` as scikit-learn splits them into `train` and `test`; options: `test_size` (0.25; a fraction, \
         or a count), `seed`",
    )
    .example("train_test_split(5, #{test_size: 0.4, seed: 1})", "#{test: [2, 1], train: [4, 0, 3]}")
    .native(move |n: Dynamic| plain(&n, Map::new()))
    .native(move |n: Dynamic, options: Map| split(&n, options));
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn generators_keep_their_state() {
        check(&[
            (
                "let r = rng(123); let s = r; [r.integers(0, 11), s.integers(0, 11), r.integers(0, 11)]",
                "[0, 7, 6]",
            ),
            (
                "let r = rng(123); [r.integers(0, 11), r.normal(0, 1), r.integers(0, 11)]",
                "[0, -0.3677866514678832, 7]",
            ),
            ("let a = [1, 2, 3, 4]; rng(5).shuffle(a); a", "[1, 2, 3, 4]"),
            ("rng(7).random() == rng(7).random(#{size: 2})[0]", "true"),
        ]);
    }

    #[test]
    fn impossible_draws_are_refused() {
        check(&[
            ("rng(-1)", "expected an int that is not negative, found -1"),
            (
                "rng(0).integers(5, 5)",
                "no int lies between 5 and 5, which itself is left out; the first bound must be less than the second",
            ),
            ("rng(0).choice([])", "there is nothing to choose from; check what filtered the items"),
            ("rng(0).choice(\"abc\")", "expected an array, or an int for the ints below it, found `string`"),
            (
                "python_random(0).sample([1], 2)",
                "cannot draw 2 of 1 without replacement; draw at most 1, or allow repeats: `replace: true`",
            ),
            (
                "train_test_split(1, #{test_size: 0.2})",
                "cannot split 1 items: 1 for the test, 0 for training; both sides need an item: collect more, or change \
                 `test_size`",
            ),
        ]);
    }
}
