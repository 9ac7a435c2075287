//! Generation: packed equals alone, patches act on the rows they name and live on through keys and values.

mod common;

use common::*;
use patchscript::help::Help;
use patchscript::model::{Model, Point};
use patchscript::run::generate::{GenerateOptions, Generation, generate};
use patchscript::run::{Control, Edit, Patch, Pos, Site, Steps, Tokens, Trace, Value, trace};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn run(model: &Arc<Model>, prompts: &[(Tokens, Vec<Patch>)], options: &GenerateOptions) -> Vec<Generation> {
    let made = generate(model, prompts, options, &Control::default());
    made.unwrap_or_else(|e| panic!("{e}: {:?}", e.help()))
}

fn options(max_new_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_new_tokens, ..GenerateOptions::default() }
}

fn add(model: &Model, point: Point, layer: usize, pos: Pos, seed: u64, steps: Steps) -> Patch {
    let vector = (random(&[model.config().d_model], seed) * 2.0).unwrap();
    Patch { steps, ..Patch::new(Site::new(point, layer).at(pos), Edit::Add(Value::Tensor(vector))) }
}

/// Prompts of different lengths that start with the same seven tokens, patched after them, each differently.
fn prompts(model: &Model) -> Vec<(Tokens, Vec<Patch>)> {
    let start = [17, 200, 33, 90, 150, 61, 12];
    (0..6u32)
        .map(|i| {
            let ids: Vec<u32> = start.into_iter().chain((0..=i).map(|j| 40 + 11 * i + 3 * j)).collect();
            let patch = add(model, Point::ResidPost, 1, Pos::Index(7), u64::from(i), Steps::Prompt);
            (id_tokens(model, &ids), if i == 2 { vec![] } else { vec![patch] })
        })
        .collect()
}

#[test]
fn packed_equals_alone() {
    for arch in ["llama", "gpt2", "gemma2", "gemma3_text", "gpt_neox", "phi3"] {
        let model = tiny(arch);
        let prompts = prompts(&model);
        for options in [
            options(9),
            GenerateOptions { temperature: 0.9, seed: 3, ..options(9) },
            GenerateOptions { temperature: 1.3, top_k: Some(40), top_p: Some(0.9), seed: 8, ..options(9) },
            GenerateOptions { watch: vec![Site::new(Point::MlpPost, 2).neuron(3)], ..options(4) },
            GenerateOptions {
                watch: vec![Site::new(Point::K, 1), Site::new(Point::ResidPost, 2).at(Pos::Range(5, -1))],
                ..options(4)
            },
            GenerateOptions {
                watch: vec![
                    Site::new(Point::Z, 0),
                    Site::new(Point::Pattern, 1),
                    Site::new(Point::LnFinal, 0),
                ],
                ..options(4)
            },
        ] {
            let together = run(&model, &prompts, &options);
            let few = Control { memory: Some(60_000), ..Control::default() };
            let in_waves = generate(&model, &prompts, &options, &few).unwrap();
            for (i, prompt) in prompts.iter().enumerate() {
                let alone = run(&model, std::slice::from_ref(prompt), &options).remove(0);
                assert_eq!(together[i].ids, alone.ids, "{arch} prompt {i}");
                assert_eq!(in_waves[i].ids, alone.ids, "{arch} prompt {i}, in waves");
                assert!(max_diff_of(&together[i].logprobs, &alone.logprobs) < 1e-4);
                assert_eq!(alone.watched.len(), options.watch.len());
                for ((site, a), (_, b)) in together[i].watched.iter().zip(&alone.watched) {
                    let (diff, largest) = (max_diff(a, b), max_diff(a, &a.zeros_like().unwrap()));
                    assert!(diff < 1e-5 * largest.max(1.0), "{arch} {site}: {diff} of {largest}");
                }
            }
        }
    }
}

#[test]
fn repeated_draws_differ_and_repeated_runs_do_not() {
    let model = tiny("llama");
    let prompt = &prompts(&model)[..1];
    let options = GenerateOptions { temperature: 1.0, n: 3, ..options(8) };
    let (first, second) = (run(&model, prompt, &options), run(&model, prompt, &options));
    let ids = |made: &[Generation]| made.iter().map(|g| g.ids.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ids(&second));
    assert!(first[0].ids != first[1].ids && first[1].ids != first[2].ids);
}

/// What greedy generation must give, by one full run a token: patches of the prompt's rows act on these rows of
/// every run, patches of new tokens on the rows of the tokens read so far.
fn one_run_a_token(model: &Arc<Model>, prompt: &Tokens, patch: &Patch, n: usize) -> Vec<u32> {
    let mut ids = prompt.ids().to_vec();
    for step in 0..n {
        let mut rows: Vec<i64> = Vec::new();
        if patch.steps.in_prompt() {
            rows.extend(patch.site.pos.resolve(prompt).unwrap().iter().map(|&row| row as i64));
        }
        rows.extend((0..step).filter(|&s| patch.steps.at_step(s)).map(|s| (prompt.len() + s) as i64));
        let at_rows = Patch {
            steps: Steps::Prompt,
            site: patch.site.clone().at(Pos::List(rows.clone())),
            ..patch.clone()
        };
        let patches = if rows.is_empty() { vec![] } else { vec![at_rows] };
        let run = trace(model, &[(id_tokens(model, &ids), patches)], &[], &Control::default()).unwrap();
        let last = run[0].last().unwrap();
        ids.push(last.argmax(0).unwrap().to_scalar::<u32>().unwrap());
    }
    ids[prompt.len()..].to_vec()
}

#[test]
fn patches_act_on_the_rows_they_name() {
    for arch in ["llama", "gpt2", "gemma2", "gemma3_text", "gpt_neox", "phi3"] {
        let model = tiny(arch);
        let (prompt, _) = prompts(&model).remove(4);
        for point in [Point::ResidPost, Point::AttnOut, Point::LnFinal] {
            for (pos, steps) in [
                (Pos::Index(3), Steps::Prompt),
                (Pos::All, Steps::Prompt),
                (Pos::All, Steps::Generated),
                (Pos::Last, Steps::All),
                (Pos::All, Steps::Range(2, 4)),
            ] {
                // After the last layer only the row that is read matters.
                if point == Point::LnFinal && pos == Pos::Index(3) {
                    continue;
                }
                let layer = if point == Point::LnFinal { 0 } else { 1 };
                let patch = add(&model, point, layer, pos, 5, steps);
                let found = run(&model, &[(prompt.clone(), vec![patch.clone()])], &options(8)).remove(0);
                assert_eq!(
                    found.ids,
                    one_run_a_token(&model, &prompt, &patch, 8),
                    "{arch} {patch:?} {steps:?}"
                );
                let fired = usize::from(steps.in_prompt()) + (0..7).filter(|&s| steps.at_step(s)).count();
                assert_eq!(found.ledger[0].fired, fired);
            }
        }
    }
}

#[test]
fn what_is_watched_is_what_a_full_run_records() {
    let model = tiny("llama");
    let (prompt, _) = prompts(&model).remove(3);
    let site = Site::new(Point::Z, 1);
    let found = run(
        &model,
        &[(prompt.clone(), vec![])],
        &GenerateOptions { watch: vec![site.clone()], ..options(5) },
    );
    let all: Vec<u32> = prompt.ids().iter().chain(&found[0].ids).copied().collect();
    let full =
        trace(&model, &[(id_tokens(&model, &all), vec![])], &[], &Control::default()).unwrap().remove(0);
    let rows = |pos| read(&full, &site.clone().at(pos));
    assert!(max_diff(&found[0].watched[0].1, &rows(Pos::Range(0, prompt.len() as i64))) < 1e-5);
    for (step, row) in found[0].watched_steps[0].1.iter().enumerate() {
        assert!(max_diff(row, &rows(Pos::Index((prompt.len() + step) as i64))) < 1e-5);
    }
    assert_eq!(found[0].watched_steps[0].1.len(), 4);
}

#[test]
fn equal_prompts_are_computed_once() {
    let model = tiny("llama");
    let prompts = prompts(&model);
    // The third has no patches; of the others each repetition could be another run.
    let repeated: Vec<_> = [2, 4, 2, 4, 2].into_iter().map(|i: usize| prompts[i].clone()).collect();
    let tokens = |options: &GenerateOptions| {
        let most = Arc::new(AtomicUsize::new(0));
        let seen = most.clone();
        let note = move |_: usize, total: usize, _: &str| _ = seen.fetch_max(total, Ordering::Relaxed);
        let control = Control { progress: Some(Arc::new(note)), ..Control::default() };
        let made = generate(&model, &repeated, options, &control).unwrap();
        assert_eq!(made.len(), repeated.len() * options.n);
        (most.load(Ordering::Relaxed), made)
    };
    let watch = vec![Site::new(Point::ResidPost, 1)];
    let (computed, made) = tokens(&GenerateOptions { watch, ..options(5) });
    assert_eq!(computed, 3 * 5);
    for (i, prompt) in repeated.iter().enumerate() {
        let watch = vec![Site::new(Point::ResidPost, 1)];
        let alone =
            run(&model, std::slice::from_ref(prompt), &GenerateOptions { watch, ..options(5) }).remove(0);
        assert_eq!(made[i].ids, alone.ids);
        assert!(max_diff(&made[i].watched[0].1, &alone.watched[0].1) < 1e-5);
    }
    let drawn = GenerateOptions { temperature: 1.0, n: 2, ..options(5) };
    let (computed, made) = tokens(&drawn);
    assert_eq!(computed, 5 * 2 * 5);
    assert!(
        made[0].ids == made[4].ids && made[0].ids != made[1].ids,
        "a prompt's draws have seeds of their own"
    );
}

#[test]
fn stop_texts_and_ends_finish_a_generation() {
    let Some(model) = smollm2() else { return };
    let made = run(
        &model,
        &[(tokens(&model, "The capital of France is"), vec![])],
        &GenerateOptions { stop: vec!["Paris".into()], ..options(20) },
    );
    assert_eq!(made[0].finish.name(), "stop");
    assert!(made[0].text.ends_with("Paris"));
}

#[test]
fn sixty_six_donor_patched_generations_are_one_call() {
    let Some(model) = smollm2() else { return };
    let prompt =
        |p: usize| tokens(&model, &format!("Question: what is {p}% as a fraction?\nAnswer: {p}% is"));
    let donors: Vec<(Tokens, Vec<Patch>)> = (1..=66).map(|p| (prompt(p), vec![])).collect();
    let site = Site::new(Point::ResidPost, 15);
    let donors = trace(&model, &donors, std::slice::from_ref(&site), &Control::default()).unwrap();
    let donors: Vec<Arc<Trace>> = donors.into_iter().map(Arc::new).collect();
    let cases: Vec<(Tokens, Vec<Patch>)> = (0..66)
        .map(|i| {
            let patch = Patch::new(
                site.clone().at(Pos::Token("%".into())),
                Edit::Set(Value::Trace(donors[(i + 17) % 66].clone())),
            );
            (prompt(i + 1), vec![patch])
        })
        .collect();
    let together = run(&model, &cases, &options(10));
    for (i, case) in cases.iter().enumerate() {
        let alone = run(&model, std::slice::from_ref(case), &options(10)).remove(0);
        assert_eq!(together[i].ids, alone.ids, "prompt {i}: {:?} or {:?}", together[i].text, alone.text);
    }
}

#[test]
fn a_patch_that_never_acts_is_refused() {
    let model = tiny("llama");
    let (prompt, _) = prompts(&model).remove(3);
    let refusal = |patch: Patch, n| {
        let made = generate(&model, &[(prompt.clone(), vec![patch])], &options(n), &Control::default());
        made.map(|_| ()).map_err(|e| e.to_string())
    };
    let late = add(&model, Point::ResidPost, 1, Pos::All, 5, Steps::Range(7, 9));
    assert_eq!(refusal(late.clone(), 4), Err("the patch on `resid_post.1` never fired".into()));
    assert_eq!(refusal(Patch { allow_noop: true, ..late.clone() }, 4), Ok(()));
    assert_eq!(refusal(late.clone(), 9), Ok(()));
    let still = Patch { steps: Steps::Generated, ..Patch::new(Site::new(Point::Z, 0), Edit::Scale(1.0)) };
    assert_eq!(refusal(still, 4), Err("the patch on `z.0` changed nothing".into()));
    let traced = trace(&model, &[(prompt.clone(), vec![late])], &[], &Control::default());
    assert_eq!(traced.unwrap_err().to_string(), "the patch on `resid_post.1` never fired");
}

/// 20,000 draws with as many seeds, against the probabilities that temperature, top-k and top-p leave. The distribution
/// that differs a little fails the same test.
#[test]
fn draws_follow_the_exact_distribution() {
    const DRAWS: usize = 20_000;
    let model = tiny("llama");
    let prompt = pair(&model).0;
    let logits = flat(&common::run(&model, &prompt, vec![], &[]).last().unwrap());
    for (temperature, top_k, top_p) in [
        (1.0, None, None),
        (0.7, None, None),
        (0.8, Some(12), None),
        (1.0, None, Some(0.8)),
        (0.8, Some(20), Some(0.9)),
    ] {
        let sampled = GenerateOptions { temperature, top_k, top_p, n: DRAWS, seed: 1, ..options(1) };
        let mut counts = vec![0.0; logits.len()];
        for made in run(&model, &[(prompt.clone(), vec![])], &sampled) {
            counts[made.ids[0] as usize] += 1.0;
        }
        let name = format!("temperature {temperature}, top_k {top_k:?}, top_p {top_p:?}");
        let far = chi_square(&counts, &distribution(&logits, temperature, top_k, top_p));
        assert!(far < 5.0, "{name}: {far} standard deviations");
        let warmer = distribution(&logits, temperature + 0.3, top_k, top_p);
        assert!(chi_square(&counts, &warmer) > 5.0, "{name}: passes for another temperature");
    }
}

/// What each token must be drawn with, written plainly.
fn distribution(logits: &[f32], temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(top_k.unwrap_or(logits.len()));
    let weight = |id: usize| (f64::from(logits[id] - logits[order[0]]) / temperature).exp();
    let total: f64 = order.iter().map(|&id| weight(id)).sum();
    // The fewest tokens that have `top_p` between them.
    let mut kept = 0.0;
    let enough = order.iter().take_while(|&&id| {
        let more = kept < top_p.unwrap_or(1.0) * total;
        kept += weight(id);
        more
    });
    let enough: Vec<usize> = enough.copied().collect();
    let total: f64 = enough.iter().map(|&id| weight(id)).sum();
    let mut probabilities = vec![0.0; logits.len()];
    enough.iter().for_each(|&id| probabilities[id] = weight(id) / total);
    probabilities
}

/// By how many standard deviations Pearson's statistic lies above its mean; infinite if what cannot be drawn was.
fn chi_square(counts: &[f64], probabilities: &[f64]) -> f64 {
    let draws: f64 = counts.iter().sum();
    let (mut statistic, mut bins) = (0.0, 0.0);
    // Tokens that are hardly ever drawn are counted together.
    let (mut rare, mut expected_rare) = (0.0, 0.0);
    for (&count, &p) in counts.iter().zip(probabilities) {
        let expected = p * draws;
        if p == 0.0 && count > 0.0 {
            return f64::INFINITY;
        } else if expected < 5.0 {
            (rare, expected_rare) = (rare + count, expected_rare + expected);
        } else {
            statistic += (count - expected) * (count - expected) / expected;
            bins += 1.0;
        }
    }
    if expected_rare > 0.0 {
        statistic += (rare - expected_rare) * (rare - expected_rare) / expected_rare;
        bins += 1.0;
    }
    (statistic - (bins - 1.0)) / (2.0 * (bins - 1.0_f64)).sqrt()
}
