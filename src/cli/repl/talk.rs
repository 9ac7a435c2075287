//! A conversation with a person at a terminal: prompts, lines, and what came of them.

use std::io::{IsTerminal, stderr, stdout};
use std::path::PathBuf;
use std::{env, fs};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};

use super::assistant::Assistant;
use super::highlight::{DIM, dimmed};
use super::history::Fuzzy;
use super::{Step, step};
use crate::script::entry::Entry;
use crate::script::{Session, output, terminal};

/// Talks until the input ends; gives the exit code.
pub fn talk(session: &mut Session) -> u8 {
    let config = Config::builder()
        .bracketed_paste(true)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .build();
    let history = Fuzzy::new(FileHistory::with_config(&config));
    let mut editor = match Editor::<Assistant, _>::with_history(config, history) {
        Ok(editor) => editor,
        Err(error) => {
            output::tell(format_args!("error: cannot use this terminal: {error}"));
            return 1;
        }
    };
    let color = terminal::has_color(&stdout());
    editor.set_helper(Some(Assistant::new(session, color)));
    let history = history_file();
    if let Some(history) = &history {
        // There is none at the first start.
        let _ = editor.load_history(history);
    }
    say(&format!("patchscript {}: `help` lists what there is, `:quit` leaves", env!("CARGO_PKG_VERSION")));
    let mut entry = Entry::default();
    loop {
        let line = match editor.readline(&prompt(session, entry.is_empty(), color)) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                entry = Entry::default();
                tell_assistant(&mut editor, |assistant| assistant.begin());
                continue;
            }
            // The end of the input, or a terminal that is gone.
            Err(_) => break,
        };
        let Some(input) = entry.add(&line) else {
            tell_assistant(&mut editor, |assistant| assistant.go_on(&line, entry.is_in_text()));
            continue;
        };
        // A whole entry comes back at once. A history that takes no more is no reason to stop.
        let _ = editor.add_history_entry(input.trim_end());
        if matches!(step(session, &input), Step::Leave) {
            break;
        }
        if let Some(took) = session.take_spent().filter(|_| stderr().is_terminal()) {
            output::tell(dimmed(&took.to_string(), terminal::has_color(&stderr())));
        }
        tell_assistant(&mut editor, |assistant| assistant.learn(session));
    }
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        output::tell(format_args!("warning: the history was not saved to `{}`: {error}", history.display()));
    }
    0
}

fn tell_assistant(editor: &mut Editor<Assistant, Fuzzy>, tell: impl FnOnce(&mut Assistant)) {
    if let Some(assistant) = editor.helper_mut() {
        tell(assistant);
    }
}

/// `[3] demo> `: the number by which the value will be named, and the model. As it is measured, and as it is shown.
fn prompt(session: &Session, first: bool, color: bool) -> (String, String) {
    let (number, model) = (format!("[{}]", session.next_number()), session.model_name());
    if !first {
        let blank = " ".repeat(console::measure_text_width(&format!("{number} {model}")));
        return (format!("{blank}. "), format!("{blank}. "));
    }
    let plain = format!("{number} {model}> ");
    let styled = if color { format!("{DIM}{number}\x1b[0m {model}> ") } else { plain.clone() };
    (plain, styled)
}

/// A line on standard output; nothing is lost if that is closed.
pub fn say(text: &str) {
    let _ = output::print(text);
}

/// `history` in the XDG state folder, which is created.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| env::home_dir().map(|home| home.join(".local/state")))?;
    let folder = state.join("patchscript");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}
