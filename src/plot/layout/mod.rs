//! Where everything in a figure goes.
//!
//! What shows the data starts at the origin, and everything else is stacked outwards from it, each thing beyond
//! what is there already: ticks and their labels, the colour bar or legend, the axes' titles, the title. The
//! canvas is fitted around the result.
//!
//! One file a kind: `heatmap`, `chart`, `scatter` (with `labels`), `tokens`, `panels`. They share what is here: `ticks`,
//! `plane` (axes of numbers), `marker` (points and dashes), `colorbar` and `legend`.

pub(super) mod chart;
mod colorbar;
pub(super) mod heatmap;
mod labels;
mod legend;
mod marker;
pub(super) mod panels;
pub(super) mod plane;
pub(super) mod scatter;
#[cfg(test)]
mod testing;
pub(super) mod ticks;
pub(super) mod tokens;

use super::scene::{Anchor, Mark, Rect, Scene, Text};
use super::text::{one_line, width, wrap};
use super::{Rgb, Titles};
use ticks::label_step;

// Sizes of type, in CSS pixels.
const TICK_SIZE: f64 = 11.0;
const LABEL_SIZE: f64 = 12.0;
const TITLE_SIZE: f64 = 13.0;
/// From line to line of a wrapped text, in em.
const LINE: f64 = 1.25;
/// A tick mark, and the gap between it and its label.
const TICK: f64 = 4.0;
const TICK_PAD: f64 = 4.0;
/// Between an axis' labels and its title, and below the title of the figure.
const GAP: f64 = 8.0;
/// Between things that are placed independently of each other. Less than from the cells to the bar.
const CLEAR: f64 = 4.0;
const MARGIN: f64 = 12.0;
/// Titles may be this wide even where the data's area is narrower.
const TITLE_WIDTH: f64 = 360.0;
const AXIS_TITLE_LENGTH: f64 = 160.0;

/// How wide a figure may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    /// Of the data's area; what suits the data if `None`.
    pub data: Option<f64>,
    /// What titles may take where the figure is narrower.
    title: f64,
}

impl Room {
    pub const FREE: Self = Self { data: None, title: TITLE_WIDTH };
    /// Data in less than this could not be read.
    pub const NARROWEST: f64 = 40.0;

    /// The room in a figure of that width, as if nothing stood beside the data.
    pub fn within(width: f64) -> Self {
        let inner = width - 2.0 * MARGIN;
        Self { data: Some(inner), title: inner.min(TITLE_WIDTH) }
    }
}

/// Adds the titles around the data's `area` and what was placed beside it, and fits the canvas.
fn finish(mut marks: Vec<Mark>, spots: Vec<Rect>, area: Rect, titles: &Titles, room: Room) -> Scene {
    if let Some(title) = &titles.y {
        let lines = wrap(title, LABEL_SIZE, area.height().max(AXIS_TITLE_LENGTH));
        let (_, y) = area.center();
        let half = longest(&lines, LABEL_SIZE).max(area.height()) / 2.0;
        let right = beside(&marks, y - half, y + half).left - GAP;
        marks.extend(upward(&lines, right - LABEL_SIZE * LINE * lines.len() as f64, y));
    }
    if let Some(title) = &titles.x {
        let lines = wrap(title, LABEL_SIZE, area.width().max(AXIS_TITLE_LENGTH.min(room.title)));
        let (x, _) = area.center();
        let half = longest(&lines, LABEL_SIZE).max(area.width()) / 2.0;
        let top = above_or_below(&marks, x - half, x + half).bottom + GAP;
        marks.extend(level(&lines, x, top, LABEL_SIZE));
    }
    if let Some(title) = &titles.title {
        let all = bounds(&marks, |_| true);
        let lines = wrap(title, TITLE_SIZE, all.width().max(room.title));
        // Above the data where that stays within the figure, else as near to that as it goes.
        let half = longest(&lines, TITLE_SIZE) / 2.0;
        let (leftmost, rightmost) = (all.left + half, all.right - half);
        let x =
            if leftmost <= rightmost { area.center().0.clamp(leftmost, rightmost) } else { all.center().0 };
        let top = all.top - GAP - TITLE_SIZE * LINE * lines.len() as f64;
        marks.extend(level(&lines, x, top, TITLE_SIZE));
    }
    Scene::around(marks, spots, MARGIN)
}

/// A hairline around `area`, so that cells as white as the paper still have an edge.
fn frame(area: Rect) -> [Mark; 4] {
    let Rect { left, top, .. } = area;
    let (width, height) = (area.width(), area.height());
    [
        Rect::new(left - 1.0, top - 1.0, width + 2.0, 1.0),
        Rect::new(left - 1.0, area.bottom, width + 2.0, 1.0),
        Rect::new(left - 1.0, top, 1.0, height),
        Rect::new(area.right, top, 1.0, height),
    ]
    .map(|line| Mark::Fill(line, Rgb::INK))
}

/// The labels of `n` cells, and whether they are plain numbers; none given numbers the cells from 0.
pub(super) fn cell_labels(given: &[String], n: usize) -> (Vec<String>, bool) {
    if given.is_empty() {
        return ((0..n).map(|i| i.to_string()).collect(), true);
    }
    let labels: Vec<String> = given.iter().map(|label| one_line(label)).collect();
    let numbers = labels.iter().all(|label| label.parse::<f64>().is_ok());
    (labels, numbers)
}

/// Ticks and labels below `area` for `n` cells of width `cell`, the first at its left edge; `rotation` as in
/// [`Heatmap::x_rotation`](super::Heatmap).
fn column_labels(given: &[String], n: usize, cell: f64, rotation: Option<u16>, area: Rect) -> Vec<Mark> {
    let (labels, numbers) = cell_labels(given, n);
    let widest = longest(&labels, TICK_SIZE) + 8.0;
    let level_fits = numbers || widest <= cell;
    let degrees = rotation.unwrap_or(if level_fits { 0 } else { 90 });
    let (extent, anchor) = match degrees {
        0 => (widest, Anchor::Middle),
        45 => (TICK_SIZE * LINE * std::f64::consts::SQRT_2, Anchor::End),
        _ => (TICK_SIZE * LINE, Anchor::End),
    };
    let mut marks = Vec::new();
    for (col, label) in labels.into_iter().enumerate().step_by(label_step(extent, cell)) {
        let x = area.left + (col as f64 + 0.5) * cell;
        marks.push(x_tick(x, area));
        if !label.is_empty() {
            let text = Text::new(label, x, 0.0, anchor, TICK_SIZE).rotated(-f64::from(degrees));
            marks.push(below(text, area));
        }
    }
    marks
}

fn x_tick(x: f64, area: Rect) -> Mark {
    Mark::Fill(Rect::new(x - 0.5, area.bottom + 1.0, 1.0, TICK), Rgb::INK)
}

/// A tick's label, moved below its tick.
fn below(text: Text, area: Rect) -> Mark {
    Mark::Text(Text { y: area.bottom + 1.0 + TICK + TICK_PAD + text.y - text.bounds().top, ..text })
}

/// A tick left of `area` at `y`, with its label.
fn y_tick(label: String, y: f64, area: Rect) -> impl Iterator<Item = Mark> {
    let start = area.left - 1.0;
    let tick = Mark::Fill(Rect::new(start - TICK, y - 0.5, TICK, 1.0), Rgb::INK);
    let text = (!label.is_empty())
        .then(|| Mark::Text(Text::new(label, start - TICK - TICK_PAD, y, Anchor::End, TICK_SIZE)));
    std::iter::once(tick).chain(text)
}

/// The bounds of the marks that something between `top` and `bottom` could collide with.
fn beside(marks: &[Mark], top: f64, bottom: f64) -> Rect {
    bounds(marks, |rect| rect.top < bottom + CLEAR && rect.bottom > top - CLEAR)
}

/// The bounds of the marks that something between `left` and `right` could collide with.
fn above_or_below(marks: &[Mark], left: f64, right: f64) -> Rect {
    bounds(marks, |rect| rect.left < right + CLEAR && rect.right > left - CLEAR)
}

fn bounds(marks: &[Mark], counts: impl Fn(&Rect) -> bool) -> Rect {
    let counted = marks.iter().map(Mark::bounds).filter(counts);
    counted.reduce(Rect::union).unwrap_or(Rect::new(0.0, 0.0, 0.0, 0.0))
}

fn longest(lines: &[String], size: f64) -> f64 {
    lines.iter().map(|line| width(line, size)).fold(0.0, f64::max)
}

/// Lines below each other from `top`, centred on `x`.
fn level(lines: &[String], x: f64, top: f64, size: f64) -> Vec<Mark> {
    let place = |(i, line): (usize, &String)| {
        let y = top + size * LINE * (i as f64 + 0.5);
        Mark::Text(Text::new(line, x, y, Anchor::Middle, size))
    };
    lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).map(place).collect()
}

/// Lines that read upwards, beside each other from `left`, centred on `y`.
fn upward(lines: &[String], left: f64, y: f64) -> Vec<Mark> {
    let place = |(i, line): (usize, &String)| {
        let x = left + LABEL_SIZE * LINE * (i as f64 + 0.5);
        Mark::Text(Text::new(line, x, y, Anchor::Middle, LABEL_SIZE).rotated(-90.0))
    };
    lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).map(place).collect()
}
