//! Models from the Hugging Face Hub, through the cache folder that its own tools use: [`cache`] reads what is there,
//! [`download`] fetches what is not, by the requests of [`client`].

use crate::help::Help;
use std::path::PathBuf;

pub mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;

/// Why a model cannot be had from the Hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("`{id}` is not a model id, expected `org/name` or `org/name@revision`")]
    BadId { id: String },
    #[error("`{id}` is not in the cache `{}`, and the network is off", cache.display())]
    Offline { id: String, cache: PathBuf },
    #[error("`{id}` is not in the cache `{}`, and this build cannot download", cache.display())]
    NoDownload { id: String, cache: PathBuf },
    #[error("`{id}` is not in the cache `{}`", cache.display())]
    NotCached { id: String, cache: PathBuf },
    #[error("the cache can only forget `{name}` as a whole")]
    WholeModels { name: String },
    #[error("cannot find the cache folder")]
    NoCache,
    #[error("cannot use the cache folder `{}`: {source}", path.display())]
    Cache { path: PathBuf, source: std::io::Error },
    #[error("`{id}` is not on the Hub, or it is private")]
    NotFound { id: String },
    #[error("`{name}` has no revision `{revision}`")]
    NoRevision { name: String, revision: String },
    #[error("`{id}` is gated: its authors ask for your consent first")]
    Gated { id: String, page: String, token: bool },
    #[error("the Hub does not accept the access token")]
    BadToken,
    #[error("cannot fetch `{file}` of `{id}`: {reason}")]
    Fetch { id: String, file: String, reason: String },
    #[error("`{file}` of `{id}` has {found} bytes, but the Hub announced {announced}")]
    Size { id: String, file: String, found: u64, announced: u64 },
    #[error("`{id}` has no safetensors weights")]
    NoWeights { id: String },
    #[error("`{id}` has no {}", .wanted.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" or "))]
    NoFile { id: String, wanted: Vec<String> },
}

impl Help for HubError {
    fn help(&self) -> Option<String> {
        match self {
            Self::BadId { .. } => Some("for a folder on this machine, give its path: `./my-model`".into()),
            Self::Offline { id, .. } => {
                Some(format!("run once without `--offline` (and without HF_HUB_OFFLINE) to download `{id}`"))
            }
            Self::NoDownload { id, .. } => {
                Some(format!("build with the cargo feature `hub`, or run `hf download {id}` first"))
            }
            Self::NotCached { .. } => Some("`patchscript models list` shows what is there".into()),
            Self::WholeModels { name } => Some(format!("leave out the revision: `{name}`")),
            Self::NoCache => Some("set HF_HOME to a folder".into()),
            Self::Cache { .. } => Some("set HF_HOME to a folder that you may write to".into()),
            Self::NotFound { .. } => {
                Some("check the name; for a private model, set HF_TOKEN or run `hf auth login`".into())
            }
            Self::NoRevision { name, .. } => Some(format!("leave out the revision: `{name}`")),
            Self::Gated { page, token: false, .. } => Some(format!(
                "accept the terms at {page}, then set HF_TOKEN to an access token of that account, or run \
                 `hf auth login`"
            )),
            Self::Gated { page, token: true, .. } => Some(format!(
                "accept the terms at {page} with the account of your access token, and let the token read gated \
                 repositories"
            )),
            Self::BadToken => Some("set HF_TOKEN to a valid one, or run `hf auth login`".into()),
            Self::Fetch { .. } => Some("check the network and run it again: what has arrived is kept".into()),
            Self::Size { .. } => Some("run it again: the file is fetched anew".into()),
            Self::NoFile { .. } => Some("look at its page for the folder's name".into()),
            Self::NoWeights { .. } => {
                Some("choose a model with `model.safetensors` or a `.gguf` file".into())
            }
        }
    }
}

type Result<T> = std::result::Result<T, HubError>;

/// `org/name[@revision]`, checked; the revision is `main` if none is given.
struct Repo<'a> {
    id: &'a str,
    name: &'a str,
    revision: &'a str,
}

impl<'a> Repo<'a> {
    fn parse(id: &'a str) -> Result<Self> {
        let (name, revision) = id.split_once('@').unwrap_or((id, "main"));
        // The parts become folders of the cache, so none may lead out of it.
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if name.split('/').count() == 2 && name.split('/').all(plain) && revision.split('/').all(plain) {
            Ok(Self { id, name, revision })
        } else {
            Err(HubError::BadId { id: id.into() })
        }
    }
}

/// What is needed of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'a> {
    /// `config.json` alone.
    Config,
    /// All that a run reads.
    Model,
    /// The files of the first of these sets that is whole.
    AnyOf(&'a [Vec<String>]),
}

/// The folder that holds the files of `org/name[@revision]`, downloaded if they are not in the cache yet. `offline`, or
/// the variable `HF_HUB_OFFLINE`, forbids the network.
pub fn fetch(id: &str, need: Need, offline: bool) -> Result<PathBuf> {
    let repo = Repo::parse(id)?;
    let cache = cache::folder()?;
    match cache::snapshot(&cache, &repo, need) {
        Some(folder) => Ok(folder),
        None => download(&cache, &repo, need, offline),
    }
}

/// The folder of `org/name[@revision]` with all files of one of `sets`, the first that the repository has.
pub fn fetch_any(id: &str, sets: &[Vec<String>], offline: bool) -> Result<PathBuf> {
    fetch(id, Need::AnyOf(sets), offline)
}

/// Brings the cache up to date with the Hub: the newest commit of `org/name[@revision]`, whole.
pub fn pull(id: &str) -> Result<PathBuf> {
    download(&cache::folder()?, &Repo::parse(id)?, Need::Model, false)
}

fn download(cache: &std::path::Path, repo: &Repo, need: Need, offline: bool) -> Result<PathBuf> {
    if offline || variable("HF_HUB_OFFLINE").is_some_and(|value| is_set(&value)) {
        return Err(HubError::Offline { id: repo.id.into(), cache: cache.into() });
    }
    #[cfg(feature = "hub")]
    return download::download(cache, repo, need);
    #[cfg(not(feature = "hub"))]
    {
        let _ = need;
        Err(HubError::NoDownload { id: repo.id.into(), cache: cache.into() })
    }
}

fn is_set(value: &str) -> bool {
    !["0", "false", "no", "off"].contains(&value.to_lowercase().as_str())
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        for id in ["name", "a/b/c", "../x", "a/..", "a/b@../c", "a/b@", "", "a b/c", "org/name@x//y"] {
            assert!(matches!(Repo::parse(id), Err(HubError::BadId { .. })), "{id}");
        }
        let repo = Repo::parse("org/na.me-2@refs/pr/1").unwrap();
        assert_eq!((repo.name, repo.revision), ("org/na.me-2", "refs/pr/1"));
    }
}
