//! Bars that lie on their side, one a line.

use console::{measure_text_width, pad_str};

use super::super::chart::{Axis, Chart, Style};
use super::super::layout::plane::range;
use super::super::text::one_line;
use super::{Terminal, canvas::legend, painted, right_aligned, short};

pub(super) fn lines(chart: &Chart, terminal: Terminal) -> Vec<String> {
    let label = |i: usize| match &chart.x {
        Axis::Labels { labels, .. } => labels.get(i).map_or_else(|| i.to_string(), |label| one_line(label)),
        Axis::Numbers(edges) if chart.style == Style::Bins => {
            let edge = |i: usize| edges.get(i).map(|edge| short(*edge)).unwrap_or_default();
            format!("{} to {}", edge(i), edge(i + 1))
        }
        Axis::Numbers(places) => places.get(i).map(|place| short(*place)).unwrap_or_default(),
    };
    let n = chart.series.first().map_or(0, |series| series.values.len());
    let labels = right_aligned(&(0..n).map(label).collect::<Vec<_>>());
    let values = chart.series.iter().flat_map(|series| series.values.iter().copied());
    let (low, high) = range(values.clone().chain([0.0]));
    let widest = values.map(|value| short(value).len()).max().unwrap_or(0);
    let taken = labels.first().map_or(0, |label| measure_text_width(label)) + widest + 3;
    let room = terminal.width.saturating_sub(taken).max(10);
    let place = |value: f64| ((value - low) / (high - low) * room as f64).round() as usize;
    let several = chart.series.len() > 1;
    let mut lines = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        for (owner, series) in chart.series.iter().enumerate() {
            let value = series.values[i];
            let (from, to) = match value.is_finite() {
                true => (place(value.min(0.0)), place(value.max(0.0))),
                false => (place(0.0), place(0.0)),
            };
            let bar = "█".repeat(to - from);
            let bar = if terminal.color { painted(&bar, series.color(owner), None) } else { bar };
            let name = if owner == 0 { label.clone() } else { " ".repeat(measure_text_width(label)) };
            let bar = format!("{}{bar}", " ".repeat(from));
            let bar = pad_str(&bar, room, console::Alignment::Left, None);
            // Without colours the series of a label are told apart by their names.
            let whose = if several && !terminal.color { format!(" {}", series.name) } else { String::new() };
            lines.push(format!("{name} {bar} {}{whose}", short(value)));
        }
    }
    let names = chart.series.iter().map(|series| &series.name).enumerate();
    lines.extend(terminal.color.then(|| legend(names, true, |i| chart.series[i].color(i))).flatten());
    lines
}
