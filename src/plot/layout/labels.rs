//! Labels beside their points, none over another.
//!
//! Greedy, in the order given: each label takes the free place nearest to its point, on rings around it. A
//! label that ends up away from its point gets a line to it.

use super::super::scene::Rect;

/// From a point's edge to its label.
const PAD: f64 = 2.0;
/// From one ring to the next.
const STEP: f64 = 7.0;
/// Rings on which a label is near enough to find its point at a glance.
pub(super) const NEAR: usize = 6;
/// Labels beyond this ring would be nobody's.
pub(super) const FAR: usize = 60;
/// Right, left, above and below come first, then what lies between them.
const DIRECTIONS: [f64; 16] = [
    0.0, 180.0, 270.0, 90.0, 315.0, 225.0, 45.0, 135.0, 337.5, 202.5, 22.5, 157.5, 292.5, 247.5, 67.5, 112.5,
];

/// Where a label went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Placed {
    pub rect: Rect,
    /// From the point to the label, where they do not touch.
    pub leader: Option<[(f64, f64); 2]>,
}

/// A place inside `area`, on one of the first `rings`, for a label of each of `sizes`, the first for the first of
/// `points`, whose discs have the given `radius`; none if one found no place. Labels keep off each other and off the points that have one.
pub(super) fn place(
    sizes: &[(f64, f64)],
    points: &[(f64, f64)],
    radius: f64,
    area: Rect,
    rings: usize,
) -> Option<Vec<Placed>> {
    let disc = |(x, y): &(f64, f64)| Rect::new(x - radius, y - radius, 2.0 * radius, 2.0 * radius);
    let discs: Vec<Rect> = points.iter().take(sizes.len()).map(disc).collect();
    let mut placed: Vec<Placed> = Vec::with_capacity(sizes.len());
    for (size, point) in sizes.iter().zip(points) {
        let free = |rect: &Rect| {
            let inside = rect.left >= area.left
                && rect.right <= area.right
                && rect.top >= area.top
                && rect.bottom <= area.bottom;
            inside
                && !placed.iter().any(|other| meet(rect, &other.rect))
                && !discs.iter().any(|disc| meet(rect, disc))
        };
        let candidates = (0..rings).flat_map(|ring| {
            DIRECTIONS.into_iter().map(move |degrees| (ring, candidate(*size, *point, radius, ring, degrees)))
        });
        let (ring, rect) = candidates.into_iter().find(|(_, rect)| free(rect))?;
        let end = (point.0.clamp(rect.left, rect.right), point.1.clamp(rect.top, rect.bottom));
        placed.push(Placed { rect, leader: (ring > 0).then_some([*point, end]) });
    }
    Some(placed)
}

/// The label's box on that ring: its side or corner that faces the point lies on the ring.
fn candidate(
    (width, height): (f64, f64),
    (x, y): (f64, f64),
    radius: f64,
    ring: usize,
    degrees: f64,
) -> Rect {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let reach = radius + PAD + STEP * ring as f64;
    let (cx, cy) = (x + cos * (reach + width / 2.0), y + sin * (reach + height / 2.0));
    Rect::new(cx - width / 2.0, cy - height / 2.0, width, height)
}

fn meet(a: &Rect, b: &Rect) -> bool {
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
}
