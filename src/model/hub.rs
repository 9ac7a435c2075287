//! Model folders from the Hugging Face Hub, through the cache folder that its own tools use.

use std::path::{Path, PathBuf};

use super::tokenizer::read_json;

/// Why a model cannot be had from the Hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("`{id}` is not a model id, expected `org/name` or `org/name@revision`")]
    BadId { id: String },
    #[error("`{id}` is not in the cache `{}`, and the network is off", cache.display())]
    Offline { id: String, cache: PathBuf },
    #[error("`{id}` is not in the cache `{}`, and this build cannot download", cache.display())]
    NoDownload { id: String, cache: PathBuf },
    #[error("cannot find the cache folder")]
    NoCache,
    #[error("cannot fetch `{file}` of `{id}`: {reason}")]
    Fetch { id: String, file: String, reason: String },
    #[error("`{id}` has no safetensors weights")]
    NoWeights { id: String },
}

impl HubError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::BadId { .. } => Some("for a folder on this machine, give its path: `./my-model`".into()),
            Self::Offline { id, .. } => {
                Some(format!("run once without `--offline` (and without HF_HUB_OFFLINE) to download `{id}`"))
            }
            Self::NoDownload { id, .. } => {
                Some(format!("build with the cargo feature `hub`, or run `hf download {id}` first"))
            }
            Self::NoCache => Some("set HF_HOME to a folder".into()),
            Self::Fetch { .. } => {
                Some("check the name and the network; a gated model needs `hf auth login`".into())
            }
            Self::NoWeights { .. } => {
                Some("choose a model with `model.safetensors` or a `.gguf` file".into())
            }
        }
    }
}

type Result<T> = std::result::Result<T, HubError>;

/// Fetched besides `config.json` and the weights, where the model has them.
#[cfg(feature = "hub")]
const OPTIONAL: [&str; 5] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The folder that holds the files of `org/name[@revision]`, downloaded if they are not in the cache yet. `offline`, or
/// the variable `HF_HUB_OFFLINE`, forbids the network.
pub fn fetch(id: &str, offline: bool) -> Result<PathBuf> {
    let offline = offline
        || variable("HF_HUB_OFFLINE")
            .is_some_and(|v| !["0", "false", "no", "off"].contains(&v.to_lowercase().as_str()));
    fetch_in(&cache_folder()?, id, offline)
}

fn fetch_in(cache: &Path, id: &str, offline: bool) -> Result<PathBuf> {
    let repo = Repo::parse(id)?;
    match cached(cache, &repo) {
        Some(folder) => Ok(folder),
        None if offline => Err(HubError::Offline { id: id.into(), cache: cache.into() }),
        None => download(cache, &repo, id),
    }
}

struct Repo<'a> {
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
            Ok(Self { name, revision })
        } else {
            Err(HubError::BadId { id: id.into() })
        }
    }
}

/// The snapshot in the cache, if all that is needed is there.
fn cached(cache: &Path, repo: &Repo) -> Option<PathBuf> {
    let root = cache.join(format!("models--{}", repo.name.replace('/', "--")));
    // A revision is a branch or tag, which `refs` resolves, or a commit itself.
    let commit = std::fs::read_to_string(root.join("refs").join(repo.revision));
    let commit = commit.unwrap_or_else(|_| repo.revision.into());
    let folder = root.join("snapshots").join(commit.trim());
    let complete = folder.join("config.json").is_file()
        && (folder.join(WEIGHTS).is_file()
            || shards(&folder.join(INDEX))
                .is_some_and(|names| names.iter().all(|name| folder.join(name).is_file())));
    complete.then_some(folder)
}

/// Weight files that an index names, each once; `None` if it is no index.
fn shards(index: &Path) -> Option<Vec<String>> {
    let index = read_json(index).ok()?;
    let files = index["weight_map"].as_object()?.values();
    let mut names: Vec<String> = files.map(|name| name.as_str().map(String::from)).collect::<Option<_>>()?;
    names.sort();
    names.dedup();
    // Files beside the index, not elsewhere.
    let plain =
        !names.is_empty() && names.iter().all(|name| !name.contains(['/', '\\']) && !name.starts_with('.'));
    plain.then_some(names)
}

#[cfg(feature = "hub")]
fn download(cache: &Path, repo: &Repo, id: &str) -> Result<PathBuf> {
    use std::io::IsTerminal;

    let failed = |file: &str, error: hf_hub::api::sync::ApiError| HubError::Fetch {
        id: id.into(),
        file: file.into(),
        reason: error.to_string(),
    };
    let mut builder = hf_hub::api::sync::ApiBuilder::from_cache(hf_hub::Cache::new(cache.into()))
        .with_progress(std::io::stderr().is_terminal());
    if let Some(endpoint) = variable("HF_ENDPOINT") {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(token) = variable("HF_TOKEN") {
        builder = builder.with_token(Some(token));
    }
    let api = builder.build().map_err(|error| failed("", error))?;
    let (name, revision) = (repo.name.to_string(), repo.revision.to_string());
    let api = api.repo(hf_hub::Repo::with_revision(name, hf_hub::RepoType::Model, revision));
    let info = api.info().map_err(|error| failed("the list of files", error))?;
    let get = |file: &str| api.get(file).map_err(|error| failed(file, error));
    let has = |file: &str| info.siblings.iter().any(|sibling| sibling.rfilename == file);

    let config = get("config.json")?;
    for file in OPTIONAL.into_iter().filter(|file| has(file)) {
        get(file)?;
    }
    if has(WEIGHTS) {
        get(WEIGHTS)?;
    } else if has(INDEX) {
        for shard in shards(&get(INDEX)?).ok_or_else(|| HubError::NoWeights { id: id.into() })? {
            get(&shard)?;
        }
    } else {
        return Err(HubError::NoWeights { id: id.into() });
    }
    Ok(config.parent().map(Path::to_path_buf).unwrap_or(config))
}

#[cfg(not(feature = "hub"))]
fn download(cache: &Path, _: &Repo, id: &str) -> Result<PathBuf> {
    Err(HubError::NoDownload { id: id.into(), cache: cache.into() })
}

/// The Hub's own rule: HF_HUB_CACHE, else `hub` in HF_HOME, else `huggingface/hub` in the user's cache folder.
fn cache_folder() -> Result<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from);
    folder("HF_HUB_CACHE")
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface/hub")))
        .ok_or(HubError::NoCache)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache with `org/name` at commit `c0ffee`, holding `files` (name, content).
    fn cache(files: &[(&str, &str)]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let root = cache.path().join("models--org--name");
        std::fs::create_dir_all(root.join("refs")).unwrap();
        std::fs::write(root.join("refs/main"), "c0ffee\n").unwrap();
        std::fs::create_dir_all(root.join("snapshots/c0ffee")).unwrap();
        for (name, content) in files {
            std::fs::write(root.join("snapshots/c0ffee").join(name), content).unwrap();
        }
        cache
    }

    #[test]
    fn a_complete_snapshot_needs_no_network() {
        let cache = cache(&[("config.json", "{}"), (WEIGHTS, "")]);
        for id in ["org/name", "org/name@main", "org/name@c0ffee"] {
            let folder = fetch_in(cache.path(), id, true).unwrap();
            assert!(folder.ends_with("models--org--name/snapshots/c0ffee"), "{folder:?}");
        }
        assert!(matches!(fetch_in(cache.path(), "org/name@other", true), Err(HubError::Offline { .. })));
    }

    #[test]
    fn every_shard_must_be_there() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#;
        let some = cache(&[("config.json", "{}"), (INDEX, index), ("1.safetensors", "")]);
        let error = fetch_in(some.path(), "org/name", true).unwrap_err();
        assert!(error.to_string().starts_with("`org/name` is not in the cache"), "{error}");
        let all =
            cache(&[("config.json", "{}"), (INDEX, index), ("1.safetensors", ""), ("2.safetensors", "")]);
        assert!(fetch_in(all.path(), "org/name", true).is_ok());
    }

    #[test]
    fn an_index_cannot_lead_out_of_the_folder() {
        let index = r#"{"weight_map": {"a": "../../../secret"}}"#;
        let cache = cache(&[("config.json", "{}"), (INDEX, index)]);
        std::fs::write(cache.path().join("secret"), "").unwrap();
        assert!(fetch_in(cache.path(), "org/name", true).is_err());
    }

    #[test]
    fn ids_are_checked() {
        for id in ["name", "a/b/c", "../x", "a/..", "a/b@../c", "a/b@", "", "a b/c", "org/name@x//y"] {
            assert!(matches!(fetch_in(Path::new("/"), id, true), Err(HubError::BadId { .. })), "{id}");
        }
    }
}
