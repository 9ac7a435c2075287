//! `patchscript check`.

use crate::script::{Host, HostOptions};

use super::args::Check;
use super::{advise, report};

/// Compiles a script, looks for names that exist nowhere and warns of what is most likely not meant; gives the exit
/// code, which warnings leave as it is.
pub fn run(check: &Check) -> u8 {
    let host = Host::new(HostOptions { script: Some(check.file.clone()), ..HostOptions::default() });
    let checked = host.load(&check.file).and_then(|script| {
        host.check(&script)?;
        advise(&host, &host.warnings(&script));
        Ok(())
    });
    match checked {
        Ok(()) => 0,
        Err(error) => report(&host, &error),
    }
}
