//! Chat templates: a conversation as the text that the model was trained on.
//!
//! Renders as transformers' `apply_chat_template` does, with its additions to Jinja: `raise_exception`,
//! `strftime_now`, a `tojson` that escapes no HTML, Python's string methods.

use std::error::Error as _;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use super::gguf::{Gguf, GgufError, optional};
use super::tokenizer::{Tokenizer, TokenizerError, read_json};

mod strftime;

/// What is wrong with a chat template, or with the conversation given to it.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("cannot read the chat template: {0}")]
    File(String),
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the model's chat template has an error: {}", chain(.0))]
    Template(#[source] Box<minijinja::Error>),
    #[error("the model's chat template refuses these messages: {0}")]
    Refused(String),
    #[error("a chat needs at least one message")]
    Empty,
    #[error("`continue_final` and `add_generation_prompt` exclude each other")]
    BothEnds,
    #[error("the chat template does not print the final message, so it cannot be continued")]
    FinalLost,
}

impl ChatError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Gguf(error) => error.help(),
            Self::Tokenizer(error) => error.help(),
            Self::Refused(_) => Some("change the roles or their order as the template asks".into()),
            Self::Empty => Some("give messages such as `[#{role: \"user\", content: \"hello\"}]`".into()),
            Self::BothEnds => {
                Some("drop `add_generation_prompt` to continue the last message, `continue_final` to begin a new one".into())
            }
            Self::FinalLost => Some("drop `continue_final`, or let the last message be the assistant's".into()),
            Self::File(_) | Self::Template(_) => None,
        }
    }
}

/// An error with its causes; minijinja keeps what went wrong inside a macro in the source.
fn chain(error: &minijinja::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What `raise_exception` throws, found again in the chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

impl From<minijinja::Error> for ChatError {
    fn from(error: minijinja::Error) -> Self {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(Refusal(message)) = cause.downcast_ref() {
                return Self::Refused(message.clone());
            }
            source = cause.source();
        }
        Self::Template(Box::new(error))
    }
}

type Result<T> = std::result::Result<T, ChatError>;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user` or `assistant`, for most models.
    pub role: String,
    pub content: String,
}

/// How a conversation is rendered.
#[derive(Debug, Clone, Default)]
pub struct ChatOptions {
    /// Leave the last message open, so that the model continues it.
    pub continue_final: bool,
    /// End with the header of an answer to come.
    pub add_generation_prompt: bool,
    /// What a template prints where it asks for today's date (`26 Jul 2024`), whatever format it asks for. Without it,
    /// templates that ask get today's date in UTC, and the text changes from day to day.
    pub date: Option<String>,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: Option<String>,
}

const NAME: &str = "chat";
/// What transformers appends to the final message to find its end again.
const SENTINEL: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// The folder's `chat_template.jinja`, else `chat_template` in `tokenizer_config.json`; `None` if it has neither.
    pub fn from_folder(folder: &Path, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let path = folder.join("chat_template.jinja");
        if path.is_file() {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| ChatError::File(format!("`{}`: {error}", path.display())))?;
            return Self::for_tokenizer(text, tokenizer).map(Some);
        }
        Self::from_config(&read_json(&folder.join("tokenizer_config.json"))?, tokenizer)
    }

    /// `chat_template` of a `tokenizer_config.json`; `None` if it has none.
    pub fn from_config(config: &serde_json::Value, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let template = &config["chat_template"];
        // Some models have several, by name.
        let named = template.as_array().and_then(|list| list.iter().find(|t| t["name"] == "default"));
        let source = named.map_or(template, |named| &named["template"]).as_str().map(String::from);
        source.map(|source| Self::for_tokenizer(source, tokenizer)).transpose()
    }

    /// The file's `tokenizer.chat_template`; `None` if it has none.
    pub fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let source = optional(gguf.str("tokenizer.chat_template"))?;
        source.map(|source| Self::for_tokenizer(source, tokenizer)).transpose()
    }

    fn for_tokenizer(source: String, tokenizer: &Tokenizer) -> Result<Self> {
        let text = |id| tokenizer.token_text(id);
        let bos_token = tokenizer.bos_id().and_then(text);
        let eos_token = tokenizer.eos_ids().first().copied().and_then(text);
        Self::from_source(source, bos_token, eos_token)
    }

    /// A template as text. A missing token is undefined in the template.
    pub fn from_source(source: String, bos_token: Option<String>, eos_token: Option<String>) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(message)))
        });
        environment.add_template_owned(NAME, source)?;
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The conversation as text, special tokens spelled out.
    pub fn render(&self, messages: &[Message], options: &ChatOptions) -> Result<String> {
        let Some((last, before)) = messages.split_last() else {
            return Err(ChatError::Empty);
        };
        if options.continue_final && options.add_generation_prompt {
            return Err(ChatError::BothEnds);
        }
        if !options.continue_final {
            return self.print(messages, options);
        }
        let mut marked = before.to_vec();
        marked.push(Message { role: last.role.clone(), content: format!("{}{SENTINEL}", last.content) });
        let mut text = self.print(&marked, options)?;

        let sentinel = SENTINEL.trim_end();
        if !text.contains(last.content.trim()) {
            return Err(ChatError::FinalLost);
        }
        let end = text.rfind(sentinel).ok_or(ChatError::FinalLost)?;
        let trimmed = !text.split_at(end).1.starts_with(SENTINEL);
        text.truncate(end);
        if trimmed {
            // The template trims messages, so the cut one is trimmed too.
            text.truncate(text.trim_end().len());
        }
        Ok(text)
    }

    fn print(&self, messages: &[Message], options: &ChatOptions) -> Result<String> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]))
            .collect();
        let date = options.date.clone();
        let strftime_now = Value::from_function(move |format: String| match &date {
            Some(date) => Ok(date.clone()),
            None => strftime::now(&format),
        });
        let absent = |text: &Option<String>| text.clone().map_or(Value::UNDEFINED, Value::from);
        let context = context! {
            messages => messages,
            add_generation_prompt => options.add_generation_prompt,
            tools => (),
            documents => (),
            bos_token => absent(&self.bos_token),
            eos_token => absent(&self.eos_token),
            // Llama 3's templates take today's date from here if it is given.
            date_string => absent(&options.date),
            strftime_now => strftime_now,
        };
        Ok(self.environment.get_template(NAME)?.render(context)?)
    }
}

/// Python's `json.dumps(value, ensure_ascii=False, indent=indent)`: minijinja's, less its escapes for HTML.
fn tojson(
    value: &Value,
    indent: Option<Value>,
    options: minijinja::value::Kwargs,
) -> std::result::Result<Value, minijinja::Error> {
    let json = minijinja::filters::tojson(value, indent, options)?.to_string();
    let mut text = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let html = [("u003c", '<'), ("u003e", '>'), ("u0026", '&'), ("u0027", '\'')];
        if let Some((after, c)) = html.iter().find_map(|(code, c)| Some((escape.strip_prefix(code)?, c))) {
            text.push(*c);
            rest = after;
        } else {
            // Another escape: its first character is no backslash that begins one.
            let next = escape.chars().next().map_or(0, char::len_utf8);
            let (kept, after) = escape.split_at(next);
            text.push('\\');
            text.push_str(kept);
            rest = after;
        }
    }
    text.push_str(rest);
    Ok(text.into())
}

#[cfg(test)]
mod tests;
