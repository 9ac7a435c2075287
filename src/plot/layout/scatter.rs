//! Points in a plane, and the labels of some.

use super::super::scatter::{Scatter, reach};
use super::super::scene::{Anchor, Mark, Path, Rect, Scene, Text};
use super::super::text::{one_line, width};
use super::super::{Guides, PlotError, Rgb};
use super::labels::{FAR, NEAR, Placed, place};
use super::legend::Key;
use super::marker::marker;
use super::plane::{Plane, span};
use super::{Room, colorbar, finish, legend};

/// The area without labels; with many it grows until they fit.
const SIZE: (f64, f64) = (480.0, 360.0);
const GROWTH: f64 = 1.25;
const WIDEST: f64 = 1600.0;
const OPACITY: f64 = 0.6;
const LABEL_SIZE: f64 = 9.0;
/// Longer labels are cut; the page and the data have them whole.
const LONGEST_LABEL: usize = 32;

/// Lays out `scatter`, which has been checked.
///
/// # Errors
/// [`PlotError::TooManyLabels`].
pub(in super::super) fn lay_out(scatter: &Scatter, room: Room) -> Result<Scene, PlotError> {
    let scale = scatter.scale()?;
    let (groups, group_of) = (scatter.groups(), scatter.group_of_each());
    let (plane, labels) = fit(scatter, room)?;
    let points: Vec<_> = scatter.x.iter().zip(&scatter.y).map(|(x, y)| plane.at(*x, *y)).collect();

    let mut marks = plane.x_axis();
    marks.extend(plane.y_axis());
    marks.extend(plane.guides(&scatter.guides));
    let color = |i| scatter.point_color(i, &group_of, scale.as_ref().map(|(scale, _)| scale));
    for label in &labels {
        if let Some(leader) = label.leader {
            let path = Path { points: leader.to_vec(), color: Rgb::FAINT.mix(Rgb::INK, 0.4), opacity: 1.0 };
            marks.push(Mark::Stroke(path, 0.5));
        }
    }
    for i in 0..points.len() {
        marks.extend(whiskers(scatter, &plane, i, color(i)));
    }
    let shape = |i: usize| group_of.get(i).copied().unwrap_or(0);
    let point = |(i, at): (usize, &(f64, f64))| marker(shape(i), *at, scatter.size, color(i), OPACITY);
    marks.extend(points.iter().enumerate().map(point));
    for (label, text) in labels.iter().zip(texts(scatter)) {
        let (x, y) = label.rect.center();
        marks.push(Mark::Text(Text::new(text, x, y, Anchor::Middle, LABEL_SIZE)));
    }
    marks.extend(plane.frame());
    if let Some((scale, colors)) = &scale {
        colorbar::place(scale, colors.label.as_deref(), plane.area, &mut marks);
    }
    let entry = |(i, name): (usize, &&String)| ((*name).clone(), Rgb::nth(i), Key::Point(i));
    let entries: Vec<_> = groups.iter().enumerate().map(entry).collect();
    legend::place(&entries, plane.area, &mut marks);
    let spots = points.iter().map(|(x, y)| Rect::new(*x, *y, 0.0, 0.0)).collect();
    Ok(finish(marks, spots, plane.area, &scatter.titles, room))
}

/// The errors of point `i`.
fn whiskers(scatter: &Scatter, plane: &Plane, i: usize, color: Rgb) -> Vec<Mark> {
    let (x, y) = (scatter.x[i], scatter.y[i]);
    let ends = |value: f64, errors: &[f64]| {
        let error = errors.get(i).copied().filter(|error| *error > 0.0 && error.is_finite())?;
        Some((value - error, value + error))
    };
    let level = ends(x, &scatter.x_errors).map(|(low, high)| [plane.at(low, y), plane.at(high, y)]);
    let upright = ends(y, &scatter.y_errors).map(|(low, high)| [plane.at(x, low), plane.at(x, high)]);
    let line = |ends: [(f64, f64); 2]| Mark::Stroke(Path { points: ends.to_vec(), color, opacity: 1.0 }, 1.0);
    level.into_iter().chain(upright).map(line).collect()
}

/// The labels that are drawn, as they are drawn.
fn texts(scatter: &Scatter) -> Vec<String> {
    let cut = |label: &String| {
        let label = one_line(label);
        match label.char_indices().nth(LONGEST_LABEL) {
            Some((end, _)) => format!("{}…", &label[..end]),
            None => label,
        }
    };
    scatter.labels.iter().take(scatter.max_labels).map(cut).collect()
}

/// The smallest area in which all labels find a place near their points, else the smallest in which they find one.
fn fit(scatter: &Scatter, room: Room) -> Result<(Plane, Vec<Placed>), PlotError> {
    let texts = texts(scatter);
    let sizes: Vec<_> = texts.iter().map(|text| (width(text, LABEL_SIZE), LABEL_SIZE * 1.2)).collect();
    let Guides { xlim, ylim, x_log, y_log, vlines, hlines } = &scatter.guides;
    let x = span(reach(&scatter.x, &scatter.x_errors), vlines, *xlim, *x_log);
    let y = span(reach(&scatter.y, &scatter.y_errors), hlines, *ylim, *y_log);
    let side = |grown: &f64| SIZE.0 * grown <= WIDEST;
    let areas: Vec<f64> = match room.data {
        Some(width) => vec![width / SIZE.0],
        None => std::iter::successors(Some(1.0), |grown| Some(grown * GROWTH)).take_while(side).collect(),
    };
    for rings in [NEAR, FAR] {
        for grown in &areas {
            let area = Rect::new(0.0, 0.0, (SIZE.0 * grown).round(), (SIZE.1 * grown).round());
            let plane = Plane { area, x, y, x_log: *x_log, y_log: *y_log };
            let points: Vec<_> = scatter.x.iter().zip(&scatter.y).map(|(x, y)| plane.at(*x, *y)).collect();
            if let Some(labels) = place(&sizes, &points, scatter.size / 2.0, area, rings) {
                return Ok((plane, labels));
            }
        }
    }
    Err(PlotError::TooManyLabels { labels: texts.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{PointColor, Titles};
    use super::super::testing::{assert_legible, texts as drawn};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_label_is_cut_or_overlaps_another(
            points in prop::collection::vec((-3.0..3.0, prop_oneof![Just(0.0), -1e3..1e3]), 1..250),
            labels in prop::collection::vec("[a-zA-Z·]{1,14}", 250),
        ) {
            let scatter = Scatter {
                x: points.iter().map(|(x, _)| *x).collect(),
                y: points.iter().map(|(_, y)| *y).collect(),
                labels: labels[..points.len()].to_vec(),
                max_labels: 250,
                color: PointColor::Same(Rgb::nth(0)),
                size: 5.0,
                x_errors: vec![],
                y_errors: vec![],
                guides: Guides::default(),
                titles: Titles::default(),
            };
            let scene = lay_out(&scatter, Room::FREE).expect("a layout");
            assert_legible(&scene, true);
            let found = drawn(&scene).iter().filter(|text| text.size == LABEL_SIZE).count();
            prop_assert_eq!(found, points.len());
        }
    }

    /// All labels belong to one place, the worst case.
    #[test]
    fn labels_of_one_point_are_spread_around_it() {
        let n = 60;
        let scatter = Scatter {
            x: vec![1.0; n],
            y: vec![1.0; n],
            labels: (0..n).map(|i| format!("label {i}")).collect(),
            max_labels: 40,
            color: PointColor::Groups((0..n).map(|i| format!("g{}", i % 3)).collect()),
            size: 5.0,
            x_errors: vec![0.5; n],
            y_errors: vec![0.0; n],
            guides: Guides::default(),
            titles: Titles::default(),
        };
        let scene = lay_out(&scatter, Room::FREE).expect("a layout");
        assert_legible(&scene, true);
        let labels = drawn(&scene).into_iter().filter(|text| text.content.starts_with("label"));
        assert_eq!(labels.count(), 40);
        assert_eq!(drawn(&scene).iter().filter(|text| text.content.starts_with('g')).count(), 3);
    }
}
