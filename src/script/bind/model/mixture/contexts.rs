//! Which activations are most a component's own, and what was read there.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use rhai::{Array, Dynamic, Map, NativeCallContext};

use super::example::mixture;
use super::{Mfa, options};
use crate::analysis::mfa::strongest::{Aggregate, Own, Score};
use crate::data::rows::Rows;
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options};
use crate::script::bind::refusal;
use crate::script::error::{ScriptResult, fail};

/// Rows of every component that are looked for at once, so that asking for another component takes no second pass.
const KEPT: usize = 50;

impl Mfa {
    /// At least `most` of the strongest rows of every component, as far as there are so many.
    pub(super) fn strongest(
        &self,
        call: &NativeCallContext,
        score: Score,
        aggregate: Aggregate,
        most: usize,
    ) -> ScriptResult<Arc<Vec<Vec<Own>>>> {
        let acts = self.acts()?.inner.clone();
        let all = acts.len();
        let kept = || self.strongest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) =
            kept().get(&(score, aggregate)).filter(|(looked_for, _)| *looked_for >= most)
        {
            return Ok(found.clone());
        }
        let most = most.max(KEPT);
        let kinds = match aggregate {
            Aggregate::Occurrence => Vec::new(),
            _ => self.kinds()?,
        };
        let many = kinds.iter().max().map_or(0, |kind| *kind as usize + 1);
        let each = most.saturating_mul(size_of::<Own>()).saturating_add(many.saturating_mul(32));
        memory::reserve_many(self.inner.components(), each)?;
        let found = self.served(call, "reading", move |mfa, control| {
            mfa.strongest(&acts, score, aggregate, &kinds, most, |done| {
                control.report(done, all, "rows");
                control.check().is_ok()
            })
        })?;
        let found = Arc::new(found);
        kept().insert((score, aggregate), (most, found.clone()));
        Ok(found)
    }

    /// A number for what each row's token says: of two tokens that say the same, the same.
    fn kinds(&self) -> ScriptResult<Vec<u32>> {
        let acts = &self.acts()?.inner;
        memory::reserve_many(acts.len(), size_of::<u32>())?;
        let (mut of_token, mut of_text) = (BTreeMap::new(), BTreeMap::new());
        let mut kind = |token: u32| {
            *of_token.entry(token).or_insert_with(|| {
                let next = of_text.len() as u32;
                *of_text.entry(acts.text(&[token])).or_insert(next)
            })
        };
        Ok(acts.places().map(|place| kind(place.token())).collect())
    }
}

/// What `top_contexts` is asked for.
struct Asked {
    score: Score,
    aggregate: Aggregate,
}

impl Asked {
    fn read(map: Map) -> ScriptResult<Asked> {
        let mut options = options(map, "top_contexts");
        let score = choice(
            &mut options,
            "score",
            &[("likelihood", Score::Likelihood), ("posterior", Score::Posterior)],
        )?;
        let aggregate = choice(
            &mut options,
            "aggregate",
            &[("occurrence", Aggregate::Occurrence), ("max", Aggregate::Max), ("sum", Aggregate::Sum)],
        )?;
        options.finish()?;
        Ok(Asked { score, aggregate })
    }
}

/// What an option says, the first where it is not there.
fn choice<T: Copy>(options: &mut Options, name: &'static str, choices: &[(&str, T)]) -> ScriptResult<T> {
    let Some(given) = options.get_string(name)? else { return Ok(choices[0].1) };
    choices.iter().find(|(choice, _)| *choice == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(choice, _)| format!("`{choice}`")).collect();
        fail(format!("option `{name}`: no `{given}`")).help(format!("give {}", names.join(" or "))).into()
    })
}

/// Registers what shows a component by activations.
pub fn register(api: &mut Api) {
    api.method(
        "Mfa",
        "top_contexts(k: int, n: int, options?: map) -> array",
        "the n activations that are most component k's own, the strongest first: each as `acts.row(i)` tells it, its `row` \
         and `score`. Options: `score` (\"likelihood\": the log density under the component alone; \"posterior\": its \
         share), `aggregate` (\"occurrence\"; \"max\" or \"sum\" over all activations of a token)",
    )
    .example(
        mixture!("let top = mixture.top_contexts(1, 3); top.len() == 3 && top[0].score >= top[1].score && top[0].context != \"\""),
        "true",
    )
    .native(|call: NativeCallContext, mfa: &mut Mfa, k: i64, n: i64| contexts(&call, mfa, k, n, Map::new()))
    .native(|call: NativeCallContext, mfa: &mut Mfa, k: i64, n: i64, options: Map| {
        contexts(&call, mfa, k, n, options)
    });
    api.method(
        "Mfa",
        "sizes() -> array",
        "how many of its activations each component has: those with their largest share there",
    )
    .example(mixture!("sum(mixture.sizes()) == acts.len"), "true")
    .native(|call: NativeCallContext, mfa: &mut Mfa| -> ScriptResult<Array> {
        let rows: Arc<dyn Rows> = Arc::new(mfa.acts()?.inner.clone());
        let mut sizes = vec![0i64; mfa.inner.components()];
        mfa.assigned(&call, &rows)?.into_iter().for_each(|k| sizes[k as usize] += 1);
        Ok(sizes.into_iter().map(Dynamic::from).collect())
    });
}

fn contexts(call: &NativeCallContext, mfa: &Mfa, k: i64, n: i64, options: Map) -> ScriptResult<Array> {
    let (k, n) = (args::size(&k.into())?, args::size(&n.into())?);
    mfa.inner.mean(k).map_err(refusal::of)?;
    mfa.context.check_len(n)?;
    let Asked { score, aggregate } = Asked::read(options)?;
    let acts = mfa.acts()?;
    let found = mfa.strongest(call, score, aggregate, n)?;
    let entry = |own: &Own| {
        let mut map = acts.describe(own.row);
        map.insert("row".into(), (own.row as i64).into());
        map.insert("score".into(), own.score.into());
        Dynamic::from(map)
    };
    Ok(found[k].iter().take(n).map(entry).collect())
}
