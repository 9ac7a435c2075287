//! `patchscript run`.

use crate::script::host::Script;
use crate::script::params::Scan;
use crate::script::{Host, HostOptions, interrupt};

use super::args::Run;
use super::{report, warn};

/// Runs a script, or lists its parameters; gives the exit code.
pub fn run(run: Run) -> u8 {
    let options = HostOptions {
        script: Some(run.file.clone()),
        sets: run.sets,
        explain: run.explain,
        resume: run.resume,
        ..run.settings.options()
    };
    let host = Host::new(options);
    if let Err(error) = interrupt::install(host.context().interrupt_flag()) {
        warn(&format!("warning: Ctrl-C will not stop the run cleanly: {error}"));
    }
    let result = host.load(&run.file).and_then(|script: Script| {
        if run.params {
            print!("{}", list(&host, &script.params));
            return Ok(());
        }
        host.run(&script)
    });
    match result {
        Ok(()) => 0,
        Err(error) => report(&host, &error),
    }
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
