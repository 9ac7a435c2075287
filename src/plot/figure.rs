//! What can be drawn, and what every kind of figure has.

use super::chart::Chart;
use super::layout::{self, Room};
use super::panels::Panels;
use super::scatter::Scatter;
use super::scene::Scene;
use super::tokens::TokenMap;
use super::{Colormap, Heatmap, PlotError};

/// A figure as plain data.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    Heatmap(Heatmap),
    Chart(Chart),
    Scatter(Scatter),
    Tokens(TokenMap),
    Panels(Panels),
}

/// Cells, points, values or tokens of a figure, at most: a page of more is more than a browser can show.
pub const MOST_MARKS: usize = 1_000_000;
/// Characters of one text, at most.
pub const MOST_CHARACTERS: usize = 10_000;
/// Numbers farther out cannot be placed: a difference of two of them must be a number, with room around it.
pub(super) const FARTHEST: f64 = 1e300;

/// Refuses more marks than can be drawn.
pub(super) fn check_marks(what: &'static str, found: usize) -> Result<(), PlotError> {
    if found > MOST_MARKS { Err(PlotError::TooMany { what, found }) } else { Ok(()) }
}

/// Refuses numbers that have no place on an axis.
pub(super) fn all_finite(name: &'static str, values: &[f64]) -> Result<(), PlotError> {
    match values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(PlotError::NoPlace { name, index, value: *value }),
        None => check_near(name, values),
    }
}

/// Refuses numbers too large to be placed on an axis.
pub(super) fn check_near(name: &'static str, values: &[f64]) -> Result<(), PlotError> {
    match values.iter().enumerate().find(|(_, value)| value.is_finite() && value.abs() > FARTHEST) {
        Some((index, value)) => Err(PlotError::FarOut { name, index, value: *value }),
        None => Ok(()),
    }
}

/// Refuses what is no range from a lower to an upper number.
pub(super) fn check_range(name: &'static str, low: f64, high: f64) -> Result<(f64, f64), PlotError> {
    if let Some(value) = [low, high].into_iter().find(|end| !end.is_finite()) {
        return Err(PlotError::NotFinite { name, value });
    }
    check_near(name, &[low, high])?;
    if low < high { Ok((low, high)) } else { Err(PlotError::EmptyRange { name, low, high }) }
}

/// Refuses errors that do not reach both ways.
pub(super) fn check_errors(name: &'static str, errors: &[f64], expected: usize) -> Result<(), PlotError> {
    check_near(name, errors)?;
    if !errors.is_empty() && errors.len() != expected {
        return Err(PlotError::Lengths { name, found: errors.len(), expected, of: "values" });
    }
    match errors.iter().enumerate().find(|(_, error)| **error < 0.0) {
        Some((index, value)) => Err(PlotError::NegativeError { index, value: *value }),
        None => Ok(()),
    }
}

/// Refuses texts that nobody would read.
pub(super) fn check_texts<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), PlotError> {
    // Bytes are counted at once; only a text of many is worth counting letter by letter.
    let found = |text: &String| if text.len() > MOST_CHARACTERS { text.chars().count() } else { 0 };
    match texts.into_iter().map(found).find(|found| *found > MOST_CHARACTERS) {
        Some(found) => Err(PlotError::LongText { found }),
        None => Ok(()),
    }
}

/// The words around a figure.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Titles {
    /// Above the figure. May hold several lines; long ones are wrapped.
    pub title: Option<String>,
    /// Below the labels of the horizontal axis.
    pub x: Option<String>,
    /// Left of the labels of the vertical axis, reading upwards.
    pub y: Option<String>,
}

/// How values become colours, in matplotlib's words. A NaN is grey, and the colour bar says so.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Colors {
    pub cmap: Colormap,
    /// The value of the first colour; the smallest finite value if `None`.
    pub vmin: Option<f64>,
    /// The value of the last colour; the largest finite value if `None`.
    pub vmax: Option<f64>,
    /// The value of the middle colour. Then both sides share one scale, so the shorter one does not reach
    /// the end of the map (seaborn's `center`).
    pub center: Option<f64>,
    /// The label of the colour bar.
    pub label: Option<String>,
}

/// What a figure shows, as a table: one row a cell, point, bar or token, in the order of [`Scene::spots`].
#[derive(Debug, Clone, PartialEq)]
pub struct Records {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Records {
    /// Of two columns of one name the later is numbered, so that every column can be named.
    pub(super) fn new(names: Vec<String>, rows: Vec<Vec<String>>) -> Self {
        let mut columns: Vec<String> = Vec::new();
        for name in names {
            let taken = columns.iter().filter(|known| **known == name).count();
            columns.push(if taken == 0 { name } else { format!("{name} {}", taken + 1) });
        }
        Self { columns, rows }
    }

    /// As CSV with a header, quoted where needed.
    pub(super) fn csv(&self) -> Result<Vec<u8>, PlotError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written =
            std::iter::once(&self.columns).chain(&self.rows).try_for_each(|row| writer.write_record(row));
        written.map_err(|error| PlotError::Encode(error.to_string()))?;
        writer.into_inner().map_err(|error| PlotError::Encode(error.to_string()))
    }
}

impl Titles {
    pub(super) fn texts(&self) -> impl Iterator<Item = &String> {
        [&self.title, &self.x, &self.y].into_iter().flatten()
    }
}

impl Figure {
    /// Refuses what no layout could honour. The fields are public, so this runs before each drawing.
    ///
    /// # Errors
    /// Whatever in the figure contradicts itself.
    pub fn check(&self) -> Result<(), PlotError> {
        match self {
            Self::Heatmap(map) => map.check(),
            Self::Chart(chart) => chart.check(),
            Self::Scatter(scatter) => scatter.check(),
            Self::Tokens(map) => map.check(),
            Self::Panels(panels) => panels.check(),
        }
    }

    pub(super) fn lay_out(&self) -> Result<Scene, PlotError> {
        self.check()?;
        self.lay_out_in(Room::FREE)
    }

    /// In a scene `width` wide: texts keep their size, and what shows the data takes what they leave.
    ///
    /// # Errors
    /// [`PlotError::TooNarrow`] where they leave next to nothing.
    pub(super) fn lay_out_within(&self, width: f64) -> Result<Scene, PlotError> {
        self.check()?;
        if let Self::Panels(panels) = self {
            return layout::panels::lay_out(panels, Some(width));
        }
        let mut room = Room::within(width);
        let mut found = None;
        // Labels may be turned or thinned as their room changes, so that one step need not be enough.
        for _ in 0..8 {
            let scene = self.lay_out_in(room)?;
            let left = width - scene.width;
            if left >= 0.0 {
                found = Some(scene);
            }
            let data = room.data.unwrap_or(width) + left;
            if (0.0..1.0).contains(&left) || data < Room::NARROWEST {
                break;
            }
            room.data = Some(data);
        }
        match found {
            Some(scene) => Ok(Scene { width, ..scene }),
            None => Err(PlotError::TooNarrow),
        }
    }

    fn lay_out_in(&self, room: Room) -> Result<Scene, PlotError> {
        match self {
            Self::Heatmap(map) => layout::heatmap::lay_out(map, room),
            Self::Chart(chart) => layout::chart::lay_out(chart, room),
            Self::Scatter(scatter) => layout::scatter::lay_out(scatter, room),
            Self::Tokens(map) => layout::tokens::lay_out(map, room),
            Self::Panels(panels) => layout::panels::lay_out(panels, None),
        }
    }

    /// What the figure shows, as a table.
    pub fn records(&self) -> Records {
        match self {
            Self::Heatmap(map) => map.records(),
            Self::Chart(chart) => chart.records(),
            Self::Scatter(scatter) => scatter.records(),
            Self::Tokens(map) => map.records(),
            Self::Panels(panels) => panels.records(),
        }
    }

    /// What the figure is called: the first line of its title, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        let title = match self {
            Self::Heatmap(map) => &map.titles.title,
            Self::Chart(chart) => &chart.titles.title,
            Self::Scatter(scatter) => &scatter.titles.title,
            Self::Tokens(map) => &map.titles.title,
            Self::Panels(panels) => &panels.title,
        };
        title.as_deref().and_then(|title| title.lines().next())
    }

    /// Every piece of its text.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        self.clone().each_text(&mut |text: &mut String| texts.push(std::mem::take(text)));
        texts
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        match self {
            Self::Heatmap(map) => map.each_text(change),
            Self::Chart(chart) => chart.each_text(change),
            Self::Scatter(scatter) => scatter.each_text(change),
            Self::Tokens(map) => map.each_text(change),
            Self::Panels(panels) => panels.each_text(change),
        }
    }
}

/// The name of a column: what the figure calls it, else `name`.
pub(super) fn column(title: Option<&String>, name: &str) -> String {
    title.cloned().unwrap_or_else(|| name.to_owned())
}

impl Titles {
    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        [&mut self.title, &mut self.x, &mut self.y].into_iter().flatten().for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_names_of_their_own_and_cells_are_quoted() {
        let names = ["layer", "layer", "value"].map(str::to_owned).to_vec();
        let rows = vec![["0", "a, \"b\"", "0.5"].map(str::to_owned).to_vec()];
        let csv = Records::new(names, rows).csv().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert_eq!(csv.as_deref(), Ok("layer,layer 2,value\n0,\"a, \"\"b\"\"\",0.5\n"));
    }
}
