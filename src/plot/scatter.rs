//! The description of points in a plane.

use std::collections::{HashMap, HashSet};

use super::figure::{Records, all_finite, check_errors, check_marks, check_texts, column};
use super::guides::Guides;
use super::scale::Scale;
use super::{Colors, PlotError, Rgb, Titles};

/// Labels that are drawn, at most: each of them keeps off all others.
const MOST_LABELS: usize = 1000;

/// What the colour of a point says.
#[derive(Debug, Clone, PartialEq)]
pub enum PointColor {
    /// Nothing.
    Same(Rgb),
    /// Its value, one a point.
    Values(Vec<f64>, Colors),
    /// Its group, one name a point; each has a colour and a shape, in the order of appearance.
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
    /// Half the length of the whisker along the horizontal axis, one a point, or none at all.
    pub x_errors: Vec<f64>,
    /// The same along the vertical axis.
    pub y_errors: Vec<f64>,
    pub guides: Guides,
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
        check_marks("points", expected)?;
        if !(0.1..=1000.0).contains(&self.size) {
            return Err(PlotError::Size { value: self.size });
        }
        if self.max_labels.min(self.labels.len()) > MOST_LABELS {
            return Err(PlotError::TooManyLabels { labels: self.max_labels.min(self.labels.len()) });
        }
        let groups: &[String] = if let PointColor::Groups(groups) = &self.color { groups } else { &[] };
        check_texts(self.labels.iter().chain(groups).chain(self.titles.texts()))?;
        all_finite("x", &self.x)?;
        all_finite("y", &self.y)?;
        check_errors("x_error", &self.x_errors, expected)?;
        check_errors("error", &self.y_errors, expected)?;
        self.guides.check(reach(&self.x, &self.x_errors), reach(&self.y, &self.y_errors))?;
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
        let PointColor::Groups(names) = &self.color else { return Vec::new() };
        let mut known = HashSet::new();
        names.iter().filter(|name| known.insert(*name)).collect()
    }

    /// The group of every point, as its place among the groups; empty if there are none.
    pub(super) fn group_of_each(&self) -> Vec<usize> {
        let PointColor::Groups(names) = &self.color else { return Vec::new() };
        let places: HashMap<_, _> =
            self.groups().into_iter().enumerate().map(|(i, group)| (group, i)).collect();
        names.iter().map(|name| places[name]).collect()
    }

    /// The colour of point `i`, with what [`Scatter::group_of_each`] and [`Scatter::scale`] gave.
    pub(super) fn point_color(&self, i: usize, groups: &[usize], scale: Option<&Scale>) -> Rgb {
        match (&self.color, scale) {
            (PointColor::Same(color), _) => *color,
            (PointColor::Groups(_), _) => Rgb::nth(groups[i]),
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
        let errors = [("x error", &self.x_errors), ("error", &self.y_errors)];
        columns.extend(errors.iter().filter(|(_, all)| !all.is_empty()).map(|(name, _)| (*name).to_owned()));
        columns.extend(color);
        let record = |(i, (x, y)): (usize, (&f64, &f64))| {
            let label = self.labels.get(i).cloned();
            let error = errors.iter().filter_map(|(_, all)| all.get(i)).map(f64::to_string);
            let place = [x.to_string(), y.to_string()].into_iter().chain(error);
            label.into_iter().chain(place).chain(colors.get(i).cloned()).collect()
        };
        Records::new(columns, self.x.iter().zip(&self.y).enumerate().map(record).collect())
    }
}

/// Values and both ends of their errors.
pub(super) fn reach(values: &[f64], errors: &[f64]) -> impl Iterator<Item = f64> {
    let error = |i: usize| errors.get(i).copied().filter(|error| error.is_finite()).unwrap_or(0.0);
    values.iter().enumerate().flat_map(move |(i, value)| [*value, value - error(i), value + error(i)])
}
