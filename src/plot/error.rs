//! What can be wrong with a figure.

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
    #[error("`{name}` is {value}, and may be {low} to {high}")]
    Paper { name: &'static str, value: f64, low: f64, high: f64 },
    #[error("`width`, `font_size` and `dpi` are for pictures on paper")]
    NoPaper,
    #[error("the texts leave no room for the data in this width")]
    TooNarrow,
    #[error("{value} has no logarithm, so it has no place on this axis")]
    NoLogarithm { value: f64 },
    #[error("`xlim` and `x_log` are for an axis of numbers, and this one has labels")]
    LabelledAxis,
    #[error("a grid of {found} figures: it may hold {most}")]
    TooManyPanels { found: usize, most: usize },
    #[error("a grid of no columns")]
    NoColumns,
    #[error("cannot tell the picture format of `{path}`")]
    UnknownFormat { path: String },
    #[error("the picture would be {width} x {height} pixels")]
    TooLarge { width: u64, height: u64 },
    #[error("cannot encode the picture: {0}")]
    Encode(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;

    #[test]
    fn a_misspelt_map_is_met_with_the_nearest() {
        let help = |name: &str| PlotError::UnknownColormap { name: name.into() }.help().expect("a cure");
        assert!(help("blues").starts_with("write `Blues`"));
        assert!(help("virids").starts_with("write `viridis`"));
        assert!(help("jet").starts_with("known are `viridis`"));
    }
}
