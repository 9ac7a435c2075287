//! The one error type of this layer.

use super::files::FileError;
use super::json::JsonError;
use super::log::LogError;
use super::npy::NpyError;
use super::npz::NpzError;
use super::random::RandomError;
use super::statistics::StatisticsError;
use super::table::TableError;
use super::texts::TextsError;

/// Whatever went wrong with a script's data, in the words of the format that noticed it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum DataError {
    File(#[from] FileError),
    Table(#[from] TableError),
    Texts(#[from] TextsError),
    Json(#[from] JsonError),
    Log(#[from] LogError),
    Npy(#[from] NpyError),
    Npz(#[from] NpzError),
    Random(#[from] RandomError),
    Statistics(#[from] StatisticsError),
}
