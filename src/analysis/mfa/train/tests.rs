//! Gradients against differences and the example by hand, what training must reach, and trainings that ended early.

use nalgebra::DMatrix;

use super::super::density::{Block, Densities};
use super::super::forms::Forms;
use super::super::gradient::{Component, Sums, noise_gradient, shares};
use super::super::parameters::{Arrays, EPS_FLOOR, Parameters};
use super::super::real::Real;
use super::super::tensors::TensorLearner;
use super::super::tests::{GOLD_ROWS, SIZES, close, gold, random, saved};
use super::super::{Sizes, Stored};
use super::*;
use crate::analysis::kmeans::Metric;
use crate::data::random::Generator;
use crate::data::rows::Matrix;
use crate::help::Help;

/// The gradients of the mean negative log likelihood by everything, and it.
fn gradients<F: Real>(mfa: &Mfa<F>, x: &dyn Rows) -> (f64, Arrays<F>) {
    let (parameters, forms) = (&mfa.parameters, &mfa.forms);
    let sizes = parameters.sizes;
    let (mut block, mut densities) = (Block::default(), Densities::default());
    block.gather(x, 0..x.len(), &mfa.shift).unwrap();
    densities.compute(parameters, forms, &block);
    let nll = -densities.responsibilities(F::of(1.0)).iter().sum::<f64>() / x.len() as f64;
    let mut out = Arrays::zeros(sizes);
    let mut sums = Sums::default();
    let (mut all, mut squares) = (0.0, vec![0.0; sizes.width]);
    for k in 0..sizes.components {
        let list = shares(&densities, k);
        sums.gather(Component::of(parameters, forms, k), &block, &densities, &list);
        let norm = sums.gradient(Component::of(parameters, forms, k), x.len());
        let lengths = sums.rows.iter().chain(&sums.scale).map(|g| g.f64().powi(2)).sum::<f64>();
        assert!((norm.f64() - lengths).abs() <= 1e-5 * lengths);
        out.rows[k * sizes.block()..][..sizes.block()].copy_from_slice(&sums.rows);
        out.scale_rho[k * sizes.rank..][..sizes.rank].copy_from_slice(&sums.scale);
        out.pi_logits[k] = F::of(forms.log_pi[k].exp() - sums.n.f64() / x.len() as f64);
        all += sums.n.f64();
        squares.iter_mut().zip(&sums.squares).for_each(|(to, x)| *to += x.f64());
        if sizes.psi_per_component {
            let own = k * sizes.width..(k + 1) * sizes.width;
            let (rho, p) = (&parameters.arrays.psi_rho[own.clone()], &forms.precision[own.clone()]);
            noise_gradient(&mut sums.squares, rho, p, sums.n, x.len());
            out.psi_rho[own].copy_from_slice(&sums.squares);
        }
    }
    if !sizes.psi_per_component {
        out.psi_rho = squares.into_iter().map(F::of).collect();
        let rho = &parameters.arrays.psi_rho;
        noise_gradient(&mut out.psi_rho, rho, &forms.precision, F::of(all), x.len());
    }
    (nll, out)
}

fn hold_gold<F: Real>(tolerance: f64) {
    let (nll, found) = gradients(&Mfa::<F>::new(gold()).unwrap(), &Matrix::new(&GOLD_ROWS, 3));
    close(&[nll], &[3.645709984242669], tolerance);
    let [a, b] = [&found.rows[..6], &found.rows[6..]];
    let mean = [-0.07122574, -0.04587979, -0.32093846, -0.16336867, 0.24615036, 0.01377606];
    let raw = [0.03597564, 0.0119522, -0.02698173, 0.00150302, -0.00700716, -0.00625565];
    close(&[&a[..3], &b[..3]].concat(), &mean, tolerance);
    close(&[&a[3..], &b[3..]].concat(), &raw, tolerance);
    close(&found.scale_rho, &[-0.01706219, 0.04468784], tolerance);
    close(&found.psi_rho, &[0.30382306, 0.21163799, 0.16044425], tolerance);
    close(&found.pi_logits, &[0.06222044, -0.06222044], tolerance);
}

#[test]
fn gradients_are_the_example_s_in_both_precisions() {
    // The example has eight digits.
    hold_gold::<f64>(6e-9);
    hold_gold::<f32>(1e-4);
}

#[test]
fn gradients_are_differences_of_the_likelihood() {
    type Pick = for<'a> fn(&'a mut Stored<f64>) -> &'a mut Vec<f64>;
    let picks: [Pick; 5] =
        [|s| &mut s.mu, |s| &mut s.dir_raw, |s| &mut s.scale_rho, |s| &mut s.psi_rho, |s| &mut s.pi_logits];
    for (seed, sizes) in SIZES.into_iter().enumerate() {
        let (stored, x) = random::<f64>(10 + seed as u64, sizes);
        let rows = Matrix::new(&x, sizes.width);
        let (_, found) = gradients(&Mfa::new(stored.clone()).unwrap(), &rows);
        for (which, pick) in picks.into_iter().enumerate() {
            let len = pick(&mut stored.clone()).len();
            for at in (0..len).step_by((len / 30).max(1)) {
                let nll = |step: f64| {
                    let mut moved = stored.clone();
                    pick(&mut moved)[at] += step;
                    let nll = Mfa::new(moved).unwrap().nll(&rows).unwrap();
                    nll.iter().sum::<f64>() / nll.len() as f64
                };
                let slope = (nll(1e-5) - nll(-1e-5)) / 2e-5;
                let (d, q) = (sizes.width, sizes.rank);
                let own = match which {
                    0 => found.rows[at / d * sizes.block() + at % d],
                    1 => found.rows[at / (d * q) * sizes.block() + (1 + at % q) * d + at / q % d],
                    2 => found.scale_rho[at],
                    3 => found.psi_rho[at],
                    _ => found.pi_logits[at],
                };
                assert!((own - slope).abs() < 2e-8 * (1.0 + slope.abs()), "{which} {at}: {own} for {slope}");
            }
        }
    }
}

/// Adam as it is written down, on gradients of everything at once, in float64.
#[test]
fn a_step_is_adam_s_with_a_gradient_shortened_to_the_clip() {
    for (sizes, clip) in [(SIZES[1], None), (SIZES[2], Some(0.05)), (SIZES[2], Some(1e6))] {
        let (stored, x) = random::<f32>(3, sizes);
        let mfa = Mfa::new(stored).unwrap();
        let rows = Matrix::new(&x, sizes.width);
        let mut learner = Learner::new(mfa.parameters.clone());
        let mut block = Block::default();
        block.gather(&rows, 0..rows.len(), &mfa.shift).unwrap();
        let mut want = mfa.parameters.clone();
        let zeros = || Arrays::<f32>::zeros(sizes);
        let (mut first, mut second) = (zeros(), zeros());
        for t in 1..=3 {
            let now = Mfa::of(want.clone(), &mfa.shift).unwrap();
            let (nll, gradient) = gradients(&now, &rows);
            let squares = gradient.named().into_iter().flat_map(|(_, g)| g).map(|g| f64::from(*g).powi(2));
            let norm = squares.sum::<f64>().sqrt();
            let factor = clip.map_or(1.0, |clip: f64| (clip / (norm + 1e-6)).min(1.0));
            let arrays = want.arrays.named_mut().into_iter().zip(first.named_mut()).zip(second.named_mut());
            for ((((_, p), (_, m)), (_, v)), (_, g)) in arrays.zip(gradient.named()) {
                for i in 0..p.len() {
                    let g = f64::from(g[i]) * factor;
                    let (a, b) = (0.9 * f64::from(m[i]) + 0.1 * g, 0.999 * f64::from(v[i]) + 0.001 * g * g);
                    let root = (b / (1.0 - 0.999f64.powi(t))).sqrt() + 1e-8;
                    p[i] = (f64::from(p[i]) - 0.01 * a / (1.0 - 0.9f64.powi(t)) / root) as f32;
                    (m[i], v[i]) = (a as f32, b as f32);
                }
            }
            let found = learner.step(&block, 0.01, clip).unwrap() / rows.len() as f64;
            assert!((found - nll).abs() < 1e-4 * nll.abs());
        }
        for ((_, found), (name, want)) in learner.parameters.arrays.named().iter().zip(want.arrays.named()) {
            for (found, want) in found.iter().zip(want) {
                assert!((found - want).abs() < 1e-3, "{name}: {found} for {want}");
            }
        }
    }
}

/// A mixture drawn at random, rows drawn from it, and rows to try it on.
struct Truth {
    mfa: Mfa,
    train: Vec<f32>,
    test: Vec<f32>,
}

fn truth(sizes: Sizes, train: usize, test: usize) -> Truth {
    let Sizes { components, width, rank, .. } = sizes;
    let mut rng = Generator::new(11);
    let mut draw = |len: usize, spread: f64| {
        (0..len).map(|_| (spread * rng.standard_normal()) as f32).collect::<Vec<_>>()
    };
    let stored = Stored {
        sizes,
        mu: draw(components * width, 5.0),
        dir_raw: draw(components * width * rank, 1.0),
        scale_rho: draw(components * rank, 0.2).into_iter().map(|x| x + 3.0).collect(),
        psi_rho: draw(sizes.noise(), 0.3).into_iter().map(|x| x - 1.0).collect(),
        pi_logits: draw(components, 0.3),
        eps_floor: EPS_FLOOR,
    };
    let mfa = Mfa::new(stored).unwrap();
    let parts: Vec<_> = (0..components).map(|k| (mfa.loadings(k).unwrap(), mfa.noise(k).unwrap())).collect();
    let chosen = rng.choice(components, train + test, true, Some(&mfa.weights())).unwrap();
    let mut rows = Vec::with_capacity((train + test) * width);
    for k in chosen {
        let (w, psi) = &parts[k];
        let z: Vec<f64> = (0..rank).map(|_| rng.standard_normal()).collect();
        for (d, mean) in mfa.mean(k).unwrap().iter().enumerate() {
            let along: f64 = w[d * rank..][..rank].iter().zip(&z).map(|(w, z)| f64::from(*w) * z).sum();
            let noise = f64::from(psi[d]).sqrt() * rng.standard_normal();
            rows.push((f64::from(*mean) + along + noise) as f32);
        }
    }
    let test = rows.split_off(train * width);
    Truth { mfa, train: rows, test }
}

fn mean_of(nll: Vec<f64>) -> f64 {
    nll.iter().sum::<f64>() / nll.len() as f64
}

/// The largest angle between the spaces of a component and of the other's nearest, in degrees.
fn angle(of: &Mfa, k: usize, other: &Mfa) -> f64 {
    let distance = |j: &usize| -> f64 {
        let pairs = of.mean(k).unwrap().iter().zip(other.mean(*j).unwrap());
        pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
    };
    let nearest = (0..other.components()).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap();
    let basis = |mfa: &Mfa, k: usize| {
        let w: Vec<f64> = mfa.loadings(k).unwrap().into_iter().map(f64::from).collect();
        DMatrix::from_row_slice(mfa.width(), mfa.rank(), &w).qr().q()
    };
    let cosines = (basis(of, k).transpose() * basis(other, nearest)).singular_values();
    cosines.min().min(1.0).acos().to_degrees()
}

fn kmeans_options() -> KMeansOptions {
    KMeansOptions { restarts: 10, pool: Some(5000), refine: 3, ..KMeansOptions::default() }
}

#[test]
fn both_methods_find_the_mixture_that_rows_were_drawn_from() {
    let sizes = Sizes { components: 20, width: 64, rank: 4, psi_per_component: false };
    let truth = truth(sizes, 50_000, 5_000);
    let (train_rows, test_rows) = (Matrix::new(&truth.train, 64), Matrix::new(&truth.test, 64));
    let best = mean_of(truth.mfa.nll(&test_rows).unwrap());
    for (method, epochs) in [(Method::Em, 20), (Method::Adam, 12)] {
        let options = TrainOptions {
            components: 20,
            rank: 4,
            init: Init::KMeans(kmeans_options()),
            method,
            epochs,
            lr: 3e-3,
            ..TrainOptions::default()
        };
        let mfa = train(&train_rows, None, &options, None, &mut ()).unwrap();
        let found = mean_of(mfa.nll(&test_rows).unwrap());
        assert!((found - best) / best.abs() < 0.005, "{method:?}: {found} for {best}");
        for k in 0..20 {
            let angle = angle(&truth.mfa, k, &mfa);
            assert!(angle < 10.0, "{method:?}, component {k}: {angle} degrees");
        }
        if method == Method::Em {
            let falls = mfa.history.windows(2).all(|pair| pair[1].train_nll <= pair[0].train_nll + 1e-4);
            assert!(falls, "{:?}", mfa.history);
        }
    }
}

/// Small rows, and options under which everything that a state holds matters.
fn small(method: Method, psi_per_component: bool) -> (Truth, TrainOptions) {
    let sizes = Sizes { components: 4, width: 10, rank: 2, psi_per_component };
    let options = TrainOptions {
        components: 4,
        rank: 2,
        psi_per_component,
        method,
        epochs: 4,
        batch: 50,
        lr: 3e-2,
        clip: Some(1.0),
        ..TrainOptions::default()
    };
    (truth(sizes, 430, 100), options)
}

/// Ends a training before a step, and keeps what the last epoch said.
#[derive(Default)]
struct Killed {
    before: Option<(usize, usize)>,
    kept: Vec<u8>,
    epochs: usize,
}

impl Watch for Killed {
    fn go_on(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Step { epoch, step, .. } => self.before != Some((epoch, step)),
            Progress::KMeans(_) => true,
        }
    }

    fn epoch(&mut self, done: &Done<'_>) -> io::Result<()> {
        self.kept.clear();
        self.epochs += 1;
        done.keep(&mut self.kept)
    }
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_bytes() {
    for (method, psi_per_component) in
        [(Method::Adam, false), (Method::Adam, true), (Method::Em, false), (Method::Em, true)]
    {
        let (truth, options) = small(method, psi_per_component);
        let (rows, test) = (Matrix::new(&truth.train, 10), Matrix::new(&truth.test, 10));
        let mut whole = Killed::default();
        let mfa = train(&rows, Some(&test), &options, None, &mut whole).unwrap();
        assert_eq!((mfa.history.len(), whole.epochs), (4, 4));
        let step = if method == Method::Adam { 5 } else { 0 };
        let mut killed = Killed { before: Some((2, step)), ..Killed::default() };
        let error = train(&rows, Some(&test), &options, None, &mut killed).unwrap_err();
        assert!(matches!(error, MfaError::Interrupted));
        let kept = Kept::from_bytes(&killed.kept).unwrap();
        assert_eq!(kept.epochs(), 2);
        let mut resumed = Killed::default();
        let again = train(&rows, Some(&test), &options, Some(kept), &mut resumed).unwrap();
        assert_eq!(saved(&again), saved(&mfa), "{method:?}");
        assert_eq!(resumed.kept, whole.kept, "{method:?}");
        // Nothing is left to do of a training that ended.
        let done = Kept::from_bytes(&whole.kept).unwrap();
        assert_eq!(saved(&train(&rows, Some(&test), &options, Some(done), &mut ()).unwrap()), saved(&mfa));
    }
}

#[test]
fn a_state_of_another_training_is_refused() {
    let (truth, options) = small(Method::Adam, false);
    let rows = Matrix::new(&truth.train, 10);
    let mut kept = Killed::default();
    train(&rows, None, &options, None, &mut kept).unwrap();
    let refused = |rows: &dyn Rows, options: &TrainOptions| {
        let kept = Kept::from_bytes(&kept.kept).unwrap();
        train(rows, None, options, Some(kept), &mut ()).unwrap_err().to_string()
    };
    let other = |change: &dyn Fn(&mut TrainOptions)| {
        let mut options = options.clone();
        change(&mut options);
        refused(&rows, &options)
    };
    let start = "the training that was kept is another: its ";
    assert_eq!(other(&|o| o.seed = 5), format!("{start}`seed` is 0, not 5"));
    assert_eq!(other(&|o| o.rank = 3), format!("{start}`rank` is 2, not 3"));
    assert_eq!(other(&|o| o.lr = 0.5), format!("{start}`lr` is 0.03, not 0.5"));
    assert_eq!(other(&|o| o.method = Method::Em), format!("{start}`method` is adam, not em"));
    assert!(
        refused(&Matrix::new(&truth.train[..4000], 10), &options)
            .starts_with(&format!("{start}`rows` is 430 of 10"))
    );
    let mut changed = truth.train.clone();
    changed[4273] += 1e-3;
    assert!(
        refused(&Matrix::new(&changed, 10), &options).starts_with(&format!("{start}`rows` is 430 of 10")),
        "one number of one row"
    );
    let wide = Matrix::new(&truth.train, 5);
    assert_eq!(refused(&wide, &options), format!("{start}`width` is 10, not 5"));
    for cut in [0, 7, 200, kept.kept.len() - 1] {
        assert!(matches!(Kept::from_bytes(&kept.kept[..cut]), Err(MfaError::NotSafetensors(_))));
    }
    // A mixture is no training.
    let mfa = train(&rows, None, &options, None, &mut ()).unwrap();
    assert!(matches!(Kept::from_bytes(&saved(&mfa)), Err(MfaError::NoTraining)));
}

#[test]
fn the_best_epoch_is_restored_and_patience_ends_a_training() {
    let (truth, mut options) = small(Method::Adam, false);
    let (rows, test) = (Matrix::new(&truth.train[..200], 10), Matrix::new(&truth.test, 10));
    (options.epochs, options.lr, options.patience) = (60, 0.1, Some(2));
    let mfa = train(&rows, Some(&test), &options, None, &mut ()).unwrap();
    let values: Vec<f64> = mfa.history.iter().map(|epoch| epoch.val_nll.unwrap()).collect();
    let best = values.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(values.len() < 60, "so few rows are soon learned by heart: {values:?}");
    assert_eq!(values.iter().position(|x| *x == best).unwrap() + 3, values.len());
    let found = mean_of(mfa.nll(&test).unwrap());
    assert!((found - best).abs() < 1e-3, "{found} for {best}");
    assert!(mfa.metadata["training"].contains(&format!("\"best_epoch\":{}", values.len() - 3)));
}

#[test]
fn every_beginning_is_served_and_the_same_seed_gives_the_same_bytes() {
    let (truth, options) = small(Method::Adam, false);
    let rows = Matrix::new(&truth.train, 10);
    let means: Vec<f32> = (0..4).flat_map(|k| truth.mfa.mean(k).unwrap().to_vec()).collect();
    let cosine = KMeansOptions { metric: Metric::Cosine, ..kmeans_options() };
    let inits = [
        Init::Rows,
        Init::KMeans(kmeans_options()),
        Init::KMeans(cosine),
        Init::Centroids(means),
        Init::Mfa(Box::new(truth.mfa.clone())),
    ];
    for init in inits {
        let options = TrainOptions { init, steps_per_epoch: Some(3), shuffle: false, ..options.clone() };
        let mfa = train(&rows, None, &options, None, &mut ()).unwrap();
        if !matches!(options.init, Init::Mfa(_)) {
            assert!(mfa.history[3].train_nll < mfa.history[0].train_nll, "{}", options.init.name());
        }
        assert_eq!(saved(&train(&rows, None, &options, None, &mut ()).unwrap()), saved(&mfa));
        let other = TrainOptions { seed: 1, shuffle: true, ..options };
        assert_ne!(saved(&train(&rows, None, &other, None, &mut ()).unwrap()), saved(&mfa));
    }
}

#[test]
fn rows_and_options_that_cannot_serve_are_refused() {
    let (truth, options) = small(Method::Adam, false);
    let refused = |x: &[f32], change: &dyn Fn(&mut TrainOptions)| {
        let mut options = options.clone();
        change(&mut options);
        let error = train(&Matrix::new(x, 10), None, &options, None, &mut ()).unwrap_err();
        assert!(error.help().is_some(), "{error}");
        error.to_string()
    };
    let any = |_: &mut TrainOptions| {};
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let mut x = truth.train.clone();
        x[123] = value;
        assert_eq!(refused(&x, &any), format!("the rows hold {value}, in row 12"));
    }
    let x = &truth.train;
    assert_eq!(refused(&x[..30], &any), "3 rows are too few for 4 components");
    assert_eq!(refused(&[], &any), "0 rows are too few for 4 components");
    assert_eq!(refused(x, &|o| o.rank = 11), "11 directions a component, in rows of 10 numbers");
    assert!(refused(x, &|o| o.rank = 0).contains("does nothing"));
    assert!(refused(x, &|o| o.components = 0).contains("does nothing"));
    assert_eq!(refused(x, &|o| o.epochs = 0), "option `epochs` is 0, expected a number above 0");
    assert_eq!(refused(x, &|o| o.batch = 0), "option `batch` is 0, expected a number above 0");
    assert_eq!(refused(x, &|o| o.patience = Some(0)), "option `patience` is 0, expected a number above 0");
    assert_eq!(refused(x, &|o| o.lr = -1.0), "option `lr` is -1, expected a number above 0");
    assert_eq!(refused(x, &|o| o.clip = Some(f64::NAN)), "option `clip` is NaN, expected a number above 0");
    assert!(refused(x, &|o| (o.lr, o.clip) = (1e30, None)).starts_with("the training ran away at step "));
    assert_eq!(
        refused(x, &|o| o.init = Init::Centroids(vec![0.0; 39])),
        "`init` holds 39 numbers, expected 40"
    );
    let (wide, _) = random::<f32>(0, SIZES[1]);
    let wide = Mfa::new(wide).unwrap();
    assert_eq!(
        refused(x, &|o| o.init = Init::Mfa(Box::new(wide.clone()))),
        "the mixture reads rows of 5 numbers, these have 10"
    );
    let mut smaller = options.clone();
    smaller.components = 3;
    let smaller = train(&Matrix::new(x, 10), None, &smaller, None, &mut ()).unwrap();
    assert!(
        refused(x, &|o| o.init = Init::Mfa(Box::new(smaller.clone()))).contains("a mixture of 3 components")
    );
    let narrow = Matrix::new(x, 5);
    let error = train(&Matrix::new(x, 10), Some(&narrow), &options, None, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), "the mixture reads rows of 10 numbers, these have 5");
}

#[test]
fn tensors_learn_as_the_cpu_does() {
    let device = Device::Cpu;
    for (sizes, clip) in [(SIZES[1], None), (SIZES[2], None), (SIZES[2], Some(0.05)), (SIZES[3], None)] {
        let (stored, x) = random::<f32>(8, sizes);
        let mfa = Mfa::new(stored).unwrap();
        let mut block = Block::default();
        block.gather(&Matrix::new(&x, sizes.width), 0..x.len() / sizes.width, &mfa.shift).unwrap();
        let mut cpu = Learner::new(mfa.parameters.clone());
        let mut tensors = TensorLearner::new(&cpu, block.len, &device).unwrap();
        let rows = tensors.rows(&block.x).unwrap();
        let mut read = Learner::new(mfa.parameters.clone());
        let mut want = Vec::new();
        for step in 0..6 {
            // What was read goes on as if it had not been.
            if step == 3 {
                tensors.read(&mut read).unwrap();
                assert_eq!(read.steps, 3);
                let unread = tensors.likelihoods().unwrap();
                assert_eq!(unread.len(), 3);
                tensors = TensorLearner::new(&read, block.len, &device).unwrap();
                hold_likelihoods(&unread, &want);
                want.clear();
            }
            want.push(cpu.step(&block, 1e-3, clip).unwrap() / block.len as f64);
            tensors.step(&rows, 1e-3, clip).unwrap();
        }
        hold_likelihoods(&tensors.likelihoods().unwrap(), &want);
        tensors.read(&mut read).unwrap();
        for (found, want) in [
            (&read.parameters.arrays, &cpu.parameters.arrays),
            (&read.first, &cpu.first),
            (&read.second, &cpu.second),
        ] {
            for ((name, found), (_, want)) in found.named().into_iter().zip(want.named()) {
                let off = found.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                // Six steps go at most 6e-3; where a gradient is nearly 0 its sign is rounding.
                let apart = found.iter().zip(want).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
                assert!(off < 1e-2 && apart * 50 <= found.len(), "{name}: {off}, {apart} of {}", found.len());
            }
        }
        let nll = tensors.nll(&rows).unwrap();
        let next = cpu.step(&block, 1e-3, clip).unwrap();
        assert!((nll - next).abs() < 1e-4 * next.abs(), "{nll} for {next}");
    }
}

fn hold_likelihoods(found: &[f32], want: &[f64]) {
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        assert!((f64::from(*found) - want).abs() < 1e-4 * want.abs(), "{found} for {want}");
    }
}

#[test]
fn what_is_left_out_has_no_share() {
    for psi_per_component in [false, true] {
        let sizes = Sizes { components: 60, width: 80, rank: 5, psi_per_component };
        let mut rng = Generator::new(3);
        let mut draw = |len: usize| (0..len).map(|_| rng.standard_normal() as f32).collect::<Vec<_>>();
        let centres = draw(12 * 80);
        let near = |noise: Vec<f32>, spread: f32| -> Vec<f32> {
            noise.iter().enumerate().map(|(at, x)| 4.0 * centres[at % centres.len()] + spread * x).collect()
        };
        let (means, x) = (near(draw(60 * 80), 0.5), near(draw(90 * 80), 1.0));
        let mut parameters = Parameters::around(&means, sizes, 1e-5, &mut Generator::new(4));
        let mut block = Block::default();
        block.gather(&Matrix::new(&x, 80), 0..90, &[0.0; 80]).unwrap();
        let mut learner = Learner::new(parameters.clone());
        for spread in [1.0, 40.0] {
            parameters.arrays.scale_rho.fill(spread);
            let forms = Forms::new(&parameters).unwrap();
            let (mut all, mut likely) = (Densities::default(), Densities::default());
            all.compute(&parameters, &forms, &block);
            likely.compute_likely(&parameters, &forms, &block);
            let left_out = likely.joint.iter().filter(|joint| **joint == f32::NEG_INFINITY).count();
            // Wide components reach everywhere, and all pairs are looked at.
            assert_eq!(left_out > 60 * 90 / 2, spread == 1.0, "{left_out}");
            close(&likely.log_likelihoods(), &all.log_likelihoods(), 1e-5);
            close(&likely.responsibilities(1.0), &all.responsibilities(1.0), 1e-5);
            let wide: Vec<f64> = all.joint.iter().map(|r| f64::from(*r)).collect();
            close(&likely.joint, &wide, 1e-3);
            for (b, k) in (0..90).flat_map(|b| (0..60).map(move |k| (b, k))) {
                if all.joint[k * 90 + b] > 0.0 {
                    let [mut found, mut want] = [[0.0; 5]; 2];
                    likely.latent(&forms, k, b, &mut found);
                    all.latent(&forms, k, b, &mut want);
                    close(&found, &want.map(f64::from), 1e-4);
                }
            }
        }
        let before = learner.step(&block, 1e-2, None).unwrap();
        let after = (0..20).fold(before, |_, _| learner.step(&block, 1e-2, None).unwrap());
        assert!(after < before);
    }
}
