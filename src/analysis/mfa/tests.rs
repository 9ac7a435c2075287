//! The example that was computed by hand, dense Gaussians, and files.

use nalgebra::{DMatrix, DVector};

use super::density::{Block, Densities};
use super::forms::Forms;
use super::steer::Units;
use super::*;
use crate::data::random::Generator;
use crate::data::rows::{Matrix, Rows};
use crate::help::Help;

/// Two components of rank 1 over three numbers, whose every number is known.
pub(super) fn gold<F: Real>() -> Stored<F> {
    let of = |values: &[f64]| values.iter().map(|x| F::of(*x)).collect::<Vec<F>>();
    Stored {
        sizes: Sizes { components: 2, width: 3, rank: 1, psi_per_component: false },
        mu: of(&[0.5, -1.0, 2.0, -0.25, 0.75, 0.0]),
        dir_raw: of(&[3.0, 0.0, 4.0, 1.0, 2.0, -2.0]),
        scale_rho: of(&[0.5, -1.0]),
        psi_rho: of(&[0.0, 1.0, -0.5]),
        pi_logits: of(&[0.2, -0.3]),
        eps_floor: 1e-5,
    }
}

pub(super) const GOLD_ROWS: [f32; 6] = [0.0, 0.0, 0.0, 1.0, -1.0, 3.0];

pub(super) fn close<F: Real>(found: &[F], want: &[f64], tolerance: f64) {
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        let off = (found.f64() - want).abs();
        assert!(off <= tolerance * want.abs().max(1.0), "{found:?} for {want}");
    }
}

fn hold_gold<F: Real>(tolerance: f64) {
    let mfa = Mfa::<F>::new(gold()).unwrap();
    let x = Matrix::new(&GOLD_ROWS, 3);
    close(&mfa.noise(1).unwrap(), &[0.6931571806, 1.3132716875, 0.4740869842], tolerance);
    close(&mfa.loadings(0).unwrap(), &[0.5844461905, 0.0, 0.7792615873], tolerance);
    close(&mfa.loadings(1).unwrap(), &[0.1044205625, 0.208841125, -0.208841125], tolerance);
    let ll = [-5.146549262, -2.6588951879, -3.3128060118, -13.3144311711];
    close(&mfa.log_likelihoods(&x).unwrap(), &ll, tolerance);
    close(&mfa.latent(&x, 0).unwrap(), &[-1.3372209697, 0.7446078972], tolerance);
    close(&mfa.latent(&x, 1).unwrap(), &[-0.0715257425, -1.2371589969], tolerance);
    close(&mfa.forms.covariance, &[0.3605338039, 0.8764716988], tolerance);
    let nll = mfa.nll(&x).unwrap();
    close(&nll, &[3.5045644638, 3.7868555046], tolerance);
    close(&[nll.iter().sum::<f64>() / 2.0], &[3.645709984242669], tolerance);
    let r = [0.12050527124, 0.87949472876, 0.99997250902, 2.7490978802e-5];
    close(&mfa.responsibilities(&x, 1.0).unwrap(), &r, tolerance);
    let made = [-0.2603687108, 0.5259783083, 0.1285761019, 0.9351471157, -0.9999589936, 2.5801805013];
    close(&mfa.reconstruct(&x).unwrap(), &made, tolerance);
    let z = [F::of(2.0)];
    let moved = [0.058841125, 0.86768225, -0.41768225, 0.458841125, 0.46768225, 0.78231775];
    let steered = mfa.steer_latent(&x, Some(1), F::of(0.6), Latent::Same(&z), Units::Posterior).unwrap();
    close(&steered, &moved, tolerance);
}

#[test]
fn the_example_by_hand_holds_in_both_precisions() {
    hold_gold::<f64>(1e-9);
    hold_gold::<f32>(1e-4);
}

#[test]
fn coordinates_are_the_example_s() {
    let mfa = Mfa::<f64>::new(gold()).unwrap();
    let x = Matrix::new(&GOLD_ROWS, 3);
    let raw = mfa.project(&x, 1, false).unwrap();
    close(&raw.coordinates, &[0.0, -2.3333333], 1e-7);
    close(&raw.centroid, &[0.4166667], 1e-7);
    close(&raw.energy, &[0.0, 49.0 / 9.0], 1e-6);
    close(&raw.ratio, &[0.0, 49.0 / 99.0], 1e-6);
    let centred = mfa.project(&x, 1, true).unwrap();
    close(&centred.coordinates, &[0.0, -2.3333333], 1e-7);
    assert_eq!(centred.centroid, [0.0]);
    // (1, -1, 3) less the mean's part outside of the direction, which is the mean less 0.4166667 of the direction.
    let outside = [-0.25 - 0.4166667 / 3.0, 0.75 - 0.4166667 * 2.0 / 3.0, 0.4166667 * 2.0 / 3.0];
    let length: f64 = [1.0, -1.0, 3.0].iter().zip(outside).map(|(x, o): (&f64, f64)| (x - o).powi(2)).sum();
    close(&centred.ratio[1..], &[49.0 / 9.0 / length], 1e-6);
}

/// A mixture of any numbers, and rows near its means.
pub(super) fn random<F: Real>(seed: u64, sizes: Sizes) -> (Stored<F>, Vec<f32>) {
    let mut rng = Generator::new(seed);
    let mut draw =
        |len: usize, spread: f64| (0..len).map(|_| spread * rng.standard_normal()).collect::<Vec<_>>();
    let Sizes { components, width, rank, .. } = sizes;
    let mu = draw(components * width, 1.0);
    let rows = 3 * components;
    let noise = draw(rows * width, 1.0);
    let x = (0..rows * width).map(|at| (mu[at % mu.len()] + noise[at]) as f32).collect();
    let mut of = |len: usize, spread: f64| draw(len, spread).into_iter().map(F::of).collect::<Vec<F>>();
    let stored = Stored {
        sizes,
        mu: mu.iter().map(|x| F::of(*x)).collect(),
        dir_raw: of(components * width * rank, 2.0),
        scale_rho: of(components * rank, 1.0),
        psi_rho: of(sizes.noise(), 1.0),
        pi_logits: of(components, 1.0),
        eps_floor: 1e-5,
    };
    (stored, x)
}

pub(super) const SIZES: [Sizes; 4] = [
    Sizes { components: 1, width: 1, rank: 1, psi_per_component: false },
    Sizes { components: 3, width: 5, rank: 2, psi_per_component: false },
    Sizes { components: 4, width: 37, rank: 7, psi_per_component: true },
    Sizes { components: 5, width: 6, rank: 6, psi_per_component: true },
];

#[test]
fn densities_are_those_of_dense_gaussians() {
    for (seed, sizes) in SIZES.into_iter().enumerate() {
        let (stored, x) = random::<f64>(seed as u64, sizes);
        let mfa = Mfa::new(stored).unwrap();
        let Sizes { components, width, rank, .. } = sizes;
        let rows = Matrix::new(&x, width);
        let ll = mfa.log_likelihoods(&rows).unwrap();
        let r = mfa.responsibilities(&rows, 1.0).unwrap();
        let nll = mfa.nll(&rows).unwrap();
        let pi = mfa.weights();
        for (b, x) in x.chunks(width).enumerate() {
            let x = DVector::from_iterator(width, x.iter().map(|x| f64::from(*x)));
            let mut want = Vec::new();
            for k in 0..components {
                let w = DMatrix::from_row_slice(width, rank, &mfa.loadings(k).unwrap());
                let c = &w * w.transpose() + DMatrix::from_diagonal(&DVector::from(mfa.noise(k).unwrap()));
                let y = &x - DVector::from_column_slice(mfa.mean(k).unwrap());
                let chol = c.cholesky().unwrap();
                let quad = y.dot(&chol.solve(&y));
                let determinant = 2.0 * chol.l().diagonal().iter().map(|x| x.ln()).sum::<f64>();
                want.push(-0.5 * (width as f64 * std::f64::consts::TAU.ln() + determinant + quad));
                // The posterior mean by its other formula, Wᵀ C⁻¹ (x - mu).
                let z = w.transpose() * chol.solve(&y);
                close(&mfa.latent(&Matrix::new(rows.row(b), width), k).unwrap(), z.as_slice(), 1e-9);
            }
            close(&ll[b * components..][..components], &want, 1e-9);
            let density: f64 = want.iter().zip(&pi).map(|(ll, pi)| pi * ll.exp()).sum();
            close(&[nll[b]], &[-density.ln()], 1e-9);
            let shares: Vec<f64> = want.iter().zip(&pi).map(|(ll, pi)| pi * ll.exp() / density).collect();
            close(&r[b * components..][..components], &shares, 1e-9);
        }
    }
}

#[test]
fn many_rows_far_from_0_read_as_in_float64() {
    let sizes = Sizes { components: 6, width: 70, rank: 4, psi_per_component: false };
    for psi_per_component in [false, true] {
        let sizes = Sizes { psi_per_component, ..sizes };
        let (mut stored, mut x) = random::<f64>(5, sizes);
        stored.mu.iter_mut().for_each(|x| *x = f64::from((*x + 300.0) as f32));
        x.iter_mut().for_each(|x| *x += 300.0);
        let x: Vec<f32> = (0..1200).flat_map(|i| x[i % 18 * 70..][..70].to_vec()).collect();
        let rows = Matrix::new(&x, 70);
        let narrow = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        let mfa = Mfa::new(Stored {
            sizes,
            mu: narrow(&stored.mu),
            dir_raw: narrow(&stored.dir_raw),
            scale_rho: narrow(&stored.scale_rho),
            psi_rho: narrow(&stored.psi_rho),
            pi_logits: narrow(&stored.pi_logits),
            eps_floor: 1e-5,
        });
        let (mfa, wide) = (mfa.unwrap(), Mfa::new(stored).unwrap());
        close(&mfa.nll(&rows).unwrap(), &wide.nll(&rows).unwrap(), 1e-5);
        let ll = wide.log_likelihoods(&rows).unwrap();
        close(&mfa.log_likelihoods(&rows).unwrap(), &ll, 1e-5);
    }
}

#[test]
fn directions_that_nearly_are_one_lose_no_identity() {
    let sizes = Sizes { components: 1, width: 40, rank: 3, psi_per_component: false };
    let (mut stored, x) = random::<f32>(2, sizes);
    stored.dir_raw =
        (0..40 * 3).map(|at| 1.0 + (at / 3) as f32 + 1e-4 * (at % 3 * (at / 3 % 2)) as f32).collect();
    stored.scale_rho = vec![3000.0; 3];
    stored.psi_rho = vec![-3.0; 40];
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let exact = Mfa::new(Stored {
        sizes,
        mu: wide(&stored.mu),
        dir_raw: wide(&stored.dir_raw),
        scale_rho: wide(&stored.scale_rho),
        psi_rho: wide(&stored.psi_rho),
        pi_logits: wide(&stored.pi_logits),
        eps_floor: 1e-5,
    });
    let found = Mfa::new(stored).unwrap().nll(&Matrix::new(&x, 40)).unwrap();
    close(&found, &exact.unwrap().nll(&Matrix::new(&x, 40)).unwrap(), 2e-2);
}

#[test]
fn blocks_of_rows_are_bounded_and_joint_is_their_sum() {
    let (stored, x) = random::<f64>(3, SIZES[1]);
    let mfa = Mfa::new(stored).unwrap();
    let (mut block, mut densities) = (Block::default(), Densities::default());
    block.gather(&Matrix::new(&x, 5), 0..9, &mfa.shift).unwrap();
    let forms = Forms::new(&mfa.parameters).unwrap();
    densities.compute(&mfa.parameters, &forms, &block);
    let before = densities.log_likelihoods();
    let after = densities.responsibilities(1.0);
    close(&after, &before, 1e-12);
    for b in 0..9 {
        assert!((densities.shares(b).map(|(_, r)| r).sum::<f64>() - 1.0).abs() < 1e-12);
    }
    let huge = Sizes { components: 100_000, width: 4096, rank: 10, psi_per_component: false };
    assert_eq!(density::block_rows(huge), 8);
}

#[test]
fn temperature_flattens_and_bad_rows_are_refused() {
    let mfa = Mfa::<f32>::new(gold()).unwrap();
    let x = Matrix::new(&GOLD_ROWS, 3);
    let hot = mfa.responsibilities(&x, 1e6).unwrap();
    close(&hot, &[0.5; 4], 1e-4);
    for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = mfa.responsibilities(&x, tau).unwrap_err();
        assert!(error.to_string().starts_with("option `tau` is "), "{error}");
    }
    let wrong = mfa.nll(&Matrix::new(&GOLD_ROWS, 2)).unwrap_err();
    assert_eq!(wrong.to_string(), "the mixture reads rows of 3 numbers, these have 2");
    let mut bad = GOLD_ROWS;
    for value in [f32::NAN, f32::INFINITY] {
        bad[4] = value;
        let x = Matrix::new(&bad, 3);
        let z = [1.0f32];
        let errors = [
            mfa.nll(&x).unwrap_err(),
            mfa.latent(&x, 0).unwrap_err(),
            mfa.project(&x, 0, false).unwrap_err(),
            mfa.steer(&x, Some(0), 0.5).unwrap_err(),
            mfa.steer_latent(&x, None, 0.5, Latent::Same(&z), Units::Plotted).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.to_string(), format!("the rows hold {value}, in row 1"));
        }
    }
    assert!(mfa.mean(2).unwrap_err().help().unwrap().contains("0 to 1"));
}

#[test]
fn steering_by_shares_is_the_sum_over_components() {
    let (stored, x) = random::<f64>(7, SIZES[2]);
    let mfa = Mfa::new(stored).unwrap();
    let rows = Matrix::new(&x, 37);
    let r = mfa.responsibilities(&rows, 1.0).unwrap();
    let mut rng = Generator::new(1);
    let mut draw = |len: usize| (0..len).map(|_| rng.standard_normal()).collect::<Vec<f64>>();
    let (n, alpha) = (rows.len(), 0.3);
    let (same, per_row, per_component) = (draw(7), draw(7 * n), draw(7 * 4));
    for (units, latent) in [
        (Units::Posterior, Latent::Same(&same)),
        (Units::Plotted, Latent::PerRow(&per_row)),
        (Units::Posterior, Latent::PerComponent(&per_component)),
    ] {
        let found = mfa.steer_latent(&rows, None, alpha, latent, units).unwrap();
        for b in 0..n {
            let mut want: Vec<f64> = rows.row(b).iter().map(|x| (1.0 - alpha) * f64::from(*x)).collect();
            for k in 0..4 {
                let w = match units {
                    Units::Posterior => mfa.loadings(k).unwrap(),
                    Units::Plotted => mfa.directions(k).unwrap(),
                };
                let z = match latent {
                    Latent::Same(z) => z,
                    Latent::PerRow(z) => &z[7 * b..7 * b + 7],
                    Latent::PerComponent(z) => &z[7 * k..7 * k + 7],
                };
                for (d, want) in want.iter_mut().enumerate() {
                    let along: f64 = (0..7).map(|j| w[d * 7 + j] * z[j]).sum();
                    *want += r[b * 4 + k] * (alpha * mfa.mean(k).unwrap()[d] + along);
                }
            }
            close(&found[b * 37..][..37], &want, 1e-9);
        }
    }
    let short = [0.0; 3];
    let error = mfa.steer_latent(&rows, Some(0), alpha, Latent::Same(&short), Units::Plotted).unwrap_err();
    assert_eq!(error.to_string(), "`z` holds 3 numbers, expected 7");
    // A step in plotted units moves the coordinates by itself.
    let z = [0.0, 2.5, 0.0, 0.0, -1.0, 0.0, 0.0];
    let moved = mfa.steer_latent(&rows, Some(2), 0.0, Latent::Same(&z), Units::Plotted).unwrap();
    let moved: Vec<f32> = moved.iter().map(|x| *x as f32).collect();
    let before = mfa.project(&rows, 2, false).unwrap().coordinates;
    let after = mfa.project(&Matrix::new(&moved, 37), 2, false).unwrap().coordinates;
    let difference: Vec<f32> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
    difference.chunks(7).for_each(|found| close(found, &z, 1e-4));
}

#[test]
fn varimax_turns_directions_apart_and_changes_no_covariance() {
    let sizes = Sizes { components: 1, width: 12, rank: 2, psi_per_component: false };
    let (mut stored, _) = random::<f64>(0, sizes);
    // Each number belongs to one of two directions, which were then turned by 30 degrees.
    let (cos, sin) = (30f64.to_radians().cos(), 30f64.to_radians().sin());
    let simple = |d: usize| if d < 6 { [1.0 + d as f64, 0.0] } else { [0.0, d as f64 - 4.0] };
    stored.dir_raw = (0..12)
        .flat_map(|d| {
            let [a, b] = simple(d);
            [a * cos - b * sin, a * sin + b * cos]
        })
        .collect();
    let length = |j: usize| (0..12).map(|d| stored.dir_raw[2 * d + j].powi(2)).sum::<f64>().sqrt();
    stored.scale_rho = vec![real::softplus_inverse(length(0)), real::softplus_inverse(length(1))];
    let mfa = Mfa::new(stored).unwrap();
    let Varimax { rotation, loadings } = mfa.varimax(0, 1.0).unwrap();
    for row in loadings.chunks(2) {
        assert!(row[0].abs().min(row[1].abs()) < 1e-6, "{loadings:?}");
    }
    close(&[rotation[0] * rotation[1] + rotation[2] * rotation[3]], &[0.0], 1e-9);
    let w = mfa.loadings(0).unwrap();
    for (turned, row) in loadings.chunks(2).zip(w.chunks(2)) {
        close(&[turned[0].powi(2) + turned[1].powi(2)], &[row[0].powi(2) + row[1].powi(2)], 1e-9);
    }
}

#[test]
fn effective_rank_counts_directions_and_distances_are_euclid_s() {
    let sizes = Sizes { components: 3, width: 8, rank: 2, psi_per_component: false };
    let (mut stored, _) = random::<f64>(4, sizes);
    stored.dir_raw[..16].fill(0.0);
    // Two of equal length at a right angle, and two that are one.
    (stored.dir_raw[0], stored.dir_raw[3]) = (2.0, 5.0);
    for d in 0..8 {
        stored.dir_raw[16 + 2 * d] = 1.0;
        stored.dir_raw[16 + 2 * d + 1] = -3.0;
    }
    stored.scale_rho = vec![0.7; 6];
    let mfa = Mfa::new(stored.clone()).unwrap();
    close(&[mfa.effective_rank(0).unwrap(), mfa.effective_rank(1).unwrap()], &[2.0, 1.0], 1e-6);
    let between = |a: usize, b: usize| {
        (0..8).map(|d| (stored.mu[a * 8 + d] - stored.mu[b * 8 + d]).powi(2)).sum::<f64>().sqrt()
    };
    close(&mfa.distances(1).unwrap(), &[between(1, 0), 0.0, between(1, 2)], 1e-12);
    let nearest = mfa.nearest(1, 5).unwrap();
    assert_eq!(nearest.len(), 2);
    assert!(nearest[0].1 <= nearest[1].1 && nearest.iter().all(|(k, _)| *k != 1));
}

#[test]
fn a_file_gives_the_mixture_back_and_saves_the_same_bytes() {
    for (seed, sizes) in SIZES.into_iter().enumerate() {
        let (stored, x) = random::<f32>(seed as u64, sizes);
        let mut mfa = Mfa::new(stored).unwrap();
        mfa.history = vec![
            Epoch { train_nll: 3.25, val_nll: None },
            Epoch { train_nll: 1.0 / 3.0, val_nll: Some(0.1) },
        ];
        mfa.metadata.insert("site".into(), "resid_post(4)".into());
        let bytes = saved(&mfa);
        let read = Mfa::from_bytes(&bytes).unwrap();
        assert_eq!(
            (read.history.clone(), read.metadata.clone()),
            (mfa.history.clone(), mfa.metadata.clone())
        );
        assert_eq!(saved(&read), bytes);
        let rows = Matrix::new(&x, sizes.width);
        assert_eq!(read.nll(&rows).unwrap(), mfa.nll(&rows).unwrap());
    }
}

pub(super) fn saved(mfa: &Mfa) -> Vec<u8> {
    let mut bytes = Vec::new();
    mfa.save(&mut bytes).unwrap();
    bytes
}

/// The example's file, with one thing in its header replaced by another of the same length.
fn changed(from: &str, to: &str) -> String {
    let mut bytes = saved(&Mfa::new(gold()).unwrap());
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect(from);
    bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    Mfa::from_bytes(&bytes).unwrap_err().to_string()
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    assert_eq!(
        changed(r#""shape":[2,3,1]"#, r#""shape":[3,2,1]"#),
        "tensor `mu` has shape [2, 3], expected [3, 2]"
    );
    assert_eq!(changed("\"mu\"", "\"nu\""), "the file has a tensor `nu`, which no mixture has");
    assert_eq!(changed(r#""q":"1""#, r#""q":"2""#), "the file says that `q` is `2`, expected 1");
    assert_eq!(changed("\"D\":\"3\"", "\"D\":\"4\""), "the file says that `D` is `4`, expected 3");
    assert!(changed("0.00001", "-0.0001").contains("`eps_floor`"));
    let bytes = saved(&Mfa::new(gold()).unwrap());
    for cut in [0, 5, 100, bytes.len() - 1] {
        let error = Mfa::from_bytes(&bytes[..cut]).unwrap_err();
        assert!(matches!(error, MfaError::NotSafetensors(_)), "{error}");
    }
    let mut bad = bytes.clone();
    let last = bad.len() - 4;
    bad[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(Mfa::from_bytes(&bad).unwrap_err().to_string(), "`pi_logits` holds NaN");
}

#[test]
fn mixtures_that_cannot_be_are_refused() {
    let refused = |change: &dyn Fn(&mut Stored<f64>)| {
        let mut stored = gold();
        change(&mut stored);
        Mfa::new(stored).unwrap_err().to_string()
    };
    assert_eq!(refused(&|s| s.sizes.rank = 4), "4 directions a component, in rows of 3 numbers");
    assert!(refused(&|s| s.sizes.rank = 0).contains("does nothing"));
    assert!(refused(&|s| s.sizes.components = 0).contains("does nothing"));
    assert!(refused(&|s| s.sizes.width = usize::MAX / 4).contains("does nothing"));
    assert_eq!(refused(&|s| s.sizes.psi_per_component = true), "`psi_rho` holds 3 numbers, expected 6");
    assert_eq!(refused(&|s| s.mu[2] = f64::NAN), "`mu` holds NaN");
    assert_eq!(refused(&|s| s.dir_raw[2] = f64::INFINITY), "`dir_raw` holds inf");
    assert_eq!(refused(&|s| s.psi_rho[1] = f64::NEG_INFINITY), "`psi_rho` holds -inf");
    assert_eq!(refused(&|s| (s.psi_rho[1], s.eps_floor) = (-1e4, 0.0)), "`psi` holds 0");
}

/// What PyTorch writes holds a pickle, which nobody should run; what its own one line makes of it is read.
#[test]
fn the_original_s_checkpoints_are_read_once_converted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mfa/");
    let pickled = std::fs::read(format!("{folder}original.ckpt")).unwrap();
    let error = Mfa::from_bytes(&pickled).unwrap_err();
    assert!(matches!(error, MfaError::PyTorch) && error.help().unwrap().contains("weights_only=True"));
    let converted =
        Mfa::from_bytes(&std::fs::read(format!("{folder}original.safetensors")).unwrap()).unwrap();
    assert_eq!(converted.eps_floor(), 1e-5);
    let x = Matrix::new(&GOLD_ROWS, 3);
    close(&converted.nll(&x).unwrap(), &[3.5045644638, 3.7868555046], 1e-5);
}

#[test]
fn softplus_in_vectors_is_softplus() {
    for i in -3000..3000 {
        let x = i as f32 * 0.02;
        let (want, slope) = (real::softplus(x.into()), real::sigmoid(x.into()));
        assert!((f64::from(Real::softplus(x)) / want - 1.0).abs() < 1e-6, "{x}");
        assert!((f64::from(Real::sigmoid(x)) / slope - 1.0).abs() < 1e-6, "{x}");
        assert!((Real::softplus(f64::from(x)) / want - 1.0).abs() < 1e-15, "{x}");
        close(&[real::softplus(real::softplus_inverse(want))], &[want], 1e-12);
    }
}
