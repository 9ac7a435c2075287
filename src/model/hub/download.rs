//! Fetching from the Hub, file by file, into the cache. A file that was cut off is taken up where it ended.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, RepoType};
use serde::Deserialize;

use super::cache::{self, CONFIG, INDEX, WEIGHTS};
use super::{HubError, Need, Repo, Result, variable};

/// Fetched besides `config.json` and the weights, where the model has them.
const OPTIONAL: [&str; 6] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];
/// How often a file is taken up again after the connection broke, and the first pause before that, which doubles.
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// What the Hub says about a model at one commit.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<File>,
    /// `false`, or how consent is given.
    #[serde(default)]
    gated: serde_json::Value,
}

#[derive(Deserialize)]
struct File {
    rfilename: String,
    size: Option<u64>,
}

/// The folder of the newest commit of the revision, with all that is needed.
pub(super) fn download(cache: &Path, repo: &Repo, need: Need) -> Result<PathBuf> {
    let endpoint = variable("HF_ENDPOINT").unwrap_or("https://huggingface.co".into());
    let endpoint = endpoint.trim_end_matches('/').to_string();
    let token = token()?;
    let page = format!("{endpoint}/{}", repo.name);
    let has_token = token.is_some();
    let api = ApiBuilder::from_cache(Cache::new(cache.into()))
        .with_endpoint(endpoint)
        .with_token(token)
        .with_progress(std::io::stderr().is_terminal())
        .build()
        .map_err(|error| failed(repo, "the list of files", error.to_string()))?;
    let gated = || HubError::Gated { id: repo.id.into(), page: page.clone(), token: has_token };

    let listing = listing(&api, repo, gated)?;
    // All files of one commit, even if the branch moves meanwhile.
    let pinned = hf_hub::Repo::with_revision(repo.name.into(), RepoType::Model, listing.sha.clone());
    let root = cache::root(cache, repo);
    let snapshot = Snapshot {
        repo,
        files: api.repo(pinned),
        folder: root.join("snapshots").join(&listing.sha),
        listing: &listing,
    };
    let fetched = snapshot.fetch(need).map_err(|error| match error {
        Failure::Refused
            if !matches!(listing.gated, serde_json::Value::Bool(false) | serde_json::Value::Null) =>
        {
            gated()
        }
        Failure::Refused => HubError::NotFound { id: repo.id.into() },
        Failure::Other(error) => error,
    });
    let refs = root.join("refs");
    if repo.revision != listing.sha {
        // hf-hub notes the commit as a revision of its own, which the Hub's own tools do not.
        let _ = std::fs::remove_file(refs.join(&listing.sha));
    }
    fetched?;
    let reference = refs.join(repo.revision);
    let written = || -> std::io::Result<()> {
        std::fs::create_dir_all(reference.parent().unwrap_or(&refs))?;
        std::fs::write(&reference, &listing.sha)
    };
    if repo.revision != listing.sha {
        written().map_err(|source| HubError::Cache { path: reference.clone(), source })?;
    }
    Ok(snapshot.folder)
}

/// HF_TOKEN, else what `hf auth login` left in the file HF_TOKEN_PATH or `token` in HF_HOME.
fn token() -> Result<Option<String>> {
    if let Some(token) = variable("HF_TOKEN") {
        return Ok(Some(token));
    }
    let path = match variable("HF_TOKEN_PATH") {
        Some(path) => path.into(),
        None => cache::home()?.join("token"),
    };
    let token = std::fs::read_to_string(path).unwrap_or_default();
    Ok(Some(token.trim().to_string()).filter(|token| !token.is_empty()))
}

fn listing(api: &Api, repo: &Repo, gated: impl Fn() -> HubError) -> Result<Listing> {
    let failed = |reason: String| failed(repo, "the list of files", reason);
    let name = hf_hub::Repo::with_revision(repo.name.into(), RepoType::Model, repo.revision.into());
    let request = api.repo(name).info_request().query("blobs", "true");
    let request = request.config().http_status_as_error(false).build();
    let mut response = request.call().map_err(|error| failed(error.to_string()))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    match (response.status().as_u16(), header("x-error-code")) {
        (200, _) => {}
        (_, Some("GatedRepo")) => return Err(gated()),
        (_, Some("RevisionNotFound")) => {
            return Err(HubError::NoRevision { name: repo.name.into(), revision: repo.revision.into() });
        }
        (401, _) if header("x-error-message").is_some_and(|text| text.contains("Invalid credentials")) => {
            return Err(HubError::BadToken);
        }
        (401 | 403 | 404, _) => return Err(HubError::NotFound { id: repo.id.into() }),
        (status, _) => return Err(failed(format!("the Hub answers with status {status}"))),
    }
    let listing: Listing = response.body_mut().read_json().map_err(|error| failed(error.to_string()))?;
    // The commit becomes a folder of the cache.
    if listing.sha.is_empty() || !listing.sha.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(failed(format!("`{}` is no commit", listing.sha)));
    }
    Ok(listing)
}

fn failed(repo: &Repo, file: &str, reason: String) -> HubError {
    HubError::Fetch { id: repo.id.into(), file: file.into(), reason }
}

enum Failure {
    /// The Hub lists the file, but does not give it out.
    Refused,
    Other(HubError),
}

/// The files of one commit.
struct Snapshot<'a> {
    repo: &'a Repo<'a>,
    files: ApiRepo,
    folder: PathBuf,
    listing: &'a Listing,
}

impl Snapshot<'_> {
    /// The weights come last, so that their presence means that all is there.
    fn fetch(&self, need: Need) -> std::result::Result<(), Failure> {
        self.get(CONFIG)?;
        if need == Need::Config {
            return Ok(());
        }
        for file in OPTIONAL.into_iter().filter(|file| self.has(file)) {
            self.get(file)?;
        }
        if self.has(WEIGHTS) {
            return self.get(WEIGHTS);
        }
        let no_weights = || Failure::Other(HubError::NoWeights { id: self.repo.id.into() });
        if !self.has(INDEX) {
            return Err(no_weights());
        }
        self.get(INDEX)?;
        let shards = cache::shards(&self.folder.join(INDEX)).ok_or_else(no_weights)?;
        shards.iter().try_for_each(|shard| self.get(shard))
    }

    fn has(&self, file: &str) -> bool {
        self.listing.siblings.iter().any(|sibling| sibling.rfilename == file)
    }

    fn get(&self, file: &str) -> std::result::Result<(), Failure> {
        let path = self.folder.join(file);
        if path.is_file() {
            return Ok(());
        }
        let mut pause = PAUSE;
        for retry in 0.. {
            match self.files.download(file) {
                Ok(_) => break,
                Err(error) => match status(&error) {
                    Some(401 | 403) => return Err(Failure::Refused),
                    // The connection broke, or the Hub is overloaded.
                    None | Some(429 | 500..) if retry < RETRIES => std::thread::sleep(pause),
                    _ => return Err(Failure::Other(failed(self.repo, file, error.to_string()))),
                },
            }
            pause *= 2;
        }
        self.check_size(file, &path)
    }

    /// A file of another size than announced is taken out of the cache again.
    fn check_size(&self, file: &str, path: &Path) -> std::result::Result<(), Failure> {
        let sibling = self.listing.siblings.iter().find(|sibling| sibling.rfilename == file);
        let found = std::fs::metadata(path).map(|metadata| metadata.len());
        let found = found.map_err(|source| Failure::Other(HubError::Cache { path: path.into(), source }))?;
        match sibling.and_then(|sibling| sibling.size) {
            Some(announced) if announced != found => {
                let _ = path.canonicalize().and_then(std::fs::remove_file);
                let _ = std::fs::remove_file(path);
                let (id, file) = (self.repo.id.into(), file.into());
                Err(Failure::Other(HubError::Size { id, file, found, announced }))
            }
            _ => Ok(()),
        }
    }
}

/// The HTTP status that made a request fail, if one did.
fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(error) => match **error {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    }
}
