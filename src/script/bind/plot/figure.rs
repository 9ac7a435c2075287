//! The type `Plot`: figures, drawn when saved or shown. Heatmaps are made here, the other kinds in
//! [`chart`](super::chart).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::options::{colors, is_row, labels, numbers, rotation, titles};
use crate::count::count;
use crate::plot::{self, Axis, Figure, Format, Heatmap, Origin, Paper, Style, Terminal};
use crate::script::api::Api;
use crate::script::args::{self, Options, expected};
use crate::script::bind::data::write;
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};
use crate::script::output;
use crate::script::terminal;

/// A figure of a script.
#[derive(Clone, Debug)]
pub struct Plot(Arc<Figure>);

/// Hands a figure to the script, checked, so that a mistake shows at this line and not at `.save`.
pub(super) fn plot(figure: Figure) -> ScriptResult<Plot> {
    figure.check().map_err(refusal::of)?;
    Ok(Plot(Arc::new(figure)))
}

/// What a figure of a script draws.
pub(super) fn figure(value: &Dynamic) -> ScriptResult<Figure> {
    match value.read_lock::<Plot>() {
        Some(plot) => Ok(Figure::clone(&plot.0)),
        None => Err(expected("a figure", value).help("make one with `heatmap`, `line` or `scatter`").into()),
    }
}

/// Registers the type and the heatmap.
pub fn register(api: &mut Api) {
    api.ty::<Plot>("Plot", "a figure; `.save(..)` and `.show()` draw it", |plot| summary(&plot.0));
    api.pictured(|plot: &Plot| plot::show(&plot.0, here()).ok());
    api.function(
        "heatmap(values: Tensor | array, options?: map) -> Plot",
        "a matrix as coloured cells; options: `x`, `y` (labels), `title`, `x_title`, `y_title`, `cmap` (a matplotlib \
         name or a list of colours), `vmin`, `vmax`, `center`, `annot` (true writes the values into the cells; or rows of \
         texts to write there), `fmt` (as many decimals as tell the values apart if none), `cbar`, `origin`, `x_rotation`",
    )
    .example("heatmap([[0.1, 0.9], [0.4, 0.2]], #{x: [\" John\", \" Mary\"], y: [0, 1], cmap: \"RdBu\"})", "heatmap of 2 x 2 values")
    .native(|values: Dynamic| heatmap(&values, Map::new()))
    .native(|values: Dynamic, options: Map| heatmap(&values, options));
    let context = api.context();
    let save = move |plot: &Plot, path: &str, options: Map| save(&context, plot, path, options);
    let plain = save.clone();
    api.method(
        "Plot",
        "save(path: string, options?: map) -> string",
        "draws into a `.png`, `.svg` or `.pdf` file, or a page, `.html`, that shows the values under the pointer; `.csv` holds the \
         values, and so does the file beside the picture with `#{data: true}`; on paper, `width` is in millimetres, `font_size` (of \
         the titles of axes, 8 if none) in points, `dpi` (of a `.png`, 300 if none) in dots an inch; returns where it is, in the \
         output folder",
    )
    .example("heatmap(tensor([[1, 2], [3, 4]])).save(\"map.svg\").ends_with(\"map.svg\")", "true")
    .native(move |plot: &mut Plot, path: &str| plain(plot, path, Map::new()))
    .native(move |plot: &mut Plot, path: &str, options: Map| save(plot, path, options));
    let shown = api.context();
    api.method("Plot", "show()", "prints the figure, in colour where the terminal has it")
        .example("heatmap([[1, 2], [3, 4]]).show()", "")
        .native(move |call: NativeCallContext, plot: &mut Plot| -> ScriptResult<()> {
            let figure = plot.0.clone();
            let text = shown.apart(move || plot::show(&figure, here()))?.map_err(refusal::of)?;
            call.call_native_fn("print", (text,))
        });
}

/// Standard output.
fn here() -> Terminal {
    Terminal { color: terminal::has_color(&io::stdout()), width: terminal::width() }
}

/// What the REPL prints for a figure.
fn summary(figure: &Figure) -> String {
    match figure {
        Figure::Heatmap(map) => {
            format!("heatmap of {} x {} values", map.values.len(), map.values.first().map_or(0, Vec::len))
        }
        Figure::Scatter(scatter) => format!("scatter plot of {}", count(scatter.x.len() as u64, "point")),
        Figure::Tokens(map) => count(map.tokens.len() as u64, "coloured token"),
        Figure::Panels(panels) => {
            let columns = panels.columns.min(panels.figures.len()) as u64;
            format!("{} in {}", count(panels.figures.len() as u64, "figure"), count(columns, "column"))
        }
        Figure::Chart(chart) => {
            let (series, values) =
                (chart.series.len() as u64, chart.series.first().map_or(0, |s| s.values.len()));
            match (chart.style, &chart.x) {
                (Style::Bins, Axis::Numbers(_)) => format!("histogram of {}", count(values as u64, "bin")),
                (Style::Lines, _) => {
                    format!("{} of {}", count(series, "line"), count(values as u64, "value"))
                }
                _ => format!("{series} series of {}", count(values as u64, "bar")),
            }
        }
    }
}

fn save(context: &Context, plot: &Plot, path: &str, options: Map) -> ScriptResult<String> {
    let mut options = Options::new(options, "save");
    let data = options.get_bool("data")?.unwrap_or(false);
    let paper = Paper {
        width: options.get_f64("width")?,
        font_size: options.get_f64("font_size")?,
        dpi: options.get_f64("dpi")?,
    };
    options.finish()?;
    let format = Format::from_path(Path::new(path)).map_err(refusal::of)?;
    let render = |format, paper| {
        let figure = plot.0.clone();
        context.apart(move || plot::render_on(&figure, format, &paper))?.map_err(refusal::of)
    };
    let bytes = render(format, paper)?;
    if matches!(format, Format::Png | Format::Pdf) {
        tell_undrawn(context, plot, path);
    }
    if data {
        let beside = Path::new(path).with_extension("csv");
        let csv = render(Format::Csv, Paper::default())?;
        write(context, &beside.to_string_lossy(), &csv)?;
    }
    write(context, path, &bytes)
}

/// Says once a run which characters of a bitmap are boxes, and what helps.
fn tell_undrawn(context: &Context, plot: &Plot, path: &str) {
    let missing = plot::undrawn(&plot.0);
    if missing.is_empty() || context.told_of_fonts.swap(true, Ordering::Relaxed) {
        return;
    }
    let shown: Vec<_> = missing.iter().take(5).map(|c| format!("`{c}`")).collect();
    let more = if missing.len() > shown.len() { ", …" } else { "" };
    output::tell(format_args!(
        "note: no font of this machine draws {}{more}: `{path}` has boxes with their numbers\n = \
         help: save it as `.svg` or `.html`, which have the text; or install a font, such as Noto Sans CJK, or name a \
         font file in {}",
        shown.join(", "),
        plot::FONTS_VARIABLE,
    ));
}

/// A heatmap from its script options.
fn heatmap(values: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut map = Heatmap::new(matrix(values)?).map_err(refusal::of)?;
    let mut options = Options::new(options, "heatmap");
    map.cols = options.get_with("x", labels)?.unwrap_or_default();
    map.rows = options.get_with("y", labels)?.unwrap_or_default();
    map.titles = titles(&mut options)?;
    map.colors = colors(&mut options)?;
    if let Some((annot, texts)) = options.get_with("annot", annot)? {
        (map.annot, map.texts) = (annot, texts);
    }
    map.fmt = options.get_string("fmt")?;
    map.origin = options.get_with("origin", origin)?.unwrap_or(map.origin);
    map.x_rotation = options.get_with("x_rotation", rotation)?;
    options.finish()?;
    plot(Figure::Heatmap(map))
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
    let rows = values.read_lock::<Array>().ok_or_else(|| expected("a tensor or nested arrays", values))?;
    let row = |row: &Dynamic| Ok(numbers(row)?.into_iter().map(|x| x as f32).collect());
    match rows.first() {
        Some(first) if is_row(first) => args::each(values, row),
        Some(_) => Ok(vec![row(values)?]),
        None => Ok(vec![]),
    }
}

/// Whether to write into the cells, and the texts if they are not the values.
fn annot(value: &Dynamic) -> ScriptResult<(bool, Vec<Vec<String>>)> {
    match value.as_bool() {
        Ok(annot) => Ok((annot, Vec::new())),
        Err(_) if value.is_array() => Ok((true, args::each(value, labels)?)),
        Err(_) => Err(expected("true, false or rows of texts", value).into()),
    }
}

fn origin(value: &Dynamic) -> ScriptResult<Origin> {
    match args::string(value)?.as_str() {
        "upper" => Ok(Origin::Upper),
        "lower" => Ok(Origin::Lower),
        other => Err(fail(format!("unknown origin `{other}`")).help("use `upper` or `lower`").into()),
    }
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
            ("heatmap([])", "a heatmap of no values; check what filtered or computed the values"),
            ("heatmap([[1], [2, 3]])", "row 1 has 2 values, but row 0 has 1; give row 1 1 values as well"),
            (
                "heatmap([1, 2], #{x: [\"a\"]})",
                "1 labels for 2 columns; give 2 labels, or none to number the columns",
            ),
            ("heatmap([1, 2], #{x: [\"a\", 1], cmap: [\"white\", \"#156082\"]})", "heatmap of 1 x 2 values"),
            ("heatmap([1, 2], #{annot: [[\" a\", \"b\"]]})", "heatmap of 1 x 2 values"),
            (
                "heatmap([1, 2], #{annot: [[\"a\"]]})",
                "`annot` has 1 columns of texts, but there are 2 columns of values; give a text for each cell, in rows as \
                 the values are",
            ),
            (
                "heatmap([1, 2], #{annot: 1})",
                "option `annot`: expected true, false or rows of texts, found `int`",
            ),
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
        run("heatmap([1]).save(\"a.pdf\", #{width: 85, font_size: 7})", options.clone());
        assert!(std::fs::read(out.path().join("a.pdf")).unwrap().starts_with(b"%PDF-"));
        let told = run("heatmap([1]).save(\"a.html\", #{width: 85})", options.clone());
        assert!(told.ends_with("save as `.pdf`, `.svg` or `.png`, or leave them out"), "{told}");
        let told = run("heatmap([1]).save(\"a.png\", #{width: 8})", options.clone());
        assert!(told.starts_with("`width` is 8, and may be 10 to 2000"), "{told}");
        let told = run("heatmap([1]).save(\"a.eps\")", options);
        assert!(told.starts_with("cannot tell the picture format of `a.eps`"), "{told}");
    }

    #[test]
    fn the_data_goes_beside_the_picture() {
        let out = tempfile::tempdir().unwrap();
        let options = HostOptions { out: Some(out.path().into()), ..HostOptions::default() };
        run(
            "heatmap([[0.1, 2]], #{x: [\" a\", \"b,c\"]}).save(\"a.v1.html\", #{data: true})",
            options.clone(),
        );
        let csv = std::fs::read_to_string(out.path().join("a.v1.csv")).unwrap();
        assert_eq!(csv, "row,column,x,value\n0,0,·a,0.1\n0,1,\"b,c\",2\n");
        assert!(
            std::fs::read_to_string(out.path().join("a.v1.html")).unwrap().starts_with("<!doctype html>")
        );
        let told = run("heatmap([1]).save(\"a.png\", #{dta: true})", options);
        assert!(told.starts_with("unknown option `dta` of `save`; did you mean `data`?"), "{told}");
    }

    #[test]
    fn the_stdlib_dresses_figures() {
        for (call, printed) in [
            ("confusion([[5, 1], [0, 7]], [\"a\", \"b\"])", "heatmap of 2 x 2 values"),
            ("layers([[1, 2, 3], [3, 2, 1]], [\"a\", \"b\"], \"effect\")", "2 lines of 3 values"),
        ] {
            let code = format!("import \"plots\" as plots; plots::{call}");
            assert_eq!(run(&code, HostOptions::default()), printed);
        }
    }
}
