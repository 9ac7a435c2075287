//! Known clusters, a plain implementation, and what is refused.

use super::*;
use crate::data::rows::Matrix;

/// Rows around well-parted centres, and the centre of each.
fn clusters(rows: usize, width: usize, k: usize, spread: f64) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Generator::new(2);
    let centres: Vec<f64> = (0..k * width).map(|_| 10.0 * rng.standard_normal()).collect();
    let labels: Vec<usize> = (0..rows).map(|i| i % k).collect();
    let mut x = Vec::new();
    for label in &labels {
        x.extend(
            centres[label * width..][..width].iter().map(|c| (c + spread * rng.standard_normal()) as f32),
        );
    }
    (x, labels)
}

fn options(clusters: usize) -> KMeansOptions {
    KMeansOptions { clusters, restarts: 3, ..KMeansOptions::default() }
}

fn run(x: &[f32], width: usize, options: &KMeansOptions) -> KMeans {
    fit(&Matrix::new(x, width), None, options, &mut |_| true).unwrap()
}

#[test]
fn known_clusters_are_found_whatever_the_way() {
    let (x, labels) = clusters(3000, 24, 12, 1.0);
    let rows = Matrix::new(&x, 24);
    for metric in [Metric::Euclidean, Metric::Cosine] {
        for (project, pool) in [(None, None), (Some(8), Some(500)), (Some(24), Some(12))] {
            // With so few rows in a pool the beginning is chance: all restarts serve.
            let options = KMeansOptions { project, pool, metric, restarts: 20, ..options(12) };
            let found = run(&x, 24, &options);
            assert_eq!(found, run(&x, 24, &options));
            let assigned = assign(&rows, &found.centroids, metric).unwrap();
            if pool == Some(12) {
                continue;
            }
            // One cluster a label.
            let own: Vec<u32> = assigned[..12].to_vec();
            assert!(assigned.iter().zip(&labels).all(|(k, label)| *k == own[*label]), "{options:?}");
            let mut distinct = own.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 12, "{options:?}");
            if metric == Metric::Euclidean {
                let means = means(&rows, &assigned, &found.centroids);
                let far = nearest::farthest_move(&means, &found.centroids, 24);
                assert!(far < 1e-4, "{options:?}: {far}");
            } else {
                found.centroids.chunks(24).for_each(|c| assert!((nearest::squares(c) - 1.0).abs() < 1e-5));
            }
        }
    }
}

/// Lloyd's rounds as they are written down, in float64, from given centres.
fn plain(x: &[f32], width: usize, centres: &[f32], rounds: usize) -> (Vec<f64>, f64) {
    let mut centres: Vec<f64> = centres.iter().map(|x| f64::from(*x)).collect();
    let distance =
        |row: &[f32], c: &[f64]| row.iter().zip(c).map(|(x, c)| (f64::from(*x) - c).powi(2)).sum::<f64>();
    let nearest = |row: &[f32], centres: &[f64]| {
        let all = centres.chunks(width).map(|c| distance(row, c)).enumerate();
        all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
    };
    for _ in 0..rounds {
        let (mut sums, mut counts) = (vec![0.0; centres.len()], vec![0.0; centres.len() / width]);
        for row in x.chunks(width) {
            let (k, _) = nearest(row, &centres);
            counts[k] += 1.0;
            sums[k * width..][..width].iter_mut().zip(row).for_each(|(to, x)| *to += f64::from(*x));
        }
        for (at, c) in centres.iter_mut().enumerate() {
            if counts[at / width] > 0.0 {
                *c = sums[at] / counts[at / width];
            }
        }
    }
    let inertia = x.chunks(width).map(|row| nearest(row, &centres).1).sum();
    (centres, inertia)
}

#[test]
fn rounds_are_those_of_a_plain_implementation_and_inertia_never_rises() {
    let (x, _) = clusters(400, 5, 9, 8.0);
    let at = |rounds| {
        let options = KMeansOptions { rounds, restarts: 1, refine: 0, tolerance: 0.0, ..options(9) };
        run(&x, 5, &options)
    };
    let first = at(1);
    let mut before = f64::INFINITY;
    for rounds in 1..8 {
        let found = at(rounds);
        let (want, inertia) = plain(&x, 5, &first.centroids, rounds - 1);
        assert!((found.inertias[0] / inertia - 1.0).abs() < 1e-4, "{rounds}");
        found.centroids.iter().zip(want).for_each(|(a, b)| assert!((f64::from(*a) - b).abs() < 1e-3));
        assert!(found.inertias[0] <= before * (1.0 + 1e-6));
        before = found.inertias[0];
    }
    // Refinement goes on from there: the pool was all rows.
    let refined =
        run(&x, 5, &KMeansOptions { rounds: 3, restarts: 1, refine: 2, tolerance: 0.0, ..options(9) });
    let (want, _) = plain(&x, 5, &first.centroids, 4);
    refined.centroids.iter().zip(want).for_each(|(a, b)| assert!((f64::from(*a) - b).abs() < 1e-3));
    assert_eq!(refined.refined, 2);
}

#[test]
fn the_restart_of_least_inertia_is_kept() {
    let (x, _) = clusters(400, 5, 9, 8.0);
    let all = run(&x, 5, &KMeansOptions { restarts: 6, refine: 0, ..options(9) });
    assert_eq!(all.inertias.len(), 6);
    let least = all.inertias.iter().copied().fold(f64::INFINITY, f64::min);
    let which = all.inertias.iter().position(|x| *x == least).unwrap() as u64;
    // Restart r is what seed + r begins with.
    let alone = run(&x, 5, &KMeansOptions { restarts: 1, refine: 0, seed: which, ..options(9) });
    assert_eq!(alone.centroids, all.centroids);
}

#[test]
fn rows_far_from_0_cost_no_digits() {
    let (x, labels) = clusters(900, 6, 5, 0.5);
    let far: Vec<f32> = x.iter().map(|x| x + 2000.0).collect();
    let found = run(&far, 6, &options(5));
    let assigned = assign(&Matrix::new(&far, 6), &found.centroids, Metric::Euclidean).unwrap();
    assert!(assigned.iter().zip(&labels).all(|(k, label)| *k == assigned[*label]));
}

#[test]
fn a_pool_holds_the_rows_of_the_largest_keys() {
    let weights: Vec<f64> =
        (0..1000).map(|i| if i % 10 == 0 { 50.0 } else { 0.5 + (i % 3) as f64 }).collect();
    for weights in [None, Some(&weights[..])] {
        let chosen = pool::draw(1000, 137, weights, &mut Generator::new(4));
        let mut rng = Generator::new(4);
        let mut keys: Vec<(f64, usize)> =
            (0..1000).map(|i| (rng.random().powf(1.0 / weights.map_or(1.0, |w| w[i])), i)).collect();
        keys.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut want: Vec<usize> = keys[..137].iter().map(|(_, i)| *i).collect();
        want.sort_unstable();
        assert_eq!(chosen, want);
    }
    assert_eq!(pool::draw(5, 9, None, &mut Generator::new(0)), [0, 1, 2, 3, 4]);
}

#[test]
fn a_projection_is_orthonormal_and_its_lift_undoes_it() {
    let projection = Projection::new(40, 7, &mut Generator::new(9));
    let mut rng = Generator::new(1);
    let short: Vec<f32> = (0..3 * 7).map(|_| rng.standard_normal() as f32).collect();
    let lifted = projection.lift(&short);
    projection.shorten(&lifted).iter().zip(&short).for_each(|(a, b)| assert!((a - b).abs() < 1e-5));
    lifted.chunks(40).zip(short.chunks(7)).for_each(|(a, b)| {
        assert!((nearest::squares(a) - nearest::squares(b)).abs() < 1e-4);
    });
}

#[test]
fn fewer_distinct_rows_than_clusters_are_no_trouble() {
    let x: Vec<f32> = (0..60).map(|i| (i / 2 % 3) as f32).collect();
    let found = run(&x, 2, &options(7));
    assert!(found.centroids.iter().all(|x| x.is_finite()));
    assert_eq!(found.inertias, [0.0; 3]);
}

#[test]
fn rows_and_options_that_cannot_serve_are_refused() {
    let (x, _) = clusters(50, 4, 3, 1.0);
    let refused = |x: &[f32], weights: Option<&[f64]>, change: &dyn Fn(&mut KMeansOptions)| {
        let mut options = options(3);
        change(&mut options);
        let error = fit(&Matrix::new(x, 4), weights, &options, &mut |_| true).unwrap_err();
        assert!(error.help().is_some(), "{error}");
        error.to_string()
    };
    let any = |_: &mut KMeansOptions| {};
    assert_eq!(refused(&x[..8], None, &any), "2 rows are too few for 3 clusters");
    assert_eq!(
        refused(&x, None, &|o| o.pool = Some(2)),
        "option `pool` is 2, expected at least 3, the clusters"
    );
    assert_eq!(refused(&x, None, &|o| o.clusters = 0), "option `clusters` is 0, expected a number above 0");
    assert_eq!(refused(&x, None, &|o| o.restarts = 0), "option `restarts` is 0, expected a number above 0");
    for project in [0, 5] {
        let want = format!("option `project` is {project}, expected 1 to 4, the rows' width");
        assert_eq!(refused(&x, None, &|o| o.project = Some(project)), want);
    }
    assert!(refused(&x, None, &|o| o.tolerance = f64::NAN).contains("`tolerance` is NaN"));
    assert_eq!(refused(&x, Some(&[1.0]), &any), "1 weights for 50 rows");
    let mut weights = vec![1.0; 50];
    weights[7] = 0.0;
    assert_eq!(refused(&x, Some(&weights), &any), "the weight of row 7 is 0");
    let mut bad = x.clone();
    bad[9] = f32::INFINITY;
    assert_eq!(refused(&bad, None, &any), "the rows hold inf, in row 2");
    bad[8..12].fill(0.0);
    assert_eq!(refused(&bad, None, &|o| o.metric = Metric::Cosine), "row 2 is 0, which has no direction");
    let stopped =
        fit(&Matrix::new(&x, 4), None, &options(3), &mut |at| at != Progress::Pool { restart: 1, round: 1 });
    assert!(matches!(stopped, Err(KMeansError::Interrupted)));
}
