//! Work divided over several copies of the weights, and copies whose layers lie on several devices: the same bytes, ledgers and
//! errors as one copy on one device. On the CPU, which then stands for every card, or, where `PATCHSCRIPT_TEST_DEVICE` names
//! cards, on those.

mod common;

use candle_core::{DType, Device};
use common::*;
use patchscript::help::Help;
use patchscript::model::info::info;
use patchscript::model::{At, LoadOptions, Model, ModelError, Point, load_config, parse_devices};
use patchscript::run::generate::{GenerateOptions, generate};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::patch::{EditFn, RowMap};
use patchscript::run::stream::stream;
use patchscript::run::sweep::{Sweep, SweepOptions, sweep};
use patchscript::run::{
    Control, Edit, Metric, Patch, Pos, Result, RunError, Site, Steps, Tokens, Value, trace,
};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;

const LLAMA: &str = "tests/golden/tiny/llama";

/// So many devices, and bytes of weights that each may hold.
fn on(count: usize, most: Option<usize>) -> Arc<Model> {
    let all = parse_devices(&device()).unwrap();
    let devices = (0..count).map(|i| all[i % all.len()].clone()).collect();
    Arc::new(Model::load_on(LLAMA, &LoadOptions::default(), devices, most).unwrap())
}

/// Less than all of the weights.
fn part() -> Option<usize> {
    Some(info(&load_config(LLAMA, true).unwrap()).unwrap().bytes(DType::F32) * 2 / 3)
}

/// One device; several copies; one copy on two devices; two such copies.
fn all_places() -> Vec<Arc<Model>> {
    vec![on(1, None), on(2, None), on(3, None), on(2, part()), on(4, part())]
}

/// A pass for every cell, prompt or sequence.
fn one_at_a_time() -> Control {
    Control { memory: Some(1), ..Control::default() }
}

fn prompts(model: &Model, count: u32) -> Vec<Tokens> {
    let ids = |i: u32| (0..6 + i % 5).map(|j| (17 + 31 * i + 7 * j * j) % 300).collect::<Vec<_>>();
    (0..count).map(|i| id_tokens(model, &ids(i))).collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn logit_diff() -> Metric {
    let id = |id| TokenSet::Ids(vec![id]);
    Metric::new(Kind::LogitDiff(id(5), id(77)))
}

/// Patches from a donor, from tensors and by functions at every site.
fn cells(model: &Arc<Model>, donor: &Tokens) -> Vec<Vec<Patch>> {
    let donor = run(model, donor, vec![], &[Site::new(Point::ResidPost, 1)]);
    let width = model.config().d_model;
    let mut cells = Vec::new();
    for site in all_sites(model.config()) {
        for pos in [Pos::Index(4), Pos::Index(7), Pos::Range(2, 6), Pos::Last] {
            cells.push(vec![set(site.clone().at(pos.clone()), Value::Trace(donor.clone()))]);
        }
        if site.at.point == Point::ResidPost {
            let at = site.clone().at(Pos::Index(5));
            cells.push(vec![Patch::new(at.clone(), Edit::Add(Value::Tensor(random(&[width], 4))))]);
            let halve = |x: &candle_core::Tensor| Ok((x * 0.5)?);
            let halve = RowMap { name: "halve", width, map: Arc::new(halve) };
            cells.push(vec![
                Patch::new(at, Edit::Each(halve)),
                set(site.at(Pos::Last), Value::Mean(vec![donor.clone()])),
            ]);
        }
    }
    cells
}

fn swept(model: &Arc<Model>, cells: &[Vec<Patch>], control: &Control) -> Result<Sweep> {
    let (prompt, _) = pair(model);
    sweep(model, &prompt, cells, &logit_diff(), SweepOptions::default(), control)
}

#[test]
fn a_sweep_is_the_same_wherever_it_runs() {
    let found = |control: &Control| {
        let of = |model: &Arc<Model>| swept(model, &cells(model, &pair(model).1), control).unwrap();
        all_places().iter().map(of).collect::<Vec<_>>()
    };
    for control in [Control::default(), one_at_a_time()] {
        let found = found(&control);
        for other in &found[1..] {
            assert_eq!(bits(&other.values), bits(&found[0].values));
            assert_eq!(other.base.to_bits(), found[0].base.to_bits());
            assert_eq!(other.statuses, found[0].statuses);
            assert_eq!(other.max_change, found[0].max_change);
        }
        assert!(found[0].max_change.iter().filter(|change| **change > 0.0).count() > 100);
    }
}

#[test]
fn traces_are_the_same_wherever_they_run() {
    let sites = [Site::new(Point::Z, 1), Site::new(Point::Pattern, 0), Site::new(Point::ResidPost, 2)];
    let found = |model: &Arc<Model>, sites: &[Site]| {
        let all = prompts(model, 12);
        let donor = run(model, &all[11], vec![], &[]);
        let patched = all.iter().enumerate().map(|(i, tokens)| {
            let site = Site::new(Point::ResidPre, i % 3).at(Pos::Index(3));
            let at = |value| vec![set(site.clone(), value)];
            match i % 3 {
                0 => (tokens.clone(), at(Value::Trace(donor.clone()))),
                1 => (tokens.clone(), at(Value::Tensor(random(&[64], i as u64)))),
                _ => (tokens.clone(), vec![]),
            }
        });
        let traces = trace(model, &patched.collect::<Vec<_>>(), sites, &one_at_a_time()).unwrap().into_iter();
        let numbers = |run: patchscript::run::Trace| {
            let mut read: Vec<Vec<f32>> = sites.iter().map(|site| flat(&self::read(&run, site))).collect();
            // Not recorded at first.
            read.push(flat(&self::read(&run, &Site::new(Point::MlpPost, 1))));
            read.push(flat(&logits(&run)));
            (read, run.ledger().to_vec())
        };
        traces.map(numbers).collect::<Vec<_>>()
    };
    let models = all_places();
    for sites in [&sites[..], &sites[..1], &[]] {
        let first = found(&models[0], sites);
        for other in &models[1..] {
            assert!(found(other, sites) == first, "{}", other.place());
        }
    }
}

#[test]
fn activations_stream_in_the_order_of_their_prompts() {
    let found = |model: &Arc<Model>| {
        let ids: Vec<Vec<u32>> = prompts(model, 20).iter().map(|tokens| tokens.ids().to_vec()).collect();
        let mut found = Vec::new();
        let at = At { point: Point::MlpPost, layer: 1 };
        let sink = |i, rows: &[f32]| {
            found.push((i, rows.to_vec()));
            Ok(())
        };
        stream(model, at, &ids, &one_at_a_time(), sink).unwrap();
        found
    };
    let models = all_places();
    let first = found(&models[0]);
    assert!(first.iter().map(|(i, _)| *i).eq(0..20));
    for other in &models[1..] {
        assert!(found(other) == first, "{}", other.place());
    }
}

#[test]
fn generations_are_the_same_wherever_they_run() {
    let found = |model: &Arc<Model>, options: &GenerateOptions, control: &Control| {
        let all = prompts(model, 10);
        let donor = run(model, &all[9], vec![], &[]);
        let patched = all.iter().enumerate().map(|(i, tokens)| {
            let site = Site::new(Point::ResidPost, i % 3);
            let from_donor = set(site.clone().at(Pos::Index(2)), Value::Trace(donor.clone()));
            let steer = Edit::Add(Value::Tensor(random(&[64], 8)));
            let steps = Patch { steps: Steps::All, ..Patch::new(site, steer) };
            (tokens.clone(), [vec![], vec![from_donor], vec![steps]][i % 3].clone())
        });
        let made = generate(model, &patched.collect::<Vec<_>>(), options, control).unwrap();
        let numbers = |made: patchscript::run::generate::Generation| {
            let watched = made.watched.iter().map(|(_, x)| flat(x));
            let steps = made.watched_steps.iter().flat_map(|(_, steps)| steps).map(flat);
            (made.ids, made.logprobs, watched.chain(steps).collect::<Vec<_>>(), made.ledger)
        };
        made.into_iter().map(numbers).collect::<Vec<_>>()
    };
    let models = all_places();
    let watch = vec![Site::new(Point::ResidPost, 1), Site::new(Point::K, 2)];
    let greedy = GenerateOptions { max_new_tokens: 7, watch, ..GenerateOptions::default() };
    let drawn = GenerateOptions { temperature: 0.9, seed: 3, n: 2, watch: vec![], ..greedy.clone() };
    for options in [greedy, drawn] {
        for control in [Control::default(), one_at_a_time()] {
            let first = found(&models[0], &options, &control);
            for other in &models[1..] {
                assert!(found(other, &options, &control) == first, "{}", other.place());
            }
        }
    }
}

/// Of several pieces that fail the first is told, whichever card comes to one first.
#[test]
fn the_first_error_is_the_one_that_one_card_meets() {
    for model in all_places() {
        let width = model.config().d_model;
        let failing = |name: &'static str, layer| {
            let map = move |_: &candle_core::Tensor| Err(RunError::Closure(name.into()));
            let each = RowMap { name: "fail", width, map: Arc::new(map) };
            vec![Patch::new(Site::new(Point::ResidPost, layer).at(Pos::Index(6)), Edit::Each(each))]
        };
        let mut cells = cells(&model, &pair(&model).1);
        cells.insert(3, failing("late", 1));
        cells.insert(20, failing("early", 0));
        let all = prompts(&model, 12);
        // The same token everywhere before the patch, so that it changes nothing.
        let own = run(&model, &all[7], vec![], &[]);
        let idle = |i: usize, tokens: &Tokens| {
            let patch = Patch::new(Site::new(Point::ResidPost, 0), Edit::Set(Value::Trace(own.clone())));
            let other = Edit::Add(Value::Tensor(random(&[width], 1)));
            let other = Patch::new(Site::new(Point::ResidPost, 0), other);
            (tokens.clone(), vec![if i == 7 || i == 9 { patch } else { other }])
        };
        let mut patched: Vec<_> = all.iter().enumerate().map(|(i, tokens)| idle(i, tokens)).collect();
        patched[9].0 = all[7].clone();
        for _ in 0..4 {
            let refused = swept(&model, &cells, &one_at_a_time()).unwrap_err();
            assert_eq!(refused.to_string(), "early");
            let refused = trace(&model, &patched, &[], &one_at_a_time()).map(|_| ()).unwrap_err();
            assert_eq!(refused.to_string(), "prompt 7: the patch on `resid_post.0` changed nothing");
            let options = GenerateOptions { max_new_tokens: 3, ..GenerateOptions::default() };
            let refused = generate(&model, &patched, &options, &one_at_a_time()).map(|_| ()).unwrap_err();
            assert_eq!(refused.to_string(), "prompt 7: the patch on `resid_post.0` changed nothing");
        }
    }
}

#[test]
fn closures_of_a_script_are_called_on_the_thread_of_the_run() {
    let model = on(3, None);
    let called = Arc::new(Mutex::new(Vec::new()));
    let note = |log: &Arc<Mutex<Vec<thread::ThreadId>>>| log.lock().unwrap().push(thread::current().id());
    let log = called.clone();
    let double: EditFn = Arc::new(move |x| {
        note(&log);
        (x * 2.0).map_err(|error| error.to_string())
    });
    let cells: Vec<_> = (0..9)
        .map(|pos| Site::new(Point::ResidPost, 0).at(Pos::Index(pos)))
        .map(|site| vec![Patch::new(site, Edit::Func(double.clone()))])
        .collect();
    swept(&model, &cells, &one_at_a_time()).unwrap();
    let (prompt, donor) = pair(&model);
    let log = called.clone();
    let metric = Metric::new(Kind::Func(Arc::new(move |logits: &[f32]| {
        note(&log);
        Ok(f64::from(logits[3]))
    })));
    let cells = self::cells(&model, &donor);
    sweep(&model, &prompt, &cells, &metric, SweepOptions::default(), &one_at_a_time()).unwrap();
    let called = called.lock().unwrap();
    assert!(called.len() > 100 && called.iter().all(|id| *id == thread::current().id()));
}

#[test]
fn progress_grows_and_an_interruption_stops_all() {
    let model = on(3, None);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let control = one_at_a_time();
    let (log, stop) = (seen.clone(), control.interrupted.clone());
    let note = move |done: usize, total: usize, _: &str| {
        log.lock().unwrap().push(done);
        stop.store(done > total / 3, Relaxed);
    };
    let control = Control { progress: Some(Arc::new(note)), ..control };
    let refused = swept(&model, &cells(&model, &pair(&model).1), &control).unwrap_err();
    assert!(refused.is_interrupt(), "{refused}");
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.len() > 3);
}

#[test]
fn lists_of_devices_are_refused_with_a_cure() {
    for (given, problem) in [
        ("cuda:0,cuda:0", "names card 0 twice"),
        ("cuda,cuda:00", "names card 0 twice"),
        ("cpu,cuda:0", "names `cpu` among several"),
        ("cuda:1,auto", "names `auto` among several"),
        ("cuda:0,cuda:-1", "names `cuda:-1` among several"),
        ("cuda:0, cuda:1", "names ` cuda:1` among several"),
        ("cuda:0,", "has an empty place"),
        (",", "has an empty place"),
        ("cuda:0,,cuda:1", "has an empty place"),
    ] {
        let refused = parse_devices(given).unwrap_err();
        assert_eq!(refused.to_string(), format!("device `{given}` {problem}"));
        assert_eq!(
            refused.help().unwrap(),
            "name cards of one kind, each once, as in `--device cuda:0,cuda:1`"
        );
    }
    let missing = parse_devices("cuda:99,cuda:98").unwrap_err();
    assert!(missing.to_string().starts_with("device `cuda:99` is not available: "), "{missing}");
    let folder = tempfile::tempdir().unwrap();
    let out = script("load();", &folder.path().join("out"), &["--device", "cuda:0,cuda:0"]);
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && told.contains("names card 0 twice"), "{told}");
    assert!(told.contains("= help: name cards of one kind"), "{told}");
}

#[test]
fn weights_without_room_are_refused() {
    let refused = Model::load_on(LLAMA, &LoadOptions::default(), vec![Device::Cpu; 2], Some(100_000));
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ModelError::NoRoom { .. }), "{refused}");
    assert!(refused.help().unwrap().starts_with("name more cards, as in `--device cuda:0,cuda:1`"));
}

#[test]
fn a_model_says_where_it_is() {
    let cpu = |devices, most| {
        let devices = vec![Device::Cpu; devices];
        Model::load_on(LLAMA, &LoadOptions::default(), devices, most).unwrap().place()
    };
    assert_eq!(cpu(1, None), "cpu");
    assert_eq!(cpu(2, None), "cpu,cpu");
    assert_eq!(cpu(2, part()), "cpu+cpu");
    assert_eq!(cpu(4, part()), "cpu+cpu,cpu+cpu");
}
