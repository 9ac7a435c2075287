//! Explanations: what a sweep would take.

use rhai::{Array, Dynamic};

use crate::run::Explanation;
use crate::script::api::Api;

/// A count: signature, meaning, value, and what it is in the example.
type Count = (&'static str, &'static str, fn(&Explanation) -> usize, &'static str, &'static str);

/// A sweep of three cells, of which one is computed.
macro_rules! example {
    ($field:literal) => {
        concat!(
            "let m = load(); let mary = m.trace(\" John gave Mary\"); m.explain(\" John gave half\", ",
            "[resid_post(0).at(3).set(mary), resid_pre(1).at(3).set(mary), resid_pre(1).at(1).set(mary)], logit(5))",
            $field
        )
    };
}

const COUNTS: &[Count] = &[
    ("cells -> int", "cells in all", |e| e.counts.cells(), example!(".cells"), "3"),
    ("computed -> int", "cells that are computed", |e| e.counts.computed, example!(".computed"), "1"),
    ("merged -> int", "cells equal to a computed one", |e| e.counts.merged, example!(".merged"), "1"),
    (
        "known -> int",
        "cells whose donor is the unpatched run there",
        |e| e.counts.known,
        example!(".known"),
        "1",
    ),
    (
        "unreachable -> int",
        "cells whose patches the metric cannot see",
        |e| e.counts.unreachable,
        example!(".unreachable"),
        "0",
    ),
    (
        "donors -> int",
        "runs that have not recorded what the cells read, and will run again",
        |e| e.donors,
        example!(".donors"),
        "0",
    ),
    ("chunks -> int", "walks down the layers", |e| e.chunks, example!(".chunks"), "1"),
    (
        "peak_bytes -> int",
        "the most bytes held at once beyond the weights, estimated",
        |e| e.peak_bytes,
        example!(".peak_bytes > 1000"),
        "true",
    ),
];

/// Registers Explanation.
pub fn register(api: &mut Api) {
    api.ty::<Explanation>("Explanation", "what a sweep would take", ToString::to_string);
    for &(signature, summary, count, code, output) in COUNTS {
        api.getter("Explanation", signature, summary)
            .example(code, output)
            .native(move |explanation: &mut Explanation| count(explanation) as i64);
    }
    api.getter("Explanation", "rows -> array", "rows that go through each layer, all cells together")
        .example(example!(".rows"), "[0, 1, 1, 1, 1, 1, 1, 1]")
        .native(|explanation: &mut Explanation| ints(&explanation.rows));
    api.getter(
        "Explanation",
        "entering -> array",
        "cells that leave the unpatched run at each layer; the last entry is after all layers",
    )
    .example(example!(".entering"), "[0, 1, 0, 0, 0, 0, 0, 0, 0]")
    .native(|explanation: &mut Explanation| ints(&explanation.entering));
    api.getter("Explanation", "flops -> float", "floating-point operations of the whole sweep")
        .example(example!(".flops > 1e5"), "true")
        .native(|explanation: &mut Explanation| explanation.flops);
    api.getter("Explanation", "seconds -> float", "the time that takes at a nominal speed, the same on every machine; `--explain` prints what is measured on this one")
        .example(example!(".seconds > 0.0"), "true")
        .native(|explanation: &mut Explanation| explanation.seconds);
}

fn ints(counts: &[usize]) -> Array {
    counts.iter().map(|&count| Dynamic::from(count as i64)).collect()
}
