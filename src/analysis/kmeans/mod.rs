//! k-means for many rows: centres are found in a pool of them, in few dimensions if so wished, then refined on all.
//!
//! Read [`fit`] here, which is the order of things; [`pool`] draws rows, [`project`] makes them short, [`lloyd`] finds
//! centres in memory, [`nearest`] says which centre a row belongs to, by one product a block.

pub mod lloyd;
pub mod nearest;
pub mod pool;
pub mod project;

use crate::data::random::Generator;
use crate::data::rows::Rows;
use crate::help::Help;
use nearest::Centres;
use project::Projection;

/// Rows of the pool for each cluster, and in any case, where options do not say how many.
const POOL_EACH: usize = 100;
const POOL_LEAST: usize = 10_000;

/// How far apart two rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The squared length of their difference.
    Euclidean,
    /// 1 - the cosine of the angle between them.
    Cosine,
}

#[derive(Debug, Clone, Copy)]
pub struct KMeansOptions {
    pub clusters: usize,
    /// Rows among which centres are found first; None: a hundred a cluster, and at least ten thousand.
    pub pool: Option<usize>,
    /// Dimensions of the random projection in which they are; None: those of the rows.
    pub project: Option<usize>,
    /// Beginnings that are tried, each with a seed of its own; the one of least inertia is kept.
    pub restarts: usize,
    /// Rounds of each at most.
    pub rounds: usize,
    /// Rounds over all rows at most.
    pub refine: usize,
    /// Ends rounds when no centre moves farther.
    pub tolerance: f64,
    pub seed: u64,
    pub metric: Metric,
}

impl Default for KMeansOptions {
    fn default() -> Self {
        KMeansOptions {
            clusters: 100,
            pool: None,
            project: None,
            restarts: 10,
            rounds: 50,
            refine: 25,
            tolerance: 1e-4,
            seed: 0,
            metric: Metric::Euclidean,
        }
    }
}

/// Centres of clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    /// `[clusters, D]`, each of length 1 with the cosine metric.
    pub centroids: Vec<f32>,
    /// The sum over the pool's rows of the distance to the nearest centre, before refinement, of each restart.
    pub inertias: Vec<f64>,
    /// Rounds over all rows that were made.
    pub refined: usize,
}

/// Which part of the work comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A round of a restart over the pool; round 0 chooses beginnings.
    Pool { restart: usize, round: usize },
    /// A round over all rows.
    Refine { round: usize },
}

impl Progress {
    /// Rounds that are over, or were saved, and all that there may be.
    pub fn rounds(self, options: &KMeansOptions) -> (usize, usize) {
        let pool = |restarts: usize| restarts.saturating_mul(options.rounds);
        let done = match self {
            Progress::Pool { restart, round } => pool(restart).saturating_add(round.min(options.rounds)),
            Progress::Refine { round } => pool(options.restarts).saturating_add(round),
        };
        (done, pool(options.restarts).saturating_add(options.refine))
    }
}

/// Why rows were refused, or no centres found.
#[derive(Debug, thiserror::Error)]
pub enum KMeansError {
    #[error("option `{name}` is {found}, expected {expected}")]
    Option { name: &'static str, found: String, expected: String },
    #[error("{rows} rows are too few for {clusters} clusters")]
    Few { rows: usize, clusters: usize },
    #[error("the rows hold {value}, in row {row}")]
    Row { row: usize, value: f32 },
    #[error("row {row} is 0, which has no direction")]
    Zero { row: usize },
    #[error("{found} weights for {rows} rows")]
    Weights { found: usize, rows: usize },
    #[error("the weight of row {row} is {value}")]
    Weight { row: usize, value: f64 },
    #[error("interrupted")]
    Interrupted,
}

impl Help for KMeansError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Option { name, .. } => format!("leave out `{name}`, or give another"),
            Self::Few { .. } => "give more rows, or ask for fewer clusters".into(),
            Self::Row { .. } => "leave out rows that are not numbers".into(),
            Self::Zero { .. } => "leave out rows of zeros, or give the euclidean metric".into(),
            Self::Weights { .. } => "give one weight a row".into(),
            Self::Weight { .. } => "give numbers above 0".into(),
            Self::Interrupted => return None,
        })
    }
}

pub type Result<T> = std::result::Result<T, KMeansError>;

/// Centres for rows, the pool drawn with `weights` `[n]` if there are any. `go_on` is asked before every round. The same
/// rows and options give the same centres.
///
/// # Errors
/// Options out of range, rows that are too few or not finite, rows of zeros with the cosine metric, a `go_on` that says
/// no.
pub fn fit(
    rows: &dyn Rows,
    weights: Option<&[f64]>,
    options: &KMeansOptions,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<KMeans> {
    let pool = check(rows, weights, options)?;
    let mut rng = Generator::new(options.seed);
    let chosen = pool::draw(rows.len(), pool, weights, &mut rng);
    let projection = match options.project {
        Some(to) if to < rows.width() => Some(Projection::new(rows.width(), to, &mut rng)),
        _ => None,
    };
    let (mut sketch, width) = sketch(rows, &chosen, projection.as_ref(), options.metric)?;
    // Large numbers that all rows share would cost digits.
    let shift = match options.metric {
        Metric::Euclidean => mean(&sketch, width),
        Metric::Cosine => vec![0.0; width],
    };
    sketch.iter_mut().enumerate().for_each(|(at, x)| *x -= shift[at % width]);
    let mut best: Option<lloyd::Found> = None;
    let mut inertias = Vec::new();
    for restart in 0..options.restarts {
        let mut go_on = |round| go_on(Progress::Pool { restart, round });
        let found = lloyd::run(&sketch, width, options, restart, &mut go_on)?;
        inertias.push(found.inertia);
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
    }
    let mut short = best.map(|best| best.centroids).unwrap_or_default();
    drop(sketch);
    short.iter_mut().enumerate().for_each(|(at, x)| *x += shift[at % width]);
    let centroids = match &projection {
        Some(projection) => projection.lift(&short),
        None => short.clone(),
    };
    let (centroids, refined) = refine(rows, centroids, short, projection.as_ref(), options, &mut rng, go_on)?;
    Ok(KMeans { centroids, inertias, refined })
}

/// The cluster of each row, `[n]`, by its nearest centre.
///
/// # Errors
/// Rows that are not finite, or of zeros with the cosine metric.
///
/// # Panics
/// Where the centres are not of the rows' width.
pub fn assign(rows: &dyn Rows, centroids: &[f32], metric: Metric) -> Result<Vec<u32>> {
    let centres = Centres::new(centroids, rows.width(), metric);
    let mut out = Vec::with_capacity(rows.len());
    each_block(rows, metric, |_, block| {
        out.extend(centres.nearest(block).into_iter().map(|(k, _)| k));
    })?;
    Ok(out)
}

/// The mean of the rows of each cluster, `[clusters, D]`; where a cluster has none, what `otherwise` has there.
pub fn means(rows: &dyn Rows, clusters: &[u32], otherwise: &[f32]) -> Vec<f32> {
    let width = rows.width();
    let mut sums = Means::new(otherwise.len() / width, width);
    clusters.iter().enumerate().for_each(|(i, k)| sums.add(*k, rows.row(i)));
    let mut out = otherwise.to_vec();
    sums.put(&mut out);
    out
}

fn check(rows: &dyn Rows, weights: Option<&[f64]>, options: &KMeansOptions) -> Result<usize> {
    let KMeansOptions { clusters, pool, project, restarts, rounds, tolerance, .. } = *options;
    let refused = |name, found: String, expected: String| Err(KMeansError::Option { name, found, expected });
    for (name, count) in [("clusters", clusters), ("restarts", restarts), ("rounds", rounds)] {
        if count == 0 {
            return refused(name, "0".into(), "a number above 0".into());
        }
    }
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return refused("tolerance", tolerance.to_string(), "a number from 0".into());
    }
    if rows.len() < clusters || rows.width() == 0 {
        return Err(KMeansError::Few { rows: rows.len(), clusters });
    }
    if let Some(project) = project.filter(|project| !(1..=rows.width()).contains(project)) {
        return refused("project", project.to_string(), format!("1 to {}, the rows' width", rows.width()));
    }
    if let Some(pool) = pool.filter(|pool| *pool < clusters) {
        return refused("pool", pool.to_string(), format!("at least {clusters}, the clusters"));
    }
    if let Some(weights) = weights {
        if weights.len() != rows.len() {
            return Err(KMeansError::Weights { found: weights.len(), rows: rows.len() });
        }
        if let Some(row) = weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
            return Err(KMeansError::Weight { row, value: weights[row] });
        }
    }
    let default = clusters.saturating_mul(POOL_EACH).max(POOL_LEAST);
    Ok(pool.unwrap_or(default).min(rows.len()))
}

/// Rows that are looked at together.
const BLOCK: usize = 512;

/// Shows rows in blocks `[rows, D]` and the first of each; made length 1 with the cosine metric.
fn each_block(rows: &dyn Rows, metric: Metric, mut see: impl FnMut(usize, &[f32])) -> Result<()> {
    let mut block = Vec::new();
    for first in (0..rows.len()).step_by(BLOCK) {
        block.clear();
        for i in first..rows.len().min(first + BLOCK) {
            push(&mut block, rows, i, metric)?;
        }
        see(first, &block);
    }
    Ok(())
}

fn push(to: &mut Vec<f32>, rows: &dyn Rows, i: usize, metric: Metric) -> Result<()> {
    let (row, at) = (rows.row(i), to.len());
    if let Some(value) = row.iter().copied().find(|x| !x.is_finite()) {
        return Err(KMeansError::Row { row: i, value });
    }
    to.extend_from_slice(row);
    match metric {
        Metric::Cosine if !nearest::to_length_1(&mut to[at..]) => Err(KMeansError::Zero { row: i }),
        _ => Ok(()),
    }
}

/// Some rows, short if there is a projection, and their width.
fn sketch(
    rows: &dyn Rows,
    chosen: &[usize],
    projection: Option<&Projection>,
    metric: Metric,
) -> Result<(Vec<f32>, usize)> {
    let width = projection.map_or(rows.width(), Projection::width);
    let mut out = Vec::with_capacity(chosen.len() * width);
    let mut block = Vec::new();
    for chosen in chosen.chunks(BLOCK) {
        block.clear();
        for i in chosen {
            push(&mut block, rows, *i, metric)?;
        }
        match projection {
            Some(projection) => out.extend(shorten(projection, &block, metric)),
            None => out.extend_from_slice(&block),
        }
    }
    Ok((out, width))
}

/// Rows made short, and length 1 again with the cosine metric.
fn shorten(projection: &Projection, rows: &[f32], metric: Metric) -> Vec<f32> {
    let mut short = projection.shorten(rows);
    if metric == Metric::Cosine {
        short.chunks_mut(projection.width()).for_each(|row| _ = nearest::to_length_1(row));
    }
    short
}

fn mean(x: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    x.iter().enumerate().for_each(|(at, x)| sums[at % width] += f64::from(*x));
    let rows = (x.len() / width) as f64;
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

/// Sums of the rows of each cluster.
struct Means {
    sums: Vec<f64>,
    counts: Vec<usize>,
}

impl Means {
    fn new(clusters: usize, width: usize) -> Means {
        Means { sums: vec![0.0; clusters * width], counts: vec![0; clusters] }
    }

    fn add(&mut self, k: u32, row: &[f32]) {
        self.counts[k as usize] += 1;
        let sums = &mut self.sums[k as usize * row.len()..][..row.len()];
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
    }

    /// Puts the mean of each cluster that has rows in its place; the others.
    fn put(&self, to: &mut [f32]) -> Vec<usize> {
        let width = to.len() / self.counts.len();
        let mut empty = Vec::new();
        for ((k, to), sums) in to.chunks_mut(width).enumerate().zip(self.sums.chunks(width)) {
            match self.counts[k] {
                0 => empty.push(k),
                n => to.iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum / n as f64) as f32),
            }
        }
        empty
    }
}

/// Rounds over all rows: each goes to the nearest centre, in few dimensions if there is a projection, and the means are
/// of all dimensions.
fn refine(
    rows: &dyn Rows,
    mut centroids: Vec<f32>,
    mut short: Vec<f32>,
    projection: Option<&Projection>,
    options: &KMeansOptions,
    rng: &mut Generator,
    go_on: &mut dyn FnMut(Progress) -> bool,
) -> Result<(Vec<f32>, usize)> {
    let KMeansOptions { clusters, metric, .. } = *options;
    let width = rows.width();
    for round in 0..options.refine {
        if !go_on(Progress::Refine { round }) {
            return Err(KMeansError::Interrupted);
        }
        let centres = Centres::new(&short, short.len() / clusters, metric);
        let mut means = Means::new(clusters, width);
        each_block(rows, metric, |_, block| {
            let nearest = match projection {
                Some(projection) => centres.nearest(&shorten(projection, block, metric)),
                None => centres.nearest(block),
            };
            nearest.into_iter().zip(block.chunks(width)).for_each(|((k, _), row)| means.add(k, row));
        })?;
        let before = centroids.clone();
        for empty in means.put(&mut centroids) {
            let other = rng.choice(clusters, 1, true, None).map_or(0, |chosen| chosen[0]);
            let copy = centroids[other * width..][..width].to_vec();
            centroids[empty * width..][..width].copy_from_slice(&copy);
        }
        if metric == Metric::Cosine {
            centroids.chunks_mut(width).for_each(|c| _ = nearest::to_length_1(c));
        }
        short = match projection {
            Some(projection) => shorten(projection, &centroids, metric),
            None => centroids.clone(),
        };
        if nearest::farthest_move(&before, &centroids, width) < options.tolerance {
            return Ok((centroids, round + 1));
        }
    }
    Ok((centroids, options.refine))
}

#[cfg(test)]
mod tests;
