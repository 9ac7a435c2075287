//! What the options of all figures have in common: numbers, labels, titles and colours.

use rhai::{Array, Dynamic};

use crate::memory;
use crate::plot::{Colormap, Colors, Rgb, Titles, visible_token};
use crate::script::args::{self, Options, expected};
use crate::script::bind::model::tokens::Tokens;
use crate::script::bind::model::{grid, site};
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::error::{ScriptResult, fail};

/// `title`, `x_title` and `y_title`.
pub(super) fn titles(options: &mut Options) -> ScriptResult<Titles> {
    Ok(Titles {
        title: options.get_string("title")?,
        x: options.get_string("x_title")?,
        y: options.get_string("y_title")?,
    })
}

/// `cmap`, `vmin`, `vmax`, `center` and `cbar`.
pub(super) fn colors(options: &mut Options) -> ScriptResult<Colors> {
    Ok(Colors {
        cmap: options.get_with("cmap", colormap)?.unwrap_or_default(),
        vmin: options.get_f64("vmin")?,
        vmax: options.get_f64("vmax")?,
        center: options.get_f64("center")?,
        label: options.get_string("cbar")?,
    })
}

/// Refuses a value of the option `cmap` that is no colour map.
pub fn check_colormap(value: &Dynamic) -> ScriptResult<()> {
    colormap(value).map(|_| ()).map_err(|error| args::within("option `cmap`", error))
}

fn colormap(value: &Dynamic) -> ScriptResult<Colormap> {
    if value.is_string() {
        return Colormap::parse(&args::string(value)?).map_err(refusal::of);
    }
    if !value.is_array() {
        return Err(expected("the name of a colour map or an array of colours", value).into());
    }
    Colormap::from_colors(&args::each(value, args::string)?).map_err(refusal::of)
}

pub(super) fn color(value: &Dynamic) -> ScriptResult<Rgb> {
    Rgb::parse(&args::string(value)?).map_err(refusal::of)
}

/// 0, 45 or 90 degrees; the figure refuses others.
pub(super) fn rotation(value: &Dynamic) -> ScriptResult<u16> {
    let degrees = args::int(value)?;
    u16::try_from(degrees).map_err(|_| {
        fail(format!("labels cannot be rotated by {degrees} degrees")).help("use 0, 45 or 90").into()
    })
}

/// Both ends of an axis.
pub(super) fn ends(value: &Dynamic) -> ScriptResult<(f64, f64)> {
    match args::each(value, args::number)?[..] {
        [low, high] => Ok((low, high)),
        ref ends => Err(fail(format!("expected a lower and an upper end, found {} numbers", ends.len()))
            .help("write both, as in `[0, 1]`")
            .into()),
    }
}

/// Labels: texts with their spaces and line breaks made visible, everything else as it prints; of a prompt its
/// tokens.
pub(super) fn labels(value: &Dynamic) -> ScriptResult<Vec<String>> {
    if let Some(tokens) = value.read_lock::<Tokens>() {
        return Ok(tokens.inner.texts().iter().map(|text| visible_token(text)).collect());
    }
    if let Some(t) = value.read_lock::<Tensor>() {
        return Ok(t.host()?.iter().map(f32::to_string).collect());
    }
    let label = |label: &Dynamic| match label.clone().into_immutable_string() {
        Ok(text) => visible_token(&text),
        Err(_) => label.to_string(),
    };
    Ok(grid::axis(value)?.iter().map(label).collect())
}

/// Numbers in a row: a tensor of one axis, an array or a range.
pub(super) fn numbers(value: &Dynamic) -> ScriptResult<Vec<f64>> {
    if let Some(t) = value.read_lock::<Tensor>() {
        return match t.dims() {
            [_] => Ok(t.host()?.into_iter().map(shortest).collect()),
            dims => Err(fail(format!("expected a tensor of one axis, found shape {dims:?}"))
                .help("pick a part, as in `t[0]`, or reduce an axis, as in `t.mean(0)`")
                .into()),
        };
    }
    if let Some((from, to)) = site::range(value) {
        memory::reserve_many(site::len(from, to), size_of::<f64>())?;
        return Ok((from..to).map(|i| i as f64).collect());
    }
    if !value.is_array() {
        return Err(expected("a tensor, an array or a range of numbers", value).into());
    }
    args::each(value, args::number)
}

/// One or several rows of numbers: a tensor of one or two axes, or an array of numbers or of rows.
pub(super) fn rows(value: &Dynamic) -> ScriptResult<Vec<Vec<f64>>> {
    if let Some(t) = value.read_lock::<Tensor>()
        && let [_, width] = t.dims()
    {
        let row = |row: &[f32]| row.iter().copied().map(shortest).collect();
        return Ok(t.host()?.chunks((*width).max(1)).map(row).collect());
    }
    let nested = value.read_lock::<Array>().is_some_and(|items| items.first().is_some_and(is_row));
    if nested { args::each(value, numbers) } else { Ok(vec![numbers(value)?]) }
}

pub(super) fn is_row(value: &Dynamic) -> bool {
    value.is_array() || value.is::<Tensor>()
}

/// The number with the fewest digits that means this float32: 0.1, not 0.10000000149011612.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
