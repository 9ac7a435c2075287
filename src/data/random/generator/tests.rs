//! Against draws that NumPy made; `tests/fixtures/make_random.py` writes them.

use serde_json::{Value as Json, json};

use super::*;

fn ints(rng: &mut Generator, low: i64, high: i64, n: usize) -> Vec<i64> {
    (0..n).map(|_| rng.integers(low, high).unwrap()).collect()
}

fn each(check: impl Fn(&dyn Fn() -> Generator, &Json)) {
    for case in super::golden()["numpy"].as_array().unwrap() {
        let seed = case["seed"].as_u64().unwrap();
        check(&|| Generator::new(seed), case);
    }
}

#[test]
fn normal_numbers_are_numpys_bit_for_bit() {
    each(|rng, golden| {
        let mut draws = rng();
        let normal: Vec<_> = (0..2000).map(|_| draws.standard_normal()).step_by(10).collect();
        assert_eq!(json!(normal), golden["normal"]);
        // Enough to meet the tail and every layer's edge; NumPy sums pairwise, so the last digits differ.
        let mut draws = rng();
        let sum: f64 = (0..200_000).map(|_| draws.standard_normal()).sum();
        let expected = golden["normal_sum"].as_f64().unwrap();
        assert!((sum - expected).abs() < 1e-9, "{sum}, expected {expected}");
    });
}

#[test]
fn ints_are_numpys() {
    each(|rng, golden| {
        assert_eq!(json!(ints(&mut rng(), -3, 40, 30)), golden["integers"]);
        let mut wide = ints(&mut rng(), -(1 << 62), 1 << 62, 10);
        // The whole range of an int, which has no exclusive bound.
        let mut draws = rng();
        wide.extend((0..4).map(|_| i64::MIN.wrapping_add(draws.up_to(u64::MAX) as i64)));
        assert_eq!(json!(wide), golden["wide"]);
    });
}

#[test]
fn half_words_outlive_other_draws() {
    each(|rng, golden| {
        let mut rng = rng();
        let mut mixed = Vec::new();
        for high in [11, 5, (1 << 31) + 5, 1 << 32, (1 << 33) + 7, 3] {
            mixed.push(json!(rng.integers(0, high).unwrap()));
            mixed.push(json!(rng.normal(3.0, 0.5).unwrap()));
            mixed.push(json!(rng.random()));
            mixed.push(json!(rng.choice(9, 1, true, None).unwrap()[0]));
        }
        assert_eq!(json!(mixed), golden["mixed"]);
    });
}

#[test]
fn choices_are_numpys() {
    const P: [f64; 6] = [0.1, 0.0, 0.4, 0.2, 0.05, 0.25];
    each(|rng, golden| {
        assert_eq!(json!(rng().permutation(17)), golden["permutation"]);
        assert_eq!(json!(rng().choice(11, 20, true, None).unwrap()), golden["choice"]);
        assert_eq!(json!(rng().choice(6, 20, true, Some(&P)).unwrap()), golden["choice_p"]);
        let distinct =
            [(10, 10), (100, 7), (20_000, 5)].map(|(n, k)| rng().choice(n, k, false, None).unwrap());
        assert_eq!(json!(distinct), golden["distinct"]);
        assert_eq!(json!(rng().choice(10_400, 300, false, None).unwrap()), golden["distinct_shuffled"]);
        let weighted = [1, 3, 5].map(|k| rng().choice(6, k, false, Some(&P)).unwrap());
        assert_eq!(json!(weighted), golden["distinct_p"]);
        let mut rng = rng();
        let chained = json!([
            rng.choice(10, 3, false, None).unwrap(),
            rng.permutation(5),
            ints(&mut rng, 0, 7, 3),
            rng.standard_normal()
        ]);
        assert_eq!(chained, golden["chained"]);
    });
}

#[test]
fn impossible_draws_are_refused() {
    let mut rng = Generator::new(0);
    assert_eq!(rng.integers(3, 3), Err(RandomError::EmptyRange { low: 3, high: 3 }));
    assert_eq!(rng.normal(0.0, -1.0), Err(RandomError::Deviation { std: -1.0 }));
    assert_eq!(rng.choice(0, 1, true, None), Err(RandomError::NothingToChoose));
    assert_eq!(rng.choice(2, 3, false, None), Err(RandomError::TooFew { size: 3, n: 2 }));
    assert_eq!(rng.choice(2, 2, false, Some(&[1.0, 0.0])), Err(RandomError::TooFew { size: 2, n: 1 }));
    assert_eq!(rng.choice(2, 1, true, Some(&[1.0])), Err(RandomError::ProbabilityCount { found: 1, n: 2 }));
    assert_eq!(rng.choice(2, 1, true, Some(&[0.5, 0.4])), Err(RandomError::ProbabilitySum { sum: 0.9 }));
    let nan = rng.choice(2, 1, true, Some(&[f64::NAN, 1.0])).unwrap_err();
    assert_eq!(nan.to_string(), "probability 0 is NaN");
}
