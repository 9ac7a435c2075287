//! Work divided over the cards that hold a model. Its pieces do not depend on how many cards there are, and what comes of one
//! does not depend on the card, so that results, their order and, of several errors, the one that is reported are the
//! same with one card and with many.

use super::asking::patch::{Edit, Patch};
use super::control::Control;
use super::error::Result;
use super::tracing::again::Wanted;
use super::walking::near::Near;
use crate::model::{Model, ModelError, Transformer};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Pieces a card may be ahead of the first that has not been taken, so that few results wait in memory.
const AHEAD: usize = 2;

/// The copies of the weights that share work: all, or the first alone where the work `asks` a script's closure, which is called
/// from the thread of the run, one time after the other.
pub fn copies(model: &Model, asks: bool) -> Vec<&Transformer> {
    model.copies().take(if asks { 1 } else { usize::MAX }).collect()
}

/// The same, each with what donors have recorded beside it.
pub fn near<'a>(model: &'a Model, asks: bool, donors: &Wanted) -> Result<Vec<Near<'a>>> {
    copies(model, asks).into_iter().map(|copy| Near::new(model, copy, donors)).collect()
}

/// Do patches ask a script's closure?
pub fn ask<'a>(mut patches: impl Iterator<Item = &'a Patch>) -> bool {
    patches.any(|patch| matches!(patch.edit, Edit::Func(_)))
}

/// Does all pieces of `work` and hands what comes of each to `take`, in their order. `begin` readies a copy of the weights
/// for its first piece. Several copies work on a thread each, and begin the next piece whenever they are free.
///
/// # Errors
/// Of the pieces that fail, the first.
pub fn divided<C: Send, S, T: Send>(
    copies: Vec<C>,
    pieces: usize,
    begin: impl Fn(C) -> Result<S> + Sync,
    work: impl Fn(&S, usize) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let one = |worker: &mut Worker<C, S>, piece: usize| {
        if let Some(copy) = worker.copy.take() {
            worker.begun = Some(begin(copy)?);
        }
        let unready = || ModelError::Tensor("a copy of the weights is not ready".into());
        work(worker.begun.as_ref().ok_or_else(unready)?, piece)
    };
    let sharing = copies.len().min(pieces);
    let mut copies = copies.into_iter();
    if sharing < 2 {
        let mut first = Worker { copy: copies.next(), begun: None };
        return (0..pieces).try_for_each(|piece| take(piece, one(&mut first, piece)?));
    }
    let board = Board::new(pieces, AHEAD * sharing);
    thread::scope(|scope| {
        let _over = Over(&board);
        for copy in copies.take(sharing) {
            let (board, one) = (&board, &one);
            let works = move || {
                let _lost = Lost(board);
                let mut worker = Worker { copy: Some(copy), begun: None };
                while let Some(piece) = board.next() {
                    board.put(piece, one(&mut worker, piece));
                }
            };
            thread::Builder::new()
                .spawn_scoped(scope, works)
                .map_err(|error| ModelError::Tensor(format!("cannot start a thread: {error}")))?;
        }
        (0..pieces).try_for_each(|piece| take(piece, board.take(piece)?))
    })
}

/// A copy of the weights until it is ready, and then what it is ready with.
struct Worker<C, S> {
    copy: Option<C>,
    begun: Option<S>,
}

/// Which pieces are done, and which may be begun.
struct Board<T> {
    pieces: usize,
    /// How many pieces after the first that is not taken may be begun.
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    next: usize,
    taken: usize,
    /// Nothing more shall be begun.
    over: bool,
    /// A piece will never be done.
    lost: bool,
    done: BTreeMap<usize, Result<T>>,
}

impl<T> Board<T> {
    fn new(pieces: usize, ahead: usize) -> Board<T> {
        let state = State { next: 0, taken: 0, over: false, lost: false, done: BTreeMap::new() };
        Board { pieces, ahead, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State<T>)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `ready` says what it waits for.
    fn wait<R>(&self, mut ready: impl FnMut(&mut State<T>) -> Option<R>) -> R {
        let mut state = self.lock();
        loop {
            match ready(&mut state) {
                Some(found) => return found,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The next piece to begin, if there is one.
    fn next(&self) -> Option<usize> {
        self.wait(|state| {
            if state.over || state.next == self.pieces {
                return Some(None);
            }
            let may = state.next < state.taken + self.ahead;
            may.then(|| {
                state.next += 1;
                Some(state.next - 1)
            })
        })
    }

    /// After one that failed none is begun: all before it have been.
    fn put(&self, piece: usize, done: Result<T>) {
        self.change(|state| {
            state.over |= done.is_err();
            state.done.insert(piece, done);
        });
    }

    /// What came of a piece, once it is done.
    fn take(&self, piece: usize) -> Result<T> {
        let found = self.wait(|state| match state.done.remove(&piece) {
            None if state.lost => Some(Err(ModelError::Tensor("work was lost".into()).into())),
            found => found,
        });
        self.change(|state| state.taken = piece + 1);
        found
    }
}

/// Ends the work when whoever takes its results goes.
struct Over<'a, T>(&'a Board<T>);

impl<T> Drop for Over<'_, T> {
    fn drop(&mut self) {
        self.0.change(|state| state.over = true);
    }
}

/// Ends it when a worker panics, which the scope then passes on.
struct Lost<'a, T>(&'a Board<T>);

impl<T> Drop for Lost<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.change(|state| (state.over, state.lost) = (true, true));
        }
    }
}

/// What all cards together have done.
pub struct Tally<'a> {
    control: &'a Control,
    done: Mutex<usize>,
    total: usize,
    /// What is reported: so many of a unit when all is done.
    shown: usize,
    unit: &'static str,
}

impl<'a> Tally<'a> {
    pub fn new(control: &'a Control, total: usize, shown: usize, unit: &'static str) -> Tally<'a> {
        Tally { control, done: Mutex::new(0), total: total.max(1), shown, unit }
    }

    /// So much more is done.
    pub fn add(&self, more: usize) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        *done += more;
        let shown = (self.shown as u128 * *done as u128 / self.total as u128) as usize;
        self.control.report(shown, self.shown, self.unit);
    }

    /// So much more need not be done, which the next report says.
    pub fn spare(&self, more: usize) {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LoadOptions, embedded};
    use crate::run::RunError;
    use candle_core::Device;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    fn model(copies: usize) -> Model {
        let options = LoadOptions { device: "cpu".into(), ..LoadOptions::default() };
        Model::load_on(embedded::ID, &options, vec![Device::Cpu; copies], None).unwrap()
    }

    /// The least even piece takes longest.
    fn slowly(piece: usize) -> usize {
        thread::sleep(Duration::from_millis(if piece.is_multiple_of(2) { 6 } else { 1 }));
        piece * piece
    }

    #[test]
    fn results_come_in_order_and_few_wait() {
        let model = model(3);
        let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut taken = Vec::new();
        let begin = |_: &Transformer| Ok(begun.fetch_add(1, Relaxed));
        let work = |_: &usize, piece| {
            done.fetch_add(1, Relaxed);
            Ok(slowly(piece))
        };
        let take = |piece: usize, square| {
            let waiting = done.load(Relaxed) - taken.len();
            assert!(waiting <= AHEAD * 3 + 1, "{waiting}");
            taken.push((piece, square));
            Ok(())
        };
        divided(copies(&model, false), 40, begin, work, take).unwrap();
        assert_eq!(taken, (0..40).map(|piece| (piece, piece * piece)).collect::<Vec<_>>());
        assert_eq!(begun.load(Relaxed), 3);
    }

    #[test]
    fn of_several_errors_the_first_is_reported() {
        let model = model(4);
        for copies in [copies(&model, true), copies(&model, false)] {
            let work = |_: &(), piece: usize| match slowly(piece) {
                // The later one is there sooner.
                _ if piece == 8 || piece == 9 => Err(RunError::Closure(piece.to_string())),
                square => Ok(square),
            };
            let mut taken = 0;
            let take = |_, _| {
                taken += 1;
                Ok(())
            };
            let refused = divided(copies, 30, |_| Ok(()), work, take).unwrap_err();
            assert_eq!((refused.to_string().as_str(), taken), ("8", 8));
        }
    }

    #[test]
    fn what_takes_may_refuse_and_nothing_need_be_done() {
        let model = model(2);
        let all = || copies(&model, false);
        let refuse = |piece, _| if piece == 3 { Err(RunError::NoCells) } else { Ok(()) };
        let refused = divided(all(), 30, |_| Ok(()), |_, piece| Ok(slowly(piece)), refuse);
        assert!(matches!(refused, Err(RunError::NoCells)));
        divided(all(), 0, |_| -> Result<()> { panic!("nothing to begin") }, |_, _| Ok(()), |_, _| Ok(()))
            .unwrap();
        let failed = divided(all(), 9, |_| Err::<(), _>(RunError::NoTraces), |_, _| Ok(()), |_, _| Ok(()));
        assert!(matches!(failed, Err(RunError::NoTraces)));
    }

    #[test]
    #[should_panic(expected = "scoped thread panicked")]
    fn a_panic_is_passed_on() {
        let work = |_: &(), piece| if piece == 5 { panic!("a worker") } else { Ok(slowly(piece)) };
        let two = model(2);
        _ = divided(copies(&two, false), 30, |_| Ok(()), work, |_, _| Ok(()));
    }

    #[test]
    fn closures_stay_on_the_thread_of_the_run() {
        let model = model(3);
        let own = thread::current().id();
        let work = |_: &(), _| Ok(thread::current().id() == own);
        for asks in [true, false] {
            let take = |_, here| {
                assert_eq!(here, asks);
                Ok(())
            };
            divided(copies(&model, asks), 9, |_| Ok(()), work, take).unwrap();
        }
    }

    #[test]
    fn a_tally_shows_its_share() {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let note = move |done: usize, total: usize, unit: &str| {
            log.lock().unwrap().push((done, total, unit.to_string()));
        };
        let control = Control { progress: Some(std::sync::Arc::new(note)), ..Control::default() };
        let tally = Tally::new(&control, 300, 10, "cells");
        tally.add(29);
        tally.spare(100);
        tally.add(171);
        let cells = |done| (done, 10, "cells".to_string());
        assert_eq!(*seen.lock().unwrap(), [cells(0), cells(10)]);
    }
}
