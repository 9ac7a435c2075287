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
/// Between things that are placed independently of each other. Less than from the cells to the bar.
const CLEAR: f64 = 4.0;
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
    marks.extend(x_ticks(map, &grid));
    marks.extend(y_ticks(map, &grid));
    colorbar::place(&scale, map.cbar.as_deref(), area, &mut marks);
    if let Some(title) = &map.y_title {
        let lines = wrap(title, LABEL_SIZE, area.height().max(AXIS_TITLE_LENGTH));
        let (_, y) = area.center();
        let half = longest(&lines, LABEL_SIZE).max(area.height()) / 2.0;
        let right = beside(&marks, y - half, y + half).left - GAP;
        marks.extend(upward(&lines, right - LABEL_SIZE * LINE * lines.len() as f64, y));
    }
    if let Some(title) = &map.x_title {
        let lines = wrap(title, LABEL_SIZE, area.width().max(AXIS_TITLE_LENGTH));
        let (x, _) = area.center();
        let half = longest(&lines, LABEL_SIZE).max(area.width()) / 2.0;
        let top = above_or_below(&marks, x - half, x + half).bottom + GAP;
        marks.extend(level(&lines, x, top, LABEL_SIZE));
    }
    if let Some(title) = &map.title {
        let all = bounds(&marks, |_| true);
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
        let side = |n: usize, room: f64, most: f64, all_labels: f64| match n as f64 {
            n if n <= all_labels => (room / n).clamp(14.0, most),
            n => (14.0 * all_labels / n).max(1.0),
        };
        let mut cell = (side(n_cols, 720.0, 44.0, 100.0), side(n_rows, 480.0, 32.0, 60.0));
        // A figure of a few cells should still look like one.
        cell = (cell.0.max(120.0 / n_cols as f64), cell.1.max(48.0 / n_rows as f64));
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

/// The columns' ticks and labels.
fn x_ticks(map: &Heatmap, grid: &Grid) -> Vec<Mark> {
    let (labels, numbers) = labels(&map.cols, grid.n_cols);
    let widest = longest(&labels, TICK_SIZE) + 8.0;
    let level_fits = numbers || widest <= grid.cell.0;
    let degrees = map.x_rotation.unwrap_or(if level_fits { 0 } else { 90 });
    let (extent, anchor) = match degrees {
        0 => (widest, Anchor::Middle),
        45 => (TICK_SIZE * LINE * std::f64::consts::SQRT_2, Anchor::End),
        _ => (TICK_SIZE * LINE, Anchor::End),
    };
    let start = grid.area().bottom + 1.0;
    let mut marks = Vec::new();
    for (col, label) in labels.into_iter().enumerate().step_by(label_step(extent, grid.cell.0)) {
        let (x, _) = grid.at(0, col).center();
        marks.push(Mark::Fill(Rect::new(x - 0.5, start, 1.0, TICK), Rgb::INK));
        if label.is_empty() {
            continue;
        }
        let text = Text::new(label, x, 0.0, anchor, TICK_SIZE).rotated(-f64::from(degrees));
        let text = Text { y: start + TICK + TICK_PAD - text.bounds().top, ..text };
        marks.push(Mark::Text(text));
    }
    marks
}

/// The rows' ticks and labels.
fn y_ticks(map: &Heatmap, grid: &Grid) -> Vec<Mark> {
    let (labels, _) = labels(&map.rows, grid.n_rows);
    let start = grid.area().left - 1.0;
    let mut marks = Vec::new();
    for (row, label) in labels.into_iter().enumerate().step_by(label_step(TICK_SIZE * LINE, grid.cell.1)) {
        let (_, y) = grid.at(row, 0).center();
        marks.push(Mark::Fill(Rect::new(start - TICK, y - 0.5, TICK, 1.0), Rgb::INK));
        if label.is_empty() {
            continue;
        }
        marks.push(Mark::Text(Text::new(label, start - TICK - TICK_PAD, y, Anchor::End, TICK_SIZE)));
    }
    marks
}

/// The bounds of the marks that something between `top` and `bottom` could collide with.
pub(super) fn beside(marks: &[Mark], top: f64, bottom: f64) -> Rect {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Colormap;
    use super::*;

    fn texts(scene: &Scene) -> Vec<&Text> {
        let marks = scene.marks.iter();
        marks
            .filter_map(|mark| match mark {
                Mark::Text(text) => Some(text),
                Mark::Fill(..) => None,
            })
            .collect()
    }

    type Corners = [(f64, f64); 4];

    fn corners(mark: &Mark) -> Corners {
        match mark {
            Mark::Fill(Rect { left, top, right, bottom }, _) => {
                [(*left, *top), (*right, *top), (*right, *bottom), (*left, *bottom)]
            }
            Mark::Text(text) => text.corners(),
        }
    }

    /// Whether two turned boxes share more than an edge: no side of either separates them.
    fn overlap(a: &Corners, b: &Corners) -> bool {
        let range = |corners: &Corners, (x, y): (f64, f64)| {
            let along = corners.map(|(cx, cy)| cx * x + cy * y);
            (along.into_iter().fold(f64::MAX, f64::min), along.into_iter().fold(f64::MIN, f64::max))
        };
        [a, b].into_iter().flat_map(|c| [(c[0], c[1]), (c[1], c[2])]).all(|((x0, y0), (x1, y1))| {
            let length = (x1 - x0).hypot(y1 - y0);
            let axis = ((x1 - x0) / length, (y1 - y0) / length);
            let ((low_a, high_a), (low_b, high_b)) = (range(a, axis), range(b, axis));
            high_a > low_b + 0.01 && high_b > low_a + 0.01
        })
    }

    /// Everything is on the canvas, and no text meets another or, but for the numbers in the cells, anything.
    fn assert_legible(scene: &Scene, annot: bool) {
        for mark in &scene.marks {
            let Rect { left, top, right, bottom } = mark.bounds();
            assert!(left >= 0.0 && top >= 0.0 && right <= scene.width && bottom <= scene.height, "{mark:?}");
        }
        let boxes: Vec<Corners> = scene.marks.iter().map(corners).collect();
        for (i, mark) in scene.marks.iter().enumerate().filter(|(_, mark)| matches!(mark, Mark::Text(_))) {
            for (j, other) in scene.marks.iter().enumerate().filter(|(j, _)| *j != i) {
                let counts = !annot || matches!(other, Mark::Text(_));
                assert!(!(counts && overlap(&boxes[i], &boxes[j])), "{mark:?}\n{other:?}");
            }
        }
    }

    fn heatmap(n_rows: usize, n_cols: usize) -> Heatmap {
        let value = |r: usize, c: usize| ((r * 7 + c * 3) % 11) as f32 - 4.0;
        Heatmap::new((0..n_rows).map(|r| (0..n_cols).map(|c| value(r, c)).collect()).collect())
            .expect("cells")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_cut_or_overlaps(
            (n_rows, n_cols) in (prop_oneof![1usize..5, 1usize..80], prop_oneof![1usize..5, 1usize..150]),
            labels in prop::collection::vec("[a-zA-Z·<|>_ ]{0,20}", 150),
            given in any::<[bool; 3]>(),
            titles in prop::collection::vec(prop::option::of("[a-z ]{1,30}( [a-z]{1,30}){0,4}\n?[a-z]{0,9}"), 4),
            x_rotation in prop::sample::select(vec![None, Some(0), Some(45), Some(90)]),
        ) {
            let mut map = heatmap(n_rows, n_cols);
            if given[0] { map.rows = labels[..n_rows].to_vec() }
            if given[1] { map.cols = labels[..n_cols].to_vec() }
            map.annot = given[2] && n_rows * n_cols < 400;
            let [title, x_title, y_title, cbar] = <[_; 4]>::try_from(titles).expect("four");
            (map.title, map.x_title, map.y_title, map.cbar, map.x_rotation) = (title, x_title, y_title, cbar, x_rotation);
            assert_legible(&lay_out(&map).expect("a layout"), map.annot);
        }
    }

    #[test]
    fn every_layer_and_token_of_a_usual_sweep_is_labelled() {
        let mut map = heatmap(30, 60);
        map.cols = (0..60).map(|i| format!("·token{i}")).collect();
        let scene = lay_out(&map).expect("a layout");
        let turned = texts(&scene).iter().filter(|text| text.angle == -90.0).count();
        assert_eq!(turned, 60);
        let found = |label: &str| texts(&scene).iter().any(|text| text.content == label);
        assert!((0..30).all(|layer| found(&layer.to_string())));
    }

    #[test]
    fn many_labels_are_thinned_by_round_steps() {
        let scene = lay_out(&heatmap(1, 300)).expect("a layout");
        let level: Vec<_> = texts(&scene).iter().skip(1).take(3).map(|text| text.content.clone()).collect();
        assert_eq!(level, ["10", "20", "30"]);
    }

    #[test]
    fn the_origin_says_where_row_0_is() {
        let mut map = Heatmap::new(vec![vec![0.0], vec![1.0]]).expect("cells");
        map.cmap = Colormap::from_colors(&["white", "black"]).expect("two colours");
        let first_row = |map: &Heatmap| match &lay_out(map).expect("a layout").marks[..2] {
            [Mark::Fill(row_0, Rgb::WHITE), Mark::Fill(row_1, Rgb(0, 0, 0))] => row_0.top - row_1.top,
            other => panic!("{other:?}"),
        };
        assert_eq!(first_row(&map), -32.0);
        map.origin = Origin::Lower;
        assert_eq!(first_row(&map), 32.0);
    }
}
