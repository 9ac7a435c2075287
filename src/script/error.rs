//! How a script fails: natively with [`fail`], as a whole with [`Error`].

use crate::help::Help;
use std::fmt;
use std::path::PathBuf;

use rhai::{Dynamic, EvalAltResult, Position};
use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::source::Sources;
use crate::utf8::NotUtf8;

/// What native functions return.
pub type ScriptResult<T> = Result<T, Box<EvalAltResult>>;

/// A refusal of a native function: what is wrong, and the cure. Scripts see it in `catch (error)`
/// as `error.message` and `error.help`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub message: String,
    pub help: Option<String>,
}

/// Starts a refusal; return it with `?` or `Err(fail(..).into())`.
pub fn fail(message: impl Into<String>) -> Failure {
    Failure { message: cut(message.into()), help: None }
}

/// What a layer below refused, as a script sees it.
pub fn refused(error: &dyn Help) -> Failure {
    Failure { help: error.help().map(cut), ..fail(error.to_string()) }
}

/// Characters of a message or a cure: values of the script in it may be of any length.
const MOST_CHARACTERS: usize = 4000;

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MOST_CHARACTERS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

impl Failure {
    /// Adds the cure: an action, with the user's own text in it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(cut(help.into()));
        self
    }

    /// Adds the cure if there is one.
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.map(cut);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for Box<EvalAltResult> {
    /// Without a position, so that the engine fills in the call's.
    fn from(failure: Failure) -> Self {
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(failure), Position::NONE))
    }
}

/// How a script, or one input of the REPL, can end early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read script `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("script `{}` is {reason}", path.display())]
    NotUtf8 { path: PathBuf, reason: NotUtf8 },
    /// The script or its parameters cannot be run at all.
    #[error("{0}")]
    Unusable(Box<Diagnostic>),
    /// The script ran and failed.
    #[error("{0}")]
    Failed(Box<Diagnostic>),
    #[error("interrupted")]
    Interrupted,
    /// Whoever read standard output has left.
    #[error("standard output is closed")]
    OutputClosed,
    #[error("cannot write to standard output: {0}")]
    Output(String),
    #[error("cannot start the thread that runs the script: {0}")]
    Thread(std::io::Error),
}

impl Error {
    /// What kind of error it is, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "unreadable-script",
            Self::NotUtf8 { .. } => "not-utf8",
            Self::Unusable(diagnostic) if diagnostic.code.is_empty() => "unusable",
            Self::Failed(diagnostic) if diagnostic.code.is_empty() => "refused",
            Self::Unusable(diagnostic) | Self::Failed(diagnostic) => diagnostic.code,
            Self::Interrupted => "interrupted",
            Self::OutputClosed | Self::Output(_) => "output",
            Self::Thread(_) => "thread",
        }
    }

    /// What it says, for programs.
    pub fn json(&self, sources: &Sources) -> Value {
        let mut found = match self {
            Self::Unusable(diagnostic) | Self::Failed(diagnostic) => diagnostic.json(sources),
            other => Diagnostic::new(other.to_string(), other.help()).json(sources),
        };
        found["code"] = self.code().into();
        found
    }

    /// The exit code of the command line.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) | Self::Thread(_) | Self::Output(_) => 1,
            Self::Read { .. } | Self::NotUtf8 { .. } | Self::Unusable(_) => 2,
            Self::Interrupted => 130,
        }
    }
}

impl Help for Error {
    fn help(&self) -> Option<String> {
        match self {
            Self::Read { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("check the path `{}`, or name another script", path.display()))
            }
            Self::NotUtf8 { .. } => Some("save it as UTF-8 in your editor".into()),
            Self::Unusable(diagnostic) | Self::Failed(diagnostic) => diagnostic.help.clone(),
            Self::Output(_) => Some("make room, or send the output to another place".into()),
            _ => None,
        }
    }
}
