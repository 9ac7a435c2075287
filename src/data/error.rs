//! The one error type of this layer.

use super::files::FileError;
use super::json::JsonError;
use super::log::LogError;
use super::npy::NpyError;
use super::npz::NpzError;
use super::random::RandomError;
use super::statistics::StatisticsError;
use super::table::TableError;

/// Whatever went wrong with a script's data, in the words of the format that noticed it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum DataError {
    File(#[from] FileError),
    Table(#[from] TableError),
    Json(#[from] JsonError),
    Log(#[from] LogError),
    Npy(#[from] NpyError),
    Npz(#[from] NpzError),
    Random(#[from] RandomError),
    Statistics(#[from] StatisticsError),
}

impl DataError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            DataError::File(error) => error.help(),
            DataError::Table(error) => error.help(),
            DataError::Json(error) => error.help(),
            DataError::Log(error) => error.help(),
            DataError::Npy(error) => error.help(),
            DataError::Npz(error) => error.help(),
            DataError::Random(error) => error.help(),
            DataError::Statistics(error) => error.help(),
        }
    }
}
