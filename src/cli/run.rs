//! `patchscript run`.

use std::io::{IsTerminal, stderr};

use crate::count::count;
use crate::script::host::Script;
use crate::script::params::Scan;
use crate::script::{Host, HostOptions, interrupt, output};

use super::args::Run;
use super::{advise, put, report};

/// Runs a script, or lists its parameters; gives the exit code.
pub fn run(run: Run) -> u8 {
    let options = HostOptions {
        script: Some(run.file.clone()),
        sets: run.sets,
        explain: run.explain,
        resume: run.resume,
        may_exit: true,
        ..run.settings.options()
    };
    let host = Host::new(options);
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        output::tell(format_args!("warning: Ctrl-C will not stop the run cleanly: {error}"));
    }
    let result = host.load(&run.file).and_then(|script: Script| {
        if run.params {
            return Ok(Some(list(&host, &script.params)));
        }
        advise(&host, &host.warnings(&script));
        host.run(&script).map(|()| None)
    });
    match result {
        Ok(Some(params)) => put(&params),
        Ok(None) => {
            if let Some(results) = results(&host).filter(|_| stderr().is_terminal()) {
                output::tell(results);
            }
            0
        }
        Err(error) => report(&host, &error),
    }
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
