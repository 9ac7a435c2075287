//! `patchscript check`.

use crate::script::{Host, HostOptions};

use super::args::Check;
use super::report;

/// Compiles a script and looks for names that exist nowhere; gives the exit code.
pub fn run(check: &Check) -> u8 {
    let host = Host::new(HostOptions { script: Some(check.file.clone()), ..HostOptions::default() });
    match host.load(&check.file).and_then(|script| host.check(&script)) {
        Ok(()) => 0,
        Err(error) => report(&host, &error),
    }
}
