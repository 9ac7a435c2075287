//! Gradients against differences, and what training must reach.

use super::*;
use crate::data::rows::Matrix;
use crate::model::Point;

const WIDTH: usize = 16;

fn options(goal: Goal) -> TrainOptions {
    TrainOptions {
        goal,
        features: 24,
        k: 3,
        steps: 600,
        batch: 256,
        rate: 3e-3,
        seed: 0,
        site: At { point: Point::ResidPost, layer: 4 },
        model: Some("demo".into()),
    }
}

/// Sums of three of 20 directions and a constant, and the directions.
fn sparse(rows: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Generator::new(3);
    let mut directions: Vec<f32> = (0..20 * WIDTH).map(|_| rng.standard_normal() as f32).collect();
    directions.chunks_mut(WIDTH).for_each(to_length_1);
    let mut x = Vec::new();
    for _ in 0..rows {
        let mut row = vec![40.0; WIDTH];
        for feature in rng.permutation(20).into_iter().take(3) {
            let size = 50.0 + 20.0 * rng.random() as f32;
            add(&mut row, size, &directions[feature * WIDTH..][..WIDTH]);
        }
        x.extend(row);
    }
    (x, directions)
}

fn tensor(x: &[f32]) -> Tensor {
    Tensor::from_slice(x, (x.len() / WIDTH, WIDTH), &Device::Cpu).unwrap()
}

#[test]
fn directions_that_made_the_rows_are_found() {
    let (x, directions) = sparse(4000);
    // So many directions overlap in so few dimensions, and a threshold, unlike a choice, lets neighbours pass.
    for (goal, least) in [(Goal::TopK, 15), (Goal::JumpRelu, 8)] {
        let sae = train(&Matrix::new(&x, WIDTH), &options(goal), |_| true).unwrap();
        let explained = sae.explained(&tensor(&x), None).unwrap();
        assert!(explained.variance > 0.85, "{goal:?}: {explained:?}");
        assert!((explained.l0 - 3.0).abs() < 0.6, "{goal:?}: {explained:?}");
        let found: Vec<f32> = sae.tensors().unwrap()["W_dec"].flatten_all().unwrap().to_vec1().unwrap();
        let best =
            |direction: &[f32]| found.chunks(WIDTH).map(|found| dot(found, direction)).fold(0.0, f32::max);
        let near = directions.chunks(WIDTH).filter(|direction| best(direction) > 0.9).count();
        assert!(near >= least, "{goal:?}: {near} of 20");
        found.chunks(WIDTH).for_each(|row| assert!((dot(row, row) - 1.0).abs() < 1e-5));
    }
}

#[test]
fn gradients_are_those_of_the_loss() {
    let (x, _) = sparse(8);
    let options = options(Goal::TopK);
    let mean = mean(&Matrix::new(&x, WIDTH));
    let batch: Vec<f32> = x.iter().map(|x| x * 0.05).collect();
    let trainer = || Trainer::new(WIDTH, &mean, 0.05, &options);
    // The squared error a row, as a function of everything.
    let loss = |t: &Trainer| {
        let centred: Vec<f32> =
            batch.iter().enumerate().map(|(i, x)| x - t.b_dec.values[i % WIDTH]).collect();
        let pre = t.product(&centred).unwrap();
        let rows = batch.chunks(WIDTH).zip(pre.chunks(options.features));
        rows.map(|(x, pre)| squares(&t.row(x, pre, &[], 0.0).error)).sum::<f64>() / 8.0
    };
    // After the first step Adam's average holds a tenth of the gradient.
    let mut stepped = trainer();
    stepped.step(&batch, 0).unwrap();
    type Pick = for<'a, 'b> fn(&'b mut Trainer<'a>) -> &'b mut Parameter;
    let picks: [(&str, Pick); 3] =
        [("W_enc", |t| &mut t.w_enc), ("b_enc", |t| &mut t.b_enc), ("b_dec", |t| &mut t.b_dec)];
    let mut seen = 0;
    for (name, pick) in picks {
        for i in (0..pick(&mut stepped).values.len()).step_by(5) {
            let found = f64::from(pick(&mut stepped).first[i]) * 10.0;
            let moved = |by: f32| {
                let mut t = trainer();
                pick(&mut t).values[i] += by;
                loss(&t)
            };
            let expected = (moved(2e-3) - moved(-2e-3)) / 4e-3;
            assert!(
                (found - expected).abs() < 0.02 * expected.abs().max(1.0),
                "{name}[{i}]: {found}, {expected}"
            );
            seen += usize::from(expected.abs() > 0.1);
        }
    }
    assert!(seen > 20, "{seen} gradients tell anything");
    // The decoder's without what would change the length of a direction.
    let (start, mut seen) = (trainer(), 0);
    for feature in 0..options.features {
        let row = feature * WIDTH..(feature + 1) * WIDTH;
        let slope = |i: usize| {
            let moved = |by: f32| {
                let mut t = trainer();
                t.w_dec.values[i] += by;
                loss(&t)
            };
            ((moved(2e-3) - moved(-2e-3)) / 4e-3) as f32
        };
        let mut expected: Vec<f32> = row.clone().map(slope).collect();
        let direction = &start.w_dec.values[row.clone()];
        let along = dot(&expected, direction);
        add(&mut expected, -along, direction);
        for (found, expected) in stepped.w_dec.first[row].iter().zip(expected) {
            assert!((found * 10.0 - expected).abs() < 0.02 * expected.abs().max(1.0), "{found}, {expected}");
            seen += usize::from(expected.abs() > 0.1);
        }
    }
    assert!(seen > 20, "{seen} gradients tell anything");
}

#[test]
fn the_same_seed_gives_the_same_autoencoder() {
    let (x, _) = sparse(300);
    let with = |seed| {
        let options = TrainOptions { steps: 30, seed, ..options(Goal::TopK) };
        train(&Matrix::new(&x, WIDTH), &options, |_| true).unwrap().to_bytes().unwrap()
    };
    assert!(with(1) == with(1) && with(1) != with(2));
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let (mut x, _) = sparse(10);
    let told = |x: &[f32], change: fn(&mut TrainOptions)| {
        let mut options = options(Goal::TopK);
        change(&mut options);
        train(&Matrix::new(x, WIDTH), &options, |step| step < 2).err().unwrap().to_string()
    };
    assert_eq!(told(&x[..WIDTH], |_| ()), "activations of shape [1, 16] are too few to learn from");
    assert_eq!(told(&[1.0; 5 * WIDTH], |_| ()), "all 5 rows are the same");
    assert_eq!(told(&x, |o| o.k = 25), "option `k` is 25, expected 1 to 24, the features");
    assert_eq!(told(&x, |o| o.batch = 0), "option `batch` is 0, expected a number above 0");
    assert_eq!(told(&x, |o| o.rate = f64::NAN), "option `lr` is NaN, expected a number above 0");
    assert_eq!(told(&x, |_| ()), "interrupted");
    x[20] = f32::INFINITY;
    assert_eq!(told(&x, |_| ()), "the activations hold inf, in row 1");
}
