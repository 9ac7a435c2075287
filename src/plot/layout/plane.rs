//! Two axes of numbers, and places between them.

use super::super::Rgb;
use super::super::scene::{Anchor, Mark, Rect, Text};
use super::ticks::nice_ticks;
use super::{TICK_SIZE, below, frame, longest, x_tick, y_tick};

/// Pixels a tick, roughly.
const X_SPACING: f64 = 70.0;
const Y_SPACING: f64 = 45.0;
/// Between the labels of neighbouring ticks, at least.
const APART: f64 = 10.0;

/// The data's area, and the values at its edges.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Plane {
    pub area: Rect,
    pub x: (f64, f64),
    pub y: (f64, f64),
}

impl Plane {
    /// Where (x, y) is.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |value: f64, (low, high): (f64, f64)| (value - low) / (high - low);
        let Rect { left, bottom, .. } = self.area;
        (left + self.area.width() * along(x, self.x), bottom - self.area.height() * along(y, self.y))
    }

    /// Ticks and labels of the horizontal axis, as many as fit, with lines through the area.
    pub fn x_axis(&self) -> Vec<Mark> {
        let (low, high) = self.x;
        let most = (self.area.width() / X_SPACING) as usize;
        let fits = |ticks: &[(f64, String)]| {
            let labels: Vec<String> = ticks.iter().map(|(_, label)| label.clone()).collect();
            longest(&labels, TICK_SIZE) + APART <= self.area.width() / ticks.len().max(1) as f64
        };
        let ticks = (1..=most).rev().map(|count| nice_ticks(low, high, count)).find(|ticks| fits(ticks));
        let mut marks = Vec::new();
        for (value, label) in ticks.unwrap_or_default() {
            let (x, _) = self.at(value, self.y.0);
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
        for (value, label) in nice_ticks(low, high, (self.area.height() / Y_SPACING) as usize) {
            let (_, y) = self.at(self.x.0, value);
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

/// The range with a margin, so that nothing lies on the frame.
pub(in super::super) fn padded((low, high): (f64, f64)) -> (f64, f64) {
    const MARGIN: f64 = 0.05;
    let room = (high - low) * MARGIN;
    (low - room, high + room)
}
