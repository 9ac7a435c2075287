//! Draws a scene as a PNG, at two device pixels per CSS pixel so that it stays sharp in print.

use std::convert::Infallible;

use plotters::prelude::{BitMapBackend, Color, DrawingBackend, RGBAColor, RGBColor};

use super::scene::{Mark, Rect, Scene, Text};
use super::text::{self, HEIGHT, MIDDLE_TO_BASELINE, font};
use super::{PlotError, Rgb};

/// Device pixels per CSS pixel.
const SCALE: f64 = 2.0;
/// Samples a device pixel, along each axis, in the edges of letters.
const SAMPLES: usize = 4;
/// Beyond this many device pixels a bitmap is no sensible format any more: 300 MB of them.
const MOST_PIXELS: u64 = 100_000_000;

/// The complete file.
///
/// # Errors
/// [`PlotError::TooLarge`], [`PlotError::Encode`].
pub(super) fn draw(scene: &Scene) -> Result<Vec<u8>, PlotError> {
    encode(&rasterize(scene)?)
}

/// Pixels from the top left, row by row, as bytes R, G, B.
struct Bitmap {
    size: (u32, u32),
    pixels: Vec<u8>,
}

fn rasterize(scene: &Scene) -> Result<Bitmap, PlotError> {
    let (width, height) = ((scene.width * SCALE) as u64, (scene.height * SCALE) as u64);
    let too_large = || PlotError::TooLarge { width, height };
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(too_large());
    }
    let size =
        (u32::try_from(width).map_err(|_| too_large())?, u32::try_from(height).map_err(|_| too_large())?);
    let mut pixels = vec![255; (width * height * 3) as usize];
    let mut canvas = BitMapBackend::with_buffer(&mut pixels, size);
    for mark in &scene.marks {
        match mark {
            Mark::Fill(rect, color) => fill(&mut canvas, rect, *color)?,
            Mark::Text(text) => write(&mut canvas, text)?,
        }
    }
    drop(canvas);
    Ok(Bitmap { size, pixels })
}

fn encode(bitmap: &Bitmap) -> Result<Vec<u8>, PlotError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, bitmap.size.0, bitmap.size.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Default);
    let mut writer = encoder.write_header().map_err(cannot_encode)?;
    writer.write_image_data(&bitmap.pixels).map_err(cannot_encode)?;
    writer.finish().map_err(cannot_encode)?;
    Ok(bytes)
}

fn cannot_encode(error: impl std::error::Error) -> PlotError {
    PlotError::Encode(error.to_string())
}

/// Edges snap to device pixels, so neighbouring cells share theirs; no rectangle vanishes.
fn fill(canvas: &mut BitMapBackend, rect: &Rect, Rgb(r, g, b): Rgb) -> Result<(), PlotError> {
    let snap = |length: f64| (length * SCALE).round() as i32;
    let (left, top) = (snap(rect.left), snap(rect.top));
    let (right, bottom) = (snap(rect.right).max(left + 1), snap(rect.bottom).max(top + 1));
    canvas.draw_rect((left, top), (right, bottom), &RGBColor(r, g, b), true).map_err(cannot_encode)
}

/// Draws one line: rasterised level and large, then sampled for each device pixel. That places letters to
/// a fraction of a pixel and allows any angle; plotters itself has whole pixels and quarter turns.
fn write(canvas: &mut BitMapBackend, text: &Text) -> Result<(), PlotError> {
    let fine = SCALE * SAMPLES as f64;
    let (width, before) = text.extent();
    let line = Coverage::of(&text.content, width, text.size, fine)?;
    let (sin, cos) = text.angle.to_radians().sin_cos();
    let Rgb(r, g, b) = text.color;

    let bounds = text.bounds();
    let pixels = |from: f64, to: f64| (from * SCALE).floor() as i32 - 1..(to * SCALE).ceil() as i32 + 1;
    for y in pixels(bounds.top, bounds.bottom) {
        for x in pixels(bounds.left, bounds.right) {
            let mut covered = 0.0;
            for sample in 0..SAMPLES * SAMPLES {
                let within = |i: usize| (i as f64 + 0.5) / SAMPLES as f64;
                let dx = (f64::from(x) + within(sample % SAMPLES)) / SCALE - text.x;
                let dy = (f64::from(y) + within(sample / SAMPLES)) / SCALE - text.y;
                covered += line.at((dx * cos + dy * sin + before) * fine, (dy * cos - dx * sin) * fine);
            }
            if covered > 0.0 {
                let alpha = f64::from(covered) / (SAMPLES * SAMPLES) as f64;
                let color = RGBAColor(r, g, b, alpha).to_backend_color();
                canvas.draw_pixel((x, y), color).map_err(cannot_encode)?;
            }
        }
    }
    Ok(())
}

/// How much of each fine pixel a level line of text covers, from 0 to 1.
struct Coverage {
    width: usize,
    /// The row of the line's middle.
    middle: i32,
    /// The column where the line starts; letters may reach a little before it.
    start: i32,
    values: Vec<f32>,
}

impl Coverage {
    /// `content`, `width` CSS pixels long with an em of `size`, at `fine` pixels per CSS pixel.
    fn of(content: &str, width: f64, size: f64, fine: f64) -> Result<Self, PlotError> {
        let em = size * fine;
        let (start, middle) = (em.ceil() as i32, em.ceil() as i32);
        let (columns, rows) = ((width * fine).ceil() as usize + 2 * start as usize, 2 * middle as usize);
        let mut line = Self { width: columns, middle, start, values: vec![0.0; columns * rows] };
        // plotters puts the baseline half of its font size below the place that it is given.
        let above = (em * (MIDDLE_TO_BASELINE - HEIGHT / 2.0)).round() as i32;
        for (at, c) in content.char_indices() {
            let advance = text::width(c.encode_utf8(&mut [0; 4]), em);
            let end = text::width(&content[..at + c.len_utf8()], em);
            let glyph = Glyph::of(c, em)?;
            // It also sets each letter without the space that belongs before it; the middle of the advance
            // is right for most letters and within a twentieth of an em for all.
            let left = start + (end - advance + (advance - f64::from(glyph.width)) / 2.0).round() as i32;
            for (x, y, alpha) in glyph.pixels {
                if let Some(value) =
                    line.index(left + x, middle + above + y).and_then(|i| line.values.get_mut(i))
                {
                    *value = value.max(alpha);
                }
            }
        }
        Ok(line)
    }

    /// The value at fine pixels (`along`, `across`) from the line's start and middle; 0 outside.
    fn at(&self, along: f64, across: f64) -> f32 {
        let (x, y) = (along.floor() as i32 + self.start, across.floor() as i32 + self.middle);
        self.index(x, y).and_then(|i| self.values.get(i)).copied().unwrap_or(0.0)
    }

    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        (x < self.width).then(|| y * self.width + x)
    }
}

/// The pixels of one letter, from its left edge on, with how much of each it covers.
struct Glyph {
    width: i32,
    pixels: Vec<(i32, i32, f32)>,
}

impl Glyph {
    fn of(c: char, em: f64) -> Result<Self, PlotError> {
        let mut pixels = Vec::new();
        let drawn = font(em).draw(c.encode_utf8(&mut [0; 4]), (0, 0), |x, y, alpha| {
            pixels.push((x, y, alpha));
            Ok::<(), Infallible>(())
        });
        match drawn {
            Ok(Ok(())) => Ok(Self { width: pixels.iter().map(|(x, ..)| x + 1).max().unwrap_or(0), pixels }),
            Ok(Err(never)) => match never {},
            Err(error) => Err(cannot_encode(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Colormap, Format, Heatmap, layout, render};
    use super::*;

    fn heatmap() -> Heatmap {
        let mut map = Heatmap::new(vec![vec![0.0, 1.0]]).expect("cells");
        map.cmap = Colormap::from_colors(&["#ff0000", "#0000ff"]).expect("two colours");
        map
    }

    #[test]
    fn pixels_are_the_scenes() {
        let scene = layout::lay_out(&heatmap()).expect("a layout");
        let bitmap = rasterize(&scene).expect("pixels");
        assert_eq!(bitmap.size, (scene.width as u32 * 2, scene.height as u32 * 2));
        let pixel = |x: f64, y: f64| {
            let at = ((y * SCALE) as usize * bitmap.size.0 as usize + (x * SCALE) as usize) * 3;
            Rgb(bitmap.pixels[at], bitmap.pixels[at + 1], bitmap.pixels[at + 2])
        };
        for (mark, color) in scene.marks.iter().zip([Rgb(255, 0, 0), Rgb(0, 0, 255)]) {
            let (x, y) = mark.bounds().center();
            assert_eq!(pixel(x, y), color);
        }
        assert_eq!(pixel(0.0, 0.0), Rgb::WHITE);
    }

    /// Ink inside the box of the text and none outside it, at each angle.
    #[test]
    fn letters_lie_within_their_box() {
        for angle in [0.0, -45.0, -90.0] {
            let text =
                Text::new("|Hello jolly|", 60.0, 60.0, super::super::scene::Anchor::End, 11.0).rotated(angle);
            let bounds = text.bounds();
            let scene = Scene { width: 120.0, height: 140.0, marks: vec![Mark::Text(text)] };
            let bitmap = rasterize(&scene).expect("pixels");
            let dark = bitmap.pixels.chunks(3).enumerate().filter(|(_, p)| p[0] < 128).map(|(i, _)| {
                let (x, y) = (i % bitmap.size.0 as usize, i / bitmap.size.0 as usize);
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

    #[test]
    fn the_file_is_a_png_of_that_size() {
        let scene = layout::lay_out(&heatmap()).expect("a layout");
        let file = render(&heatmap(), Format::Png).expect("a picture");
        assert_eq!(&file[..16], b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
        let number = |at: usize| u32::from_be_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]);
        assert_eq!((number(16), number(20)), (scene.width as u32 * 2, scene.height as u32 * 2));
        assert!(file.ends_with(b"IEND\xaeB`\x82"));
    }

    #[test]
    fn a_monstrous_label_is_refused() {
        let mut map = heatmap();
        map.rows = vec!["x".repeat(4_000_000)];
        assert!(matches!(render(&map, Format::Png), Err(PlotError::TooLarge { .. })));
    }
}
