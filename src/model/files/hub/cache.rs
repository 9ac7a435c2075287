//! The cache folder: a folder a model, in it `refs` (branch to commit), `snapshots` (a folder a commit, of links) and
//! `blobs` (the files). The layout is that of the Hub's own tools, which share the folder.

use std::path::{Path, PathBuf};

use super::{HubError, Need, Repo, Result, variable};
use crate::model::tokenizer::read_json;

pub(super) const CONFIG: &str = "config.json";
pub(super) const WEIGHTS: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// `org/name`
    pub name: String,
    /// Of everything that the cache holds of it.
    pub bytes: u64,
    pub snapshots: Vec<Snapshot>,
}

/// One commit of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub commit: String,
    /// The branches and tags that stand for it.
    pub refs: Vec<String>,
    /// All that a run reads is there.
    pub complete: bool,
}

/// Every model in the cache, by name.
pub fn list() -> Result<Vec<Cached>> {
    list_in(&folder()?)
}

/// The names of the models in the cache, without a look at their files.
pub fn names() -> Result<Vec<String>> {
    let cache = folder()?;
    let roots = entries(&cache).map_err(|source| HubError::Cache { path: cache, source })?;
    Ok(roots.iter().filter_map(|root| name(root)).collect())
}

/// Removes a model, all its commits; gives the bytes that this frees.
pub fn remove(id: &str) -> Result<u64> {
    remove_in(&folder()?, id)
}

/// The Hub's own rule: HF_HUB_CACHE, else `hub` in HF_HOME, else `huggingface/hub` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    match variable("HF_HUB_CACHE") {
        Some(folder) => Ok(folder.into()),
        None => Ok(home()?.join("hub")),
    }
}

/// HF_HOME, else `huggingface` in the user's cache folder.
pub(super) fn home() -> Result<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from);
    folder("HF_HOME")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface")))
        .ok_or(HubError::NoCache)
}

/// The model's own folder.
pub(super) fn root(cache: &Path, repo: &Repo) -> PathBuf {
    cache.join(format!("models--{}", repo.name.replace('/', "--")))
}

/// The folder of the commit that the revision stands for, if all that is needed is there.
pub(super) fn snapshot(cache: &Path, repo: &Repo, need: Need) -> Option<PathBuf> {
    let root = root(cache, repo);
    // A revision is a branch or tag, which `refs` resolves, or a commit itself.
    let commit = std::fs::read_to_string(root.join("refs").join(repo.revision)).ok();
    let commit = commit.filter(|commit| is_commit(commit.trim())).unwrap_or_else(|| repo.revision.into());
    let folder = root.join("snapshots").join(commit.trim());
    let found = match need {
        Need::Config => folder.join(CONFIG).is_file(),
        Need::Model => is_complete(&folder),
        Need::AnyOf(sets) => sets.iter().any(|set| set.iter().all(|file| folder.join(file).is_file())),
    };
    found.then_some(folder)
}

/// Whether a text names a commit: it becomes a folder of the cache, so it may be no path.
pub(super) fn is_commit(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_complete(snapshot: &Path) -> bool {
    let has = |name: &str| snapshot.join(name).is_file();
    has(CONFIG)
        && (has(WEIGHTS)
            || shards(&snapshot.join(INDEX)).is_some_and(|names| names.iter().all(|name| has(name))))
}

/// Weight files that an index names, each once; `None` if it is no index.
pub(super) fn shards(index: &Path) -> Option<Vec<String>> {
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

fn list_in(cache: &Path) -> Result<Vec<Cached>> {
    let mut models = Vec::new();
    for root in entries(cache).map_err(|source| HubError::Cache { path: cache.into(), source })? {
        let Some(name) = name(&root) else { continue };
        let broken = |source| HubError::Cache { path: root.clone(), source };
        let refs = refs(&root.join("refs"), "").map_err(broken)?;
        let snapshots = entries(&root.join("snapshots")).map_err(broken)?.into_iter().map(|folder| {
            let commit = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let refs = refs.iter().filter(|(_, of)| *of == commit).map(|(name, _)| name.clone()).collect();
            Snapshot { commit, refs, complete: is_complete(&folder) }
        });
        models.push(Cached { name, bytes: bytes(&root).map_err(broken)?, snapshots: snapshots.collect() });
    }
    Ok(models)
}

/// The model that a folder of the cache holds.
fn name(root: &Path) -> Option<String> {
    let name = root.file_name()?.to_string_lossy();
    Some(name.strip_prefix("models--")?.replacen("--", "/", 1))
}

fn remove_in(cache: &Path, id: &str) -> Result<u64> {
    let repo = Repo::parse(id)?;
    if id.contains('@') {
        return Err(HubError::WholeModels { name: repo.name.into() });
    }
    let root = root(cache, &repo);
    if !root.is_dir() {
        return Err(HubError::NotCached { id: id.into(), cache: cache.into() });
    }
    let broken = |source| HubError::Cache { path: root.clone(), source };
    let freed = bytes(&root).map_err(broken)?;
    std::fs::remove_dir_all(&root).map_err(broken)?;
    Ok(freed)
}

/// What is in a folder, by name; nothing if there is no such folder.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let read = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut paths: Vec<PathBuf> = read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Name and commit of every branch and tag; names can have several parts.
fn refs(folder: &Path, prefix: &str) -> std::io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            found.extend(refs(&path, &format!("{name}/"))?);
        } else {
            found.push((name, std::fs::read_to_string(&path)?.trim().into()));
        }
    }
    Ok(found)
}

/// Of all files below a folder; links count nothing.
fn bytes(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for path in entries(folder)? {
        let metadata = std::fs::symlink_metadata(&path)?;
        sum += if metadata.is_dir() {
            bytes(&path)?
        } else if metadata.is_file() {
            metadata.len()
        } else {
            0
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache with `org/name` at commit `c0ffee`, holding `files` (name, content).
    fn cache(files: &[(&str, &str)]) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let root = cache.path().join("models--org--name");
        std::fs::create_dir_all(root.join("refs/pr")).unwrap();
        std::fs::write(root.join("refs/main"), "c0ffee\n").unwrap();
        std::fs::write(root.join("refs/pr/1"), "c0ffee").unwrap();
        std::fs::create_dir_all(root.join("snapshots/c0ffee")).unwrap();
        for (name, content) in files {
            std::fs::write(root.join("snapshots/c0ffee").join(name), content).unwrap();
        }
        cache
    }

    fn found(cache: &tempfile::TempDir, id: &str, need: Need) -> bool {
        snapshot(cache.path(), &Repo::parse(id).unwrap(), need).is_some()
    }

    #[test]
    fn a_revision_is_a_branch_or_a_commit() {
        let cache = cache(&[(CONFIG, "{}"), (WEIGHTS, "")]);
        for id in ["org/name", "org/name@main", "org/name@pr/1", "org/name@c0ffee"] {
            let folder = snapshot(cache.path(), &Repo::parse(id).unwrap(), Need::Model).unwrap();
            assert!(folder.ends_with("models--org--name/snapshots/c0ffee"), "{folder:?}");
        }
        assert!(!found(&cache, "org/name@other", Need::Model));
        assert!(!found(&cache, "org/other", Need::Config));
    }

    #[test]
    fn every_shard_must_be_there() {
        let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}}"#;
        let some = cache(&[(CONFIG, "{}"), (INDEX, index), ("1.safetensors", "")]);
        assert!(!found(&some, "org/name", Need::Model) && found(&some, "org/name", Need::Config));
        let all = cache(&[(CONFIG, "{}"), (INDEX, index), ("1.safetensors", ""), ("2.safetensors", "")]);
        assert!(found(&all, "org/name", Need::Model));
    }

    #[test]
    fn an_index_cannot_lead_out_of_the_folder() {
        let index = r#"{"weight_map": {"a": "../../../secret"}}"#;
        let cache = cache(&[(CONFIG, "{}"), (INDEX, index)]);
        std::fs::write(cache.path().join("secret"), "").unwrap();
        assert!(!found(&cache, "org/name", Need::Model));
    }

    #[test]
    fn lists_and_removes() {
        let cache = cache(&[(CONFIG, "{}"), (WEIGHTS, "123")]);
        std::fs::create_dir(cache.path().join("datasets--org--name")).unwrap();
        std::fs::create_dir_all(cache.path().join("models--org--other/snapshots/beef")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("c0ffee", cache.path().join("models--org--name/snapshots/link")).unwrap();
        let models = list_in(cache.path()).unwrap();
        let names: Vec<_> = models.iter().map(|model| (model.name.as_str(), model.bytes)).collect();
        assert_eq!(names, [("org/name", 5 + 7 + 6), ("org/other", 0)]);
        let commit = "c0ffee".to_string();
        let refs = vec!["main".to_string(), "pr/1".to_string()];
        assert_eq!(models[0].snapshots[0], Snapshot { commit, refs, complete: true });
        assert!(!models[1].snapshots[0].complete);

        assert_eq!(remove_in(cache.path(), "org/name").unwrap(), 18);
        assert!(!cache.path().join("models--org--name").exists());
        assert!(matches!(remove_in(cache.path(), "org/name"), Err(HubError::NotCached { .. })));
        assert!(matches!(remove_in(cache.path(), "org/other@main"), Err(HubError::WholeModels { .. })));
        assert!(matches!(remove_in(cache.path(), "../org"), Err(HubError::BadId { .. })));
        assert_eq!(list_in(&cache.path().join("absent")).unwrap(), []);
    }
}
