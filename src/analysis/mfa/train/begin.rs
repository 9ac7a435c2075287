//! What comes before the first epoch.

use super::{Init, Progress, TrainOptions, Watch};
use crate::analysis::kmeans::{self, KMeansOptions, Metric};
use crate::analysis::mfa::Sizes;
use crate::analysis::mfa::error::{MfaError, Result};
use crate::analysis::mfa::kept::Identity;
use crate::analysis::mfa::parameters::{EPS_FLOOR, Parameters};
use crate::data::random::Generator;
use crate::data::rows::Rows;

/// Holds what is asked against the rows.
pub fn check(rows: &dyn Rows, validation: Option<&dyn Rows>, options: &TrainOptions) -> Result<Sizes> {
    let TrainOptions { components, rank, psi_per_component, .. } = *options;
    let width = rows.width();
    let sizes = Sizes { components, width, rank, psi_per_component }.check()?;
    if rows.len() < components {
        return Err(MfaError::Few { rows: rows.len(), components });
    }
    if let Some(validation) = validation {
        let found = validation.width();
        if found != width {
            return Err(MfaError::Width { found, expected: width });
        }
        if validation.is_empty() {
            return Err(MfaError::Few { rows: 0, components });
        }
    }
    let refused = |name, found: String, expected: &str| {
        Err(MfaError::Option { name, found, expected: expected.into() })
    };
    let counts = [
        ("epochs", Some(options.epochs)),
        ("batch", Some(options.batch)),
        ("steps_per_epoch", options.steps_per_epoch),
        ("patience", options.patience),
    ];
    for (name, count) in counts {
        if count == Some(0) {
            return refused(name, "0".into(), "a number above 0");
        }
    }
    for (name, number) in [("lr", Some(options.lr)), ("clip", options.clip)] {
        if let Some(number) = number.filter(|x| !(x.is_finite() && *x > 0.0)) {
            return refused(name, number.to_string(), "a number above 0");
        }
    }
    match &options.init {
        Init::Centroids(means) if means.len() != components * width => {
            Err(MfaError::Size { name: "init", found: means.len(), expected: components * width })
        }
        Init::Centroids(means) => match means.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(MfaError::NotFinite { name: "init", value: (*x).into() }),
            None => Ok(sizes),
        },
        Init::Mfa(mfa) if mfa.width() != width => {
            Err(MfaError::Width { found: width, expected: mfa.width() })
        }
        Init::Mfa(mfa) if mfa.sizes() != sizes => {
            let Sizes { components, rank, .. } = mfa.sizes();
            refused(
                "init",
                format!("a mixture of {components} components of rank {rank}"),
                "one of the same sizes",
            )
        }
        _ => Ok(sizes),
    }
}

/// What is known of rows that were looked at once.
pub struct About {
    /// `[D]`
    pub mean: Vec<f32>,
    /// Tells them from others: how many there are, and a checksum of all.
    pub sum: String,
}

impl About {
    /// # Errors
    /// A row that is not finite.
    pub fn of(rows: &dyn Rows) -> Result<About> {
        let mut sums = vec![0.0; rows.width()];
        let mut bytes = Vec::with_capacity(rows.width() * size_of::<f32>());
        let mut hasher = crc32fast::Hasher::new();
        for i in 0..rows.len() {
            let row = rows.row(i);
            if let Some(value) = row.iter().copied().find(|x| !x.is_finite()) {
                return Err(MfaError::Row { row: i, value });
            }
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            bytes.clear();
            bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
            hasher.update(&bytes);
        }
        let mean = sums.into_iter().map(|sum| (sum / rows.len() as f64) as f32).collect();
        let sum = format!("{} of {} ({:08x})", rows.len(), rows.width(), hasher.finalize());
        Ok(About { mean, sum })
    }
}

/// What must be the same for a training to go on.
pub fn identity(about: &About, validation: Option<&dyn Rows>, options: &TrainOptions) -> Result<Identity> {
    let TrainOptions { batch, lr, shuffle, seed, clip, steps_per_epoch, .. } = *options;
    let named = [
        ("method", options.method.name().into()),
        ("init", options.init.name().into()),
        ("batch", batch.to_string()),
        ("lr", lr.to_string()),
        ("shuffle", shuffle.to_string()),
        ("seed", seed.to_string()),
        ("clip", format!("{clip:?}")),
        ("steps_per_epoch", format!("{steps_per_epoch:?}")),
        ("device", if options.device.is_cpu() { "cpu".into() } else { "cuda".into() }),
        ("rows", about.sum.clone()),
        ("validation", validation.map_or(Ok("none".into()), |rows| About::of(rows).map(|about| about.sum))?),
    ];
    Ok(named.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// The parameters before the first epoch; their means are less `shift`.
pub fn parameters(
    rows: &dyn Rows,
    sizes: Sizes,
    options: &TrainOptions,
    shift: &[f32],
    watch: &mut dyn Watch,
) -> Result<Parameters<f32>> {
    let seed = options.seed;
    let mut means = match &options.init {
        Init::Rows => {
            let chosen = Generator::new(seed).choice(rows.len(), sizes.components, false, None);
            let chosen =
                chosen.map_err(|_| MfaError::Few { rows: rows.len(), components: sizes.components })?;
            chosen.into_iter().flat_map(|i| rows.row(i)).copied().collect()
        }
        Init::KMeans(kmeans) => {
            let kmeans = KMeansOptions { clusters: sizes.components, seed, ..*kmeans };
            let go_on = &mut |progress| watch.go_on(Progress::KMeans(progress));
            let found = kmeans::fit(rows, None, &kmeans, go_on)?.centroids;
            match kmeans.metric {
                Metric::Euclidean => found,
                // Centres of length 1 lie nowhere near the rows.
                Metric::Cosine => kmeans::means(rows, &kmeans::assign(rows, &found, kmeans.metric)?, &found),
            }
        }
        Init::Centroids(means) => means.clone(),
        Init::Mfa(mfa) => {
            let mut parameters = mfa.parameters.clone();
            for (k, block) in parameters.arrays.rows.chunks_mut(sizes.block()).enumerate() {
                let means = mfa.mu[k * sizes.width..].iter().zip(shift);
                block[..sizes.width].iter_mut().zip(means).for_each(|(to, (x, shift))| *to = x - shift);
            }
            return Ok(parameters);
        }
    };
    for mean in means.chunks_mut(sizes.width) {
        mean.iter_mut().zip(shift).for_each(|(x, shift)| *x -= shift);
    }
    // Another stream of numbers than the rows' and the clusters'.
    let mut rng = Generator::new(seed ^ 0x6d66_6100_0000_0000);
    Ok(Parameters::around(&means, sizes, EPS_FLOOR, &mut rng))
}
