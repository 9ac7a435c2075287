//! Draws a figure in letters: with 24-bit colours where the terminal has them, else in plain text.
//!
//! `heatmap` draws cells as half blocks, digits or numbers; `canvas` draws lines and points in dots, `bars` bars.

mod bars;
mod canvas;
mod heatmap;

use console::{measure_text_width, pad_str, truncate_str};

use super::chart::Style;
use super::layout::ticks::nice_ticks;
use super::number::NumberFormat;
use super::scale::Scale;
use super::text::one_line;
use super::tokens::TokenMap;
use super::{Figure, PlotError, Rgb, TOKEN_LINE_BREAK, Titles};

/// What is drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Whether 24-bit colours may be used.
    pub color: bool,
    /// Characters in a line.
    pub width: usize,
}

/// Narrower terminals are drawn on as if they had this many characters a line.
const NARROWEST: usize = 40;
/// Longer labels of rows and bars are cut.
const LONGEST_LABEL: usize = 20;

/// `figure` as lines of text, without the last line break. Error bands and labels of points are left out.
///
/// # Errors
/// As [`render`](super::render).
pub fn show(figure: &Figure, terminal: Terminal) -> Result<String, PlotError> {
    figure.check()?;
    let terminal = Terminal { width: terminal.width.max(NARROWEST), ..terminal };
    let (titles, body) = match figure {
        Figure::Panels(panels) => {
            let shown = panels.figures.iter().map(|figure| show(figure, terminal));
            let shown = panels.title.iter().map(|title| Ok(one_line(title))).chain(shown);
            return Ok(shown.collect::<Result<Vec<_>, _>>()?.join("\n\n"));
        }
        Figure::Heatmap(map) => (&map.titles, heatmap::lines(map, terminal)?),
        Figure::Chart(chart) if chart.style == Style::Lines => {
            (&chart.titles, canvas::lines(chart, terminal))
        }
        Figure::Chart(chart) => (&chart.titles, bars::lines(chart, terminal)),
        Figure::Scatter(scatter) => (&scatter.titles, canvas::points(scatter, terminal)?),
        Figure::Tokens(map) => (&map.titles, tokens(map, terminal)?),
    };
    let logs = match figure {
        Figure::Chart(chart) => [chart.guides.x_log, chart.guides.y_log],
        Figure::Scatter(scatter) => [scatter.guides.x_log, scatter.guides.y_log],
        _ => [false; 2],
    };
    let title = titles.title.iter().flat_map(|title| title.lines()).map(one_line);
    let lines: Vec<String> = title.chain(body).chain(axes(titles, logs)).collect();
    Ok(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// A line with the axes' titles, and which of them count in powers of ten.
fn axes(titles: &Titles, logs: [bool; 2]) -> Option<String> {
    let named = [("x", &titles.x), ("y", &titles.y)];
    let parts = named.into_iter().zip(logs).filter_map(|((axis, title), log)| match (title, log) {
        (Some(title), false) => Some(format!("{axis}: {}", one_line(title))),
        (Some(title), true) => Some(format!("{axis}: log10 of {}", one_line(title))),
        (None, true) => Some(format!("{axis}: log10")),
        (None, false) => None,
    });
    let parts: Vec<String> = parts.collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn tokens(map: &TokenMap, terminal: Terminal) -> Result<Vec<String>, PlotError> {
    let scale = map.scale()?;
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for (i, (token, value)) in map.tokens.iter().zip(&map.values).enumerate() {
        let token = one_line(token);
        if map.starts.contains(&i) && used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        let ends_line = token.ends_with(TOKEN_LINE_BREAK);
        let color = scale.color(f64::from(*value));
        let text = match terminal.color {
            true => token,
            false => format!("{token} ({}) ", short(f64::from(*value))),
        };
        let width = measure_text_width(&text);
        if used > 0 && used + width > terminal.width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        line += &if terminal.color { painted(&text, color.readable_ink(), Some(color)) } else { text };
        used += width;
        if ends_line {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
    }
    lines.push(line);
    lines.extend(terminal.color.then(|| scale_line(&scale, map.colors.label.as_deref())));
    Ok(lines)
}

/// The colours of a scale between the values at its ends.
fn scale_line(scale: &Scale, label: Option<&str>) -> String {
    const STEPS: usize = 24;
    let mut line = format!("{} ", short(scale.vmin));
    for i in 0..STEPS {
        let value = scale.vmin + (scale.vmax - scale.vmin) * (i as f64 + 0.5) / STEPS as f64;
        line += &painted("█", scale.color(value), None);
    }
    line += &format!(" {}", short(scale.vmax));
    if scale.missing {
        line += &format!("  {} NaN", painted("█", Rgb::MISSING, None));
    }
    match label {
        Some(label) => format!("{line}  {}", one_line(label)),
        None => line,
    }
}

/// `text` in a colour, on another.
fn painted(text: &str, Rgb(r, g, b): Rgb, on: Option<Rgb>) -> String {
    let on = on.map(|Rgb(r, g, b)| format!("\x1b[48;2;{r};{g};{b}m")).unwrap_or_default();
    format!("\x1b[38;2;{r};{g};{b}m{on}{text}\x1b[0m")
}

/// A number in at most four digits, or with an exponent.
fn short(value: f64) -> String {
    // The format is part of the program, and a test would show that it is wrong.
    NumberFormat::parse("{:.4g}").map_or_else(|_| value.to_string(), |format| format.write(value as f32))
}

/// Labels cut and padded on the left to one width.
fn right_aligned(labels: &[String]) -> Vec<String> {
    let cut = |label: &String| truncate_str(label, LONGEST_LABEL, "…").into_owned();
    let labels: Vec<String> = labels.iter().map(cut).collect();
    let width = labels.iter().map(|label| measure_text_width(label)).max().unwrap_or(0);
    let pad = |label: &String| pad_str(label, width, console::Alignment::Right, None).into_owned();
    labels.iter().map(pad).collect()
}

/// Round numbers on `rows` lines from `high` down to `low`, right-aligned; blank where there is none.
fn row_ticks(low: f64, high: f64, rows: usize) -> Vec<String> {
    let mut labels = vec![String::new(); rows];
    for (value, text) in nice_ticks(low, high, rows / 4) {
        let row = ((high - value) / (high - low) * (rows - 1) as f64).round() as usize;
        labels[row.min(rows - 1)] = text;
    }
    right_aligned(&labels)
}

#[cfg(test)]
mod tests {
    use super::super::{Axis, Chart, Colors, Heatmap, PointColor, Scatter, Series};
    use super::*;

    const PLAIN: Terminal = Terminal { color: false, width: 60 };
    const COLOR: Terminal = Terminal { color: true, width: 60 };

    fn shown(figure: Figure, terminal: Terminal) -> String {
        show(&figure, terminal).expect("a drawing")
    }

    #[test]
    fn a_small_heatmap_is_a_table_of_numbers() {
        let mut map = Heatmap::new(vec![vec![0.5, -1.25], vec![f32::NAN, 2.0]]).expect("cells");
        map.cols = vec!["·John".into(), "b".into()];
        map.titles.title = Some("effect".into());
        map.titles.y = Some("layer".into());
        let expected = "effect\n  ·John      b\n0  0.50  -1.25\n1   nan   2.00\ny: layer";
        assert_eq!(shown(Figure::Heatmap(map.clone()), PLAIN), expected);
        map.origin = super::super::Origin::Lower;
        let lower = "effect\n  ·John      b\n1   nan   2.00\n0  0.50  -1.25\ny: layer";
        assert_eq!(shown(Figure::Heatmap(map), PLAIN), lower);
    }

    #[test]
    fn a_wide_heatmap_is_digits_under_upright_labels() {
        let values = (0..3).map(|r| (0..30).map(|c| (r * 30 + c) as f32).collect()).collect();
        let mut map = Heatmap::new(values).expect("cells");
        map.cols = (0..30).map(|c| if c == 2 { "ab".into() } else { "x".into() }).collect();
        let text = shown(Figure::Heatmap(map), PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "    a");
        assert_eq!(lines[1], format!("  {}b{}", "xx", "x".repeat(27)));
        assert_eq!(lines[2].chars().take(6).collect::<String>(), "0 0000");
        assert!(lines[4].ends_with('9'), "{text}");
        assert_eq!(lines[5], "0 = 0, 9 = 89");
    }

    #[test]
    fn two_rows_share_a_line_of_half_blocks() {
        let mut map = Heatmap::new(vec![vec![0.0], vec![1.0], vec![0.5]]).expect("cells");
        map.colors.cmap = super::super::Colormap::from_colors(&["#000000", "#ffffff"]).expect("two colours");
        let text = shown(Figure::Heatmap(map), COLOR);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("\x1b[38;2;0;0;0m\x1b[48;2;255;255;255m▀"), "{text:?}");
        assert!(lines[2].contains("\x1b[38;2;128;128;128m▀"), "{text:?}");
        assert_eq!(console::strip_ansi_codes(lines[1]).trim_end_matches('▀'), "0 ");
    }

    #[test]
    fn lines_rise_and_bars_have_their_lengths() {
        let series = |name: &str, values: &[f64]| Series {
            name: name.into(),
            color: None,
            values: values.to_vec(),
            errors: vec![],
            dash: Default::default(),
        };
        let chart = |style, x, series| Chart {
            style,
            x,
            series,
            titles: Titles::default(),
            guides: Default::default(),
            x_rotation: None,
        };
        let x = Axis::Numbers(vec![0.0, 1.0, 2.0]);
        let text = shown(Figure::Chart(chart(Style::Lines, x, vec![series("", &[0.0, 1.0, 2.0])])), PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        let first = |line: &str| line.chars().position(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
        assert!(first(lines[0]) > first(lines[8]) && first(lines[8]) > first(lines[15]), "{text}");

        let x = Axis::Labels { n: 2, labels: vec!["one".into(), "two".into()] };
        let text = shown(Figure::Chart(chart(Style::Bars, x, vec![series("", &[2.0, -1.0])])), PLAIN);
        let bars: Vec<usize> = text.lines().map(|line| line.matches('█').count()).collect();
        assert!(bars[1] > 10 && bars[0].abs_diff(2 * bars[1]) <= 1, "{text}");
        assert!(text.contains("one") && text.contains("-1"), "{text}");
    }

    #[test]
    fn points_and_tokens_are_shown() {
        let scatter = Scatter {
            x: vec![0.0, 1.0],
            y: vec![0.0, 1.0],
            labels: vec![],
            max_labels: 0,
            color: PointColor::Same(Rgb::nth(0)),
            size: 5.0,
            x_errors: vec![],
            y_errors: vec![],
            guides: Default::default(),
            titles: Titles::default(),
        };
        let dots = shown(Figure::Scatter(scatter), PLAIN);
        assert_eq!(dots.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count(), 2, "{dots}");
        let map = TokenMap {
            tokens: vec!["·a".into(), "⏎".into(), "b".into()],
            values: vec![0.5, 1.0, f32::NAN],
            starts: vec![],
            titles: Titles::default(),
            colors: Colors::default(),
        };
        assert_eq!(shown(Figure::Tokens(map.clone()), PLAIN), "·a (0.5) ⏎ (1)\nb (nan)");
        assert!(shown(Figure::Tokens(map), COLOR).contains("m·a\x1b[0m"));
    }
}
