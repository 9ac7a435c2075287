//! Our side of the comparison with `benches/rivals`: one JSON line a figure.
//!
//! `cargo bench --bench compare -- [--model PATH] [PART…]`, each PART one of `matmul`, `sweep`, `forward`,
//! `generate`, `scaling`, `operations`, `corpus`. Without a PATH it reads the model that `tests/fetch-smollm2.sh` fetches.
//! `benches/compare.sh` runs it beside the rivals. Read [`grid`] (what is swept), [`timing`], [`operations`] (the
//! pass operation by operation), [`corpus`] (many texts through one layer).

#[path = "../../tests/common/mod.rs"]
mod common;
mod corpus;
mod grid;
mod operations;
mod timing;

use candle_core::Tensor;
use common::*;
use grid::{Pair, cells};
use patchscript::model::{Batch, Model, NoHook};
use patchscript::run::Control;
use patchscript::run::generate::{GenerateOptions, generate};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use timing::{Timing, peak_megabytes, timed};

const REPEATS: usize = 3;

fn main() {
    let mut parts: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let path = match parts.iter().position(|part| part == "--model") {
        Some(flag) => Some(parts.drain(flag..flag + 2).nth(1).expect("a path after `--model`").into()),
        None => smollm2_path(),
    };
    let Some(path) = path else { return };
    let start = Instant::now();
    let model = load(path.to_str().unwrap());
    emit("load", json!({ "seconds": start.elapsed().as_secs_f64() }));
    for part in parts {
        match part.as_str() {
            "matmul" => emit_timing("matmul", &matmul()),
            "sweep" => full_sweep(&model),
            "forward" => forwards(&model),
            "generate" => generations(&model),
            "scaling" => scaling(&model),
            "operations" => operations::print(&model, matmul_rate()),
            "corpus" => corpus::print(&path),
            other => panic!("no part `{other}`"),
        }
        emit(&format!("peak_{part}"), json!({ "megabytes": peak_megabytes() }));
    }
}

fn emit(figure: &str, fields: serde_json::Value) {
    let mut line = json!({ "tool": "patchscript", "figure": figure });
    line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    println!("{line}");
}

fn emit_timing(figure: &str, timing: &Timing) {
    let Timing { all, cpu, other_cpu } = timing;
    let seconds = timing.median();
    emit(figure, json!({ "seconds": seconds, "all": all, "cpu_seconds": cpu, "other_cpu": other_cpu }));
}

/// A float32 product of 1024³.
fn matmul() -> Timing {
    let (a, b) = (random(&[1024, 1024], 1), random(&[1024, 1024], 2));
    timed(15, || -> Tensor { a.matmul(&b).unwrap() })
}

/// Its FLOP/s.
fn matmul_rate() -> f64 {
    2.0 * 1024f64.powi(3) / matmul().median()
}

/// The layer × position grid of the power pair, and its rate beside a plain product's.
fn full_sweep(model: &Arc<Model>) {
    let pair = Pair::power(model, 1);
    let cells = cells(0..model.config().n_layers, pair.from..pair.base.len());
    let mut found = Vec::new();
    let before = matmul_rate();
    let timing = timed(1, || found = pair.sweep(model, &cells).values.iter().map(|&v| v as f32).collect());
    let rate = (before + matmul_rate()) / 2.0;
    let achieved = pair.flops(model.config(), &cells) / timing.median();
    emit_timing("sweep", &timing);
    emit(
        "sweep_rate",
        json!({
            "cells": cells.len(),
            "gflops": achieved / 1e9,
            "matmul_gflops": rate / 1e9,
            "share_of_matmul": achieved / rate,
            "largest_difference": max_diff_of(&found, &pair.expected),
        }),
    );
}

/// One and sixteen prompts, with the logits of every position and of the last only.
fn forwards(model: &Model) {
    let ids = Pair::power(model, 1).base.ids().to_vec();
    for count in [1, 16] {
        for (name, last_only) in [("all", false), ("last", true)] {
            forward(model, &ids, count, last_only);
            let timing = timed(REPEATS, || forward(model, &ids, count, last_only));
            emit_timing(&format!("forward_{count}_{name}"), &timing);
        }
    }
}

/// Logits `[rows, d_vocab]` of `count` copies of a prompt.
fn forward(model: &Model, ids: &[u32], count: usize, last_only: bool) -> Tensor {
    let transformer = &model.transformer;
    let prepared = transformer.prepare(Batch::prompts(&vec![ids.len(); count])).unwrap();
    let mut x = transformer.embed(&ids.repeat(count), &prepared, &mut NoHook).unwrap();
    for layer in 0..model.config().n_layers {
        x = transformer.layer(layer, x, &prepared, None, &mut NoHook).unwrap().0;
    }
    if last_only {
        let ends = (0..count).map(|i| prepared.batch.rows_of(i).end as u32 - 1);
        x = x.index_select(&Tensor::from_iter(ends, x.device()).unwrap(), 0).unwrap();
    }
    let normed = transformer.final_norm(&x, &mut NoHook).unwrap();
    transformer.unembed(&normed, &mut NoHook).unwrap()
}

/// 32 greedy tokens after one and after sixteen prompts of eight tokens, none of which ends its text sooner.
fn generations(model: &Arc<Model>) {
    let base = Pair::power(model, 1).base;
    let options = GenerateOptions { max_new_tokens: 32, ..GenerateOptions::default() };
    for count in [1, 16] {
        let prompts: Vec<_> = (0..count).map(|i| (base.slice(23 + i..31 + i), vec![])).collect();
        let run = || generate(model, &prompts, &options, &Control::default()).unwrap();
        let ids: Vec<Vec<u32>> = run().into_iter().map(|generation| generation.ids).collect();
        emit_timing(&format!("generate_{count}"), &timed(REPEATS, run));
        emit(&format!("tokens_{count}"), json!({ "ids": ids }));
    }
}

/// Times of parts of the grid beside what their plans foresee, at the full grid's pace.
fn scaling(model: &Arc<Model>) {
    let config = model.config();
    let (short, long) = (Pair::power(model, 1), Pair::power(model, 2));
    let (n_layers, from, len) = (config.n_layers, short.from, short.base.len());
    let full = cells(0..n_layers, from..len);
    let spread = |n: usize| (0..n).map(move |i| (2 * i + 1) * n_layers / (2 * n));
    let every = |n: usize| -> Vec<_> {
        let diagonal = |&&(layer, pos): &&(usize, usize)| (layer + pos).is_multiple_of(n);
        full.iter().filter(diagonal).copied().collect()
    };
    let mut grids = vec![("full".to_string(), &short, full.clone())];
    grids.extend([10, 20].map(|n| (format!("{n} layers"), &short, cells(spread(n), from..len))));
    grids.extend([8, 16].map(|n| (format!("{n} positions"), &short, cells(0..n_layers, len - n..len))));
    grids.push((format!("{} tokens", 2 * len), &long, cells(0..n_layers, long.from..2 * len)));
    grids.extend([4, 2].map(|n| (format!("{} cells", full.len() / n), &short, every(n))));
    // Round by round, so that all grids see the same machine.
    let mut seconds = vec![Vec::new(); grids.len()];
    for _ in 0..REPEATS {
        for ((_, pair, cells), seconds) in grids.iter().zip(&mut seconds) {
            seconds.push(timed(1, || pair.sweep(model, cells)).median());
        }
    }
    let mut pace = None;
    for ((name, pair, cells), mut seconds) in grids.iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let (seconds, plan) = (seconds[REPEATS / 2], pair.predicted(model, cells));
        let predicted = plan * *pace.get_or_insert(seconds / plan);
        emit(
            &format!("scaling {name}"),
            json!({ "seconds": seconds, "predicted": predicted, "measured_over_predicted": seconds / predicted }),
        );
    }
}
