//! Fetching from the Hub, file by file, into the cache. A file that was cut off is taken up where it ended.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, IsTerminal, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Deserialize;

use super::cache::{self, CONFIG, INDEX, WEIGHTS};
use super::client::{Client, RequestError};
use super::{HubError, Need, Repo, Result, variable};
use crate::model::files::SIDE_FILES;

/// Would change the weights, and is refused where it lies beside them.
const ADAPTER: &str = "adapter_config.json";
/// How often a file is taken up again after the connection broke, and the first pause before that, which doubles.
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// The longest list of files, and the longest file beside the weights, in bytes.
const LIST: u64 = 32 << 20;
const BESIDE: u64 = 256 << 20;

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
    let client = Client::new(&endpoint, token()?);
    let page = format!("{}/{}", client.endpoint, repo.name);
    let gated = || HubError::Gated { id: repo.id.into(), page: page.clone(), token: client.has_token() };

    let listing = listing(&client, repo, gated)?;
    let root = cache::root(cache, repo);
    // All files of one commit, even if the branch moves meanwhile.
    let snapshot = Snapshot {
        repo,
        client: &client,
        blobs: root.join("blobs"),
        folder: root.join("snapshots").join(&listing.sha),
        listing: &listing,
    };
    snapshot.fetch(need).map_err(|error| match error {
        Failure::Refused
            if !matches!(listing.gated, serde_json::Value::Bool(false) | serde_json::Value::Null) =>
        {
            gated()
        }
        Failure::Refused => HubError::NotFound { id: repo.id.into() },
        Failure::Other(error) => error,
    })?;
    if repo.revision != listing.sha {
        let refs = root.join("refs");
        let reference = refs.join(repo.revision);
        let written = fs::create_dir_all(reference.parent().unwrap_or(&refs))
            .and_then(|()| fs::write(&reference, &listing.sha));
        written.map_err(|source| HubError::Cache { path: reference, source })?;
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

fn listing(client: &Client, repo: &Repo, gated: impl Fn() -> HubError) -> Result<Listing> {
    let failed = |reason: String| failed(repo, "the list of files", reason);
    let path = format!("api/models/{}/revision/{}?blobs=true", repo.name, repo.revision.replace('/', "%2F"));
    let answer = client.get(&path, None).map_err(|error| failed(error.to_string()))?;
    match (answer.status, answer.header("x-error-code")) {
        (200, _) => {}
        (_, Some("GatedRepo")) => return Err(gated()),
        (_, Some("RevisionNotFound")) => {
            return Err(HubError::NoRevision { name: repo.name.into(), revision: repo.revision.into() });
        }
        (401, _)
            if answer.header("x-error-message").is_some_and(|text| text.contains("Invalid credentials")) =>
        {
            return Err(HubError::BadToken);
        }
        (401 | 403 | 404, _) => return Err(HubError::NotFound { id: repo.id.into() }),
        (status, _) => return Err(failed(RequestError::Status(status).to_string())),
    }
    let text = answer.bytes(LIST).map_err(|error| failed(error.to_string()))?;
    let listing: Listing = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    match cache::is_commit(&listing.sha) {
        true => Ok(listing),
        false => Err(failed(format!("`{}` is no commit", listing.sha.escape_debug()))),
    }
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
    client: &'a Client,
    blobs: PathBuf,
    folder: PathBuf,
    listing: &'a Listing,
}

impl Snapshot<'_> {
    /// The weights come last, so that their presence means that all is there.
    fn fetch(&self, need: Need) -> std::result::Result<(), Failure> {
        if let Need::AnyOf(sets) = need {
            let Some(set) = sets.iter().find(|set| set.iter().all(|file| self.has(file))) else {
                let mut wanted: Vec<String> = sets.iter().filter_map(|set| set.last().cloned()).collect();
                // Sets of one layout end alike.
                wanted.dedup();
                return Err(Failure::Other(HubError::NoFile { id: self.repo.id.into(), wanted }));
            };
            return set.iter().try_for_each(|file| self.get(file));
        }
        self.get(CONFIG)?;
        if need == Need::Config {
            return Ok(());
        }
        for file in [ADAPTER].into_iter().chain(SIDE_FILES).filter(|file| self.has(file)) {
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
        let other = |reason: String| Failure::Other(failed(self.repo, file, reason));
        let mut pause = PAUSE;
        for retry in 0.. {
            match self.transfer(file) {
                Ok(blob) => {
                    let depth = Path::new(file).components().count();
                    return link(&blob, &path, depth).map_err(|error| other(error.to_string()));
                }
                Err(Transfer::Size { found, announced }) => {
                    let (id, file) = (self.repo.id.into(), file.into());
                    return Err(Failure::Other(HubError::Size { id, file, found, announced }));
                }
                Err(Transfer::Request(RequestError::Status(401 | 403))) => return Err(Failure::Refused),
                Err(Transfer::Request(error)) if error.passes() && retry < RETRIES => {
                    std::thread::sleep(pause)
                }
                Err(Transfer::Request(error)) => return Err(other(error.to_string())),
                Err(Transfer::Cache(error)) => return Err(other(error.to_string())),
            }
            pause *= 2;
        }
        Ok(())
    }

    /// Brings one file into the cache, and says where.
    fn transfer(&self, file: &str) -> std::result::Result<PathBuf, Transfer> {
        let path = format!("{}/resolve/{}/{file}", self.repo.name, self.listing.sha);
        let about = self.client.get(&path, Some("0-0"))?.good()?;
        let (etag, (_, size)) = (about.etag()?, about.part()?);
        let sibling = self.listing.siblings.iter().find(|sibling| sibling.rfilename == file);
        let announced = sibling.and_then(|sibling| sibling.size);
        let size = match (size, announced) {
            (Some(found), Some(announced)) if found != announced => {
                return Err(Transfer::Size { found, announced });
            }
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => return Err(RequestError::Header { what: "length", found: String::new() }.into()),
        };
        if size > BESIDE && ![".safetensors", ".npz"].iter().any(|end| file.ends_with(end)) {
            return Err(RequestError::Long(BESIDE).into());
        }

        let blob = self.blobs.join(&etag);
        if fs::metadata(&blob).is_ok_and(|data| data.is_file() && data.len() == size) {
            return Ok(blob);
        }
        fs::create_dir_all(&self.blobs)?;
        let part = self.blobs.join(format!("{etag}.part"));
        let mut to = OpenOptions::new().create(true).append(true).open(&part)?;
        match to.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Transfer::Cache(io::Error::other("another program is fetching it")));
            }
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let mut start = to.metadata()?.len();
        if start > size {
            to.set_len(0)?;
            start = 0;
        }
        if start < size {
            let answer = self.client.get(&path, Some(&format!("{start}-")))?.good()?;
            if answer.part()?.0 != start {
                // The whole file, to a Hub that knows no parts.
                to.set_len(0)?;
                start = 0;
            }
            let bar = bar(file, size, start);
            answer.write(&mut to, size - start, |bytes| bar.inc(bytes))?;
        }
        let found = to.seek(SeekFrom::End(0))?;
        if found != size {
            return Err(RequestError::Short { found, size }.into());
        }
        to.sync_all()?;
        fs::rename(&part, &blob)?;
        Ok(blob)
    }
}

/// Why one try at a file failed.
#[derive(Debug)]
enum Transfer {
    Request(RequestError),
    Cache(io::Error),
    Size { found: u64, announced: u64 },
}

impl From<RequestError> for Transfer {
    fn from(error: RequestError) -> Self {
        Transfer::Request(error)
    }
}

impl From<io::Error> for Transfer {
    fn from(error: io::Error) -> Self {
        Transfer::Cache(error)
    }
}

/// A bar on standard error, when that is a terminal.
fn bar(file: &str, size: u64, start: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size).with_message(file.to_string()).with_position(start);
    bar.with_finish(indicatif::ProgressFinish::AndClear)
}

/// Puts a file of the cache into the folder of a commit, or one `depth - 1` folders below.
fn link(blob: &Path, path: &Path, depth: usize) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Nothing was there, or a link that led nowhere.
        _ => {}
    }
    #[cfg(unix)]
    return std::os::unix::fs::symlink(
        Path::new(&"../".repeat(depth + 1)).join("blobs").join(blob.file_name().unwrap_or_default()),
        path,
    );
    #[cfg(not(unix))]
    let _ = depth;
    #[cfg(not(unix))]
    fs::hard_link(blob, path)
}
