//! Sparse autoencoders: every kind and every layout against formulas in float64, and what is refused.

mod common;

use patchscript::help::Help;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use patchscript::analysis::sae_train::{Goal, TrainOptions, train};
use patchscript::data::npz::Npz;
use patchscript::data::random::Generator;
use patchscript::data::rows::Matrix;
use patchscript::model::hook::At;
use patchscript::model::sae::{Kind, Normalize, SaeOptions};
use patchscript::model::{Point, Sae};
use patchscript::run::{self, Control, Site};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value as Json, json};

const D_IN: usize = 6;
const D_SAE: usize = 11;
const ROWS: usize = 5;

/// A matrix of float64, rows of columns.
type Rows = Vec<Vec<f64>>;

/// What an autoencoder's tensors are, by the names of SAELens.
type Named = BTreeMap<&'static str, Rows>;

fn random(rng: &mut Generator, rows: usize, cols: usize) -> Rows {
    let number = |rng: &mut Generator| f64::from(rng.standard_normal() as f32);
    (0..rows).map(|_| (0..cols).map(|_| number(rng)).collect()).collect()
}

fn product(a: &Rows, b: &Rows) -> Rows {
    let cols = b[0].len();
    let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter().map(|row| (0..cols).map(|j| entry(row, j)).collect()).collect()
}

fn transposed(a: &Rows) -> Rows {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// One autoencoder of the tests, as a formula.
struct Case {
    kind: Kind,
    normalize: Normalize,
    apply_b_dec: bool,
    tensors: Named,
    /// Another width of output, and so another place.
    transcodes: bool,
}

impl Case {
    fn new(kind: Kind, normalize: Normalize, apply_b_dec: bool, d_out: usize, skip: bool) -> Case {
        let rng = &mut Generator::new(5);
        let mut tensors = Named::from([
            ("W_enc", random(rng, D_IN, D_SAE)),
            ("W_dec", random(rng, D_SAE, d_out)),
            ("b_dec", random(rng, 1, d_out)),
        ]);
        let vectors: &[&str] = match kind {
            Kind::Gated => &["b_gate", "b_mag", "r_mag"],
            Kind::JumpRelu => &["b_enc", "threshold"],
            Kind::Standard | Kind::TopK { .. } => &["b_enc"],
        };
        for &name in vectors {
            tensors.insert(name, random(rng, 1, D_SAE));
        }
        if let Some(threshold) = tensors.get_mut("threshold") {
            threshold[0].iter_mut().for_each(|x| *x = x.abs());
        }
        if skip {
            tensors.insert("W_skip", random(rng, d_out, D_IN));
        }
        Case { kind, normalize, apply_b_dec, tensors, transcodes: skip || d_out != D_IN }
    }

    /// Features and what they stand for.
    fn formula(&self, x: &Rows) -> (Rows, Rows) {
        let vector = |name| self.tensors.get(name).map(|rows| rows[0].clone()).unwrap_or_default();
        let (b_dec, b_enc, threshold) = (vector("b_dec"), vector("b_enc"), vector("threshold"));
        let (b_gate, b_mag, r_mag) = (vector("b_gate"), vector("b_mag"), vector("r_mag"));
        let norms: Vec<f64> =
            self.tensors["W_dec"].iter().map(|row| row.iter().map(|w| w * w).sum::<f64>().sqrt()).collect();
        let (mut all_f, mut all_y) = (Rows::new(), Rows::new());
        for x in x {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let mut input: Vec<f64> = match self.normalize {
                Normalize::ConstantNormRescale => x.iter().map(|x| x * n.sqrt() / length).collect(),
                Normalize::LayerNorm => x.iter().map(|x| (x - mean) / (std + 1e-5)).collect(),
                Normalize::None | Normalize::ExpectedAverageOnlyIn => x.clone(),
            };
            if self.apply_b_dec {
                input.iter_mut().zip(&b_dec).for_each(|(x, b)| *x -= b);
            }
            let pre = product(&vec![input], &self.tensors["W_enc"]).remove(0);
            let f: Vec<f64> = match self.kind {
                Kind::Standard => pre.iter().zip(&b_enc).map(|(p, b)| (p + b).max(0.0)).collect(),
                Kind::JumpRelu => (0..D_SAE)
                    .map(|i| pre[i] + b_enc[i])
                    .zip(&threshold)
                    .map(|(p, t)| if p > *t { p.max(0.0) } else { 0.0 })
                    .collect(),
                Kind::Gated => (0..D_SAE)
                    .map(|i| {
                        if pre[i] + b_gate[i] > 0.0 {
                            (pre[i] * r_mag[i].exp() + b_mag[i]).max(0.0)
                        } else {
                            0.0
                        }
                    })
                    .collect(),
                Kind::TopK { k, by_decoder_norm } => {
                    let scale = |i: usize| if by_decoder_norm { norms[i] } else { 1.0 };
                    let scores: Vec<f64> = (0..D_SAE).map(|i| (pre[i] + b_enc[i]) * scale(i)).collect();
                    let mut sorted = scores.clone();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    scores.iter().map(|s| if *s >= sorted[k - 1] { s.max(0.0) } else { 0.0 }).collect()
                }
            };
            let scaled = f.iter().enumerate().map(|(i, f)| match self.kind {
                Kind::TopK { by_decoder_norm: true, .. } => f / norms[i],
                _ => *f,
            });
            let mut y = product(&vec![scaled.collect()], &self.tensors["W_dec"]).remove(0);
            y.iter_mut().zip(&b_dec).for_each(|(y, b)| *y += b);
            if !self.transcodes {
                match self.normalize {
                    Normalize::ConstantNormRescale => y.iter_mut().for_each(|y| *y *= length / n.sqrt()),
                    Normalize::LayerNorm => y.iter_mut().for_each(|y| *y = *y * std + mean),
                    Normalize::None | Normalize::ExpectedAverageOnlyIn => {}
                }
            }
            if let Some(skip) = self.tensors.get("W_skip") {
                let past = product(&vec![x.clone()], &transposed(skip)).remove(0);
                y.iter_mut().zip(past).for_each(|(y, past)| *y += past);
            }
            all_f.push(f);
            all_y.push(y);
        }
        (all_f, all_y)
    }

    /// A config of SAELens, version 6.
    fn cfg(&self) -> Json {
        let mut architecture = self.kind.name().to_string();
        if self.transcodes {
            architecture = match self.kind {
                Kind::JumpRelu => "jumprelu_".into(),
                _ => String::new(),
            };
            architecture +=
                if self.tensors.contains_key("W_skip") { "skip_transcoder" } else { "transcoder" };
        }
        let mut cfg = json!({
            "architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu",
            "apply_b_dec_to_input": self.apply_b_dec, "normalize_activations": self.normalize,
            "reshape_activations": "none",
            "metadata": {"model_name": "gpt2-small", "hook_name": "blocks.1.hook_resid_pre", "prepend_bos": true},
        });
        if let Kind::TopK { k, by_decoder_norm } = self.kind {
            cfg["k"] = k.into();
            cfg["rescale_acts_by_decoder_norm"] = by_decoder_norm.into();
        }
        if self.transcodes {
            cfg["d_out"] = self.tensors["W_dec"][0].len().into();
            cfg["metadata"]["hook_name_out"] = "blocks.1.hook_mlp_out".into();
        }
        cfg
    }

    fn tensors(&self) -> Named {
        self.tensors.clone()
    }
}

/// A safetensors file; vectors have one axis.
fn write_safetensors(path: &Path, tensors: &Named) {
    let parts: Vec<_> = tensors
        .iter()
        .map(|(name, rows)| {
            let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| (*x as f32).to_le_bytes()).collect();
            let matrix = name.contains("W_")
                || name.contains("w_")
                || name.contains("weight")
                || name.contains("skip");
            let shape = if matrix { vec![rows.len(), rows[0].len()] } else { vec![rows[0].len()] };
            (*name, shape, bytes)
        })
        .collect();
    let views = parts
        .iter()
        .map(|(name, shape, bytes)| (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn write_cfg(folder: &Path, name: &str, cfg: &Json) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), cfg.to_string()).unwrap();
}

/// In the layout of SAELens.
fn saelens(folder: &Path, cfg: &Json, tensors: &Named) -> PathBuf {
    write_cfg(folder, "cfg.json", cfg);
    write_safetensors(&folder.join("sae_weights.safetensors"), tensors);
    folder.to_path_buf()
}

fn load(path: &Path) -> Sae {
    load_with(path, SaeOptions::default())
}

fn load_with(path: &Path, options: SaeOptions) -> Sae {
    Sae::load(path.to_str().unwrap(), &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The message of a refusal and its cure.
fn refused(path: &Path, options: SaeOptions) -> String {
    let error = Sae::load(path.to_str().unwrap(), &options).expect_err("a refusal");
    let text = format!("{error}; {}", error.help().unwrap_or_default());
    text.replace(&path.display().to_string(), "P")
}

fn tensor(rows: &Rows) -> Tensor {
    let values: Vec<f32> = rows.iter().flatten().map(|x| *x as f32).collect();
    Tensor::from_vec(values, (rows.len(), rows[0].len()), &Device::Cpu).unwrap()
}

#[track_caller]
fn close(found: &Tensor, expected: &Rows) {
    let found = found.to_vec2::<f32>().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let scale = expected.abs().max(1.0);
            assert!((f64::from(*found) - expected).abs() < 1e-5 * scale, "{found}, expected {expected}");
        }
    }
}

/// Features and outputs of a loaded autoencoder are those of the formula.
#[track_caller]
fn agrees(sae: &Sae, case: &Case) {
    let x = random(&mut Generator::new(9), ROWS, D_IN);
    let (f, y) = case.formula(&x);
    let found = sae.encode(&tensor(&x)).unwrap();
    close(&found, &f);
    close(&sae.decode(&found, Some(&tensor(&x))).unwrap(), &y);
    let active = f.iter().flatten().filter(|f| **f != 0.0).count();
    assert!((1..ROWS * D_SAE).contains(&active), "{active} active: the case tells nothing");
    // No row depends on the others.
    for i in 0..ROWS {
        close(&sae.reconstruct(&tensor(&vec![x[i].clone()])).unwrap(), &vec![y[i].clone()]);
    }
}

fn top_k(by_decoder_norm: bool) -> Kind {
    Kind::TopK { k: 3, by_decoder_norm }
}

fn standard() -> Case {
    Case::new(Kind::Standard, Normalize::None, true, D_IN, false)
}

#[test]
fn every_kind_of_saelens_is_its_formula() {
    let root = tempfile::tempdir().unwrap();
    let normalizations = [
        Normalize::None,
        Normalize::ConstantNormRescale,
        Normalize::LayerNorm,
        Normalize::ExpectedAverageOnlyIn,
    ];
    for kind in [Kind::Standard, Kind::JumpRelu, Kind::Gated, top_k(false), top_k(true)] {
        for normalize in normalizations {
            for apply_b_dec in [true, false] {
                let case = Case::new(kind, normalize, apply_b_dec, D_IN, false);
                let sae = load(&saelens(root.path(), &case.cfg(), &case.tensors()));
                assert_eq!((sae.about.kind, sae.about.normalize), (kind, normalize));
                assert_eq!(sae.about.reads.to_string(), "resid_pre.1");
                assert_eq!(sae.about.writes, sae.about.reads);
                agrees(&sae, &case);
                // Written and read again it is the same, to the bit.
                let own = root.path().join("own.safetensors");
                std::fs::write(&own, sae.to_bytes().unwrap()).unwrap();
                let again = load(&own);
                assert_eq!(again.about, sae.about);
                agrees(&again, &case);
                assert_eq!(again.to_bytes().unwrap(), sae.to_bytes().unwrap());
            }
        }
    }
}

#[test]
fn transcoders_write_elsewhere() {
    let root = tempfile::tempdir().unwrap();
    for (kind, d_out, skip) in [
        (Kind::Standard, 4, false),
        (Kind::Standard, 4, true),
        (Kind::JumpRelu, D_IN, true),
        (Kind::JumpRelu, 9, false),
    ] {
        let case = Case::new(kind, Normalize::LayerNorm, false, d_out, skip);
        let sae = load(&saelens(root.path(), &case.cfg(), &case.tensors()));
        assert_eq!(sae.about.reads.to_string(), "resid_pre.1");
        assert_eq!(sae.about.writes.to_string(), "mlp_out.1");
        agrees(&sae, &case);
        let x = tensor(&random(&mut Generator::new(9), ROWS, D_IN));
        let alone = sae.decode(&sae.encode(&x).unwrap(), None);
        assert_eq!(alone.is_err(), skip, "a skip connection alone needs the input");
    }
}

#[test]
fn configs_from_before_version_6_are_read() {
    let root = tempfile::tempdir().unwrap();
    let flat = |extra: Json| {
        let mut cfg = json!({
            "model_name": "gpt2-small", "hook_point": "blocks.8.hook_resid_pre", "hook_point_layer": 8,
            "hook_point_head_index": null, "dataset_path": "x/y", "is_dataset_tokenized": false, "context_size": 128,
            "use_cached_activations": false, "d_in": D_IN, "d_sae": D_SAE, "expansion_factor": 32, "lr": 4e-4,
            "l1_coefficient": 8e-5, "lp_norm": 1, "use_ghost_grads": false, "dtype": "torch.float32", "device": "mps",
            "seed": 42, "b_dec_init_method": "geometric_median", "prepend_bos": true,
        });
        cfg.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        cfg
    };
    let case = standard();
    let mut tensors = case.tensors();
    tensors.insert("scaling_factor", vec![vec![1.0; D_SAE]]);
    let sae = load(&saelens(root.path(), &flat(json!({})), &tensors));
    assert_eq!(sae.about.reads.to_string(), "resid_pre.8");
    assert_eq!(sae.about.model.as_deref(), Some("gpt2-small"));
    agrees(&sae, &case);
    tensors.insert("scaling_factor", vec![vec![1.5; D_SAE]]);
    let told = refused(&saelens(root.path(), &flat(json!({})), &tensors), SaeOptions::default());
    assert!(told.contains("sets `scaling_factor` to `1.5`"), "{told}");

    let case = Case::new(top_k(false), Normalize::ExpectedAverageOnlyIn, false, D_IN, false);
    let extra = json!({
        "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}, "apply_b_dec_to_input": false,
        "normalize_activations": true, "neuronpedia_id": "gpt2-small/8-res-jb",
    });
    let sae = load(&saelens(root.path(), &flat(extra), &case.tensors()));
    assert_eq!(sae.link(31).unwrap(), "https://www.neuronpedia.org/gpt2-small/8-res-jb/31");
    agrees(&sae, &case);
}

#[test]
fn a_scale_of_inputs_becomes_part_of_the_weights() {
    let root = tempfile::tempdir().unwrap();
    let x = random(&mut Generator::new(9), ROWS, D_IN);
    for kind in [Kind::Standard, Kind::JumpRelu, Kind::Gated, top_k(false)] {
        let case = Case::new(kind, Normalize::ExpectedAverageOnlyIn, true, D_IN, false);
        let folder = saelens(root.path(), &case.cfg(), &case.tensors());
        let sae = load_with(&folder, SaeOptions { scale: Some(0.25), ..SaeOptions::default() });
        let scaled: Rows = x.iter().map(|row| row.iter().map(|x| x * 0.25).collect()).collect();
        let (f, y) = case.formula(&scaled);
        close(&sae.encode(&tensor(&x)).unwrap(), &f);
        let back: Rows = y.iter().map(|row| row.iter().map(|y| y / 0.25).collect()).collect();
        close(&sae.reconstruct(&tensor(&x)).unwrap(), &back);
    }
}

#[test]
fn the_layout_of_sparsify_is_read_by_the_name_of_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let written = |name: &str, cfg: Json, case: &Case| {
        let folder = root.path().join(name);
        write_cfg(&folder, "cfg.json", &cfg);
        let mut tensors = case.tensors();
        let encoder = tensors.remove("W_enc").unwrap();
        let bias = tensors.remove("b_enc").unwrap();
        tensors.insert("encoder.weight", transposed(&encoder));
        tensors.insert("encoder.bias", bias);
        write_safetensors(&folder.join("sae.safetensors"), &tensors);
        folder
    };
    let cfg = json!({
        "expansion_factor": 32, "normalize_decoder": true, "num_latents": D_SAE, "k": 3, "multi_topk": false,
        "skip_connection": false, "d_in": D_IN,
    });
    let with = |changes: Json| {
        let mut cfg = cfg.clone();
        cfg.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        cfg
    };
    let case = Case::new(top_k(false), Normalize::None, true, D_IN, false);
    write_cfg(root.path(), "config.json", &json!({"model": "HuggingFaceTB/SmolLM2-135M", "batch_size": 8}));
    let sae = load(&written("layers.15", cfg.clone(), &case));
    assert_eq!(sae.about.reads.to_string(), "resid_post.15");
    assert_eq!(sae.about.writes, sae.about.reads);
    assert_eq!(sae.about.model.as_deref(), Some("HuggingFaceTB/SmolLM2-135M"));
    agrees(&sae, &case);

    let case = Case::new(top_k(false), Normalize::None, false, D_IN, true);
    let folder = written("layers.15.mlp", with(json!({"transcode": true, "skip_connection": true})), &case);
    let sae = load(&folder);
    assert_eq!(sae.about.reads.to_string(), "ln2.15");
    assert_eq!(sae.about.writes.to_string(), "mlp_out_raw.15");
    agrees(&sae, &case);
    // From before there was the key.
    let case = Case::new(top_k(false), Normalize::None, true, D_IN, true);
    let sae = load(&written("layers.3.mlp", with(json!({"skip_connection": true})), &case));
    assert_eq!(sae.about.reads.to_string(), "ln2.3");
    agrees(&sae, &case);

    let case = Case::new(top_k(false), Normalize::None, true, D_IN, false);
    let told = |name, changes| refused(&written(name, with(changes), &case), SaeOptions::default());
    let nowhere = told("some", json!({}));
    assert!(nowhere.starts_with("the files do not say where it reads; say so, as in `#{site: "), "{nowhere}");
    let options = SaeOptions { site: Some(at(Point::MlpOut, 2)), ..SaeOptions::default() };
    assert_eq!(load_with(&root.path().join("some"), options).about.reads.to_string(), "mlp_out.2");
    for (changes, message) in [
        (json!({"activation": "groupmax"}), "sets `activation` to `\"groupmax\"`"),
        (json!({"signed": true}), "sets `signed` to `true`"),
        (
            json!({"skip_connection": true}),
            "`skip_connection` is `true`, expected a tensor `W_skip` beside it",
        ),
        (json!({"k": 0}), "`k` is `0`"),
        (json!({"k": 12}), "the 12 largest of 11 features"),
        (json!({"num_latents": 12}), "`W_enc` has shape [6, 11], expected [6, 12]"),
        (json!({"finetune_of": "x"}), "sets `finetune_of` to `\"x\"`, which patchscript does not understand"),
    ] {
        let text = told("layers.1", changes);
        assert!(text.contains(message), "{text}");
    }
}

#[test]
fn gemma_scopes_archive_is_what_numpy_computed() {
    let root = Path::new("tests/golden/sae");
    let folder = root.join("gemma-scope-2b-pt-res/layer_2/width_16k/average_l0_141");
    let bytes = std::fs::read(root.join("expected.npz")).unwrap();
    let mut expected = Npz::open("expected.npz", &bytes).unwrap();
    let mut rows = |name: &str| -> Rows {
        let (shape, values) = expected.read(name).unwrap();
        values.chunks(shape[1]).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
    };
    let (x, f, y) = (rows("x"), rows("f"), rows("y"));
    for path in [folder.clone(), folder.join("params.npz")] {
        let sae = load(&path);
        assert_eq!(sae.about.kind, Kind::JumpRelu);
        assert_eq!(sae.about.reads.to_string(), "resid_post.2");
        assert_eq!(sae.about.model.as_deref(), Some("google/gemma-2-2b"));
        assert_eq!(sae.link(7).unwrap(), "https://www.neuronpedia.org/gemma-2-2b/2-gemmascope-res-16k/7");
        close(&sae.encode(&tensor(&x)).unwrap(), &f);
        close(&sae.reconstruct(&tensor(&x)).unwrap(), &y);
    }
}

#[test]
fn an_archive_of_embeddings_reads_them_scaled() {
    let golden = "tests/golden/sae/gemma-scope-2b-pt-res/layer_2/width_16k/average_l0_141/params.npz";
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(golden, folder.join("params.npz")).unwrap();
    let (plain, scaled) = (load(Path::new(golden)), load(&folder));
    assert_eq!(scaled.about.reads.to_string(), "embed");
    let x = tensor(&random(&mut Generator::new(1), ROWS, D_IN));
    let root_of = (D_IN as f64).sqrt();
    let features = plain.encode(&x).unwrap().to_vec2::<f32>().unwrap();
    let features: Rows = features.iter().map(|row| row.iter().map(|f| f64::from(*f)).collect()).collect();
    close(&scaled.encode(&(&x * root_of).unwrap()).unwrap(), &features);
    let y = (plain.reconstruct(&x).unwrap() * root_of).unwrap().to_vec2::<f32>().unwrap();
    let y: Rows = y.iter().map(|row| row.iter().map(|y| f64::from(*y)).collect()).collect();
    close(&scaled.reconstruct(&(&x * root_of).unwrap()).unwrap(), &y);
}

#[test]
fn gemma_scope_of_gemma_3_is_read() {
    let root = tempfile::tempdir().unwrap();
    let written = |case: &Case, cfg: Json| {
        write_cfg(root.path(), "config.json", &cfg);
        let mut tensors = case.tensors();
        for (ours, theirs) in [("W_enc", "w_enc"), ("W_dec", "w_dec")] {
            let rows = tensors.remove(ours).unwrap();
            tensors.insert(theirs, rows);
        }
        if let Some(skip) = tensors.remove("W_skip") {
            tensors.insert("affine_skip_connection", transposed(&skip));
        }
        write_safetensors(&root.path().join("params.safetensors"), &tensors);
    };
    let cfg = |input: &str, output: &str, affine: bool| {
        json!({
            "hf_hook_point_in": input, "hf_hook_point_out": output, "width": D_SAE, "l0": 40, "type": "sae",
            "model_name": "google/gemma-3-270m-pt", "architecture": "jump_relu", "affine_connection": affine,
        })
    };
    let case = Case::new(Kind::JumpRelu, Normalize::None, false, D_IN, false);
    written(&case, cfg("model.layers.9.output", "model.layers.9.output", false));
    let sae = load(root.path());
    assert_eq!(sae.about.reads.to_string(), "resid_post.9");
    assert_eq!(sae.about.cfg["l0"], 40);
    agrees(&sae, &case);

    let case = Case::new(Kind::JumpRelu, Normalize::None, false, D_IN, true);
    let sides = (
        "model.layers.9.pre_feedforward_layernorm.output",
        "model.layers.9.post_feedforward_layernorm.output",
    );
    written(&case, cfg(sides.0, sides.1, true));
    let sae = load(root.path());
    assert_eq!(
        (sae.about.reads.to_string(), sae.about.writes.to_string()),
        ("ln2.9".into(), "mlp_out.9".into())
    );
    agrees(&sae, &case);
    written(&case, cfg(sides.0, sides.1, false));
    let told = refused(root.path(), SaeOptions::default());
    assert!(told.contains("`affine_connection` is `false`, expected true just where there is"), "{told}");
}

fn at(point: Point, layer: usize) -> At {
    At { point, layer }
}

#[test]
fn another_place_is_refused_unless_forced() {
    let root = tempfile::tempdir().unwrap();
    let case = standard();
    let folder = saelens(root.path(), &case.cfg(), &case.tensors());
    let other = at(Point::ResidPost, 1);
    let site = Some(other);
    let told = refused(&folder, SaeOptions { site, ..SaeOptions::default() });
    assert!(told.starts_with("the autoencoder reads `resid_pre.1`, not `resid_post.1`; "), "{told}");
    assert!(told.ends_with("add `force: true`"), "{told}");
    let forced = load_with(&folder, SaeOptions { site, force: true, ..SaeOptions::default() });
    assert_eq!((forced.about.reads, forced.about.writes), (other, other));

    let mut cfg = case.cfg();
    cfg["metadata"]["hook_name"] = "blocks.1.ln2.hook_normalized".into();
    let folder = saelens(root.path(), &cfg, &case.tensors());
    let told = refused(&folder, SaeOptions::default());
    assert!(
        told.starts_with("`blocks.1.ln2.hook_normalized` names no place that patchscript knows"),
        "{told}"
    );
    assert_eq!(load_with(&folder, SaeOptions { site, ..SaeOptions::default() }).about.reads, other);
}

#[test]
fn a_model_must_be_the_one_it_was_trained_on() {
    let model = common::tiny("llama");
    let config = model.config();
    let root = tempfile::tempdir().unwrap();
    let sae = |hook: &str, d_in: usize| {
        let rng = &mut Generator::new(2);
        let tensors = Named::from([
            ("W_enc", random(rng, d_in, 8)),
            ("W_dec", random(rng, 8, d_in)),
            ("b_enc", random(rng, 1, 8)),
            ("b_dec", random(rng, 1, d_in)),
        ]);
        let cfg = json!({
            "architecture": "standard", "d_in": d_in, "d_sae": 8,
            "metadata": {"hook_name": hook, "model_name": "org/tiny"},
        });
        load(&saelens(root.path(), &cfg, &tensors))
    };
    let fits = sae("blocks.2.hook_resid_post", config.d_model);
    fits.check("some/Tiny", config, false).unwrap();
    fits.check("some/other", config, true).unwrap();
    sae("blocks.1.attn.hook_z", config.n_heads * config.d_head).check("tiny", config, false).unwrap();
    for (sae, id, message) in [
        (&fits, "some/other", "the autoencoder is of `org/tiny`, not of `some/other`"),
        (
            &sae("blocks.3.hook_resid_post", config.d_model),
            "tiny",
            "the autoencoder reads `resid_post.3`, which `tiny` does not have: its last layer is 2",
        ),
        (
            &sae("blocks.2.hook_resid_post", 48),
            "tiny",
            "the autoencoder reads 48 numbers at `resid_post.2`, where `tiny` has 64",
        ),
        (&sae("hook_pos_embed", 64), "tiny", "which `tiny` does not have: positions enter as rotations"),
        (&sae("blocks.2.attn.hook_pattern", 64), "tiny", "attention has no rows of one width"),
    ] {
        let error = sae.check(id, config, false).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.help().is_some());
    }
    // What does not fit cannot be forced.
    assert!(sae("blocks.2.hook_resid_post", 48).check("tiny", config, true).is_err());
}

#[test]
fn what_is_not_understood_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let case = standard();
    let told = |changes: Json, tensors: Named| {
        let mut cfg = case.cfg();
        cfg.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        refused(&saelens(root.path(), &cfg, &tensors), SaeOptions::default())
    };
    for (changes, message) in [
        (json!({"temperature": 2}), "sets `temperature` to `2`, which patchscript does not understand"),
        (json!({"architecture": "temporal"}), "`architecture` is `temporal`, expected `standard`"),
        (json!({"architecture": "topk"}), "lacks `k`"),
        (json!({"architecture": "jumprelu"}), "has no tensor `threshold`"),
        (json!({"normalize_activations": "unit"}), "`normalize_activations` is `\"unit\"`"),
        (json!({"reshape_activations": "hook_z"}), "`reshape_activations` is `\"hook_z\"`"),
        (json!({"activation_fn": "tanh-relu"}), "`activation_fn` is `tanh-relu`, expected `relu` or `topk`"),
        (json!({"finetuning_scaling_factor": true}), "sets `finetuning_scaling_factor` to `true`"),
        (json!({"d_in": 7}), "`W_enc` has shape [6, 11], expected [7, 11]"),
        (json!({"d_in": 99_999_999}), "`d_in` is `99999999`"),
        (json!({"d_sae": -1}), "`d_sae` is `-1`"),
        (json!({"metadata": {"hook_head_index": 3}}), "`hook_head_index` is `3`"),
    ] {
        let text = told(changes, case.tensors());
        assert!(text.contains(message), "{text}");
        assert!(text.len() > message.len() + 10, "no cure: {text}");
    }
    let mut tensors = case.tensors();
    tensors.insert("b_enc", vec![vec![0.5; 4]]);
    assert!(told(json!({}), tensors).starts_with("`b_enc` has shape [4], expected [11]"));
    let mut tensors = case.tensors();
    tensors.insert("b_extra", vec![vec![0.5; 4]]);
    assert!(told(json!({}), tensors).starts_with("the autoencoder has a tensor `b_extra`"));
    for (name, value) in [("W_dec", f64::NAN), ("b_enc", f64::INFINITY), ("W_enc", f64::NEG_INFINITY)] {
        let mut tensors = case.tensors();
        tensors.get_mut(name).unwrap()[0][3] = value;
        let text = told(json!({}), tensors);
        assert!(text.starts_with(&format!("`{name}` holds ")), "{text}");
    }
}

#[test]
fn broken_files_are_told_from_good_ones() {
    let root = tempfile::tempdir().unwrap();
    let golden = "tests/golden/sae/gemma-scope-2b-pt-res/layer_2/width_16k/average_l0_141/params.npz";
    let bytes = std::fs::read(golden).unwrap();
    let folder = root.path().join("gemma-scope-2b-pt-res/layer_2");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("params.npz");
    for len in [0, 10, 300, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let told = refused(&path, SaeOptions::default());
        assert!(told.starts_with("`P` is not an npz file: "), "{len}: {told}");
    }
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        bytes
    };
    std::fs::write(&path, flipped(250)).unwrap();
    let told = refused(&path, SaeOptions::default());
    assert!(told.contains("`W_enc` of `P` is damaged: its checksum is wrong; write or download"), "{told}");
    std::fs::write(&path, &bytes).unwrap();
    load(&path);

    let case = standard();
    let folder = saelens(&root.path().join("lens"), &case.cfg(), &case.tensors());
    let weights = folder.join("sae_weights.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    for cut in [0, 7, 100, bytes.len() - 1] {
        std::fs::write(&weights, &bytes[..cut]).unwrap();
        let told = refused(&folder, SaeOptions::default());
        assert!(told.contains("cannot be read as safetensors") && told.contains("fetch it again"), "{told}");
    }
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    std::fs::write(&weights, huge).unwrap();
    assert!(refused(&folder, SaeOptions::default()).contains("more than the limit"));
    let ints = [1u8; 8];
    let view = TensorView::new(Dtype::I64, vec![1], &ints).unwrap();
    std::fs::write(&weights, serialize([("W_enc", view)], None).unwrap()).unwrap();
    assert!(refused(&folder, SaeOptions::default()).starts_with("tensor `W_enc` is of type I64; save it as"));
    std::fs::write(&weights, &bytes).unwrap();
    std::fs::write(folder.join("cfg.json"), "[1, 2").unwrap();
    assert!(refused(&folder, SaeOptions::default()).contains("is not valid JSON"));
    std::fs::remove_file(folder.join("cfg.json")).unwrap();
    assert!(refused(&folder, SaeOptions::default()).starts_with("no autoencoder at `P/cfg.json`"));
    std::fs::remove_file(&weights).unwrap();
    assert!(refused(&folder, SaeOptions::default()).starts_with("`P` holds no autoencoder"));
    assert!(refused(Path::new("./nothing/here"), SaeOptions::default()).starts_with("no autoencoder at `P`"));
}

#[test]
fn rows_of_another_width_are_refused() {
    let sae = Sae::load("demo", &SaeOptions::default()).unwrap();
    let error =
        sae.encode(&Tensor::zeros((2, 255), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "expected activations of shape [rows, 256], found [2, 255]");
    let none = sae.encode(&Tensor::zeros((0, 256), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap();
    assert_eq!(none.dims(), [0, 768]);
    assert!(sae.direction(768).is_err() && sae.direction(767).unwrap().dims() == [256]);
}

/// What the demo model has after layer 4 at every token but the first of the corpus' texts.
fn corpus() -> Tensor {
    let model = common::load("demo");
    let site = Site::new(Point::ResidPost, 4);
    let text = std::fs::read_to_string("demo/corpus.jsonl").unwrap();
    let texts: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut parts = Vec::new();
    for texts in texts.chunks(250) {
        let prompts: Vec<_> = texts
            .iter()
            .map(|text| (common::tokens(&model, text["text"].as_str().unwrap()), Vec::new()))
            .collect();
        for trace in run::trace(&model, &prompts, std::slice::from_ref(&site), &Control::default()).unwrap() {
            let x = common::read(&trace, &site);
            parts.push(x.narrow(0, 1, x.dims()[0] - 1).unwrap());
        }
    }
    Tensor::cat(&parts, 0).unwrap().to_device(&Device::Cpu).unwrap()
}

#[test]
fn the_demos_own_explains_four_fifths_and_one_can_be_trained_that_does() {
    let x = corpus();
    let sae = Sae::load("demo", &SaeOptions::default()).unwrap();
    let model = common::load("demo");
    sae.check(&model.id, model.config(), false).unwrap();
    let found = sae.explained(&x, None).unwrap();
    assert!(found.variance >= 0.8 && found.l0 <= 32.0, "{found:?}");
    assert!(sae.odd(&found).is_none());
    // Elsewhere it does badly, and says so.
    let elsewhere = sae.explained(&(&x * 5.0).unwrap(), None).unwrap();
    assert!(elsewhere.variance < found.variance, "{elsewhere:?}");
    // So it does at first sight, of enough rows, whatever the first token of a prompt is like.
    let mut rng = Generator::new(1);
    let noise = |n: usize, rng: &mut Generator| -> Vec<f32> {
        (0..n * 256).map(|_| 3.0 * rng.standard_normal() as f32).collect()
    };
    let foreign = Tensor::from_vec(noise(64, &mut rng), (64, 256), &Device::Cpu).unwrap();
    println!("{:?}", sae.explained(&foreign, None));
    assert!(sae.odd_at_first_sight(&foreign, None).unwrap().is_some());
    assert!(sae.odd_at_first_sight(&foreign.narrow(0, 0, 8).unwrap(), None).unwrap().is_none());
    let huge = (Tensor::from_vec(noise(4, &mut rng), (4, 256), &Device::Cpu).unwrap() * 1e3).unwrap();
    let own = Tensor::cat(&[&huge, &x.narrow(0, 0, 100).unwrap()], 0).unwrap();
    assert!(sae.odd(&sae.explained(&own, None).unwrap()).is_some());
    assert!(sae.odd_at_first_sight(&own, None).unwrap().is_none());

    let rows: Vec<f32> = x.flatten_all().unwrap().to_vec1().unwrap();
    // Every tenth row is kept from training.
    let part = |held: bool| -> Vec<f32> {
        let chosen = rows.chunks(256).enumerate().filter(|(i, _)| (i % 10 == 0) == held);
        chosen.flat_map(|(_, row)| row.iter().copied()).collect()
    };
    for goal in [Goal::TopK, Goal::JumpRelu] {
        let options = TrainOptions {
            goal,
            features: 512,
            k: 24,
            steps: 400,
            batch: 512,
            rate: 2e-3,
            seed: 0,
            site: at(Point::ResidPost, 4),
            model: Some("demo".into()),
        };
        let sae = train(&Matrix::new(part(false), 256), &options, |_| true).unwrap();
        let held = part(true);
        let held = Tensor::from_slice(&held, (held.len() / 256, 256), &Device::Cpu).unwrap();
        let found = sae.explained(&held, None).unwrap();
        assert!(found.variance >= 0.8 && found.l0 <= 32.0, "{goal:?}: {found:?}");
    }
}
