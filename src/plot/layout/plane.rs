//! Two axes of numbers, and places between them.

use super::super::Rgb;
use super::super::chart::Dash;
use super::super::guides::{Guides, along};
use super::super::scene::{Anchor, Mark, Rect, Text};
use super::super::text::width;
use super::marker::stroke;
use super::ticks::ticks;
use super::{TICK_SIZE, below, frame, x_tick, y_tick};

/// Pixels a tick, roughly.
const X_SPACING: f64 = 70.0;
const Y_SPACING: f64 = 45.0;
/// The same where that would leave a low area without ticks.
const CLOSEST: f64 = 22.0;
/// Between the labels of neighbouring ticks, at least.
const APART: f64 = 10.0;

/// The data's area, and what is at its edges: values, or their logarithms to base 10.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Plane {
    pub area: Rect,
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub x_log: bool,
    pub y_log: bool,
}

impl Plane {
    /// Where (x, y) is.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.across(x), self.height(y))
    }

    pub fn across(&self, x: f64) -> f64 {
        let (low, high) = self.x;
        self.area.left + self.area.width() * (along(x, self.x_log) - low) / (high - low)
    }

    pub fn height(&self, y: f64) -> f64 {
        let (low, high) = self.y;
        self.area.bottom - self.area.height() * (along(y, self.y_log) - low) / (high - low)
    }

    /// The lines to compare with, dashed.
    pub fn guides(&self, guides: &Guides) -> Vec<Mark> {
        let Rect { left, top, right, bottom } = self.area;
        let upright = guides.vlines.iter().map(|x| self.across(*x)).map(|x| vec![(x, top), (x, bottom)]);
        let level = guides.hlines.iter().map(|y| self.height(*y)).map(|y| vec![(left, y), (right, y)]);
        let grey = Rgb::FAINT.mix(Rgb::INK, 0.6);
        upright.chain(level).flat_map(|ends| stroke(ends, grey, 1.0, Dash::Dashed)).collect()
    }

    /// Ticks and labels of the horizontal axis, as many as fit, with lines through the area.
    pub fn x_axis(&self) -> Vec<Mark> {
        let (low, high) = self.x;
        // A narrow axis needs more than one tick, too, if their labels fit.
        let most = ((self.area.width() / X_SPACING) as usize).max(6);
        let fits = |ticks: &[(f64, String)]| {
            let apart = |pair: &[(f64, String)]| self.across(pair[1].0) - self.across(pair[0].0);
            let taken = |pair: &[(f64, String)]| {
                (width(&pair[0].1, TICK_SIZE) + width(&pair[1].1, TICK_SIZE)) / 2.0 + APART
            };
            ticks.windows(2).all(|pair| taken(pair) <= apart(pair))
        };
        let ticks =
            (1..=most).rev().map(|count| ticks(low, high, count, self.x_log)).find(|ticks| fits(ticks));
        let mut marks = Vec::new();
        for (value, label) in ticks.unwrap_or_default() {
            let x = self.across(value);
            marks.push(Mark::Fill(Rect::new(x - 0.5, self.area.top, 1.0, self.area.height()), Rgb::FAINT));
            marks.push(x_tick(x, self.area));
            marks.push(below(Text::new(label, x, 0.0, Anchor::Middle, TICK_SIZE), self.area));
        }
        marks
    }

    /// Ticks and labels of the vertical axis, with lines through the area.
    pub fn y_axis(&self) -> Vec<Mark> {
        let (low, high) = self.y;
        let mut marks = Vec::new();
        let most = (self.area.height() / Y_SPACING).max((self.area.height() / CLOSEST).min(4.0)) as usize;
        for (value, label) in ticks(low, high, most, self.y_log) {
            let y = self.height(value);
            marks.push(Mark::Fill(Rect::new(self.area.left, y - 0.5, self.area.width(), 1.0), Rgb::FAINT));
            marks.extend(y_tick(label, y, self.area));
        }
        marks
    }

    pub fn frame(&self) -> [Mark; 4] {
        frame(self.area)
    }
}

/// The range of the finite `values`; of a single value some room around it.
pub(in super::super) fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match low.partial_cmp(&high) {
        Some(std::cmp::Ordering::Less) => (low, high),
        Some(std::cmp::Ordering::Equal) => {
            let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low - room, high + room)
        }
        _ => (0.0, 1.0),
    }
}

/// The ends of an axis of `values` and the `lines` across it: those that were asked for, else the range with a margin.
pub(super) fn span(
    values: impl Iterator<Item = f64>,
    lines: &[f64],
    ends: Option<(f64, f64)>,
    log: bool,
) -> (f64, f64) {
    match ends {
        Some((low, high)) => (along(low, log), along(high, log)),
        None => padded(range(values.chain(lines.iter().copied()).map(|value| along(value, log)))),
    }
}

/// The range with a margin, so that nothing lies on the frame.
pub(in super::super) fn padded((low, high): (f64, f64)) -> (f64, f64) {
    const MARGIN: f64 = 0.05;
    let room = (high - low) * MARGIN;
    (low - room, high + room)
}
