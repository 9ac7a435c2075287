//! What a refused run can do about it.

use crate::help::Help;
use crate::run::RunError;

impl Help for RunError {
    fn help(&self) -> Option<String> {
        let listing = |tokens: &[String]| {
            let shown: Vec<_> = tokens.iter().take(40).map(|t| format!("`{t}`")).collect();
            let more = if tokens.len() > 40 { " …" } else { "" };
            Some(format!("the tokens are {}{more}", shown.join(" ")))
        };
        match self {
            RunError::Model(e) => e.help(),
            RunError::UnknownSite { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            RunError::UnknownSite { nearest: None, .. } => Some(
                "a site is a name and a layer, like `resid_post.4`, `z.9.6` (layer.head) or `mlp_post.12.8526` (layer.neuron)"
                    .into(),
            ),
            RunError::AmbiguousSite { meanings, .. } => {
                let sites: Vec<_> = meanings.iter().map(|(site, _)| format!("`{site}`")).collect();
                Some(format!("write the one that is meant: {}", sites.join(" or ")))
            }
            RunError::ManySites { text } => Some(format!(
                "write one, like `resid_post.0`; several are recorded by `m.trace(prompt, \"{text}\")`"
            )),
            RunError::NeedsLayer { site } => Some(format!("write `{site}.0`, or call `{site}(0)`")),
            RunError::TakesNoLayer { site } => Some(format!("write `{site}`")),
            RunError::LayerRange { n_layers, .. } => Some(format!("layers count from 0 to {}", n_layers.saturating_sub(1))),
            RunError::HeadRange { head, heads, shared: Some(shared), .. } => Some(format!(
                "{shared} query heads share one head of keys and values: query head {head} reads head {}; these count from 0 to {}",
                head / shared,
                heads.saturating_sub(1)
            )),
            RunError::HeadRange { heads, .. } => Some(format!("heads count from 0 to {}", heads.saturating_sub(1))),
            RunError::NeuronRange { width, .. } => Some(format!("neurons count from 0 to {}", width.saturating_sub(1))),
            RunError::PosRange { len: 0, .. } => Some("give a prompt of a token at least".into()),
            RunError::PosRange { len: 1, .. } => Some("the only position is 0".into()),
            RunError::PosRange { len, .. } => {
                Some(format!("positions count from 0 to {}, or from the end with -1 to -{len}", len - 1))
            }
            RunError::NoHeads { .. } => Some("sites with heads: `q k v rot_q rot_k attn_scores pattern z result`".into()),
            RunError::Transcoder { .. } => Some(
                "read them, and put what they should become at the output: `sae.writes.set(sae.decode(f, x))`".into(),
            ),
            RunError::Sae(error) => error.help(),
            RunError::NoNeurons { .. } => Some("sites with neurons: `mlp_pre`, `mlp_post`".into()),
            RunError::TokenNotFound { tokens, .. } | RunError::SpanNotFound { tokens, .. } => listing(tokens),
            RunError::ValueShape { want, found, .. } if found.is_empty() => {
                let width = want.last().copied().unwrap_or(1);
                Some(format!("give a vector, like `zeros([{width}]) + 1.0`; for 0 there is `.zero()`"))
            }
            RunError::ValueShape { want, found, .. } if found.len() == 1 && want.last() != found.last() => {
                let (found, want) = (found[0], want.last().copied().unwrap_or(1));
                Some(format!("it is of a site with {found} numbers a position: patch one of those, or give {want} numbers"))
            }
            RunError::ValueShape { .. } => {
                Some("give a tensor of the selected shape, or one position's vector for all of them".into())
            }
            RunError::TraceLength { .. } => Some(
                "narrow the site to positions that both have, with `.at(…)`, or align the prompts with `.pad_left(…)`".into(),
            ),
            RunError::FeatureOverlap { .. } => Some(
                "what one feature becomes changes the next: give them as one site, `sae.site().features([…])`".into(),
            ),
            RunError::Overlap { .. } => {
                Some("patches are a set without order: write both changes as one `.edit(|x| …)`".into())
            }
            RunError::Vocabularies { .. } => Some("compare two runs of one model".into()),
            RunError::NeverFired { .. } => Some(
                "its `.steps(…)` name new tokens that no run read: generate more of them, drop `.steps(…)`, or add `.allow_noop()` if that may happen"
                    .into(),
            ),
            RunError::Noop { .. } => Some(
                "the value equals what the run has there already; if that is meant, add `.allow_noop()` to the patch".into(),
            ),
            RunError::GeneratedPos { .. } => {
                Some("drop `.at(…)` from a patch with `.steps(\"generated\")`: it applies to each new token".into())
            }
            RunError::MetricSet { .. } => Some("use `logprob_diff(a, b)`, which sums probabilities over sets".into()),
            RunError::LossEnding { last, .. } => {
                Some(format!("the prompt ends in `{}`; put what the loss is of at its end", last.join("` `")))
            }
            RunError::NoLossTokens => Some("name at least one token, and write what comes before it into the prompt".into()),
            RunError::InPrompt { one_list: true, error, .. } if error.is_of_patches() => Some(format!(
                "every prompt got this list; for a list each write one array a prompt: `[[…], […]]`{}",
                error.help().map_or(String::new(), |help| format!("; else: {help}"))
            )),
            RunError::InPrompt { error, .. } => error.help(),
            RunError::Donor { site, error } => {
                let help = error.help().map_or(String::new(), |help| format!("; {help}"));
                let site = site.split(" at ").next().unwrap_or_default();
                Some(format!(
                    "a position is looked up in the donor too; to read another one there, write `.set(donor[site(\"{site}\").at(…)])`{help}"
                ))
            }
            RunError::Full(full) => full.help(),
            RunError::NoChoice { patches, .. } if !patches.is_empty() => Some(format!(
                "activations overflowed, or a patch brought NaN: look at the values of the patches on `{}`",
                patches.join("`, `")
            )),
            RunError::NoChoice { .. } => Some("activations overflowed: look at the model's weights and dtype".into()),
            RunError::NanLogits { .. } => Some(
                "activations overflowed, or a patch brought NaN: look at the patches' values, and at `trace.last` of the \
                 same run"
                    .into(),
            ),
            RunError::NanMetric { metric: "closure" } => {
                Some("see what it divides by, or takes the logarithm of".into())
            }
            RunError::NanMetric { .. } => Some("it compares infinite logits: look at `trace.last`".into()),
            RunError::NothingToRecover { .. } => {
                Some("check that the two prompts differ and that the metric tells them apart".into())
            }
            RunError::SweepSteps { .. } => Some("drop `.steps(…)`, or use `generate`".into()),
            _ => None,
        }
    }
}
