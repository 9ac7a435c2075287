//! The end of a traced run: what its logits are made of. A pass stops at the deepest site that it was asked for, and goes
//! on from there, for all of its prompts at once, when somebody reads the logits of one.

use crate::model::{Model, ModelError};
use crate::run::asking::tokens::Tokens;
use crate::run::control::Control;
use crate::run::error::Result;
use crate::run::walking::logits::{LastRead, Logits};
use crate::run::walking::rows::own_rows;
use crate::run::walking::walk::{Past, Walk, Walker};
use candle_core::Tensor;
use std::collections::BTreeSet;
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
}

pub enum State {
    Rows(Tensor),
    Logits(Vec<Option<Logits>>),
}

impl Stopped {
    /// The logits of a prompt, for which all go on to the end if they have not.
    fn take(&self, prompt: usize) -> Result<Logits> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Rows(rows) = &*state {
            *state = State::Logits(self.go_on(rows)?.into_iter().map(Some).collect());
        }
        let taken = match &mut *state {
            State::Logits(all) => all.get_mut(prompt).and_then(Option::take),
            State::Rows(_) => None,
        };
        taken.ok_or_else(|| ModelError::Tensor("a run's logits were taken twice".into()).into())
    }

    fn go_on(&self, rows: &Tensor) -> Result<Vec<Logits>> {
        let walker =
            |tokens| Walker { ids: Tokens::ids(tokens), first: 0, past: 0, entry: 0, tail: 0, writes: &[] };
        let walkers: Vec<Walker> = self.prompts.iter().map(walker).collect();
        let (model, control) = (&*self.model, &Control::default());
        let walk = Walk {
            model,
            control,
            past: Past::default(),
            from: Some((self.depth, rows.clone())),
            depth: model.config().n_layers,
            keep: BTreeSet::new(),
            keep_kv: false,
        };
        let mut end = walk.run(&walkers, |_| {})?;
        let normed = end.normed()?;
        let logits = |prompt| {
            let own = own_rows(&normed, &end.batch.rows_of(prompt))?;
            Ok(Logits::new(own, self.last_read.clone(), self.first + prompt))
        };
        (0..self.prompts.len()).map(logits).collect()
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
            // Who comes second to it finds them there.
            match stopped.take(*prompt) {
                Ok(logits) => drop(self.logits.set(logits)),
                Err(error) if self.logits.get().is_none() => return Err(error),
                Err(_) => {}
            }
        }
        self.logits.get().ok_or_else(|| ModelError::Tensor("a run has no end".into()).into())
    }
}
