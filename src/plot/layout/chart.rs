//! Lines, bars and histograms.

use super::super::chart::{Axis, Chart, Series, Style};
use super::super::scene::{Mark, Path, Rect, Scene};
use super::super::{Guides, PlotError, Rgb};
use super::legend::Key;
use super::marker::{marker, stroke};
use super::plane::{Plane, range, span};
use super::{Room, column_labels, finish, legend};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 300.0;
/// No area is wider, however many bars there are.
const WIDEST: f64 = 4000.0;
const LINE_WIDTH: f64 = 1.75;
const DOT: f64 = 5.0;
/// Lines of more points are drawn without dots.
const MOST_DOTS: usize = 80;
const BAND_OPACITY: f64 = 0.2;
/// How much of its place the bars of one label take.
const BAR: f64 = 0.8;

/// Lays out `chart`, which has been checked.
pub(in super::super) fn lay_out(chart: &Chart, room: Room) -> Result<Scene, PlotError> {
    let plane = plane(chart, room);
    let mut marks = plane.y_axis();
    match &chart.x {
        Axis::Numbers(_) => marks.extend(plane.x_axis()),
        Axis::Labels { n, labels } => {
            let cell = plane.area.width() / *n as f64;
            marks.extend(column_labels(labels, *n, cell, chart.x_rotation, plane.area));
        }
    }
    marks.extend(plane.guides(&chart.guides));
    let mut spots = Vec::new();
    for (i, series) in chart.series.iter().enumerate() {
        let drawn = match chart.style {
            Style::Lines => line(chart, &plane, series, i),
            Style::Bars | Style::Bins => bars(chart, &plane, series, i),
        };
        marks.extend(drawn.marks);
        spots.extend(drawn.spots);
    }
    if chart.style != Style::Lines {
        // What the bars stand on, or hang from.
        let zero = plane.height(0.0);
        marks.push(Mark::Fill(Rect::new(plane.area.left, zero - 0.5, plane.area.width(), 1.0), Rgb::INK));
    }
    marks.extend(plane.frame());
    let key = |i: usize, series: &Series| match chart.style {
        Style::Lines => {
            let point = (series.values.len() <= MOST_DOTS).then_some(i);
            Key::Line { width: LINE_WIDTH, dash: series.dash, point }
        }
        Style::Bars | Style::Bins => Key::Swatch,
    };
    let mut entries: Vec<(String, Rgb, Key)> = chart
        .series
        .iter()
        .enumerate()
        .filter(|(_, series)| !series.name.is_empty())
        .map(|(i, series)| (series.name.clone(), series.color(i), key(i, series)))
        .collect();
    if chart.series.iter().flat_map(|series| &series.values).any(|value| !value.is_finite()) {
        entries.push(("not finite".to_owned(), Rgb::MISSING, Key::Point(0)));
    }
    legend::place(&entries, plane.area, &mut marks);
    Ok(finish(marks, spots, plane.area, &chart.titles, room))
}

struct Drawn {
    marks: Vec<Mark>,
    spots: Vec<Rect>,
}

fn plane(chart: &Chart, room: Room) -> Plane {
    let Guides { xlim, ylim, x_log, y_log, vlines, hlines } = &chart.guides;
    let mut y = span(chart.heights(), hlines, *ylim, *y_log);
    if chart.style != Style::Lines && ylim.is_none() {
        // Bars stand on the axis; only beyond them is a margin.
        let (low, high) = range(chart.heights().chain(hlines.iter().copied()));
        y = (if low == 0.0 { low } else { y.0 }, if high == 0.0 { high } else { y.1 });
    }
    let (width, x) = match &chart.x {
        Axis::Labels { n, .. } => {
            let cell = (WIDTH / *n as f64).max(16.0).min(WIDEST / *n as f64);
            (cell * *n as f64, (-0.5, *n as f64 - 0.5))
        }
        Axis::Numbers(edges) if chart.style == Style::Bins => (WIDTH, range(edges.iter().copied())),
        Axis::Numbers(places) => (WIDTH, span(places.iter().copied(), vlines, *xlim, *x_log)),
    };
    let height = room.data.map_or(HEIGHT, |width| width * HEIGHT / WIDTH);
    let area = Rect::new(0.0, 0.0, room.data.unwrap_or(width), height);
    Plane { area, x, y, x_log: *x_log, y_log: *y_log }
}

/// The number on the horizontal axis at which value `i` lies.
fn place(chart: &Chart, i: usize) -> f64 {
    match &chart.x {
        Axis::Labels { .. } => i as f64,
        Axis::Numbers(places) => places.get(i).copied().unwrap_or(0.0),
    }
}

/// A grey dot just above the axis, where there is no number.
fn missing(plane: &Plane, x: f64) -> Mark {
    Mark::disc((plane.across(x), plane.area.bottom - DOT), DOT, Rgb::MISSING, 1.0)
}

fn line(chart: &Chart, plane: &Plane, series: &Series, i: usize) -> Drawn {
    let color = series.color(i);
    let (mut bands, mut lines, mut dots) = (Vec::new(), Vec::new(), Vec::new());
    let places: Vec<usize> = (0..series.values.len()).collect();
    // What is not finite parts the line.
    for run in places.chunk_by(|a, b| series.values[*a].is_finite() == series.values[*b].is_finite()) {
        if !series.values[run[0]].is_finite() {
            dots.extend(run.iter().map(|i| missing(plane, place(chart, *i))));
            continue;
        }
        let along = |end: usize| move |i: &usize| plane.at(place(chart, *i), series.reach(*i)[end]);
        let points: Vec<_> = run.iter().map(along(0)).collect();
        if !series.errors.is_empty() {
            let edge = run.iter().map(along(1)).chain(run.iter().rev().map(along(2))).collect();
            bands.push(Mark::Area(Path { points: edge, color, opacity: BAND_OPACITY }));
        }
        // A point between two gaps would not show without a dot.
        if series.values.len() <= MOST_DOTS || points.len() == 1 {
            dots.extend(points.iter().map(|point| marker(i, *point, DOT, color, 1.0)));
        }
        lines.extend(stroke(points, color, LINE_WIDTH, series.dash));
    }
    let spot = |i: usize| {
        let value = series.values[i];
        let y = if value.is_finite() { plane.height(value) } else { plane.area.bottom };
        Rect::new(plane.across(place(chart, i)), y, 0.0, 0.0)
    };
    let spots = places.iter().map(|i| spot(*i)).collect();
    Drawn { marks: bands.into_iter().chain(lines).chain(dots).collect(), spots }
}

fn bars(chart: &Chart, plane: &Plane, series: &Series, i: usize) -> Drawn {
    let color = series.color(i);
    let (mut marks, mut spots) = (Vec::new(), Vec::new());
    for (at, value) in series.values.iter().enumerate() {
        let (from, to) = match &chart.x {
            Axis::Numbers(edges) if chart.style == Style::Bins => (edges[at], edges[at + 1]),
            _ => {
                let width = BAR / chart.series.len() as f64;
                let from = place(chart, at) - BAR / 2.0 + width * i as f64;
                (from, from + width)
            }
        };
        if !value.is_finite() {
            marks.push(missing(plane, (from + to) / 2.0));
        }
        let [value, low, high] = if value.is_finite() { series.reach(at) } else { [0.0; 3] };
        let ((left, zero), (right, end)) = (plane.at(from, 0.0), plane.at(to, value));
        // The bars of a histogram touch, with a hairline of paper between them.
        let gap = if chart.style == Style::Bins { 0.5_f64.min((right - left) / 4.0) } else { 0.0 };
        let bar = Rect::new(left + gap, zero.min(end), right - left - 2.0 * gap, (zero - end).abs());
        if bar.height() > 0.0 {
            marks.push(Mark::Fill(bar, color));
        }
        spots.push(bar);
        if !series.errors.is_empty() && low < high {
            let ((x, top), (_, bottom)) =
                (plane.at((from + to) / 2.0, high), plane.at((from + to) / 2.0, low));
            marks.push(Mark::Fill(Rect::new(x - 0.5, top, 1.0, bottom - top), Rgb::INK));
            let cap = ((right - left) / 4.0).min(4.0);
            marks.extend(
                [top, bottom].map(|y| Mark::Fill(Rect::new(x - cap, y - 0.5, 2.0 * cap, 1.0), Rgb::INK)),
            );
        }
    }
    Drawn { marks, spots }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::{Dash, Titles};
    use super::super::testing::{assert_legible, texts};
    use super::*;

    fn chart(style: Style, x: Axis, values: &[&[f64]]) -> Chart {
        let series = |(i, values): (usize, &&[f64])| Series {
            name: format!("series {i}"),
            color: None,
            values: values.to_vec(),
            errors: values.iter().map(|v| v.abs() / 4.0).collect(),
            dash: if i == 0 { Dash::Solid } else { Dash::Dashed },
        };
        Chart {
            style,
            x,
            series: values.iter().enumerate().map(series).collect(),
            titles: Titles::default(),
            guides: Guides::default(),
            x_rotation: None,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_text_is_cut_or_overlaps(
            values in prop::collection::vec(prop_oneof![-1e7..1e7, -1.0..1.0, Just(f64::NAN)], 1..60usize),
            labels in prop::collection::vec("[a-z·<|> ]{1,20}", 60),
            (scale, labelled, bars) in (prop_oneof![1e-6..1e-3, 1.0..1e4], any::<bool>(), any::<bool>()),
            titles in prop::collection::vec(prop::option::of("[a-z]{1,30}( [a-z]{1,30}){0,4}"), 3),
        ) {
            prop_assume!(values.iter().any(|v: &f64| v.is_finite()));
            let x = match labelled {
                true => Axis::Labels { n: values.len(), labels: labels[..values.len()].to_vec() },
                false => Axis::Numbers((0..values.len()).map(|i| i as f64 * scale).collect()),
            };
            let style = if bars && labelled { Style::Bars } else { Style::Lines };
            let mut chart = chart(style, x, &[&values, &values]);
            let [title, x_title, y_title] = <[_; 3]>::try_from(titles).expect("three");
            chart.titles = Titles { title, x: x_title, y: y_title };
            chart.check().expect("a chart");
            let scene = lay_out(&chart, Room::FREE).expect("a layout");
            // Faint lines run behind dots and bars, never behind text.
            assert_legible(&scene, false);
            prop_assert_eq!(scene.spots.len(), chart.records().rows.len());
        }
    }

    #[test]
    fn bars_stand_on_zero_and_reach_their_values() {
        let mut map = chart(Style::Bars, Axis::Labels { n: 3, labels: vec![] }, &[&[2.0, -1.0, 0.0]]);
        map.series[0].errors.clear();
        map.guides.ylim = Some((-1.0, 2.0));
        let scene = lay_out(&map, Room::FREE).expect("a layout");
        let heights: Vec<f64> = scene.spots.iter().map(|spot| (spot.height() * 1e6).round() / 1e6).collect();
        assert_eq!(heights, [200.0, 100.0, 0.0]);
        assert_eq!(scene.spots[0].bottom, scene.spots[1].top);
    }

    #[test]
    fn a_line_is_parted_where_it_is_not_finite() {
        let mut map =
            chart(Style::Lines, Axis::Numbers(vec![0.0, 1.0, 2.0, 3.0]), &[&[1.0, f64::NAN, 2.0, 3.0]]);
        map.series[0].errors.clear();
        // Without a key, which is a line too.
        map.series[0].name.clear();
        let scene = lay_out(&map, Room::FREE).expect("a layout");
        let lines: Vec<usize> = scene
            .marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Stroke(path, LINE_WIDTH) => Some(path.points.len()),
                _ => None,
            })
            .collect();
        assert_eq!(lines, [1, 2]);
        assert!(texts(&scene).iter().any(|text| text.content == "not finite"));
    }

    #[test]
    fn guides_are_in_reach_and_logarithms_make_equal_steps() {
        let x = Axis::Numbers(vec![1.0, 10.0, 100.0]);
        let mut map = chart(Style::Lines, x, &[&[1.0, 10.0, 100.0]]);
        map.series[0].errors.clear();
        map.guides = Guides { x_log: true, y_log: true, hlines: vec![1000.0], ..Guides::default() };
        map.check().expect("a chart");
        let scene = lay_out(&map, Room::FREE).expect("a layout");
        let places: Vec<f64> = scene.spots.iter().map(|spot| spot.left).collect();
        assert!((2.0 * places[1] - places[0] - places[2]).abs() < 1e-6, "{places:?}");
        let tops: Vec<f64> = scene.spots.iter().map(|spot| spot.top).collect();
        assert!((2.0 * tops[1] - tops[0] - tops[2]).abs() < 1e-6 && tops[2] > 60.0, "{tops:?}");
        assert!(texts(&scene).iter().filter(|text| text.content == "1000").count() == 1);

        map.guides.hlines = vec![0.0];
        assert_eq!(map.check(), Err(PlotError::NoLogarithm { value: 0.0 }));
        map.guides = Guides { xlim: Some((2.0, 100.0)), ..Guides::default() };
        assert!(matches!(map.check(), Err(PlotError::OutOfRange { name: "xlim", .. })));
        map.x = Axis::Labels { n: 3, labels: vec![] };
        assert_eq!(map.check(), Err(PlotError::LabelledAxis));
    }

    #[test]
    fn on_paper_the_data_takes_what_the_texts_leave() {
        let x = Axis::Numbers((0..9).map(f64::from).collect());
        let mut map = chart(Style::Lines, x, &[&[1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 1.0, 0.0, 3.0]]);
        map.titles.title =
            Some("a title that is much longer than the figure is wide, so it is wrapped".into());
        let figure = super::super::super::Figure::Chart(map);
        for width in [280.0, 400.0, 900.0] {
            let scene = figure.lay_out_within(width).expect("a layout");
            assert_eq!(scene.width, width);
            assert_legible(&scene, false);
            let drawn = scene.marks.iter().map(Mark::bounds).reduce(Rect::union).expect("marks");
            assert!(width - drawn.right < 16.0, "{width}: {drawn:?}");
        }
        assert_eq!(figure.lay_out_within(90.0), Err(PlotError::TooNarrow));
    }
}
