//! The kernels of a card beside the plain operations, and that their number does not grow. Runs where
//! `PATCHSCRIPT_TEST_DEVICE` names a card.

mod common;

use candle_core::{DType, Device, Tensor, Var};
use common::*;
use patchscript::model::attention::{Qkv, attend};
use patchscript::model::config::Activation;
use patchscript::model::files::assemble::Target;
use patchscript::model::files::made::random as random_weights;
use patchscript::model::rope::RotaryTable;
use patchscript::model::weight::Weight;
use patchscript::model::{Batch, Config, Kv, NoHook, Point, Segment, card, ops, parse_device};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Value};
use serde_json::json;

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// What one rounding of a dtype may do to a number near 1, and float32 sums in another order.
fn roundings(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 1e-5,
        DType::F16 => 2f32.powi(-10),
        _ => 2f32.powi(-7),
    }
}

/// The card, unless tests run on the CPU.
fn card() -> Option<Device> {
    let device = parse_device(&device()).unwrap();
    if device.is_cpu() {
        eprintln!("no card: PATCHSCRIPT_TEST_DEVICE is not `cuda`");
        return None;
    }
    Some(device)
}

fn rounded(x: &Tensor, dtype: DType) -> Tensor {
    x.to_dtype(dtype).unwrap().to_dtype(DType::F32).unwrap()
}

fn config(d_head: usize, heads: [usize; 2], window: usize, cap: Option<f64>) -> Config {
    let config = json!({"model_type": "gemma2", "hidden_size": 32, "num_hidden_layers": 2, "head_dim": d_head,
        "num_attention_heads": heads[0], "num_key_value_heads": heads[1], "intermediate_size": 8, "vocab_size": 8,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": d_head, "attn_logit_softcapping": cap, "final_logit_softcapping": null,
        "sliding_window": window, "rope_theta": 1e4});
    Config::from_json(config).unwrap()
}

/// Attention of ragged segments, some of which share a past, beside the CPU's composed form on the same numbers.
#[test]
fn attention_is_the_composed_form() {
    let Some(device) = card() else { return };
    let segment = |len, past, past_len| Segment { len, past, past_len };
    let ragged = vec![
        segment(37, 0, 0),
        segment(1, 5, 60),
        segment(9, 5, 31),
        segment(9, 5, 31),
        segment(70, 40, 100),
        segment(2, 0, 1),
    ];
    let rows = vec![segment(1, 0, 140), segment(1, 3, 17), segment(1, 0, 0), segment(1, 100, 33)];
    let long = vec![segment(1, 0, 139), segment(90, 0, 64)];
    for segments in [ragged, rows, long] {
        for (d_head, heads) in [
            (8, [4, 2]),
            (16, [6, 1]),
            (64, [9, 3]),
            (96, [4, 4]),
            (128, [8, 2]),
            (128, [8, 1]),
            (256, [4, 1]),
        ] {
            for (window, cap) in [(4000, None), (20, Some(1.5))] {
                for dtype in DTYPES {
                    let config = config(d_head, heads, window, cap);
                    let batch = Batch::new(segments.clone());
                    let [q_width, kv_width] = heads.map(|n| n * d_head);
                    let (n, past) = (batch.rows(), 141);
                    let shapes =
                        [[n, q_width], [n, kv_width], [n, kv_width], [past, kv_width], [past, kv_width]];
                    let x: Vec<Tensor> =
                        (1..).zip(&shapes).map(|(seed, s)| (random(s, seed) * 2.0).unwrap()).collect();
                    let z = |x: Vec<Tensor>, q: &Tensor, layer: usize| {
                        let (own, past) = (
                            Kv { k: x[1].clone(), v: x[2].clone() },
                            Kv { k: x[3].clone(), v: x[4].clone() },
                        );
                        let qkv = Qkv { q, own: &own, past: Some(&past) };
                        attend(&config, layer, &qkv, &Batch::new(segments.clone()), &mut NoHook).unwrap()
                    };
                    for layer in 0..2 {
                        let plain: Vec<Tensor> = x.iter().map(|x| rounded(x, dtype)).collect();
                        let tracked = Var::from_tensor(&plain[0]).unwrap();
                        let want = z(plain, tracked.as_tensor(), layer);
                        let here = |x: &Tensor| x.to_device(&device).unwrap().to_dtype(dtype).unwrap();
                        let there: Vec<Tensor> = x.iter().map(here).collect();
                        let before = card::launches();
                        let found = z(there.clone(), &there[0], layer);
                        assert_eq!(card::launches() - before, 1, "one launch");
                        let diff = max_diff(&found, &want.detach());
                        let what = format!("{d_head} {heads:?} {window} {cap:?} {dtype:?} layer {layer}");
                        assert!(diff < 2.0 * roundings(dtype), "{what}: {diff}");
                    }
                }
            }
        }
    }
}

/// Puts a tensor on a device.
type On<'a> = &'a dyn Fn(Tensor) -> Tensor;

/// Row-wise kernels beside the same operations on the CPU, on the same numbers.
#[test]
fn rows_are_the_plain_operations() {
    let Some(device) = card() else { return };
    for dtype in DTYPES {
        let close = |name: &str, f: &dyn Fn(On) -> Tensor| {
            let want = f(&|x| rounded(&x, dtype));
            let before = card::launches();
            let found = f(&|x| x.to_device(&device).unwrap().to_dtype(dtype).unwrap());
            assert_eq!(card::launches() - before, 1, "{name}: one launch");
            let largest = flat(&want).iter().fold(1f32, |most, x| most.max(x.abs()));
            let diff = max_diff(&found, &want) / largest;
            assert!(diff < 2.0 * roundings(dtype), "{name} {dtype:?}: {diff}");
        };
        for (rows, width) in [(1, 8), (3, 96), (70, 576), (5, 4096), (2, 11008)] {
            let x = |seed| (random(&[rows, width], seed) * 3.0).unwrap();
            let vector = |seed| random(&[width], seed);
            close("add", &|on| ops::add(&on(x(1)), &on(x(2))).unwrap());
            close("add_bias", &|on| ops::add_bias(&on(x(1)), &on(vector(2))).unwrap());
            close("rms_norm", &|on| ops::rms_norm(&on(x(1)), &on(vector(2)), 1e-5).unwrap());
            close("layer_norm", &|on| {
                ops::layer_norm(&on(x(1)), &on(vector(2)), &on(vector(3)), 1e-5).unwrap()
            });
            let bias = |on: On, with| if with { Some(on(vector(3))) } else { None };
            for with in [true, false] {
                for second in [true, false] {
                    close("add_norm", &|on| {
                        let (a, b, gain, bias) = (on(x(1)), on(x(2)), on(vector(4)), bias(on, with));
                        let (sum, normed) = ops::add_norm(&a, &b, &gain, bias.as_ref(), 1e-5).unwrap();
                        if second { normed } else { sum }
                    });
                }
            }
            for kind in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                close("activation", &|on| ops::activation(&on(x(1)), kind).unwrap());
                close("gated", &|on| ops::gated(&on(x(1)), &on(x(2)), kind).unwrap());
            }
            let from: Vec<u32> = (0..rows as u32 + 3).map(|i| i * 7 % (2 * rows as u32)).collect();
            close("take", &|on| {
                let (a, b) = (on(x(1)), on(x(2)));
                ops::take(&a, Some(&b), &Tensor::new(from.as_slice(), a.device()).unwrap()).unwrap()
            });
        }
        for (d_head, half) in [(64, 32), (96, 16)] {
            let positions: Vec<u32> = (0..50).map(|i| i * 13 % 40).collect();
            let angles = (random(&[40, half], 9) * 6.0).unwrap();
            close("rotary", &|on| {
                let x = on(random(&[50, 3 * d_head], 1));
                let table = |t: Tensor| t.to_device(x.device()).unwrap();
                let (cos, sin) = (table(angles.cos().unwrap()), table(angles.sin().unwrap()));
                let positions = Some(Tensor::new(positions.as_slice(), x.device()).unwrap());
                let k = x.narrow(1, 0, d_head).unwrap().contiguous().unwrap();
                let [q, k] = ops::rotary([&x, &k], &RotaryTable { cos, sin, positions }, d_head).unwrap();
                let first = q.narrow(1, 0, d_head).unwrap();
                assert_eq!(flat(&first), flat(&k));
                q
            });
        }
    }
}

/// Products of one row with several matrices, whose columns fill no whole number of blocks, beside those on the CPU.
#[test]
fn one_row_is_multiplied_at_once() {
    let Some(device) = card() else { return };
    for dtype in DTYPES {
        for (inner, columns) in [(8, [8, 24, 40]), (576, [576, 192, 192]), (1000, [14_344, 8, 1048])] {
            for rows in 1..=2 {
                let x = random(&[rows, inner], 1);
                let weights = columns.map(|n| random(&[inner, n], n as u64));
                let product = |on: &dyn Fn(&Tensor) -> Tensor| {
                    let [a, b, c] = weights.each_ref().map(|w| Weight::Dense(on(w), None));
                    ops::products(&on(&x), [&a, &b, &c]).unwrap()
                };
                let want = product(&|x| rounded(x, dtype));
                let before = card::launches();
                let found = product(&|x| x.to_device(&device).unwrap().to_dtype(dtype).unwrap());
                assert_eq!(card::launches() - before, usize::from(rows == 1 && dtype != DType::F32));
                for (found, want) in found.iter().zip(&want) {
                    let largest = flat(want).iter().fold(1f32, |most, x| most.max(x.abs()));
                    let diff = max_diff(found, want) / largest;
                    assert!(diff < 2.0 * roundings(dtype), "{inner} {rows} {dtype:?}: {diff}");
                }
            }
        }
    }
}

/// Made weights are the same numbers wherever they are made.
#[test]
fn random_weights_are_those_of_the_processor() {
    let Some(device) = card() else { return };
    for dtype in DTYPES {
        let weights = |device: &Device| {
            let target = Target { device: device.clone(), dtype, quantized: false, shuffled: None };
            flat(&random_weights(3, "a", &[301, 17], &target).unwrap())
        };
        assert_eq!(weights(&device), weights(&Device::Cpu), "{dtype:?}");
    }
}

/// The greedy choice: the first of equal ones, its probability, and NaN wherever it is.
#[test]
fn the_largest_logit_is_chosen() {
    let Some(device) = card() else { return };
    let (rows, width) = (5, 50_000);
    let mut numbers = flat(&random(&[rows, width], 3));
    for (row, at) in [(0, 49_999), (1, 0), (2, 777), (2, 31_000)] {
        numbers[row * width + at] = 4.0;
    }
    numbers[3 * width + 40_000] = f32::NAN;
    numbers[4 * width + 123] = f32::INFINITY;
    let logits = Tensor::from_vec(numbers.clone(), (rows, width), &device).unwrap();
    let chosen = ops::greedy(&logits).unwrap().expect("a kernel");
    assert_eq!([chosen[0].0, chosen[1].0, chosen[2].0], [49_999, 0, 777]);
    assert!(chosen[3].2.is_nan() && chosen[4].2 == f32::INFINITY);
    for (row, (_, logprob, largest)) in chosen.iter().take(3).enumerate() {
        let sum: f64 = numbers[row * width..][..width].iter().map(|&x| f64::from(x - 4.0).exp()).sum();
        assert_eq!(*largest, 4.0);
        assert!((f64::from(*logprob) + sum.ln()).abs() < 1e-5, "{row}");
    }
}

/// Neither more cells nor more sequences start more kernels.
#[test]
fn launches_do_not_grow() {
    if card().is_none() {
        return;
    }
    let model = tiny("llama");
    let prompt = |first: u32, len: u32| {
        id_tokens(&model, &(0..len).map(|i| (first + 7 * i) % 250).collect::<Vec<_>>())
    };
    let base = prompt(3, 40);
    let donor = run(&model, &prompt(5, 40), vec![], &[]);
    let metric = Metric::new(Kind::LogitDiff(TokenSet::Ids(vec![5]), TokenSet::Ids(vec![77])));
    let of_sweep = |positions: i64, value: &Value| {
        let site = |layer, pos| Site::new(Point::ResidPost, layer).at(Pos::Index(pos));
        let patch =
            |layer, pos| Patch { allow_noop: true, ..Patch::new(site(layer, pos), Edit::Add(value.clone())) };
        let layers = 0..model.config().n_layers;
        let cells =
            layers.flat_map(|l| (0..positions).map(move |pos| vec![patch(l, pos)])).collect::<Vec<_>>();
        let before = card::launches();
        sweep(&model, &base, &cells, &metric, SweepOptions::default(), &Control::default()).unwrap();
        card::launches() - before
    };
    for value in [Value::Trace(donor.clone()), Value::Tensor(random(&[model.config().d_model], 4))] {
        of_sweep(1, &value);
        assert_eq!(of_sweep(2, &value), of_sweep(39, &value));
    }
    let of_generation = |n: u32, tokens: usize| {
        let prompts: Vec<_> = (0..n).map(|i| (prompt(i, 5 + i % 9), vec![])).collect();
        let options = GenerateOptions { max_new_tokens: tokens, ..GenerateOptions::default() };
        let before = card::launches();
        generate(&model, &prompts, &options, &Control::default()).unwrap();
        card::launches() - before
    };
    let step = |n| of_generation(n, 4) - of_generation(n, 3);
    assert_eq!(step(2), step(60));
    assert_eq!(of_generation(2, 3), of_generation(60, 3));
}
