//! `run --watch`: a script again, as often as it or what it reads changes; models stay loaded.

use std::path::Path;
use std::time::SystemTime;

use crate::script::watched::Watched;
use crate::script::{Host, output};

use super::run::once;

/// Runs the script until Ctrl-C; gives the exit code.
pub fn run(mut host: Host, file: &Path) -> u8 {
    loop {
        let began = SystemTime::now();
        let mut watched = Watched::script(file);
        let code = once(&host, file);
        // A script that could not be compiled has read nothing yet.
        watched.add(host.context(), began);
        let stopped = || host.context().interrupted();
        if stopped() {
            return code;
        }
        output::tell(format_args!("note: waits for a change of {}; Ctrl-C ends", file.display()));
        let Some(changed) = watched.wait(file, stopped) else { return 130 };
        output::tell(format_args!("note: {} changed", changed.display()));
        host = host.again();
    }
}
