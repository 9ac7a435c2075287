//! What can be done about files, tables, numbers and draws.

use crate::data::acts::ActsError;
use crate::data::error::DataError;
use crate::data::json::JsonError;
use crate::data::log::LogError;
use crate::data::npy::NpyError;
use crate::data::npz::NpzError;
use crate::data::random::RandomError;
use crate::data::statistics::StatisticsError;
use crate::data::table::TableError;
use crate::data::texts::TextsError;
use crate::help::Help;
use crate::nearest::nearest;

impl Help for DataError {
    fn help(&self) -> Option<String> {
        match self {
            DataError::File(error) => error.help(),
            DataError::Table(error) => error.help(),
            DataError::Texts(error) => error.help(),
            DataError::Json(error) => error.help(),
            DataError::Log(error) => error.help(),
            DataError::Npy(error) => error.help(),
            DataError::Npz(error) => error.help(),
            DataError::Random(error) => error.help(),
            DataError::Statistics(error) => error.help(),
        }
    }
}

impl Help for TableError {
    fn help(&self) -> Option<String> {
        match self {
            TableError::Empty { .. } => Some("the first line must name the columns".into()),
            TableError::DuplicateColumn { column, .. } => {
                Some(format!("rename one of the columns `{column}` in the first line"))
            }
            TableError::Ragged { .. } => Some(
                "put cells that hold the separator in double quotes, or check the format: `read_tsv` \
                      separates by tabs, `read_csv` by commas"
                    .into(),
            ),
            TableError::OpenQuote { .. } => {
                Some("close it, or write a cell that starts with a quote as `\"\"\"like this\"\"\"`".into())
            }
            TableError::Read { .. } => None,
            TableError::NoColumn { column, columns, .. } => {
                let known = columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ");
                Some(match nearest(column, columns.iter().map(String::as_str)) {
                    Some(near) => format!(
                        "did you mean `{near}`? `.rename(#{{{near:?}: {column:?}}})` renames it; \
                         the columns are {known}"
                    ),
                    None => format!("the columns are {known}"),
                })
            }
            TableError::NoRow { len: 0, .. } => Some("the table has a header but no rows".into()),
            TableError::NoRow { len, .. } => Some(format!("rows count from 0 to {}", len - 1)),
        }
    }
}

impl Help for TextsError {
    fn help(&self) -> Option<String> {
        let names = |names: &[String]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Format { .. } => Some(
                "name it `.txt`, `.jsonl`, `.json`, `.csv`, `.tsv` or `.parquet`, by what it holds".into(),
            ),
            Self::Flawed { .. } => {
                Some("mend the row, or leave such rows out and count them: `#{skip: true}`".into())
            }
            Self::NotJson { .. } => Some("mend the row: each must be a json string or object".into()),
            Self::NoField { field: name, keys: known, .. }
            | Self::NoColumn { column: name, columns: known, .. } => {
                Some(match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `#{{field: {near:?}}}`? there are {}", names(known)),
                    None => format!("say where the text is: `#{{field: …}}`, one of {}", names(known)),
                })
            }
            Self::NotText { .. } => Some("name the key that holds the text: `#{field: …}`".into()),
            Self::NotLabel { .. } => Some("name the key that holds the label: `#{label: …}`".into()),
            Self::NoTexts { .. } => Some("an object must give an array of texts a label".into()),
            Self::LargeObject { .. } => {
                Some("write it as `.jsonl`, an object of a text and its label a line".into())
            }
            Self::NotArray { .. } => {
                Some("it must be one array of strings or objects; a file of one a line is `.jsonl`".into())
            }
            Self::Ragged { .. } => Some(
                "put cells that hold the separator in double quotes, or check the format by the file's name"
                    .into(),
            ),
            Self::OpenQuote { .. } => {
                Some("close it, or write a cell that starts with a quote as `\"\"\"like this\"\"\"`".into())
            }
            Self::Parquet { .. } => Some("write it again, for example as `.jsonl`".into()),
            Self::Plain { .. } => Some("drop `field`, or name a `.jsonl`, `.csv` or `.parquet` file".into()),
            Self::Read { .. } => None,
        }
    }
}

impl Help for ActsError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { .. } => "write them again with `collect` or `.save`".into(),
            Self::Unfinished { .. } => "run the script that collects them again, with `--resume`".into(),
        })
    }
}

impl Help for JsonError {
    fn help(&self) -> Option<String> {
        match self {
            JsonError::Malformed { name, .. } => Some(format!(
                "`{name}` must be strict json: double quotes, no trailing commas, no comments, no `NaN`"
            )),
            JsonError::TooLarge { number, .. } => Some(format!(
                "no digit may be lost: write it as text, `\"{number}\"`, or as a float, `{number}.0`"
            )),
            JsonError::NotFinite { .. } => {
                Some("leave it out or replace it, for example by `()`, which is written as `null`".into())
            }
            JsonError::NotJson { .. } => {
                Some("write a number, a string, an array or a map in its place".into())
            }
            JsonError::Shape { .. } => None,
        }
    }
}

impl Help for LogError {
    fn help(&self) -> Option<String> {
        match self {
            LogError::Write { .. } => {
                Some("the lines before it are whole: make room, and go on with `--resume`".into())
            }
            LogError::Gone { .. } | LogError::Changed { .. } => {
                Some("run again, and leave the file alone until the run has ended".into())
            }
            LogError::Differs { .. } => Some("run without `--resume` to start again".into()),
            LogError::Json(error) => error.help(),
        }
    }
}

impl Help for NpyError {
    fn help(&self) -> Option<String> {
        match self {
            NpyError::Header { .. } => Some("write it with `save_npy`, or with NumPy's `np.save`".into()),
            NpyError::Type { .. } | NpyError::Inexact { .. } => {
                Some("convert it first, with NumPy's `.astype(np.float32)`, and save it again".into())
            }
            NpyError::Size { .. } | NpyError::Shape { .. } => Some("write or download the file again".into()),
        }
    }
}

impl Help for NpzError {
    fn help(&self) -> Option<String> {
        match self {
            NpzError::Archive { .. } => Some("write it with `save_npz`, or with NumPy's `np.savez`".into()),
            NpzError::Missing { members, .. } if members.is_empty() => Some("it has no members".into()),
            NpzError::Missing { member, members, .. } => {
                match nearest(member, members.iter().map(String::as_str)) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None => Some(format!("it has `{}`", members.join("`, `"))),
                }
            }
            NpzError::Damaged { .. } => Some("write or download the file again".into()),
            NpzError::Npy(error) => error.help(),
        }
    }
}

impl Help for RandomError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::EmptyRange { .. } => "the first bound must be less than the second".into(),
            Self::Deviation { .. } => "give a finite number that is not negative".into(),
            Self::NothingToChoose => "check what filtered the items".into(),
            Self::TooFew { n, .. } => format!("draw at most {n}, or allow repeats: `replace: true`"),
            Self::ProbabilityCount { n, .. } => format!("give {n}, one an item"),
            Self::Probability { .. } => "probabilities are finite and not negative".into(),
            Self::ProbabilitySum { .. } => "divide each by their sum".into(),
            Self::EmptySplit { .. } => "both sides need an item: collect more, or change `test_size`".into(),
            Self::TestSize { .. } => {
                "give a fraction between 0 and 1, or a count less than the number of items".into()
            }
            Self::Seed { .. } => format!("use a seed up to {}", u32::MAX),
        })
    }
}

impl Help for StatisticsError {
    fn help(&self) -> Option<String> {
        match self {
            Self::Empty { .. } | Self::Single { .. } => Some("check what filtered the values".into()),
            Self::NotFinite { .. } => Some("leave out what has no value before".into()),
            Self::Fraction { .. } => Some("write 95 percent as `0.95`".into()),
            Self::TooManyDraws { most, .. } => {
                Some(format!("draw up to {most}; some thousands do: `n: 10000`"))
            }
            Self::Stopped { .. } => None,
            Self::NoDraws { .. } => Some("draw some thousands: `n: 10000`".into()),
            Self::Unpaired { .. } => Some("leave out the same items on both sides".into()),
            Self::Random(error) => error.help(),
        }
    }
}
