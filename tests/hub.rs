//! The real binary against a small server that answers as the Hub does.
#![cfg(feature = "hub")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_good";

/// What the server holds of `org/tiny`, and how it behaves.
#[derive(Default)]
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// How many transfers of the weights are still to be cut in the middle.
    cuts: usize,
    /// Added to the announced size of the weights.
    lie: u64,
    /// What happens to requests whose path contains a text.
    fault: Option<(&'static str, Fault)>,
    /// `path range` of every request.
    requests: Vec<String>,
    /// The token of every request that had one.
    tokens: Vec<String>,
}

/// How a Hub can misbehave.
#[derive(Clone)]
enum Fault {
    /// Sends on to the same path elsewhere.
    Redirect(String),
    /// Sends nothing.
    Stall,
    /// Sends a head, then a byte now and then.
    Drip,
    /// Sends a head, a byte of it now and then.
    DripHead,
    /// Sends a head, then more and more.
    Endless,
    Etag(String),
    Sha(String),
}

struct Server {
    endpoint: String,
    hub: Arc<Mutex<Hub>>,
}

impl Server {
    /// Serves the tiny model of the fixtures, on a thread that lives as long as the test program.
    fn start() -> Server {
        let mut hub = Hub::default();
        for entry in std::fs::read_dir("tests/fixtures/tiny").unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            hub.files.insert(name.into(), std::fs::read(&path).unwrap());
        }
        let hub = Arc::new(Mutex::new(hub));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, hub) = (stream.unwrap(), shared.clone());
                std::thread::spawn(move || answer(stream, &hub));
            }
        });
        Server { endpoint, hub }
    }

    fn patchscript(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_patchscript"));
        command.current_dir(home).args(args).env("HF_HOME", home).env("HF_ENDPOINT", &self.endpoint);
        for variable in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, home: &Path, args: &[&str]) -> (Option<i32>, String, String) {
        text(self.patchscript(home, args).output().unwrap())
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.hub.lock().unwrap().requests)
    }
}

fn text(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// One request a connection.
fn answer(mut stream: TcpStream, hub: &Mutex<Hub>) -> std::io::Result<()> {
    let (mut path, mut range, mut token) = (String::new(), String::new(), None);
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let lower = line.to_lowercase();
        if line.is_empty() {
            break;
        } else if let Some(rest) = line.strip_prefix("GET ") {
            path = rest.split(' ').next().unwrap_or_default().into();
        } else if let Some(value) = lower.strip_prefix("range: bytes=") {
            range = value.into();
        } else if lower.starts_with("authorization: ") {
            token = line.rsplit(' ').next().map(String::from);
        }
    }
    let mut hub = hub.lock().unwrap();
    hub.requests.push(format!("{path} {range}").trim_end().into());
    hub.tokens.extend(token.clone());
    let fault = hub.fault.clone().filter(|(part, _)| path.contains(part)).map(|(_, fault)| fault);
    if let Some(fault) = &fault
        && !matches!(fault, Fault::Etag(_) | Fault::Sha(_))
    {
        drop(hub);
        return misbehave(stream, &path, fault);
    }

    let mut refuse = |status: &str, code: &str, message: &str| {
        write!(
            stream,
            "HTTP/1.1 {status}\r\nx-error-code: {code}\r\nx-error-message: {message}\r\ncontent-length: 0\r\n\
             connection: close\r\n\r\n"
        )
    };
    if token.as_ref().is_some_and(|token| token == "hf_bad") {
        return refuse("401 Unauthorized", "", "Invalid credentials in Authorization header");
    }
    let (name, rest) = match path.strip_prefix("/api/models/") {
        Some(rest) => rest.split_once("/revision/").unwrap(),
        None => path[1..].split_once("/resolve/").unwrap(),
    };
    match name {
        "org/tiny" | "org/gated" => {}
        _ => return refuse("401 Unauthorized", "RepoNotFound", "Repository not found"),
    }
    if path.starts_with("/api/") {
        if !["main?blobs=true", &format!("{COMMIT}?blobs=true")].contains(&rest) {
            return refuse("404 Not Found", "RevisionNotFound", "Invalid rev id");
        }
        let lie = hub.lie;
        let size = |name: &str, len: usize| len as u64 + if name == "model.safetensors" { lie } else { 0 };
        let siblings = hub.files.iter().map(|(name, bytes)| {
            serde_json::json!({"rfilename": name, "size": size(name, bytes.len()), "blobId": "b"})
        });
        let gated = if name == "org/gated" { serde_json::json!("manual") } else { serde_json::json!(false) };
        let siblings: Vec<_> = siblings.collect();
        let sha = if let Some(Fault::Sha(sha)) = &fault { sha } else { COMMIT };
        let body =
            serde_json::json!({"sha": sha, "siblings": siblings, "gated": gated, "id": name}).to_string();
        let len = body.len();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\
             connection: close\r\n\r\n{body}"
        );
    }
    if name == "org/gated" {
        let status = if token.is_some() { "403 Forbidden" } else { "401 Unauthorized" };
        return refuse(status, "GatedRepo", "Access to model org/gated is restricted");
    }
    let file = rest.strip_prefix(&format!("{COMMIT}/")).expect("files of the pinned commit");
    let bytes = &hub.files[file];
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = if to.is_empty() { bytes.len() - 1 } else { to.parse().unwrap() };
    let etag =
        if let Some(Fault::Etag(etag)) = fault { etag } else { format!("{}-etag", file.replace('/', "-")) };
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\netag: \"{etag}\"\r\nx-repo-commit: {COMMIT}\r\n\
         content-range: bytes {from}-{to}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len(),
        to + 1 - from
    )?;
    let part = &bytes[from..=to];
    if file == "model.safetensors" && part.len() > 1 && hub.cuts > 0 {
        stream.write_all(&part[..part.len() / 2])?;
        hub.cuts -= 1;
        return stream.flush();
    }
    stream.write_all(part)
}

/// Until the other side has had enough.
fn misbehave(mut stream: TcpStream, path: &str, fault: &Fault) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\netag: \"e\"\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let mut send = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush());
    let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
    match fault {
        Fault::Redirect(to) => {
            let to = format!("{to}{path}");
            let head = "etag: \"e\"\r\ncontent-length: 0\r\nconnection: close";
            send(format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\n{head}\r\n\r\n").as_bytes())
        }
        Fault::Stall => loop {
            pause();
        },
        Fault::Drip => {
            send(head.as_bytes())?;
            loop {
                send(b"1\r\n \r\n")?;
                pause();
            }
        }
        Fault::DripHead => {
            send(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                send(b"a: b\r\n")?;
                pause();
            }
        }
        Fault::Endless => {
            send(head.as_bytes())?;
            let chunk = [b"10000\r\n", [b' '; 1 << 16].as_slice(), b"\r\n"].concat();
            loop {
                send(&chunk)?;
            }
        }
        Fault::Etag(_) | Fault::Sha(_) => Ok(()),
    }
}

/// Every file below a folder, links and folders by their names alone.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_token_stays_with_the_hub() {
    let (hub, other, home) = (Server::start(), Server::start(), tempfile::tempdir().unwrap());
    let pull = || {
        let mut command = hub.patchscript(home.path(), &["models", "pull", "org/tiny"]);
        text(command.env("HF_TOKEN", TOKEN).output().unwrap())
    };
    let tokens = |server: &Server| std::mem::take(&mut server.hub.lock().unwrap().tokens);
    // Another port of the same machine, and another name of it.
    let port = other.endpoint.rsplit(':').next().unwrap().to_string();
    for to in [other.endpoint.clone(), format!("http://localhost:{port}")] {
        for part in ["/api/models/", "/resolve/"] {
            hub.hub.lock().unwrap().fault = Some((part, Fault::Redirect(to.clone())));
            assert_eq!(pull().0, Some(0), "what a Hub sends on to is fetched");
            assert!(!other.requests().is_empty() && !tokens(&hub).is_empty());
            assert_eq!(tokens(&other), [""; 0]);
            std::fs::remove_dir_all(home.path().join("hub")).unwrap();
        }
    }
    // The Hub itself does hear it.
    hub.hub.lock().unwrap().fault = None;
    assert_eq!(pull().0, Some(0));
    assert!(tokens(&hub).len() > 3);
}

#[test]
fn a_hub_without_end_is_an_error() {
    let server = Server::start();
    let here = server.endpoint.clone();
    for (fault, reason) in [
        (Fault::Stall, "timeout"),
        (Fault::Drip, "the Hub sends less than 1 KiB a second"),
        (Fault::DripHead, "timeout"),
        (Fault::Endless, "bytes"),
        (Fault::Redirect(here), "it is redirected more than 20 times"),
        (Fault::Redirect("file://".into()), "is no address"),
    ] {
        for (part, file) in
            [("/api/models/", "the list of files"), ("model.safetensors", "model.safetensors")]
        {
            let home = tempfile::tempdir().unwrap();
            server.hub.lock().unwrap().fault = Some((part, fault.clone()));
            let started = std::time::Instant::now();
            let mut command = server.patchscript(home.path(), &["models", "pull", "org/tiny"]);
            let (code, _, err) = text(command.env("HF_HUB_DOWNLOAD_TIMEOUT", "0.2").output().unwrap());
            assert_eq!(code, Some(1), "{err}");
            assert!(err.starts_with(&format!("error: cannot fetch `{file}` of `org/tiny`: ")), "{err}");
            assert!(err.contains(reason), "{err} lacks {reason}");
            assert!(started.elapsed().as_secs() < 30, "{reason}");
        }
    }
}

#[test]
fn what_a_hub_names_is_no_path() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let cache = home.path().join("cache");
    std::fs::create_dir(&cache).unwrap();
    let pull = |fault: Fault| {
        let part = if matches!(fault, Fault::Sha(_)) { "/api/models/" } else { "/resolve/" };
        server.hub.lock().unwrap().fault = Some((part, fault));
        let mut command = server.patchscript(home.path(), &["models", "pull", "org/tiny"]);
        let (code, _, err) = text(command.env("HF_HUB_CACHE", &cache).output().unwrap());
        assert_eq!(code, Some(1), "{err}");
        err
    };
    let outside = format!("{}/pwned", home.path().display());
    for path in [outside.as_str(), "../../../pwned", "..", ".", "a/b", "a\\b", ""] {
        let err = pull(Fault::Etag(path.into()));
        assert!(err.contains("the Hub's `etag` is "), "{path}: {err}");
    }
    let long = "a".repeat(1000);
    for commit in [outside.as_str(), "../../../../pwned", "..", "main", "a\u{0}b", "", &long] {
        let err = pull(Fault::Sha(commit.into()));
        assert!(err.contains("is no commit"), "{commit}: {err}");
    }
    assert_eq!(tree(home.path()), [cache.display().to_string()], "nothing was written anywhere");
}

#[test]
fn a_model_is_pulled_listed_used_and_removed() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let run = |args: &[&str]| server.run(home.path(), args);
    let root = home.path().canonicalize().unwrap().join("hub/models--org--tiny");
    let snapshot = root.join("snapshots").join(COMMIT);

    let info = run(&["models", "info", "org/tiny"]);
    assert_eq!((info.0, info.2.as_str()), (Some(0), ""));
    assert!(info.1.contains("\nd_vocab     320\n") && info.1.contains("\nresid_post "), "{}", info.1);
    assert!(server.requests().iter().all(|path| path.contains("config.json") || path.starts_with("/api/")));
    let (_, listed, _) = run(&["models", "list"]);
    assert!(listed.ends_with("0123456 (main), not all files\n"), "{listed}");

    let (code, out, err) = run(&["models", "pull", "org/tiny"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(Path::new(out.trim()).canonicalize().unwrap(), snapshot);
    for (name, bytes) in &server.hub.lock().unwrap().files {
        // `config.json`, the tokenizer's files and the weights.
        assert_eq!(&std::fs::read(snapshot.join(name)).unwrap(), bytes, "{name}");
        assert!(std::fs::symlink_metadata(snapshot.join(name)).unwrap().is_symlink());
    }
    // As the Hub's own tools leave it.
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(std::fs::read_dir(root.join("refs")).unwrap().count(), 1);

    server.requests();
    run(&["models", "pull", "org/tiny"]);
    assert_eq!(server.requests(), ["/api/models/org/tiny/revision/main?blobs=true"]);
    std::fs::write(home.path().join("a.rhai"), "print(load().n_layers);").unwrap();
    for id in ["org/tiny".to_string(), format!("org/tiny@{COMMIT}")] {
        let used = run(&["run", "a.rhai", "--model", &id, "--device", "cpu"]);
        assert_eq!(used, (Some(0), "3\n".into(), String::new()));
    }
    assert_eq!(server.requests(), [""; 0]);

    let (_, listed, _) = run(&["models", "list"]);
    let lines: Vec<_> = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0], ["model", "size", "revision"]);
    assert_eq!((lines[1][0], &lines[1][2..]), ("org/tiny", ["KiB", "0123456", "(main)"].as_slice()));
    let (code, out, _) = run(&["models", "rm", "org/tiny"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("removed `org/tiny`, ") && out.ends_with(" KiB are free again\n"), "{out}");
    assert!(!root.exists());
    let empty = format!("no models in `{}`\n", home.path().join("hub").display());
    assert_eq!(run(&["models", "list"]), (Some(0), empty, String::new()));
}

#[test]
fn an_autoencoder_is_fetched_from_its_folder() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    for file in ["cfg.json", "sae_weights.safetensors"] {
        let bytes = std::fs::read(Path::new("demo/sae").join(file)).unwrap();
        server.hub.lock().unwrap().files.insert(format!("layers/four/{file}"), bytes);
    }
    let script =
        |id: &str| std::fs::write(home.path().join("a.rhai"), format!("print(load_sae({id:?}).d_sae);"));
    script("org/tiny/layers/four").unwrap();
    let loaded = (Some(0), "768\n".to_string(), String::new());
    assert_eq!(server.run(home.path(), &["run", "a.rhai"]), loaded);
    let fetched: Vec<String> = server.requests();
    assert!(fetched[1..].iter().all(|path| path.contains("/layers/four/")), "{fetched:?}");
    assert_eq!(server.run(home.path(), &["run", "a.rhai", "--offline"]), loaded);
    assert_eq!(server.requests(), [""; 0]);

    for (id, told) in [
        (
            "org/tiny/layers/five",
            "`org/tiny` has no `layers/five/sae.safetensors` or `layers/five/sae_weights",
        ),
        ("org/tiny/layers/../four", "no autoencoder at `org/tiny/layers/../four`"),
        ("./layers/four", "no autoencoder at `./layers/four`"),
    ] {
        script(id).unwrap();
        let (code, _, err) = server.run(home.path(), &["run", "a.rhai"]);
        assert!(code == Some(1) && err.contains(told), "{err}");
    }
}

#[test]
fn a_cut_transfer_goes_on_where_it_ended() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let ranges = || -> Vec<String> {
        let weights = |path: &String| path.contains("model.safetensors") && !path.ends_with("0-0");
        let requests = server.requests().into_iter().filter(weights);
        requests.map(|path| path.rsplit(' ').next().unwrap().into()).collect()
    };
    let len = server.hub.lock().unwrap().files["model.safetensors"].len();
    server.hub.lock().unwrap().cuts = 1;
    let (code, folder, err) = server.run(home.path(), &["models", "pull", "org/tiny"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(ranges(), ["0-".to_string(), format!("{}-", len / 2)]);
    let weights = Path::new(folder.trim()).join("model.safetensors");
    assert_eq!(std::fs::read(&weights).unwrap(), server.hub.lock().unwrap().files["model.safetensors"]);

    // Cut again and again: given up, and taken up by the next try.
    server.run(home.path(), &["models", "rm", "org/tiny"]);
    server.hub.lock().unwrap().cuts = 5;
    let (code, _, err) = server.run(home.path(), &["models", "pull", "org/tiny"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: cannot fetch `model.safetensors` of `org/tiny`: "), "{err}");
    assert!(err.ends_with("= help: check the network and run it again: what has arrived is kept\n"), "{err}");
    assert_eq!(ranges().len(), 5);
    let (code, ..) = server.run(home.path(), &["models", "pull", "org/tiny"]);
    assert_eq!(code, Some(0));
    assert_eq!(ranges().len(), 1);
    assert_eq!(std::fs::read(&weights).unwrap(), server.hub.lock().unwrap().files["model.safetensors"]);
}

#[test]
fn a_file_of_another_size_is_not_kept() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let len = server.hub.lock().unwrap().files["model.safetensors"].len();
    server.hub.lock().unwrap().lie = 7;
    let (code, _, err) = server.run(home.path(), &["models", "pull", "org/tiny"]);
    assert_eq!(code, Some(1));
    let expected = format!(
        "error: `model.safetensors` of `org/tiny` has {len} bytes, but the Hub announced {}\n",
        len + 7
    );
    assert!(err.starts_with(&expected), "{err}");
    server.hub.lock().unwrap().lie = 0;
    assert_eq!(server.run(home.path(), &["models", "pull", "org/tiny"]).0, Some(0));
}

#[test]
fn refusals_say_what_to_do() {
    let (server, home) = (Server::start(), tempfile::tempdir().unwrap());
    let hub = home.path().join("hub");
    let page = format!("{}/org/gated", server.endpoint);
    let pull = |id: &str, token: Option<&str>| {
        let mut command = server.patchscript(home.path(), &["models", "pull", id]);
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        let (code, out, err) = text(command.output().unwrap());
        assert_eq!((code, out.as_str()), (Some(1), ""));
        err
    };
    assert_eq!(
        pull("org/gated", None),
        format!(
            "error: `org/gated` is gated: its authors ask for your consent first\n = help: accept the terms at \
             {page}, then set HF_TOKEN to an access token of that account, or run `hf auth login`\n"
        )
    );
    assert_eq!(
        pull("org/gated", Some(TOKEN)),
        format!(
            "error: `org/gated` is gated: its authors ask for your consent first\n = help: accept the terms at \
             {page} with the account of your access token, and let the token read gated repositories\n"
        )
    );
    assert_eq!(
        pull("org/none", None),
        "error: `org/none` is not on the Hub, or it is private\n = help: check the name; for a private model, set \
         HF_TOKEN or run `hf auth login`\n"
    );
    assert_eq!(
        pull("org/tiny@v9", None),
        "error: `org/tiny` has no revision `v9`\n = help: leave out the revision: `org/tiny`\n"
    );
    assert_eq!(
        pull("org/tiny", Some("hf_bad")),
        "error: the Hub does not accept the access token\n = help: set HF_TOKEN to a valid one, or run `hf auth \
         login`\n"
    );
    let (code, _, err) = server.run(home.path(), &["models", "rm", "org/tiny"]);
    assert_eq!(
        (code, err),
        (
            Some(1),
            format!(
                "error: `org/tiny` is not in the cache `{}`\n = help: `patchscript models list` shows what is there\n",
                hub.display()
            )
        )
    );
    let mut offline = server.patchscript(home.path(), &["models", "pull", "org/tiny"]);
    let (_, _, err) = text(offline.env("HF_HUB_OFFLINE", "1").output().unwrap());
    assert!(err.contains("is not in the cache") && err.contains("and the network is off"), "{err}");
    assert_eq!(server.requests().len(), 7);
}
