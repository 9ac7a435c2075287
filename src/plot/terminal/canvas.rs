//! Lines and points in dots: braille letters, two dots wide and four high. Several series without colours get a
//! letter each instead.

use super::super::chart::{Axis, Chart};
use super::super::guides::along;
use super::super::layout::plane::{padded, range};
use super::super::scatter::Scatter;
use super::super::{PlotError, Rgb};
use super::{Terminal, painted, row_ticks, scale_line, short};

/// Lines that the area is high.
const HEIGHT: usize = 16;
const WIDEST: usize = 100;
/// For the labels of the vertical axis and the edge.
const LEFT: usize = 14;
/// What stands for a series where there are no colours.
const LETTERS: [char; 8] = ['o', 'x', '+', '*', '#', '@', '%', '&'];

/// Dots with an owner each.
struct Canvas {
    width: usize,
    x: (f64, f64),
    y: (f64, f64),
    /// A letter's dots as the bits of its braille pattern, and whose they are.
    cells: Vec<(u8, usize)>,
}

impl Canvas {
    fn new(terminal: Terminal, x: (f64, f64), y: (f64, f64)) -> Self {
        let width = terminal.width.saturating_sub(LEFT).min(WIDEST);
        Self { width, x, y, cells: vec![(0, 0); width * HEIGHT] }
    }

    /// The dot nearest to (x, y), counted from the top left.
    fn dot(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |value: f64, (low, high): (f64, f64), dots: usize| {
            ((value - low) / (high - low)).clamp(0.0, 1.0) * (dots - 1) as f64
        };
        (along(x, self.x, self.width * 2), (HEIGHT * 4 - 1) as f64 - along(y, self.y, HEIGHT * 4))
    }

    fn set(&mut self, (x, y): (f64, f64), owner: usize) {
        // The bits of a braille pattern, row by row of two dots.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (x, y) = (x.round() as usize, y.round() as usize);
        if let Some(cell) = self.cells.get_mut(y / 4 * self.width + x / 2) {
            *cell = (cell.0 | BITS[y % 4][x % 2], owner);
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), owner: usize) {
        let (from, to) = (self.dot(from.0, from.1), self.dot(to.0, to.1));
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let part = step as f64 / steps;
            self.set((from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part), owner);
        }
    }

    /// The lines, with ticks at the left and the ends of the horizontal axis below.
    fn draw(
        &self,
        letters: bool,
        color: impl Fn(usize) -> Option<Rgb>,
        (first, last): (&str, &str),
    ) -> Vec<String> {
        let ticks = row_ticks(self.y.0, self.y.1, HEIGHT);
        let letter = |(dots, owner): &(u8, usize)| {
            let letter = match dots {
                0 => return " ".to_owned(),
                _ if letters => LETTERS[owner % LETTERS.len()],
                dots => char::from_u32(0x2800 + u32::from(*dots)).unwrap_or('?'),
            };
            match color(*owner) {
                Some(color) => painted(&letter.to_string(), color, None),
                None => letter.to_string(),
            }
        };
        let rows = self.cells.chunks(self.width).zip(&ticks);
        let mut lines: Vec<String> = rows
            .map(|(row, tick)| format!("{tick} │{}", row.iter().map(letter).collect::<String>()))
            .collect();
        let blank = " ".repeat(ticks.first().map_or(0, |tick| tick.chars().count()));
        lines.push(format!("{blank} └{}", "─".repeat(self.width)));
        let between =
            self.width.saturating_sub(console::measure_text_width(first) + console::measure_text_width(last));
        lines.push(format!("{blank}  {first}{}{last}", " ".repeat(between)));
        lines
    }
}

/// A chart of lines.
pub(super) fn lines(chart: &Chart, terminal: Terminal) -> Vec<String> {
    let n = chart.series.first().map_or(0, |series| series.values.len());
    let (places, ends): (Vec<f64>, _) = match &chart.x {
        Axis::Numbers(places) => (places.clone(), None),
        Axis::Labels { labels, .. } => {
            ((0..n).map(|i| i as f64).collect(), labels.first().cloned().zip(labels.last().cloned()))
        }
    };
    let guides = &chart.guides;
    let ends_of = |ends: Option<(f64, f64)>, log| ends.map(|(low, high)| (along(low, log), along(high, log)));
    let places: Vec<f64> = places.into_iter().map(|x| along(x, guides.x_log)).collect();
    let y = |value: f64| along(value, guides.y_log);
    let x = ends_of(guides.xlim, guides.x_log).unwrap_or_else(|| range(places.iter().copied()));
    let heights = chart.series.iter().flat_map(|series| series.values.iter().map(|value| y(*value)));
    let ylim = ends_of(guides.ylim, guides.y_log);
    let mut canvas = Canvas::new(terminal, x, ylim.unwrap_or_else(|| range(heights)));
    for (owner, series) in chart.series.iter().enumerate() {
        for (i, value) in series.values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let next = series.values.get(i + 1).filter(|next| next.is_finite());
            match next.zip(places.get(i + 1)) {
                Some((next, place)) => canvas.line((places[i], y(*value)), (*place, y(*next)), owner),
                None => canvas.set(canvas.dot(places[i], y(*value)), owner),
            }
        }
    }
    let letters = !terminal.color && chart.series.len() > 1;
    let color =
        |owner: usize| terminal.color.then(|| chart.series.get(owner).map(|s| s.color(owner))).flatten();
    let (first, last) = ends.unwrap_or_else(|| (short(x.0), short(x.1)));
    let mut drawn = canvas.draw(letters, color, (&first, &last));
    let names = chart.series.iter().map(|series| &series.name).enumerate();
    drawn.extend(legend(names, terminal.color, |i| chart.series[i].color(i)));
    drawn
}

/// A scatter plot.
pub(super) fn points(scatter: &Scatter, terminal: Terminal) -> Result<Vec<String>, PlotError> {
    let along_all = |values: &[f64], log| values.iter().map(|value| along(*value, log)).collect::<Vec<f64>>();
    let xs = along_all(&scatter.x, scatter.guides.x_log);
    let ys = along_all(&scatter.y, scatter.guides.y_log);
    let (x, y) = (range(xs.iter().copied()), range(ys.iter().copied()));
    let (groups, group_of) = (scatter.groups(), scatter.group_of_each());
    let scale = scatter.scale()?;
    let mut canvas = Canvas::new(terminal, padded(x), padded(y));
    // With colours a dot is its point's, else its group's.
    let owner = |i: usize| if terminal.color { i } else { group_of.get(i).copied().unwrap_or(0) };
    for (i, (x, y)) in xs.iter().zip(&ys).enumerate() {
        canvas.set(canvas.dot(*x, *y), owner(i));
    }
    let color = |i: usize| {
        terminal.color.then(|| scatter.point_color(i, &group_of, scale.as_ref().map(|(scale, _)| scale)))
    };
    let (first, last) = (short(canvas.x.0), short(canvas.x.1));
    let mut drawn = canvas.draw(!terminal.color && groups.len() > 1, color, (&first, &last));
    drawn.extend(legend(groups.iter().copied().enumerate(), terminal.color, Rgb::nth));
    if terminal.color
        && let Some((scale, colors)) = &scale
    {
        drawn.push(scale_line(scale, colors.label.as_deref()));
    }
    Ok(drawn)
}

/// A line that says whose mark is whose; none if nothing has a name.
pub(super) fn legend<'a>(
    names: impl Iterator<Item = (usize, &'a String)>,
    color: bool,
    of: impl Fn(usize) -> Rgb,
) -> Option<String> {
    let entry = |(i, name): (usize, &String)| match color {
        true => format!("{} {name}", painted("█", of(i), None)),
        false => format!("{} {name}", LETTERS[i % LETTERS.len()]),
    };
    let entries: Vec<String> = names.filter(|(_, name)| !name.is_empty()).map(entry).collect();
    (!entries.is_empty()).then(|| entries.join("  "))
}
