//! What tells series apart without colours: the shapes of their points, and dashes.

use super::super::Rgb;
use super::super::chart::Dash;
use super::super::scene::{Mark, Path};

/// A point of the `i`-th series or group: a disc, a square, a triangle, a diamond or a triangle upside down, of about equal
/// areas.
pub(super) fn marker(i: usize, (x, y): (f64, f64), diameter: f64, color: Rgb, opacity: f64) -> Mark {
    let half = diameter / 2.0;
    let corners: &[(f64, f64)] = match i % 5 {
        0 => return Mark::disc((x, y), diameter, color, opacity),
        1 => &[(-0.89, -0.89), (0.89, -0.89), (0.89, 0.89), (-0.89, 0.89)],
        2 => &[(0.0, -1.4), (1.3, 0.85), (-1.3, 0.85)],
        3 => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        _ => &[(0.0, 1.4), (1.3, -0.85), (-1.3, -0.85)],
    };
    let points = corners.iter().map(|(dx, dy)| (x + dx * half, y + dy * half)).collect();
    Mark::Area(Path { points, color, opacity })
}

/// A line, whole or in pieces.
pub(super) fn stroke(points: Vec<(f64, f64)>, color: Rgb, width: f64, dash: Dash) -> Vec<Mark> {
    let piece = |points| Mark::Stroke(Path { points, color, opacity: 1.0 }, width);
    // Ends are round, so that gaps look shorter by the width.
    let (on, off) = match dash {
        Dash::Solid => return vec![piece(points)],
        Dash::Dashed => (3.5 * width, 3.0 * width),
        Dash::Dotted => (0.05 * width, 2.0 * width),
    };
    pieces(&points, on, off).into_iter().map(piece).collect()
}

/// The parts of a polyline that are drawn when `on` of it is, then `off` is not, over and over.
fn pieces(points: &[(f64, f64)], on: f64, off: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    let (mut drawn, mut left) = (true, on);
    for ends in points.windows(2) {
        let [(x0, y0), (x1, y1)] = [ends[0], ends[1]];
        let length = (x1 - x0).hypot(y1 - y0);
        let mut at = 0.0;
        while length - at > left {
            at += left;
            let here = (x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length);
            if drawn {
                piece.push(here);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![here];
            }
            drawn = !drawn;
            left = if drawn { on } else { off };
        }
        left -= length - at;
        if drawn {
            piece.push((x1, y1));
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_on_around_corners() {
        let line = [(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)];
        assert_eq!(pieces(&line, 4.0, 2.0), [vec![(0.0, 0.0), (4.0, 0.0)], vec![(5.0, 1.0), (5.0, 5.0)]]);
        assert_eq!(pieces(&line, 7.0, 1.0)[0], [(0.0, 0.0), (5.0, 0.0), (5.0, 2.0)]);
        assert_eq!(pieces(&[(1.0, 1.0)], 1.0, 1.0), Vec::<Vec<(f64, f64)>>::new());
    }

    #[test]
    fn shapes_have_about_one_area() {
        let area = |mark: Mark| match mark {
            Mark::Area(Path { points, .. }) => {
                let next = points.iter().cycle().skip(1);
                points.iter().zip(next).map(|((x0, y0), (x1, y1))| x0 * y1 - x1 * y0).sum::<f64>().abs() / 2.0
            }
            _ => std::f64::consts::PI * 100.0,
        };
        for i in 0..5 {
            let ratio = area(marker(i, (3.0, 4.0), 20.0, Rgb::INK, 1.0)) / (std::f64::consts::PI * 100.0);
            assert!((0.85..1.15).contains(&ratio), "{i}: {ratio}");
        }
    }
}
