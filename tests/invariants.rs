//! What must hold of every site of every family, whatever the numbers are.

mod common;

use candle_core::{Device, Tensor};
use common::*;
use patchscript::model::{Axes, Point};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::patch::RowMap;
use patchscript::run::{Control, Edit, Heads, LedgerEntry, Patch, Pos, Site, Value, trace};
use std::sync::Arc;

#[test]
fn patching_a_run_with_itself_changes_no_bit() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, _) = pair(&model);
        let own = run(&model, &prompt, vec![], &all_sites(model.config()));
        let plain = run(&model, &prompt, vec![], &[]);
        assert!(flat(&logits(&own)) == flat(&logits(&plain)), "{arch}: watching changes a run");
        for site in all_sites(model.config()) {
            for pos in [Pos::All, Pos::Index(3), Pos::List(vec![-1, 0, 5])] {
                let patch = set(site.clone().at(pos.clone()), Value::Trace(own.clone()));
                let patched = run(&model, &prompt, vec![patch], &[]);
                assert!(flat(&logits(&patched)) == flat(&logits(&plain)), "{arch} {site} at {pos}");
                assert_eq!(patched.ledger()[0].max_change, 0.0, "{arch} {site}");
                assert_eq!(patched.ledger()[0].fired, 1, "{arch} {site}");
            }
        }
    }
}

#[test]
fn patching_before_the_first_difference_changes_nothing() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        assert_eq!(prompt.first_diff(&donor), Some(4));
        let donor = run(&model, &donor, vec![], &[]);
        let plain = run(&model, &prompt, vec![], &[]);
        for site in all_sites(model.config()) {
            for pos in [Pos::Index(0), Pos::Range(0, 4)] {
                let patch = set(site.clone().at(pos), Value::Trace(donor.clone()));
                let patched = run(&model, &prompt, vec![patch], &[]);
                assert!(max_diff(&logits(&patched), &logits(&plain)) < 1e-5, "{arch} {site}");
            }
        }
    }
}

#[test]
fn a_whole_residual_carries_the_donor() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        for layer in 0..model.config().n_layers {
            let patch = set(Site::new(Point::ResidPost, layer), Value::Trace(donor.clone()));
            let patched = run(&model, &prompt, vec![patch], &[]);
            let diff = max_diff(&patched.last().unwrap(), &donor.last().unwrap());
            assert!(diff < 1e-5, "{arch} resid_post.{layer}: {diff}");
        }
    }
}

#[test]
fn all_heads_together_are_the_whole() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        let n_heads = model.config().n_heads;
        for layer in 0..model.config().n_layers {
            let z = |heads| Site::new(Point::Z, layer).heads(heads);
            let patch = |heads| set(z(heads), Value::Trace(donor.clone()));
            let whole = run(&model, &prompt, vec![patch(Heads::All)], &[]);
            let one_by_one = (0..n_heads).rev().map(|h| patch(Heads::One(h))).collect();
            let one_by_one = run(&model, &prompt, one_by_one, &[]);
            let many = run(&model, &prompt, vec![patch(Heads::Many((0..n_heads).rev().collect()))], &[]);
            assert!(flat(&logits(&whole)) == flat(&logits(&one_by_one)), "{arch} z.{layer}");
            assert!(flat(&logits(&whole)) == flat(&logits(&many)), "{arch} z.{layer}");
        }
    }
}

/// The stream and what is added to it must be consistent, for values read and values patched alike.
#[test]
fn the_residual_stream_adds_up() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, _) = pair(&model);
        let run = run(&model, &prompt, vec![], &all_sites(model.config()));
        let at = |point, layer| read(&run, &Site::new(point, layer));
        for layer in 0..model.config().n_layers {
            let mid = (at(Point::ResidPre, layer) + at(Point::AttnOut, layer)).unwrap();
            if !model.config().parallel {
                assert!(max_diff(&mid, &at(Point::ResidMid, layer)) < 1e-5);
            }
            let post = (mid + at(Point::MlpOut, layer)).unwrap();
            assert!(max_diff(&post, &at(Point::ResidPost, layer)) < 1e-5);
            let rows = read(&run, &Site::new(Point::Pattern, layer)).sum(2).unwrap();
            assert!(max_diff(&rows, &rows.ones_like().unwrap()) < 1e-5, "{arch}: probabilities sum to 1");
            let result = read(&run, &Site::new(Point::Result, layer)).sum(1).unwrap();
            let without_bias = (at(Point::AttnOutRaw, layer) - result).unwrap();
            let first = without_bias.get(0).unwrap();
            let spread = max_diff(&without_bias, &first.broadcast_as(without_bias.dims()).unwrap());
            assert!(spread < 1e-5, "{arch}: heads' results miss the output by more than a bias: {spread}");
        }
    }
}

#[test]
fn a_batch_changes_no_result() {
    for arch in ARCHS {
        let model = tiny(arch);
        let sites = all_sites(model.config());
        let (a, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        let patch = set(Site::new(Point::MlpOut, 1).at(Pos::Index(2)), Value::Trace(donor));
        let prompts = vec![
            (a.slice(0..5), vec![]),
            (a.clone(), vec![patch]),
            (a.slice(3..4), vec![]),
            (a.slice(2..9), vec![]),
            (a.slice(0..7), vec![]),
        ];
        let together = trace(&model, &prompts, &sites, &Control::default()).unwrap();
        for ((tokens, patches), packed) in prompts.iter().zip(&together) {
            let alone = run(&model, tokens, patches.clone(), &sites);
            // Who multiplies on a card adds in an order that depends on the number of rows.
            let largest = |x: &Tensor| flat(x).into_iter().fold(1f32, |m, x| m.max(x.abs()));
            let unit = if model.transformer.device.is_cpu() { 1.0 } else { largest(&logits(&alone)) };
            let diff = max_diff(&logits(packed), &logits(&alone)) / unit;
            assert!(diff < 1e-5, "{arch} logits: {diff}");
            for site in &sites {
                let alone = read(&alone, site);
                let largest =
                    flat(&alone).into_iter().filter(|x| x.is_finite()).fold(1f32, |m, x| m.max(x.abs()));
                let diff = max_diff(&read(packed, site), &alone) / largest;
                assert!(diff < 1e-5, "{arch} {site}: {diff} of its largest entry");
            }
        }
    }
}

/// Ablating every head leaves exactly the bias, which norms after attention would blow up were it only nearly so.
#[test]
fn heads_set_to_zero_leave_the_bias_alone() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, _) = pair(&model);
        let out = Site::new(Point::AttnOutRaw, 1).at(Pos::Range(3, 7));
        for point in [Point::Result, Point::Z, Point::Pattern] {
            let zero = Patch::new(Site::new(point, 1).at(Pos::Range(3, 7)), Edit::Zero);
            let left = read(&run(&model, &prompt, vec![zero], &[]), &out);
            let first = left.narrow(0, 0, 1).unwrap().broadcast_as(left.shape()).unwrap();
            assert_eq!(max_diff(&left, &first), 0.0, "{arch} {point:?}");
            assert!(max_diff(&left, &left.zeros_like().unwrap()) == 0.0 || model.config().biases.attn_out);
        }
    }
}

#[test]
fn the_order_of_patches_never_shows() {
    let model = tiny("llama");
    let (prompt, donor) = pair(&model);
    let donor = run(&model, &donor, vec![], &[]);
    let width = model.config().d_model;
    let add = |seed, pos| {
        let site = Site::new(Point::ResidMid, 1).at(pos);
        Patch::new(site, Edit::Add(Value::Tensor(random(&[width], seed))))
    };
    let patches = vec![
        add(1, Pos::All),
        add(2, Pos::Index(3)),
        add(3, Pos::Range(2, 6)),
        set(Site::new(Point::Z, 0).heads(Heads::One(2)), Value::Trace(donor.clone())),
        Patch::new(Site::new(Point::MlpPost, 2).neuron(5), Edit::Scale(3.0)),
        Patch::new(Site::new(Point::Pattern, 1).heads(Heads::One(0)), Edit::Scale(0.5)),
    ];
    let first = run(&model, &prompt, patches.clone(), &[]);
    for turn in 1..patches.len() {
        let mut turned = patches.clone();
        turned.rotate_left(turn);
        assert!(flat(&logits(&first)) == flat(&logits(&run(&model, &prompt, turned, &[]))));
    }
}

#[test]
fn ledgers_are_in_the_order_in_which_patches_are_given() {
    let model = tiny("llama");
    let (prompt, _) = pair(&model);
    // Neither the order of the pass nor its reverse.
    let sites = [
        Site::new(Point::MlpPost, 1).neuron(5),
        Site::new(Point::Z, 2),
        Site::new(Point::Logits, 0),
        Site::new(Point::ResidMid, 0),
    ];
    let patches: Vec<Patch> = sites.iter().map(|site| Patch::new(site.clone(), Edit::Scale(2.0))).collect();
    let given: Vec<String> = sites.iter().map(ToString::to_string).collect();
    let names = |ledger: &[LedgerEntry]| ledger.iter().map(|entry| entry.patch.clone()).collect::<Vec<_>>();
    assert_eq!(names(run(&model, &prompt, patches.clone(), &[]).ledger()), given);
    let options = GenerateOptions { max_new_tokens: 2, ..GenerateOptions::default() };
    let made = generate(&model, &[(prompt, patches)], &options, &Control::default()).unwrap();
    assert_eq!(names(&made[0].ledger), given);
}

#[test]
fn what_is_hidden_stays_hidden_whatever_scores_are_set() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, _) = pair(&model);
        let patch = Patch::new(Site::new(Point::AttnScores, 0), Edit::Zero);
        let run = run(&model, &prompt, vec![patch], &[Site::new(Point::Pattern, 0)]);
        let pattern = read(&run, &Site::new(Point::Pattern, 0).heads(Heads::One(1)));
        let window = model.config().kind(0).window.unwrap_or(usize::MAX);
        for (query, row) in pattern.to_vec2::<f32>().unwrap().iter().enumerate() {
            for (key, &p) in row.iter().enumerate() {
                let seen = key <= query && query - key < window;
                let want = if seen { 1.0 / (query + 1).min(window) as f32 } else { 0.0 };
                assert!((p - want).abs() < 1e-6, "{arch}: query {query} reads key {key} with {p}");
            }
        }
    }
}

/// Every edit against the same arithmetic done by hand on the recorded activation.
#[test]
fn a_trace_that_stops_early_ends_as_one_that_does_not() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, other) = pair(&model);
        let patch = Patch::new(Site::new(Point::MlpOut, 0).at(Pos::Last), Edit::Scale(0.5));
        let prompts = [(prompt.clone(), vec![]), (other.clone(), vec![patch]), (prompt.slice(0..3), vec![])];
        let control = Control::default();
        let whole = trace(&model, &prompts, &[], &control).unwrap();
        let last = model.config().n_layers - 1;
        for (point, layer) in
            [(Point::Embed, 0), (Point::ResidPost, 0), (Point::Q, 1), (Point::MlpPost, last)]
        {
            let site = Site::new(point, layer);
            let early = trace(&model, &prompts, std::slice::from_ref(&site), &control).unwrap();
            // Whoever is read first, all go on.
            for (early, whole) in early.iter().zip(&whole).rev() {
                let logits = |of: &patchscript::run::Trace| flat(&of.logits(&control).unwrap());
                assert_eq!(logits(early), logits(whole), "{arch} {site}");
                assert_eq!(flat(&early.last().unwrap()), flat(&whole.last().unwrap()), "{arch} {site}");
                assert_eq!(early.ledger(), whole.ledger(), "{arch} {site}");
            }
        }
    }
}

/// A map of rows of this width.
fn tripled(width: usize) -> RowMap {
    RowMap { name: "triple", width, map: Arc::new(|x| Ok((x * 3.0)?)) }
}

#[test]
fn edits_do_what_they_say() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, _) = pair(&model);
        let plain = run(&model, &prompt, vec![], &[]);
        for site in all_sites(model.config()) {
            if matches!(site.at.point.axes(model.config()), Axes::Scores { .. }) {
                continue;
            }
            let site = site.at(Pos::List(vec![6, 2]));
            let x = read(&plain, &site).to_device(&Device::Cpu).unwrap();
            let v = random(x.dims(), 7);
            let r = random(&x.dims()[x.rank() - 1..], 8);
            let unit = r.broadcast_div(&r.sqr().unwrap().sum_all().unwrap().sqrt().unwrap()).unwrap();
            let along = x.broadcast_mul(&unit).unwrap().sum_keepdim(x.rank() - 1).unwrap();
            let twice: patchscript::run::patch::EditFn = Arc::new(|x| (x * 2.0).map_err(|e| e.to_string()));
            let cases = [
                (Edit::Set(Value::Tensor(v.clone())), v.clone()),
                (Edit::Add(Value::Tensor(v.clone())), (&x + &v).unwrap()),
                (Edit::Scale(-1.5), (&x * -1.5).unwrap()),
                (
                    Edit::Lerp(Value::Tensor(v.clone()), 0.25),
                    ((&x * 0.75).unwrap() + (&v * 0.25).unwrap()).unwrap(),
                ),
                (Edit::Zero, x.zeros_like().unwrap()),
                (Edit::ProjectOut(r), (&x - along.broadcast_mul(&unit).unwrap()).unwrap()),
                (Edit::Func(twice), (&x * 2.0).unwrap()),
                (Edit::Each(tripled(x.elem_count() / 2)), (&x * 3.0).unwrap()),
            ];
            for (edit, want) in cases {
                let name = edit.name();
                let patched = run(&model, &prompt, vec![Patch::new(site.clone(), edit)], &[]);
                let diff = max_diff(&read(&patched, &site), &want);
                assert!(diff < 1e-5, "{arch} {name} {site}: {diff}");
            }
        }
    }
}
