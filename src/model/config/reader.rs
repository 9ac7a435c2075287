//! Reads keys of a JSON object and remembers which, so that no key goes unread.

use crate::model::error::{ModelError, Result};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Keys of `config.json` that touch no forward pass, in any family.
const HARMLESS: &[&str] = &[
    "architectures",
    "_attn_implementation_autoset",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "initializer_range",
    "label2id",
    "model_type",
    "name_or_path",
    "_model_name_or_path",
    "_name_or_path",
    "output_past",
    "pad_token_id",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "transformers.js_config",
    "unk_token_id",
    "unsloth_fixed",
    "use_cache",
];

/// No size of a model is beyond this, so that products of two, summed over all tensors, fit 64 bits.
pub const LARGEST: usize = 1 << 24;

pub struct Reader<'a> {
    map: &'a Map<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub fn new(map: &'a Map<String, Value>) -> Reader<'a> {
        Reader { map, used: RefCell::default() }
    }

    /// The value at `key`; `null` counts as absent, as in transformers.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.used.borrow_mut().insert(key.into());
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub fn bad(&self, key: &str, expected: &'static str) -> ModelError {
        let found = self.map.get(key).map_or("absent".into(), |value| format!("`{value}`"));
        ModelError::BadKey { key: key.into(), expected, found }
    }

    fn need(&self, key: &str) -> Result<&'a Value> {
        self.get(key).ok_or_else(|| ModelError::MissingKey(key.into()))
    }

    /// A size or a count.
    pub fn size(&self, key: &str) -> Result<usize> {
        let size = self.need(key)?.as_u64().map(|size| size as usize);
        size.filter(|size| (1..=LARGEST).contains(size))
            .ok_or_else(|| self.bad(key, "a whole number from 1 to 16777216"))
    }

    pub fn optional_size(&self, key: &str) -> Result<Option<usize>> {
        self.get(key).map(|_| self.size(key)).transpose()
    }

    /// A number above 0.
    pub fn positive(&self, key: &str) -> Result<f64> {
        let number = self.need(key)?.as_f64().filter(|number| *number > 0.0);
        number.ok_or_else(|| self.bad(key, "a number above 0"))
    }

    pub fn optional_positive(&self, key: &str) -> Result<Option<f64>> {
        self.get(key).map(|_| self.positive(key)).transpose()
    }

    /// The same of a key that must be written down, be it as `null`.
    pub fn stated_positive(&self, key: &str) -> Result<Option<f64>> {
        if !self.map.contains_key(key) {
            return Err(ModelError::MissingKey(key.into()));
        }
        self.optional_positive(key)
    }

    pub fn str(&self, key: &str) -> Result<&'a str> {
        self.need(key)?.as_str().ok_or_else(|| self.bad(key, "a string"))
    }

    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    pub fn object(&self, key: &str) -> Result<Option<&'a Map<String, Value>>> {
        self.get(key).map(|value| value.as_object().ok_or_else(|| self.bad(key, "an object"))).transpose()
    }

    pub fn array(&self, key: &str) -> Result<Option<&'a Vec<Value>>> {
        self.get(key).map(|value| value.as_array().ok_or_else(|| self.bad(key, "an array"))).transpose()
    }

    /// # Errors
    /// A key of `fixed` that holds another value.
    pub fn expect(&self, fixed: &[(&str, &str)]) -> Result<()> {
        for (key, value) in fixed {
            if let Some(found) = self.get(key)
                && found != &serde_json::from_str::<Value>(value).unwrap_or(json!(value))
            {
                return Err(ModelError::UnknownKey { key: (*key).into(), value: format!("`{found}`") });
            }
        }
        Ok(())
    }

    /// # Errors
    /// A key that nobody read and that is not known to be harmless.
    pub fn refuse_unread(&self, harmless: &[&str]) -> Result<()> {
        let used = self.used.borrow();
        for (key, value) in self.map {
            let known =
                used.contains(key) || HARMLESS.contains(&key.as_str()) || harmless.contains(&key.as_str());
            if !known && !value.is_null() {
                return Err(ModelError::UnknownKey { key: key.clone(), value: format!("`{value}`") });
            }
        }
        Ok(())
    }
}
