//! The legend: which colour is whose.

use super::super::Rgb;
use super::super::scene::{Anchor, Mark, Rect, Text};
use super::super::text::one_line;
use super::{LINE, TICK_PAD, TICK_SIZE, beside, colorbar};

const SWATCH: f64 = 10.0;

/// Adds one line an entry, right of the data's `area`, where the colour bar of other figures is.
pub(super) fn place(entries: &[(String, Rgb)], area: Rect, marks: &mut Vec<Mark>) {
    let step = TICK_SIZE * LINE * 1.2;
    let height = step * entries.len() as f64;
    let left = beside(marks, area.top, area.top + height.max(area.height())).right + colorbar::GAP;
    for (i, (name, color)) in entries.iter().enumerate() {
        let y = area.top + step * (i as f64 + 0.5);
        marks.push(Mark::Fill(Rect::new(left, y - SWATCH / 2.0, SWATCH, SWATCH), *color));
        let start = left + SWATCH + TICK_PAD;
        marks.push(Mark::Text(Text::new(one_line(name), start, y, Anchor::Start, TICK_SIZE)));
    }
}
