//! Generations: the new tokens after a prompt.

use std::sync::Arc;

use rhai::{Array, Dynamic};

use super::tokens::Tokens;
use super::{site, trace};
use crate::model::Model;
use crate::run::{Site, generate};
use crate::script::api::Api;
use crate::script::bind::tensor::Tensor;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// New tokens of one prompt.
#[derive(Clone)]
pub struct Generation {
    pub inner: Arc<generate::Generation>,
    pub model: Arc<Model>,
    pub context: Arc<Context>,
}

/// The watched activations of a generation.
#[derive(Clone)]
struct Watched(Generation);

impl Watched {
    fn sites(&self) -> impl Iterator<Item = &Site> {
        self.0.inner.watched.iter().map(|(site, _)| site)
    }

    /// The place of a site in the list of what was watched.
    fn index(&self, site: &Site) -> ScriptResult<usize> {
        self.sites().position(|watched| watched == site).ok_or_else(|| {
            let watched: Vec<_> = self.sites().map(|site| format!("`{site}`")).collect();
            let help = match watched.is_empty() {
                true => format!("ask for it: `watch: [site(\"{site}\")]`"),
                false => format!("watched are {}", watched.join(", ")),
            };
            fail(format!("`{site}` was not watched")).help(help).into()
        })
    }

    fn prompt(&self, site: &Site) -> ScriptResult<Tensor> {
        let index = self.index(site)?;
        Tensor::new(&self.0.context, self.0.inner.watched[index].1.clone())
    }

    fn steps(&self, site: &Site) -> ScriptResult<Array> {
        let index = self.index(site)?;
        let rows = self.0.inner.watched_steps[index].1.iter();
        rows.map(|row| Tensor::new(&self.0.context, row.clone()).map(Dynamic::from)).collect()
    }
}

/// Registers Generation.
pub fn register(api: &mut Api) {
    api.ty::<Generation>("Generation", "the new tokens after a prompt", |g| {
        format!("Generation({:?})", g.inner.text)
    });
    api.getter("Generation", "text -> string", "the new text, without special tokens")
        .example("load().generate(\" John gave\", #{max_new_tokens: 3}).text.len() > 0", "true")
        .native(|g: &mut Generation| g.inner.text.clone());
    api.getter("Generation", "ids -> array", "the new ids, with the end token if one ended it")
        .example("load().generate(\" John gave\", #{max_new_tokens: 3}).ids.len", "3")
        .native(|g: &mut Generation| -> Array {
            g.inner.ids.iter().map(|id| Dynamic::from(i64::from(*id))).collect()
        });
    api.getter("Generation", "tokens -> Tokens", "the new tokens")
        .example("load().generate(\" John gave\", #{max_new_tokens: 3}).tokens.len", "3")
        .native(|g: &mut Generation| Tokens { inner: g.inner.tokens.clone(), model: g.model.clone() });
    api.getter("Generation", "logprobs -> Tensor", "the log-probability of each new token, in nats")
        .example("load().generate(\" John gave\", #{max_new_tokens: 3}).logprobs.shape", "[3]")
        .native(|g: &mut Generation| -> ScriptResult<Tensor> {
            let logprobs = candle_core::Tensor::new(g.inner.logprobs.as_slice(), &candle_core::Device::Cpu);
            Tensor::new(&g.context, logprobs.map_err(crate::script::bind::tensor::refused)?)
        });
    api.getter(
        "Generation",
        "finish -> string",
        "why it ended: \"end\" (of sequence), \"stop\" (a stop text), \"length\"",
    )
    .example("load().generate(\" John gave\", #{max_new_tokens: 3}).finish", "\"length\"")
    .native(|g: &mut Generation| g.inner.finish.name());
    api.getter("Generation", "ledger -> array", "what each patch did: `patch`, times `fired`, `max_change`")
        .example(
            "let steer = resid_post(1).scale(2.0).steps(\"all\"); \
             load().generate(\" John gave\", #{max_new_tokens: 3, patches: steer}).ledger[0].fired",
            "3",
        )
        .native(|g: &mut Generation| trace::ledger(&g.inner.ledger));
    watched(api);
}

fn watched(api: &mut Api) {
    api.ty::<Watched>("Watched", "the watched activations of a generation", |watched| {
        let sites: Vec<_> = watched.sites().map(ToString::to_string).collect();
        format!("Watched[{}]", sites.join(", "))
    });
    api.getter("Generation", "watched -> Watched", "the activations named by `watch`, by site")
        .example(
            "load().generate(\" John gave\", #{max_new_tokens: 3, watch: \"z.1.2\"}).watched",
            "Watched[z.1.2]",
        )
        .native(|g: &mut Generation| Watched(g.clone()));
    api.indexer("Watched", "[site: Site] -> Tensor", "the activation at the prompt's positions")
        .example(
            "load().generate(\" John gave\", #{max_new_tokens: 3, watch: [\"z.1.2\"]}).watched[\"z.1.2\"].shape",
            "[3, 32]",
        )
        .native(|watched: &mut Watched, site: Site| watched.prompt(&site))
        .native(|watched: &mut Watched, name: &str| -> ScriptResult<Tensor> {
            watched.prompt(&site::read(&name.into())?)
        });
    api.method("Watched", "steps(site: any) -> array", "the activation at each new token that was read again")
        .example(
            "load().generate(\" John gave\", #{max_new_tokens: 3, watch: z(1)}).watched.steps(z(1)).map(|x| x.shape)",
            "[[8, 32], [8, 32]]",
        )
        .native(|watched: &mut Watched, site: Dynamic| watched.steps(&site::read(&site)?));
}
