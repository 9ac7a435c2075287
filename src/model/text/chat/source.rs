//! Where a model's files keep its chat template, and the special tokens that templates print.

use std::path::Path;

use serde_json::Value as Json;

use super::percent;
use super::{ChatError, ChatTemplate, Result, SpecialTokens};
use crate::model::gguf::{Gguf, optional};
use crate::model::tokenizer::{read_json, read_text};

/// The roles that transformers hands to a template, and llama.cpp's names for them.
pub(super) const ROLES: [(&str, &str); 7] = [
    ("bos_token", "bos"),
    ("eos_token", "eos"),
    ("unk_token", "unknown"),
    ("sep_token", "seperator"),
    ("pad_token", "padding"),
    ("cls_token", "cls"),
    ("mask_token", "mask"),
];

impl ChatTemplate {
    /// The folder's `chat_template.jinja`, else `chat_template` in `tokenizer_config.json` (a text, or a list of named
    /// ones, of which `default` counts), else in `chat_template.json`; `None` if it has none of them.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>> {
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        let path = folder.join("chat_template.jinja");
        let source = match read_text(&path)? {
            Some(source) => Some(source),
            None => match in_json(&config)? {
                Some(source) => Some(source),
                None => in_json(&read_json(&folder.join("chat_template.json"))?)?,
            },
        };
        // As transformers does: the older file only counts beside an older configuration.
        let older = match config.get("added_tokens_decoder") {
            Some(_) => Json::Null,
            None => read_json(&folder.join("special_tokens_map.json"))?,
        };
        source.map(|source| Self::with_tokens_of(&source, &[older, config])).transpose()
    }

    /// `chat_template` of a `tokenizer_config.json`; `None` if it has none.
    pub fn from_config(config: &Json) -> Result<Option<Self>> {
        let source = in_json(config)?;
        source.map(|source| Self::with_tokens_of(&source, std::slice::from_ref(config))).transpose()
    }

    /// A template and the special tokens that the files name, the one that counts most first.
    fn with_tokens_of(source: &str, files: &[Json]) -> Result<Self> {
        let text = |value: &Json| value.as_str().or_else(|| value["content"].as_str()).map(String::from);
        let named = |role: &str| files.iter().find_map(|file| text(&file[role]));
        let special = ROLES.iter().filter_map(|(role, _)| Some((*role, named(role)?)));
        Self::from_source(source, special.collect())
    }

    /// The file's `tokenizer.chat_template`; `None` if it has none.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>> {
        let Some(source) = optional(gguf.str("tokenizer.chat_template"))? else {
            return Ok(None);
        };
        let tokens = gguf.array_str("tokenizer.ggml.tokens")?;
        let mut special = SpecialTokens::new();
        for (role, name) in ROLES {
            let id = optional(gguf.u32(&format!("tokenizer.ggml.{name}_token_id")))?;
            if let Some(text) = id.and_then(|id| tokens.get(id as usize)) {
                special.insert(role, text.clone());
            }
        }
        Self::from_source(&source, special).map(Some)
    }
}

/// `chat_template` of a JSON file, if it has one.
fn in_json(file: &Json) -> Result<Option<String>> {
    match &file["chat_template"] {
        Json::Null => Ok(None),
        Json::String(source) => Ok(Some(source.clone())),
        Json::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default");
            match default.and_then(|template| template["template"].as_str()) {
                Some(source) => Ok(Some(source.into())),
                None => Err(ChatError::File("none of the named templates is `default`".into())),
            }
        }
        _ => Err(ChatError::File("`chat_template` is neither a text nor a list of named ones".into())),
    }
}

/// A template's text for minijinja, where it reads less than Jinja2 does.
pub(super) fn as_minijinja_reads_it(source: &str) -> String {
    percent::spelled_out(&without_generation_tags(&with_line_feeds(source)))
}

/// Jinja reads every line break of a template as a line feed, whatever the editor wrote.
fn with_line_feeds(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

/// Templates for training mark the assistant's words with `{% generation %}` and `{% endgeneration %}`, which print
/// nothing. Their scope is a block of its own, so they become Jinja's `{% with %}`.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{%") {
        text.push_str(before);
        text.push_str("{%");
        rest = tag;
        let Some((inside, after)) = tag.split_once("%}") else { continue };
        let name = inside.trim_matches(|c: char| c.is_whitespace() || "+-".contains(c));
        let with = match name {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        text.push_str(&inside.replacen(name, with, 1));
        text.push_str("%}");
        rest = after;
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::chat::{ChatOptions, Message};

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn rendered(files: &[(&str, &str)]) -> Option<String> {
        let template = ChatTemplate::from_folder(folder(files).path()).unwrap()?;
        let messages = [Message { role: "user".into(), content: "hi".into() }];
        Some(template.render(&messages, &ChatOptions::default()).unwrap())
    }

    const CONFIG: &str = r#"{"chat_template": "config", "bos_token": {"content": "<s>"}, "eos_token": null}"#;

    #[test]
    fn the_nearest_template_counts() {
        let older = ("chat_template.json", r#"{"chat_template": "older"}"#);
        assert_eq!(rendered(&[]), None);
        assert_eq!(rendered(&[older]).unwrap(), "older");
        assert_eq!(rendered(&[older, ("tokenizer_config.json", CONFIG)]).unwrap(), "config");
        let own = ("chat_template.jinja", "{{ bos_token }}{{ eos_token }}own");
        assert_eq!(rendered(&[older, ("tokenizer_config.json", CONFIG), own]).unwrap(), "<s>own");
    }

    #[test]
    fn the_default_of_named_templates_counts() {
        let named = |name: &str| {
            format!(
                r#"{{"chat_template": [{{"name": "tool_use", "template": "t"}}, {{"name": "{name}", "template": "d"}}]}}"#
            )
        };
        assert_eq!(rendered(&[("tokenizer_config.json", &named("default"))]).unwrap(), "d");
        let folder = folder(&[("tokenizer_config.json", &named("rag"))]);
        let error = ChatTemplate::from_folder(folder.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the chat template: none of the named templates is `default`"
        );
    }

    #[test]
    fn the_older_file_of_special_tokens_counts_beside_an_older_configuration() {
        let own = ("chat_template.jinja", "{{ bos_token }}|{{ eos_token }}|{{ unk_token }}");
        let older = ("special_tokens_map.json", r#"{"eos_token": "</s>", "bos_token": "<o>"}"#);
        let new = r#"{"bos_token": "<s>", "unk_token": "<u>", "added_tokens_decoder": {}}"#;
        assert_eq!(rendered(&[own, older, ("tokenizer_config.json", CONFIG)]).unwrap(), "<o>|</s>|");
        assert_eq!(rendered(&[own, older, ("tokenizer_config.json", new)]).unwrap(), "<s>||<u>");
    }
}
