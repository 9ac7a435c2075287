//! `for item in progress(items, "label")`: a loop that shows how far it is.

use std::sync::Arc;

use rhai::{Array, Dynamic};

use super::model::grid;
use crate::script::api::Api;
use crate::script::context::Context;
use crate::script::error::ScriptResult;
use crate::script::held::Held;
use crate::script::progress::Progress;

/// Items to loop over under a bar.
#[derive(Clone)]
struct Counted {
    items: Held<Array>,
    label: String,
    context: Arc<Context>,
}

/// One loop; the bar goes when the loop ends, however it does.
struct Loop {
    items: std::vec::IntoIter<Dynamic>,
    bar: Progress,
    started: bool,
}

impl IntoIterator for Counted {
    type Item = Dynamic;
    type IntoIter = Loop;

    fn into_iter(self) -> Loop {
        let items = self.items.get().cloned().unwrap_or_default();
        let bar = self.context.progress(&self.label, items.len() as u64, "items");
        Loop { items: items.into_iter(), bar, started: false }
    }
}

impl Iterator for Loop {
    type Item = Dynamic;

    fn next(&mut self) -> Option<Dynamic> {
        // Asking for the next item says that the one before is done.
        if std::mem::replace(&mut self.started, true) {
            self.bar.advance(1);
        }
        self.items.next()
    }
}

/// Registers the function.
pub fn register(api: &mut Api) {
    api.ty::<Counted>("Progress", "items to loop over under a progress bar", |counted| {
        format!("Progress {}: {} items", counted.label, counted.items.get().map_or(0, Vec::len))
    });
    api.iterable::<Counted>();
    let context = api.context();
    api.function(
        "progress(items: array | range, label: string) -> Progress",
        "the items, to loop over with a bar on standard error that shows how many are done",
    )
    .example("let sum = 0; for n in progress([1, 2, 3], \"adding\") { sum += n; } sum", "6")
    .native(move |items: Dynamic, label: &str| -> ScriptResult<Counted> {
        Ok(Counted { items: Held::new(grid::axis(&items)?), label: label.into(), context: context.clone() })
    });
}
