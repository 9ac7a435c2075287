//! `patchscript test`: the `test_…` functions of scripts, and of the stdlib.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::count::count;
use crate::script::host::Script;
use crate::script::modules::STDLIB;
use crate::script::trial::tests;
use crate::script::{Error, Host, HostOptions, output};

use super::args::Test;
use super::{fail, report};

/// How many passed and failed, and the worst exit code.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    code: u8,
}

/// Runs all tests; gives the exit code, 1 if one failed.
pub fn run(given: Test) -> u8 {
    let mut files = Vec::new();
    let paths = if given.paths.is_empty() && !given.stdlib { vec![".".into()] } else { given.paths };
    for path in paths {
        if let Err(error) = collect(&path, &mut files) {
            fail(
                format!("cannot read `{}`: {error}", path.display()),
                Some("name a script, or a folder of them".into()),
            );
            return 2;
        }
    }
    let options = given.settings.options();
    let mut tally = Tally::default();
    for file in files {
        let host = Host::new(HostOptions { script: Some(file.clone()), may_exit: true, ..options.clone() });
        let script = host.load(&file);
        tally.try_all(&host, &file.display().to_string(), script);
    }
    for (name, _) in STDLIB.iter().filter(|_| given.stdlib) {
        let host = Host::new(HostOptions { may_exit: true, ..options.clone() });
        if let Some(script) = host.load_stdlib(name) {
            tally.try_all(&host, name, script);
        }
    }
    let Tally { passed, failed, code } = tally;
    if passed + failed == 0 && code == 0 {
        fail("there is no test", Some("write a function `fn test_…() { assert(…); }` into a script".into()));
        return 2;
    }
    // Nobody reads it: nothing is lost.
    let _ = output::print(format_args!("{} passed, {failed} failed", count(passed as usize, "test")));
    code
}

impl Tally {
    fn try_all(&mut self, host: &Host, name: &str, script: Result<Script, Error>) {
        let script = match script {
            Ok(script) => script,
            Err(error) => return self.fail(host, &error),
        };
        for test in tests(&script) {
            match host.try_one(&script, &test) {
                Ok(()) => {
                    self.passed += 1;
                    let _ = output::print(format_args!("ok      {name} {test}"));
                }
                Err(error) => {
                    let _ = output::print(format_args!("FAILED  {name} {test}"));
                    self.failed += 1;
                    self.fail(host, &error);
                }
            }
        }
    }

    fn fail(&mut self, host: &Host, error: &Error) {
        self.code = self.code.max(report(host, error).max(1));
    }
}

/// The scripts that a path names, or that lie below it; not in folders that begin with a dot, nor among results.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !path.is_dir() {
        if !path.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        files.push(path.into());
        return Ok(());
    }
    let mut entries =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or(".");
        let is_script = entry.extension().is_some_and(|extension| extension == "rhai");
        // Links lead elsewhere, and some in circles.
        if name.starts_with('.') || name == "out" || name == "target" || entry.is_symlink() {
            continue;
        }
        if entry.is_dir() || is_script && entry.is_file() {
            collect(&entry, files)?;
        }
    }
    Ok(())
}
