//! Metrics: one number from the logits, for all but the loss those at the last position.

use std::sync::Arc;

use rhai::{Dynamic, FnPtr, NativeCallContext};

use super::runs;
use super::tokens::Tokens;
use super::trace::Trace;
use crate::run::Metric;
use crate::run::metric::{Ending, Kind, TokenSet};
use crate::script::api::Api;
use crate::script::args::{self, expected};
use crate::script::bind::closure;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Of one token: constructor, meaning, kind, example and its output.
type One = (&'static str, &'static str, fn(TokenSet) -> Kind, &'static str, &'static str);
type Two = (&'static str, &'static str, fn(TokenSet, TokenSet) -> Kind, &'static str, &'static str);

const OF_ONE: &[One] = &[
    (
        "logit(token: any) -> Metric",
        "the logit of a token: a string that is one token, or an id",
        Kind::Logit,
        "let t = load().trace(\" John gave\"); logit(\" Mary\").of(t) == t.last[load().token(\" Mary\")]",
        "true",
    ),
    (
        "prob(tokens: any) -> Metric",
        "the probability of a token, or of a set of tokens together",
        Kind::Prob,
        "prob(load().variants(\"TRUE\")).of(load().trace(\" John gave\")) < 1.0",
        "true",
    ),
    (
        "logprob(tokens: any) -> Metric",
        "the log-probability of a token, or of a set of tokens together, in nats",
        Kind::Logprob,
        "logprob(\" Mary\").of(load().trace(\" John gave\")) < 0.0",
        "true",
    ),
    (
        "rank(token: any) -> Metric",
        "how many tokens have a higher logit: 0 is the top",
        Kind::Rank,
        "let t = load().trace(\" John gave\"); rank(t.top(3)[2].id).of(t)",
        "2.0",
    ),
];

const OF_TWO: &[Two] = &[
    (
        "logit_diff(correct: any, wrong: any) -> Metric",
        "the difference of two tokens' logits",
        Kind::LogitDiff,
        "logit_diff(\" Mary\", \" Mary\").of(load().trace(\" John gave\"))",
        "0.0",
    ),
    (
        "logprob_diff(a: any, b: any) -> Metric",
        "log P(a) - log P(b) of tokens or sets of tokens, in nats",
        Kind::LogprobDiff,
        "let m = load(); let d = logprob_diff(m.variants(\"TRUE\"), m.variants(\"TRUE\")); d.of(m.trace(\" John is\"))",
        "0.0",
    ),
];

/// Registers Metric.
pub fn register(api: &mut Api) {
    api.ty::<Metric>("Metric", "one number from the logits, at the last position unless it is a loss", |m| {
        format!("{m:?}")
    });
    for &(signature, summary, kind, code, output) in OF_ONE {
        api.function(signature, summary)
            .example(code, output)
            .native(move |token: Dynamic| -> ScriptResult<Metric> { Ok(Metric::new(kind(tokens(&token)?))) });
    }
    for &(signature, summary, kind, code, output) in OF_TWO {
        api.function(signature, summary).example(code, output).native(
            move |a: Dynamic, b: Dynamic| -> ScriptResult<Metric> {
                Ok(Metric::new(kind(tokens(&a)?, tokens(&b)?)))
            },
        );
    }
    api.function("kl(clean: Trace) -> Metric", "KL(clean || this run), in nats")
        .example("let t = load().trace(\" John gave\"); kl(t).of(t)", "0.0")
        .native(|clean: Trace| Metric::new(Kind::Kl(clean.inner)));
    api.function("entropy() -> Metric", "the entropy of the next token, in nats")
        .example("entropy().of(load().trace(\" John gave\")) < (4096.0).ln()", "true")
        .native(|| Metric::new(Kind::Entropy));
    api.function(
        "loss(ending: any) -> Metric",
        "the mean cross-entropy of the tokens that the prompt ends with (a string, Tokens or ids; all but the first if they \
         are all of it), each predicted from those before it, in nats a token",
    )
    .example(
        "let m = load(); let both = loss(\" gave half\").of(m.trace(\" John gave half\")); \
         let gave = logprob(\" gave\").of(m.trace(\" John\")); let half = logprob(\" half\").of(m.trace(\" John gave\")); \
         (both + (gave + half) / 2.0).abs() < 1e-5",
        "true",
    )
    .native(|tokens: Dynamic| -> ScriptResult<Metric> { Ok(Metric::new(Kind::Loss(ending(&tokens)?))) });
    let context = api.context();
    api.function("metric(f: function) -> Metric", "any number from the last position's logits, [d_vocab]")
        .example(
            "metric(|logits| logits[5] - logits[6]).of(load().trace(\" John gave\")).type_of()",
            "\"f64\"",
        )
        .native(move |f: FnPtr| of_closure(&context, f));
    methods(api);
}

fn methods(api: &mut Api) {
    api.method("Metric", "of(trace: Trace) -> float", "the metric of a run")
        .example("let t = load().trace(\" John gave\"); rank(t.top(1)[0].id).of(t)", "0.0")
        .native(|call: NativeCallContext, metric: &mut Metric, trace: Trace| {
            let (metric, context) = (metric.clone(), trace.context);
            closure::serve(&call, &context, runs::control(&context), move |control| {
                metric.of(&trace.inner, control)
            })
        });
    api.method(
        "Metric",
        "recovered(clean: number, corrupt: number) -> Metric",
        "the metric as a fraction: 0 at the corrupted run's value, 1 at the clean run's",
    )
    .example("let t = load().trace(\" John gave\"); rank(t.top(2)[1].id).recovered(2.0, 0.0).of(t)", "0.5")
    .native(|metric: &mut Metric, clean: Dynamic, corrupt: Dynamic| -> ScriptResult<Metric> {
        metric
            .recovered(args::number(&clean)?, args::number(&corrupt)?)
            .map_err(crate::script::bind::refusal::run)
    });
}

fn of_closure(context: &Arc<Context>, f: FnPtr) -> Metric {
    Metric::new(Kind::Func(closure::metric(context, f)))
}

/// A Metric, or a closure over the last logits.
pub fn read(context: &Arc<Context>, value: &Dynamic) -> ScriptResult<Metric> {
    if let Some(metric) = value.read_lock::<Metric>() {
        return Ok(metric.clone());
    }
    match value.read_lock::<FnPtr>() {
        Some(f) => Ok(of_closure(context, f.clone())),
        None => Err(expected("a Metric", value)
            .help("for example `logit_diff(\" Mary\", \" John\")`, or a closure `|logits| …`")
            .into()),
    }
}

/// A string, Tokens, or an array of ids.
fn ending(value: &Dynamic) -> ScriptResult<Ending> {
    if let Some(tokens) = value.read_lock::<Tokens>() {
        return Ok(Ending::Ids(tokens.inner.ids().to_vec()));
    }
    if value.is_string() {
        return Ok(Ending::Text(args::string(value)?));
    }
    if value.is_array() {
        return Ok(Ending::Ids(args::each(value, id)?));
    }
    Err(expected("a string, Tokens or an array of ids", value).into())
}

fn id(value: &Dynamic) -> ScriptResult<u32> {
    u32::try_from(args::int(value)?)
        .map_err(|_| fail(format!("{value} is no token id")).help("ids count from 0").into())
}

/// A string, an id, or an array of these.
fn tokens(value: &Dynamic) -> ScriptResult<TokenSet> {
    if value.is_string() {
        return Ok(TokenSet::Text(args::string(value)?));
    }
    if value.is_array() {
        return Ok(TokenSet::Many(args::each(value, tokens)?));
    }
    match value.is_int() {
        true => Ok(TokenSet::Ids(vec![id(value)?])),
        false => Err(expected("a token: a string, an id or an array of these", value).into()),
    }
}
