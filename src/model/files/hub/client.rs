//! Requests to the Hub. The access token goes to the Hub and to no host that it redirects to, and every answer ends:
//! one that stalls, drips or grows beyond its limit is an error.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Uri};
use ureq::{Agent, Body};

use super::variable;

/// As many as browsers follow.
const REDIRECTS: usize = 20;
/// How long the Hub may send nothing, unless the variable of the Hub's own tools says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_VARIABLE: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
/// Bytes a second that an answer must bring, on average over the time that it may stall.
const SLOWEST: f64 = 1024.0;
/// An answer that no size was announced for must be whole after so many times the time that it may stall.
const WHOLE: u32 = 10;

/// Why a request has no answer, or its answer no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("`{0}` is no address")]
    Address(String),
    #[error("it is redirected from `{from}` to `{to}`, which is not encrypted")]
    Unencrypted { from: String, to: String },
    #[error("it is redirected more than {REDIRECTS} times")]
    Redirects,
    #[error("the Hub answers with status {0}")]
    Status(u16),
    #[error("{0}")]
    Request(#[from] ureq::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the Hub sends less than 1 KiB a second")]
    Slow,
    #[error("the Hub sends more than {0} bytes")]
    Long(u64),
    #[error("the Hub sent {found} of {size} bytes")]
    Short { found: u64, size: u64 },
    #[error("the Hub's {what} is {found:?}")]
    Header { what: &'static str, found: String },
}

impl RequestError {
    /// Whether the connection broke or the Hub is overloaded, so that another try may succeed.
    pub fn passes(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 429 | 500..),
            Self::Request(_) | Self::Io(_) | Self::Slow | Self::Short { .. } => true,
            _ => false,
        }
    }
}

type Result<T> = std::result::Result<T, RequestError>;

/// Asks one Hub.
pub(super) struct Client {
    agent: Agent,
    /// Without a slash at its end.
    pub endpoint: String,
    token: Option<String>,
    patience: Duration,
}

/// A status, headers, and a body that is read once.
pub(super) struct Answer {
    pub status: u16,
    headers: HeaderMap,
    body: Body,
    /// The `etag` of the file that a redirecting Hub vouches for.
    linked: Option<String>,
    patience: Duration,
}

impl Client {
    pub fn new(endpoint: &str, token: Option<String>) -> Self {
        let seconds = variable(PATIENCE_VARIABLE).and_then(|text| text.trim().parse::<f64>().ok());
        let given = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let patience = given.filter(|patience| !patience.is_zero()).unwrap_or(PATIENCE);
        let limit = Some(patience);
        let config = Agent::config_builder()
            // Followed here, since only here the token is kept from other hosts.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // Sizes are those of the files themselves.
            .accept_encoding("identity")
            .user_agent(concat!("patchscript/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(limit)
            .timeout_send_request(limit)
            .timeout_recv_response(limit)
            .timeout_per_read(limit)
            .build();
        Client { agent: config.new_agent(), endpoint: endpoint.trim_end_matches('/').into(), token, patience }
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for a path of the Hub, or for some of its bytes (`0-99`, `100-`), wherever the Hub sends on to.
    pub fn get(&self, path: &str, range: Option<&str>) -> Result<Answer> {
        let address = |text: &str| text.parse::<Uri>().map_err(|_| RequestError::Address(text.into()));
        let mut at = address(&format!("{}/{path}", self.endpoint))?;
        let hub = Origin::of(&at)?;
        let mut linked = None;
        for _ in 0..=REDIRECTS {
            let origin = Origin::of(&at)?;
            let mut request = self.agent.get(&at);
            if let Some(range) = range {
                request = request.header("range", format!("bytes={range}"));
            }
            if let Some(token) = self.token.as_ref().filter(|_| origin == hub) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let (parts, body) = request.call()?.into_parts();
            let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
            if origin == hub {
                linked = linked.or_else(|| header("x-linked-etag").map(String::from));
            }
            match header("location").filter(|_| matches!(parts.status.as_u16(), 301..=303 | 307 | 308)) {
                Some(location) => {
                    let next = address(&resolve(&at, location))?;
                    if origin.scheme == "https" && Origin::of(&next)?.scheme != "https" {
                        let (from, to) = (at.to_string(), next.to_string());
                        return Err(RequestError::Unencrypted { from, to });
                    }
                    at = next;
                }
                None => {
                    let (status, patience) = (parts.status.as_u16(), self.patience);
                    return Ok(Answer { status, headers: parts.headers, body, linked, patience });
                }
            }
        }
        Err(RequestError::Redirects)
    }
}

/// What must be equal for a token to go there.
#[derive(PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Result<Origin> {
        let alien = || RequestError::Address(uri.to_string());
        let scheme = uri.scheme_str().ok_or_else(alien)?.to_ascii_lowercase();
        let port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(alien()),
        };
        let host = uri.host().ok_or_else(alien)?.to_ascii_lowercase();
        Ok(Origin { port: uri.port_u16().unwrap_or(port), scheme, host })
    }
}

/// The address that `location`, whole or in part, stands for at `at`.
fn resolve(at: &Uri, location: &str) -> String {
    let scheme = at.scheme_str().unwrap_or_default();
    let authority = at.authority().map_or("", |authority| authority.as_str());
    match location {
        whole if whole.contains("://") => whole.into(),
        host if host.starts_with("//") => format!("{scheme}:{host}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        beside => {
            let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{beside}")
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer, if it is the file or a part of it.
    pub fn good(self) -> Result<Answer> {
        if matches!(self.status, 200 | 206) { Ok(self) } else { Err(RequestError::Status(self.status)) }
    }

    /// What the file is called in the cache: its `etag`, which must be a plain name.
    pub fn etag(&self) -> Result<String> {
        let etag = self.linked.as_deref().or_else(|| self.header("etag")).unwrap_or_default();
        let name = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        match !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(plain) {
            true => Ok(name.into()),
            false => Err(RequestError::Header { what: "`etag`", found: etag.into() }),
        }
    }

    /// Where the part that was sent begins, and how long the whole file is.
    pub fn part(&self) -> Result<(u64, Option<u64>)> {
        let Some(range) = self.header("content-range").filter(|_| self.status == 206) else {
            let length = self.header("content-length").and_then(|length| length.parse().ok());
            return Ok((0, length));
        };
        let parsed = || {
            let (part, size) = range.strip_prefix("bytes ")?.split_once('/')?;
            Some((part.split_once('-')?.0.parse().ok()?, size.parse().ok()))
        };
        parsed().ok_or_else(|| RequestError::Header { what: "`content-range`", found: range.into() })
    }

    /// The whole body, of at most `limit` bytes.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let patience = self.patience;
        let whole = Some(patience.saturating_mul(WHOLE));
        copy(&mut self.body.into_reader(), &mut bytes, limit, patience, whole, |_| {})?;
        Ok(bytes)
    }

    /// Writes the body, of at most `limit` bytes; `seen` hears of each part.
    pub fn write(self, to: &mut impl Write, limit: u64, seen: impl Fn(u64)) -> Result<()> {
        let patience = self.patience;
        copy(&mut self.body.into_reader(), to, limit, patience, None, seen)
    }
}

fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    limit: u64,
    patience: Duration,
    whole: Option<Duration>,
    seen: impl Fn(u64),
) -> Result<()> {
    let started = Instant::now();
    let mut left = limit;
    let mut buffer = vec![0; 1 << 16];
    let (mut since, mut bytes) = (started, 0.0);
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        left = left.checked_sub(n as u64).ok_or(RequestError::Long(limit))?;
        to.write_all(&buffer[..n])?;
        seen(n as u64);
        bytes += n as f64;
        let elapsed = since.elapsed();
        if elapsed >= patience {
            if bytes < SLOWEST * elapsed.as_secs_f64() {
                return Err(RequestError::Slow);
            }
            (since, bytes) = (Instant::now(), 0.0);
        }
        if whole.is_some_and(|whole| started.elapsed() > whole) {
            return Err(RequestError::Slow);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_has_one_origin() {
        let same = |a: &str, b: &str| Origin::of(&uri(a)).unwrap() == Origin::of(&uri(b)).unwrap();
        assert!(same("https://hub.co/a", "https://HUB.co:443/b"));
        for other in [
            "http://hub.co",
            "https://hub.co:444",
            "https://cdn.hub.co",
            "https://hub.co@other.co",
            "https://hub.co.",
        ] {
            assert!(!same("https://hub.co", other), "{other}");
        }
        assert!(Origin::of(&uri("ftp://hub.co")).is_err() && Origin::of(&uri("/a")).is_err());
    }

    #[test]
    fn a_location_may_be_whole_or_a_part() {
        for (location, address) in [
            ("https://cdn.co/x?y", "https://cdn.co/x?y"),
            ("//cdn.co/x", "https://cdn.co/x"),
            ("/x", "https://hub.co:8/x"),
            ("x?y", "https://hub.co:8/a/x?y"),
        ] {
            assert_eq!(resolve(&uri("https://hub.co:8/a/b?c"), location), address);
        }
    }

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            (
                ureq::http::HeaderName::from_static(name),
                ureq::http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        });
        let (headers, body) = (headers.collect(), Body::builder().data(""));
        Answer { status, headers, body, linked: None, patience: PATIENCE }
    }

    #[test]
    fn an_etag_is_a_name_and_no_path() {
        let etag = |etag: &str| answer(200, &[("etag", etag)]).etag().ok();
        assert_eq!(etag("\"0a-b.c_d\"").as_deref(), Some("0a-b.c_d"));
        assert_eq!(etag("W/\"0ab\"").as_deref(), Some("0ab"));
        let long = "a".repeat(129);
        for path in ["", "\"\"", "..", "\".a\"", "/etc/passwd", "a/b", "a\\b", "a b", "a\tb", "é", &long] {
            assert_eq!(etag(path), None, "{path:?}");
        }
        assert!(answer(200, &[]).etag().is_err());
    }

    #[test]
    fn a_part_says_where_it_begins() {
        let part = |range| answer(206, &[("content-range", range)]).part().ok();
        assert_eq!(part("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(part("bytes 5-9/*"), Some((5, None)));
        assert_eq!(part("items 5-9/10"), None);
        assert_eq!(answer(200, &[("content-length", "7")]).part().unwrap(), (0, Some(7)));
    }

    #[test]
    fn a_body_is_bounded() {
        let copied =
            |limit| copy(&mut io::repeat(7).take(100), &mut Vec::new(), limit, PATIENCE, None, |_| {});
        assert!(copied(100).is_ok());
        assert!(matches!(copied(99), Err(RequestError::Long(99))));
        let endless = copy(&mut io::repeat(7), &mut io::sink(), 1 << 20, PATIENCE, None, |_| {});
        assert!(matches!(endless, Err(RequestError::Long(_))));
    }
}
