//! A figure is plain data; a [`Format`] says which bytes it becomes.
//!
//! Every figure is first laid out as a scene of rectangles, lines and texts, in CSS pixels, and each format
//! then draws that one scene. So a PNG, an SVG and a page of a figure differ in sharpness and manners, not in
//! arrangement. Only the terminal, which has no pixels, draws the figure itself.
//! This is a leaf: it knows no model, no script, and no file name beyond an extension.
//!
//! In reading order: `figure` says what kinds there are and what they share; `heatmap`, `chart`, `scatter` and
//! `tokens` describe one each, `panels` several as one; `guides` is what planes of numbers have beside their data.
//! `colormap` (with `color`) and `scale` turn a value into a colour; `layout` places
//! everything, using `number` and `text`; `scene` is what it produces, and `paper` how large. `svg`, `png`, `pdf` (letters:
//! `outline`) and `html` draw that, and `terminal` draws in letters. What the embedded font lacks, `png` takes as `glyphs` from the machine's `fonts`.
//! `error` says what can be wrong with a figure. `examples`, `mixture` and `stack` are pages that are no figures: thousands of
//! texts, of a mixture's components, or of heatmaps, to look through.
//!
//! Why `svg` and `png` are not the back ends of plotters (0.3.7): these place everything on whole pixels. A line of more
//! than one pixel becomes a polygon with its corners there, thicker than asked for and with steps
//! (`docs/images/plotters_lines.png`: plotters left, ours right), without round ends and joints; texts turn by right angles
//! alone, so that labels at 45° are lost. Nor does `resvg` (0.49) draw our SVG: a heatmap of 300,000 cells takes it 3.2 s
//! and 457 MB, `png` 0.6 s and 83 MB, and letters would reach it as outlines of ours all the same.

mod chart;
mod color;
mod colormap;
mod error;
mod examples;
mod figure;
mod fonts;
mod glyphs;
mod guides;
mod heatmap;
mod html;
mod layout;
mod mixture;
mod number;
mod outline;
mod panels;
mod paper;
mod pdf;
mod png;
mod scale;
mod scatter;
mod scene;
mod stack;
mod svg;
mod terminal;
mod text;
mod tokens;

use std::path::Path;

use fonts::Fonts;

pub use chart::{Axis, Chart, Dash, MOST_BINS, Series, Style};
pub use color::Rgb;
pub use colormap::Colormap;
pub use error::PlotError;
pub use examples::{Example, Examples, Passage};
pub use figure::{Colors, Figure, MOST_CHARACTERS, MOST_MARKS, Records, Titles};
pub use fonts::VARIABLE as FONTS_VARIABLE;
pub use guides::Guides;
pub use heatmap::{Heatmap, Origin};
pub use mixture::{Component, Context, Mixture, Point};
pub use panels::Panels;
pub use paper::Paper;
pub use scatter::{PointColor, Scatter};
pub use stack::Stack;
pub use terminal::{Terminal, show};
pub use text::{TOKEN_LINE_BREAK, visible_token};
pub use tokens::TokenMap;

/// What a figure is rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A bitmap at two device pixels per CSS pixel, drawn with the embedded DejaVu Sans and, for what that lacks, fonts of
    /// the machine.
    Png,
    /// A vector picture with real `<text>`, drawn by the viewer's fonts.
    Svg,
    /// A page of a document, with letters as outlines.
    Pdf,
    /// A page around the vector picture that shows the values under the pointer.
    Html,
    /// No picture: the [`Records`] as comma-separated values with a header.
    Csv,
}

impl Format {
    /// The format that the extension of `path` names, in either case.
    ///
    /// # Errors
    /// [`PlotError::UnknownFormat`] if there is none, or another.
    pub fn from_path(path: &Path) -> Result<Self, PlotError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "png" => Ok(Self::Png),
            "svg" => Ok(Self::Svg),
            "pdf" => Ok(Self::Pdf),
            "html" => Ok(Self::Html),
            "csv" => Ok(Self::Csv),
            _ => Err(PlotError::UnknownFormat { path: path.display().to_string() }),
        }
    }
}

/// Draws `figure`; the bytes are a complete file.
///
/// # Errors
/// Whatever in the figure contradicts itself, as one [`PlotError`]; nothing is drawn then.
pub fn render(figure: &Figure, format: Format) -> Result<Vec<u8>, PlotError> {
    render_on(figure, format, &Paper::default())
}

/// The same in a size of its own.
///
/// # Errors
/// As [`render`], and sizes that no figure has, that its texts leave no room in, or of a page or table.
pub fn render_on(figure: &Figure, format: Format, paper: &Paper) -> Result<Vec<u8>, PlotError> {
    paper.check()?;
    if paper.says_something() && matches!(format, Format::Html | Format::Csv) {
        return Err(PlotError::NoPaper);
    }
    let scene = || match paper.pixels() {
        Some(width) => figure.lay_out_within(width),
        None => figure.lay_out(),
    };
    match format {
        Format::Svg => Ok(svg::draw(&scene()?, paper.says_something().then(|| paper.points())).into_bytes()),
        Format::Pdf => pdf::draw(&scene()?, paper.points(), Fonts::of_this_machine()),
        Format::Html => Ok(html::draw(figure, &scene()?).into_bytes()),
        Format::Png => png::draw(&scene()?, paper, Fonts::of_this_machine()),
        Format::Csv => figure.check().and_then(|()| figure.records().csv()),
    }
}

/// The characters that a bitmap of `figure` shows as boxes with their numbers, since no font of this machine has them.
pub fn undrawn(figure: &Figure) -> Vec<char> {
    let texts = figure.texts();
    glyphs::undrawn(texts.iter().map(String::as_str), Fonts::of_this_machine())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;

    #[test]
    fn the_extension_names_the_format() {
        assert_eq!(Format::from_path(Path::new("out/a.PNG")), Ok(Format::Png));
        assert_eq!(Format::from_path(Path::new("a.b.svg")), Ok(Format::Svg));
        assert_eq!(Format::from_path(Path::new("a.pdf")), Ok(Format::Pdf));
        for path in ["a.eps", "png", ""] {
            let error = Format::from_path(Path::new(path)).expect_err("not a figure format");
            assert!(error.help().expect("a cure").contains("`.svg`"), "{path}");
        }
    }
}
