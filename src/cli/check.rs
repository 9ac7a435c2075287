//! `patchscript check`.

use serde_json::json;

use crate::script::{Error, Host, HostOptions};

use super::args::{Check, Format};
use super::{advise, put_json, report};

/// Compiles a script, looks for names that exist nowhere and warns of what is most likely not meant; gives the exit
/// code, which warnings leave as it is.
pub fn run(check: &Check) -> u8 {
    let host = Host::new(HostOptions { script: Some(check.file.clone()), ..HostOptions::default() });
    let checked = host.load(&check.file).and_then(|script| {
        host.check(&script)?;
        Ok(host.warnings(&script))
    });
    let code = checked.as_ref().map_or_else(Error::exit_code, |_| 0);
    if check.format == Format::Json {
        let sources = &host.context().sources;
        let found = match &checked {
            Ok(warnings) => warnings.iter().map(|warning| warning.json(sources)).collect(),
            Err(error) => vec![error.json(sources)],
        };
        return put_json(&json!({"ok": code == 0, "found": found})).max(code);
    }
    match checked {
        Ok(warnings) => advise(&host, &warnings),
        Err(error) => drop(report(&host, &error)),
    }
    code
}
