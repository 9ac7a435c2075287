//! The description of a heatmap, in matplotlib's words.

use super::figure::{Records, check_marks, check_texts, column};
use super::number::NumberFormat;
use super::scale::Scale;
use super::{Colors, PlotError, Titles};

/// Where row 0 is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// On top, as in a printed matrix.
    #[default]
    Upper,
    /// At the bottom, as on a graph.
    Lower,
}

/// A matrix as coloured cells with labelled axes and a colour bar.
///
/// An infinite value takes the colour of its end of the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    /// `[rows][cols]`, rectangular, not empty.
    pub values: Vec<Vec<f32>>,
    /// One label a row; none at all numbers the rows from 0.
    pub rows: Vec<String>,
    /// One label a column; none at all numbers the columns from 0.
    pub cols: Vec<String>,
    pub titles: Titles,
    pub colors: Colors,
    /// Writes each value, or what `texts` has for it, into its cell.
    pub annot: bool,
    /// What `annot` writes in place of the values, `[rows][cols]`; none at all for the values.
    pub texts: Vec<Vec<String>>,
    /// How: Python's `{:.2f}` or C's `%.2f`. Without a type letter a precision counts decimals. `None` takes as many decimals
    /// as the values need.
    pub fmt: Option<String>,
    pub origin: Origin,
    /// Of the columns' labels, anticlockwise: 0, 45 or 90 degrees. `None` takes 90 where they would
    /// otherwise overlap. Plain numbers stay level and are thinned instead.
    pub x_rotation: Option<u16>,
}

impl Heatmap {
    /// A heatmap of `values` (`[rows][cols]`) with every option at its default.
    ///
    /// # Errors
    /// [`PlotError::Empty`], [`PlotError::Ragged`], [`PlotError::NoNumbers`].
    pub fn new(values: Vec<Vec<f32>>) -> Result<Self, PlotError> {
        let heatmap = Self {
            values,
            rows: Vec::new(),
            cols: Vec::new(),
            titles: Titles::default(),
            colors: Colors::default(),
            annot: false,
            texts: Vec::new(),
            fmt: None,
            origin: Origin::default(),
            x_rotation: None,
        };
        heatmap.check()?;
        Ok(heatmap)
    }

    pub(super) fn n_rows(&self) -> usize {
        self.values.len()
    }

    pub(super) fn n_cols(&self) -> usize {
        self.values.first().map_or(0, Vec::len)
    }

    pub(super) fn check(&self) -> Result<(), PlotError> {
        let expected = self.n_cols();
        if expected == 0 {
            return Err(PlotError::Empty { figure: "a heatmap" });
        }
        if let Some((row, values)) = self.values.iter().enumerate().find(|(_, v)| v.len() != expected) {
            return Err(PlotError::Ragged { row, found: values.len(), expected });
        }
        for (axis, labels, expected) in
            [("rows", &self.rows, self.n_rows()), ("columns", &self.cols, expected)]
        {
            if !labels.is_empty() && labels.len() != expected {
                return Err(PlotError::Labels { axis, found: labels.len(), expected });
            }
        }
        if !self.texts.is_empty() {
            let cols = self.texts.iter().map(|texts| ("columns", texts.len(), expected));
            let mut sizes = std::iter::once(("rows", self.texts.len(), self.n_rows())).chain(cols);
            if let Some((axis, found, expected)) = sizes.find(|(_, found, expected)| found != expected) {
                return Err(PlotError::CellTexts { axis, found, expected });
            }
        }
        check_marks("cells", self.values.len().saturating_mul(self.n_cols()))?;
        let words = self.titles.texts().chain(&self.colors.label).chain(&self.fmt);
        check_texts(self.rows.iter().chain(&self.cols).chain(self.texts.iter().flatten()).chain(words))?;
        self.scale()?;
        check_rotation(self.x_rotation)
    }

    /// How the values are written into their cells.
    pub(super) fn format(&self) -> Result<NumberFormat, PlotError> {
        match &self.fmt {
            Some(fmt) => NumberFormat::parse(fmt),
            None => Ok(NumberFormat::of(self.values.iter().flatten().copied())),
        }
    }

    /// From the values to their colours.
    pub(super) fn scale(&self) -> Result<Scale, PlotError> {
        Scale::new(&self.colors, self.values.iter().flatten().map(|value| f64::from(*value)))
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.titles.each_text(change);
        let cells = self.texts.iter_mut().flatten();
        self.rows.iter_mut().chain(&mut self.cols).chain(cells).for_each(&mut *change);
        self.colors.label.iter_mut().chain(&mut self.fmt).for_each(change);
    }

    /// One row a cell: its row and column, their labels, its value and text.
    pub(super) fn records(&self) -> Records {
        let mut columns = vec!["row".to_owned(), "column".to_owned()];
        columns.extend((!self.rows.is_empty()).then(|| column(self.titles.y.as_ref(), "y")));
        columns.extend((!self.cols.is_empty()).then(|| column(self.titles.x.as_ref(), "x")));
        columns.push(column(self.colors.label.as_ref(), "value"));
        columns.extend((!self.texts.is_empty()).then(|| "text".to_owned()));
        let record = |row: usize, col: usize, value: &f32| {
            let labels = self.rows.get(row).into_iter().chain(self.cols.get(col)).cloned();
            let text = self.texts.get(row).and_then(|texts| texts.get(col)).cloned();
            let place = [row.to_string(), col.to_string()].into_iter();
            place.chain(labels).chain([value.to_string()]).chain(text).collect()
        };
        let cells = self.values.iter().enumerate().flat_map(|(row, values)| {
            values.iter().enumerate().map(move |(col, value)| record(row, col, value))
        });
        Records::new(columns, cells.collect())
    }
}

/// Refuses turns of labels that no layout knows.
pub(super) fn check_rotation(degrees: Option<u16>) -> Result<(), PlotError> {
    match degrees {
        None | Some(0 | 45 | 90) => Ok(()),
        Some(degrees) => Err(PlotError::Rotation { degrees }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heatmap_is_a_rectangle() {
        for values in [vec![], vec![vec![]]] {
            assert_eq!(Heatmap::new(values), Err(PlotError::Empty { figure: "a heatmap" }));
        }
        assert_eq!(Heatmap::new(vec![vec![f32::NAN]]), Err(PlotError::NoNumbers));
        let ragged = Heatmap::new(vec![vec![1.0, 2.0], vec![1.0]]);
        assert_eq!(ragged, Err(PlotError::Ragged { row: 1, found: 1, expected: 2 }));
    }

    #[test]
    fn labels_match_their_axis() {
        let mut map = Heatmap::new(vec![vec![1.0, 2.0]]).expect("a rectangle");
        map.cols = vec!["a".into()];
        let error = map.check().expect_err("one label for two columns");
        assert_eq!(error.to_string(), "1 labels for 2 columns");
        map.cols.push("b".into());
        map.x_rotation = Some(30);
        assert_eq!(map.check(), Err(PlotError::Rotation { degrees: 30 }));
    }

    #[test]
    fn texts_match_the_cells() {
        let mut map = Heatmap::new(vec![vec![1.0, 2.0]]).expect("a rectangle");
        map.texts = vec![vec!["·a".into()]];
        assert_eq!(map.check(), Err(PlotError::CellTexts { axis: "columns", found: 1, expected: 2 }));
        map.texts = vec![vec!["·a".into(), "·b".into()]];
        assert_eq!(map.check(), Ok(()));
        let records = map.records();
        assert_eq!(records.columns, ["row", "column", "value", "text"]);
        assert_eq!(records.rows, [["0", "0", "1", "·a"], ["0", "1", "2", "·b"]]);
        map.texts.push(vec![]);
        assert_eq!(map.check(), Err(PlotError::CellTexts { axis: "rows", found: 2, expected: 1 }));
    }

    #[test]
    fn the_records_are_the_cells() {
        let mut map = Heatmap::new(vec![vec![0.1, f32::NAN]]).expect("a rectangle");
        map.cols = vec!["·a".into(), "b".into()];
        map.colors.label = Some("effect".into());
        let records = map.records();
        assert_eq!(records.columns, ["row", "column", "x", "effect"]);
        assert_eq!(records.rows, [["0", "0", "·a", "0.1"], ["0", "1", "b", "NaN"]]);
    }
}
