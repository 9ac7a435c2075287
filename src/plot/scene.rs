//! A laid-out figure: rectangles and texts with places. Lengths are CSS pixels, y grows downwards.

use super::{Rgb, text};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Rect {
    pub fn new(left: f64, top: f64, width: f64, height: f64) -> Self {
        Self { left, top, right: left + width, bottom: top + height }
    }

    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    pub fn center(&self) -> (f64, f64) {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }

    /// The smallest rectangle around both.
    pub fn union(self, other: Self) -> Self {
        Self {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    pub fn shifted(self, dx: f64, dy: f64) -> Self {
        Self { left: self.left + dx, top: self.top + dy, right: self.right + dx, bottom: self.bottom + dy }
    }
}

/// Which point along a text its place fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One line of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub content: String,
    /// Where the anchor is: along the line as `anchor` says, across it at the middle of a capital letter.
    pub x: f64,
    pub y: f64,
    pub anchor: Anchor,
    /// The em.
    pub size: f64,
    /// Clockwise, in degrees, about (x, y).
    pub angle: f64,
    pub color: Rgb,
}

impl Text {
    pub fn new(content: impl Into<String>, x: f64, y: f64, anchor: Anchor, size: f64) -> Self {
        Self { content: content.into(), x, y, anchor, size, angle: 0.0, color: Rgb::INK }
    }

    pub fn rotated(self, angle: f64) -> Self {
        Self { angle, ..self }
    }

    /// The length of the line, and how much of it lies before the anchor.
    pub fn extent(&self) -> (f64, f64) {
        let width = text::width(&self.content, self.size);
        let before = match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
        (width, before)
    }

    /// The corners of the line's box, in order around it.
    pub fn corners(&self) -> [(f64, f64); 4] {
        let (width, before) = self.extent();
        let (sin, cos) = self.angle.to_radians().sin_cos();
        let half = text::HALF_LINE * self.size;
        [(-before, -half), (width - before, -half), (width - before, half), (-before, half)]
            .map(|(u, v)| (self.x + u * cos - v * sin, self.y + u * sin + v * cos))
    }

    pub fn bounds(&self) -> Rect {
        let point = |(x, y): (f64, f64)| Rect::new(x, y, 0.0, 0.0);
        let [first, rest @ ..] = self.corners().map(point);
        rest.into_iter().fold(first, Rect::union)
    }
}

/// Corners in order, with a colour and how much of it covers what is below (0 to 1).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    pub points: Vec<(f64, f64)>,
    pub color: Rgb,
    pub opacity: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    Fill(Rect, Rgb),
    /// A line of that width with round ends and corners; of a single point it is a disc.
    Stroke(Path, f64),
    /// A closed polygon.
    Area(Path),
    Text(Text),
}

impl Mark {
    /// A disc of that diameter.
    pub fn disc(center: (f64, f64), diameter: f64, color: Rgb, opacity: f64) -> Self {
        Self::Stroke(Path { points: vec![center], color, opacity }, diameter)
    }

    pub fn bounds(&self) -> Rect {
        match self {
            Self::Fill(rect, _) => *rect,
            Self::Stroke(path, width) => path.bounds(width / 2.0),
            Self::Area(path) => path.bounds(0.0),
            Self::Text(text) => text.bounds(),
        }
    }

    pub fn shifted(&self, dx: f64, dy: f64) -> Self {
        let mut moved = self.clone();
        moved.shift(dx, dy);
        moved
    }

    fn shift(&mut self, dx: f64, dy: f64) {
        match self {
            Self::Fill(rect, _) => *rect = rect.shifted(dx, dy),
            Self::Stroke(path, _) | Self::Area(path) => {
                path.points.iter_mut().for_each(|(x, y)| (*x, *y) = (*x + dx, *y + dy));
            }
            Self::Text(text) => (text.x, text.y) = (text.x + dx, text.y + dy),
        }
    }
}

impl Path {
    fn bounds(&self, around: f64) -> Rect {
        let square = |(x, y): &(f64, f64)| Rect::new(x - around, y - around, 2.0 * around, 2.0 * around);
        self.points.iter().map(square).reduce(Rect::union).unwrap_or(Rect::new(0.0, 0.0, 0.0, 0.0))
    }
}

/// Marks in drawing order, on a white canvas from (0, 0) to (`width`, `height`).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub width: f64,
    pub height: f64,
    pub marks: Vec<Mark>,
    /// Where each record of the figure is drawn, for the pointer; a point is a rectangle without extent.
    pub spots: Vec<Rect>,
}

impl Scene {
    /// The scene of `marks`, wherever they are, on a canvas that leaves `margin` around them all. So nothing
    /// can be cut off, and a layout may put its origin where it likes.
    pub fn around(mut marks: Vec<Mark>, mut spots: Vec<Rect>, margin: f64) -> Self {
        let bounds =
            marks.iter().map(Mark::bounds).reduce(Rect::union).unwrap_or(Rect::new(0.0, 0.0, 0.0, 0.0));
        // Whole pixels keep straight edges sharp.
        let (dx, dy) = ((margin - bounds.left).ceil(), (margin - bounds.top).ceil());
        marks.iter_mut().for_each(|mark| mark.shift(dx, dy));
        spots.iter_mut().for_each(|spot| *spot = spot.shifted(dx, dy));
        let (width, height) = ((bounds.right + dx + margin).ceil(), (bounds.bottom + dy + margin).ceil());
        Self { width, height, marks, spots }
    }
}
