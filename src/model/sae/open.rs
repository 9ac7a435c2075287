//! From a path or a name to an autoencoder: the one of the embedded model, a folder, a file, or one on the Hub.

use std::path::{Path, PathBuf};

use super::error::{Result, SaeError};
use super::formats::{self, Draft, Named};
use super::{About, Sae};
use crate::model::files::{embedded, hub};
use crate::model::hook::At;

/// What a script knows better than the files, or in their place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SaeOptions {
    /// Where it reads.
    pub site: Option<At>,
    /// Where a transcoder writes.
    pub writes: Option<At>,
    /// What inputs are multiplied by, which becomes part of the weights.
    pub scale: Option<f64>,
    pub neuronpedia: Option<String>,
    /// A place other than that of the files is meant.
    pub force: bool,
    /// Never ask the network.
    pub offline: bool,
}

impl Sae {
    /// Loads the autoencoder of the embedded model (`demo`), a folder or a file in one of the [`formats`], or
    /// `org/name[@revision][/folder]` from the Hub.
    pub fn load(id: &str, options: &SaeOptions) -> Result<Sae> {
        let path = Path::new(id);
        let draft = if id == embedded::ID {
            formats::embedded()?
        } else if path.exists() {
            formats::read(path)?
        } else {
            formats::read(&from_hub(id, options.offline)?)?
        };
        draft.finish(options)
    }
}

/// The folder or the file of `org/name[@revision][/folder]`.
fn from_hub(id: &str, offline: bool) -> Result<PathBuf> {
    let missing = || SaeError::NotFound(id.into());
    let (org, rest) = id.split_once('/').ok_or_else(missing)?;
    let (name, inside) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    // Anything else was meant as a path.
    let is_repository =
        plain(org) && plain(name) && inside.split('/').all(|part| inside.is_empty() || plain(part));
    if !is_repository || id.contains('\\') {
        return Err(missing());
    }
    let sets = formats::file_sets(inside);
    let folder =
        hub::fetch_any(&format!("{org}/{name}"), &sets, offline).map_err(crate::model::ModelError::from)?;
    Ok(folder.join(inside))
}

impl Draft {
    /// With what the options say.
    fn finish(self, options: &SaeOptions) -> Result<Sae> {
        let force = options.force;
        let transcodes = self.writes.is_some();
        let reads = place("reads", "where it reads", "site", self.reads, options.site, force)?;
        let writes = match (transcodes, options.writes) {
            (false, None) => reads,
            (_, given) => place("writes", "where it writes", "writes", self.writes, given, force)?,
        };
        let about = About {
            kind: self.kind,
            normalize: self.normalize,
            apply_b_dec_to_input: self.apply_b_dec_to_input,
            reads,
            writes,
            model: self.model,
            neuronpedia: options.neuronpedia.clone().or(self.neuronpedia),
            cfg: self.cfg,
        };
        let sae = Sae { files: self.files, ..Sae::new(about, self.tensors)? };
        options.scale.map_or(Ok(sae.clone()), |scale| sae.folded(scale))
    }
}

/// The place that the files name, or the one given in its stead.
fn place(
    verb: &'static str,
    what: &'static str,
    option: &'static str,
    own: Option<Named>,
    given: Option<At>,
    force: bool,
) -> Result<At> {
    match (own, given) {
        (None, None) => Err(SaeError::NoPlace { what, option }),
        (None, Some(given)) | (Some(Named { at: None, .. }), Some(given)) => Ok(given),
        (Some(Named { text, at: None }), None) => Err(SaeError::UnknownPlace { text }),
        (Some(Named { at: Some(own), .. }), given) => match given {
            Some(given) if given != own && !force => {
                Err(SaeError::OtherPlace { verb, own: own.to_string(), given: given.to_string() })
            }
            given => Ok(given.unwrap_or(own)),
        },
    }
}
