//! Values that grow in script code.
//!
//! The engine checks the size of a value where it is made, but not where an assignment puts one value into another:
//! `a[i] = b`, `m.k = v`. Nor does it bound how deep values lie in each other, and what is too deep can neither be
//! printed nor dropped. So the variables are measured from time to time as the script uses them: often enough that
//! little can grow in between, seldom enough that measuring takes a small part of the time.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rhai::{Array, Blob, Dynamic, EvalAltResult, EvalContext, FnPtr, Map, Position, Scope};

use super::error::{ScriptResult, fail};
use super::limits::Limits;
use crate::memory;

/// How deep values may lie in each other.
pub const MAX_DEPTH: usize = 256;

/// Uses of variables between two thoughts of measuring.
const STRIDE: usize = 64;

/// Bytes of growth after which a deep value may already be too deep for the stack.
const GROWTH: usize = 4 << 20;

/// When to measure next.
#[derive(Debug)]
pub struct Growth {
    limits: Limits,
    /// Uses of variables until the next thought.
    uses: AtomicUsize,
    /// Thoughts since the last measurement.
    thoughts: AtomicUsize,
    /// Values that the last measurement visited.
    visited: AtomicUsize,
    /// The least that was held since then.
    least: AtomicUsize,
}

impl Growth {
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.of_values(),
            uses: AtomicUsize::new(0),
            thoughts: AtomicUsize::new(0),
            visited: AtomicUsize::new(0),
            least: AtomicUsize::new(0),
        }
    }

    /// Called on each use of a variable: measures them all if it is time to.
    pub fn on_use(&self, context: &EvalContext) -> ScriptResult<()> {
        let uses = self.uses.load(Relaxed);
        self.uses.store(uses.wrapping_sub(1), Relaxed);
        if uses == 0 && self.is_due() {
            let variables = context.scope().iter_raw().map(|(.., value)| value);
            self.measure(context.this_ptr().into_iter().chain(variables))?;
        }
        Ok(())
    }

    /// Whether enough was done since the last measurement to pay for another one, or enough was taken to need it.
    fn is_due(&self) -> bool {
        self.uses.store(STRIDE, Relaxed);
        let (held, visited) = (memory::count::in_use(), self.visited.load(Relaxed));
        let least = self.least.fetch_min(held, Relaxed).min(held);
        let uses = STRIDE.saturating_mul(self.thoughts.fetch_add(1, Relaxed));
        uses >= visited / 4 || held - least > GROWTH.max(visited / 2)
    }

    fn measure<'v>(&self, mut values: impl Iterator<Item = &'v Dynamic>) -> ScriptResult<()> {
        let mut measured = Measured::default();
        let result = values.try_for_each(|value| measured.root(value, 0, &self.limits));
        self.thoughts.store(0, Relaxed);
        self.visited.store(measured.visited, Relaxed);
        self.least.store(memory::count::in_use(), Relaxed);
        result
    }

    /// What a script leaves behind: its value or error, and the variables of `scope`, of which the first `old` were
    /// there before. Refuses what is too deep, and drops it while this thread's stack is there to do so.
    pub fn keep(
        &self,
        result: ScriptResult<Dynamic>,
        scope: &mut Scope,
        old: usize,
    ) -> ScriptResult<Dynamic> {
        let any_size = Limits { array_len: usize::MAX, map_len: usize::MAX, ..self.limits };
        let depth = |value: &Dynamic| Measured::default().root(value, 0, &any_size);
        let sound = result.as_ref().map_or(Ok(()), depth);
        let Err(error) = sound.and_then(|()| scope.iter_raw().try_for_each(|(.., value)| depth(value)))
        else {
            return result;
        };
        scope.rewind(old);
        let names: Vec<_> = scope.iter_raw().map(|(name, ..)| name.to_string()).collect();
        for name in names {
            if scope.get(&name).is_some_and(|value| depth(value).is_err()) {
                scope.set_value(name, Dynamic::UNIT);
            }
        }
        // An earlier error stands.
        result.and(Err(error))
    }
}

/// What a measurement saw.
#[derive(Default)]
struct Measured {
    visited: usize,
    /// Shared values by address: closures can hold each other in a circle.
    shared: HashSet<usize>,
}

/// Elements of arrays and entries of maps in one value.
#[derive(Default)]
struct Size {
    elements: usize,
    entries: usize,
}

impl Measured {
    /// Measures a value that stands for itself: of a variable, or kept by a closure.
    fn root(&mut self, value: &Dynamic, depth: usize, limits: &Limits) -> ScriptResult<()> {
        let mut size = Size::default();
        self.add(value, depth, &mut size, limits)?;
        let too_large = |what: &str| EvalAltResult::ErrorDataTooLarge(what.into(), Position::NONE).into();
        if size.elements > limits.array_len {
            return Err(too_large("Size of array/BLOB"));
        }
        if size.entries > limits.map_len {
            return Err(too_large("Size of object map"));
        }
        Ok(())
    }

    fn add(&mut self, value: &Dynamic, depth: usize, size: &mut Size, limits: &Limits) -> ScriptResult<()> {
        self.visited += 1;
        if depth > MAX_DEPTH {
            let failure = fail(format!("values lie in each other more than {MAX_DEPTH} deep"))
                .help("keep them side by side, in an array");
            return Err(EvalAltResult::ErrorTerminated(Dynamic::from(failure), Position::NONE).into());
        }
        if value.is_shared() {
            // One that is being changed just now is looked at another time.
            let Some(inner) = value.read_lock::<Dynamic>() else { return Ok(()) };
            return match self.shared.insert(std::ptr::from_ref::<Dynamic>(&inner).addr()) {
                true => self.add(&inner, depth, size, limits),
                false => Ok(()),
            };
        }
        if let Some(array) = value.read_lock::<Array>() {
            size.elements += array.len();
            array.iter().try_for_each(|item| self.add(item, depth + 1, size, limits))
        } else if let Some(map) = value.read_lock::<Map>() {
            size.entries += map.len();
            map.values().try_for_each(|item| self.add(item, depth + 1, size, limits))
        } else if let Some(function) = value.read_lock::<FnPtr>() {
            function.iter_curry().try_for_each(|item| self.root(item, depth + 1, limits))
        } else {
            size.elements += value.read_lock::<Blob>().map_or(0, |blob| blob.len());
            Ok(())
        }
    }
}
