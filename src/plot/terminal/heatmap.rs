//! A heatmap in letters.
//!
//! With colours a cell is half a line high, `▀` in the colours of two rows, or a whole line where the rows have
//! names. Without colours it is its number, or, where those are too wide, the digit of its tenth of the scale.
//! What is wider than the terminal goes on in further blocks below.

use std::ops::Range;

use console::measure_text_width;

use super::super::layout::{cell_labels, ticks::label_step};
use super::super::scale::Scale;
use super::super::{Heatmap, Origin, PlotError};
use super::{Terminal, painted, right_aligned, scale_line, short};

/// Characters a cell is wide where there is room.
const WIDEST_CELL: usize = 3;
/// Longer labels of columns are cut, since they stand upright.
const LONGEST_UPRIGHT: usize = 12;

pub(super) fn lines(map: &Heatmap, terminal: Terminal) -> Result<Vec<String>, PlotError> {
    let scale = map.scale()?;
    let (rows, numbered) = cell_labels(&map.rows, map.n_rows());
    let names = right_aligned(&rows);
    let room = terminal.width.saturating_sub(names.first().map_or(0, |name| measure_text_width(name)) + 1);
    let mut order: Vec<usize> = (0..map.n_rows()).collect();
    if map.origin == Origin::Lower {
        order.reverse();
    }
    if !terminal.color
        && let Some(lines) = numbers(map, &names, &order, room)?
    {
        return Ok(lines);
    }
    // Names are worth a line each; numbers can be counted on.
    let half = terminal.color && numbered;
    let cell = (room / map.n_cols()).clamp(1, WIDEST_CELL);
    let mut lines = Vec::new();
    let blank = " ".repeat(names.first().map_or(0, |name| measure_text_width(name)));
    for start in (0..map.n_cols()).step_by((room / cell).max(1)) {
        let cols = start..map.n_cols().min(start + room / cell);
        lines.extend(header(map, cols.clone(), cell).into_iter().map(|line| format!("{blank} {line}")));
        for rows in order.chunks(if half { 2 } else { 1 }) {
            let color = |row: usize, col: usize| scale.color(f64::from(map.values[row][col]));
            let draw = |col: usize| match *rows {
                [upper, lower] => painted(&"▀".repeat(cell), color(upper, col), Some(color(lower, col))),
                [row] if half => painted(&"▀".repeat(cell), color(row, col), None),
                [row] if terminal.color => painted(&"█".repeat(cell), color(row, col), None),
                [row] => format!("{:<cell$}", digit(&scale, f64::from(map.values[row][col]))),
                _ => String::new(),
            };
            let cells: String = cols.clone().map(draw).collect();
            lines.push(format!("{} {cells}", names[rows[0]]));
        }
    }
    lines.push(match terminal.color {
        true => scale_line(&scale, map.colors.label.as_deref()),
        false => {
            let missing = if scale.missing { ", ? = NaN" } else { "" };
            format!("0 = {}, 9 = {}{missing}", short(scale.vmin), short(scale.vmax))
        }
    });
    Ok(lines)
}

/// The tenth of the scale in which a value lies.
fn digit(scale: &Scale, value: f64) -> char {
    let tenth = (value.clamp(scale.vmin, scale.vmax) - scale.vmin) / (scale.vmax - scale.vmin) * 10.0;
    if value.is_nan() { '?' } else { char::from_digit(tenth.min(9.0) as u32, 10).unwrap_or('?') }
}

/// The columns' labels: level where they fit, numbers thinned, others letter below letter.
fn header(map: &Heatmap, cols: Range<usize>, cell: usize) -> Vec<String> {
    let (labels, numbers) = cell_labels(&map.cols, map.n_cols());
    let labels = &labels[cols];
    let widest = labels.iter().map(|label| measure_text_width(label)).max().unwrap_or(0);
    if numbers || widest < cell {
        let mut line = String::new();
        for (i, label) in labels.iter().enumerate().step_by(label_step((widest + 1) as f64, cell as f64)) {
            line.push_str(&" ".repeat((i * cell).saturating_sub(measure_text_width(&line))));
            line.push_str(label);
        }
        return vec![line];
    }
    let upright: Vec<Vec<char>> =
        labels.iter().map(|label| label.chars().take(LONGEST_UPRIGHT).collect()).collect();
    let height = upright.iter().map(Vec::len).max().unwrap_or(0);
    let letter = |line: usize, label: &Vec<char>| {
        let letter =
            (line + label.len()).checked_sub(height).and_then(|at| label.get(at)).copied().unwrap_or(' ');
        // A wide letter in a narrow cell would move all that follows.
        let shown = if measure_text_width(&letter.to_string()) > cell { '?' } else { letter };
        console::pad_str(&shown.to_string(), cell, console::Alignment::Left, None).into_owned()
    };
    (0..height).map(|line| upright.iter().map(|label| letter(line, label)).collect()).collect()
}

/// The numbers in columns; none if they do not fit into `room` characters.
fn numbers(
    map: &Heatmap,
    names: &[String],
    order: &[usize],
    room: usize,
) -> Result<Option<Vec<String>>, PlotError> {
    let format = map.format()?;
    let cells: Vec<Vec<String>> =
        map.values.iter().map(|row| row.iter().map(|value| format.write(*value)).collect()).collect();
    let (labels, _) = cell_labels(&map.cols, map.n_cols());
    let width = |col: usize| {
        cells
            .iter()
            .map(|row| &row[col])
            .chain([&labels[col]])
            .map(|text| measure_text_width(text))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..map.n_cols()).map(width).collect();
    if widths.iter().map(|width| width + 2).sum::<usize>() > room + 1 {
        return Ok(None);
    }
    let line = |name: &str, texts: &[String]| {
        let padded = texts.iter().zip(&widths).map(|(text, width)| {
            console::pad_str(text, *width, console::Alignment::Right, None).into_owned()
        });
        format!("{name} {}", padded.collect::<Vec<_>>().join("  "))
    };
    let blank = " ".repeat(names.first().map_or(0, |name| measure_text_width(name)));
    let body = order.iter().map(|row| line(&names[*row], &cells[*row]));
    Ok(Some(std::iter::once(line(&blank, &labels)).chain(body).collect()))
}
