//! How an atlas is written: whole, as safetensors with its texts beside the numbers, to be loaded again; and as the
//! JSON of the published experiment, for programs that read that.

use std::collections::HashMap;
use std::io::{self, Write};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::{Atlas, Origin, Record, Text};
use crate::help::Help;

/// Under which name the file's metadata says what it is. One name, so that equal atlases are equal files.
const ABOUT: &str = "patchscript_atlas";
const VERSION: u32 = 1;
/// The most neurons that a file may claim to be about.
const MOST_NEURONS: usize = 1 << 24;

/// Why a file is no atlas.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is no neuron atlas: {reason}")]
pub struct NoAtlas {
    name: String,
    reason: String,
}

impl Help for NoAtlas {
    fn help(&self) -> Option<String> {
        Some("write one with `.save(\"x.safetensors\")`".into())
    }
}

#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    origin: Origin,
    read: usize,
    skipped: [usize; 3],
    next: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Strings {
    texts: Vec<(usize, Text)>,
    /// Of the records, in their order.
    contexts: Vec<String>,
}

impl Atlas {
    /// The whole atlas; the same bytes for the same atlas.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let about = About {
            version: VERSION,
            origin: self.origin.clone(),
            read: self.read,
            skipped: self.skipped,
            next: self.next,
        };
        let records: Vec<_> = self.all().collect();
        let numbers = |number: fn(usize, &Record) -> u64| -> Vec<u8> {
            records.iter().flat_map(|(neuron, _, record)| number(*neuron, record).to_le_bytes()).collect()
        };
        let floats = |floats: fn(&Record) -> &[f32]| -> Vec<u8> {
            let all = records.iter().flat_map(|(_, _, record)| floats(record));
            all.flat_map(|x| x.to_le_bytes()).collect()
        };
        let strings = serde_json::to_vec(&Strings {
            texts: self.texts().map(|(row, text)| (row, text.clone())).collect(),
            contexts: records.iter().map(|(_, _, record)| record.context.clone()).collect(),
        })?;
        let parts = [
            ("neuron", Dtype::U64, numbers(|neuron, _| neuron as u64)),
            ("row", Dtype::U64, numbers(|_, record| record.row as u64)),
            ("position", Dtype::U64, numbers(|_, record| record.position as u64)),
            ("value", Dtype::F32, floats(|record| std::slice::from_ref(&record.value))),
            ("window", Dtype::F32, floats(|record| &record.window)),
            ("strings", Dtype::U8, strings),
        ];
        let views = parts.iter().map(|(name, dtype, bytes)| {
            let len = bytes.len() * 8 / dtype.bitsize();
            TensorView::new(*dtype, vec![len], bytes).map(|view| (*name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let about = HashMap::from([(ABOUT.to_string(), serde_json::to_string(&about)?)]);
        safetensors::tensor::serialize(views, Some(about)).map_err(io::Error::other)
    }

    /// The atlas in `bytes`, which errors call `name`.
    ///
    /// # Errors
    /// Another kind of file, or one that contradicts itself.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Atlas, NoAtlas> {
        read(bytes).map_err(|reason| NoAtlas { name: name.into(), reason })
    }

    /// As the published experiment writes it: an object by neuron, indented by four, in ASCII. `text_index` counts from
    /// the first row that was read; neurons that never passed -1 are absent. Where several values are kept, `more` holds
    /// those after the first.
    pub fn write_json(&self, to: impl Write) -> io::Result<()> {
        let entry = |record: &Record| {
            let mut entry = Map::new();
            entry.insert("text_index".into(), json!(record.row.saturating_sub(self.origin.from)));
            entry.insert("token_position".into(), json!(record.position));
            entry.insert("trigger_token".into(), json!(self.token(record)));
            entry.insert("activation_score".into(), json!(f64::from(record.value)));
            entry
        };
        let mut neurons = Map::new();
        for neuron in 0..self.width() {
            let records = self.neuron(neuron).unwrap_or_default();
            let mut shown = records.iter().take_while(|record| record.value > -1.0);
            let Some(first) = shown.next() else { continue };
            let mut first = entry(first);
            if self.origin.top > 1 {
                first.insert("more".into(), shown.map(|record| Value::Object(entry(record))).collect());
            }
            neurons.insert(neuron.to_string(), Value::Object(first));
        }
        let formatter = Python(PrettyFormatter::with_indent(b"    "));
        Ok(Value::Object(neurons).serialize(&mut Serializer::with_formatter(to, formatter))?)
    }
}

fn read(bytes: &[u8]) -> Result<Atlas, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| told(&error))?;
    let about = header.metadata().as_ref().and_then(|metadata| metadata.get(ABOUT));
    let about = about.ok_or("its metadata does not say that it is one")?;
    let about: About = serde_json::from_str(about).map_err(|error| told(&error))?;
    if about.version != VERSION {
        return Err(format!("it is of version {}, not {VERSION}", about.version));
    }
    if about.origin.width > MOST_NEURONS {
        return Err(format!("it claims {} neurons", about.origin.width));
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| told(&error))?;
    let part = |name: &str, dtype: Dtype| {
        let view = file.tensor(name).map_err(|error| told(&error))?;
        if view.dtype() == dtype {
            Ok(view.data())
        } else {
            Err(format!("its `{name}` is {:?}", view.dtype()))
        }
    };
    let numbers = |name: &str| -> Result<Vec<usize>, String> {
        let all = part(name, Dtype::U64)?.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        all.map(|x| usize::try_from(x).map_err(|error| told(&error))).collect()
    };
    let floats = |name: &str| -> Result<Vec<f32>, String> {
        let all = part(name, Dtype::F32)?.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        Ok(all.collect())
    };
    let (neurons, rows, positions) = (numbers("neuron")?, numbers("row")?, numbers("position")?);
    let (values, windows) = (floats("value")?, floats("window")?);
    let strings: Strings =
        serde_json::from_slice(part("strings", Dtype::U8)?).map_err(|error| told(&error))?;
    let len = neurons.len();
    if [rows.len(), positions.len(), values.len(), strings.contexts.len()] != [len; 4] {
        return Err("its columns are of different lengths".into());
    }
    let mut atlas = Atlas::new(about.origin);
    (atlas.read, atlas.skipped, atlas.next) = (about.read, about.skipped, about.next);
    atlas.texts = strings.texts.into_iter().collect();
    if atlas.texts.values().any(|text| atlas.next.is_none() && text.tokens.len() != text.ids.len()) {
        return Err("a text of it has more or fewer tokens than ids".into());
    }
    let mut windows = &windows[..];
    for (i, context) in strings.contexts.into_iter().enumerate() {
        let (neuron, row, position, value) = (neurons[i], rows[i], positions[i], values[i]);
        let wrong = || format!("its record {i} points nowhere");
        let text = atlas.texts.get_mut(&row).ok_or_else(wrong)?;
        let records = atlas.records.get_mut(neuron).ok_or_else(wrong)?;
        if position >= text.ids.len() || records.len() == atlas.origin.top || !value.is_finite() {
            return Err(wrong());
        }
        let mut record = Record { value, row, position, context, window: Box::default() };
        let split = windows.split_at_checked(record.window_of(text.ids.len()).len());
        let (window, rest) = split.ok_or_else(wrong)?;
        (record.window, windows) = (window.into(), rest);
        if records.last().is_some_and(|last| last.value < value) {
            return Err(format!("the records of its neuron {neuron} are not in order"));
        }
        text.uses += 1;
        records.push(record);
    }
    // What nobody points to would never be dropped.
    atlas.texts.retain(|_, text| text.uses > 0);
    Ok(atlas)
}

/// JSON to the byte as Python's `json.dump(x, file, indent=4)` writes it.
struct Python<'a>(PrettyFormatter<'a>);

/// Hands these on to the pretty formatter.
macro_rules! as_pretty {
    ($($name:ident($($arg:ident: $ty:ty),*);)*) => {
        $(fn $name<W: ?Sized + Write>(&mut self, to: &mut W $(, $arg: $ty)*) -> io::Result<()> {
            self.0.$name(to $(, $arg)*)
        })*
    };
}

impl Formatter for Python<'_> {
    as_pretty! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_f64<W: ?Sized + Write>(&mut self, to: &mut W, x: f64) -> io::Result<()> {
        to.write_all(python_float(x).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, to: &mut W, text: &str) -> io::Result<()> {
        for letter in text.chars() {
            if (' '..='~').contains(&letter) {
                to.write_all(&[letter as u8])?;
            } else {
                letter.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(to, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}

/// `repr` of a finite float.
pub(super) fn python_float(x: f64) -> String {
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        -4..16 => format!("{x:?}"),
        _ => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}
