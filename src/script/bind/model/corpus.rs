//! Texts that a model reads one after the other: those of an array, of a map by their labels, or of a file. And their
//! tokens, and the options that all readers of many texts share.

use rayon::prelude::*;
use rhai::{Dynamic, Map};
use serde_json::json;

use super::loaded::Model;
use crate::data::files::FileError;
use crate::data::texts::{Choice, Label, Text, Texts};
use crate::model::tokenizer::Bos;
use crate::model::{self, ModelError};
use crate::plain;
use crate::script::args::{self, Options};
use crate::script::bind::data::texts;
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::error::{ScriptResult, fail};

/// Texts, and what of them is read.
pub struct Corpus {
    source: Source,
    choice: Choice,
    /// What the texts of an array come to; of a file, where it is.
    origin: String,
}

enum Source {
    File(Box<Texts>),
    Array(std::vec::IntoIter<Text>, usize),
}

impl Corpus {
    /// Begins with `texts`, of which options may choose some; with the labels that lie beside them, if `labelled`.
    pub fn open(
        context: &Context,
        texts: &Dynamic,
        options: &mut Options,
        labelled: bool,
    ) -> ScriptResult<Corpus> {
        let mut choice = texts::choice(options)?;
        if texts.is_string() {
            if labelled {
                choice.label = options.get_string("label")?.map_or(Label::Usual, Label::Field);
            }
            let path = args::string(texts)?;
            let source = Texts::open(context.files()?, &path, choice.clone()).map_err(refusal::of)?;
            return Ok(Corpus { source: Source::File(Box::new(source)), choice, origin: path });
        }
        if choice != Choice::default() {
            return Err(fail("`field`, `from`, `to` and `skip` are for texts of a file")
                .help("drop them, or give the path of a file")
                .into());
        }
        if labelled {
            choice.label = options.get_string("label")?.map_or(Label::Usual, Label::Field);
        }
        let rows = match texts.read_lock::<Map>() {
            Some(by_label) if labelled => of_labels(&by_label)?,
            _ => texts::rows(texts, &choice)?,
        };
        let parts: Vec<_> = rows.iter().map(|text| (text.row, &text.text, &text.label)).collect();
        let sum = plain::sum(json!(parts).to_string().as_bytes());
        let len = rows.len();
        Ok(Corpus { source: Source::Array(rows.into_iter(), len), choice, origin: sum })
    }

    /// Up to `most` texts of together about `bytes` bytes; none at the end.
    pub fn group(&mut self, most: usize, bytes: usize) -> ScriptResult<Vec<Text>> {
        match &mut self.source {
            Source::File(texts) => texts.group(most, bytes).map_err(refusal::of),
            Source::Array(texts, _) => Ok(texts.by_ref().take(most).collect()),
        }
    }

    /// Goes on with the row of this number.
    pub fn seek(&mut self, row: usize) -> ScriptResult<()> {
        match &mut self.source {
            Source::File(texts) => texts.seek(row).map_err(refusal::of),
            Source::Array(texts, _) => {
                while texts.as_slice().first().is_some_and(|text| text.row < row) {
                    texts.next();
                }
                Ok(())
            }
        }
    }

    /// How far it has come, how far it is, and what that counts.
    pub fn progress(&self) -> (usize, usize, &'static str) {
        match &self.source {
            Source::File(texts) => {
                let (done, all, unit) = texts.progress();
                (done as usize, all as usize, unit)
            }
            Source::Array(texts, all) => (all - texts.len(), *all, "texts"),
        }
    }

    /// Rows that were left out: empty, huge, not UTF-8.
    pub fn skipped(&self) -> [usize; 3] {
        match &self.source {
            Source::File(texts) => {
                let skipped = texts.skipped();
                [skipped.empty, skipped.huge, skipped.not_utf8]
            }
            Source::Array(..) => [0; 3],
        }
    }

    /// The first row.
    pub fn from(&self) -> usize {
        self.choice.from
    }

    /// A checksum of all that the activations of `model` over these texts depend on, and of `more`.
    pub fn made_of(&self, model: &Model, more: serde_json::Value) -> ScriptResult<String> {
        let inner = &model.inner;
        let sums = inner.files.iter().map(|path| plain::file_sum(path));
        let sums = sums.collect::<std::io::Result<Vec<_>>>();
        let sums = sums.map_err(|error| fail(format!("cannot read the model's files: {error}")))?;
        let texts = match &self.source {
            Source::File(_) => file_sum(&model.context, &self.origin)?,
            Source::Array(..) => self.origin.clone(),
        };
        let (dtype, device) = (inner.transformer.dtype.as_str(), inner.transformer.device.is_cpu());
        let precision = inner.transformer.precision.to_string();
        let Choice { field, to, skip, label, .. } = &self.choice;
        let label = format!("{label:?}");
        let version = env!("CARGO_PKG_VERSION");
        let parts = json!([version, sums, dtype, precision, device, texts, field, to, skip, label, more]);
        Ok(plain::sum(parts.to_string().as_bytes()))
    }
}

fn file_sum(context: &Context, path: &str) -> ScriptResult<String> {
    let real = context.files()?.read_path(path).map_err(refusal::of)?;
    let unread = |reason| refusal::of(FileError::Read { path: path.into(), reason });
    plain::file_sum(&real).map_err(unread)
}

/// The texts of a map `#{label: [text, …]}`.
fn of_labels(by_label: &Map) -> ScriptResult<Vec<Text>> {
    let mut texts = Vec::new();
    for (label, of_label) in by_label {
        let of_label = args::each(of_label, args::string);
        for text in of_label.map_err(|error| args::within(&format!("label `{label}`"), error))? {
            texts.push(Text::new(texts.len(), text, Some(label.to_string())));
        }
    }
    Ok(texts)
}

/// The tokens of texts, up to `max_len` of each: as a string is encoded that a script runs, so that positions are the
/// same there.
pub fn encode(model: &model::Model, texts: &[Text], bos: Bos, max_len: usize) -> ScriptResult<Vec<Vec<u32>>> {
    let tokenizer = model.tokenizer().map_err(refusal::model)?;
    let ids = texts.par_iter().map(|text| {
        let mut ids = tokenizer.encode(&text.text, bos, true)?;
        ids.truncate(max_len);
        Ok(ids)
    });
    ids.collect::<Result<_, ModelError>>().map_err(refusal::model)
}

/// An option that is a number from 1 to `most`.
pub fn bounded(
    options: &mut Options,
    name: &'static str,
    default: usize,
    most: usize,
) -> ScriptResult<usize> {
    let value = options.get_usize(name)?.unwrap_or(default);
    if value == 0 || value > most {
        return Err(fail(format!("option `{name}`: {value} is not between 1 and {most}"))
            .help(format!("give 1 to {most}"))
            .into());
    }
    Ok(value)
}
