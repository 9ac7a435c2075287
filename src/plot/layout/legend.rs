//! The legend: which colour, shape and dash is whose.

use super::super::Rgb;
use super::super::chart::Dash;
use super::super::scene::{Anchor, Mark, Rect, Text};
use super::super::text::one_line;
use super::marker::{marker, stroke};
use super::{LINE, TICK_PAD, TICK_SIZE, beside, colorbar};

const SWATCH: f64 = 10.0;
/// The piece of a line beside its name.
const LENGTH: f64 = 24.0;
const POINT: f64 = 7.0;

/// What stands beside a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Key {
    Swatch,
    /// The point of the series or group of that number.
    Point(usize),
    /// A line of that width, with its series' point if it has any.
    Line {
        width: f64,
        dash: Dash,
        point: Option<usize>,
    },
}

impl Key {
    fn width(self) -> f64 {
        match self {
            Self::Line { .. } => LENGTH,
            Self::Swatch | Self::Point(_) => SWATCH,
        }
    }

    fn draw(self, (left, y): (f64, f64), color: Rgb) -> Vec<Mark> {
        match self {
            Self::Swatch => vec![Mark::Fill(Rect::new(left, y - SWATCH / 2.0, SWATCH, SWATCH), color)],
            Self::Point(i) => vec![marker(i, (left + SWATCH / 2.0, y), POINT, color, 1.0)],
            Self::Line { width, dash, point } => {
                let mut marks = stroke(vec![(left, y), (left + LENGTH, y)], color, width, dash);
                marks.extend(point.map(|i| marker(i, (left + LENGTH / 2.0, y), POINT, color, 1.0)));
                marks
            }
        }
    }
}

/// Adds one line an entry, right of the data's `area`, where the colour bar of other figures is.
pub(super) fn place(entries: &[(String, Rgb, Key)], area: Rect, marks: &mut Vec<Mark>) {
    let step = TICK_SIZE * LINE * 1.2;
    let height = step * entries.len() as f64;
    let left = beside(marks, area.top, area.top + height.max(area.height())).right + colorbar::GAP;
    let widest = entries.iter().map(|(_, _, key)| key.width()).fold(0.0, f64::max);
    for (i, (name, color, key)) in entries.iter().enumerate() {
        let y = area.top + step * (i as f64 + 0.5);
        marks.extend(key.draw((left + (widest - key.width()) / 2.0, y), *color));
        let start = left + widest + TICK_PAD;
        marks.push(Mark::Text(Text::new(one_line(name), start, y, Anchor::Start, TICK_SIZE)));
    }
}
