//! A line of text as outlines where it stands, for formats that draw no text.

use ttf_parser::OutlineBuilder;

use super::fonts::Fonts;
use super::glyphs::Line;
use super::scene::{Anchor, Text};
use super::text::MIDDLE_TO_BASELINE;

/// Draws the letters of `text` with `pen`, to which places come in CSS pixels of the scene.
pub(super) fn draw(text: &Text, fonts: &Fonts, pen: &mut dyn OutlineBuilder) {
    let line = Line::new(&text.content, fonts);
    // Text of other fonts may be shorter than what the layout reserves for it.
    let before = match text.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => line.width / 2.0,
        Anchor::End => line.width,
    };
    let mut placed = Placed { text, before, pen };
    line.glyphs.iter().for_each(|glyph| glyph.draw(&mut placed));
}

/// Hands on the letters of a line, of which so much, in em, is before the anchor.
struct Placed<'t> {
    text: &'t Text,
    before: f64,
    pen: &'t mut dyn OutlineBuilder,
}

impl Placed<'_> {
    /// Letters come in em from the beginning of the line, with y upwards from the baseline.
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        let along = (f64::from(x) - self.before) * self.text.size;
        let down = (MIDDLE_TO_BASELINE - f64::from(y)) * self.text.size;
        let (sin, cos) = self.text.angle.to_radians().sin_cos();
        let (x, y) = (self.text.x + along * cos - down * sin, self.text.y + along * sin + down * cos);
        (x as f32, y as f32)
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.pen.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.pen.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.pen.curve_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.pen.close();
    }
}
