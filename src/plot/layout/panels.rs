//! Figures side by side.

use super::super::panels::Panels;
use super::super::scene::{Mark, Rect, Scene};
use super::super::{PlotError, Titles};
use super::{Room, finish};

/// Lays out `panels`, which have been checked: each row as high as its highest figure, each column as wide as its widest, or
/// an equal part of the `width` that all take together.
///
/// # Errors
/// Those of the figures.
pub(in super::super) fn lay_out(panels: &Panels, width: Option<f64>) -> Result<Scene, PlotError> {
    let columns = panels.columns.min(panels.figures.len()).max(1);
    let part = width.map(|width| width / columns as f64);
    let scene = |figure: &super::super::Figure| match part {
        Some(part) => figure.lay_out_within(part),
        None => figure.lay_out(),
    };
    let scenes = panels.figures.iter().map(scene).collect::<Result<Vec<_>, _>>()?;
    let mut widths = vec![0.0f64; columns];
    for (i, scene) in scenes.iter().enumerate() {
        widths[i % columns] = widths[i % columns].max(scene.width);
    }
    let (mut marks, mut spots, mut top) = (Vec::new(), Vec::new(), 0.0);
    for row in scenes.chunks(columns) {
        let mut left = 0.0;
        for (scene, width) in row.iter().zip(&widths) {
            marks.extend(scene.marks.iter().map(|mark| mark.shifted(left, top)));
            spots.extend(scene.spots.iter().map(|spot| spot.shifted(left, top)));
            left += width;
        }
        top += row.iter().map(|scene| scene.height).fold(0.0, f64::max);
    }
    let area = marks.iter().map(Mark::bounds).reduce(Rect::union).unwrap_or(Rect::new(0.0, 0.0, 0.0, 0.0));
    let titles = Titles { title: panels.title.clone(), ..Titles::default() };
    let mut scene = finish(marks, spots, area, &titles, width.map_or(Room::FREE, Room::within));
    scene.width = width.unwrap_or(scene.width);
    Ok(scene)
}
