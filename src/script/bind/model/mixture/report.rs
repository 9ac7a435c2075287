//! A page of all components of a mixture.

use std::sync::Arc;

use rhai::{Map, NativeCallContext};

use super::example::mixture;
use super::{Mfa, options};
use crate::analysis::mfa::strongest::{Aggregate, Score};
use crate::data::rows::{Matrix, Rows};
use crate::plot::{Component, Context, Mixture, Point};
use crate::script::api::Api;
use crate::script::bind::refusal;
use crate::script::error::{ScriptResult, fail};

/// Tokens around a context's own, on either side.
const AROUND: usize = 10;

/// Registers `report`.
pub fn register(api: &mut Api) {
    api.method(
        "Mfa",
        "report(path: string, options?: map) -> string",
        "writes a page of all components, the largest first: size, weight, effective rank and neighbours, the contexts that \
         are most their own, and where their activations lie along the two directions of the largest spread. One file, which \
         needs no network. Options: `contexts` (12 a component), `points` (150). Returns where it is",
    )
    .example(mixture!("mixture.report(\"mixture.html\").ends_with(\"mixture.html\")"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa, path: &str| report(&call, mfa, path, Map::new()))
    .native(|call: NativeCallContext, mfa: &mut Mfa, path: &str, options: Map| report(&call, mfa, path, options));
}

fn report(call: &NativeCallContext, mfa: &Mfa, path: &str, map: Map) -> ScriptResult<String> {
    if !path.ends_with(".html") {
        return Err(fail(format!("`{path}` does not name a page")).help("end the name in `.html`").into());
    }
    let mut options = options(map, "report");
    let contexts = options.get_usize("contexts")?.unwrap_or(12);
    let points = options.get_usize("points")?.unwrap_or(150);
    options.finish()?;
    let acts = mfa.acts()?;
    let strongest = mfa.strongest(call, Score::Likelihood, Aggregate::Occurrence, contexts)?;
    let rows: Arc<dyn Rows> = Arc::new(acts.inner.clone());
    let mut own: Vec<Vec<usize>> = vec![Vec::new(); mfa.inner.components()];
    for (row, k) in mfa.assigned(call, &rows)?.into_iter().enumerate() {
        own[k as usize].push(row);
    }
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_by_key(|k| std::cmp::Reverse(own[*k].len()));

    let weights = mfa.inner.weights();
    let mut components = Vec::with_capacity(own.len());
    for k in order {
        let context = |(row, value): (usize, f64)| {
            let place = acts.inner.place(row);
            let start = place.position.saturating_sub(AROUND);
            let end = (place.position + AROUND + 1).min(place.ids.len());
            let tokens = place.ids[start..end].iter().map(|id| acts.inner.text(&[*id])).collect();
            Context { tokens, at: place.position - start, value }
        };
        let contexts = strongest[k].iter().take(contexts).map(|own| context((own.row, own.score))).collect();
        let nearest = mfa.inner.nearest(k, 3).map_err(refusal::of)?;
        let nearest: Vec<String> = nearest.into_iter().map(|(k, _)| k.to_string()).collect();
        let effective_rank = mfa.inner.effective_rank(k).map_err(refusal::of)?;
        let facts = vec![
            ("activations", own[k].len().to_string()),
            ("weight", format!("{:.4}", weights[k])),
            ("effective rank", format!("{effective_rank:.1}")),
            ("near", nearest.join(", ")),
        ];
        let points = scatter(mfa, k, &own[k][..points.min(own[k].len())])?;
        components.push(Component { number: k, facts, contexts, points });
    }
    let origin = acts.inner.origin();
    let title = format!("{} components of {} of {}", mfa.inner.components(), origin.site, origin.model);
    let axes = ["widest direction".to_string(), "second".into()];
    let page = Mixture { title, axes, components }.page().map_err(refusal::of)?;
    Ok(mfa.context.write(path, |to| to.write_all(&page))?.display().to_string())
}

/// Rows along the two directions of component `k` with the largest spread; of one direction, in a line.
fn scatter(mfa: &Mfa, k: usize, rows: &[usize]) -> ScriptResult<Vec<Point>> {
    let acts = mfa.acts()?;
    let spreads = mfa.inner.spreads(k).map_err(refusal::of)?;
    let mut widest: Vec<usize> = (0..spreads.len()).collect();
    widest.sort_by(|a, b| spreads[*b].total_cmp(&spreads[*a]));
    let numbers: Vec<f32> = rows.iter().flat_map(|row| acts.inner.row(*row)).copied().collect();
    let x = Matrix::new(numbers, mfa.inner.width());
    let coordinates = mfa.inner.project(&x, k, false).map_err(refusal::of)?.coordinates;
    let point = |(coordinates, row): (&[f32], &usize)| {
        let [x, y] =
            [0, 1].map(|axis| widest.get(axis).map_or(0.0, |direction| f64::from(coordinates[*direction])));
        Point { x, y, label: acts.inner.text(&[acts.inner.place(*row).token()]) }
    };
    Ok(coordinates.chunks(spreads.len()).zip(rows).map(point).collect())
}
