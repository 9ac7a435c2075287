//! The profile of one layer by operation, each beside the machine's own matmul rate or its memory's.

use crate::common::random;
use crate::emit;
use crate::grid::rows_flops;
use crate::timing::timed;
use candle_core::Tensor;
use patchscript::model::attention::{Qkv, attend};
use patchscript::model::family::MlpKind;
use patchscript::model::rope::RotaryTable;
use patchscript::model::weight::Weight;
use patchscript::model::{Batch, Config, Kv, Model, NoHook, Precision, ops};
use serde_json::json;

/// Prompts and positions: the batch of the comparison.
const PROMPTS: usize = 16;
const LEN: usize = 58;

/// Times every operation of a layer on random rows, then the layer itself; the operations are counted as often as
/// a layer has them.
pub fn print(model: &Model, matmul_rate: f64) {
    let config = model.config();
    let rows = PROMPTS * LEN;
    let mut sum = 0.0;
    let mut line = |name: &str, count: usize, flops: f64, bytes: f64, run: &mut dyn FnMut() -> Tensor| {
        run();
        let seconds = count as f64 * timed(15, &mut *run).median();
        sum += seconds;
        let count = count as f64;
        let mut fields = json!({ "microseconds": 1e6 * seconds });
        if flops > 0.0 {
            fields["gflops"] = json!(count * flops / seconds / 1e9);
            fields["share_of_matmul"] = json!(count * flops / seconds / matmul_rate);
        } else {
            fields["gigabytes_per_second"] = json!(count * bytes / seconds / 1e9);
        }
        emit(&format!("operation {name}"), fields);
    };

    let Config { d_model, d_mlp, n_heads, n_kv_heads, d_head, activation, .. } = *config;
    let (q_width, kv_width) = (n_heads * d_head, n_kv_heads * d_head);
    let gated = config.family.mlp == MlpKind::Gated;
    let x = random(&[rows, d_model], 1);
    for (name, count, inner, outer) in [
        ("query, attention output", 2, d_model, q_width),
        ("key, value", 2, d_model, kv_width),
        ("gate, up", if gated { 2 } else { 1 }, d_model, d_mlp),
        ("down", 1, d_mlp, d_model),
    ] {
        let x = random(&[rows, inner], 2);
        let weight = Weight::Dense(random(&[inner, outer], 3), None);
        line(name, count, (2 * rows * inner * outer) as f64, 0.0, &mut || {
            let [y] = ops::products(&x, [&weight], Precision::Highest).unwrap();
            y
        });
    }

    let own = Kv { k: random(&[rows, kv_width], 4), v: random(&[rows, kv_width], 5) };
    let q = random(&[rows, q_width], 6);
    let batch = Batch::prompts(&[LEN; PROMPTS]);
    let seen = PROMPTS * LEN * (LEN + 1) / 2;
    line("attention", 1, (4 * seen * q_width) as f64, 0.0, &mut || {
        attend(config, 0, &Qkv { q: &q, own: &own, past: None }, &batch, &mut NoHook).unwrap()
    });

    let bytes = |tensors: usize, width: usize| (4 * tensors * rows * width) as f64;
    let gain = random(&[d_model], 7);
    line("norm", 2, 0.0, bytes(2, d_model), &mut || ops::rms_norm(&x, &gain, 1e-5).unwrap());
    line("residual sum", 2, 0.0, bytes(3, d_model), &mut || ops::add(&x, &x).unwrap());
    let (gate, up) = (random(&[rows, d_mlp], 8), random(&[rows, d_mlp], 9));
    match gated {
        true => line("gated activation", 1, 0.0, bytes(3, d_mlp), &mut || {
            ops::gated(&gate, &up, activation).unwrap()
        }),
        false => {
            line("activation", 1, 0.0, bytes(2, d_mlp), &mut || ops::activation(&gate, activation).unwrap())
        }
    }
    if let Some(rotary) = &config.kinds[0].rotary {
        let table = RotaryTable::new(rotary, &batch, x.dtype(), x.device()).unwrap();
        line("rotary", 1, 0.0, bytes(2, q_width + kv_width), &mut || {
            let [q, _] = ops::rotary([&q, &own.k], &table, d_head).unwrap();
            q
        });
    }

    let transformer = &model.transformer;
    let prepared = transformer.prepare(batch).unwrap();
    let run = || transformer.layer(0, x.clone(), &prepared, None, &mut NoHook).unwrap();
    run();
    let layer = timed(15, run).median();
    let rate = PROMPTS as f64 * rows_flops(config, 0, LEN) / layer;
    emit(
        "operation layer",
        json!({ "microseconds": 1e6 * layer, "operations_microseconds": 1e6 * sum, "gflops": rate / 1e9,
                "share_of_matmul": rate / matmul_rate }),
    );
}
