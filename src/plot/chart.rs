//! The description of lines, bars and histograms: series of numbers over one axis.

use super::figure::{
    Records, all_finite, check_errors, check_marks, check_near, check_range, check_texts, column,
};
use super::guides::Guides;
use super::heatmap::check_rotation;
use super::{PlotError, Rgb, Titles};

/// More bins than this would be thinner than a pixel.
pub const MOST_BINS: usize = 1000;

/// How the numbers of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Lines; errors are a band around them.
    Lines,
    /// Bars from 0, those of several series beside each other; errors are whiskers.
    Bars,
    /// Bars from 0 without gaps. The axis holds their edges, one more than there are bars.
    Bins,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dash {
    #[default]
    Solid,
    Dashed,
    Dotted,
}

/// What lies along the horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub enum Axis {
    /// `n` places side by side, with a label each; no labels at all numbers them from 0.
    Labels { n: usize, labels: Vec<String> },
    /// Places by their numbers, all finite.
    Numbers(Vec<f64>),
}

/// One line, or the bars of one colour.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// In the legend; empty for none.
    pub name: String,
    /// `None` takes the next colour of those that Okabe and Ito chose.
    pub color: Option<Rgb>,
    /// One a place of the axis. One that is not finite is a grey dot on the axis.
    pub values: Vec<f64>,
    /// Half the height of the band or whisker at each value; none at all draws none.
    pub errors: Vec<f64>,
    pub dash: Dash,
}

/// Series of numbers over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    pub style: Style,
    pub x: Axis,
    pub series: Vec<Series>,
    pub titles: Titles,
    pub guides: Guides,
    /// Of the labels, anticlockwise: 0, 45 or 90 degrees. `None` takes 90 where they would overlap.
    pub x_rotation: Option<u16>,
}

impl Axis {
    /// How many values of a series lie along it.
    fn places(&self, style: Style) -> usize {
        match self {
            Self::Labels { n, .. } => *n,
            Self::Numbers(edges) if style == Style::Bins => edges.len().saturating_sub(1),
            Self::Numbers(places) => places.len(),
        }
    }
}

impl Series {
    pub(super) fn color(&self, i: usize) -> Rgb {
        self.color.unwrap_or(Rgb::nth(i))
    }

    /// The value and both ends of its error.
    pub(super) fn reach(&self, i: usize) -> [f64; 3] {
        let value = self.values.get(i).copied().unwrap_or(f64::NAN);
        let error = self.errors.get(i).copied().filter(|error| error.is_finite()).unwrap_or(0.0);
        [value, value - error, value + error]
    }
}

impl Chart {
    /// How often `values` fall into each of `bins` equal parts of `range` (low, high), the last of which holds its
    /// upper end too, as in NumPy's `histogram`. Without `bins`, NumPy's "auto": the smaller width of Sturges'
    /// and Freedman and Diaconis' rule, the latter at least half that of the square-root rule. Without `range`, that of the values.
    ///
    /// # Errors
    /// [`PlotError::Empty`], [`PlotError::NoPlace`] for a value that is not finite, [`PlotError::Bins`],
    /// [`PlotError::EmptyRange`].
    pub fn histogram(
        values: &[f64],
        bins: Option<usize>,
        range: Option<(f64, f64)>,
    ) -> Result<Self, PlotError> {
        if values.is_empty() {
            return Err(PlotError::Empty { figure: "a histogram" });
        }
        all_finite("values", values)?;
        let least_and_most =
            values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        let (low, high) = match (range, least_and_most) {
            (Some((low, high)), _) => check_range("range", low, high)?,
            // NumPy's choice for equal values.
            (None, (least, most)) if least == most => (least - 0.5, most + 0.5),
            (None, ends) => ends,
        };
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| (low..=high).contains(v)).collect();
        if sorted.is_empty() {
            return Err(PlotError::OutOfRange { name: "range", low, high, value: least_and_most.0 });
        }
        sorted.sort_by(f64::total_cmp);
        let bins = bins.unwrap_or_else(|| auto_bins(&sorted, high - low));
        if !(1..=MOST_BINS).contains(&bins) {
            return Err(PlotError::Bins { found: bins });
        }
        let edge = |i: usize| if i == bins { high } else { low + (high - low) * i as f64 / bins as f64 };
        let edges: Vec<f64> = (0..=bins).map(edge).collect();
        let mut counts = vec![0.0; bins];
        for value in &sorted {
            // By the edges themselves, so that a value on one of them is on the right side of it.
            let above = edges.partition_point(|edge| edge <= value);
            counts[(above - 1).min(bins - 1)] += 1.0;
        }
        let series =
            Series { name: String::new(), color: None, values: counts, errors: vec![], dash: Dash::Solid };
        Ok(Self {
            style: Style::Bins,
            x: Axis::Numbers(edges),
            series: vec![series],
            titles: Titles { y: Some("count".to_owned()), ..Titles::default() },
            guides: Guides::default(),
            x_rotation: None,
        })
    }

    /// All that the vertical axis must reach.
    pub(super) fn heights(&self) -> impl Iterator<Item = f64> {
        let baseline = (self.style != Style::Lines).then_some(0.0);
        let reach = |series: &Series| -> Vec<f64> {
            (0..series.values.len()).flat_map(|i| series.reach(i)).filter(|v| v.is_finite()).collect()
        };
        self.series.iter().flat_map(reach).chain(baseline)
    }

    pub(super) fn check(&self) -> Result<(), PlotError> {
        let places = self.x.places(self.style);
        if places == 0 || self.series.is_empty() {
            return Err(PlotError::Empty { figure: "a chart" });
        }
        match &self.x {
            Axis::Labels { labels, .. } if !labels.is_empty() && labels.len() != places => {
                return Err(PlotError::Labels { axis: "values", found: labels.len(), expected: places });
            }
            Axis::Labels { .. } => {}
            Axis::Numbers(numbers) => all_finite("x", numbers)?,
        }
        check_marks("values", places.saturating_mul(self.series.len()))?;
        let labels: &[String] = if let Axis::Labels { labels, .. } = &self.x { labels } else { &[] };
        let names = self.series.iter().map(|series| &series.name);
        check_texts(labels.iter().chain(names).chain(self.titles.texts()))?;
        for series in &self.series {
            check_near("y", &series.values)?;
            if series.values.len() != places {
                let found = series.values.len();
                return Err(PlotError::Lengths { name: "y", found, expected: places, of: "places of `x`" });
            }
            check_errors("error", &series.errors, places)?;
        }
        if !self.series.iter().flat_map(|series| &series.values).any(|v| v.is_finite()) {
            return Err(PlotError::NoNumbers);
        }
        let along: &[f64] = match &self.x {
            Axis::Numbers(numbers) => numbers,
            Axis::Labels { .. } if self.guides.xlim.is_some() || self.guides.x_log => {
                return Err(PlotError::LabelledAxis);
            }
            Axis::Labels { .. } => &[],
        };
        self.guides.check(along.iter().copied(), self.heights())?;
        check_rotation(self.x_rotation)
    }

    pub(super) fn each_text(&mut self, change: &mut dyn FnMut(&mut String)) {
        self.titles.each_text(change);
        if let Axis::Labels { labels, .. } = &mut self.x {
            labels.iter_mut().for_each(&mut *change);
        }
        self.series.iter_mut().map(|series| &mut series.name).for_each(change);
    }

    /// One row a value, series after series.
    pub(super) fn records(&self) -> Records {
        let several = self.series.iter().any(|series| !series.name.is_empty());
        let with_errors = self.series.iter().any(|series| !series.errors.is_empty());
        let mut columns = vec![];
        columns.extend(several.then(|| "series".to_owned()));
        match self.style {
            Style::Bins => columns.extend(["from".to_owned(), "to".to_owned()]),
            _ => columns.push(column(self.titles.x.as_ref(), "x")),
        }
        columns.push(column(self.titles.y.as_ref(), "y"));
        columns.extend(with_errors.then(|| "error".to_owned()));
        let place = |i: usize| match &self.x {
            Axis::Labels { labels, .. } => vec![labels.get(i).cloned().unwrap_or_else(|| i.to_string())],
            Axis::Numbers(edges) if self.style == Style::Bins => {
                edges.iter().skip(i).take(2).map(f64::to_string).collect()
            }
            Axis::Numbers(places) => places.iter().skip(i).take(1).map(f64::to_string).collect(),
        };
        let record = |series: &Series, i: usize| -> Vec<String> {
            let name = several.then(|| series.name.clone());
            let value = series.values.get(i).map(f64::to_string);
            let error = with_errors.then(|| series.errors.get(i).map(f64::to_string).unwrap_or_default());
            name.into_iter().chain(place(i)).chain(value).chain(error).collect()
        };
        let rows = self.series.iter().flat_map(|series| {
            let record = &record;
            (0..series.values.len()).map(move |i| record(series, i))
        });
        Records::new(columns, rows.collect())
    }
}

/// NumPy's `bins="auto"` for sorted values, of which there is one at least, over a `range`.
fn auto_bins(sorted: &[f64], range: f64) -> usize {
    let n = sorted.len() as f64;
    // Between the two nearest values, as NumPy's `percentile`.
    let quantile = |q: f64| {
        let at = q * (n - 1.0);
        let (below, part) = (at.floor() as usize, at.fract());
        sorted[below] + (sorted[(below + 1).min(sorted.len() - 1)] - sorted[below]) * part
    };
    let spread = sorted[sorted.len() - 1] - sorted[0];
    let sturges = spread / (n.log2() + 1.0);
    let freedman_diaconis = 2.0 * (quantile(0.75) - quantile(0.25)) / n.cbrt();
    // Not much narrower than the square-root rule's, or one far value would make thousands of bins.
    let width = freedman_diaconis.max(spread / n.sqrt() / 2.0).min(sturges);
    if width > 0.0 { ((range / width).ceil() as usize).clamp(1, MOST_BINS) } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[f64], bins: Option<usize>, range: Option<(f64, f64)>) -> Vec<f64> {
        Chart::histogram(values, bins, range).expect("a histogram").series[0].values.clone()
    }

    /// From `numpy.histogram` of NumPy 2.4.
    #[test]
    fn values_are_counted_as_numpy_counts_them() {
        let values = [0.5, 1.0, 1.0, 2.0, 2.5, 3.0, 3.5, 7.0];
        assert_eq!(counts(&values, Some(4), None), [4.0, 3.0, 0.0, 1.0]);
        assert_eq!(counts(&values, Some(3), Some((1.0, 3.0))), [2.0, 1.0, 2.0]);
        assert_eq!(counts(&values, None, None).len(), 4);
        assert_eq!(counts(&[2.0; 3], None, None), [3.0]);
        // Where the quartiles are equal, and where one value is far from all others.
        let steps = [vec![0.0; 90], vec![1.0; 10]].concat();
        assert_eq!(counts(&steps, None, None).len(), 20);
        let far: Vec<f64> = (0..200).map(|i| f64::from(i) / 200.0).chain([1000.0]).collect();
        assert_eq!(counts(&far, None, None).len(), 29);
    }

    #[test]
    fn numbers_too_far_out_are_refused() {
        let far = Chart::histogram(&[-1.7e308, 1.7e308], None, None).expect_err("refused");
        assert_eq!(far, PlotError::FarOut { name: "values", index: 0, value: -1.7e308 });
        assert_eq!(counts(&[-1e300, 1e300], None, None).iter().sum::<f64>(), 2.0);
        assert!(Chart::histogram(&[1.0], None, Some((0.0, 1e301))).is_err());
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let refused = |values: &[f64], bins| Chart::histogram(values, bins, None).expect_err("refused");
        assert_eq!(refused(&[], None), PlotError::Empty { figure: "a histogram" });
        assert_eq!(refused(&[1.0], Some(0)), PlotError::Bins { found: 0 });
        let told = refused(&[1.0, f64::NAN], None).to_string();
        assert_eq!(told, "value 1 of `values` is NaN, which has no place on an axis");
    }
}
