//! The type `Plot`: figures, drawn when saved.

use std::path::Path;
use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use super::data::write;
use super::tensor::Tensor;
use crate::plot::{self, Colormap, Format, Heatmap, Origin, PlotError, visible_token};
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::error::{ScriptResult, fail};

/// A figure of a script.
#[derive(Clone, Debug)]
pub struct Plot(Arc<Heatmap>);

fn refused_plot(error: PlotError) -> Box<rhai::EvalAltResult> {
    fail(error.to_string()).maybe_help(error.help()).into()
}

/// Registers the type and its figures.
pub fn register(api: &mut Api) {
    api.ty::<Plot>("Plot", "a figure; `.save(..)` draws it", |plot: &Plot| {
        let values = &plot.0.values;
        format!("heatmap of {} x {} values", values.len(), values.first().map_or(0, Vec::len))
    });
    api.function(
        "heatmap(values: Tensor | array, options?: map) -> Plot",
        "a matrix as coloured cells; options: `x`, `y` (labels), `title`, `x_title`, `y_title`, `cmap` (a matplotlib \
         name or a list of colours), `vmin`, `vmax`, `center`, `annot`, `fmt`, `cbar`, `origin`, `x_rotation`",
    )
    .example("heatmap([[0.1, 0.9], [0.4, 0.2]], #{x: [\" John\", \" Mary\"], y: [0, 1], cmap: \"RdBu\"})", "heatmap of 2 x 2 values")
    .native(|values: Dynamic| heatmap(&values, Map::new()))
    .native(|values: Dynamic, options: Map| heatmap(&values, options));
    let context = api.context();
    api.method(
        "Plot",
        "save(path: string) -> string",
        "draws into a `.png` or `.svg` file in the output folder; returns where it is",
    )
    .example("heatmap(tensor([[1, 2], [3, 4]])).save(\"map.svg\").ends_with(\"map.svg\")", "true")
    .native(move |plot: &mut Plot, path: &str| -> ScriptResult<String> {
        let format = Format::from_path(Path::new(path)).map_err(refused_plot)?;
        let bytes = plot::render(&plot.0, format).map_err(refused_plot)?;
        write(&context, path, &bytes)
    });
}

/// A heatmap from its script options; checked here, so that a mistake shows at this line and not at `.save`.
pub(super) fn heatmap(values: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut map = Heatmap::new(matrix(values)?).map_err(refused_plot)?;
    let mut options = Options::new(options, "heatmap");
    map.cols = options.get_with("x", labels)?.unwrap_or_default();
    map.rows = options.get_with("y", labels)?.unwrap_or_default();
    map.title = options.get_string("title")?;
    map.x_title = options.get_string("x_title")?;
    map.y_title = options.get_string("y_title")?;
    map.vmin = options.get_f64("vmin")?;
    map.vmax = options.get_f64("vmax")?;
    map.center = options.get_f64("center")?;
    map.cbar = options.get_string("cbar")?;
    map.annot = options.get_bool("annot")?.unwrap_or(map.annot);
    map.fmt = options.get_string("fmt")?.unwrap_or(map.fmt);
    map.cmap = options.get_with("cmap", colormap)?.unwrap_or(map.cmap);
    map.origin = options.get_with("origin", origin)?.unwrap_or(map.origin);
    map.x_rotation = options.get_with("x_rotation", rotation)?;
    options.finish()?;
    map.check().map_err(refused_plot)?;
    Ok(Plot(Arc::new(map)))
}

/// `[rows][cols]`; a single axis is one row.
fn matrix(values: &Dynamic) -> ScriptResult<Vec<Vec<f32>>> {
    if let Some(t) = values.read_lock::<Tensor>() {
        let cols = match t.dims() {
            [cols] | [_, cols] => *cols,
            dims => {
                return Err(fail(format!(
                    "a heatmap takes a tensor of one or two axes, found shape {dims:?}"
                ))
                .help("pick a part, as in `t[0]`, or reduce an axis, as in `t.mean(0)`")
                .into());
            }
        };
        return Ok(t.host()?.chunks(cols.max(1)).map(<[f32]>::to_vec).collect());
    }
    let number = |value: &Dynamic| args::number(value).map(|x| x as f32);
    let rows = values.read_lock::<Array>().ok_or_else(|| expected("a tensor or nested arrays", values))?;
    match rows.first() {
        Some(first) if !first.is_array() && !first.is::<Tensor>() => Ok(vec![args::each(values, number)?]),
        _ => args::each(values, |row| match row.read_lock::<Tensor>() {
            Some(t) if t.dims().len() == 1 => t.host(),
            _ => args::each(row, number),
        }),
    }
}

/// Labels of an axis: texts with their spaces and line breaks made visible, everything else as it prints.
fn labels(value: &Dynamic) -> ScriptResult<Vec<String>> {
    args::each(value, |label| match label.clone().into_immutable_string() {
        Ok(text) => Ok(visible_token(&text)),
        Err(_) => Ok(label.to_string()),
    })
}

fn colormap(value: &Dynamic) -> ScriptResult<Colormap> {
    if value.is_string() {
        return Colormap::parse(&args::string(value)?).map_err(refused_plot);
    }
    if !value.is_array() {
        return Err(expected("the name of a colour map or an array of colours", value).into());
    }
    Colormap::from_colors(&args::each(value, args::string)?).map_err(refused_plot)
}

fn origin(value: &Dynamic) -> ScriptResult<Origin> {
    match args::string(value)?.as_str() {
        "upper" => Ok(Origin::Upper),
        "lower" => Ok(Origin::Lower),
        other => Err(fail(format!("unknown origin `{other}`")).help("use `upper` or `lower`").into()),
    }
}

fn rotation(value: &Dynamic) -> ScriptResult<u16> {
    let degrees = args::int(value)?;
    u16::try_from(degrees).map_err(|_| {
        fail(format!("labels cannot be rotated by {degrees} degrees")).help("use 0, 45 or 90").into()
    })
}

#[cfg(test)]
mod tests {
    use crate::script::HostOptions;
    use crate::script::bind::testing::{check, run};

    #[test]
    fn mistakes_show_where_the_figure_is_made() {
        check(&[
            ("heatmap(tensor([1, 2]))", "heatmap of 1 x 2 values"),
            ("heatmap([tensor([1, 2]), [3, 4.5]])", "heatmap of 2 x 2 values"),
            ("heatmap([[1], [2, 3]])", "row 1 has 2 values, but row 0 has 1; give row 1 1 values as well"),
            (
                "heatmap([1, 2], #{x: [\"a\"]})",
                "1 labels for 2 columns; give 2 labels, or none to number the columns",
            ),
            ("heatmap([1, 2], #{x: [\"a\", 1], cmap: [\"white\", \"#156082\"]})", "heatmap of 1 x 2 values"),
        ]);
        let told = run("heatmap([1], #{cmap: \"blues\"})", HostOptions::default());
        assert!(told.starts_with("option `cmap`: unknown colour map `blues`; write `Blues`"), "{told}");
        let told = run("heatmap(zeros([1, 2, 3]))", HostOptions::default());
        assert!(
            told.starts_with("a heatmap takes a tensor of one or two axes, found shape [1, 2, 3]"),
            "{told}"
        );
        let told = run("heatmap([1], #{titel: \"x\"})", HostOptions::default());
        assert!(told.starts_with("unknown option `titel` of `heatmap`; did you mean `title`?"), "{told}");
    }

    #[test]
    fn the_file_is_a_picture() {
        let out = tempfile::tempdir().unwrap();
        let options = HostOptions { out: Some(out.path().into()), ..HostOptions::default() };
        run(
            "let p = heatmap([[1, 2]], #{x: [\" a\", \"\\n\"]}); p.save(\"a.png\"); p.save(\"b/c.svg\")",
            options.clone(),
        );
        assert!(std::fs::read(out.path().join("a.png")).unwrap().starts_with(b"\x89PNG"));
        let svg = std::fs::read_to_string(out.path().join("b/c.svg")).unwrap();
        assert!(svg.contains("·a") && svg.contains('⏎'), "{svg}");
        let told = run("heatmap([1]).save(\"../a.png\")", options.clone());
        assert!(told.contains("`..` is not allowed"), "{told}");
        let told = run("heatmap([1]).save(\"a.pdf\")", options);
        assert!(told.starts_with("cannot tell the picture format of `a.pdf`"), "{told}");
    }
}
