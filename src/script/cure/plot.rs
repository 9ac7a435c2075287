//! What can be done about a figure that contradicts itself.

use crate::help::Help;
use crate::nearest::nearest;
use crate::plot::{Colormap, MOST_BINS, MOST_CHARACTERS, MOST_MARKS, PlotError};

impl Help for PlotError {
    fn help(&self) -> Option<String> {
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
            Self::Bins { .. } => format!("use 1 to {} bins", MOST_BINS),
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
            Self::Paper { .. } => {
                "`width` is in millimetres, `font_size` in points, `dpi` in dots an inch".into()
            }
            Self::NoPaper => "save as `.pdf`, `.svg` or `.png`, or leave them out".into(),
            Self::TooNarrow => {
                "give a larger `width` or a smaller `font_size`, or shorten labels and titles".into()
            }
            Self::NoLogarithm { .. } => {
                "leave out what is 0 or below, or do without `x_log` and `y_log`".into()
            }
            Self::LabelledAxis => "leave them out, or give numbers as `x`".into(),
            Self::TooManyPanels { most, .. } => format!("draw {most} at most, or save several pictures"),
            Self::NoColumns => "use 1 or more".into(),
            Self::UnknownFormat { path } => {
                let stem = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
                let stem = if stem.is_empty() { "figure" } else { stem };
                format!("end the name in `.png`, `.svg`, `.pdf`, `.html` or `.csv`, as in `{stem}.svg`")
            }
            Self::TooLarge { .. } => "shorten the labels, plot fewer cells, or save as `.svg`".into(),
        })
    }
}
