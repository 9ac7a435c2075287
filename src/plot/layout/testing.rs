//! Whether a layout can be read.

use super::super::scene::{Mark, Rect, Scene, Text};

pub fn texts(scene: &Scene) -> Vec<&Text> {
    let marks = scene.marks.iter();
    marks
        .filter_map(|mark| match mark {
            Mark::Text(text) => Some(text),
            _ => None,
        })
        .collect()
}

type Corners = [(f64, f64); 4];

fn corners(mark: &Mark) -> Corners {
    if let Mark::Text(text) = mark {
        return text.corners();
    }
    let Rect { left, top, right, bottom } = mark.bounds();
    [(left, top), (right, top), (right, bottom), (left, bottom)]
}

/// Whether two turned boxes share more than an edge: no side of either separates them.
fn overlap(a: &Corners, b: &Corners) -> bool {
    let range = |corners: &Corners, (x, y): (f64, f64)| {
        let along = corners.map(|(cx, cy)| cx * x + cy * y);
        (along.into_iter().fold(f64::MAX, f64::min), along.into_iter().fold(f64::MIN, f64::max))
    };
    [a, b].into_iter().flat_map(|c| [(c[0], c[1]), (c[1], c[2])]).all(|((x0, y0), (x1, y1))| {
        let length = (x1 - x0).hypot(y1 - y0);
        let axis = ((x1 - x0) / length, (y1 - y0) / length);
        let ((low_a, high_a), (low_b, high_b)) = (range(a, axis), range(b, axis));
        high_a > low_b + 0.01 && high_b > low_a + 0.01
    })
}

/// Everything is on the canvas, and no text meets another or, but for the numbers in the cells, anything.
pub fn assert_legible(scene: &Scene, annot: bool) {
    for mark in &scene.marks {
        let Rect { left, top, right, bottom } = mark.bounds();
        assert!(left >= 0.0 && top >= 0.0 && right <= scene.width && bottom <= scene.height, "{mark:?}");
    }
    let boxes: Vec<Corners> = scene.marks.iter().map(corners).collect();
    for (i, mark) in scene.marks.iter().enumerate().filter(|(_, mark)| matches!(mark, Mark::Text(_))) {
        for (j, other) in scene.marks.iter().enumerate().filter(|(j, _)| *j != i) {
            let counts = !annot || matches!(other, Mark::Text(_));
            assert!(!(counts && overlap(&boxes[i], &boxes[j])), "{mark:?}\n{other:?}");
        }
    }
}
