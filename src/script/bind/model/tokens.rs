//! Tokens: a prompt as ids and texts.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use rhai::{Array, Dynamic};

use super::prompt;
use crate::model::Model;
use crate::run;
use crate::script::api::Api;
use crate::script::bind::refusal;
use crate::script::draw;
use crate::script::error::{ScriptResult, fail};

/// Tokens of one model.
#[derive(Clone)]
pub struct Tokens {
    pub inner: run::Tokens,
    pub model: Arc<Model>,
}

/// Texts shown before the rest is only counted.
const MAX_SHOWN: usize = 40;

impl Tokens {
    fn show(&self) -> String {
        let mut texts: Vec<_> = self.inner.texts().iter().take(MAX_SHOWN).map(|t| format!("{t:?}")).collect();
        if self.inner.len() > MAX_SHOWN {
            texts.push(format!("… {} more", self.inner.len() - MAX_SHOWN));
        }
        format!("Tokens[{}]", texts.join(", "))
    }

    /// A table of positions.
    fn picture(&self) -> String {
        let (ids, texts) = (self.inner.ids(), self.inner.texts());
        let row = |at: usize| vec![at.to_string(), format!("{:?}", texts[at]), ids[at].to_string()];
        draw::rows_of(&["pos", "token", "id"].map(String::from), self.inner.len(), row)
    }

    fn slice(&self, from: i64, to: i64) -> ScriptResult<Self> {
        let rows = run::Pos::Range(from, to).resolve(&self.inner).map_err(refusal::run)?;
        let range = rows.first().map_or(0..0, |first| *first..first + rows.len());
        Ok(Self { inner: self.inner.slice(range), model: self.model.clone() })
    }
}

fn ints(values: impl IntoIterator<Item = usize>) -> Array {
    values.into_iter().map(|i| Dynamic::from(i as i64)).collect()
}

/// Registers Tokens.
pub fn register(api: &mut Api) {
    api.ty::<Tokens>("Tokens", "a prompt as token ids and each token's text", Tokens::show);
    api.pictured(|tokens: &Tokens| Some(tokens.picture()));
    fields(api);
    finding(api);
    api.method(
        "Tokens",
        "first_diff(other: Tokens) -> int",
        "the first position at which two prompts differ",
    )
    .example("let m = load(); m.tokens(\" John gave\").first_diff(m.tokens(\" Mary gave\"))", "1")
    .native(|tokens: &mut Tokens, other: Tokens| -> ScriptResult<i64> {
        let first = tokens.inner.first_diff(&other.inner);
        let first = first.ok_or_else(|| {
            fail("the two prompts are the same").help("compare prompts that differ somewhere")
        })?;
        Ok(first as i64)
    });
    api.method(
        "Tokens",
        "pad_left(len: int, id: int) -> Tokens",
        "copies of `id` in front, up to `len` tokens in all; the model reads them like any token",
    )
    .example(
        "load().tokens(\" John gave\").pad_left(4, 0)",
        "Tokens[\"<|pad|>\", \"<|bos|>\", \" John\", \" gave\"]",
    )
    .native(|tokens: &mut Tokens, len: i64, id: i64| -> ScriptResult<Tokens> {
        let id = prompt::id(&tokens.model, &id.into())?;
        let n_ctx = tokens.model.config().n_ctx;
        let len = usize::try_from(len).ok().filter(|len| *len <= n_ctx);
        let len = len.ok_or_else(|| fail(format!("a prompt of this model has 0 to {n_ctx} tokens")))?;
        let text = tokens.model.texts(&[id]).concat();
        Ok(Tokens { inner: tokens.inner.pad_left(len, id, &text), model: tokens.model.clone() })
    });
}

fn fields(api: &mut Api) {
    api.getter("Tokens", "ids -> array", "the token ids")
        .example("load().tokens(\" John gave\").ids", "[1, 1392, 1095]")
        .native(|tokens: &mut Tokens| ints(tokens.inner.ids().iter().map(|id| *id as usize)));
    api.getter("Tokens", "texts -> array", "each token's text")
        .example("load().tokens(\" John gave\").texts", "[\"<|bos|>\", \" John\", \" gave\"]")
        .native(|tokens: &mut Tokens| -> Array {
            tokens.inner.texts().iter().map(|text| text.clone().into()).collect()
        });
    api.getter("Tokens", "len -> int", "how many tokens")
        .example("load().tokens(\" John gave\").len", "3")
        .native(|tokens: &mut Tokens| tokens.inner.len() as i64);
    api.indexer("Tokens", "[position: int] -> int", "the id at a position, negative from the end")
        .example("load().tokens(\" John gave\")[-1]", "1095")
        .native(|tokens: &mut Tokens, position: i64| -> ScriptResult<i64> {
            let index = tokens.inner.position(position).map_err(refusal::run)?;
            Ok(i64::from(tokens.inner.ids()[index]))
        });
    api.indexer("Tokens", "[positions: range] -> Tokens", "a part of the prompt")
        .example("load().tokens(\" John gave Mary\")[1..3]", "Tokens[\" John\", \" gave\"]")
        .native(|tokens: &mut Tokens, range: Range<i64>| tokens.slice(range.start, range.end))
        .native(|tokens: &mut Tokens, range: RangeInclusive<i64>| {
            tokens.slice(*range.start(), range.end().saturating_add(1))
        });
}

fn finding(api: &mut Api) {
    api.method("Tokens", "find(text: string) -> int", "the first position whose token contains the text")
        .example("load().tokens(\" John gave Mary half\").find(\"Mary\")", "3")
        .native(|tokens: &mut Tokens, text: &str| -> ScriptResult<i64> {
            Ok(tokens.inner.find(text).map_err(refusal::run)? as i64)
        });
    api.method("Tokens", "find_last(text: string) -> int", "the last position whose token contains the text")
        .example("load().tokens(\" John and John\").find_last(\"John\")", "3")
        .native(|tokens: &mut Tokens, text: &str| -> ScriptResult<i64> {
            Ok(tokens.inner.find_last(text).map_err(refusal::run)? as i64)
        });
    api.method(
        "Tokens",
        "find_all(text: string) -> array",
        "all positions whose token contains the text; a text with a character that is split over tokens is in all of \
         these",
    )
        .example("load().tokens(\" John and John\").find_all(\"John\")", "[1, 3]")
        .native(|tokens: &mut Tokens, text: &str| ints(tokens.inner.find_all(text)));
    api.method("Tokens", "span(text: string) -> range", "the positions of the tokens that cover the text")
        .example("load().tokens(\" John gave Mary\").span(\"gave Mary\")", "2..4")
        .native(|tokens: &mut Tokens, text: &str| -> ScriptResult<Range<i64>> {
            let span = tokens.inner.span(text).map_err(refusal::run)?;
            Ok(span.start as i64..span.end as i64)
        });
}
