//! What every native function goes through: a panic in it, or more memory than the script may hold after it, is an error
//! at its call.

use std::sync::Arc;

use rhai::{Dynamic, NativeCallContext, RhaiFunc};

use super::context::Context;
use super::error::{Failure, ScriptResult};
use super::panics;
use crate::memory;

/// The engine's own name of this type is private.
type Native =
    Arc<dyn Fn(Option<NativeCallContext>, &mut [&mut Dynamic]) -> ScriptResult<Dynamic> + Send + Sync>;

/// The same function behind the gate, which notes in `run` where it is called.
pub fn guarded(function: RhaiFunc, run: &Arc<Context>) -> RhaiFunc {
    match function {
        RhaiFunc::Pure { func, is_pure, is_volatile, .. } => {
            RhaiFunc::Pure { func: behind(func, run.clone()), has_context: true, is_pure, is_volatile }
        }
        RhaiFunc::Method { func, is_pure, is_volatile, .. } => {
            RhaiFunc::Method { func: behind(func, run.clone()), has_context: true, is_pure, is_volatile }
        }
        other => other,
    }
}

fn behind(function: Native, run: Arc<Context>) -> Native {
    Arc::new(move |call, args| {
        if let Some(call) = &call {
            run.note_call(call.call_position(), call.call_source());
        }
        // Functions that want no context do not look at it.
        let value = panics::caught(|| function(call, args)).unwrap_or_else(|panic| Err(panic.into()))?;
        match memory::limit::over() {
            Some(full) => Err(Failure::from(full).into()),
            None => Ok(value),
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::script::api::Api;
    use crate::script::{Context, Failure};
    use rhai::{Engine, EvalAltResult};

    #[test]
    fn a_panic_is_an_error_at_the_call() {
        let mut engine = Engine::new();
        let mut api = Api::new(&mut engine, Context::default().into());
        api.function("burst(x: int) -> int", "panics").native(|x: i64| -> i64 { panic!("no {x}") });
        api.finish();
        let error = engine.eval::<i64>("let a = 1;\nburst(a)").unwrap_err();
        assert_eq!(error.position().line(), Some(2));
        let EvalAltResult::ErrorRuntime(payload, _) = *error else { panic!("{error:?}") };
        assert!(payload.cast::<Failure>().message.starts_with("internal error: no 1"));
    }
}
