//! Lines, bars, histograms, points and coloured tokens.

use rhai::{Array, Dynamic, Map};

use super::figure::{Plot, plot};
use super::options::{color, colors, ends, is_row, labels, numbers, rotation, rows, titles};
use crate::plot::{
    Axis, Chart, Dash, Figure, Guides, PointColor, Rgb, Scatter, Series, Style, Titles, TokenMap,
};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::model::site;
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::error::{ScriptResult, fail};

/// The spec of matplotlib's small markers.
const POINT_SIZE: f64 = 5.0;
const MAX_LABELS: usize = 250;

/// Registers the kinds.
pub fn register(api: &mut Api) {
    api.function(
        "line(y: Tensor | array, options?: map) -> Plot",
        "a line through numbers, or one a row; `line(x, y)` gives the places too; options: `x` (numbers or labels), \
         `labels` (a name a line), `error` (half the height of the band, as many as `y`), `color`, `dash` (\"dashed\" or \
         \"dotted\", or one a line), `xlim`, `ylim` (the ends of an axis), `x_log`, `y_log`, `vlines`, `hlines` (numbers with a \
         dashed line across), `title`, `x_title`, `y_title`, `x_rotation`",
    )
    .example(
        "line([[0.1, 0.5, 0.9], [0.2, 0.2, 0.3]], #{labels: [\"clean\", \"patched\"], x_title: \"layer\"})",
        "2 lines of 3 values",
    )
    .native(|y: Dynamic| series(Style::Lines, None, &y, Map::new()))
    .native(|y: Dynamic, options: Map| series(Style::Lines, None, &y, options))
    .native(|x: Dynamic, y: Dynamic| series(Style::Lines, Some(x), &y, Map::new()))
    .native(|x: Dynamic, y: Dynamic, options: Map| series(Style::Lines, Some(x), &y, options));
    api.function(
        "bars(values: Tensor | array, options?: map) -> Plot",
        "bars from 0, or one colour of them a row; `bars(x, values)` gives the labels too; the options are those of \
         `line` but `dash`, `xlim`, `x_log` and `y_log`, with `error` as whiskers",
    )
    .example("bars([\"John\", \"Mary\"], [0.7, 0.2], #{error: [0.1, 0.05]})", "1 series of 2 bars")
    .native(|y: Dynamic| series(Style::Bars, None, &y, Map::new()))
    .native(|y: Dynamic, options: Map| series(Style::Bars, None, &y, options))
    .native(|x: Dynamic, y: Dynamic| series(Style::Bars, Some(x), &y, Map::new()))
    .native(|x: Dynamic, y: Dynamic, options: Map| series(Style::Bars, Some(x), &y, options));
    api.function(
        "hist(values: Tensor | array, options?: map) -> Plot",
        "how often values fall into equal parts of their range, as NumPy's `histogram`; options: `bins` (a count; NumPy's \
         \"auto\" if none), `range`, `color`, `ylim`, `hlines`, `vlines`, `title`, `x_title`, `y_title`",
    )
    .example("hist([1, 2, 2, 3.5], #{bins: 3})", "histogram of 3 bins")
    .native(|values: Dynamic| histogram(&values, Map::new()))
    .native(|values: Dynamic, options: Map| histogram(&values, options));
    api.function(
        "scatter(x: Tensor | array, y: Tensor | array, options?: map) -> Plot",
        "points; options: `labels` (a text a point), `max_labels` (the first so many are drawn, 250 if none), `color` (a \
         colour, or a number or group a point; groups have shapes, too), `cmap`, `vmin`, `vmax`, `center`, `cbar`, `size`, \
         `error`, `x_error` (half the length of a whisker a point), `xlim`, `ylim`, `x_log`, `y_log`, `vlines`, `hlines`, `title`, \
         `x_title`, `y_title`",
    )
    .example(
        "scatter([0, 1, 2], [1, 4, 9], #{labels: [\" a\", \" b\", \" c\"], color: [0.1, 0.5, 0.9]})",
        "scatter plot of 3 points",
    )
    .native(|x: Dynamic, y: Dynamic| points(&x, &y, Map::new()))
    .native(|x: Dynamic, y: Dynamic, options: Map| points(&x, &y, options));
    api.function(
        "tokens_html(tokens: Tokens | array, values: Tensor | array, options?: map) -> Plot",
        "a text with each token on the colour of its value, in any format; or several, each on lines of its own, of an array of \
         tokens and one of values; options: `cmap`, `vmin`, `vmax`, `center`, `cbar`, `title`",
    )
    .example("tokens_html(load().tokens(\" John gave\"), [0.0, 0.1, 0.9], #{cmap: \"Blues\"})", "3 coloured tokens")
    .native(|tokens: Dynamic, values: Dynamic| coloured(&tokens, &values, Map::new()))
    .native(|tokens: Dynamic, values: Dynamic, options: Map| coloured(&tokens, &values, options));
}

/// Lines or bars from their script options.
fn series(style: Style, x: Option<Dynamic>, y: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let values = rows(y)?;
    let mut options = Options::new(options, if style == Style::Lines { "line" } else { "bars" });
    let given = options.get("x");
    let names = options.get_with("labels", labels)?.unwrap_or_default();
    let errors = options.get_with("error", rows)?.unwrap_or_default();
    let colors = options.get_with("color", line_colors)?.unwrap_or_default();
    let titles = titles(&mut options)?;
    let guides = if style == Style::Lines { guides(&mut options)? } else { level_guides(&mut options)? };
    let dashes = match style {
        Style::Lines => options.get_with("dash", dashes)?.unwrap_or_default(),
        Style::Bars | Style::Bins => vec![],
    };
    let x_rotation = options.get_with("x_rotation", rotation)?;
    options.finish()?;
    for (name, found) in [("labels", names.len()), ("error", errors.len()), ("dash", dashes.len())] {
        // One dash is that of all.
        if found != 0 && found != values.len() && !(name == "dash" && found == 1) {
            let expected = values.len();
            return Err(refusal::of(crate::plot::PlotError::Lengths {
                name,
                found,
                expected,
                of: "rows of `y`",
            }));
        }
    }
    let n = values.first().map_or(0, Vec::len);
    let x = axis(style, x.or(given).as_ref(), n)?;
    let one = |(i, values): (usize, Vec<f64>)| Series {
        name: names.get(i).cloned().unwrap_or_default(),
        color: colors.get(i).copied(),
        values,
        errors: errors.get(i).cloned().unwrap_or_default(),
        dash: dashes.get(i).or(dashes.first()).copied().unwrap_or_default(),
    };
    let series = values.into_iter().enumerate().map(one).collect();
    plot(Figure::Chart(Chart { style, x, series, titles, guides, x_rotation }))
}

/// `xlim`, `ylim`, `x_log`, `y_log`, `vlines` and `hlines`.
fn guides(options: &mut Options) -> ScriptResult<Guides> {
    Ok(Guides {
        xlim: options.get_with("xlim", ends)?,
        x_log: options.get_bool("x_log")?.unwrap_or_default(),
        y_log: options.get_bool("y_log")?.unwrap_or_default(),
        ..level_guides(options)?
    })
}

/// Those of figures that stand on 0, side by side.
fn level_guides(options: &mut Options) -> ScriptResult<Guides> {
    Ok(Guides {
        ylim: options.get_with("ylim", ends)?,
        vlines: options.get_with("vlines", places)?.unwrap_or_default(),
        hlines: options.get_with("hlines", places)?.unwrap_or_default(),
        ..Guides::default()
    })
}

/// One number, or several.
fn places(value: &Dynamic) -> ScriptResult<Vec<f64>> {
    if value.is_int() || value.is_float() { Ok(vec![args::number(value)?]) } else { numbers(value) }
}

/// One dash, or one a row.
fn dashes(value: &Dynamic) -> ScriptResult<Vec<Dash>> {
    let dash = |value: &Dynamic| match args::string(value)?.as_str() {
        "solid" => Ok(Dash::Solid),
        "dashed" => Ok(Dash::Dashed),
        "dotted" => Ok(Dash::Dotted),
        other => {
            Err(fail(format!("unknown dash `{other}`")).help("use `solid`, `dashed` or `dotted`").into())
        }
    };
    if value.is_array() { args::each(value, dash) } else { Ok(vec![dash(value)?]) }
}

/// Numbers are places of a line, everything else is a label.
fn axis(style: Style, x: Option<&Dynamic>, n: usize) -> ScriptResult<Axis> {
    let Some(x) = x else {
        return Ok(match style {
            Style::Lines => Axis::Numbers((0..n).map(|i| i as f64).collect()),
            _ => Axis::Labels { n, labels: vec![] },
        });
    };
    let items = x.read_lock::<Array>();
    let all_numbers = items.is_some_and(|items| items.iter().all(|item| args::number(item).is_ok()));
    if style == Style::Lines && (all_numbers || x.is::<Tensor>() || site::range(x).is_some()) {
        return Ok(Axis::Numbers(numbers(x)?));
    }
    Ok(Axis::Labels { n, labels: labels(x)? })
}

/// One colour, or one a row.
fn line_colors(value: &Dynamic) -> ScriptResult<Vec<Rgb>> {
    if value.is_array() { args::each(value, color) } else { Ok(vec![color(value)?]) }
}

fn histogram(values: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut options = Options::new(options, "hist");
    let (bins, range) = (options.get_usize("bins")?, options.get_with("range", ends)?);
    let mut chart = Chart::histogram(&numbers(values)?, bins, range).map_err(refusal::of)?;
    let titles = titles(&mut options)?;
    chart.titles = Titles { y: titles.y.or(chart.titles.y), ..titles };
    chart.guides = level_guides(&mut options)?;
    let color = options.get_with("color", color)?;
    options.finish()?;
    chart.series.iter_mut().for_each(|series| series.color = color);
    plot(Figure::Chart(chart))
}

fn points(x: &Dynamic, y: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut options = Options::new(options, "scatter");
    let scale = colors(&mut options)?;
    let point_color = |value: &Dynamic| -> ScriptResult<PointColor> {
        let first_is_text =
            value.read_lock::<Array>().is_some_and(|items| items.first().is_some_and(Dynamic::is_string));
        Ok(match value {
            one if one.is_string() => PointColor::Same(color(one)?),
            groups if first_is_text => PointColor::Groups(labels(groups)?),
            values => PointColor::Values(numbers(values)?, scale.clone()),
        })
    };
    let scatter = Scatter {
        x: numbers(x)?,
        y: numbers(y)?,
        labels: options.get_with("labels", labels)?.unwrap_or_default(),
        max_labels: options.get_usize("max_labels")?.unwrap_or(MAX_LABELS),
        color: options.get_with("color", point_color)?.unwrap_or_default(),
        size: options.get_f64("size")?.unwrap_or(POINT_SIZE),
        x_errors: options.get_with("x_error", numbers)?.unwrap_or_default(),
        y_errors: options.get_with("error", numbers)?.unwrap_or_default(),
        guides: guides(&mut options)?,
        titles: titles(&mut options)?,
    };
    options.finish()?;
    plot(Figure::Scatter(scatter))
}

fn coloured(tokens: &Dynamic, values: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut options = Options::new(options, "tokens_html");
    let several = values.read_lock::<Array>().is_some_and(|items| items.first().is_some_and(is_row));
    let (tokens, values) = match several {
        true => (args::each(tokens, labels)?, args::each(values, numbers)?),
        false => (vec![labels(tokens)?], vec![numbers(values)?]),
    };
    if tokens.len() != values.len() {
        let (found, expected) = (values.len(), tokens.len());
        return Err(refusal::of(crate::plot::PlotError::Lengths {
            name: "values",
            found,
            expected,
            of: "texts",
        }));
    }
    if let Some(i) = (0..tokens.len()).find(|i| several && tokens[*i].len() != values[*i].len()) {
        let message = format!("text {i} has {} tokens and {} values", tokens[i].len(), values[i].len());
        return Err(fail(message).help("give a value for each token").into());
    }
    let starts = tokens.iter().scan(0, |start, tokens| {
        let this = *start;
        *start += tokens.len();
        Some(this)
    });
    let map = TokenMap {
        starts: if several { starts.collect() } else { vec![] },
        tokens: tokens.concat(),
        values: values.concat().into_iter().map(|value| value as f32).collect(),
        titles: Titles { title: options.get_string("title")?, ..Titles::default() },
        colors: colors(&mut options)?,
    };
    options.finish()?;
    plot(Figure::Tokens(map))
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn numbers_come_in_many_shapes() {
        check(&[
            ("line(0..4, [1, 2, 3, 4.5])", "1 line of 4 values"),
            (
                "line(tensor([[1, 2], [3, 4]]), #{x: [0.5, 1.5], error: [[1, 1], [0, 0]]})",
                "2 lines of 2 values",
            ),
            (
                "line([tensor([1, 2]), [3, 4]], #{x: [\"a\", \"b\"], color: [\"red\", \"#00ff00\"]})",
                "2 lines of 2 values",
            ),
            ("bars(tensor([1, 2]))", "1 series of 2 bars"),
            ("hist(tensor([1, 2, 3]), #{bins: 2, range: [0, 4], x_title: \"x\"})", "histogram of 2 bins"),
            ("scatter([1], [2], #{color: \"navy\"})", "scatter plot of 1 point"),
            (
                "scatter([1, 2], [2, 3], #{color: [\"a\", \"b\"], max_labels: 0, size: 3})",
                "scatter plot of 2 points",
            ),
            ("tokens_html([\" a\", \"\\n\"], tensor([1, 2]), #{title: \"t\"})", "2 coloured tokens"),
            ("tokens_html([[\" a\"], [\"b\", \"c\"]], [tensor([1]), [2, 3]])", "3 coloured tokens"),
            (
                "line([1, 10, 100], #{y_log: true, hlines: 5, vlines: [1, 2], xlim: [0, 3], dash: \"dotted\"})",
                "1 line of 3 values",
            ),
            (
                "scatter([1, 2], [1, 2], #{error: [0.5, 0.2], x_error: tensor([0, 1]), hlines: [1.5]})",
                "scatter plot of 2 points",
            ),
        ]);
    }

    #[test]
    fn mistakes_are_met_with_the_cure() {
        check(&[
            ("line([])", "a chart of no values; check what filtered or computed the values"),
            (
                "line([0.0 / 0.0])",
                "none of the values is a finite number; check what filtered or computed the values",
            ),
            (
                "bars([1, 2], #{error: [0, -0.5]})",
                "error 1 is -0.5, which is below 0; an error reaches as far up as down: give 0.5 instead",
            ),
            (
                "line([1, 2], #{x: [1]})",
                "`y` has 2 values for 1 places of `x`; give `y` 1 values, one for each of the places of `x`",
            ),
            (
                "line([[1, 2], [3, 4]], #{labels: [\"a\"]})",
                "`labels` has 1 values for 2 rows of `y`; give `labels` 2 values, one for each of the rows of `y`",
            ),
            (
                "line([1, 2], #{ylim: [0, 1.5]})",
                "`ylim` from 0 to 1.5 leaves out 2; write `ylim: [0, 2]`, or leave `ylim` out to take it from the data",
            ),
            (
                "line([1, 2], #{ylim: [1]})",
                "option `ylim`: expected a lower and an upper end, found 1 numbers; write both, as in `[0, 1]`",
            ),
            (
                "bars([1, 2], #{width: 3})",
                "unknown option `width` of `bars`; valid options: `color`, `error`, `hlines`, `labels`, `title`, `vlines`, `x`, \
                 `x_rotation`, `x_title`, `y_title`, `ylim`",
            ),
            (
                "scatter([1, 0.0 / 0.0], [1, 2])",
                "value 1 of `x` is NaN, which has no place on an axis; leave value 1 out, for example with `.filter(..)`, \
                 together with what belongs to it",
            ),
            (
                "scatter([1], [1, 2])",
                "`y` has 2 values for 1 points; give `y` 1 values, one for each of the points",
            ),
            (
                "line([0, 1], #{y_log: true})",
                "0 has no logarithm, so it has no place on this axis; leave out what is 0 or below, or do without `x_log` and `y_log`",
            ),
            (
                "line([1, 2], #{x: [\"a\", \"b\"], xlim: [0, 1]})",
                "`xlim` and `x_log` are for an axis of numbers, and this one has labels; leave them out, or give numbers as `x`",
            ),
            (
                "line([1, 2], #{dash: \"dash\"})",
                "option `dash`: unknown dash `dash`; use `solid`, `dashed` or `dotted`",
            ),
            (
                "scatter([1, 2], [1, 2], #{error: [1, -1]})",
                "error 1 is -1, which is below 0; an error reaches as far up as down: give 1 instead",
            ),
            (
                "tokens_html([[\"a\"], [\"b\"]], [[1], [2, 3]])",
                "text 1 has 1 tokens and 2 values; give a value for each token",
            ),
            (
                "tokens_html([[\"a\"]], [[1], [2]])",
                "`values` has 2 values for 1 texts; give `values` 1 values, one for each of the texts",
            ),
            ("hist([1], #{bins: 0})", "a histogram of 0 bins; use 1 to 1000 bins"),
            (
                "tokens_html([\"a\"], [1, 2])",
                "`values` has 2 values for 1 tokens; give `values` 1 values, one for each of the tokens",
            ),
        ]);
    }
}
