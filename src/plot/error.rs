//! What can be wrong with a figure, and how to mend it.

use super::colormap::Colormap;
use super::figure::{MOST_CHARACTERS, MOST_MARKS};
use crate::nearest::nearest;

/// Why a figure cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlotError {
    #[error("{figure} of no values")]
    Empty { figure: &'static str },
    #[error("none of the values is a finite number")]
    NoNumbers,
    #[error("`{name}` has {found} values for {expected} {of}")]
    Lengths { name: &'static str, found: usize, expected: usize, of: &'static str },
    #[error("value {index} of `{name}` is {value}, which has no place on an axis")]
    NoPlace { name: &'static str, index: usize, value: f64 },
    #[error("value {index} of `{name}` is {value:e}, too far out for an axis")]
    FarOut { name: &'static str, index: usize, value: f64 },
    #[error("{what}: {found} are too many to draw")]
    TooMany { what: &'static str, found: usize },
    #[error("a text of {found} characters is too long to draw")]
    LongText { found: usize },
    #[error("points cannot be {value} pixels wide")]
    Size { value: f64 },
    #[error("error {index} is {value}, which is below 0")]
    NegativeError { index: usize, value: f64 },
    #[error("`{name}` is empty: {low} is not below {high}")]
    EmptyRange { name: &'static str, low: f64, high: f64 },
    #[error("`{name}` from {low} to {high} leaves out {value}")]
    OutOfRange { name: &'static str, low: f64, high: f64, value: f64 },
    #[error("there is no room for {labels} labels that do not overlap")]
    TooManyLabels { labels: usize },
    #[error("a histogram of {found} bins")]
    Bins { found: usize },
    #[error("row {row} has {found} values, but row 0 has {expected}")]
    Ragged { row: usize, found: usize, expected: usize },
    #[error("{found} labels for {expected} {axis}")]
    Labels { axis: &'static str, found: usize, expected: usize },
    #[error("`annot` has {found} {axis} of texts, but there are {expected} {axis} of values")]
    CellTexts { axis: &'static str, found: usize, expected: usize },
    #[error("unknown colour map `{name}`")]
    UnknownColormap { name: String },
    #[error("unknown colour `{name}`")]
    UnknownColor { name: String },
    #[error("a colour map needs at least two colours, found {found}")]
    TooFewColors { found: usize },
    #[error("`{name}` is {value}, not a number that can be drawn")]
    NotFinite { name: &'static str, value: f64 },
    #[error("the colour scale is empty: `vmin` {vmin} is not below `vmax` {vmax}")]
    EmptyScale { vmin: f64, vmax: f64 },
    #[error("unknown number format `{fmt}`")]
    NumberFormat { fmt: String },
    #[error("labels cannot be rotated by {degrees} degrees")]
    Rotation { degrees: u16 },
    #[error("cannot tell the picture format of `{path}`")]
    UnknownFormat { path: String },
    #[error("the picture would be {width} x {height} pixels")]
    TooLarge { width: u64, height: u64 },
    #[error("cannot encode the picture: {0}")]
    Encode(String),
}

impl PlotError {
    /// What to do about it, where there is something to do.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Encode(_) => return None,
            Self::Empty { .. } | Self::NoNumbers => "check what filtered or computed the values".into(),
            Self::Lengths { name, expected, of, .. } => {
                format!("give `{name}` {expected} values, one for each of the {of}")
            }
            Self::NoPlace { index, .. } => {
                format!(
                    "leave value {index} out, for example with `.filter(..)`, together with what belongs to it"
                )
            }
            Self::FarOut { .. } => "draw their logarithms, or scale them down".into(),
            Self::TooMany { .. } => {
                format!(
                    "draw up to {MOST_MARKS}: take means, or every so many; tensors and tables can be saved whole"
                )
            }
            Self::LongText { .. } => format!("cut it to {MOST_CHARACTERS} characters"),
            Self::Size { .. } => "use 0.1 to 1000".into(),
            Self::NegativeError { value, .. } => {
                format!("an error reaches as far up as down: give {} instead", -value)
            }
            Self::EmptyRange { name, low, high } => {
                format!("write the lower end first, as in `{name}: [{high}, {low}]`")
            }
            Self::OutOfRange { name, low, high, value } => {
                let (low, high) = (low.min(*value), high.max(*value));
                format!("write `{name}: [{low}, {high}]`, or leave `{name}` out to take it from the data")
            }
            Self::TooManyLabels { labels } => {
                format!("draw fewer of the {labels}, as in `max_labels: {}`, or shorten them", labels / 2)
            }
            Self::Bins { .. } => format!("use 1 to {} bins", super::chart::MOST_BINS),
            Self::Ragged { row, expected, .. } => format!("give row {row} {expected} values as well"),
            Self::Labels { axis, expected, .. } => {
                format!("give {expected} labels, or none to number the {axis}")
            }
            Self::CellTexts { .. } => "give a text for each cell, in rows as the values are".into(),
            Self::UnknownColormap { name } => {
                let known = Colormap::names().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
                let rest = format!("known are {known}; `_r` at the end reverses a map");
                match nearest(name, Colormap::names()) {
                    Some(near) => format!("write `{near}`; {rest}"),
                    None => rest,
                }
            }
            Self::UnknownColor { name } => {
                format!("write `{name}` as `#RRGGBB`, or use a plain name such as `white` or `navy`")
            }
            Self::TooFewColors { .. } => {
                "give the colours of both ends, as in `[\"white\", \"#156082\"]`".into()
            }
            Self::NotFinite { name, .. } => format!("leave `{name}` out to take it from the data"),
            Self::EmptyScale { vmin, .. } => format!("give a `vmax` above {vmin}, or leave `vmin` out"),
            Self::NumberFormat { fmt } => {
                format!(
                    "instead of `{fmt}` write for example `{{:.2}}`, `{{:+.1f}}`, `{{:.0%}}`, `%.2e` or `%d`"
                )
            }
            Self::Rotation { degrees } => format!("instead of {degrees} use 0, 45 or 90"),
            Self::UnknownFormat { path } => {
                let stem = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
                let stem = if stem.is_empty() { "figure" } else { stem };
                format!("end the name in `.png`, `.svg`, `.html` or `.csv`, as in `{stem}.svg`")
            }
            Self::TooLarge { .. } => "shorten the labels, plot fewer cells, or save as `.svg`".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_map_is_met_with_the_nearest() {
        let help = |name: &str| PlotError::UnknownColormap { name: name.into() }.help().expect("a cure");
        assert!(help("blues").starts_with("write `Blues`"));
        assert!(help("virids").starts_with("write `viridis`"));
        assert!(help("jet").starts_with("known are `viridis`"));
    }
}
