//! The size of a figure on paper.

use super::PlotError;

/// Points an inch, and CSS pixels an inch.
const POINTS: f64 = 72.0;
const PIXELS: f64 = 96.0;
/// What layouts make the titles of axes, in CSS pixels.
const LABEL_SIZE: f64 = 12.0;
/// Where a width is said and no size of letters, in points.
const FONT_SIZE: f64 = 8.0;
/// Dots an inch of a bitmap on paper.
const DPI: f64 = 300.0;
/// The same of one without a size: two device pixels a CSS pixel.
const SCREEN_DPI: f64 = 192.0;

/// How large a figure is drawn. Nothing said draws it at 96 CSS pixels an inch, as wide as its content asks for.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Paper {
    /// In millimetres. Letters keep their size; what shows the data takes what they leave.
    pub width: Option<f64>,
    /// Of the titles of axes, in points; all other letters, lines and points keep their proportion to these.
    pub font_size: Option<f64>,
    /// Dots an inch of a bitmap.
    pub dpi: Option<f64>,
}

impl Paper {
    /// Refuses sizes that no figure has.
    pub(super) fn check(&self) -> Result<(), PlotError> {
        for (name, value, (low, high)) in [
            ("width", self.width, (10.0, 2000.0)),
            ("font_size", self.font_size, (2.0, 72.0)),
            ("dpi", self.dpi, (20.0, 2400.0)),
        ] {
            if let Some(value) = value.filter(|value| !(low..=high).contains(value)) {
                return Err(PlotError::Paper { name, value, low, high });
            }
        }
        Ok(())
    }

    /// Whether anything is said that a page or a table could not honour.
    pub(super) fn says_something(&self) -> bool {
        *self != Self::default()
    }

    fn sized(&self) -> bool {
        self.width.is_some() || self.font_size.is_some()
    }

    /// How many points a CSS pixel of the layout is.
    pub(super) fn points(&self) -> f64 {
        if self.sized() { self.font_size.unwrap_or(FONT_SIZE) / LABEL_SIZE } else { POINTS / PIXELS }
    }

    /// The width in CSS pixels of the layout.
    pub(super) fn pixels(&self) -> Option<f64> {
        Some(self.width? / 25.4 * POINTS / self.points())
    }

    pub(super) fn dpi(&self) -> f64 {
        self.dpi.unwrap_or(if self.sized() { DPI } else { SCREEN_DPI })
    }

    /// How many device pixels of a bitmap a CSS pixel of the layout is.
    pub(super) fn dots(&self) -> f64 {
        self.points() * self.dpi() / POINTS
    }
}
