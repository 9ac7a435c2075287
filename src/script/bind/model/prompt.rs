//! What counts as a prompt: a string, Tokens or an array of ids; an array of these is many prompts.

use rhai::Dynamic;

use super::loaded::Model;
use super::tokens::Tokens;
use crate::model::tokenizer::Bos;
use crate::model::{self, ModelError};
use crate::run;
use crate::script::args::{self, expected};
use crate::script::bind::refusal;
use crate::script::error::{ScriptResult, fail};

/// One prompt or several; results come back in the same form.
pub struct Prompts {
    pub tokens: Vec<run::Tokens>,
    many: bool,
}

impl Prompts {
    pub fn read(model: &Model, value: &Dynamic) -> ScriptResult<Self> {
        let many = value.read_lock::<rhai::Array>().is_some_and(|items| !items.iter().all(Dynamic::is_int));
        let tokens = match many {
            true => args::each(value, |item| {
                model.context.check_interrupt()?;
                one(model, item)
            })?,
            false => vec![one(model, value)?],
        };
        Ok(Self { tokens, many })
    }

    /// One result a prompt: alone for one prompt, as an array for several.
    pub fn wrap(&self, mut results: Vec<Dynamic>) -> Dynamic {
        match results.pop() {
            Some(result) if !self.many => result,
            last => {
                results.extend(last);
                results.into()
            }
        }
    }

    /// Does one list that `with_lists` reads go to several prompts?
    pub fn share(&self, value: &Dynamic) -> bool {
        self.tokens.len() > 1 && !self.nested(value)
    }

    fn nested(&self, value: &Dynamic) -> bool {
        self.many && value.read_lock::<rhai::Array>().is_some_and(|items| items.iter().any(Dynamic::is_array))
    }

    /// Pairs every prompt with its list: one list for all, or one list a prompt.
    pub fn with_lists<T: Clone>(
        &self,
        value: &Dynamic,
        list: impl Fn(&Dynamic) -> ScriptResult<Vec<T>>,
    ) -> ScriptResult<Vec<(run::Tokens, Vec<T>)>> {
        let lists = match self.nested(value) {
            true => args::each(value, list)?,
            false => vec![list(value)?; self.tokens.len()],
        };
        if lists.len() != self.tokens.len() {
            let (prompts, lists) = (self.tokens.len(), lists.len());
            return Err(fail(format!("{lists} patch lists for {prompts} prompts"))
                .help("give one list for all prompts, or one list a prompt")
                .into());
        }
        Ok(self.tokens.iter().cloned().zip(lists).collect())
    }
}

/// Exactly one prompt.
pub fn one(model: &Model, value: &Dynamic) -> ScriptResult<run::Tokens> {
    if let Some(tokens) = value.read_lock::<Tokens>() {
        return Ok(tokens.inner.clone());
    }
    if value.is_string() {
        return text(model, args::string(value)?, Bos::Auto, true);
    }
    if value.read_lock::<rhai::Array>().is_some_and(|items| items.iter().all(Dynamic::is_int)) {
        let ids = ids(&model.inner, value)?;
        return long(model, ids.len(), move |model| Ok(from_ids(model, ids)));
    }
    Err(expected("a prompt: a string, Tokens or an array of ids", value).into())
}

/// Encodes a text.
pub fn text(model: &Model, text: String, bos: Bos, special: bool) -> ScriptResult<run::Tokens> {
    long(model, text.len(), move |model| {
        let ids = model.tokenizer()?.encode(&text, bos, special)?;
        Ok(from_ids(model, ids))
    })
}

/// Bytes of a text, or tokens, that are dealt with while the script waits.
const SHORT: usize = 1 << 14;

/// What may take long where `len` is large.
pub fn long<T: Send + 'static>(
    model: &Model,
    len: usize,
    work: impl FnOnce(&model::Model) -> model::Result<T> + Send + 'static,
) -> ScriptResult<T> {
    let inner = model.inner.clone();
    let result = if len <= SHORT { work(&inner) } else { model.context.apart(move || work(&inner))? };
    result.map_err(refusal::model)
}

/// Ids with each one's text.
fn from_ids(model: &model::Model, ids: Vec<u32>) -> run::Tokens {
    let pieces = model.pieces(&ids);
    run::Tokens::new(ids, pieces)
}

/// An id, or an array of ids, of the model's vocabulary.
pub fn ids(model: &model::Model, value: &Dynamic) -> ScriptResult<Vec<u32>> {
    match value.is_array() {
        true => args::each(value, |item| id(model, item)),
        false => Ok(vec![id(model, value)?]),
    }
}

pub fn id(model: &model::Model, value: &Dynamic) -> ScriptResult<u32> {
    let int = args::int(value)?;
    let d_vocab = model.config().d_vocab;
    match u32::try_from(int) {
        Ok(id) if (id as usize) < d_vocab => Ok(id),
        Ok(id) => Err(refusal::model(ModelError::BadToken { id, d_vocab })),
        Err(_) => Err(fail(format!("{int} is no token id: ids count from 0 to {}", d_vocab - 1)).into()),
    }
}
