//! Commands of the prompt that touch files of the person who types them: `:save` and `:edit`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use super::super::files::{create, replace};
use super::super::{fail, refuse, report};
use super::talk::say;
use super::{Step, step};
use crate::script::Session;

/// Writes what ran to a new file, or to one with the beginning of it.
pub fn save(session: &Session, path: &Path) -> Step {
    let script = match session.script() {
        Ok(script) => script,
        Err(error) => return Step::Failed(report(session.host(), &error)),
    };
    let text = format!("{SAVED}{script}");
    let before = fs::read_to_string(path).ok();
    let write = if before.is_some_and(|before| text.starts_with(&before)) { replace } else { create };
    match write(path, text.as_bytes()) {
        Ok(()) => {
            say(&format!("run it with `patchscript run {}`", path.display()));
            Step::Next
        }
        Err(error) => Step::Failed(refuse(&error)),
    }
}

/// The head of a script that was saved.
const SAVED: &str = "//! What ran at the prompt.\n\n";

/// Lets the last input be changed in the editor of the environment, and runs what comes back.
pub fn edit(session: &mut Session) -> Step {
    match edited(session.last_input()) {
        Ok(text) if text.trim().is_empty() => Step::Next,
        Ok(text) => {
            say(text.trim_end());
            step(session, &text)
        }
        Err(reason) => {
            let help = "set VISUAL or EDITOR to an editor that waits until the file is closed".to_string();
            Step::Failed(fail(format!("nothing was edited: {reason}"), Some(help)))
        }
    }
}

fn edited(text: &str) -> std::io::Result<String> {
    let mut file = tempfile::Builder::new().prefix("patchscript-").suffix(".rhai").tempfile()?;
    file.write_all(text.as_bytes())?;
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var(name).ok().filter(|e| !e.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // By a shell, since an editor may be named with its options.
    let status =
        Command::new("sh").args(["-c", &format!("{editor} \"$1\""), &editor]).arg(file.path()).status()?;
    if !status.success() {
        return Err(std::io::Error::other(format!("`{editor}` ended with {status}")));
    }
    fs::read_to_string(file.path())
}
