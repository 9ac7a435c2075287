//! Features of a sparse autoencoder are sites: read, patched and swept over like any other.

mod common;

use candle_core::{D, DType, Tensor};
use common::*;
use patchscript::help::Help;
use patchscript::model::sae::{About, Kind, Normalize};
use patchscript::model::{At, Model, Point, Sae};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::metric::{Kind as MetricKind, TokenSet};
use patchscript::run::patch::EditFn;
use patchscript::run::plan::CellStatus;
use patchscript::run::site::{Features, Which};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Steps, Trace, Value, trace};
use std::collections::BTreeMap;
use std::sync::Arc;

const FEATURES: usize = 24;

fn width(model: &Model, at: At) -> usize {
    use patchscript::model::Axes;
    match at.point.axes(model.config()) {
        Axes::Row { width } => width,
        Axes::Heads { heads, width } => heads * width,
        Axes::Scores { .. } => panic!("{at:?} has no rows"),
    }
}

fn about(at: At, kind: Kind, normalize: Normalize) -> About {
    let (reads, writes) = (at, at);
    let cfg = serde_json::json!({});
    About { kind, normalize, apply_b_dec_to_input: true, reads, writes, model: None, neuronpedia: None, cfg }
}

/// A random autoencoder at a place.
fn sae(model: &Model, at: At, kind: Kind, normalize: Normalize) -> Arc<Sae> {
    let d = width(model, at);
    let mut tensors = BTreeMap::from([
        ("W_enc".to_string(), random(&[d, FEATURES], 1)),
        ("W_dec".to_string(), (random(&[FEATURES, d], 2) * 0.2).unwrap()),
        ("b_enc".to_string(), random(&[FEATURES], 3)),
        ("b_dec".to_string(), random(&[d], 4)),
    ]);
    if kind == Kind::JumpRelu {
        tensors.insert("threshold".into(), random(&[FEATURES], 5).abs().unwrap());
    }
    Arc::new(Sae::new(about(at, kind, normalize), tensors).unwrap())
}

fn site(sae: &Arc<Sae>, which: Which, keep_error: bool) -> Site {
    let features = Features { sae: sae.clone(), which, keep_error, force: false };
    Site { features: Some(features), ..Site::new(sae.about.reads.point, sae.about.reads.layer) }
}

fn all(sae: &Arc<Sae>) -> Site {
    site(sae, Which::All, true)
}

fn one(sae: &Arc<Sae>, feature: usize) -> Site {
    site(sae, Which::One(feature), true)
}

fn allowed(site: Site, edit: Edit) -> Patch {
    Patch { allow_noop: true, ..Patch::new(site, edit) }
}

fn at(point: Point, layer: usize) -> At {
    At { point, layer }
}

/// A place of every width, in every part of the pass, and every kind.
fn every_sae(model: &Model) -> Vec<Arc<Sae>> {
    let top_k = Kind::TopK { k: 5, by_decoder_norm: true };
    [
        (at(Point::Embed, 0), Kind::Standard, Normalize::None),
        (at(Point::ResidPre, 1), Kind::JumpRelu, Normalize::LayerNorm),
        (at(Point::Z, 1), Kind::Standard, Normalize::ConstantNormRescale),
        (at(Point::MlpPost, 1), top_k, Normalize::None),
        (at(Point::ResidPost, 2), top_k, Normalize::LayerNorm),
        (at(Point::LnFinal, 0), Kind::JumpRelu, Normalize::None),
    ]
    .map(|(at, kind, normalize)| sae(model, at, kind, normalize))
    .into()
}

/// The activation at an autoencoder's place, `[pos, width]`.
fn activation(run: &Trace, sae: &Sae) -> Tensor {
    let x = run.read(&Site::new(sae.about.reads.point, sae.about.reads.layer), &Control::default()).unwrap();
    x.reshape((x.dims()[0], sae.d_in())).unwrap()
}

/// What is put in place of the activation by hand: `x + decode(f') - decode(f)`, or `decode(f')`.
fn by_hand(sae: &Arc<Sae>, feature: Option<usize>, keep_error: bool, edit: fn(f32) -> f32) -> Edit {
    let sae = sae.clone();
    let edit: EditFn = Arc::new(move |x: Tensor| {
        let dims = x.dims().to_vec();
        let text = |e: candle_core::Error| e.to_string();
        let x = x.reshape((dims[0], sae.d_in())).map_err(text)?.to_dtype(DType::F32).map_err(text)?;
        let f = sae.encode(&x).map_err(|e| e.to_string())?;
        let mut rows = f.to_vec2::<f32>().map_err(text)?;
        for row in &mut rows {
            for (i, value) in row.iter_mut().enumerate() {
                if feature.is_none_or(|feature| feature == i) {
                    *value = edit(*value);
                }
            }
        }
        let new = Tensor::new(rows, f.device()).map_err(text)?;
        let decode = |f: &Tensor| sae.decode(f, Some(&x)).map_err(|e| e.to_string());
        let y = match keep_error {
            true => ((&x + decode(&new)?).map_err(text)? - decode(&f)?).map_err(text)?,
            false => decode(&new)?,
        };
        y.reshape(dims).map_err(text)
    });
    Edit::Func(edit)
}

#[test]
fn features_are_read_as_encode_gives_them() {
    let model = tiny("llama");
    let prompt = id_tokens(&model, &[1, 5, 9, 3, 7, 2]);
    let run = run(&model, &prompt, vec![], &[]);
    for sae in every_sae(&model) {
        let read = |site: Site| run.read(&site, &Control::default()).unwrap();
        let encoded = sae.encode(&activation(&run, &sae)).unwrap();
        assert!(flat(&encoded).iter().filter(|&&f| f > 0.0).count() > 10);
        let found = read(all(&sae));
        assert_eq!(found.dims(), [6, FEATURES]);
        assert!(max_diff(&found, &encoded) < 1e-5);
        let column = encoded.narrow(1, 7, 1).unwrap().squeeze(1).unwrap();
        assert!(max_diff(&read(one(&sae, 7)), &column) < 1e-5);
        let some = read(site(&sae, Which::Many(vec![7, 2]), true).at(Pos::Index(4)));
        assert_eq!(some.dims(), [2]);
        let row = encoded.get(4).unwrap().to_vec1::<f32>().unwrap();
        assert!(max_diff_of(&flat(&some), &[row[7], row[2]]) < 1e-5);
    }
}

#[test]
fn spliced_with_its_error_an_autoencoder_changes_nothing_and_without_it_what_it_explains_is_left() {
    for arch in ["llama", "gpt2", "gemma2", "phi"] {
        let model = tiny(arch);
        let prompt = id_tokens(&model, &[1, 5, 9, 3, 7, 2]);
        let plain = run(&model, &prompt, vec![], &[]);
        for sae in every_sae(&model) {
            let with = run(&model, &prompt, vec![allowed(all(&sae), Edit::Scale(1.0))], &[]);
            assert!(max_diff(&logits(&with), &logits(&plain)) < 1e-5, "{arch} {:?}", sae.about.reads);
            let splice = allowed(site(&sae, Which::All, false), Edit::Scale(1.0));
            let without = run(&model, &prompt, vec![splice], &[]);
            let place = Site::new(sae.about.reads.point, sae.about.reads.layer);
            let hand = run(&model, &prompt, vec![Patch::new(place, by_hand(&sae, None, false, |f| f))], &[]);
            assert!(max_diff(&logits(&without), &logits(&hand)) < 1e-5);
            assert!(max_diff(&logits(&without), &logits(&plain)) > 1e-3, "{arch}");
        }
    }
}

#[test]
fn every_edit_of_a_feature_is_its_formula_in_runs_sweeps_and_generations() {
    let model = tiny("llama");
    let prompt = id_tokens(&model, &[1, 5, 9, 3, 7, 2, 8]);
    let metric = Metric::new(MetricKind::LogitDiff(TokenSet::Ids(vec![5]), TokenSet::Ids(vec![9])));
    type Case = (Edit, fn(f32) -> f32);
    let number = |x: f32| Value::Tensor(Tensor::new(&[x], &candle_core::Device::Cpu).unwrap());
    let cases: [Case; 5] = [
        (Edit::Set(number(2.5)), |_| 2.5),
        (Edit::Add(number(1.5)), |f| f + 1.5),
        (Edit::Scale(3.0), |f| 3.0 * f),
        (Edit::Zero, |_| 0.0),
        (Edit::Lerp(number(2.0), 0.25), |f| 0.75 * f + 0.5),
    ];
    for sae in every_sae(&model) {
        let place = Site::new(sae.about.reads.point, sae.about.reads.layer);
        let (mut cells, mut by_hands) = (Vec::new(), Vec::new());
        for (edit, formula) in &cases {
            for (feature, row) in [(7, 3), (2, 6), (11, 5)] {
                let pos = Pos::Index(row);
                for keep_error in [true, false] {
                    let patch = site(&sae, Which::One(feature), keep_error).at(pos.clone());
                    cells.push(vec![allowed(patch, edit.clone())]);
                    let hand = by_hand(&sae, Some(feature), keep_error, *formula);
                    // A closure of one position sees no position axis.
                    let whole = place.clone().at(Pos::Range(row, row + 1));
                    by_hands.push(run(&model, &prompt, vec![allowed(whole, hand)], &[]));
                }
            }
        }
        let swept = sweep(&model, &prompt, &cells, &metric, SweepOptions::default(), &Control::default());
        for ((cell, hand), swept) in cells.iter().zip(&by_hands).zip(swept.unwrap().values) {
            let own = run(&model, &prompt, cell.clone(), &[]);
            assert!(max_diff(&logits(&own), &logits(hand)) < 1e-4, "{cell:?}");
            let value = metric.of(&own, &Control::default()).unwrap();
            assert!((value - swept).abs() < 1e-4, "{cell:?}: {swept} instead of {value}");
        }
        if sae.about.reads.point == Point::LnFinal {
            continue;
        }
        let options = GenerateOptions { max_new_tokens: 4, ..GenerateOptions::default() };
        let made = |site: Site, edit: Edit| {
            let patch = Patch { steps: Steps::All, ..allowed(site, edit) };
            generate(&model, &[(prompt.clone(), vec![patch])], &options, &Control::default())
                .unwrap()
                .remove(0)
                .ids
        };
        let add = |f: f32| f + 6.0;
        assert_eq!(
            made(one(&sae, 7), Edit::Add(number(6.0))),
            made(place, by_hand(&sae, Some(7), true, add))
        );
    }
}

#[test]
fn sweeps_over_features_merge_equal_cells_and_know_others() {
    let model = tiny("llama");
    let prompt = id_tokens(&model, &[1, 5, 9, 3, 7, 2, 8]);
    let own = sae(&model, at(Point::ResidPost, 0), Kind::Standard, Normalize::None);
    let other = sae(&model, at(Point::ResidPost, 0), Kind::Standard, Normalize::None);
    let donor = run(&model, &prompt, vec![], &[]);
    let cell = |site: Site, edit: Edit| vec![allowed(site, edit)];
    let same = |site: Site| cell(site, Edit::Set(Value::Trace(donor.clone())));
    let row = |site: Site| site.at(Pos::Index(4));
    let cells = [
        (cell(row(one(&own, 7)), Edit::Zero), CellStatus::Computed(0)),
        (cell(row(one(&own, 7)), Edit::Zero), CellStatus::Merged(0)),
        (cell(row(one(&own, 8)), Edit::Zero), CellStatus::Computed(1)),
        (cell(row(one(&other, 7)), Edit::Zero), CellStatus::Computed(2)),
        (cell(row(site(&own, Which::One(7), false)), Edit::Zero), CellStatus::Computed(3)),
        (same(row(one(&own, 7))), CellStatus::EqualsBase),
        (same(row(site(&own, Which::One(7), false))), CellStatus::Computed(4)),
        (cell(row(all(&own)), Edit::Zero), CellStatus::Computed(5)),
    ];
    let (cells, statuses): (Vec<_>, Vec<_>) = cells.into_iter().unzip();
    let metric = Metric::new(MetricKind::Logit(TokenSet::Ids(vec![5])));
    let found =
        sweep(&model, &prompt, &cells, &metric, SweepOptions::default(), &Control::default()).unwrap();
    assert_eq!(found.statuses, statuses);
    let plain = SweepOptions { shortcuts: false };
    let full = sweep(&model, &prompt, &cells, &metric, plain, &Control::default()).unwrap();
    for (a, b) in found.values.iter().zip(&full.values) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_runs() {
    let model = tiny("llama");
    let prompt = id_tokens(&model, &[1, 5, 9]);
    let own = sae(&model, at(Point::ResidPost, 0), Kind::Standard, Normalize::None);
    let foreign = {
        let about = About {
            model: Some("org/other".into()),
            ..about(at(Point::ResidPost, 0), Kind::Standard, Normalize::None)
        };
        Arc::new(Sae::new(about, own.tensors().unwrap()).unwrap())
    };
    let transcoder = {
        let about = About {
            writes: at(Point::MlpOut, 1),
            ..about(at(Point::Ln2, 1), Kind::Standard, Normalize::None)
        };
        Arc::new(Sae::new(about, own.tensors().unwrap()).unwrap())
    };
    let deep = {
        let about = about(at(Point::ResidPost, 7), Kind::Standard, Normalize::None);
        Arc::new(Sae::new(about, own.tensors().unwrap()).unwrap())
    };
    let two = vec![Patch::new(one(&own, 1), Edit::Zero), Patch::new(one(&own, 2), Edit::Zero)];
    for (patches, message) in [
        (vec![Patch::new(one(&own, 24), Edit::Zero)], "feature 24"),
        (
            vec![Patch::new(site(&own, Which::Many(vec![3, 3]), true), Edit::Zero)],
            "feature 3 is listed twice",
        ),
        (vec![Patch::new(one(&foreign, 1), Edit::Zero)], "the autoencoder is of `org/other`"),
        (
            vec![Patch::new(one(&transcoder, 1), Edit::Zero)],
            "cannot be patched: its features are read at one place",
        ),
        (vec![Patch::new(one(&deep, 1), Edit::Zero)], "layer 7 does not exist"),
        (two, "change the same activation, and their order would matter"),
    ] {
        let error = trace(&model, &[(prompt.clone(), patches)], &[], &Control::default()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.help().is_some() || message.contains("twice"), "{error}");
    }
    assert!(all(&own).info(model.config()).unwrap().starts_with("resid_post.0 features: [pos, 24]"));
    // A transcoder is read all the same.
    let read = run(&model, &prompt, vec![], &[]).read(&all(&transcoder), &Control::default()).unwrap();
    assert_eq!(read.dims(), [3, FEATURES]);
    assert!(read.sum(D::Minus1).unwrap().to_vec1::<f32>().unwrap().iter().all(|sum| *sum > 0.0));
}
