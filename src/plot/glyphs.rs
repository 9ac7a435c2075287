//! A line of text as glyphs in their places, for formats that draw outlines.
//!
//! What the embedded font lacks comes from the machine's [`Fonts`]; what no font has is a box with the character's
//! number in it. All is set letter by letter, from left to right.

use ttf_parser::{Face, GlyphId, OutlineBuilder};

use super::fonts::Fonts;
use super::text;

/// Something to draw. Lengths are in em, from the beginning of the line on its baseline, y upwards.
pub(super) struct Glyph<'f> {
    shape: Shape<'f>,
    x: f64,
    y: f64,
    /// Of the font's em.
    scale: f64,
}

enum Shape<'f> {
    Outline(&'f Face<'static>, GlyphId),
    /// A hollow rectangle of a character without a glyph.
    Box,
}

/// A line's glyphs and its length in em.
pub(super) struct Line<'f> {
    pub glyphs: Vec<Glyph<'f>>,
    pub width: f64,
}

/// The box of a missing character: its sides, how thick they are, and how large the digits in it.
const BOX: [f64; 4] = [0.06, -0.14, 0.94, 0.86];
const BORDER: f64 = 0.04;
const DIGIT: f64 = 0.4;

impl<'f> Line<'f> {
    pub fn new(content: &str, fonts: &'f Fonts) -> Line<'f> {
        let mut line = Line { glyphs: Vec::new(), width: 0.0 };
        let mut rest = content;
        while let Some(c) = rest.chars().next() {
            let source = Source::of(c, fonts);
            let len = match source {
                // A run goes on for as long as the same font draws it.
                Source::Font(face) => {
                    let ends = |c: char| !joins(c) && !Source::of(c, fonts).is(face);
                    rest.find(ends).unwrap_or(rest.len())
                }
                _ => c.len_utf8(),
            };
            let (run, after) = rest.split_at(len);
            match source {
                Source::Embedded => {
                    line.push_embedded(c, 1.0, line.width, 0.0);
                    line.width += text::width(run, 1.0);
                }
                Source::Font(face) => line.set(run, face),
                Source::Nothing if joins(c) => {}
                Source::Nothing if c.is_whitespace() => line.width += text::width(run, 1.0),
                Source::Nothing => line.push_box(c),
            }
            rest = after;
        }
        line
    }

    fn push_embedded(&mut self, c: char, scale: f64, x: f64, y: f64) {
        if let Some(glyph) = text::face().glyph_index(c) {
            self.glyphs.push(Glyph { shape: Shape::Outline(text::face(), glyph), x, y, scale });
        }
    }

    /// A run of one font, no longer than it was measured to be. Marks lie over the letter before them, as fonts place them;
    /// letters are not joined, which would take a shaping engine.
    fn set(&mut self, run: &str, face: &'f Face<'static>) {
        let em = f64::from(face.units_per_em());
        let glyphs: Vec<(GlyphId, f64)> = in_order(run)
            .filter_map(|c| face.glyph_index(c))
            .map(|glyph| (glyph, f64::from(face.glyph_hor_advance(glyph).unwrap_or(0)) / em))
            .collect();
        let length: f64 = glyphs.iter().map(|(_, advance)| advance).sum();
        let scale = if length > 0.0 { (text::width(run, 1.0) / length).min(1.0) } else { 1.0 };
        for (glyph, advance) in glyphs {
            self.glyphs.push(Glyph { shape: Shape::Outline(face, glyph), x: self.width, y: 0.0, scale });
            self.width += advance * scale;
        }
    }

    fn push_box(&mut self, c: char) {
        self.glyphs.push(Glyph { shape: Shape::Box, x: self.width, y: 0.0, scale: 1.0 });
        let digits = format!("{:04X}", u32::from(c));
        let (above, below) = digits.split_at(digits.len() / 2);
        let [left, bottom, right, top] = BOX;
        let line = (top - bottom) / 2.0;
        for (row, digits) in [below, above].into_iter().enumerate() {
            let width = text::width(digits, DIGIT);
            let mut x = self.width + (left + right - width) / 2.0;
            let y = bottom + line * (row as f64 + 0.5) - DIGIT * text::MIDDLE_TO_BASELINE;
            for digit in digits.chars() {
                self.push_embedded(digit, DIGIT, x, y);
                x += text::width(digit.encode_utf8(&mut [0; 4]), DIGIT);
            }
        }
        self.width += text::UNCOVERED_ADVANCE;
    }
}

impl Glyph<'_> {
    /// Draws with `pen`, to which places come in em from the beginning of the line.
    pub fn draw(&self, pen: &mut dyn OutlineBuilder) {
        match self.shape {
            Shape::Outline(face, glyph) => {
                let scale = (self.scale / f64::from(face.units_per_em())) as f32;
                let mut moved = Moved { pen, scale, x: self.x as f32, y: self.y as f32 };
                // A glyph without an outline, such as the space, draws nothing.
                let _ = face.outline_glyph(glyph, &mut moved);
            }
            Shape::Box => {
                let mut moved = Moved { pen, scale: 1.0, x: self.x as f32, y: self.y as f32 };
                let [left, bottom, right, top] = BOX;
                let inner = BORDER;
                // The inner rectangle runs the other way, so that it stays empty.
                moved.polygon([(left, bottom), (right, bottom), (right, top), (left, top)]);
                let (left, bottom, right, top) = (left + inner, bottom + inner, right - inner, top - inner);
                moved.polygon([(left, bottom), (left, top), (right, top), (right, bottom)]);
            }
        }
    }
}

/// Where a character's glyph comes from.
enum Source<'f> {
    Embedded,
    Font(&'f Face<'static>),
    Nothing,
}

impl<'f> Source<'f> {
    fn of(c: char, fonts: &'f Fonts) -> Source<'f> {
        match text::face().glyph_index(c) {
            Some(_) => Source::Embedded,
            None => fonts.drawing(c).map_or(Source::Nothing, Source::Font),
        }
    }

    fn is(&self, face: &Face) -> bool {
        matches!(self, Source::Font(own) if std::ptr::eq(*own, face))
    }
}

/// Characters without a shape of their own, which change or join those beside them.
fn joins(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// The letters as they stand beside one another: Devanagari's short i is written before the letter that it follows.
fn in_order(run: &str) -> impl Iterator<Item = char> {
    let mut letters: Vec<char> = run.chars().filter(|c| !joins(*c)).collect();
    for at in 1..letters.len() {
        if letters[at] == 'ि' {
            letters.swap(at - 1, at);
        }
    }
    letters.into_iter()
}

/// The characters of `texts` that no font draws.
pub(super) fn undrawn<'t>(texts: impl IntoIterator<Item = &'t str>, fonts: &Fonts) -> Vec<char> {
    let mut missing: Vec<char> = texts.into_iter().flat_map(str::chars).collect();
    missing.sort_unstable();
    missing.dedup();
    // Controls are spelt out.
    let is_shape = |c: char| !c.is_control() && !joins(c) && !c.is_whitespace();
    missing.retain(|c| is_shape(*c) && matches!(Source::of(*c, fonts), Source::Nothing));
    missing
}

/// A pen whose paper is moved and scaled.
struct Moved<'p> {
    pen: &'p mut dyn OutlineBuilder,
    scale: f32,
    x: f32,
    y: f32,
}

impl Moved<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y + y * self.scale)
    }

    fn polygon(&mut self, corners: [(f64, f64); 4]) {
        for (i, (x, y)) in corners.into_iter().enumerate() {
            match i {
                0 => self.move_to(x as f32, y as f32),
                _ => self.line_to(x as f32, y as f32),
            }
        }
        self.close();
    }
}

impl OutlineBuilder for Moved<'_> {
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
