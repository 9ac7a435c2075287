//! What a model runs: traces, generations and sweeps.

use std::sync::{Arc, OnceLock};

use candle_core::Device;
use rhai::{Array, Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::json;

use super::generation::Generation;
use super::grid::{self, Grid};
use super::loaded::Model;
use super::prompt::{self, Prompts};
use super::trace::Trace;
use super::{metric, patch, site};
use crate::memory;
use crate::model::Point;
use crate::run::control::NoteFn;
use crate::run::generate::{self, GenerateOptions};
use crate::run::sweep::{self, Sweep, SweepOptions};
use crate::run::{self, Control, Explanation, Patch, Site};
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::tensor::{self, Tensor};
use crate::script::bind::{closure, refusal};
use crate::script::context::Context;
use crate::script::error::ScriptResult;
use crate::script::output;

/// Bytes of a cell of a sweep, at least.
const CELL: usize = 256;
/// Bytes of a generation, at least, and of each of its tokens.
const GENERATION: usize = 512;
const TOKEN: usize = 16;
/// Cells of a sweep beside which one more does not count.
const MEASURED: usize = 16;
/// Seconds of a sweep, at a nominal speed, for which this machine's speed is measured unasked.
const WORTH_MEASURING: f64 = 0.5;

impl Model {
    pub fn control(&self) -> Control {
        control(&self.context)
    }

    /// The same, with a bar that appears with the first report.
    pub fn control_with_progress(&self, label: &'static str) -> Control {
        control_with_progress(&self.context, label)
    }

    fn trace(
        &self,
        call: &NativeCallContext,
        prompt: &Dynamic,
        patches: &Dynamic,
        sites: Vec<Site>,
    ) -> ScriptResult<Dynamic> {
        let prompts = Prompts::read(self, prompt)?;
        let (runs, one_list) = (prompts.with_lists(patches, patch::list)?, prompts.share(patches));
        let (model, control) = (self.inner.clone(), self.control_with_progress("trace"));
        let traces = closure::serve(call, &self.context, control, move |control| {
            let traces = run::trace(&model, &runs, &sites, control);
            traces.map_err(|error| if one_list { error.of_one_list() } else { error })
        })?;
        let value = |trace| Dynamic::from(Trace { inner: Arc::new(trace), context: self.context.clone() });
        Ok(prompts.wrap(traces.into_iter().map(value).collect()))
    }

    fn sites(&self, value: &Dynamic) -> ScriptResult<Vec<Site>> {
        site::list(value, self.inner.config())
    }

    fn every_resid_post(&self) -> Vec<Site> {
        (0..self.inner.config().n_layers).map(|layer| Site::new(Point::ResidPost, layer)).collect()
    }

    fn generate(&self, call: &NativeCallContext, prompt: &Dynamic, options: Map) -> ScriptResult<Dynamic> {
        let prompts = Prompts::read(self, prompt)?;
        let mut options = Options::new(options, "generate");
        let patches = options.get("patches").unwrap_or_else(|| Array::new().into());
        let n = options.get_usize("n")?;
        let settings = self.settings(&mut options, n.unwrap_or(1))?;
        options.finish()?;
        let (runs, one_list) = (prompts.with_lists(&patches, patch::list)?, prompts.share(&patches));
        let tokens = settings.max_new_tokens.min(self.inner.config().n_ctx);
        let each = tokens.saturating_mul(TOKEN).saturating_add(GENERATION);
        memory::reserve_many(runs.len().saturating_mul(settings.n), each)?;
        let (model, control) = (self.inner.clone(), self.control_with_progress("generate"));
        let made = closure::serve(call, &self.context, control, move |control| {
            let made = generate::generate(&model, &runs, &settings, control);
            made.map_err(|error| if one_list { error.of_one_list() } else { error })
        })?;
        let mut made = made.into_iter().map(|generation| {
            let (model, context) = (self.inner.clone(), self.context.clone());
            Dynamic::from(Generation { inner: Arc::new(generation), model, context })
        });
        let of_prompt = |_: &run::Tokens| match n {
            None => made.next().unwrap_or_default(),
            Some(n) => made.by_ref().take(n).collect::<Array>().into(),
        };
        Ok(prompts.wrap(prompts.tokens.iter().map(of_prompt).collect()))
    }

    fn settings(&self, options: &mut Options, n: usize) -> ScriptResult<GenerateOptions> {
        let default = GenerateOptions::default();
        let stop = options.get_with("stop", |value| match value.is_array() {
            true => args::each(value, args::string),
            false => Ok(vec![args::string(value)?]),
        })?;
        // The run's, for calls that name none.
        let seed = self.context.options.seed.unwrap_or(default.seed);
        Ok(GenerateOptions {
            max_new_tokens: options.get_usize("max_new_tokens")?.unwrap_or(default.max_new_tokens),
            temperature: options.get_f64("temperature")?.unwrap_or(default.temperature),
            top_k: options.get_usize("top_k")?,
            top_p: options.get_f64("top_p")?,
            seed: options.get_usize("seed")?.map_or(seed, |seed| seed as u64),
            n,
            stop: stop.unwrap_or_default(),
            watch: options.get_with("watch", |value| self.sites(value))?.unwrap_or_default(),
        })
    }

    fn sweep(&self, call: &NativeCallContext, question: Question) -> ScriptResult<Sweep> {
        let question = Arc::new(question);
        self.tell_plan(call, &question)?;
        let (model, asked) = (self.inner.clone(), question.clone());
        let (record, id, metric) = (&self.context.record, &self.inner.id, question.metric.name());
        let measured = question.cells.len() >= MEASURED && record.lacks_noise(id, metric);
        let context = self.context.clone();
        let (sweep, noise) =
            closure::serve(call, &self.context, self.control_with_progress("sweep"), move |control| {
                let Question { prompt, cells, metric } = &*asked;
                let run = || sweep::sweep(&model, prompt, cells, metric, SweepOptions::default(), control);
                let sweep = context.tally.sweep(run)?;
                // The noise is no part of what was asked.
                let apart = Control { rows: Arc::default(), ..control.clone() };
                let noise = match measured {
                    true => sweep::noise(&model, prompt, cells, metric, &sweep, &apart)?,
                    false => None,
                };
                Ok((sweep, noise))
            })?;
        let idle = sweep.idle(&question.cells);
        record.sweep(&sweep, idle);
        if let Some(noise) = noise {
            record.noise(id, metric, noise);
        }
        match idle {
            0 => {}
            n => output::tell(format_args!("note: {n} of {} cells changed nothing", question.cells.len())),
        }
        Ok(sweep)
    }

    /// Tells a sweep's plan to those who asked for it.
    fn tell_plan(&self, call: &NativeCallContext, question: &Arc<Question>) -> ScriptResult<()> {
        let told = self.context.explains();
        if !told && !self.context.tally.is_watched() {
            return Ok(());
        }
        let explanation = self.explain(call, question.clone())?;
        if !told && explanation.seconds < WORTH_MEASURING {
            self.context.tally.plan(&explanation, None);
            return Ok(());
        }
        let (model, plan) = (self.inner.clone(), explanation.clone());
        let seconds = self.context.apart(move || plan.measured_seconds(&model));
        let seconds = seconds?.map_err(refusal::run)?;
        self.context.tally.plan(&explanation, Some(seconds));
        if told {
            output::tell_as(
                || format!("{explanation}\n  time         {seconds:.2} s or more"),
                || json!({"severity": "plan", "plan": explanation, "seconds": seconds}),
            );
        }
        Ok(())
    }

    fn explain(&self, call: &NativeCallContext, question: Arc<Question>) -> ScriptResult<Explanation> {
        let model = self.inner.clone();
        closure::serve(call, &self.context, self.control(), move |control| {
            let Question { prompt, cells, metric } = &*question;
            run::explain(&model, prompt, cells, metric, control)
        })
    }

    /// A sweep over an array of cells.
    fn cells(&self, prompt: &Dynamic, cells: Array, metric: &Dynamic) -> ScriptResult<Question> {
        Ok(Question {
            prompt: prompt::one(self, prompt)?,
            cells: args::each(&cells.into(), patch::list)?,
            metric: metric::read(&self.context, metric)?,
        })
    }

    /// A sweep over rows and columns.
    fn grid(
        &self,
        call: &NativeCallContext,
        prompt: &Dynamic,
        [rows, cols]: [&Array; 2],
        cell: &FnPtr,
        metric: &Dynamic,
    ) -> ScriptResult<Question> {
        // What a sweep holds for a cell at least: its patches, its place in the plan and its result.
        memory::reserve_many(rows.len().saturating_mul(cols.len()), CELL)?;
        let mut cells = Vec::with_capacity(rows.len() * cols.len());
        for row in rows {
            for col in cols {
                let value: Dynamic = cell.call_within_context(call, (row.clone(), col.clone()))?;
                cells.push(patch::list(&value).map_err(|error| {
                    args::within(&format!("the cell of row {row} and column {col}"), error)
                })?);
            }
        }
        let prompt = prompt::one(self, prompt)?;
        Ok(Question { prompt, cells, metric: metric::read(&self.context, metric)? })
    }
}

/// What a sweep is asked.
struct Question {
    prompt: run::Tokens,
    cells: Vec<Vec<Patch>>,
    metric: run::Metric,
}

/// Bounds a run's memory and says what a user should know of it. Who runs it stops it.
pub fn control(context: &Arc<Context>) -> Control {
    let (memory, cache, told) = (context.options.memory, context.cache.clone(), context.clone());
    let rows = context.tally.rows();
    let note = Some(Arc::new(move |text: &str| told.note(text)) as NoteFn);
    Control { memory, cache, rows, note, ..Control::default() }
}

/// The same, with a bar that appears with the first report.
pub fn control_with_progress(context: &Arc<Context>, label: &'static str) -> Control {
    let (of_bar, bar) = (context.clone(), OnceLock::new());
    let report = move |done: usize, total: usize, unit: &str| {
        let bar = bar.get_or_init(|| of_bar.progress(label, total as u64, unit));
        bar.show(done as u64, total as u64, unit);
    };
    Control { progress: Some(Arc::new(report)), ..control(context) }
}

/// Registers the methods of Model that run it.
pub fn register(api: &mut Api) {
    traces(api);
    generations(api);
    sweeps(api);
    explanations(api);
}

fn traces(api: &mut Api) {
    api.method(
        "Model",
        "trace(prompt: any, sites?: any) -> Trace",
        "runs a prompt and records sites, every `resid_post` by default: a site or an array of sites, in texts also of all \
         layers (`\"z.*\"`) or `\"all\"`; an array of prompts gives an array of traces",
    )
    .example("load().trace(\" John gave Mary\", \"z.*\").sites", "[z.0, z.1, z.2, z.3, z.4, z.5, z.6, z.7]")
    .native(|call: NativeCallContext, model: &mut Model, prompt: Dynamic| {
        model.trace(&call, &prompt, &Array::new().into(), model.every_resid_post())
    })
    .native(|call: NativeCallContext, model: &mut Model, prompt: Dynamic, sites: Dynamic| {
        model.trace(&call, &prompt, &Array::new().into(), model.sites(&sites)?)
    });
    api.method(
        "Model",
        "run(prompt: any, patches: any, sites?: any) -> Trace",
        "runs a prompt with a patch or an array of patches; several prompts may have a list each",
    )
    .example(
        "let m = load(); let mary = m.trace(\" Mary gave\"); \
         m.run(\" John gave\", resid_post(1).at(1).set(mary)).ledger[0].fired",
        "1",
    )
    .native(|call: NativeCallContext, model: &mut Model, prompt: Dynamic, patches: Dynamic| {
        model.trace(&call, &prompt, &patches, Vec::new())
    })
    .native(
        |call: NativeCallContext, model: &mut Model, prompt: Dynamic, patches: Dynamic, sites: Dynamic| {
            model.trace(&call, &prompt, &patches, model.sites(&sites)?)
        },
    );
}

fn generations(api: &mut Api) {
    api.method(
        "Model",
        "generate(prompt: any, options?: map) -> Generation",
        "new tokens after a prompt, greedy by default; options: `max_new_tokens`, `patches`, `watch`, `temperature`, \
         `top_k`, `top_p`, `seed`, `stop`, `n`",
    )
    .example("load().generate(\" John gave\", #{max_new_tokens: 4}).tokens.len", "4")
    .native(|call: NativeCallContext, model: &mut Model, prompt: Dynamic| {
        model.generate(&call, &prompt, Map::new())
    })
    .native(|call: NativeCallContext, model: &mut Model, prompt: Dynamic, options: Map| {
        model.generate(&call, &prompt, options)
    });
}

fn sweeps(api: &mut Api) {
    api.method(
        "Model",
        "sweep(prompt: any, cells: array, metric: any) -> Tensor",
        "the metric under each cell's patches, [cells]; a cell is a patch or an array of patches",
    )
    .example(
        "let m = load(); m.sweep(\" John gave\", [z(1).head(0).zero(), z(1).head(1).zero()], logit(5)).shape",
        "[2]",
    )
    .native(
        |call: NativeCallContext, model: &mut Model, prompt: Dynamic, cells: Array, metric: Dynamic| {
            let values = model.sweep(&call, model.cells(&prompt, cells, &metric)?)?.values;
            let values = candle_core::Tensor::from_iter(values.into_iter().map(|x| x as f32), &Device::Cpu);
            Tensor::new(&model.context, values.map_err(tensor::refused)?)
        },
    );
    api.method(
        "Model",
        "sweep(prompt: any, rows: any, cols: any, cell: function, metric: any) -> Grid",
        "the metric for every row and column, arrays or ranges; `|row, col|` gives a patch or an array of patches",
    )
    .example(
        "let m = load(); let mary = m.trace(\" Mary gave half\"); \
         m.sweep(\" John gave half\", 0..m.n_layers, 1..3, |l, p| z(l).at(p).set(mary), logit(5)).values.shape",
        "[8, 2]",
    )
    .native(
        |call: NativeCallContext,
         model: &mut Model,
         prompt: Dynamic,
         rows: Dynamic,
         cols: Dynamic,
         cell: FnPtr,
         metric: Dynamic|
         -> ScriptResult<Grid> {
            let (rows, cols) = (grid::axis(&rows)?, grid::axis(&cols)?);
            let question = model.grid(&call, &prompt, [&rows, &cols], &cell, &metric)?;
            let sweep = model.sweep(&call, question)?;
            Ok(Grid { rows, cols, sweep, context: model.context.clone() })
        },
    );
}

fn explanations(api: &mut Api) {
    api.method(
        "Model",
        "explain(prompt: any, cells: array, metric: any) -> Explanation",
        "what a sweep over these cells would take; nothing is run",
    )
    .example(
        "let m = load(); m.explain(\" John gave\", [z(1).head(0).zero(), z(1).head(1).zero()], logit(5)).rows",
        "[0, 6, 6, 6, 6, 6, 6, 6]",
    )
    .native(
        |call: NativeCallContext,
         model: &mut Model,
         prompt: Dynamic,
         cells: Array,
         metric: Dynamic|
         -> ScriptResult<Explanation> {
            model.explain(&call, model.cells(&prompt, cells, &metric)?.into())
        },
    );
    api.method(
        "Model",
        "explain(prompt: any, rows: any, cols: any, cell: function, metric: any) -> Explanation",
        "what a sweep over these rows and columns would take; nothing is run",
    )
    .example(
        "let m = load(); let mary = m.trace(\" Mary gave half\"); \
         m.explain(\" John gave half\", 0..m.n_layers, 1..3, |l, p| z(l).at(p).set(mary), logit(5)).computed",
        "14",
    )
    .native(
        |call: NativeCallContext,
         model: &mut Model,
         prompt: Dynamic,
         rows: Dynamic,
         cols: Dynamic,
         cell: FnPtr,
         metric: Dynamic|
         -> ScriptResult<Explanation> {
            let (rows, cols) = (grid::axis(&rows)?, grid::axis(&cols)?);
            model.explain(&call, model.grid(&call, &prompt, [&rows, &cols], &cell, &metric)?.into())
        },
    );
}
