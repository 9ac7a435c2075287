//! Traces: what a run recorded.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::tokens::Tokens;
use super::{runs, site};
use crate::model::{At, Point};
use crate::run::trace::NextToken;
use crate::run::{self, Control, LedgerEntry, LogitChange, Site, logit_changes};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::tensor::Tensor;
use crate::script::bind::{closure, refusal};
use crate::script::context::Context;
use crate::script::draw;
use crate::script::error::ScriptResult;

/// A recorded run.
#[derive(Clone)]
pub struct Trace {
    pub inner: Arc<run::Trace>,
    pub context: Arc<Context>,
}

impl Trace {
    pub(super) fn read(&self, call: &NativeCallContext, site: &Site) -> ScriptResult<Tensor> {
        let (trace, site) = (self.inner.clone(), site.clone());
        self.tensor(call, move |control| trace.read(&site, control))
    }

    fn tensor(
        &self,
        call: &NativeCallContext,
        read: impl FnOnce(&Control) -> run::Result<candle_core::Tensor> + Send + 'static,
    ) -> ScriptResult<Tensor> {
        let value = closure::serve(call, &self.context, runs::control(&self.context), read)?;
        Tensor::new(&self.context, value)
    }

    /// The `k` most probable next tokens.
    fn top(&self, k: usize) -> ScriptResult<Array> {
        let entry = |next: NextToken| {
            let text = self.inner.model().texts(&[next.id]).concat();
            let entry: [(&str, Dynamic); 4] = [
                ("token", text.into()),
                ("id", i64::from(next.id).into()),
                ("prob", next.prob.into()),
                ("logit", f64::from(next.logit).into()),
            ];
            Dynamic::from(entry.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>())
        };
        let next = self.inner.top(k).map_err(refusal::run)?;
        Ok(next.into_iter().map(entry).collect())
    }
}

/// What each patch did, as maps.
pub fn ledger(entries: &[LedgerEntry]) -> Array {
    let entry = |entry: &LedgerEntry| {
        let fields: [(&str, Dynamic); 3] = [
            ("patch", entry.patch.clone().into()),
            ("fired", (entry.fired as i64).into()),
            ("max_change", f64::from(entry.max_change).into()),
        ];
        Dynamic::from(fields.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>())
    };
    entries.iter().map(entry).collect()
}

/// What is recorded, as a table of points with their layers and shapes.
fn picture(trace: &run::Trace) -> String {
    let mut points: Vec<(Point, Vec<usize>)> = Vec::new();
    for site in trace.sites() {
        let At { point, layer } = site.at;
        match points.iter_mut().find(|(other, _)| *other == point) {
            Some((_, layers)) => layers.push(layer),
            None => points.push((point, vec![layer])),
        }
    }
    let row = |row: usize| {
        let (point, layers) = &points[row];
        let last = layers[layers.len() - 1];
        let layers = match layers.as_slice() {
            _ if !point.in_layer() => String::new(),
            [only] => only.to_string(),
            [first, ..] if last - first + 1 == layers.len() => format!("{first} to {last}"),
            some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        vec![point.name().to_string(), layers, point.axes(trace.model().config()).to_string()]
    };
    let table = draw::rows_of(&["site", "layers", "shape"].map(String::from), points.len(), row);
    format!("{trace:?}\n{table}")
}

/// Registers Trace.
pub fn register(api: &mut Api) {
    api.ty::<Trace>("Trace", "what a run recorded", |trace| format!("{:?}", trace.inner));
    api.pictured(|trace: &Trace| Some(picture(&trace.inner)));
    api.indexer("Trace", "[site: Site] -> Tensor", "the activation at a site, a Site or its name")
        .example("load().trace(\" John gave Mary\")[\"blocks.1.hook_resid_post\"].shape", "[4, 256]")
        .native(|call: NativeCallContext, trace: &mut Trace, site: Site| trace.read(&call, &site))
        .native(|call: NativeCallContext, trace: &mut Trace, name: &str| -> ScriptResult<Tensor> {
            trace.read(&call, &site::read(&name.into())?)
        });
    api.getter("Trace", "logits -> Tensor", "logits at every position, [pos, d_vocab]")
        .example("load().trace(\" John gave Mary\").logits.shape", "[4, 4096]")
        .native(|call: NativeCallContext, trace: &mut Trace| {
            let inner = trace.inner.clone();
            trace.tensor(&call, move |control| inner.logits(control))
        });
    api.getter("Trace", "last -> Tensor", "logits at the last position, [d_vocab]")
        .example("load().trace(\" John gave Mary\").last.shape", "[4096]")
        .native(|trace: &mut Trace| -> ScriptResult<Tensor> {
            Tensor::new(&trace.context, trace.inner.last().map_err(refusal::run)?)
        });
    api.getter("Trace", "tokens -> Tokens", "the prompt")
        .example("load().trace(\" John gave\").tokens", "Tokens[\"<|bos|>\", \" John\", \" gave\"]")
        .native(|trace: &mut Trace| Tokens {
            inner: trace.inner.tokens().clone(),
            model: trace.inner.model().clone(),
        });
    api.getter("Trace", "sites -> array", "what is recorded; other sites are recorded when they are read")
        .example("load().trace(\" John gave\").sites", "[resid_post.0, resid_post.1, resid_post.2, resid_post.3, resid_post.4, resid_post.5, resid_post.6, resid_post.7]")
        .native(|trace: &mut Trace| -> Array {
            trace.inner.sites().into_iter().map(Dynamic::from).collect()
        });
    api.getter("Trace", "ledger -> array", "what each patch did: `patch`, times `fired`, `max_change`")
        .example(
            "load().run(\" John gave\", mlp_post(1).neuron(7).set(3.0)).ledger[0].patch",
            "\"mlp_post.1.7\"",
        )
        .native(|trace: &mut Trace| ledger(trace.inner.ledger()));
    api.method(
        "Trace",
        "top(k: int) -> array",
        "the k likeliest next tokens: `token`, `id`, `prob`, `logit`",
    )
    .example(
        "load().trace(\"The capital of France is\").top(2).map(|t| t.token)",
        "[\" Paris\", \" Madrid\"]",
    )
    .native(|trace: &mut Trace, k: i64| -> ScriptResult<Array> { trace.top(args::size(&k.into())?) });
    api.function(
        "logit_changes(before: Trace, after: Trace, k: int, options?: map) -> map",
        "the k next tokens whose logits are `raised` most from one run to another, and the k that are `lowered` most, the \
         strongest first: arrays of maps of `token`, `id` and `change`. Option `center`: changes are measured from their mean \
         over the vocabulary, as TransformerLens' weights have it",
    )
    .example(
        "let m = load(); let raised = logit_changes(m.trace(\"Wei lives in\"), m.trace(\"The capital of France is\"), 1).raised; \
         raised[0].token",
        "\" Paris\"",
    )
    .native(|before: Trace, after: Trace, k: i64| changes(&before, &after, k, Map::new()))
    .native(|before: Trace, after: Trace, k: i64, options: Map| changes(&before, &after, k, options));
}

fn changes(before: &Trace, after: &Trace, k: i64, options: Map) -> ScriptResult<Map> {
    let mut options = Options::new(options, "logit_changes");
    let center = options.get_bool("center")?.unwrap_or(false);
    options.finish()?;
    let k = args::size(&k.into())?;
    after.context.check_len(k.min(after.inner.model().config().d_vocab))?;
    let [raised, lowered] = logit_changes(&before.inner, &after.inner, k, center).map_err(refusal::run)?;
    let told = |changes: Vec<LogitChange>| -> Dynamic {
        let texts = after.inner.model().texts(&changes.iter().map(|change| change.id).collect::<Vec<_>>());
        let entry = |(LogitChange { id, change }, token): (LogitChange, String)| {
            let fields: [(&str, Dynamic); 3] =
                [("token", token.into()), ("id", i64::from(id).into()), ("change", f64::from(change).into())];
            Dynamic::from(fields.into_iter().map(|(key, value)| (key.into(), value)).collect::<Map>())
        };
        changes.into_iter().zip(texts).map(entry).collect::<Array>().into()
    };
    let entries = [("raised", told(raised)), ("lowered", told(lowered))];
    Ok(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}
