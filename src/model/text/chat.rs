//! Chat templates: a conversation as the text that the model was trained on.
//!
//! Renders as transformers' `apply_chat_template` does, with its additions to Jinja: `raise_exception`,
//! `strftime_now`, a [`json`] filter that is Python's, `{% generation %}`, [`python`]'s methods (with its [`letters`] and its [`percent`] sign), [`filters`] as Jinja2 has them.
//! [`source`] finds the template among a model's files; [`bounds`] keeps it from running away.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, ErrorKind, Value, context};

use super::tokenizer::TokenizerError;
use crate::model::gguf::GgufError;

mod bounds;
mod filters;
mod json;
mod letters;
mod percent;
mod python;
mod source;

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
    #[error("the model's chat template takes too much: {0}")]
    Excess(String),
    #[error("a chat needs at least one message")]
    Empty,
    #[error("`continue_final` and `add_generation_prompt` exclude each other")]
    BothEnds,
    #[error("the chat template does not print the final message, so it cannot be continued")]
    FinalLost,
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
        if error.kind() == ErrorKind::OutOfFuel {
            return Self::Excess("too many steps".into());
        }
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(excess) = cause.downcast_ref::<bounds::Excess>() {
                return Self::Excess(excess.to_string());
            }
            if let Some(inner) = cause.downcast_ref::<minijinja::Error>()
                && inner.kind() == ErrorKind::OutOfFuel
            {
                return Self::Excess("too many steps".into());
            }
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
    /// templates do without a date or print one of their own, and those that cannot print [`DEFAULT_DATE`].
    pub date: Option<String>,
    /// What the template knows by other names, such as `enable_thinking`: see [`ChatTemplate::variables`].
    pub variables: serde_json::Map<String, serde_json::Value>,
}

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: SpecialTokens,
    asks_for_date: bool,
}

/// Text of each special token by its role, as templates call them: `bos_token`, `eos_token`, ….
pub type SpecialTokens = BTreeMap<&'static str, String>;

const NAME: &str = "chat";
/// The variables that a template gets from messages and options.
const GIVEN: [&str; 4] = ["messages", "add_generation_prompt", "date_string", NOW];
/// What a template that asks for today's date gets where no date is given: a run has no clock, so that it gives the same
/// result on any day. It is the date that Llama 3's templates print then.
pub const DEFAULT_DATE: &str = "26 Jul 2024";
/// What templates call for today's date.
const NOW: &str = "strftime_now";
/// What transformers appends to the final message to find its end again.
const SENTINEL: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

impl ChatTemplate {
    /// A template as text. A token that is not among `special` is undefined in the template.
    pub fn from_source(source: &str, special: SpecialTokens) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        bounds::install(&mut environment);
        environment.add_filter("tojson", json::tojson);
        environment.add_filter(percent::NAME, percent::percent);
        filters::register(&mut environment);
        // Jinja's own: text and maps are sequences, and `none` cannot be iterated.
        environment.add_test("sequence", |value: &Value| {
            matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
        });
        environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
        environment.add_function("raise_exception", |message: String| -> std::result::Result<Value, _> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, "refused").with_source(Refusal(message)))
        });
        environment.add_template_owned(NAME, source::as_minijinja_reads_it(source))?;
        Ok(Self { environment, special, asks_for_date: source.contains(NOW) })
    }

    /// Names that the template reads and that nothing else gives a value.
    pub fn variables(&self) -> BTreeSet<String> {
        let template = self.environment.get_template(NAME);
        let mut names: BTreeSet<String> =
            template.into_iter().flat_map(|template| template.undeclared_variables(false)).collect();
        let globals = self.environment.globals().map(|(name, _)| name);
        for name in globals.chain(GIVEN).chain(source::ROLES.map(|(role, _)| role)) {
            names.remove(name);
        }
        names
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
        match self.print_on(options.date.as_deref(), messages, options) {
            // Without a date there is no such function; in a macro it is a value that cannot be called.
            Err(error)
                if self.asks_for_date
                    && options.date.is_none()
                    && matches!(error.kind(), ErrorKind::UnknownFunction | ErrorKind::InvalidOperation) =>
            {
                Ok(self.print_on(Some(DEFAULT_DATE), messages, options)?)
            }
            printed => Ok(printed?),
        }
    }

    fn print_on(
        &self,
        date: Option<&str>,
        messages: &[Message],
        options: &ChatOptions,
    ) -> std::result::Result<String, minijinja::Error> {
        let variables: usize = options.variables.values().map(|value| value.to_string().len()).sum();
        let given = variables + messages.iter().map(|m| m.role.len() + m.content.len()).sum::<usize>();
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| Value::from_pairs([("role", m.role.as_str()), ("content", m.content.as_str())]))
            .collect();
        let now = date.map(|date| {
            let date = date.to_string();
            Value::from_function(move |_format: String| date.clone())
        });
        let mut others: BTreeMap<&str, Value> = [("tools", ().into()), ("documents", ().into())].into();
        others.extend(self.special.iter().map(|(role, text)| (*role, text.as_str().into())));
        others.extend(options.variables.iter().map(|(name, value)| (name.as_str(), Serde(value).into())));
        let context = context! {
            messages => messages,
            add_generation_prompt => options.add_generation_prompt,
            // Llama 3's templates take today's date from here if it is given.
            date_string => date.map_or(Value::UNDEFINED, Value::from),
            strftime_now => now.unwrap_or(Value::UNDEFINED),
            ..Value::from_pairs(others),
        };
        bounds::render(&self.environment, NAME, context, given)
    }
}

#[cfg(test)]
mod tests;
