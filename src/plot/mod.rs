//! A figure is plain data; a [`Format`] says which bytes it becomes.
//!
//! Every figure is first laid out as a scene of rectangles and texts, in CSS pixels, and each format then
//! draws that one scene. So a PNG and an SVG of a figure differ in sharpness, not in arrangement.
//! This is a leaf: it knows no model, no script, and no file name beyond an extension.
//!
//! In reading order: `heatmap` describes the figure; `colormap` (with `color`) and `scale` turn a value into
//! a colour; `layout` places everything, using `ticks`, `colorbar`, `number` and `text`; `scene` is what it
//! produces; `svg` and `png` draw it.

mod color;
mod colorbar;
mod colormap;
mod error;
mod heatmap;
mod layout;
mod number;
mod png;
mod scale;
mod scene;
mod svg;
mod text;
mod ticks;

use std::path::Path;

pub use color::Rgb;
pub use colormap::Colormap;
pub use error::PlotError;
pub use heatmap::{Heatmap, Origin};
pub use text::visible_token;

/// What a figure is rendered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A bitmap at two device pixels per CSS pixel, drawn with the embedded DejaVu Sans.
    Png,
    /// A vector picture with real `<text>`, drawn by the viewer's fonts.
    Svg,
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
            _ => Err(PlotError::UnknownFormat { path: path.display().to_string() }),
        }
    }
}

/// Draws `figure`; the bytes are a complete file.
///
/// # Errors
/// Whatever in the figure contradicts itself, as one [`PlotError`]; nothing is drawn then.
pub fn render(figure: &Heatmap, format: Format) -> Result<Vec<u8>, PlotError> {
    match format {
        Format::Svg => Ok(svg::draw(&layout::lay_out(figure)?).into_bytes()),
        // A bitmap has only the embedded font, so what that lacks is spelt out before anything is measured.
        Format::Png => png::draw(&layout::lay_out(&figure.map_text(text::spell_out_uncovered))?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_names_the_format() {
        assert_eq!(Format::from_path(Path::new("out/a.PNG")), Ok(Format::Png));
        assert_eq!(Format::from_path(Path::new("a.b.svg")), Ok(Format::Svg));
        for path in ["a.pdf", "png", ""] {
            let error = Format::from_path(Path::new(path)).expect_err("not a figure format");
            assert!(error.help().expect("a cure").contains("`.svg`"), "{path}");
        }
    }
}
