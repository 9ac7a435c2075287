//! Draws a scene as SVG, one element a mark.
//!
//! Written out here rather than by plotters, whose SVG turns text in quarters only and rounds every place
//! to a whole pixel.

use std::fmt::{self, Write};

use super::Rgb;
use super::scene::{Anchor, Mark, Rect, Scene, Text};
use super::text::MIDDLE_TO_BASELINE;

/// The layout was measured with DejaVu Sans; Verdana is its twin in width, the others are narrower.
const FONTS: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// The complete document.
pub(super) fn draw(scene: &Scene) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write_scene(&mut svg, scene);
    svg
}

fn write_scene(svg: &mut String, scene: &Scene) -> fmt::Result {
    let Scene { width, height, marks } = scene;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="{FONTS}" shape-rendering="crispEdges">"#
    )?;
    write_fill(svg, &Rect::new(0.0, 0.0, *width, *height), Rgb::WHITE)?;
    for mark in marks {
        match mark {
            Mark::Fill(rect, color) => write_fill(svg, rect, *color)?,
            Mark::Text(text) => write_text(svg, text)?,
        }
    }
    writeln!(svg, "</svg>")
}

fn write_fill(svg: &mut String, rect: &Rect, color: Rgb) -> fmt::Result {
    let [x, y, width, height] = [rect.left, rect.top, rect.width(), rect.height()].map(rounded);
    writeln!(svg, r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="{color}"/>"#)
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
    // Spaces inside a label are part of it.
    write!(svg, r#" fill="{}" xml:space="preserve">"#, text.color)?;
    for c in text.content.chars() {
        match c {
            '<' => svg.push_str("&lt;"),
            '>' => svg.push_str("&gt;"),
            '&' => svg.push_str("&amp;"),
            c => svg.push(c),
        }
    }
    writeln!(svg, "</text>")
}

/// To a thousandth of a pixel, which keeps the file short.
fn rounded(length: f64) -> f64 {
    (length * 1000.0).round() / 1000.0
}
