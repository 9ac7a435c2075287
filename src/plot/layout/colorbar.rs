//! The colour bar: what the colours of the cells mean.

use super::super::Rgb;
use super::super::scale::Scale;
use super::super::scene::{Anchor, Mark, Rect, Text};
use super::super::text::wrap;
use super::ticks::nice_ticks;
use super::{LABEL_SIZE, TICK, TICK_PAD, TICK_SIZE, beside, frame, longest, upward};

/// From the data's area to the bar.
pub(super) const GAP: f64 = 18.0;
const WIDTH: f64 = 14.0;
/// Short grids get a bar that is longer than they are, so that its ticks have room.
const SHORTEST: f64 = 120.0;
/// Pixels a tick, roughly, where that makes at least [`FEWEST`].
const SPACING: f64 = 52.0;
const FEWEST: usize = 4;
/// Colours along the bar, unless there are fewer pixels.
const STEPS: f64 = 256.0;
/// From the bar's end to the colour of what is no number.
const MISSING_GAP: f64 = 10.0;

/// Adds the bar right of the data's `area`, and of any label that reaches beyond them, with its ticks and
/// `label`.
pub(super) fn place(scale: &Scale, label: Option<&str>, area: Rect, marks: &mut Vec<Mark>) {
    let height = area.height().max(SHORTEST);
    let left = beside(marks, area.top, area.top + height).right + GAP;
    let bar = Rect::new(left.ceil(), area.top, WIDTH, height);

    // From the bottom up; edges are shared, so that neither gaps nor overlaps show.
    let steps = height.min(STEPS).floor();
    for i in 0..steps as usize {
        let along = |i: usize| i as f64 / steps;
        let value = scale.vmin + (scale.vmax - scale.vmin) * (along(i) + along(i + 1)) / 2.0;
        let (top, bottom) = (bar.bottom - height * along(i + 1), bar.bottom - height * along(i));
        marks.push(Mark::Fill(Rect { top, bottom, ..bar }, scale.color(value)));
    }
    marks.extend(frame(bar));

    for (value, text) in nice_ticks(scale.vmin, scale.vmax, ((height / SPACING) as usize).max(FEWEST)) {
        let y = bar.bottom - height * (value - scale.vmin) / (scale.vmax - scale.vmin);
        let start = bar.right + 1.0;
        marks.push(Mark::Fill(Rect::new(start, y - 0.5, TICK, 1.0), Rgb::INK));
        marks.push(Mark::Text(Text::new(text, start + TICK + TICK_PAD, y, Anchor::Start, TICK_SIZE)));
    }
    if scale.missing {
        let swatch = Rect::new(bar.left, bar.bottom + MISSING_GAP, WIDTH, WIDTH);
        marks.push(Mark::Fill(swatch, Rgb::MISSING));
        marks.extend(frame(swatch));
        let start = bar.right + 1.0 + TICK + TICK_PAD;
        marks.push(Mark::Text(Text::new("NaN", start, swatch.center().1, Anchor::Start, TICK_SIZE)));
    }
    if let Some(label) = label {
        let lines = wrap(label, LABEL_SIZE, height);
        let (_, y) = bar.center();
        let half = longest(&lines, LABEL_SIZE).max(height) / 2.0;
        let left = beside(marks, y - half, y + half).right + TICK_PAD;
        marks.extend(upward(&lines, left, y));
    }
}
