//! The end of a traced run: what its logits are made of. A pass stops at the deepest site that it was asked for, and goes
//! on from there, for all of its prompts at once, when somebody reads the logits of one.

use crate::cache::{Cache, Key};
use crate::model::{Model, ModelError};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::keeping::{self, Keep, Named, key};
use crate::run::walking::logits::{LastRead, Logits};
use crate::run::walking::rows::{in_turn, own_rows_of_all};
use crate::run::walking::walk::{Past, Walk, Walker};
use candle_core::Tensor;
use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where the prompts of one pass have stopped. Nothing is patched after it.
pub struct Stopped {
    pub model: Arc<Model>,
    pub prompts: Vec<Tokens>,
    /// Layers that they have been through.
    pub depth: usize,
    /// Of the first prompt among those of its call.
    pub first: usize,
    pub last_read: LastRead,
    /// Their rows, packed, until they have gone on; then what each prompt has not taken yet.
    pub state: Mutex<State>,
    pub cache: Option<Arc<Cache>>,
}

pub enum State {
    Rows(Tensor),
    Logits(Vec<Option<Logits>>),
}

impl Stopped {
    /// Settles the logits of a prompt, for which all go on to the end if they have not.
    fn settle(&self, prompt: usize, logits: &OnceLock<Logits>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if logits.get().is_some() {
            // Somebody else came first.
            return Ok(());
        }
        if let State::Rows(rows) = &*state {
            *state = State::Logits(self.go_on(rows)?.into_iter().map(Some).collect());
        }
        let taken = match &mut *state {
            State::Logits(all) => all.get_mut(prompt).and_then(Option::take),
            State::Rows(_) => None,
        };
        let taken = taken.ok_or_else(|| ModelError::Tensor("a run's logits were taken twice".into()))?;
        _ = logits.set(taken);
        Ok(())
    }

    fn go_on(&self, rows: &Tensor) -> Result<Vec<Logits>> {
        let (transformer, control) =
            (&self.model.transformer, &Control { cache: self.cache.clone(), ..Control::default() });
        let Normed(normed) = keeping::once(control, self.key(rows, control), || {
            let walker = |tokens| Walker {
                ids: Tokens::ids(tokens),
                first: 0,
                past: 0,
                entry: 0,
                tail: 0,
                writes: &[],
            };
            let walkers: Vec<Walker> = self.prompts.iter().map(walker).collect();
            let walk = Walk {
                transformer,
                control,
                past: Past::default(),
                from: Some((self.depth, rows.clone())),
                depth: transformer.config.n_layers,
                keep: BTreeSet::new(),
                keep_kv: false,
            };
            Ok(Normed(walk.run(&walkers, |_| {})?.normed()?))
        })?;
        let own = own_rows_of_all(&normed, &in_turn(self.prompts.iter().map(Tokens::len)))?;
        let own = own.into_iter().zip(self.first..);
        Ok(own.map(|(own, index)| Logits::new(own, self.last_read.clone(), index)).collect())
    }

    fn key(&self, rows: &Tensor, control: &Control) -> Option<Key> {
        let mut key = key::of(control, &self.model, "end")?;
        self.depth.hash(&mut key);
        self.prompts.iter().for_each(|tokens| tokens.ids().hash(&mut key));
        key::tensor(&mut key, rows)?;
        Some(key)
    }
}

/// The final norm's output for all rows, `[rows, d_model]`.
struct Normed(Tensor);

impl Keep for Normed {
    fn tensors(&self) -> Result<Named> {
        Ok([("normed".to_string(), self.0.clone())].into())
    }

    fn of(mut tensors: Named) -> Option<Normed> {
        tensors.remove("normed").map(Normed)
    }
}

/// The logits of one run, there or on the way.
pub struct Ending {
    logits: OnceLock<Logits>,
    /// Where it stopped, and which prompt of that pass it is of.
    stopped: Option<(Arc<Stopped>, usize)>,
}

impl Ending {
    pub fn there(logits: Logits) -> Ending {
        Ending { logits: OnceLock::from(logits), stopped: None }
    }

    pub fn later(stopped: Arc<Stopped>, prompt: usize) -> Ending {
        Ending { logits: OnceLock::new(), stopped: Some((stopped, prompt)) }
    }

    pub fn logits(&self) -> Result<&Logits> {
        if let (None, Some((stopped, prompt))) = (self.logits.get(), &self.stopped) {
            stopped.settle(*prompt, &self.logits)?;
        }
        self.logits.get().ok_or_else(|| ModelError::Tensor("a run has no end".into()).into())
    }
}
