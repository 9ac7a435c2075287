//! What editors, shells and readers are given: definitions, completions, the manual and the reference.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::script::reference;
use crate::script::{Host, HostOptions};

use super::args::{Args, Definitions, Doc};
use super::files::replace;
use super::{fail, put, refuse};

/// Writes the definition files into a folder; gives the exit code.
pub fn definitions(given: &Definitions) -> u8 {
    let host = Host::new(HostOptions::default());
    for (name, text) in reference::definitions(host.table()) {
        if let Err(error) = replace(&given.folder.join(name), text.as_bytes()) {
            return refuse(&error);
        }
    }
    0
}

/// Prints the reference, a module of the stdlib, or what is known about a name; gives the exit code.
pub fn doc(given: &Doc) -> u8 {
    let host = Host::new(HostOptions::default());
    let Some(name) = &given.name else { return put(&reference::markdown(host.table())) };
    if let Some(module) = reference::module(name) {
        return put(&module);
    }
    match host.help(name) {
        unknown if unknown.starts_with("nothing is known about") => {
            fail(unknown, Some("`patchscript doc` prints the whole reference".into()));
            2
        }
        known => put(&format!("{known}\n")),
    }
}

/// Prints what a shell needs to complete commands; gives the exit code.
pub fn completions(shell: Shell) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "patchscript", &mut text);
    put(&String::from_utf8_lossy(&text))
}

/// Prints the manual page of the program and of each command, one after the other; gives the exit code.
pub fn man() -> u8 {
    let mut command = Args::command();
    command.build();
    let mut text = Vec::new();
    let pages =
        std::iter::once(&command).chain(command.get_subcommands().filter(|sub| sub.get_name() != "help"));
    for page in pages {
        let name = page.get_bin_name().unwrap_or("patchscript").replace(' ', "-");
        if let Err(error) = clap_mangen::Man::new(page.clone()).title(name).render(&mut text) {
            return fail(format!("the manual cannot be written: {error}"), None);
        }
    }
    put(&String::from_utf8_lossy(&text))
}
