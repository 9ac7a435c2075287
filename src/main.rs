//! The binary: hand the command line over, exit with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    patchscript::cli::main()
}
