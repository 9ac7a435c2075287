//! Every function and method of the API table, called with hostile arguments under a limit of memory and one of time: only
//! values and diagnostics come back, soon, and the REPL lives on.
//!
//! The calls are made from the table. Arguments of a signature are replaced one at a time, and so is every literal of
//! an example, so that a function is covered once it has a signature and an example. A new type needs a line in
//! [`VALUES`].
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use patchscript::script::api::{Entry, Kind};
use patchscript::script::{Host, HostOptions};
use tempfile::TempDir;

/// What every process defines first.
const SETUP: &[&str] = &[
    "let m = load();",
    "let error = (); try { assert(false, \"no\") } catch (e) { error = e; }",
    "write_text(\"t.csv\", \"a,b\\n1,2\\n3,4\\n\");",
    "let long = \"\"; long.pad(300000, \"ab {x\");",
    "let many = []; many.pad(300000, 1.5);",
    "let deep = []; for i in 0..200 { deep = [deep]; }",
    "let axes = []; axes.pad(64, 1);",
];

/// A value of every type, by the name that signatures give it.
const VALUES: &[(&str, &str)] = &[
    ("Acts", "collect(m, [\" John gave Mary\"], resid_post(1))"),
    ("Error", "error"),
    ("Explanation", "m.explain(\" John gave\", [z(1).head(0).zero()], logit(5))"),
    ("Generation", "m.generate(\" John gave\", #{max_new_tokens: 2, watch: z(1)})"),
    ("Grid", "m.sweep(\" John gave\", 0..2, 0..2, |l, p| z(l).at(p).zero(), logit(5))"),
    ("Log", "jsonl(\"log.jsonl\")"),
    ("Metric", "logit(5)"),
    ("Model", "m"),
    ("NeuronAtlas", "atlas(m, [\" John gave Mary\"], mlp_post(1))"),
    ("Patch", "resid_post(1).zero()"),
    ("Plot", "heatmap([[1, 2], [3, 4]])"),
    ("Position", "tok(\" John\")"),
    ("Progress", "progress([1, 2], \"p\")"),
    ("PythonRandom", "python_random(0)"),
    ("Rng", "rng(0)"),
    (
        "Mfa",
        "mfa(collect(m, [\" John gave Mary\"], resid_post(1)), #{components: 2, rank: 1, epochs: 1, init: \"random\"})",
    ),
    ("Sae", "load_sae(\"demo\")"),
    ("Site", "resid_post(1)"),
    ("Table", "read_csv(\"t.csv\")"),
    ("Tensor", "tensor([[1.0, 2.0], [3.0, 4.0]])"),
    ("Tokens", "m.tokens(\" John gave Mary\")"),
    ("Trace", "m.trace(\" John gave\")"),
    ("Watched", "m.generate(\" John gave\", #{max_new_tokens: 2, watch: z(1)}).watched"),
    ("any", "1"),
    ("array", "[1.5, 2.5]"),
    ("bool", "true"),
    ("char", "'a'"),
    ("float", "0.5"),
    ("function", "|x| x"),
    ("int", "1"),
    ("map", "#{}"),
    ("number", "0.5"),
    ("range", "0..2"),
    ("string", "\"a\""),
];

/// What arguments are replaced by.
const HOSTILE: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "(-9223372036854775807 - 1)",
    "1000000000000",
    "100000000",
    "(0.0 / 0.0)",
    "(1.0 / 0.0)",
    "(-1.0 / 0.0)",
    "1e308",
    "5e-324",
    "\"\"",
    "\"a\\0b\"",
    "\"日本🎉\"",
    "\"({[\"",
    "\"../x\"",
    "long",
    "[]",
    "[()]",
    "[[]]",
    "[0.0 / 0.0, 1e308, -1e308]",
    "[9223372036854775807, -1]",
    "[1, \"a\", ()]",
    "many",
    "deep",
    "0..9223372036854775807",
    "(-9223372036854775807 - 1)..0",
    "5..1",
    "0..=9223372036854775807",
    "#{}",
    "#{a: deep}",
    "()",
    "true",
    "'c'",
    "|x| x",
    "|x, y| throw \"no\"",
    "zeros([0])",
    "zeros([2, 0, 3])",
    "zeros(axes)",
    "tensor([0.0 / 0.0, 1.0 / 0.0])",
    "zeros([300, 300])",
    "m",
    "resid_post(1)",
    "[resid_post(1).zero()]",
    "m.tokens(\" John gave\")",
];

/// The worst of them, for options and examples, of which there are many.
const FEW: &[&str] = &[
    "-1",
    "9223372036854775807",
    "(0.0 / 0.0)",
    "1e308",
    "\"\"",
    "long",
    "many",
    "deep",
    "|x| x",
    "0..9223372036854775807",
];

/// Longest that a call may take, and the limit that the program is given, which leaves it time to say so.
const LONGEST: Duration = Duration::from_secs(5);
const TIME_LIMIT: &str = "--max-time=2s";

/// One call in so many is made, unless `PATCHSCRIPT_TEST_ALL_CALLS` is set: a prime, so that no kind of argument is left out.
const SHARE: usize = 7;

/// Kilobytes that a process may ever hold: the limit, what may pass it for a moment, and the program.
const MOST_KB: u64 = 2_600_000;

#[test]
fn hostile_arguments_give_values_or_diagnostics() {
    let host = Host::new(HostOptions::default());
    let table = host.table();
    let types: BTreeSet<_> = VALUES.iter().map(|(name, _)| *name).collect();
    let unknown: Vec<_> = table.types.iter().map(|ty| ty.name).filter(|name| !types.contains(name)).collect();
    assert!(unknown.is_empty(), "add a value of {unknown:?} to VALUES");
    let mut calls = Vec::new();
    for entry in &table.entries {
        calls.extend(by_signature(entry));
        calls.extend(by_example(entry));
    }
    assert!(calls.len() > 10_000, "{} calls", calls.len());
    // All of them take many minutes.
    let every = if std::env::var_os("PATCHSCRIPT_TEST_ALL_CALLS").is_some() { 1 } else { SHARE };
    let calls: Vec<_> = calls.into_iter().step_by(every).collect();
    let calls = Arc::new(Mutex::new(calls.into_iter()));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let calls = calls.clone();
            thread::spawn(move || work(|| calls.lock().expect("a list").next()))
        })
        .collect();
    let faults: Vec<String> =
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The value that stands for a type in a signature: of the first of several.
fn value_of(ty: &str) -> &'static str {
    let first = ty.split('|').next().unwrap_or(ty).trim();
    let first = if first.starts_with("fn(") { "function" } else { first };
    let found = VALUES.iter().find(|(name, _)| *name == first);
    found.unwrap_or_else(|| panic!("add a value of `{first}` to VALUES")).1
}

/// The call of an entry with each of its arguments replaced in turn, with fewer arguments, and with each option.
fn by_signature(entry: &Entry) -> Vec<String> {
    let mut calls = Vec::new();
    let params = entry.signature.params.clone().unwrap_or_default();
    let usual: Vec<&str> = params.iter().map(|param| usual(param.name, param.ty)).collect();
    let required = params.iter().filter(|param| !param.optional).count();
    for len in required..=params.len() {
        calls.push(call(entry, &usual[..len]));
        for at in 0..len {
            for hostile in HOSTILE {
                let mut args = usual[..len].to_vec();
                args[at] = hostile;
                calls.push(call(entry, &args));
            }
        }
    }
    if params.last().is_some_and(|param| param.ty == "map") {
        // Options stand in the summary between backticks.
        for option in entry.summary.split('`').skip(1).step_by(2).filter(|word| is_name(word)) {
            for hostile in FEW {
                let options = format!("#{{{option}: {hostile}}}");
                let mut args = usual.clone();
                args[params.len() - 1] = &options;
                calls.push(call(entry, &args));
            }
        }
    }
    calls
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// An argument that the function may well take.
fn usual(name: &str, ty: &'static str) -> &'static str {
    match name {
        "prompt" | "prompts" => "\" John gave\"",
        "metric" => "logit(5)",
        "cells" => "[z(1).head(0).zero()]",
        "cell" => "|l, p| z(1).head(0).zero()",
        "rows" | "cols" if ty == "any" => "0..2",
        "patches" => "resid_post(1).zero()",
        "sites" | "watch" => "[z(1)]",
        "path" => "\"t.csv\"",
        "f" if ty == "function" => "|items| items.map(|x| #{a: x})",
        "before" | "same" => "|a, b| true",
        _ => value_of(ty),
    }
}

fn call(entry: &Entry, args: &[&str]) -> String {
    let receiver =
        entry.receiver.map_or(String::new(), |receiver| format!("let r = {}; r", value_of(receiver)));
    let (name, list) = (entry.name(), args.join(", "));
    match entry.kind {
        Kind::Function => format!("{name}({list})"),
        Kind::Method => format!("{receiver}.{name}({list})"),
        Kind::Getter => format!("{receiver}.{name}"),
        Kind::Operator => format!("{receiver} {name} {list}"),
        Kind::Indexer => format!("{receiver}[{list}]"),
    }
}

/// The example with each number and string in it replaced in turn.
fn by_example(entry: &Entry) -> Vec<String> {
    let Some(example) = entry.example else { return Vec::new() };
    let code = example.code;
    let replaced = |(from, to): (usize, usize)| {
        FEW.iter().map(move |hostile| format!("{}{hostile}{}", &code[..from], &code[to..]))
    };
    literals(code).into_iter().flat_map(replaced).collect()
}

/// Where the numbers and strings of a line of code are.
fn literals(code: &str) -> Vec<(usize, usize)> {
    let (mut found, bytes, mut at) = (Vec::new(), code.as_bytes(), 0);
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            quote @ (b'"' | b'`') => {
                at += 1;
                while at < bytes.len() && bytes[at] != quote {
                    at += if bytes[at] == b'\\' && quote == b'"' { 2 } else { 1 };
                }
                at += 1;
                found.push((start, at.min(bytes.len())));
            }
            b if b.is_ascii_digit() => {
                let part = |i: usize| {
                    bytes[i].is_ascii_digit()
                        || bytes[i] == b'.' && bytes.get(i + 1).is_some_and(u8::is_ascii_digit)
                };
                while at < bytes.len() && part(at) {
                    at += 1;
                }
                found.push((start, at));
            }
            b if b.is_ascii_alphabetic() || b == b'_' => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    found
}

/// Makes calls as long as there are some; gives what went wrong.
fn work(next: impl Fn() -> Option<String>) -> Vec<String> {
    let (mut faults, mut repl) = (Vec::new(), Repl::start());
    while let Some(call) = next() {
        if let Err(fault) = repl.ask(&call) {
            faults.push(format!("{fault}: {}", call.chars().take(300).collect::<String>()));
            repl = Repl::start();
        }
    }
    faults.extend(repl.most_kb().filter(|kb| *kb > MOST_KB).map(|kb| format!("{kb} kB were held")));
    faults
}

/// The real binary, talking line by line.
struct Repl {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    errors: Arc<Mutex<String>>,
    asked: usize,
    /// For its files.
    _folder: TempDir,
}

impl Repl {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = Command::new(env!("CARGO_BIN_EXE_patchscript"))
            .current_dir(folder.path())
            .args(["--offline", "--max-memory=2GiB", TIME_LIMIT])
            .env("XDG_STATE_HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let input = process.stdin.take().expect("a pipe");
        let (mut output, mut stderr) =
            (BufReader::new(process.stdout.take().expect("a pipe")), process.stderr.take().expect("a pipe"));
        let (send, lines) = channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                if line.starts_with(b"@@")
                    && send.send(String::from_utf8_lossy(&line).trim().to_string()).is_err()
                {
                    break;
                }
                line.clear();
            }
        });
        let errors = Arc::new(Mutex::new(String::new()));
        let kept = errors.clone();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                kept.lock().expect("a text").push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        let mut repl = Self { process, input, lines, errors, asked: 0, _folder: folder };
        for line in SETUP {
            repl.ask(line).expect("the setup runs");
        }
        let told = repl.errors.lock().expect("a text").clone();
        assert_eq!(told, "", "the setup has errors");
        repl
    }

    /// Makes a call. Its value does not matter, nor does its error: only that the next line is answered too.
    fn ask(&mut self, call: &str) -> Result<(), String> {
        self.asked += 1;
        self.errors.lock().expect("a text").clear();
        let mark = format!("@@{}", self.asked);
        let start = Instant::now();
        let sent = writeln!(self.input, "{call}\n\nprint(\"{mark}\")").and_then(|()| self.input.flush());
        let ended = |repl: &mut Self| {
            let status = repl.process.wait().map_or("unknown".into(), |status| status.to_string());
            let told = repl.errors.lock().expect("a text").chars().take(200).collect::<String>();
            format!("ended with {status}, {told:?}")
        };
        if sent.is_err() {
            return Err(ended(self));
        }
        loop {
            match self.lines.recv_timeout(LONGEST * 2) {
                Ok(line) if line == mark => break,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    // Nothing is lost if it ended meanwhile.
                    let _ = self.process.kill();
                    return Err("no answer".into());
                }
                Err(RecvTimeoutError::Disconnected) => return Err(ended(self)),
            }
        }
        if start.elapsed() > LONGEST {
            return Err(format!("took {:.1} s", start.elapsed().as_secs_f64()));
        }
        let told = self.errors.lock().expect("a text");
        match ["panicked", "internal error"].iter().any(|word| told.contains(word)) {
            true => Err(told.chars().take(200).collect()),
            false => Ok(()),
        }
    }

    /// The most that the process ever held.
    fn most_kb(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Repl {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
