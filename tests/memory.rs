//! What a sweep really holds, against the budget that it was given. One test, so that nothing else in the process
//! takes memory meanwhile.
#![cfg(target_os = "linux")]

mod common;

use common::*;
use patchscript::model::Point;
use patchscript::run::metric::{Kind, TokenSet};
use patchscript::run::sweep::{SweepOptions, sweep};
use patchscript::run::{Control, Edit, Metric, Patch, Pos, Site, Value, memory};

/// What the allocator and matrix products keep for themselves, whatever the sweep.
const OVERHEAD: usize = 24 << 20;
const BUDGET: usize = 16 << 20;

#[test]
fn a_sweep_stays_within_its_budget() {
    let Some(model) = smollm2() else { return };
    let golden = golden("smollm2_heatmap.json");
    let prompt = id_tokens(&model, &ids(&golden["base_ids"])).slice(0..40);
    let donor: Vec<u32> = prompt.ids().iter().rev().copied().collect();
    let donor = run(&model, &id_tokens(&model, &donor), vec![], &[]);
    let config = model.config();
    let (n_layers, len) = (config.n_layers, prompt.len());
    let set = |site: Site| vec![set(site, Value::Trace(donor.clone()))];
    let late = [n_layers - 3, n_layers - 2, n_layers - 1];
    let columns = Metric::new(Kind::LogitDiff(TokenSet::Ids(vec![5]), TokenSet::Ids(vec![9])));
    let all = Metric::new(Kind::Entropy);

    let at = |point: Point, layers: &[usize], positions: std::ops::Range<i64>| -> Vec<Vec<Patch>> {
        let cell = |layer| positions.clone().map(move |pos| Site::new(point, layer).at(Pos::Index(pos)));
        layers.iter().copied().flat_map(cell).map(set).collect()
    };
    let last = len as i64;
    let whole: Vec<Vec<Patch>> = late
        .iter()
        .flat_map(|&layer| [Point::ResidMid, Point::MlpPost].map(|p| set(Site::new(p, layer))))
        .collect();
    let logits: Vec<Vec<Patch>> = (0..300)
        .map(|id| {
            vec![Patch::new(
                Site::new(Point::Logits, 0).at(Pos::Last),
                Edit::Add(Value::Tensor(random(&[config.d_vocab], id))),
            )]
        })
        .collect();
    let neurons: Vec<Vec<Patch>> = (0..400)
        .map(|n| {
            vec![Patch {
                allow_noop: true,
                ..Patch::new(Site::new(Point::MlpPost, n_layers - 1).at(Pos::Last).neuron(n), Edit::Zero)
            }]
        })
        .collect();
    let cases = [
        ("residual stream", at(Point::ResidPre, &late, 0..last), &columns),
        ("heads' results", at(Point::Result, &late[1..], 0..last), &columns),
        ("scores", at(Point::Pattern, &late[1..], 0..last), &columns),
        ("whole activations", whole, &columns),
        ("all logits", neurons, &all),
        ("patched logits", logits, &columns),
    ];
    // The donor's activations belong to the script, as do the cells.
    for patch in cases.iter().flat_map(|(_, cells, _)| cells.iter().flatten()) {
        read(&donor, &patch.site);
    }
    let before = status("VmRSS:");
    let held = |cells: &[Vec<Patch>], metric, memory| {
        let control = Control { memory: Some(memory), ..Control::default() };
        let run = || drop(sweep(&model, &prompt, cells, metric, SweepOptions::default(), &control).unwrap());
        peak(run).saturating_sub(before)
    };
    let allowed = memory::base_run(&model, len) + BUDGET + OVERHEAD;
    for (name, cells, metric) in &cases {
        let held = held(cells, metric, BUDGET);
        println!("{name}: {} of {} MiB", held >> 20, allowed >> 20);
        assert!(held <= allowed, "{name}: {held} bytes held, {allowed} allowed");
    }
    // Without the budget the same cells take more, so the test can fail.
    for (name, cells, metric) in &cases[4..] {
        let held = held(cells, metric, usize::MAX);
        assert!(held > allowed, "{name}: {held} bytes held without a budget, {allowed} allowed with one");
    }
}
