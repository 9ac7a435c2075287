//! What a run finds in the cache is what it would compute, to the bit, and whatever decides a bit is part of the key.

mod common;

use candle_core::{DType, Device, Tensor};
use common::*;
use patchscript::cache::{Cache, Place, list};
use patchscript::model::{LoadOptions, Model, Point, identity};
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{Sweep, SweepOptions, sweep};
use patchscript::run::{Control, Edit, Heads, Metric, Patch, Pos, Site, Tokens, Trace, Value, stream, trace};
use serde_json::Value as Json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A cache that keeps everything.
fn everything() -> (Arc<Cache>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path().into(), limit: 1 << 30, least: Duration::ZERO };
    (Arc::new(Cache::new(place)), folder)
}

fn with(cache: &Arc<Cache>) -> Control {
    Control { cache: Some(cache.clone()), ..Control::default() }
}

fn known(id: &str, options: &LoadOptions, cache: &Cache) -> Arc<Model> {
    let began = SystemTime::now();
    let mut model = Model::load(id, options).unwrap();
    model.identity = identity::identity(&model, options, began, cache);
    assert!(model.identity.is_some(), "{id}");
    Arc::new(model)
}

fn tiny_known(arch: &str, cache: &Cache) -> Arc<Model> {
    let options = LoadOptions { device: "cpu".into(), ..LoadOptions::default() };
    known(&format!("tests/golden/tiny/{arch}"), &options, cache)
}

/// The bits of all that a script can read of a run.
fn bits(run: &Trace, sites: &[Site]) -> Vec<u32> {
    let of =
        |x: Tensor| flat(&x.to_dtype(DType::F32).unwrap()).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let mut bits: Vec<u32> = sites.iter().flat_map(|site| of(read(run, site))).collect();
    bits.extend(of(run.last().unwrap()));
    bits.extend(of(logits(run)));
    bits.extend(run.ledger().iter().flat_map(|entry| [entry.fired as u32, entry.max_change.to_bits()]));
    bits
}

/// Patches of every kind that can be kept, at places that do not meet.
fn patches(model: &Model, donor: &Arc<Trace>, seed: u64) -> Vec<Patch> {
    let d = model.config().d_model;
    let direction = random(&[d], seed);
    vec![
        Patch::new(
            Site::new(Point::ResidPre, 1).at(Pos::Index(3)),
            Edit::Add(Value::Tensor(random(&[d], seed + 1))),
        ),
        Patch::new(Site::new(Point::Z, 1).heads(Heads::One(1)), Edit::Set(Value::Trace(donor.clone()))),
        Patch::new(Site::new(Point::MlpOut, 0).at(Pos::Index(2)), Edit::Scale(0.25)),
        Patch::new(Site::new(Point::AttnOut, 2).at(Pos::Last), Edit::Zero),
        Patch::new(Site::new(Point::ResidPost, 1).at(Pos::Index(1)), Edit::ProjectOut(direction)),
        Patch::new(
            Site::new(Point::MlpPost, 2).at(Pos::Range(5, 8)),
            Edit::Lerp(Value::Mean(vec![donor.clone()]), 0.75),
        ),
    ]
}

#[test]
fn traces_that_are_found_are_those_that_are_computed() {
    for arch in ARCHS {
        let (cache, _folder) = everything();
        let model = tiny_known(arch, &cache);
        let (a, b) = pair(&model);
        let some =
            [Site::new(Point::ResidPost, 0), Site::new(Point::Pattern, 1), Site::new(Point::LnFinal, 0)];
        let all = all_sites(model.config());
        for sites in [&[][..], &some[..1], &some, &all] {
            let run = |control: &Control| {
                let donor = trace(&model, &[(b.clone(), Vec::new())], &[], control).unwrap().remove(0);
                let list = patches(&model, &Arc::new(donor), 5);
                let end = Patch::new(Site::new(Point::Logits, 0).at(Pos::Last), Edit::Scale(0.5));
                let prompts = [(a.clone(), list.clone()), (b.clone(), Vec::new()), (a.clone(), vec![end])];
                let runs = trace(&model, &prompts, sites, control).unwrap();
                runs.iter().map(|run| bits(run, sites)).collect::<Vec<_>>()
            };
            let computed = run(&Control::default());
            let before = cache.counts();
            assert_eq!(run(&with(&cache)), computed, "{arch}");
            let between = cache.counts();
            assert!(between.1 > before.1, "nothing was kept");
            assert_eq!(run(&with(&cache)), computed, "{arch}, from the cache");
            let after = cache.counts();
            assert!(after.0 >= between.0 + 2 && after.1 == between.1, "{arch}: {between:?} {after:?}");
        }
    }
}

fn logit_diff() -> Metric {
    let set = |id| TokenSet::Ids(vec![id]);
    Metric::new(Kind::LogitDiff(set(5), set(9)))
}

fn cells(model: &Model, donor: &Arc<Trace>) -> Vec<Vec<Patch>> {
    let layers = 0..model.config().n_layers;
    let sites =
        layers.flat_map(|layer| [Point::ResidPost, Point::Z, Point::MlpOut].map(|p| Site::new(p, layer)));
    let mut cells: Vec<Vec<Patch>> = sites
        .flat_map(|site| (0..11).map(move |pos| site.clone().at(Pos::Index(pos))))
        .map(|site| vec![set(site, Value::Trace(donor.clone()))])
        .collect();
    cells.push(vec![set(Site::new(Point::LnFinal, 0).at(Pos::Last), Value::Trace(donor.clone()))]);
    cells.push(patches(model, donor, 8));
    cells
}

type Found = (Vec<u64>, Vec<u32>, u64);

fn swept(
    model: &Arc<Model>,
    prompts: (&Tokens, &Tokens),
    change: impl Fn(&mut Vec<Vec<Patch>>),
    metric: &Metric,
    control: &Control,
) -> Found {
    let donor = trace(model, &[(prompts.1.clone(), Vec::new())], &[], control).unwrap().remove(0);
    let mut cells = cells(model, &Arc::new(donor));
    change(&mut cells);
    let Sweep { values, base, max_change, .. } =
        sweep(model, prompts.0, &cells, metric, SweepOptions::default(), control).unwrap();
    let values = values.into_iter().map(f64::to_bits).collect();
    (values, max_change.into_iter().map(f32::to_bits).collect(), base.to_bits())
}

#[test]
fn sweeps_that_are_found_are_those_that_are_computed() {
    let metrics = |clean: Arc<Trace>| {
        let largest = |logits: &[f32]| Ok(f64::from(logits.iter().copied().fold(f32::MIN, f32::max)));
        [
            logit_diff(),
            logit_diff().recovered(2.0, -1.0).unwrap(),
            Metric::new(Kind::Kl(clean)),
            Metric::new(Kind::Entropy),
            Metric::new(Kind::Func(Arc::new(largest))),
        ]
    };
    for arch in ARCHS {
        let (cache, _folder) = everything();
        let model = tiny_known(arch, &cache);
        let (a, b) = pair(&model);
        let clean = run(&model, &b, Vec::new(), &[]);
        for memory in [None, Some(1 << 20)] {
            for metric in metrics(clean.clone()) {
                let of = |cache: Option<&Arc<Cache>>| {
                    let control = Control { memory, cache: cache.cloned(), ..Control::default() };
                    swept(&model, (&a, &b), |_| {}, &metric, &control)
                };
                let computed = of(None);
                assert_eq!(of(Some(&cache)), computed, "{arch}, {metric:?}");
                let before = cache.counts();
                assert_eq!(of(Some(&cache)), computed, "{arch}, {metric:?}, from the cache");
                let after = cache.counts();
                assert!(after.0 > before.0 + 2 && after.1 == before.1, "{before:?} {after:?}");
            }
        }
    }
}

/// How many results `work` adds to a cache that holds those of the same work unchanged.
fn adds(cache: &Cache, work: impl FnOnce()) -> u64 {
    let before = cache.counts().1;
    work();
    cache.counts().1 - before
}

#[test]
fn whatever_decides_a_number_decides_where_it_is_found() {
    let (cache, _folder) = everything();
    let model = tiny_known("llama", &cache);
    let (a, b) = pair(&model);
    let control = with(&cache);
    let computed = Control::default();
    let go = |control: &Control, prompts, change: &dyn Fn(&mut Vec<Vec<Patch>>), metric: &Metric| {
        swept(&model, prompts, change, metric, control)
    };
    let first = go(&control, (&a, &b), &|_| {}, &logit_diff());
    // Unchanged: the donor, what is recorded of it later, the base run and the cells.
    assert_eq!(adds(&cache, || assert_eq!(go(&control, (&a, &b), &|_| {}, &logit_diff()), first)), 0);
    let mut other = a.ids().to_vec();
    other[9] += 1;
    let other = id_tokens(&model, &other);
    let sets = |a, b| Metric::new(Kind::LogitDiff(TokenSet::Ids(vec![a]), TokenSet::Ids(vec![b])));
    let bump = |cells: &mut Vec<Vec<Patch>>| {
        let last = cells.last_mut().unwrap();
        let Edit::Add(Value::Tensor(x)) = &last[0].edit else { panic!("the first patch adds a tensor") };
        let mut values = flat(x);
        values[17] = f32::from_bits(values[17].to_bits() + 1);
        last[0].edit = Edit::Add(Value::Tensor(Tensor::from_vec(values, x.dims(), &Device::Cpu).unwrap()));
    };
    let scale =
        |cells: &mut Vec<Vec<Patch>>| cells.last_mut().unwrap()[2].edit = Edit::Scale(0.25 + f64::EPSILON);
    let place = |cells: &mut Vec<Vec<Patch>>| {
        let patch = &mut cells.last_mut().unwrap()[2];
        patch.site = patch.site.clone().at(Pos::Index(1));
    };
    let head = |cells: &mut Vec<Vec<Patch>>| {
        let patch = &mut cells.last_mut().unwrap()[1];
        patch.site = patch.site.clone().heads(Heads::One(0));
    };
    let fewer = |cells: &mut Vec<Vec<Patch>>| drop(cells.remove(20));
    let same = |_: &mut Vec<Vec<Patch>>| {};
    type Change<'a> = &'a dyn Fn(&mut Vec<Vec<Patch>>);
    let cases: [(&str, (&Tokens, &Tokens), Change, Metric); 8] = [
        ("a token of the prompt", (&other, &b), &same, logit_diff()),
        ("a token of the donor", (&a, &other), &same, logit_diff()),
        ("a bit of a value", (&a, &b), &bump, logit_diff()),
        ("a bit of a factor", (&a, &b), &scale, logit_diff()),
        ("a position", (&a, &b), &place, logit_diff()),
        ("a head", (&a, &b), &head, logit_diff()),
        ("a cell", (&a, &b), &fewer, logit_diff()),
        ("what the metric reads", (&a, &b), &same, sets(5, 10)),
    ];
    for (name, prompts, change, metric) in cases {
        let added = adds(&cache, || {
            let found = go(&control, prompts, change, &metric);
            assert_eq!(found, go(&computed, prompts, change, &metric), "{name}");
        });
        assert!(added > 0, "{name} is no part of the key");
    }
    // What only becomes of the numbers later is none of it.
    let recovered = logit_diff().recovered(3.0, 1.0).unwrap();
    assert_eq!(adds(&cache, || drop(go(&control, (&a, &b), &same, &recovered))), 0);
    // And what no key can hold is computed, and not kept.
    let closure = |cells: &mut Vec<Vec<Patch>>| {
        let site = Site::new(Point::ResidPost, 1).at(Pos::Index(4));
        *cells = vec![vec![Patch::new(site, Edit::Func(Arc::new(|x| (x * 2.0).map_err(|e| e.to_string()))))]];
    };
    assert_eq!(adds(&cache, || drop(go(&control, (&a, &b), &closure, &logit_diff()))), 0);
}

#[test]
fn a_weight_a_seed_and_the_number_type_are_part_of_a_model() {
    let (cache, folder) = everything();
    let options = LoadOptions { device: "cpu".into(), ..LoadOptions::default() };
    let copy = folder.path().join("model");
    std::fs::create_dir(&copy).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new("tests/golden/tiny/llama").join(file), copy.join(file)).unwrap();
    }
    let id = copy.to_str().unwrap();
    // Written a moment ago, it may have changed while it was loaded.
    let loaded = SystemTime::now();
    let model = Model::load(id, &options).unwrap();
    assert_eq!(identity::identity(&model, &options, loaded, &cache), None);
    let settle = || std::thread::sleep(Duration::from_millis(80));
    settle();
    let of = |id: &str, options: &LoadOptions| known(id, options, &cache).identity.clone().unwrap();
    let first = of(id, &options);
    assert_eq!(of(id, &options), first);
    let mut others = vec![
        of(&format!("shuffled:{id}"), &options),
        of(&format!("shuffled:{id}"), &LoadOptions { seed: 1, ..options.clone() }),
        of(&format!("random:{id}"), &options),
        of("demo", &options),
    ];
    let path = copy.join("model.safetensors");
    let mut weights = std::fs::read(&path).unwrap();
    let last = weights.len() - 1;
    weights[last] ^= 1;
    std::fs::write(&path, &weights).unwrap();
    settle();
    others.push(of(id, &options));
    let mut config = std::fs::read_to_string(copy.join("config.json")).unwrap();
    config.push('\n');
    std::fs::write(copy.join("config.json"), config).unwrap();
    settle();
    others.push(of(id, &options));
    others.push(first);
    assert!((0..others.len()).all(|i| !others[..i].contains(&others[i])), "{others:?}");
}

#[test]
fn rows_of_a_corpus_are_found_and_a_stopped_run_keeps_nothing() {
    let (cache, _folder) = everything();
    let model = tiny_known("qwen2", &cache);
    let prompts: Vec<Vec<u32>> =
        (0..40).map(|i| (0..i % 7).map(|j| 3 + (i * 5 + j * 11) % 200).collect()).collect();
    let rows = |control: &Control, memory| {
        let mut rows = Vec::new();
        let control = Control { memory: Some(memory), ..control.clone() };
        let at = Site::new(Point::MlpPost, 1).at;
        let ran = stream(&model, at, &prompts, &control, |i, x| {
            rows.push((i, x.iter().map(|x| x.to_bits()).collect::<Vec<_>>()));
            Ok(())
        });
        ran.map(|()| rows)
    };
    let stopped = with(&cache);
    stopped.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(rows(&stopped, 1 << 30).unwrap_err().is_interrupt());
    assert_eq!(cache.counts(), (0, 0));
    for memory in [1 << 30, 20_000] {
        let computed = rows(&Control::default(), memory).unwrap();
        assert_eq!(rows(&with(&cache), memory).unwrap(), computed);
        let (found, added) = cache.counts();
        assert_eq!(rows(&with(&cache), memory).unwrap(), computed);
        assert!(cache.counts().0 > found && cache.counts().1 == added);
    }
}

/// Runs the binary in the repository's root with its cache below `folder`.
fn patchscript(folder: &Path, args: &[&str]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATCHSCRIPT_CACHE", folder)
        .env_remove("PATCHSCRIPT_CACHE_SIZE")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code())
}

/// What a run of a script prints and leaves, and what it found and kept.
fn ran(folder: &Path, script: &str, more: &[&str]) -> ((String, String, Json), Json) {
    let out = folder.join("out");
    let out = out.to_str().expect("UTF-8");
    let args = [&["run", script, "--offline", "--out", out], more].concat();
    let (printed, told, code) = patchscript(folder, &args);
    assert_eq!(code, Some(0), "{script}: {told}");
    let record = std::fs::read_to_string(Path::new(out).join("run.json")).expect("the record");
    let mut record: Json = serde_json::from_str(&record).expect("JSON");
    let sums = record["artefacts"].take();
    assert!(sums.as_array().is_some_and(|sums| sums.iter().all(|of| of["sum"].is_string())));
    std::fs::remove_dir_all(out).expect("removed");
    ((printed, told, serde_json::json!([sums, record["sweeps"].take()])), record["cache"].take())
}

#[test]
fn shipped_scripts_give_the_same_with_the_cache_and_without() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (script, settings) in [
        ("attribute_extraction", &["items=2", "tokens=4"][..]),
        ("ioi_patching", &["prompts=1"]),
        ("mfa_steering", &["epochs=1", "components=4", "rank=2", "limit=1000"]),
        ("patchscope", &[]),
        ("patchscope_layers", &[]),
        ("percentage_patching", &["n=40", "sweep_rows=2"]),
        ("power_heatmap", &[]),
    ] {
        let sets: Vec<_> = settings.iter().flat_map(|set| ["--set", set]).collect();
        let script = format!("scripts/{script}.rhai");
        let (computed, none) = ran(folder.path(), &script, &[&sets[..], &["--no-cache"]].concat());
        assert_eq!(none, Json::Null);
        let (first, _) = ran(folder.path(), &script, &sets);
        let (second, cache) = ran(folder.path(), &script, &sets);
        assert_eq!(first, computed, "{script}");
        assert_eq!(second, computed, "{script}, from the cache");
        if computed.2[1]["computed"].as_u64().is_some_and(|cells| cells > 100) {
            assert!(cache["found"].as_u64().is_some_and(|found| found > 0), "{script}: {cache}");
        }
    }
    let (listed, _, code) = patchscript(folder.path(), &["cache", "list"]);
    assert!(code == Some(0) && listed.contains("cells") && listed.contains("pass"), "{listed}");
    let (listed, ..) = patchscript(folder.path(), &["cache", "list", "--format", "json"]);
    let listed: Json = serde_json::from_str(&listed).expect("JSON");
    let kept = list(&folder.path().join("results")).expect("the entries");
    let results = |listed: &Json| {
        listed["kinds"]
            .as_array()
            .map_or(0, |kinds| kinds.iter().filter_map(|kind| kind["results"].as_u64()).sum())
    };
    assert_eq!(results(&listed), kept.len() as u64);
    let (cleared, _, code) = patchscript(folder.path(), &["cache", "clear"]);
    assert!(
        code == Some(0) && cleared.starts_with(&format!("{} results removed, ", kept.len())),
        "{cleared}"
    );
    assert!(patchscript(folder.path(), &["cache", "list"]).0.ends_with("nothing is kept\n"));
}

#[test]
fn its_size_is_a_setting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |size: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_patchscript"))
            .current_dir(folder.path())
            .env("PATCHSCRIPT_CACHE", folder.path())
            .env("PATCHSCRIPT_CACHE_SIZE", size)
            .args([
                "-e",
                "let m = load(); let a = \" John\"; for i in 0..9 { a += a; } m.trace(a).tokens.len",
            ])
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let kept = || list(&folder.path().join("results")).unwrap().len();
    assert_eq!(run("0"), ("513\n".into(), String::new()));
    assert_eq!(kept(), 0);
    assert_eq!(run("64KiB"), ("513\n".into(), String::new()));
    assert!(list(&folder.path().join("results")).unwrap().iter().all(|entry| entry.kind == "sum"));
    let (out, err) = run("many");
    let told = "error: `PATCHSCRIPT_CACHE_SIZE` is `many`, which is no size\n = help: write it like `2GiB`, or `0` to keep nothing\n";
    assert_eq!((out.as_str(), err.as_str()), ("", told));
    run("1GiB");
    assert!(kept() > 1);
}
