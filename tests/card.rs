//! The kernels of a card beside the plain operations, and that their number does not grow. Runs where
//! `PATCHSCRIPT_TEST_DEVICE` names a card.

mod common;
#[path = "common/counted.rs"]
mod counted;

use candle_core::{DType, Device, Tensor, Var};
use common::*;
use counted::Calls;
use patchscript::analysis::mfa::adam::Learner;
use patchscript::analysis::mfa::parameters::{EPS_FLOOR, Parameters};
use patchscript::analysis::mfa::tensors::TensorLearner;
use patchscript::analysis::mfa::train::{Done, Init, Watch};
use patchscript::analysis::mfa::{Kept, Mfa, Sizes, TrainOptions, train};
use patchscript::data::random::Generator;
use patchscript::data::rows::Matrix;
use patchscript::model::attention::{Qkv, attend};
use patchscript::model::config::Activation;
use patchscript::model::files::assemble::Target;
use patchscript::model::files::made::random as random_weights;
use patchscript::model::rope::RotaryTable;
use patchscript::model::weight::Weight;
use patchscript::model::{Batch, Config, Kv, NoHook, Point, Precision, Segment, card, ops, parse_device};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Value, trace};
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

/// Products of few rows with several matrices, whose columns fill no whole number of blocks, beside those on the CPU: in one
/// launch up to 16 rows in half precision, and each row as if it were alone.
#[test]
fn few_rows_are_multiplied_at_once() {
    let Some(device) = card() else { return };
    for dtype in DTYPES {
        for (inner, columns) in [(8, [8, 24, 40]), (576, [576, 192, 192]), (1000, [14_344, 8, 1048])] {
            for rows in [1, 2, 8, 9, 16, 17] {
                let what = format!("{rows} rows of {inner}, {dtype:?}");
                let launches = usize::from(rows <= 16 && dtype != DType::F32);
                let x = random(&[rows, inner], 1);
                let more = random(&[rows, columns[0]], 2);
                let weights = columns.map(|n| random(&[inner, n], n as u64));
                let at = |on: &dyn Fn(&Tensor) -> Tensor, x: &Tensor| -> Vec<Tensor> {
                    let [a, b, c] =
                        weights.each_ref().map(|w| Weight::Dense(ops::laid(&on(w)).unwrap(), None));
                    // Weights have been there for long.
                    on(x).device().synchronize().unwrap();
                    let (x, more, before) = (on(x), on(&more), card::launches());
                    let mut found = ops::products(&x, [&a, &b, &c], Precision::Highest).unwrap().to_vec();
                    let one = card::launches() - before;
                    let more = more.narrow(0, 0, x.dim(0).unwrap()).unwrap();
                    found.push(ops::product_onto(&more, &x, &a, Precision::Highest).unwrap());
                    found.push(
                        ops::gated_product(&x, [&a, &a], Activation::Silu, Precision::Highest).unwrap(),
                    );
                    if !x.device().is_cpu() && x.dim(0).unwrap() == rows {
                        assert_eq!(one, launches, "{what}");
                    }
                    found
                };
                let here = |x: &Tensor| x.to_device(&device).unwrap().to_dtype(dtype).unwrap();
                let (want, found) = (at(&|x| rounded(x, dtype), &x), at(&here, &x));
                for (i, (found, want)) in found.iter().zip(&want).enumerate() {
                    let largest = flat(want).iter().fold(1f32, |most, x| most.max(x.abs()));
                    let diff = max_diff(found, want) / largest;
                    assert!(diff < 4.0 * roundings(dtype), "{what}, {i}: {diff}");
                }
                if launches == 1 {
                    let last = at(&here, &x.narrow(0, rows - 1, 1).unwrap().contiguous().unwrap());
                    for i in [0, 1, 2, 4] {
                        let among = found[i].narrow(0, rows - 1, 1).unwrap();
                        assert_eq!(flat(&last[i]), flat(&among), "{what}, {i}: alone and among others");
                    }
                }
            }
        }
    }
}

/// `high` rounds factors of float32 to 11 bits, `highest` rounds none.
#[test]
fn high_precision_is_tf32() {
    let Some(device) = card() else { return };
    let (x, weight) = (random(&[64, 576], 1), random(&[576, 192], 2));
    let product = |device: &Device, precision| {
        let weight = Weight::Dense(ops::laid(&weight.to_device(device).unwrap()).unwrap(), None);
        let [y] = ops::products(&x.to_device(device).unwrap(), [&weight], precision).unwrap();
        y
    };
    let want = product(&Device::Cpu, Precision::Highest);
    let largest = flat(&want).iter().fold(0f32, |most, x| most.max(x.abs()));
    let error = |precision| max_diff(&product(&device, precision), &want) / largest;
    for _ in 0..2 {
        let (highest, high) = (error(Precision::Highest), error(Precision::High));
        assert!(highest < 1e-6 && (1e-5..1e-3).contains(&high), "{highest} {high}");
    }
}

/// Made weights are the same numbers wherever they are made.
#[test]
fn random_weights_are_those_of_the_processor() {
    let Some(device) = card() else { return };
    for dtype in DTYPES {
        let weights = |device: &Device| {
            let target = Target {
                device: device.clone(),
                dtype,
                quantized: false,
                shuffled: None,
                spread: Default::default(),
            };
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

/// What `work` asks of the card: our kernels, all kernels, and copies.
fn asked(work: impl FnOnce()) -> ([usize; 3], Option<Calls>) {
    let before = card::launches();
    let calls = counted::calls(work);
    let [kernels, copies] = calls.as_ref().map_or([0; 2], Calls::count);
    ([card::launches() - before, kernels, copies], calls)
}

/// Neither more cells nor more sequences start more kernels, ours or other libraries', or copy more often.
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
    let of_sweep = |positions: i64, point: Point, edit: &Edit| {
        let patch = |layer, pos| {
            let site = Site::new(point, layer).at(Pos::Index(pos));
            Patch { allow_noop: true, ..Patch::new(site, edit.clone()) }
        };
        let layers = 0..model.config().n_layers;
        let cells =
            layers.flat_map(|l| (0..positions).map(move |pos| vec![patch(l, pos)])).collect::<Vec<_>>();
        asked(|| {
            sweep(&model, &base, &cells, &metric, SweepOptions::default(), &Control::default()).unwrap();
        })
    };
    let same = |what: &str, work: &dyn Fn(bool) -> ([usize; 3], Option<Calls>)| {
        work(false);
        work(true);
        let (few, many) = (work(false), work(true));
        assert!(few.0[0] > 0, "{what}: no launches");
        assert_eq!(few.0, many.0, "{what}: {:?} and {:?}", few.1, many.1);
    };
    let vector = Value::Tensor(random(&[model.config().d_model], 4));
    for edit in [Edit::Add(Value::Trace(donor.clone())), Edit::Add(vector)] {
        same("a sweep", &|many| of_sweep(if many { 39 } else { 2 }, Point::ResidPost, &edit));
    }
    for point in [Point::Pattern, Point::AttnScores] {
        same("a sweep of patterns", &|many| of_sweep(if many { 39 } else { 2 }, point, &Edit::Scale(0.5)));
    }
    let prompts = |n: u32| -> Vec<_> { (0..n).map(|i| (prompt(i, 5 + i % 9), vec![])).collect() };
    let sites = [Point::ResidPost, Point::Pattern, Point::AttnScores, Point::Z].map(|p| Site::new(p, 1));
    same("traces", &|many| {
        let prompts = prompts(if many { 60 } else { 3 });
        asked(|| {
            trace(&model, &prompts, &sites, &Control::default()).unwrap();
        })
    });
    let of_generation = |n: u32, tokens: usize| {
        let prompts = prompts(n);
        let options = GenerateOptions { max_new_tokens: tokens, ..GenerateOptions::default() };
        asked(|| {
            generate(&model, &prompts, &options, &Control::default()).unwrap();
        })
    };
    for tokens in [1, 4] {
        same("generation", &|many| of_generation(if many { 60 } else { 3 }, tokens));
    }
}

/// Kernels for mixtures beside tensor operations, which tests hold to the CPU's numbers.
#[test]
fn mixtures_learn_by_kernels_as_by_tensor_operations() {
    let Some(device) = card() else { return };
    for (components, width, rank, rows, own, clip) in [
        (3, 5, 2, 9, false, None),
        (70, 131, 10, 45, false, None),
        (40, 64, 7, 100, true, Some(0.05)),
        (300, 96, 3, 33, false, Some(10.0)),
        (9, 300, 32, 64, true, None),
    ] {
        let sizes = Sizes { components, width, rank, psi_per_component: own };
        let numbers = |len: usize, seed| random(&[len], seed).to_vec1::<f32>().unwrap();
        let means = numbers(components * width, 1);
        let mut parameters = Parameters::around(&means, sizes, EPS_FLOOR, &mut Generator::new(2));
        for (x, noise) in parameters.arrays.scale_rho.iter_mut().zip(numbers(components * rank, 3)) {
            *x += noise;
        }
        let learner = Learner::new(parameters);
        let mut kernels = TensorLearner::new(&learner, rows, &device).unwrap();
        let mut plain = TensorLearner::new(&learner, rows, &device).unwrap().plain();
        let noise = numbers(rows * width, 4);
        let x: Vec<f32> = noise.iter().enumerate().map(|(i, x)| means[i % means.len()] + x).collect();
        let x = kernels.rows(&x).unwrap();
        let before = card::launches();
        for _ in 0..4 {
            kernels.step(&x, 1e-3, clip).unwrap();
        }
        assert_eq!(card::launches() - before, 4 * if clip.is_some() { 11 } else { 8 });
        (0..4).for_each(|_| plain.step(&x, 1e-3, clip).unwrap());
        let [found, want] = [&mut kernels, &mut plain].map(|learner| learner.likelihoods().unwrap());
        for (found, want) in found.iter().zip(&want) {
            assert!((found - want).abs() <= 1e-4 * want.abs(), "{found} for {want}");
        }
        assert!(found[3] < found[0]);
        let (a, b) = (kernels.nll(&x).unwrap(), plain.nll(&x).unwrap());
        assert!((a - b).abs() <= 1e-4 * b.abs(), "{a} for {b}");
        let read = |from: &TensorLearner| {
            let mut to = Learner::new(learner.parameters.clone());
            from.read(&mut to).unwrap();
            to
        };
        let (found, want) = (read(&kernels), read(&plain));
        for (found, want) in [
            (&found.parameters.arrays, &want.parameters.arrays),
            (&found.first, &want.first),
            (&found.second, &want.second),
        ] {
            for ((name, found), (_, want)) in found.named().into_iter().zip(want.named()) {
                // Where a gradient is nearly 0 its sign, and so the way of a step, is rounding.
                let apart = found.iter().zip(want).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
                assert!(apart * 100 <= found.len(), "{name}: {apart} of {}", found.len());
            }
        }
        // The same steps give the same bytes.
        let mut again = TensorLearner::new(&learner, rows, &device).unwrap();
        (0..4).for_each(|_| again.step(&x, 1e-3, clip).unwrap());
        assert_eq!(read(&again).parameters, found.parameters);
    }
}

/// A training that was stopped goes on to the same bytes, and learns what the CPU learns.
#[test]
fn a_mixture_s_training_goes_on_on_a_card() {
    struct Until(usize, Vec<u8>);
    impl Watch for Until {
        fn epoch(&mut self, done: &Done<'_>) -> std::io::Result<()> {
            if done.epoch + 1 == self.0 {
                self.1.clear();
                done.keep(&mut self.1)?;
            }
            Ok(())
        }
    }
    let Some(device) = card() else { return };
    let (width, rows) = (48, 430);
    let numbers = |len: usize, seed| random(&[len], seed).to_vec1::<f32>().unwrap();
    let (centres, noise) = (numbers(6 * width, 1), numbers(rows * width, 2));
    let x: Vec<f32> = noise.iter().enumerate().map(|(i, x)| 3.0 * centres[i % centres.len()] + x).collect();
    let (x, other) = (Matrix::new(&x[..], width), Matrix::new(&x[..100 * width], width));
    let options = TrainOptions {
        components: 6,
        rank: 3,
        init: Init::Rows,
        epochs: 4,
        batch: 64,
        lr: 1e-2,
        clip: Some(1.0),
        device: device.clone(),
        ..TrainOptions::default()
    };
    let bytes = |mfa: &Mfa| {
        let mut bytes = Vec::new();
        mfa.save(&mut bytes).unwrap();
        bytes
    };
    let mut kept = Until(2, Vec::new());
    let whole = train(&x, Some(&other), &options, None, &mut kept).unwrap();
    let resumed = Kept::from_bytes(&kept.1).unwrap();
    let resumed = train(&x, Some(&other), &options, Some(resumed), &mut ()).unwrap();
    assert_eq!(bytes(&resumed), bytes(&whole));
    let cpu = TrainOptions { device: Device::Cpu, ..options };
    let cpu = train(&x, Some(&other), &cpu, None, &mut ()).unwrap();
    for (a, b) in whole.history.iter().zip(&cpu.history) {
        assert!((a.train_nll - b.train_nll).abs() < 1e-3 * b.train_nll, "{a:?} for {b:?}");
        let (a, b) = (a.val_nll.unwrap(), b.val_nll.unwrap());
        assert!((a - b).abs() < 1e-3 * b, "{a} for {b}");
    }
    let error =
        train(&x, None, &TrainOptions { lr: 1e30, ..options_on(&device) }, None, &mut ()).unwrap_err();
    assert!(error.to_string().starts_with("the training ran away at step "), "{error}");
}

fn options_on(device: &Device) -> TrainOptions {
    TrainOptions {
        components: 6,
        rank: 3,
        init: Init::Rows,
        device: device.clone(),
        ..TrainOptions::default()
    }
}
