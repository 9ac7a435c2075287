//! Draws a scene as a PNG: without a size of its own at two device pixels per CSS pixel, so that it stays sharp in print.

use png::{PixelDimensions, Unit};
use zeno::{Cap, Command, Join, Mask, PathBuilder, Stroke};

use super::fonts::Fonts;
use super::outline;
use super::scene::{Mark, Path, Rect, Scene, Text};
use super::{Paper, PlotError, Rgb};

/// Beyond this many device pixels a bitmap is no sensible format any more: 300 MB of them.
const MOST_PIXELS: u64 = 100_000_000;

/// The complete file.
///
/// # Errors
/// [`PlotError::TooLarge`], [`PlotError::Encode`].
pub(super) fn draw(scene: &Scene, paper: &Paper, fonts: &Fonts) -> Result<Vec<u8>, PlotError> {
    let canvas = rasterize(scene, paper.dots(), fonts)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, canvas.width as u32, canvas.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Default);
    let per_meter = (paper.dpi() / 0.0254).round() as u32;
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_meter, yppu: per_meter, unit: Unit::Meter }));
    let mut writer = encoder.write_header().map_err(cannot_encode)?;
    writer.write_image_data(canvas.pixels.as_flattened()).map_err(cannot_encode)?;
    writer.finish().map_err(cannot_encode)?;
    Ok(bytes)
}

fn cannot_encode(error: png::EncodingError) -> PlotError {
    PlotError::Encode(error.to_string())
}

/// At `scale` device pixels a CSS pixel.
fn rasterize(scene: &Scene, scale: f64, fonts: &Fonts) -> Result<Canvas, PlotError> {
    let (width, height) = ((scene.width * scale).round() as u64, (scene.height * scale).round() as u64);
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(PlotError::TooLarge { width, height });
    }
    let (width, height) = ((width as usize).max(1), (height as usize).max(1));
    let mut canvas = Canvas { width, height, scale, pixels: vec![[255; 3]; width * height] };
    for mark in &scene.marks {
        match mark {
            Mark::Fill(rect, color) => canvas.fill(rect, *color),
            Mark::Stroke(path, width) => {
                // A single point has no direction, so it is no line to the rasteriser.
                let (commands, style) = match path.points[..] {
                    [(x, y)] => (disc(x, y, width / 2.0, scale), zeno::Fill::NonZero.into()),
                    _ => (polygon(path, false, scale), round(*width * scale)),
                };
                canvas.cover(&Mask::new(&commands[..]).style(style).render(), path.color, path.opacity);
            }
            Mark::Area(path) => {
                canvas.cover(&Mask::new(&polygon(path, true, scale)[..]).render(), path.color, path.opacity);
            }
            Mark::Text(text) => {
                canvas.cover(&Mask::new(&letters(text, fonts, scale)[..]).render(), text.color, 1.0);
            }
        }
    }
    Ok(canvas)
}

/// Pixels from the top left, row by row.
struct Canvas {
    width: usize,
    height: usize,
    scale: f64,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    /// Edges snap to device pixels, so neighbouring cells share theirs; no rectangle vanishes.
    fn fill(&mut self, rect: &Rect, Rgb(r, g, b): Rgb) {
        let snap = |length: f64| (length * self.scale).round().max(0.0) as usize;
        let (left, top) = (snap(rect.left), snap(rect.top));
        let (right, bottom) = (snap(rect.right).max(left + 1), snap(rect.bottom).max(top + 1));
        for row in self.pixels.chunks_mut(self.width).take(bottom).skip(top) {
            row.iter_mut().take(right).skip(left).for_each(|pixel| *pixel = [r, g, b]);
        }
    }

    /// Mixes `color` in where the mask covers a pixel, and as far.
    fn cover(&mut self, (mask, place): &(Vec<u8>, zeno::Placement), Rgb(r, g, b): Rgb, opacity: f64) {
        let rows = mask.chunks((place.width as usize).max(1)).zip(i64::from(place.top)..);
        for (row, y) in rows.filter(|(_, y)| (0..self.height as i64).contains(y)) {
            let columns = row.iter().zip(i64::from(place.left)..);
            for (covered, x) in columns.filter(|(c, x)| **c > 0 && (0..self.width as i64).contains(x)) {
                let part = f64::from(*covered) / 255.0 * opacity;
                let pixel = &mut self.pixels[y as usize * self.width + x as usize];
                for (channel, ink) in pixel.iter_mut().zip([r, g, b]) {
                    *channel =
                        (f64::from(*channel) + (f64::from(ink) - f64::from(*channel)) * part).round() as u8;
                }
            }
        }
    }
}

/// A place in CSS pixels as one in device pixels.
fn device((x, y): (f64, f64), scale: f64) -> (f32, f32) {
    ((x * scale) as f32, (y * scale) as f32)
}

fn letters(text: &Text, fonts: &Fonts, scale: f64) -> Vec<Command> {
    let mut pen = Pen { scale, commands: Vec::new() };
    outline::draw(text, fonts, &mut pen);
    pen.commands
}

fn disc(x: f64, y: f64, radius: f64, scale: f64) -> Vec<Command> {
    let mut commands = Vec::new();
    commands.add_circle(device((x, y), scale), (radius * scale) as f32);
    commands
}

fn round(width: f64) -> zeno::Style<'static> {
    let mut stroke = Stroke::new(width as f32);
    stroke.join(Join::Round).cap(Cap::Round);
    stroke.into()
}

fn polygon(path: &Path, closed: bool, scale: f64) -> Vec<Command> {
    let mut commands = Vec::new();
    for (i, point) in path.points.iter().enumerate() {
        let point = device(*point, scale);
        if i == 0 {
            commands.move_to(point)
        } else {
            commands.line_to(point)
        };
    }
    if closed {
        commands.close();
    }
    commands
}

/// Collects outlines in device pixels.
struct Pen {
    scale: f64,
    commands: Vec<Command>,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        ((f64::from(x) * self.scale) as f32, (f64::from(y) * self.scale) as f32)
    }
}

impl ttf_parser::OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        self.commands.move_to(to);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        self.commands.line_to(to);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (by, to) = (self.at(x1, y1), self.at(x, y));
        self.commands.quad_to(by, to);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, to) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.commands.curve_to(first, second, to);
    }

    fn close(&mut self) {
        self.commands.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Anchor;
    use super::super::{Colormap, Figure, Format, Heatmap, render, render_on};
    use super::*;

    const SCALE: f64 = 2.0;

    fn none() -> Fonts {
        Fonts::new([])
    }

    fn heatmap() -> Heatmap {
        let mut map = Heatmap::new(vec![vec![0.0, 1.0]]).expect("cells");
        map.colors.cmap = Colormap::from_colors(&["#ff0000", "#0000ff"]).expect("two colours");
        map
    }

    fn pixel(canvas: &Canvas, x: f64, y: f64) -> Rgb {
        let at = (y * SCALE) as usize * canvas.width + (x * SCALE) as usize;
        let [r, g, b] = canvas.pixels[at];
        Rgb(r, g, b)
    }

    #[test]
    fn pixels_are_the_scenes() {
        let scene = Figure::Heatmap(heatmap()).lay_out().expect("a layout");
        let canvas = rasterize(&scene, SCALE, &none()).expect("pixels");
        assert_eq!((canvas.width, canvas.height), (scene.width as usize * 2, scene.height as usize * 2));
        for (mark, color) in scene.marks.iter().zip([Rgb(255, 0, 0), Rgb(0, 0, 255)]) {
            let (x, y) = mark.bounds().center();
            assert_eq!(pixel(&canvas, x, y), color);
        }
        assert_eq!(pixel(&canvas, 0.0, 0.0), Rgb::WHITE);
    }

    #[test]
    fn lines_discs_and_areas_are_where_they_should_be() {
        let red = Rgb(255, 0, 0);
        let path = |points: &[(f64, f64)], opacity| Path { points: points.to_vec(), color: red, opacity };
        let marks = vec![
            Mark::Stroke(path(&[(5.0, 5.0), (45.0, 45.0)], 1.0), 4.0),
            Mark::disc((40.0, 10.0), 10.0, red, 1.0),
            Mark::Area(path(&[(5.0, 25.0), (20.0, 45.0), (5.0, 45.0)], 0.2)),
        ];
        let canvas = rasterize(&Scene { width: 50.0, height: 50.0, marks, spots: vec![] }, SCALE, &none())
            .expect("pixels");
        for (x, y) in [(25.0, 25.0), (40.0, 10.0), (36.5, 10.0)] {
            assert_eq!(pixel(&canvas, x, y), red, "{x} {y}");
        }
        for (x, y) in [(30.0, 25.0), (34.0, 10.0), (35.5, 5.5)] {
            assert_eq!(pixel(&canvas, x, y), Rgb::WHITE, "{x} {y}");
        }
        assert_eq!(pixel(&canvas, 8.0, 40.0), Rgb(255, 204, 204));
    }

    /// Ink inside the box of the text and none outside it, at each angle.
    #[test]
    fn letters_lie_within_their_box() {
        for angle in [0.0, -45.0, -90.0] {
            let text = Text::new("|Hello jolly|", 60.0, 60.0, Anchor::End, 11.0).rotated(angle);
            let bounds = text.bounds();
            let scene = Scene { width: 120.0, height: 140.0, marks: vec![Mark::Text(text)], spots: vec![] };
            let canvas = rasterize(&scene, SCALE, &none()).expect("pixels");
            let dark = canvas.pixels.iter().enumerate().filter(|(_, p)| p[0] < 128).map(|(i, _)| {
                let (x, y) = (i % canvas.width, i / canvas.width);
                (x as f64 / SCALE, y as f64 / SCALE)
            });
            let dark: Vec<_> = dark.collect();
            assert!(dark.len() > 200, "{angle}: {}", dark.len());
            let inside = |(x, y): &(f64, f64)| {
                *x > bounds.left - 1.0
                    && *x < bounds.right + 1.0
                    && *y > bounds.top - 1.0
                    && *y < bounds.bottom + 1.0
            };
            assert!(dark.iter().all(inside), "{angle}");
        }
    }

    /// Where a text's ink is, in em from its left end and from the middle of its capitals downwards.
    fn ink(content: &str, anchor: Anchor, fonts: &Fonts) -> (Vec<(f64, f64)>, f64) {
        let x = if anchor == Anchor::End { 190.0 } else { 10.0 };
        let text = Text::new(content, x, 50.0, anchor, 40.0);
        let measured = text.extent().0 / 40.0;
        let scene = Scene { width: 200.0, height: 100.0, marks: vec![Mark::Text(text)], spots: vec![] };
        let canvas = rasterize(&scene, SCALE, fonts).expect("pixels");
        let dark = canvas.pixels.iter().enumerate().filter(|(_, pixel)| pixel[0] < 128);
        let place = |(i, _): (usize, _)| {
            let (x, y) = ((i % canvas.width) as f64 / SCALE, (i / canvas.width) as f64 / SCALE);
            ((x - 10.0) / 40.0, (y - 50.0) / 40.0)
        };
        (dark.map(place).collect(), measured)
    }

    fn reach(ink: &[(f64, f64)]) -> (f64, f64) {
        ink.iter().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| (low.min(*x), high.max(*x)))
    }

    /// 東 is a block from 0.1 to 0.9 em there, 京 one from 0.3 to 0.7.
    #[test]
    fn what_the_embedded_font_lacks_comes_from_another() {
        let blocks = Fonts::new(["tests/fixtures/blocks.ttf".into()]);
        let near =
            |(low, high): (f64, f64), (a, b): (f64, f64)| (low - a).abs() < 0.03 && (high - b).abs() < 0.03;
        let (dark, measured) = ink("東京", Anchor::Start, &blocks);
        assert_eq!(measured, 2.0);
        assert!(near(reach(&dark), (0.1, 1.7)), "{:?}", reach(&dark));
        assert!(!dark.iter().any(|(x, _)| (0.93..1.27).contains(x)));
        // The text ends at its anchor, and may be shorter than it was measured: these letters are half an em wide, and the
        // mark in between takes no room.
        let (dark, measured) = ink("न्म", Anchor::End, &blocks);
        assert_eq!(measured, 3.0);
        assert!(near(reach(&dark), (4.5 - 1.0 + 0.05, 4.5 - 0.05)), "{:?}", reach(&dark));
    }

    /// A hollow box an em wide, with the number in it.
    #[test]
    fn what_no_font_has_is_a_box_with_its_number() {
        let (dark, measured) = ink("東", Anchor::Start, &none());
        let (low, high) = reach(&dark);
        assert!(measured == 1.0 && (low - 0.06).abs() < 0.03 && (high - 0.94).abs() < 0.03, "{low} {high}");
        let other = ink("南", Anchor::Start, &none()).0;
        assert_ne!(dark, other);
        let inside = |ink: &[(f64, f64)]| ink.iter().filter(|(x, _)| (0.15..0.85).contains(x)).count();
        assert!(inside(&dark) > 200 && inside(&dark) < 3_000, "{}", inside(&dark));
        // What joins letters is no letter.
        assert_eq!(ink("a\u{fe0f}b", Anchor::Start, &none()).0, ink("ab", Anchor::Start, &none()).0);
    }

    #[test]
    fn the_file_is_a_png_of_that_size() {
        let figure = Figure::Heatmap(heatmap());
        let scene = figure.lay_out().expect("a layout");
        let file = render(&figure, Format::Png).expect("a picture");
        assert_eq!(&file[..16], b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        let number = |at: usize| u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
        assert_eq!((number(16), number(20)), (scene.width as u32 * 2, scene.height as u32 * 2));
        assert!(file.ends_with(b"IEND\xaeB`\x82"));

        // 85 mm at 200 dots an inch, which the file says in dots a metre.
        let paper = Paper { width: Some(85.0), dpi: Some(200.0), ..Paper::default() };
        let file = render_on(&figure, Format::Png, &paper).expect("a picture");
        let width = u32::from_be_bytes([file[16], file[17], file[18], file[19]]);
        assert!(width.abs_diff(669) <= 1, "{width}");
        let at = file.windows(4).position(|four| four == b"pHYs").expect("a size") + 4;
        assert_eq!(file[at..at + 9], [&7874u32.to_be_bytes()[..], &7874u32.to_be_bytes(), &[1]].concat());
        let wrong = Paper { dpi: Some(1e9), ..Paper::default() };
        assert!(matches!(render_on(&figure, Format::Png, &wrong), Err(PlotError::Paper { name: "dpi", .. })));
        assert_eq!(render_on(&figure, Format::Html, &paper), Err(PlotError::NoPaper));
    }

    #[test]
    fn monstrous_labels_are_refused() {
        let mut map = heatmap();
        map.rows = vec!["x".repeat(9_000)];
        map.cols = vec!["x".repeat(9_000); 2];
        assert!(matches!(
            render(&Figure::Heatmap(map.clone()), Format::Png),
            Err(PlotError::TooLarge { .. })
        ));
        map.rows = vec!["x".repeat(4_000_000)];
        assert_eq!(render(&Figure::Heatmap(map), Format::Svg), Err(PlotError::LongText { found: 4_000_000 }));
    }
}
