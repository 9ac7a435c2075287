//! The one error type of this layer.

use super::files::FileError;
use super::json::JsonError;
use super::npy::NpyError;
use super::table::TableError;

/// Whatever went wrong with a script's data, in the words of the format that noticed it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum DataError {
    File(#[from] FileError),
    Table(#[from] TableError),
    Json(#[from] JsonError),
    Npy(#[from] NpyError),
}

impl DataError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            DataError::File(error) => error.help(),
            DataError::Table(error) => error.help(),
            DataError::Json(error) => error.help(),
            DataError::Npy(error) => error.help(),
        }
    }
}
