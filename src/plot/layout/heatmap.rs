//! Cells in rows and columns.

use super::super::scale::Scale;
use super::super::scene::{Anchor, Mark, Rect, Scene, Text};
use super::super::text::{one_line, width};
use super::super::{Heatmap, Origin, PlotError};
use super::ticks::label_step;
use super::{LINE, Room, TICK_SIZE, cell_labels, colorbar, column_labels, finish, frame, y_tick};

const ANNOT_SIZE: f64 = 10.0;
/// No more than this many pixels of cells along either axis, however many cells there are.
const LONGEST: f64 = 4000.0;

/// Lays out `map`, which has been checked.
///
/// # Errors
/// Those of [`Scale::new`] and [`Heatmap::format`].
pub(in super::super) fn lay_out(map: &Heatmap, room: Room) -> Result<Scene, PlotError> {
    let scale = map.scale()?;
    let notes = if map.annot { Some(notes(map)?) } else { None };
    let grid = Grid::new(map, notes.as_deref(), room);
    let area = grid.area();

    let mut marks = cells(map, &grid, &scale);
    let spots = marks.iter().map(Mark::bounds).collect();
    marks.extend(frame(area));
    if let Some(notes) = &notes {
        marks.extend(annotations(map, &grid, &scale, notes));
    }
    marks.extend(column_labels(&map.cols, grid.n_cols, grid.cell.0, map.x_rotation, area));
    let (rows, _) = cell_labels(&map.rows, grid.n_rows);
    for (row, label) in rows.into_iter().enumerate().step_by(label_step(TICK_SIZE * LINE, grid.cell.1)) {
        marks.extend(y_tick(label, grid.at(row, 0).center().1, area));
    }
    colorbar::place(&scale, map.colors.label.as_deref(), area, &mut marks);
    Ok(finish(marks, spots, area, &map.titles, room))
}

/// The number or text in each cell, and how wide it is in em.
fn notes(map: &Heatmap) -> Result<Vec<Vec<(String, f64)>>, PlotError> {
    let format = map.format()?;
    let note = |text: &str| {
        let text = one_line(text);
        let em = width(&text, 1.0);
        (text, em)
    };
    if !map.texts.is_empty() {
        return Ok(map.texts.iter().map(|row| row.iter().map(|text| note(text)).collect()).collect());
    }
    let row = |row: &Vec<f32>| row.iter().map(|value| note(&format.write(*value))).collect();
    Ok(map.values.iter().map(row).collect())
}

/// The cells' places.
struct Grid {
    cell: (f64, f64),
    n_rows: usize,
    n_cols: usize,
    origin: Origin,
    /// The em of the notes in the cells.
    annot_size: f64,
}

impl Grid {
    fn new(map: &Heatmap, notes: Option<&[Vec<(String, f64)>]>, room: Room) -> Self {
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
        let natural = (fit(cell.0, n_cols), fit(cell.1, n_rows));
        let cell = match room.data {
            None => natural,
            // On paper cells keep their shape, as far as the labels of rows have room, and the notes take what they get.
            Some(width) => {
                let width = width / n_cols as f64;
                let least =
                    if map.rows.is_empty() { natural.1.min(4.0) } else { natural.1.min(TICK_SIZE * LINE) };
                (width, (natural.1 * width / natural.0).clamp(least, natural.1 * 2.0))
            }
        };
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{Colormap, Rgb};
    use super::super::testing::{assert_legible, texts};
    use super::*;

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
            if given[0] && map.annot { map.texts = vec![labels[..n_cols].to_vec(); n_rows] }
            let [title, x_title, y_title, cbar] = <[_; 4]>::try_from(titles).expect("four");
            (map.titles.title, map.titles.x, map.titles.y) = (title, x_title, y_title);
            (map.colors.label, map.x_rotation) = (cbar, x_rotation);
            assert_legible(&lay_out(&map, Room::FREE).expect("a layout"), map.annot);
        }
    }

    #[test]
    fn every_layer_and_token_of_a_usual_sweep_is_labelled() {
        let mut map = heatmap(30, 60);
        map.cols = (0..60).map(|i| format!("·token{i}")).collect();
        let scene = lay_out(&map, Room::FREE).expect("a layout");
        let turned = texts(&scene).iter().filter(|text| text.angle == -90.0).count();
        assert_eq!(turned, 60);
        let found = |label: &str| texts(&scene).iter().any(|text| text.content == label);
        assert!((0..30).all(|layer| found(&layer.to_string())));
    }

    #[test]
    fn many_labels_are_thinned_by_round_steps() {
        let scene = lay_out(&heatmap(1, 300), Room::FREE).expect("a layout");
        let level: Vec<_> = texts(&scene).iter().skip(1).take(3).map(|text| text.content.clone()).collect();
        assert_eq!(level, ["10", "20", "30"]);
    }

    #[test]
    fn the_origin_says_where_row_0_is() {
        let mut map = Heatmap::new(vec![vec![0.0], vec![1.0]]).expect("cells");
        map.colors.cmap = Colormap::from_colors(&["white", "black"]).expect("two colours");
        let first_row = |map: &Heatmap| match &lay_out(map, Room::FREE).expect("a layout").marks[..2] {
            [Mark::Fill(row_0, Rgb::WHITE), Mark::Fill(row_1, Rgb(0, 0, 0))] => row_0.top - row_1.top,
            other => panic!("{other:?}"),
        };
        assert_eq!(first_row(&map), -32.0);
        map.origin = Origin::Lower;
        assert_eq!(first_row(&map), 32.0);
    }
}
