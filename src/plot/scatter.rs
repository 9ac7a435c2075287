//! The description of points in a plane.

use super::chart::all_finite;
use super::figure::{Records, column};
use super::scale::Scale;
use super::{Colors, PlotError, Rgb, Titles};

/// What the colour of a point says.
#[derive(Debug, Clone, PartialEq)]
pub enum PointColor {
    /// Nothing.
    Same(Rgb),
    /// Its value, one a point.
    Values(Vec<f64>, Colors),
    /// Its group, one name a point; each has a colour of matplotlib's `tab10` in the order of appearance.
    Groups(Vec<String>),
}

impl Default for PointColor {
    fn default() -> Self {
        Self::Same(Rgb::nth(0))
    }
}

/// Points with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// One a point, all finite.
    pub x: Vec<f64>,
    /// One a point, all finite.
    pub y: Vec<f64>,
    /// One a point, or none at all.
    pub labels: Vec<String>,
    /// The first points get their labels drawn, up to this many.
    pub max_labels: usize,
    pub color: PointColor,
    /// The diameter of a point in CSS pixels.
    pub size: f64,
    pub titles: Titles,
}

impl Scatter {
    pub(super) fn check(&self) -> Result<(), PlotError> {
        let expected = self.x.len();
        if expected == 0 {
            return Err(PlotError::Empty { figure: "a scatter plot" });
        }
        let colors = match &self.color {
            PointColor::Same(_) => expected,
            PointColor::Values(values, _) => values.len(),
            PointColor::Groups(groups) => groups.len(),
        };
        let labels = if self.labels.is_empty() { expected } else { self.labels.len() };
        for (name, found) in [("y", self.y.len()), ("labels", labels), ("color", colors)] {
            if found != expected {
                return Err(PlotError::Lengths { name, found, expected, of: "points" });
            }
        }
        all_finite("x", &self.x)?;
        all_finite("y", &self.y)?;
        self.scale().map(drop)
    }

    /// From the points' values to their colours, if that is what colours say.
    pub(super) fn scale(&self) -> Result<Option<(Scale, &Colors)>, PlotError> {
        match &self.color {
            PointColor::Values(values, colors) => {
                Ok(Some((Scale::new(colors, values.iter().copied())?, colors)))
            }
            _ => Ok(None),
        }
    }

    /// The groups in the order of appearance.
    pub(super) fn groups(&self) -> Vec<&String> {
        let mut known: Vec<&String> = Vec::new();
        if let PointColor::Groups(names) = &self.color {
            for name in names {
                if !known.contains(&name) {
                    known.push(name);
                }
            }
        }
        known
    }

    /// Which of the `groups` point `i` is in; the first if there are none.
    pub(super) fn group(&self, i: usize, groups: &[&String]) -> usize {
        match &self.color {
            PointColor::Groups(names) => {
                groups.iter().position(|group| names.get(i) == Some(*group)).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The colour of point `i`, with what [`Scatter::groups`] and [`Scatter::scale`] gave.
    pub(super) fn point_color(&self, i: usize, groups: &[&String], scale: Option<&Scale>) -> Rgb {
        match (&self.color, scale) {
            (PointColor::Same(color), _) => *color,
            (PointColor::Groups(_), _) => Rgb::nth(self.group(i, groups)),
            (PointColor::Values(values, _), scale) => {
                scale.zip(values.get(i)).map_or(Rgb::MISSING, |(scale, value)| scale.color(*value))
            }
        }
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.titles.each_text(change);
        self.labels.iter_mut().for_each(&mut *change);
        match &mut self.color {
            PointColor::Same(_) => {}
            PointColor::Values(_, colors) => colors.label.iter_mut().for_each(change),
            PointColor::Groups(groups) => groups.iter_mut().for_each(change),
        }
    }

    /// One row a point.
    pub(super) fn records(&self) -> Records {
        let (color, colors) = match &self.color {
            PointColor::Same(_) => (None, vec![]),
            PointColor::Values(values, colors) => {
                (Some(column(colors.label.as_ref(), "value")), values.iter().map(f64::to_string).collect())
            }
            PointColor::Groups(groups) => (Some("group".to_owned()), groups.clone()),
        };
        let mut columns = vec![];
        columns.extend((!self.labels.is_empty()).then(|| "label".to_owned()));
        columns.extend([column(self.titles.x.as_ref(), "x"), column(self.titles.y.as_ref(), "y")]);
        columns.extend(color);
        let record = |(i, (x, y)): (usize, (&f64, &f64))| {
            let label = self.labels.get(i).cloned();
            label.into_iter().chain([x.to_string(), y.to_string()]).chain(colors.get(i).cloned()).collect()
        };
        Records::new(columns, self.x.iter().zip(&self.y).enumerate().map(record).collect())
    }
}
