//! A sweep against one full run a cell: every site, edit and metric, whatever the planner leaves out and however
//! the memory budget splits the cells.

mod common;

use candle_core::Tensor;
use common::*;
use patchscript::model::{Axes, Model, Point};
use patchscript::run::explain::{CellCounts, explain};
use patchscript::run::metric::{Ending, Kind, TokenSet, log_softmax};
use patchscript::run::patch::{EditFn, RowMap};
use patchscript::run::plan::CellStatus;
use patchscript::run::sweep::{Sweep, SweepOptions, sweep};
use patchscript::run::{Control, Edit, Heads, Metric, Patch, Pos, Site, Tokens, Trace, Value};
use proptest::prelude::*;
use std::sync::Arc;

const TOLERANCE: f64 = 1e-4;

fn ids_of(ids: &[u32]) -> TokenSet {
    TokenSet::Ids(ids.to_vec())
}

fn logit_diff() -> Metric {
    Metric::new(Kind::LogitDiff(ids_of(&[5]), ids_of(&[9])))
}

fn loss(ids: &[u32]) -> Metric {
    Metric::new(Kind::Loss(Ending::Ids(ids.to_vec())))
}

fn every_metric(clean: Arc<Trace>, prompt: &Tokens) -> Vec<Metric> {
    let spread = |logits: &[f32]| -> Result<f64, String> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Ok(f64::from(max) - f64::from(logits.iter().sum::<f32>()) / logits.len() as f64)
    };
    let kinds = [
        Kind::Logit(ids_of(&[5])),
        Kind::LogitDiff(ids_of(&[5]), ids_of(&[9])),
        Kind::Prob(ids_of(&[5, 7])),
        Kind::Logprob(ids_of(&[9])),
        Kind::LogprobDiff(ids_of(&[5, 7]), ids_of(&[9, 10, 11])),
        Kind::Rank(ids_of(&[5])),
        Kind::Kl(clean),
        Kind::Entropy,
        Kind::Func(Arc::new(spread)),
    ];
    let mut metrics: Vec<Metric> = kinds.into_iter().map(Metric::new).collect();
    metrics.push(logit_diff().recovered(2.0, -1.0).unwrap());
    metrics.extend([prompt.len() - 1, prompt.len() - 4, 0].map(|from| loss(&prompt.ids()[from..])));
    metrics
}

/// The metric of a full run, as a range: ranks of nearly equal logits may go either way.
fn reference(metric: &Metric, run: &Trace) -> (f64, f64) {
    let Kind::Rank(TokenSet::Ids(ids)) = &metric.kind else {
        let value = metric.of(run, &Control::default()).unwrap();
        return (value, value);
    };
    let logits = flat(&run.last().unwrap());
    let own = logits[ids[0] as usize];
    let above = |by: f32| logits.iter().filter(|&&x| x > own + by).count() as f64;
    (above(1e-4), above(-1e-4))
}

fn check(name: &str, cells: &[Vec<Patch>], runs: &[Arc<Trace>], metric: &Metric, found: &Sweep) {
    for ((cell, run), (value, status)) in cells.iter().zip(runs).zip(found.values.iter().zip(&found.statuses))
    {
        let (low, high) = reference(metric, run);
        let near = (low - TOLERANCE..=high + TOLERANCE).contains(value);
        assert!(near, "{name}, {metric:?}, {cell:?}, {status:?}: {value} instead of {low}..{high}");
    }
}

fn allowed(site: Site, edit: Edit) -> Patch {
    Patch { allow_noop: true, ..Patch::new(site, edit) }
}

/// `x` less its mean over positions: a closure that must see its rows together.
fn centre() -> Edit {
    let centre: EditFn = Arc::new(|x: Tensor| {
        let mean = x.mean_keepdim(0).map_err(|e| e.to_string())?;
        x.broadcast_sub(&mean).map_err(|e| e.to_string())
    });
    Edit::Func(centre)
}

/// Each row less its own mean.
fn centred(width: usize) -> Edit {
    let map = |x: &Tensor| Ok(x.broadcast_sub(&x.mean_keepdim(1)?)?);
    Edit::Each(RowMap { name: "centre", width, map: Arc::new(map) })
}

fn every_kind_of_cell(model: &Arc<Model>, prompt: &Tokens, donor: &Arc<Trace>) -> Vec<Vec<Patch>> {
    let config = model.config();
    let from_donor = || Edit::Set(Value::Trace(donor.clone()));
    let mut cells: Vec<Vec<Patch>> = Vec::new();
    for site in all_sites(config) {
        let at = |pos| site.clone().at(pos);
        for pos in [Pos::Index(0), Pos::Index(4), Pos::Index(8), Pos::Last, Pos::All, Pos::List(vec![9, 5])] {
            cells.push(vec![allowed(at(pos), from_donor())]);
        }
        for edit in [Edit::Scale(0.4), Edit::Zero, Edit::Lerp(Value::Trace(donor.clone()), 0.3)] {
            cells.push(vec![allowed(at(Pos::Range(3, 7)), edit)]);
        }
        if let Axes::Heads { heads, .. } | Axes::Scores { heads } = site.at.point.axes(config) {
            let last_first = (0..heads.min(2)).rev().collect();
            cells.push(vec![allowed(at(Pos::All).heads(Heads::One(heads - 1)), from_donor())]);
            cells.push(vec![allowed(at(Pos::Index(6)).heads(Heads::Many(last_first)), from_donor())]);
        }
        if matches!(site.at.point, Point::MlpPre | Point::MlpPost) {
            cells.push(vec![allowed(at(Pos::All).neuron(17), from_donor())]);
            cells.push(vec![allowed(at(Pos::Index(5)).neuron(3), Edit::Add(Value::Tensor(random(&[1], 3))))]);
        }
        if let Axes::Row { width } = site.at.point.axes(config) {
            cells.push(vec![allowed(at(Pos::Index(7)), Edit::Add(Value::Tensor(random(&[width], 4))))]);
            cells.push(vec![allowed(at(Pos::Range(5, 11)), Edit::ProjectOut(random(&[width], 5)))]);
            cells.push(vec![allowed(at(Pos::All), centred(width))]);
            cells.push(vec![allowed(at(Pos::List(vec![9, 4])), centred(width))]);
            cells.push(vec![allowed(at(Pos::All), centre())]);
            cells.push(vec![allowed(at(Pos::Range(2, 6)), centre())]);
        }
    }
    // Rows that the metric cannot see, but a closure after them can.
    let late = Site::new(Point::LnFinal, 0);
    for pos in [Pos::Index(3), Pos::Range(3, 11), Pos::Last] {
        cells.push(vec![
            allowed(late.clone().at(pos.clone()), Edit::Scale(2.0)),
            allowed(Site::new(Point::Logits, 0), centre()),
        ]);
        cells.push(vec![
            allowed(Site::new(Point::Q, config.n_layers - 1).at(pos), from_donor()),
            allowed(late.clone(), centre()),
        ]);
    }
    // Donors of other lengths, recorded together when the sweep needs them.
    let means = [0..11, 0..9, 2..9].map(|rows| run(model, &prompt.slice(rows), vec![], &[])).to_vec();
    for point in [Point::AttnOut, Point::V, Point::MlpPost] {
        cells.push(vec![allowed(Site::new(point, 1).at(Pos::Last), Edit::Set(Value::Mean(means.clone())))]);
    }
    for (a, b) in [
        (Point::AttnOut, Point::MlpPost),
        (Point::Pattern, Point::ResidPost),
        (Point::K, Point::Result),
        (Point::Embed, Point::Logits),
    ] {
        let layer = |point: Point, layer| if point.in_layer() { layer } else { 0 };
        cells.push(vec![
            allowed(Site::new(a, layer(a, 1)).at(Pos::Index(6)), from_donor()),
            allowed(Site::new(b, layer(b, 2)).at(Pos::Range(3, 8)), Edit::Scale(0.3)),
            allowed(Site::new(Point::LnFinal, 0), centre()),
        ]);
    }
    cells
}

#[test]
fn a_sweep_equals_one_full_run_a_cell() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        let cells = every_kind_of_cell(&model, &prompt, &donor);
        let runs: Vec<_> = cells.iter().map(|cell| run(&model, &prompt, cell.clone(), &[])).collect();
        let plain = Control::default();
        let fast = SweepOptions { shortcuts: true };
        // Metrics read the same logits whatever the family.
        let (all, some_metrics) = match arch {
            "llama" | "gpt2" => {
                let some = vec![logit_diff(), Metric::new(Kind::Entropy), loss(&prompt.ids()[7..])];
                (every_metric(donor, &prompt), some)
            }
            _ => (vec![Metric::new(Kind::Kl(donor))], vec![logit_diff()]),
        };
        for metric in &all {
            let found = sweep(&model, &prompt, &cells, metric, fast, &plain).unwrap();
            check(arch, &cells, &runs, metric, &found);
        }
        let one_by_one = Control { memory: Some(1), ..Control::default() };
        let some = Control { memory: Some(300_000), ..Control::default() };
        for (shortcuts, control) in [(false, &plain), (true, &one_by_one), (true, &some), (false, &some)] {
            for metric in &some_metrics {
                let options = SweepOptions { shortcuts };
                let found = sweep(&model, &prompt, &cells, metric, options, control).unwrap();
                let name = format!("{arch}, shortcuts {shortcuts}, {:?} bytes", control.memory);
                check(&name, &cells, &runs, metric, &found);
            }
        }
    }
}

#[test]
fn the_ledger_says_what_each_cell_changed() {
    for arch in ["llama", "gpt2", "gemma2", "phi"] {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        let cells = every_kind_of_cell(&model, &prompt, &donor);
        let control = Control::default();
        let found = sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &control).unwrap();
        let mut changed = 0;
        for ((cell, status), &change) in cells.iter().zip(&found.statuses).zip(&found.max_change) {
            let alone = run(&model, &prompt, cell.clone(), &[]);
            let whole = alone.ledger().iter().map(|entry| entry.max_change).fold(0.0, f32::max);
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-4 * b.max(1.0);
            let close = near(change, whole);
            match status {
                CellStatus::EqualsBase => assert!(change == 0.0 && whole < 1e-5, "{arch} {cell:?}: {whole}"),
                CellStatus::Unreachable => assert_eq!(change, 0.0, "{arch} {cell:?}"),
                // What the metric cannot see is left out: the rest has changed as much as it does alone.
                _ if cell.len() > 1 || cell[0].site.pos == Pos::All || !cell[0].site.pos.is_single() => {
                    let changes = seen_changes(&model, &prompt, cell, &alone);
                    let least = changes.iter().map(|(seen, _)| *seen).fold(0.0, f32::max);
                    let one = changes.iter().any(|&(seen, all)| near(change, seen) || near(change, all));
                    let enough = change >= least || near(change, least);
                    assert!(close || one && enough, "{arch} {cell:?}: {change} of {whole}, {changes:?}");
                }
                _ => assert!(close, "{arch} {cell:?}: {change} instead of {whole}"),
            }
            changed += usize::from(change > 1e-3);
        }
        let computed = CellCounts::count(&found.statuses).computed;
        assert!(changed > computed / 2, "{arch}: {changed} of {computed}");
        let unchanged = found.unchanged().filter(|unchanged| *unchanged).count();
        assert!(unchanged >= CellCounts::count(&found.statuses).known, "{arch}");
    }
}

/// What each patch of a cell changes where the metric sees it, and in all. After rows have met for the last time only
/// the last one is seen.
fn seen_changes(model: &Arc<Model>, prompt: &Tokens, cell: &[Patch], alone: &Trace) -> Vec<(f32, f32)> {
    let config = model.config();
    let seen = |(i, patch): (usize, &Patch)| {
        let most = alone.ledger()[i].max_change;
        let (point, layer) = (patch.site.at.point, patch.site.at.layer);
        let read_by_others =
            matches!(point, Point::ResidPre | Point::Ln1 | Point::K | Point::V | Point::RotK);
        let last_layer = point.in_layer() && layer + 1 == config.n_layers;
        let late = last_layer && !read_by_others || matches!(point, Point::LnFinal | Point::Logits);
        let rows = patch.site.pos.resolve(prompt).unwrap();
        let least = match rows.contains(&(prompt.len() - 1)) {
            _ if !late => most,
            false => 0.0,
            true => {
                let mut narrowed = cell.to_vec();
                narrowed[i].site = patch.site.clone().at(Pos::Last);
                run(model, prompt, narrowed, &[]).ledger()[i].max_change
            }
        };
        (least, most)
    };
    cell.iter().enumerate().map(seen).collect()
}

/// One cell of each status, in every combination that a grid brings.
fn cells_of_known_status(donor: &Arc<Trace>) -> Vec<(Vec<Patch>, CellStatus)> {
    let last = donor.model().config().n_layers - 1;
    let donor_at =
        |point, layer, pos| set(Site::new(point, layer).at(Pos::Index(pos)), Value::Trace(donor.clone()));
    vec![
        // Both prompts are the same up to position 3.
        (vec![donor_at(Point::ResidPost, 0, 3)], CellStatus::EqualsBase),
        (vec![donor_at(Point::Z, last, 0), donor_at(Point::K, 1, 2)], CellStatus::EqualsBase),
        (vec![donor_at(Point::ResidPost, 0, 4)], CellStatus::Computed(0)),
        (vec![donor_at(Point::ResidPre, 1, 4)], CellStatus::Merged(0)),
        (vec![donor_at(Point::ResidPre, 1, 4)], CellStatus::Merged(0)),
        (vec![donor_at(Point::ResidPre, 1, 5)], CellStatus::Computed(1)),
        // The last layer's stream, away from the last position.
        (vec![donor_at(Point::ResidPost, last, 9)], CellStatus::Unreachable),
        (vec![donor_at(Point::Q, last, 9), donor_at(Point::LnFinal, 0, 5)], CellStatus::Unreachable),
        (vec![donor_at(Point::V, last, 9)], CellStatus::Computed(2)),
        (vec![donor_at(Point::Q, last, -1)], CellStatus::Computed(3)),
        // Order does not tell cells apart.
        (vec![donor_at(Point::Z, 1, 7), donor_at(Point::Z, 1, 8)], CellStatus::Computed(4)),
        (vec![donor_at(Point::Z, 1, 8), donor_at(Point::Z, 1, 7)], CellStatus::Merged(4)),
        (vec![allowed(Site::new(Point::Z, 1).at(Pos::Index(7)), Edit::Zero)], CellStatus::Computed(5)),
    ]
}

#[test]
fn every_cell_has_the_fate_it_must_have() {
    for arch in ARCHS {
        let model = tiny(arch);
        let (prompt, donor) = pair(&model);
        let donor = run(&model, &donor, vec![], &[]);
        let (cells, statuses): (Vec<_>, Vec<_>) = cells_of_known_status(&donor).into_iter().unzip();
        let control = Control::default();
        let found = sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &control).unwrap();
        assert_eq!(found.statuses, statuses, "{arch}");
        assert_eq!(
            CellCounts::count(&found.statuses),
            CellCounts { computed: 6, merged: 3, known: 2, unreachable: 2 },
            "{arch}"
        );
        for (status, change) in statuses.iter().zip(&found.max_change) {
            assert_eq!(
                matches!(status, CellStatus::Computed(_) | CellStatus::Merged(_)),
                *change > 0.0,
                "{arch} {status:?}"
            );
        }
    }
}

/// A loss reads other positions than the last, and so other cells cannot be seen.
#[test]
fn a_loss_sees_what_comes_before_its_tokens() {
    let model = tiny("llama");
    let (prompt, donor) = pair(&model);
    let donor = run(&model, &donor, vec![], &[]);
    let last = model.config().n_layers - 1;
    let at = |layer, pos| {
        vec![set(Site::new(Point::ResidPost, layer).at(Pos::Index(pos)), Value::Trace(donor.clone()))]
    };
    // The last three tokens are predicted at positions 7 to 9.
    let cells = [at(0, 10), at(last, 6), at(last, 7), at(last, 9), at(0, 3), at(0, 5)];
    let metric = loss(&prompt.ids()[8..]);
    let found =
        sweep(&model, &prompt, &cells, &metric, SweepOptions::default(), &Control::default()).unwrap();
    use CellStatus::{Computed, EqualsBase, Unreachable};
    let statuses = [Unreachable, Unreachable, Computed(0), Computed(1), EqualsBase, Computed(2)];
    assert_eq!(found.statuses, statuses);
    let runs: Vec<_> = cells.iter().map(|cell| run(&model, &prompt, cell.clone(), &[])).collect();
    check("loss", &cells, &runs, &metric, &found);
    let logits = flat(&logits(&run(&model, &prompt, vec![], &[])).narrow(0, 7, 3).unwrap());
    let nll = |(row, &id): (&[f32], &u32)| -log_softmax(row)[id as usize];
    let expected: f64 = logits.chunks(320).zip(&prompt.ids()[8..]).map(nll).sum::<f64>() / 3.0;
    assert!((found.base - expected).abs() < 1e-5, "{} instead of {expected}", found.base);
    for (ids, message) in [
        (vec![8, 301], "the prompt does not end in the tokens of `"),
        (vec![], "`loss` needs a token that others come before"),
        ([&[1], prompt.ids()].concat(), "the prompt does not end in the tokens of `"),
    ] {
        let control = Control::default();
        let refused = sweep(&model, &prompt, &cells, &loss(&ids), SweepOptions::default(), &control);
        let told = refused.unwrap_err().to_string();
        assert!(told.starts_with(message), "{told}");
    }
}

#[test]
fn explaining_computes_nothing() {
    let model = tiny("llama");
    let (prompt, donor) = pair(&model);
    let donor = run(&model, &donor, vec![], &[]);
    let (cells, statuses): (Vec<_>, Vec<_>) = cells_of_known_status(&donor).into_iter().unzip();
    let stopped = Control::default();
    stopped.interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
    let plan = || explain(&model, &prompt, &cells, &logit_diff(), &stopped).unwrap();

    let before = plan();
    assert_eq!(before.counts, CellCounts::count(&statuses));
    assert!(donor.sites().is_empty(), "the donor was run");
    assert_eq!((before.donors, before.chunks), (1, 1));
    // Positions 4, 5 and 7 of 11 (twice) enter at layer 1; 9 and the last at layer 2.
    assert_eq!(before.entering, [0, 4, 2, 0]);
    assert_eq!(before.rows, [0, 7 + 6 + 4 + 4, 7 + 6 + 4 + 4 + 2 + 1]);
    assert!(sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &stopped).is_err());

    let control = Control::default();
    sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &control).unwrap();
    let after = plan();
    assert_eq!(after.donors, 0);
    assert!(after.flops < before.flops);

    let text = after.to_string();
    for line in ["sweep of 13 cells, 11 tokens, 3 layers", "merged       3", "entered at 2 of 3: 1 to 2"] {
        assert!(text.contains(line), "{text}\nlacks {line}");
    }
}

#[test]
fn mistakes_are_found_before_donors_run() {
    let model = tiny("llama");
    let (prompt, donor) = pair(&model);
    let short = run(&model, &donor.slice(0..5), vec![], &[]);
    let donor = run(&model, &donor, vec![], &[]);
    let from = |trace: &Arc<Trace>, site: Site| set(site, Value::Trace(trace.clone()));
    let good = from(&donor, Site::new(Point::ResidPost, 1));
    let refused = |cell: Vec<Patch>| {
        let cells = [vec![good.clone()], cell];
        let control = Control::default();
        let swept = sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &control);
        assert!(donor.sites().is_empty() && short.sites().is_empty(), "a donor was run");
        swept.unwrap_err().to_string()
    };
    for (cell, message) in [
        (vec![from(&short, Site::new(Point::Z, 0))], "`z.0`: the trace has 5 positions there, the prompt 11"),
        (
            vec![from(&short, Site::new(Point::Pattern, 0).at(Pos::Index(3)))],
            "`pattern.0 at 3`: the trace has 5 positions there, the prompt 11",
        ),
        (
            vec![from(&short, Site::new(Point::Z, 0).at(Pos::Index(7)))],
            "the donor of `z.0 at 7`: position 7 is out of range: the prompt has 5 tokens",
        ),
        (
            vec![allowed(Site::new(Point::Z, 0), Edit::Add(Value::Tensor(random(&[3], 1))))],
            "`z.0` selects [11, 4, 16], but the value is [3]",
        ),
        (vec![allowed(Site::new(Point::Z, 0), Edit::Set(Value::Mean(vec![])))], "a mean over no traces"),
        (
            vec![good.clone(), good.clone()],
            "`resid_post.1` and `resid_post.1` change the same values, and their order would matter",
        ),
    ] {
        assert_eq!(refused(cell), message);
    }
}

#[test]
fn progress_counts_cells_to_the_last() {
    let model = tiny("llama");
    let (prompt, donor) = pair(&model);
    let donor = run(&model, &donor, vec![], &[]);
    let cells: Vec<_> = (4..11)
        .flat_map(|pos| (0..3).map(move |layer| Site::new(Point::ResidPre, layer).at(Pos::Index(pos))))
        .map(|site| vec![set(site, Value::Trace(donor.clone()))])
        .collect();
    for memory in [None, Some(1)] {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = seen.clone();
        let control = Control {
            progress: Some(Arc::new(move |done, total, unit| {
                log.lock().unwrap().push((done, total, unit.to_string()));
            })),
            memory,
            ..Control::default()
        };
        sweep(&model, &prompt, &cells, &logit_diff(), SweepOptions::default(), &control).unwrap();
        let seen = seen.lock().unwrap();
        assert!(
            seen.is_sorted() && seen.iter().all(|(_, total, unit)| (*total, unit.as_str()) == (21, "cells"))
        );
        assert_eq!(seen.last().map(|(done, ..)| *done), Some(21));
    }
}

/// One random patch: a site, a position, heads and an edit, as indices into what there is.
type Draw = (prop::sample::Index, prop::sample::Index, prop::sample::Index, u8, u64);

fn draw() -> impl Strategy<Value = Draw> {
    (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..7u8,
        any::<u64>(),
    )
}

fn drawn(model: &Model, len: usize, donor: &Arc<Trace>, (site, pos, part, edit, seed): &Draw) -> Patch {
    let config = model.config();
    let sites = all_sites(config);
    let site = sites[site.index(sites.len())].clone();
    let from = pos.index(len);
    let pos = match seed % 4 {
        0 => Pos::All,
        1 => Pos::Index(from as i64),
        2 => Pos::Index(from as i64 - len as i64),
        _ => Pos::Range(from as i64, len as i64),
    };
    let site = site.at(pos);
    let (site, width) = match site.at.point.axes(config) {
        Axes::Heads { heads, .. } | Axes::Scores { heads } if seed % 3 > 0 => {
            (site.heads(Heads::One(part.index(heads))), None)
        }
        Axes::Row { width } => (site, Some(width)),
        _ => (site, None),
    };
    let edit = match (edit, width) {
        (0, Some(width)) => Edit::Add(Value::Tensor(random(&[width], *seed))),
        (1, Some(width)) => Edit::ProjectOut(random(&[width], *seed)),
        (2, Some(_)) => centre(),
        (3, _) => Edit::Zero,
        (4, _) => Edit::Scale(1.7),
        (5, _) => Edit::Lerp(Value::Trace(donor.clone()), -0.5),
        _ => Edit::Set(Value::Trace(donor.clone())),
    };
    allowed(site, edit)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_cells_equal_full_runs(
        arch in prop::sample::select(ARCHS.to_vec()),
        ids in prop::collection::vec(3u32..300, 1..14),
        differ in any::<prop::sample::Index>(),
        draws in prop::collection::vec(prop::collection::vec(draw(), 1..4), 1..9),
        memory in prop::sample::select(vec![None, Some(1), Some(200_000)]),
        shortcuts: bool,
        kind in 0..5,
    ) {
        let model = tiny(arch);
        let mut other = ids.clone();
        other[differ.index(ids.len())] = 301;
        let donor = run(&model, &id_tokens(&model, &other), vec![], &[]);
        let prompt = id_tokens(&model, &ids);
        let control = Control { memory, ..Control::default() };
        let options = SweepOptions { shortcuts };
        let metric = match kind {
            0 => logit_diff(),
            1 => Metric::new(Kind::Kl(donor.clone())),
            2 => loss(&ids),
            3 => loss(&ids[ids.len() - 1..]),
            _ => Metric::new(Kind::Func(Arc::new(|logits| Ok(log_softmax(logits)[7])))),
        };
        // Patches of one cell that overlap are refused, by both alike.
        let cells = draws.iter().map(|cell| cell.iter().map(|d| drawn(&model, ids.len(), &donor, d)).collect());
        let cells: Vec<Vec<Patch>> =
            cells.filter(|cell: &Vec<Patch>| explain(&model, &prompt, std::slice::from_ref(cell), &metric, &control).is_ok()).collect();
        prop_assume!(!cells.is_empty());
        let runs: Vec<_> = cells.iter().map(|cell| run(&model, &prompt, cell.clone(), &[])).collect();
        let found = sweep(&model, &prompt, &cells, &metric, options, &control).unwrap();
        check(arch, &cells, &runs, &metric, &found);
    }
}
