//! Features of a sparse autoencoder as sites.

use rhai::{Array, Map};

use super::sae::Sae;
use crate::run::Site;
use crate::run::site::{Features, Which};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::error::{ScriptResult, fail};

/// Registers what makes such sites.
pub fn register(api: &mut Api) {
    api.method(
        "Sae",
        "site(options?: map) -> Site",
        "the features where it reads, to trace, patch and sweep over; a patched activation keeps what the autoencoder does \
         not explain of it, unless `#{error: false}`",
    )
    .example("load().trace(\" John gave\")[load_sae(\"demo\").site().at(-1)].shape", "[768]")
    .native(|sae: &mut Sae| site(sae, Map::new()))
    .native(|sae: &mut Sae, options: Map| site(sae, options));
    api.method(
        "Site",
        "feature(feature: int) -> Site",
        "one feature of an autoencoder's site; reading drops the axis",
    )
    .example("load().trace(\" John gave\")[load_sae(\"demo\").site().feature(7)].shape", "[3]")
    .native(|site: &mut Site, feature: i64| -> ScriptResult<Site> {
        narrowed(site, Which::One(args::size(&feature.into())?))
    });
    api.method("Site", "features(features: array) -> Site", "several features of an autoencoder's site")
        .example("load().trace(\" John gave\")[load_sae(\"demo\").site().features([7, 2])].shape", "[3, 2]")
        .native(|site: &mut Site, features: Array| -> ScriptResult<Site> {
            narrowed(site, Which::Many(args::each(&features.into(), args::size)?))
        });
}

fn site(sae: &Sae, options: Map) -> ScriptResult<Site> {
    let mut options = Options::new(options, "site");
    let keep_error = options.get_bool("error")?.unwrap_or(true);
    options.finish()?;
    let features = Features { sae: sae.inner.clone(), which: Which::All, keep_error, force: sae.force };
    let at = sae.inner.about.reads;
    Ok(Site { features: Some(features), ..Site::new(at.point, at.layer) })
}

fn narrowed(site: &Site, which: Which) -> ScriptResult<Site> {
    match &site.features {
        Some(features) => Ok(Site { features: Some(Features { which, ..features.clone() }), ..site.clone() }),
        None => Err(fail(format!("`{site}` has no features"))
            .help("features are those of an autoencoder: `load_sae(\"demo\").site().feature(7)`")
            .into()),
    }
}
