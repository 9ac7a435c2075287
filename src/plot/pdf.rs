//! Draws a scene as a PDF page of its size. Letters are outlines, so that no reader needs a font.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{LineCapStyle, LineJoinStyle};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect as Box, Ref};
use ttf_parser::OutlineBuilder;

use super::fonts::Fonts;
use super::outline;
use super::scene::{Mark, Path, Rect, Scene};
use super::{PlotError, Rgb};

/// The complete file; a CSS pixel of the scene is `points` wide.
///
/// # Errors
/// [`PlotError::Encode`].
pub(super) fn draw(scene: &Scene, points: f64, fonts: &Fonts) -> Result<Vec<u8>, PlotError> {
    let [catalog, pages, page, content] = [1, 2, 3, 4].map(Ref::new);
    let (drawn, opacities) = drawn(scene, points, fonts);
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = deflate.write_all(&drawn).and_then(|()| deflate.finish());
    let packed = packed.map_err(|error| PlotError::Encode(error.to_string()))?;

    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([page]).count(1);
    let mut sheet = pdf.page(page);
    sheet.parent(pages).contents(content);
    sheet.media_box(Box::new(0.0, 0.0, (scene.width * points) as f32, (scene.height * points) as f32));
    let mut resources = sheet.resources();
    let mut states = resources.ext_g_states();
    for (percent, name) in &opacities {
        let part = f32::from(*percent) / 100.0;
        states
            .insert(Name(name.as_bytes()))
            .start::<pdf_writer::writers::ExtGraphicsState>()
            .non_stroking_alpha(part)
            .stroking_alpha(part);
    }
    states.finish();
    resources.finish();
    sheet.finish();
    pdf.stream(content, &packed).filter(Filter::FlateDecode);
    Ok(pdf.finish())
}

/// Opacities in percent, and what the page calls them.
type Opacities = BTreeMap<u8, String>;

fn drawn(scene: &Scene, points: f64, fonts: &Fonts) -> (Vec<u8>, Opacities) {
    let mut opacities = Opacities::from([(100, "a100".to_owned())]);
    let mut page = Content::new();
    // Points, and y downwards from the top.
    let scale = points as f32;
    page.transform([scale, 0.0, 0.0, -scale, 0.0, (scene.height * points) as f32]);
    page.set_line_cap(LineCapStyle::RoundCap).set_line_join(LineJoinStyle::RoundJoin);
    for mark in &scene.marks {
        let opacity = match mark {
            Mark::Stroke(path, _) | Mark::Area(path) => (path.opacity.clamp(0.0, 1.0) * 100.0).round() as u8,
            Mark::Fill(..) | Mark::Text(_) => 100,
        };
        let name = opacities.entry(opacity).or_insert_with(|| format!("a{opacity}"));
        page.set_parameters(Name(name.as_bytes()));
        match mark {
            Mark::Fill(rect, color) => {
                let Rect { left, top, .. } = *rect;
                fill(&mut page, *color);
                page.rect(left as f32, top as f32, rect.width() as f32, rect.height() as f32).fill_nonzero();
            }
            Mark::Stroke(path, width) => {
                let Rgb(r, g, b) = path.color;
                let [r, g, b] = [r, g, b].map(|channel| f32::from(channel) / 255.0);
                page.set_stroke_rgb(r, g, b).set_line_width(*width as f32);
                trace(&mut page, path);
                // A line to itself is a disc, since its ends are round.
                if let [(x, y)] = path.points[..] {
                    page.line_to(x as f32, y as f32);
                }
                page.stroke();
            }
            Mark::Area(path) => {
                fill(&mut page, path.color);
                trace(&mut page, path);
                page.close_path().fill_nonzero();
            }
            Mark::Text(text) => {
                fill(&mut page, text.color);
                outline::draw(text, fonts, &mut Pen { page: &mut page, at: (0.0, 0.0) });
                page.fill_nonzero();
            }
        }
    }
    (page.finish().into_vec(), opacities)
}

fn fill(page: &mut Content, Rgb(r, g, b): Rgb) {
    let [r, g, b] = [r, g, b].map(|channel| f32::from(channel) / 255.0);
    page.set_fill_rgb(r, g, b);
}

fn trace(page: &mut Content, path: &Path) {
    for (i, (x, y)) in path.points.iter().enumerate() {
        let (x, y) = (*x as f32, *y as f32);
        if i == 0 {
            page.move_to(x, y)
        } else {
            page.line_to(x, y)
        };
    }
}

/// Outlines on the page.
struct Pen<'p> {
    page: &'p mut Content,
    at: (f32, f32),
}

impl OutlineBuilder for Pen<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.page.move_to(x, y);
        self.at = (x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.page.line_to(x, y);
        self.at = (x, y);
    }

    /// As a cubic curve, which goes two thirds of the way to the one control point from either end.
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let toward = |from: f32, to: f32| from + (to - from) * 2.0 / 3.0;
        let (from_x, from_y) = self.at;
        let first = (toward(from_x, x1), toward(from_y, y1));
        self.curve_to(first.0, first.1, toward(x, x1), toward(y, y1), x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.page.cubic_to(x1, y1, x2, y2, x, y);
        self.at = (x, y);
    }

    fn close(&mut self) {
        self.page.close_path();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Figure, Format, Heatmap, Paper, render_on};

    #[test]
    fn the_page_has_the_width_that_was_asked_for() {
        let mut map = Heatmap::new(vec![vec![0.5, -1.0, 2.0]; 4]).expect("cells");
        map.annot = true;
        let paper = Paper { width: Some(85.0), ..Paper::default() };
        let file = render_on(&Figure::Heatmap(map), Format::Pdf, &paper).expect("a page");
        assert!(file.starts_with(b"%PDF-") && file.trim_ascii_end().ends_with(b"%%EOF"));
        let text = String::from_utf8_lossy(&file);
        let (_, box_) = text.split_once("/MediaBox [").expect("a page");
        let sides: Vec<f64> =
            box_[..box_.find(']').expect("an end")].split(' ').filter_map(|x| x.parse().ok()).collect();
        assert!((sides[2] - 85.0 / 25.4 * 72.0).abs() < 0.01, "{sides:?}");
    }
}
