//! `patchscript run`.

use std::io::{IsTerminal, stderr, stdin};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::count::count;
use crate::script::params::Scan;
use crate::script::{Error, Host, HostOptions, Session, interrupt, output, record};

use super::args::Run;
use super::{advise, fail, put, repl, report, watch};

/// The name of a script that comes from standard input.
pub const STDIN: &str = "stdin";

/// Runs a script, or lists its parameters; gives the exit code.
pub fn run(run: Run) -> u8 {
    let streamed = run.file == Path::new("-");
    if streamed && run.watch {
        let help = "write the script to a file: `patchscript run --watch FILE`".to_string();
        fail("standard input does not change", Some(help));
        return 2;
    }
    if streamed && run.interactive {
        let help = "write the script to a file: `patchscript run -i FILE`".to_string();
        fail("the prompt cannot read from where the script came", Some(help));
        return 2;
    }
    let file = if streamed { PathBuf::from(STDIN) } else { run.file.clone() };
    let options = HostOptions {
        script: Some(file.clone()),
        sets: run.sets,
        explain: run.explain,
        resume: run.resume,
        may_exit: !run.interactive && !run.watch,
        ..run.settings.options()
    };
    let host = Host::new(options);
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        output::tell(format_args!("warning: Ctrl-C will not stop the run cleanly: {error}"));
    }
    if run.watch {
        return watch::run(host, &file);
    }
    let loaded = if streamed { host.load_from(STDIN, stdin().lock()) } else { host.load(&file) };
    let script = match loaded {
        Ok(script) if run.params => return put(&list(&host, &script.params)),
        Ok(script) => script,
        Err(error) => return report(&host, &error),
    };
    advise(&host, &host.warnings(&script));
    if run.interactive {
        let mut session = Session::with_person(host);
        let result = session.run(&script);
        let code = end(session.host(), result);
        return repl::go_on(&mut session).max(code);
    }
    end(&host, host.run(&script))
}

/// Runs a script from its file and says how that ended; gives the exit code.
pub fn once(host: &Host, file: &Path) -> u8 {
    match host.load(file) {
        Ok(script) => {
            advise(host, &host.warnings(&script));
            end(host, host.run(&script))
        }
        Err(error) => report(host, &error),
    }
}

/// Says how a run ended; gives the exit code.
fn end(host: &Host, result: Result<(), Error>) -> u8 {
    // A run that failed says why by itself.
    if let Err(error) = record::write(host.context(), &result)
        && result.is_ok()
    {
        let reason = error.to_string();
        output::tell(format_args!("warning: the record of this run was not written: {reason}"));
    }
    match result {
        Ok(()) => {
            if output::for_programs() {
                output::tell_as(String::new, || ended(host));
            } else if let Some(results) = results(host).filter(|_| stderr().is_terminal()) {
                output::tell(results);
            }
            0
        }
        Err(error) => report(host, &error),
    }
}

/// What programs are told at the end of a run: the results, and the record that says more.
fn ended(host: &Host) -> Value {
    let (folder, written) = match host.context().files() {
        Ok(files) => (Some(files.out_dir().to_path_buf()), files.written()),
        Err(_) => (None, Vec::new()),
    };
    let record = folder.map(|folder| folder.join("run.json")).filter(|record| record.exists());
    json!({"severity": "end", "record": record, "results": written})
}

/// Where the results are, if the script wrote any.
fn results(host: &Host) -> Option<String> {
    let files = host.context().files().ok()?;
    let written = files.written().len();
    let here = std::env::current_dir().ok();
    let folder = here.and_then(|here| files.out_dir().strip_prefix(here).ok()).unwrap_or(files.out_dir());
    (written > 0).then(|| format!("{} in {}", count(written as u64, "result"), folder.display()))
}

/// `name = default  help`, one a line.
fn list(host: &Host, scan: &Scan) -> String {
    let heads: Vec<_> = scan
        .declared
        .iter()
        .map(|declared| {
            let default = declared.default.as_ref();
            let default =
                default.map_or("(computed)".into(), |value| host.echo(value).unwrap_or("()".into()));
            format!("{} = {default}", declared.name)
        })
        .collect();
    let width = heads.iter().map(|head| head.chars().count()).max().unwrap_or(0);
    let lines = heads.iter().zip(&scan.declared);
    lines
        .map(|(head, declared)| {
            let line = format!("{head:width$}  {}", declared.help.as_deref().unwrap_or(""));
            line.trim_end().to_string() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_where_they_are() {
        let out = tempfile::tempdir().unwrap();
        let host = Host::new(HostOptions { out: Some(out.path().into()), ..HostOptions::default() });
        assert_eq!(results(&host), None);
        host.context().files().unwrap().write("a.txt", |_| Ok(())).unwrap();
        let told = format!("1 result in {}", out.path().display());
        assert_eq!(results(&host), Some(told));
    }
}
