//! Several figures as one, and a page of many heatmaps to pick from.

use rhai::{Dynamic, Map};

use super::figure::{Plot, figure, plot};
use super::options::{colors, labels, titles};
use crate::plot::{Figure, Heatmap, Panels, Stack};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::data::write;
use crate::script::bind::refusal;
use crate::script::bind::tensor::Tensor;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Registers the functions.
pub fn register(api: &mut Api) {
    api.function(
        "grid_of(plots: array, options?: map) -> Plot",
        "several figures as one; options: `columns` (as many as rows, about, if none), `title`, `share` (true gives heatmaps one \
         scale of colours)",
    )
    .example(
        "grid_of((0..4).map(|head| heatmap(load().trace(\" John gave\", pattern(6))[pattern(6).head(head)], #{title: `head ${head}`})), #{share: true})",
        "4 figures in 2 columns",
    )
    .native(|plots: Dynamic| panels(&plots, Map::new()))
    .native(|plots: Dynamic, options: Map| panels(&plots, options));
    let context = api.context();
    let plain = context.clone();
    api.function(
        "stack_report(path: string, values: Tensor, options?: map) -> string",
        "writes a page of heatmaps, [maps, rows, cols] or [layers, heads, rows, cols], one of which is picked by sliders, keys or a \
         click, without network; options: `picks` (what the first axes are, `[\"layer\", \"head\"]` if nothing is said), `x`, `y`, \
         `title`, `x_title`, `y_title`, `cmap`, `vmin`, `vmax`, `center`, `cbar`; returns where it is, in the output folder",
    )
    .example(
        "let t = load().trace(\" John gave\", \"pattern.*\"); \
         stack_report(\"heads.html\", stack((0..8).map(|l| t[pattern(l)]), 0), #{x: t.tokens, y: t.tokens}).ends_with(\"heads.html\")",
        "true",
    )
    .native(move |path: &str, values: Tensor| report(&plain, path, &values, Map::new()))
    .native(move |path: &str, values: Tensor, options: Map| report(&context, path, &values, options));
}

/// Figures as one.
fn panels(plots: &Dynamic, options: Map) -> ScriptResult<Plot> {
    let mut options = Options::new(options, "grid_of");
    let mut figures = args::each(plots, figure)?;
    let columns = options.get_usize("columns")?;
    // As near to a square as it goes.
    let columns = columns.unwrap_or_else(|| (figures.len() as f64).sqrt().ceil() as usize);
    let (title, share) = (options.get_string("title")?, options.get_bool("share")?.unwrap_or(false));
    options.finish()?;
    if share {
        share_colors(&mut figures);
    }
    plot(Figure::Panels(Panels { figures, columns, title }))
}

/// Gives all heatmaps one scale: from the least of their values to the largest.
fn share_colors(figures: &mut [Figure]) {
    let mut maps: Vec<&mut Heatmap> = figures
        .iter_mut()
        .filter_map(|figure| if let Figure::Heatmap(map) = figure { Some(map) } else { None })
        .collect();
    let values = || maps.iter().flat_map(|map| map.values.iter().flatten()).filter(|value| value.is_finite());
    let (low, high) = (
        values().copied().fold(f32::INFINITY, f32::min),
        values().copied().fold(f32::NEG_INFINITY, f32::max),
    );
    if low < high {
        for map in &mut maps {
            map.colors.vmin.get_or_insert(low.into());
            map.colors.vmax.get_or_insert(high.into());
        }
    }
}

fn report(context: &Context, path: &str, values: &Tensor, options: Map) -> ScriptResult<String> {
    if !path.ends_with(".html") {
        return Err(fail(format!("`{path}` does not name a page")).help("end the name in `.html`").into());
    }
    let [ref outer @ .., rows, cols] = *values.dims() else {
        return Err(not_a_stack(values));
    };
    if !(1..=2).contains(&outer.len()) {
        return Err(not_a_stack(values));
    }
    let mut options = Options::new(options, "stack_report");
    let named = options.get_with("picks", |picks| args::each(picks, args::string))?;
    let names = named.unwrap_or_else(|| match outer {
        [_] => vec!["map".to_owned()],
        _ => vec!["layer".to_owned(), "head".to_owned()],
    });
    if names.len() != outer.len() {
        return Err(fail(format!("`picks` has {} names for {} axes", names.len(), outer.len()))
            .help("give one for each axis before the rows")
            .into());
    }
    let stack = Stack {
        picks: names.into_iter().zip(outer.iter().copied()).collect(),
        rows,
        cols,
        values: values.host()?,
        row_labels: options.get_with("y", labels)?.unwrap_or_default(),
        col_labels: options.get_with("x", labels)?.unwrap_or_default(),
        titles: titles(&mut options)?,
        colors: colors(&mut options)?,
    };
    options.finish()?;
    let page = context.apart(move || stack.page())?.map_err(refusal::of)?;
    write(context, path, &page)
}

fn not_a_stack(values: &Tensor) -> Box<rhai::EvalAltResult> {
    fail(format!("a stack of heatmaps has three or four axes, found shape {:?}", values.dims()))
        .help("put maps together with `stack([..], 0)`")
        .into()
}

#[cfg(test)]
mod tests {
    use crate::script::bind::testing::check;

    #[test]
    fn figures_are_put_together() {
        check(&[
            (
                "grid_of([line([1, 2]), heatmap([[1, 2]]), bars([1])], #{columns: 3, title: \"t\"})",
                "3 figures in 3 columns",
            ),
            ("grid_of([])", "a grid of no values; check what filtered or computed the values"),
            (
                "grid_of([1])",
                "element 0: expected a figure, found `int`; make one with `heatmap`, `line` or `scatter`",
            ),
            ("grid_of([line([1])], #{columns: 0})", "a grid of no columns; use 1 or more"),
        ]);
    }

    #[test]
    fn what_is_no_stack_is_told() {
        check(&[
            ("stack_report(\"a.html\", zeros([2, 3, 3])).ends_with(\"a.html\")", "true"),
            (
                "stack_report(\"a.html\", zeros([2, 3]))",
                "a stack of heatmaps has three or four axes, found shape [2, 3]; put maps together with `stack([..], 0)`",
            ),
            (
                "stack_report(\"a.png\", zeros([2, 3, 3]))",
                "`a.png` does not name a page; end the name in `.html`",
            ),
            (
                "stack_report(\"a.html\", zeros([2, 3, 3]), #{picks: [\"a\", \"b\"]})",
                "`picks` has 2 names for 1 axes; give one for each axis before the rows",
            ),
            (
                "stack_report(\"a.html\", zeros([2, 3, 3]), #{x: [\"a\"]})",
                "1 labels for 3 columns; give 3 labels, or none to number the columns",
            ),
        ]);
    }
}
