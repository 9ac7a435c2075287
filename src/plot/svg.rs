//! Draws a scene as SVG, one element a mark.

use std::fmt::{self, Write};

use super::Rgb;
use super::scene::{Anchor, Mark, Path, Rect, Scene, Text};
use super::text::MIDDLE_TO_BASELINE;

/// The layout was measured with DejaVu Sans; Verdana is its twin in width, the others are narrower.
const FONTS: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// The complete document; a CSS pixel of the scene is `points` wide on paper, else as wide as it comes.
pub(super) fn draw(scene: &Scene, points: Option<f64>) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write_scene(&mut svg, scene, points);
    svg
}

fn write_scene(svg: &mut String, scene: &Scene, points: Option<f64>) -> fmt::Result {
    let Scene { width, height, marks, .. } = scene;
    let long = |pixels: &f64| match points {
        Some(points) => format!("{}pt", rounded(pixels * points)),
        None => pixels.to_string(),
    };
    // Spaces inside a label are part of it, hence `xml:space`.
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}" viewBox="0 0 {width} {height}" font-family="{FONTS}" shape-rendering="crispEdges" xml:space="preserve">"#,
        long(width),
        long(height),
    )?;
    write_fill(svg, &Rect::new(0.0, 0.0, *width, *height), Rgb::WHITE)?;
    for mark in marks {
        match mark {
            Mark::Fill(rect, color) => write_fill(svg, rect, *color)?,
            Mark::Stroke(path, width) => {
                let width = rounded(*width);
                let style = format!(
                    r#"fill="none" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round" stroke"#
                );
                write_path(svg, path, &style)?;
            }
            Mark::Area(path) => write_path(svg, path, "fill")?,
            Mark::Text(text) => write_text(svg, text)?,
        }
    }
    writeln!(svg, "</svg>")
}

fn write_fill(svg: &mut String, rect: &Rect, color: Rgb) -> fmt::Result {
    let [x, y, width, height] = [rect.left, rect.top, rect.width(), rect.height()].map(rounded);
    writeln!(svg, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{color}"/>"#)
}

/// `style` ends with the attribute that takes the colour.
fn write_path(svg: &mut String, path: &Path, style: &str) -> fmt::Result {
    svg.push_str("<path d=\"");
    for (i, (x, y)) in path.points.iter().enumerate() {
        write!(svg, "{}{} {}", if i == 0 { 'M' } else { 'L' }, rounded(*x), rounded(*y))?;
    }
    // Viewers draw round ends only around a line, be it of length 0.
    if path.points.len() == 1 {
        svg.push_str("h0");
    }
    // Unlike cells, slanted lines need their edges smoothed.
    write!(svg, r#"" shape-rendering="auto" {style}="{}""#, path.color)?;
    if path.opacity < 1.0 {
        write!(svg, r#" opacity="{}""#, path.opacity)?;
    }
    writeln!(svg, "/>")
}

fn write_text(svg: &mut String, text: &Text) -> fmt::Result {
    let [x, y, size, down, angle] =
        [text.x, text.y, text.size, text.size * MIDDLE_TO_BASELINE, text.angle].map(rounded);
    let anchor = match text.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    write!(svg, r#"<text x="{x}" y="{y}" dy="{down}" font-size="{size}" text-anchor="{anchor}""#)?;
    if angle != 0.0 {
        write!(svg, r#" transform="rotate({angle} {x} {y})""#)?;
    }
    write!(svg, r#" fill="{}">"#, text.color)?;
    writeln!(svg, "{}</text>", escaped(&text.content))
}

/// As content of an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// To a thousandth of a pixel, which keeps the file short.
pub(super) fn rounded(length: f64) -> f64 {
    (length * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::{Colormap, Figure, Format, Heatmap, render};

    fn svg(map: &Heatmap) -> String {
        String::from_utf8(render(&Figure::Heatmap(map.clone()), Format::Svg).expect("a picture"))
            .expect("utf-8")
    }

    #[test]
    fn cells_have_their_places_and_colours() {
        let mut map = Heatmap::new(vec![vec![-1.0, 0.0, f32::NAN], vec![0.5, 1.0, 1.0]]).expect("cells");
        map.colors.cmap = Colormap::parse("RdBu_r").expect("a known map");
        let svg = svg(&map);
        let fills: Vec<&str> = svg.lines().filter(|l| l.contains(r#"width="44" height="32""#)).collect();
        let expected = ["#053061", "#f7f7f7", "#cdcdcd", "#e58368", "#67001f", "#67001f"];
        assert_eq!(fills.len(), 6);
        assert!(fills.iter().zip(expected).all(|(fill, color)| fill.contains(color)), "{fills:#?}");
        let x = |fill: &str| fill.split('"').nth(1).and_then(|x| x.parse::<f64>().ok()).expect("a number");
        assert_eq!(x(fills[1]) - x(fills[0]), 44.0);
        assert_eq!(x(fills[3]), x(fills[0]));
    }

    #[test]
    fn texts_are_there_and_escaped() {
        let mut map = Heatmap::new(vec![vec![0.25, -3.0]]).expect("cells");
        map.cols = vec!["<|eot|>".into(), "a & b\u{1}".into()];
        map.rows = vec!["日本".into()];
        (map.titles.title, map.colors.label) = (Some("first\nsecond".into()), Some("effect".into()));
        map.annot = true;
        let numbers = svg(&map);
        map.texts = vec![vec!["·Rome".into(), "<b>".into()]];
        let texts = svg(&map);
        assert!(
            texts.contains(">·Rome</text>")
                && texts.contains(">&lt;b&gt;</text>")
                && !texts.contains("-3.00</text>")
        );
        let svg = numbers;
        for text in ["&lt;|eot|&gt;", "a &amp; b\\u{1}", "日本", "first", "second", "effect", "0.25", "-3.00"]
        {
            assert!(svg.contains(&format!(">{text}</text>")), "{text} in {svg}");
        }
    }
}
