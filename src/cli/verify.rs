//! `patchscript verify`: a recorded run once more, in a folder of its own, and what differs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::count::count;
use crate::help::Help;
use crate::script::output;
use crate::script::record::alike::{self, Alike};
use crate::script::record::compare::{Differences, TOLERANCE, compare, near};

use super::args::Verify;
use super::{put, put_json, refuse};

/// Bytes of a record, and of a result whose numbers are compared.
const LONGEST: u64 = 1 << 30;

/// Why nothing is verified or shown.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is no record of a run: {reason}", path.display())]
    NoRecord { path: PathBuf, reason: String },
    #[error("the run wrote to other folders too, which running it again would do once more")]
    WritesElsewhere,
    #[error("cannot run it again: {0}")]
    Run(io::Error),
    #[error("it cannot be run again: {0}")]
    NotRun(String),
}

impl Help for VerifyError {
    fn help(&self) -> Option<String> {
        match self {
            VerifyError::Read { .. } => Some("name the `run.json` in the folder of a run's results".into()),
            VerifyError::NoRecord { .. } => Some("run the script again, which writes a new one".into()),
            VerifyError::WritesElsewhere => Some("record it without `--allow-write`".into()),
            VerifyError::NotRun(_) => Some("put the script and its folder back where they were".into()),
            VerifyError::Run(_) => None,
        }
    }
}

/// Prints what differs; gives the exit code: 0 if the results are the same, 1 if not, 2 if that cannot be known.
pub fn run(given: &Verify) -> u8 {
    match verify(&given.record) {
        Ok((found, after)) => {
            let told =
                if output::for_programs() { put_json(&value(&found)) } else { put(&text(&found, &after)) };
            told.max(u8::from(!found.gave.is_empty()))
        }
        Err(error) => {
            refuse(&error);
            2
        }
    }
}

/// What differs, and the record of the later run.
fn verify(path: &Path) -> Result<(Differences, Value), VerifyError> {
    let before = read_record(path)?;
    let results = path.parent().unwrap_or(Path::new(""));
    let (after, again) = run_again(&before, results)?;
    let alike = |file: Option<&str>| match file {
        None => match (before["printed"]["text"].as_str(), after["printed"]["text"].as_str()) {
            (Some(before), Some(after)) => near(before, after).into(),
            _ => Alike::No,
        },
        Some(name) => match (read(&results.join(name)), read(&again.path().join(name))) {
            (Ok(before), Ok(after)) => alike::files(name, &before, &after),
            _ => Alike::No,
        },
    };
    Ok((compare(&before, &after, alike), after))
}

fn value(found: &Differences) -> Value {
    let Differences { made_of, gave, drawn } = found;
    json!({"ok": gave.is_empty(), "made_of": made_of, "gave": gave, "drawn": drawn})
}

fn text(found: &Differences, after: &Value) -> String {
    let lines = |lines: &[String]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    let mut text = String::new();
    if !found.made_of.is_empty() {
        text += &format!("it is made of something else:\n{}", lines(&found.made_of));
    }
    let artefacts = after["artefacts"].as_array().map_or(0, Vec::len);
    match (found.gave.is_empty(), found.made_of.is_empty()) {
        (true, true) => {
            text += &format!("the same to the bit: standard output and {}\n", count(artefacts, "file"));
        }
        (true, false) => {
            text += &format!(
                "and gives the same: standard output and {}, to the bit or, of another machine, within {TOLERANCE}\n",
                count(artefacts, "file")
            );
        }
        (false, _) => text += &format!("its results differ:\n{}", lines(&found.gave)),
    }
    if !found.drawn.is_empty() {
        text += &format!("pictures that another machine draws otherwise:\n{}", lines(&found.drawn));
    }
    text
}

/// The bytes of a file of reasonable size.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub fn read_record(path: &Path) -> Result<Value, VerifyError> {
    let text = read(path).map_err(|source| VerifyError::Read { path: path.into(), source })?;
    let no_record = |reason: String| VerifyError::NoRecord { path: path.into(), reason };
    let record: Value = serde_json::from_slice(&text).map_err(|error| no_record(error.to_string()))?;
    for part in ["patchscript", "script", "options", "artefacts", "printed"] {
        if record.get(part).is_none() {
            return Err(no_record(format!("it has no `{part}`")));
        }
    }
    Ok(record)
}

/// The record of the same run once more, and the folder of its results.
fn run_again(before: &Value, results: &Path) -> Result<(Value, TempDir), VerifyError> {
    if before["options"].get("allow-write").is_some() {
        return Err(VerifyError::WritesElsewhere);
    }
    let out = tempfile::tempdir().map_err(VerifyError::Run)?;
    let script = before["script"]["name"].as_str().unwrap_or_default();
    let typed = if script == super::run::STDIN { before["script"]["text"].as_str() } else { None };
    let mut command = Command::new(std::env::current_exe().map_err(VerifyError::Run)?);
    command.args(["run", if typed.is_some() { "-" } else { script }]).args(arguments(&before["options"]));
    // What is compared is computed.
    command.arg("--no-cache").arg("--out").arg(out.path());
    // Relative to the results, so that an experiment may move as a whole.
    let folder = results.join(before["folder"].as_str().unwrap_or_default());
    command.current_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(VerifyError::Run)?;
    if let Some(mut input) = child.stdin.take() {
        // A script that ends early reads no more.
        let _ = input.write_all(typed.unwrap_or_default().as_bytes());
    }
    let ended = child.wait_with_output().map_err(VerifyError::Run)?;
    let record = out.path().join("run.json");
    if !record.exists() {
        let error = String::from_utf8_lossy(&ended.stderr);
        let line = error.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or("it did not begin");
        return Err(VerifyError::NotRun(line.into()));
    }
    Ok((read_record(&record)?, out))
}

/// The options of a record as they are typed.
fn arguments(options: &Value) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, value) in options.as_object().into_iter().flatten() {
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for value in values {
            arguments.push(match value {
                Value::Bool(_) => format!("--{name}"),
                Value::String(text) => format!("--{name}={text}"),
                other => format!("--{name}={other}"),
            });
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_typed_as_they_were() {
        let options = json!({"set": ["a=1", "b=x y"], "model": "demo", "offline": true, "max-time": 1.5});
        assert_eq!(
            arguments(&options),
            ["--set=a=1", "--set=b=x y", "--model=demo", "--offline", "--max-time=1.5"]
        );
    }
}
