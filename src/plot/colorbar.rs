//! The colour bar: what the colours of the cells mean.

use super::Rgb;
use super::layout::{LABEL_SIZE, TICK, TICK_PAD, TICK_SIZE, around, frame, longest, upward};
use super::scale::Scale;
use super::scene::{Anchor, Mark, Rect, Text};
use super::text::wrap;
use super::ticks::nice_ticks;

/// From the cells to the bar.
const GAP: f64 = 18.0;
const WIDTH: f64 = 14.0;
/// Short grids get a bar that is longer than they are, so that its ticks have room.
const SHORTEST: f64 = 120.0;
/// Pixels a tick, roughly.
const SPACING: f64 = 44.0;
/// Colours along the bar, unless there are fewer pixels.
const STEPS: f64 = 256.0;

/// Adds the bar right of the cells (`area`), with ticks and its `label`. `below` are the bounds of the cells
/// with their columns' labels, which a bar longer than the cells has to clear.
pub(super) fn place(scale: &Scale, label: Option<&str>, area: Rect, below: Rect, marks: &mut Vec<Mark>) {
    let height = area.height().max(SHORTEST);
    let clear = if height > area.height() { below.right } else { area.right };
    let bar = Rect::new((clear + GAP).ceil(), area.top, WIDTH, height);

    // From the bottom up; edges are shared, so that neither gaps nor overlaps show.
    let steps = height.min(STEPS).floor();
    for i in 0..steps as usize {
        let along = |i: usize| i as f64 / steps;
        let value = scale.vmin + (scale.vmax - scale.vmin) * (along(i) + along(i + 1)) / 2.0;
        let (top, bottom) = (bar.bottom - height * along(i + 1), bar.bottom - height * along(i));
        marks.push(Mark::Fill(Rect { top, bottom, ..bar }, scale.color(value)));
    }
    marks.extend(frame(bar));

    let mut outer = bar;
    for (value, text) in nice_ticks(scale.vmin, scale.vmax, (height / SPACING) as usize) {
        let y = bar.bottom - height * (value - scale.vmin) / (scale.vmax - scale.vmin);
        let start = bar.right + 1.0;
        marks.push(Mark::Fill(Rect::new(start, y - 0.5, TICK, 1.0), Rgb::INK));
        let text = Text::new(text, start + TICK + TICK_PAD, y, Anchor::Start, TICK_SIZE);
        outer = outer.union(text.bounds());
        marks.push(Mark::Text(text));
    }
    if let Some(label) = label {
        let lines = wrap(label, LABEL_SIZE, height);
        let inner = if longest(&lines, LABEL_SIZE) <= height { outer } else { around(marks) };
        marks.extend(upward(&lines, inner.right + TICK_PAD, bar.center().1));
    }
}
