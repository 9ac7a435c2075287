//! The description of a heatmap, in matplotlib's words.

use super::{Colormap, PlotError};

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
/// A NaN is a grey cell; an infinite value takes the colour of its end of the scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    /// `[rows][cols]`, rectangular, not empty.
    pub values: Vec<Vec<f32>>,
    /// One label a row; none at all numbers the rows from 0.
    pub rows: Vec<String>,
    /// One label a column; none at all numbers the columns from 0.
    pub cols: Vec<String>,
    /// Above the figure. May hold several lines; long ones are wrapped.
    pub title: Option<String>,
    /// Below the columns' labels.
    pub x_title: Option<String>,
    /// Left of the rows' labels, reading upwards.
    pub y_title: Option<String>,
    pub cmap: Colormap,
    /// The value of the first colour; the smallest finite value if `None`.
    pub vmin: Option<f64>,
    /// The value of the last colour; the largest finite value if `None`.
    pub vmax: Option<f64>,
    /// The value of the middle colour. Then both sides share one scale, so the shorter one does not reach
    /// the end of the map (seaborn's `center`).
    pub center: Option<f64>,
    /// Writes each value into its cell.
    pub annot: bool,
    /// How: Python's `{:.2f}` or C's `%.2f`. Without a type letter a precision counts decimals.
    pub fmt: String,
    /// The label of the colour bar.
    pub cbar: Option<String>,
    pub origin: Origin,
    /// Of the columns' labels, anticlockwise: 0, 45 or 90 degrees. `None` takes 90 where they would
    /// otherwise overlap. Plain numbers stay level and are thinned instead.
    pub x_rotation: Option<u16>,
}

impl Heatmap {
    /// A heatmap of `values` (`[rows][cols]`) with every option at its default.
    ///
    /// # Errors
    /// [`PlotError::Empty`], [`PlotError::Ragged`].
    pub fn new(values: Vec<Vec<f32>>) -> Result<Self, PlotError> {
        let heatmap = Self {
            values,
            rows: Vec::new(),
            cols: Vec::new(),
            title: None,
            x_title: None,
            y_title: None,
            cmap: Colormap::default(),
            vmin: None,
            vmax: None,
            center: None,
            annot: false,
            fmt: "{:.2}".to_owned(),
            cbar: None,
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

    /// Refuses what no layout could honour. The fields are public, so this runs before each drawing.
    pub fn check(&self) -> Result<(), PlotError> {
        let expected = self.n_cols();
        if expected == 0 {
            return Err(PlotError::Empty);
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
        match self.x_rotation {
            None | Some(0 | 45 | 90) => Ok(()),
            Some(degrees) => Err(PlotError::Rotation { degrees }),
        }
    }

    /// The same figure with every piece of its text replaced.
    pub(super) fn map_text(&self, f: impl Fn(&str) -> String) -> Self {
        let all = |texts: &[String]| texts.iter().map(|t| f(t)).collect();
        let one = |text: &Option<String>| text.as_deref().map(&f);
        Self {
            rows: all(&self.rows),
            cols: all(&self.cols),
            title: one(&self.title),
            x_title: one(&self.x_title),
            y_title: one(&self.y_title),
            cbar: one(&self.cbar),
            fmt: f(&self.fmt),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heatmap_is_a_rectangle() {
        assert_eq!(Heatmap::new(vec![]), Err(PlotError::Empty));
        assert_eq!(Heatmap::new(vec![vec![]]), Err(PlotError::Empty));
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
}
