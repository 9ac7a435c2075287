//! Where everything in a heatmap goes.
//!
//! The cells start at the origin, and everything else is stacked outwards from them, each thing beyond what
//! is there already: ticks and their labels, the colour bar, the axes' titles, the title. The canvas is
//! fitted around the result.

use super::colorbar;
use super::number::NumberFormat;
use super::scale::Scale;
use super::scene::{Anchor, Mark, Rect, Scene, Text};
use super::text::{one_line, width, wrap};
use super::ticks::label_step;
use super::{Heatmap, Origin, PlotError, Rgb};

// Sizes of type, in CSS pixels.
pub(super) const TICK_SIZE: f64 = 11.0;
pub(super) const LABEL_SIZE: f64 = 12.0;
const TITLE_SIZE: f64 = 13.0;
const ANNOT_SIZE: f64 = 10.0;
/// From line to line of a wrapped text, in em.
const LINE: f64 = 1.25;
/// A tick mark, and the gap between it and its label.
pub(super) const TICK: f64 = 4.0;
pub(super) const TICK_PAD: f64 = 4.0;
/// Between an axis' labels and its title, and below the title of the figure.
const GAP: f64 = 8.0;
const MARGIN: f64 = 12.0;
/// Titles may be this wide even where the cells are narrower.
const TITLE_WIDTH: f64 = 360.0;
const AXIS_TITLE_LENGTH: f64 = 160.0;
/// No more than this many pixels of cells along either axis, however many cells there are.
const LONGEST: f64 = 4000.0;

/// Lays out `map`.
///
/// # Errors
/// Those of [`Heatmap::check`], [`Scale::new`] and [`NumberFormat::parse`].
pub(super) fn lay_out(map: &Heatmap) -> Result<Scene, PlotError> {
    map.check()?;
    let scale = Scale::new(map)?;
    let notes = if map.annot { Some(notes(map)?) } else { None };
    let grid = Grid::new(map, notes.as_deref());
    let area = grid.area();

    let mut marks = cells(map, &grid, &scale);
    marks.extend(frame(area));
    if let Some(notes) = &notes {
        marks.extend(annotations(map, &grid, &scale, notes));
    }
    let below = x_ticks(map, &grid, &mut marks);
    let left = y_ticks(map, &grid, &mut marks);

    colorbar::place(&scale, map.cbar.as_deref(), area, below, &mut marks);
    if let Some(title) = &map.y_title {
        let lines = wrap(title, LABEL_SIZE, area.height().max(AXIS_TITLE_LENGTH));
        let inner = if longest(&lines, LABEL_SIZE) <= area.height() { left } else { around(&marks) };
        let depth = LABEL_SIZE * LINE * lines.len() as f64;
        marks.extend(upward(&lines, inner.left - GAP - depth, area.center().1));
    }
    if let Some(title) = &map.x_title {
        let lines = wrap(title, LABEL_SIZE, area.width().max(AXIS_TITLE_LENGTH));
        let inner = if longest(&lines, LABEL_SIZE) <= area.width() { below } else { around(&marks) };
        marks.extend(level(&lines, area.center().0, inner.bottom + GAP, LABEL_SIZE));
    }
    if let Some(title) = &map.title {
        let all = around(&marks);
        let lines = wrap(title, TITLE_SIZE, all.width().max(TITLE_WIDTH));
        // Above the cells where that stays within the figure, else as near to that as it goes.
        let half = longest(&lines, TITLE_SIZE) / 2.0;
        let (leftmost, rightmost) = (all.left + half, all.right - half);
        let x =
            if leftmost <= rightmost { area.center().0.clamp(leftmost, rightmost) } else { all.center().0 };
        let top = all.top - GAP - TITLE_SIZE * LINE * lines.len() as f64;
        marks.extend(level(&lines, x, top, TITLE_SIZE));
    }
    Ok(Scene::around(marks, MARGIN))
}

/// The number in each cell, and how wide it is in em.
fn notes(map: &Heatmap) -> Result<Vec<Vec<(String, f64)>>, PlotError> {
    let format = NumberFormat::parse(&map.fmt)?;
    let note = |value: &f32| {
        let text = one_line(&format.write(*value));
        let em = width(&text, 1.0);
        (text, em)
    };
    Ok(map.values.iter().map(|row| row.iter().map(note).collect()).collect())
}

/// The cells' places.
struct Grid {
    cell: (f64, f64),
    n_rows: usize,
    n_cols: usize,
    origin: Origin,
    /// The em of the numbers in the cells.
    annot_size: f64,
}

impl Grid {
    fn new(map: &Heatmap, notes: Option<&[Vec<(String, f64)>]>) -> Self {
        let (n_rows, n_cols) = (map.n_rows(), map.n_cols());
        // Each label of up to 100 columns and 60 rows gets a line of its own; beyond that cells shrink.
        let side = |n: usize, room: f64, least: f64, most: f64, all_labels: f64| match n as f64 {
            n if n <= all_labels => (room / n).clamp(least, most),
            n => (least * all_labels / n).max(1.0),
        };
        let mut cell = (side(n_cols, 720.0, 14.0, 44.0, 100.0), side(n_rows, 480.0, 14.0, 32.0, 60.0));
        let widest = notes.into_iter().flatten().flatten().map(|(_, em)| *em).fold(0.0, f64::max);
        if notes.is_some() {
            cell = (cell.0.max(widest * ANNOT_SIZE + 8.0), cell.1.max(ANNOT_SIZE * 2.2));
        }
        let fit = |size: f64, n: usize| match size.min(LONGEST / n as f64) {
            size if size >= 8.0 => size.floor(),
            size => size,
        };
        let cell = (fit(cell.0, n_cols), fit(cell.1, n_rows));
        let annot_size = ANNOT_SIZE.min(cell.0 * 0.9 / widest.max(0.1)).min(cell.1 * 0.8);
        Self { cell, n_rows, n_cols, origin: map.origin, annot_size }
    }

    fn area(&self) -> Rect {
        Rect::new(0.0, 0.0, self.cell.0 * self.n_cols as f64, self.cell.1 * self.n_rows as f64)
    }

    fn at(&self, row: usize, col: usize) -> Rect {
        let from_top = match self.origin {
            Origin::Upper => row,
            Origin::Lower => self.n_rows - 1 - row,
        };
        Rect::new(col as f64 * self.cell.0, from_top as f64 * self.cell.1, self.cell.0, self.cell.1)
    }
}

fn cells(map: &Heatmap, grid: &Grid, scale: &Scale) -> Vec<Mark> {
    let mut marks = Vec::with_capacity(grid.n_rows * grid.n_cols);
    for (row, values) in map.values.iter().enumerate() {
        for (col, value) in values.iter().enumerate() {
            marks.push(Mark::Fill(grid.at(row, col), scale.color(f64::from(*value))));
        }
    }
    marks
}

fn annotations(map: &Heatmap, grid: &Grid, scale: &Scale, notes: &[Vec<(String, f64)>]) -> Vec<Mark> {
    let mut marks = Vec::with_capacity(grid.n_rows * grid.n_cols);
    for (row, (values, notes)) in map.values.iter().zip(notes).enumerate() {
        for (col, (value, (note, _))) in values.iter().zip(notes).enumerate() {
            let (x, y) = grid.at(row, col).center();
            let color = scale.color(f64::from(*value)).readable_ink();
            marks.push(Mark::Text(Text { color, ..Text::new(note, x, y, Anchor::Middle, grid.annot_size) }));
        }
    }
    marks
}

/// A hairline around `area`, so that cells as white as the paper still have an edge.
pub(super) fn frame(area: Rect) -> [Mark; 4] {
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

/// The labels of an axis of `n` cells, and whether they are plain numbers.
fn labels(given: &[String], n: usize) -> (Vec<String>, bool) {
    if given.is_empty() {
        return ((0..n).map(|i| i.to_string()).collect(), true);
    }
    let labels: Vec<String> = given.iter().map(|label| one_line(label)).collect();
    let numbers = labels.iter().all(|label| label.parse::<f64>().is_ok());
    (labels, numbers)
}

/// Adds the columns' ticks and labels; returns the bounds of cells and labels together.
fn x_ticks(map: &Heatmap, grid: &Grid, marks: &mut Vec<Mark>) -> Rect {
    let (labels, numbers) = labels(&map.cols, grid.n_cols);
    let widest = longest(&labels, TICK_SIZE) + 8.0;
    let level_fits = numbers || widest <= grid.cell.0;
    let degrees = map.x_rotation.unwrap_or(if level_fits { 0 } else { 90 });
    let (extent, anchor) = match degrees {
        0 => (widest, Anchor::Middle),
        45 => (TICK_SIZE * LINE * std::f64::consts::SQRT_2, Anchor::End),
        _ => (TICK_SIZE * LINE, Anchor::End),
    };
    let mut bounds = grid.area();
    let start = bounds.bottom + 1.0;
    for (col, label) in labels.into_iter().enumerate().step_by(label_step(extent, grid.cell.0)) {
        let (x, _) = grid.at(0, col).center();
        marks.push(Mark::Fill(Rect::new(x - 0.5, start, 1.0, TICK), Rgb::INK));
        if label.is_empty() {
            continue;
        }
        let text = Text::new(label, x, 0.0, anchor, TICK_SIZE).rotated(-f64::from(degrees));
        let text = Text { y: start + TICK + TICK_PAD - text.bounds().top, ..text };
        bounds = bounds.union(text.bounds());
        marks.push(Mark::Text(text));
    }
    bounds
}

/// Adds the rows' ticks and labels; returns the bounds of cells and labels together.
fn y_ticks(map: &Heatmap, grid: &Grid, marks: &mut Vec<Mark>) -> Rect {
    let (labels, _) = labels(&map.rows, grid.n_rows);
    let mut bounds = grid.area();
    let start = bounds.left - 1.0;
    for (row, label) in labels.into_iter().enumerate().step_by(label_step(TICK_SIZE * LINE, grid.cell.1)) {
        let (_, y) = grid.at(row, 0).center();
        marks.push(Mark::Fill(Rect::new(start - TICK, y - 0.5, TICK, 1.0), Rgb::INK));
        if label.is_empty() {
            continue;
        }
        let text = Text::new(label, start - TICK - TICK_PAD, y, Anchor::End, TICK_SIZE);
        bounds = bounds.union(text.bounds());
        marks.push(Mark::Text(text));
    }
    bounds
}

/// The bounds of what is there already.
pub(super) fn around(marks: &[Mark]) -> Rect {
    marks.iter().map(Mark::bounds).reduce(Rect::union).unwrap_or(Rect::new(0.0, 0.0, 0.0, 0.0))
}

pub(super) fn longest(lines: &[String], size: f64) -> f64 {
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
pub(super) fn upward(lines: &[String], left: f64, y: f64) -> Vec<Mark> {
    let place = |(i, line): (usize, &String)| {
        let x = left + LABEL_SIZE * LINE * (i as f64 + 0.5);
        Mark::Text(Text::new(line, x, y, Anchor::Middle, LABEL_SIZE).rotated(-90.0))
    };
    lines.iter().enumerate().filter(|(_, line)| !line.is_empty()).map(place).collect()
}
