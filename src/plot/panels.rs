//! Several figures as one.

use super::figure::{Records, check_marks};
use super::{Figure, PlotError};

/// Figures that one picture may hold.
const MOST_PANELS: usize = 100;

/// Figures side by side, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Panels {
    pub figures: Vec<Figure>,
    /// In a row, from 1 on.
    pub columns: usize,
    /// Above all of them.
    pub title: Option<String>,
}

impl Panels {
    pub(super) fn check(&self) -> Result<(), PlotError> {
        if self.figures.is_empty() {
            return Err(PlotError::Empty { figure: "a grid" });
        }
        if self.figures.len() > MOST_PANELS {
            return Err(PlotError::TooManyPanels { found: self.figures.len(), most: MOST_PANELS });
        }
        if self.columns == 0 {
            return Err(PlotError::NoColumns);
        }
        self.figures.iter().try_for_each(Figure::check)?;
        check_marks("marks", self.figures.iter().map(|figure| figure.records().rows.len()).sum())
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.title.iter_mut().for_each(&mut *change);
        self.figures.iter_mut().for_each(|figure| figure.each_text(change));
    }

    /// The figures' rows with the number of the panel; a column that a panel lacks is empty there.
    pub(super) fn records(&self) -> Records {
        let parts: Vec<Records> = self.figures.iter().map(Figure::records).collect();
        let mut columns: Vec<String> = Vec::new();
        for column in parts.iter().flat_map(|part| &part.columns) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        let rows = parts.iter().enumerate().flat_map(|(panel, part)| {
            let places: Vec<Option<usize>> =
                columns.iter().map(|name| part.columns.iter().position(|column| column == name)).collect();
            part.rows.iter().map(move |row| {
                let cell =
                    |place: &Option<usize>| place.and_then(|at| row.get(at).cloned()).unwrap_or_default();
                std::iter::once(panel.to_string()).chain(places.iter().map(cell)).collect()
            })
        });
        let rows = rows.collect();
        Records::new(std::iter::once("panel".to_owned()).chain(columns).collect(), rows)
    }
}
