//! Runs, and a script's closures inside them.
//!
//! Only the script's thread has the engine, so a run works on a thread of its own. Where it needs a closure it
//! asks the script's thread, which waits for such questions until the run is over, and looks meanwhile whether the
//! script has to stop. Work that does not stop at once is then left behind: it ends at its next layer, or with the
//! process.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult, FnPtr, NativeCallContext};

use super::refusal;
use super::tensor::Tensor;
use crate::run::metric::MetricFn;
use crate::run::patch::EditFn;
use crate::run::{self, Control};
use crate::script::args::{self, expected};
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};
use crate::script::held::Held;

/// What a run asks the script's thread.
struct Question {
    function: FnPtr,
    argument: Dynamic,
    answer: Sender<Option<Dynamic>>,
}

thread_local! {
    /// Where the run on this thread asks.
    static SCRIPT: RefCell<Option<Sender<Question>>> = const { RefCell::new(None) };
}

/// How often the script's thread looks whether it has to stop.
const LOOK: Duration = Duration::from_millis(20);

/// How long work that has to stop is waited for.
const GRACE: Duration = Duration::from_millis(100);

/// Does the work of a run, and meanwhile calls the closures that it needs. An error inside a closure ends the
/// run and comes out with its own position.
pub fn serve<T: Send + 'static>(
    call: &NativeCallContext,
    context: &Context,
    control: Control,
    work: impl FnOnce(&Control) -> run::Result<T> + Send + 'static,
) -> ScriptResult<T> {
    let mut refused: Option<Box<EvalAltResult>> = None;
    let mut answer = |function: FnPtr, argument: Dynamic| {
        function.call_within_context(call, (argument,)).map_err(|error| refused.get_or_insert(error)).ok()
    };
    let stop = control.interrupted.clone();
    let (ask, questions) = channel::<Question>();
    let worker = thread::Builder::new().spawn(move || {
        SCRIPT.set(Some(ask));
        let result = work(&control);
        SCRIPT.take();
        result
    });
    let worker = worker.map_err(|error| fail(format!("cannot start a thread: {error}")))?;
    loop {
        match questions.recv_timeout(LOOK) {
            // A worker that gave up needs no answer.
            Ok(question) => drop(question.answer.send(answer(question.function, question.argument))),
            Err(RecvTimeoutError::Timeout) => {
                if let Err(stopped) = context.check_interrupt() {
                    stop.store(true, Ordering::Relaxed);
                    // Whatever it asks now is not answered.
                    while questions.recv_timeout(GRACE).is_ok() {}
                    return Err(stopped);
                }
            }
            // The worker has dropped its end.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let result = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match refused {
        Some(error) => Err(error),
        None => result.map_err(refusal::run),
    }
}

/// Calls a closure from the thread of a run.
fn ask(function: &Held<FnPtr>, argument: Dynamic) -> Result<Dynamic, String> {
    let failed = || "a closure of the script failed".to_string();
    let function = function.get().ok_or_else(failed)?;
    let script = SCRIPT.with_borrow(Clone::clone).ok_or_else(failed)?;
    let (answer, received) = channel();
    let question = Question { function: function.clone(), argument, answer };
    script.send(question).map_err(|_| failed())?;
    received.recv().ok().flatten().ok_or_else(failed)
}

/// `|x| …` of a patch.
pub fn edit(context: &Arc<Context>, function: FnPtr) -> EditFn {
    let (context, function) = (context.clone(), Held::new(function));
    Arc::new(move |x| {
        let x = Tensor::new(&context, x).map_err(|error| error.to_string())?;
        let new = ask(&function, Dynamic::from(x))?;
        match new.read_lock::<Tensor>() {
            Some(tensor) => Ok(tensor.inner().clone()),
            None => Err(format!("the closure of `edit`: {}", expected("a Tensor", &new))),
        }
    })
}

/// `|logits| …` of a metric; it sees the last position's logits, `[d_vocab]`.
pub fn metric(context: &Arc<Context>, function: FnPtr) -> MetricFn {
    let (context, function) = (context.clone(), Held::new(function));
    Arc::new(move |logits| {
        let logits =
            candle_core::Tensor::new(logits, &candle_core::Device::Cpu).map_err(|e| e.to_string())?;
        let logits = Tensor::new(&context, logits).map_err(|error| error.to_string())?;
        let value = ask(&function, Dynamic::from(logits))?;
        args::number(&value).map_err(|_| format!("the closure of a metric: {}", expected("a number", &value)))
    })
}
