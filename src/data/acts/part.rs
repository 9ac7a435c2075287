//! A part of a set of activations: the rows of some whole prompts, in memory or as a mapped file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::column::{Column, Number};
use super::{NotFinite, Origin, VERSION};

/// Under which name a file's metadata says what it is. One name, so that equal parts are equal files.
const ABOUT: &str = "patchscript_acts";
/// In the place of a label's index: there is none.
const NO_LABEL: u32 = u32::MAX;

/// What the metadata of a part's file says.
#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    origin: Origin,
    /// The place among the parts.
    part: usize,
}

/// Rows of whole prompts.
#[derive(Debug)]
pub struct Part {
    /// Numbers a row.
    width: usize,
    /// `[rows, width]`
    x: Column<f32>,
    /// Of each row, the place of its token in its prompt.
    position: Column<u32>,
    /// Of each row, which of this part's prompts it is of.
    prompt: Column<u32>,
    /// The tokens of all prompts, one prompt after the other.
    ids: Column<u32>,
    /// Where the tokens of each prompt end.
    ends: Column<u32>,
    /// Of each prompt, its row in the corpus.
    corpus: Column<u64>,
    /// Of each prompt, its label.
    label: Column<u32>,
    /// The labels that there are.
    labels: Vec<String>,
}

impl Part {
    pub fn rows(&self) -> usize {
        self.position.len()
    }

    pub fn prompts(&self) -> usize {
        self.ends.len()
    }

    pub fn row(&self, row: usize) -> &[f32] {
        &self.x[row * self.width..(row + 1) * self.width]
    }

    pub fn position(&self, row: usize) -> usize {
        self.position[row] as usize
    }

    /// Which of this part's prompts a row is of.
    pub fn prompt(&self, row: usize) -> usize {
        self.prompt[row] as usize
    }

    /// The tokens of a prompt.
    pub fn ids(&self, prompt: usize) -> &[u32] {
        let start = prompt.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.ids[start as usize..self.ends[prompt] as usize]
    }

    /// The tokens of all prompts.
    pub fn all_ids(&self) -> &[u32] {
        &self.ids
    }

    /// A prompt's row in the corpus.
    pub fn corpus(&self, prompt: usize) -> u64 {
        self.corpus[prompt]
    }

    pub fn label(&self, prompt: usize) -> Option<&str> {
        self.labels.get(self.label[prompt] as usize).map(String::as_str)
    }

    /// Bytes that its numbers take.
    pub fn bytes(&self) -> usize {
        self.x.bytes().len() + 8 * self.rows() + 4 * self.ids.len() + 16 * self.prompts()
    }

    /// A copy of some rows, with the prompts that they are of.
    pub fn cut(&self, rows: Range<usize>) -> Part {
        let mut cut = Gathering::new(self.width);
        let mut from = rows.start;
        while from < rows.end {
            let prompt = self.prompt(from);
            let end = (from..rows.end).find(|row| self.prompt(*row) != prompt).unwrap_or(rows.end);
            cut.prompt(self.corpus(prompt), self.ids(prompt), self.label(prompt));
            for row in from..end {
                cut.row(self.position[row], self.row(row));
            }
            from = end;
        }
        cut.finish()
    }

    /// A safetensors file of it; the same bytes for the same part.
    pub fn to_bytes(&self, origin: &Origin, part: usize) -> io::Result<Vec<u8>> {
        let labels = serde_json::to_vec(&self.labels)?;
        let rows = self.rows();
        let parts: [(&str, Dtype, Vec<usize>, &[u8]); 8] = [
            ("x", Dtype::F32, vec![rows, self.width], self.x.bytes()),
            ("position", Dtype::U32, vec![rows], self.position.bytes()),
            ("prompt", Dtype::U32, vec![rows], self.prompt.bytes()),
            ("ids", Dtype::U32, vec![self.ids.len()], self.ids.bytes()),
            ("ends", Dtype::U32, vec![self.prompts()], self.ends.bytes()),
            ("corpus", Dtype::U64, vec![self.prompts()], self.corpus.bytes()),
            ("label", Dtype::U32, vec![self.prompts()], self.label.bytes()),
            ("labels", Dtype::U8, vec![labels.len()], &labels),
        ];
        let views = parts
            .into_iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(dtype, shape, bytes)?)));
        let views =
            views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>().map_err(io::Error::other)?;
        let about = serde_json::to_string(&About { version: VERSION, origin: origin.clone(), part })?;
        let about = HashMap::from([(ABOUT.to_string(), about)]);
        safetensors::tensor::serialize(views, Some(about)).map_err(io::Error::other)
    }

    /// The part in a file, which must be this one of those that `origin` is about.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn map(file: &File, origin: &Origin, part: usize) -> Result<Part, String> {
        // SAFETY: as with every memory-mapped checkpoint, another program must not change the file meanwhile.
        let map = Arc::new(unsafe { Mmap::map(file) }.map_err(|error| error.to_string())?);
        let (_, header) = SafeTensors::read_metadata(&map).map_err(|error| error.to_string())?;
        let about = header.metadata().as_ref().and_then(|metadata| metadata.get(ABOUT));
        let about = about.ok_or("its metadata does not say that it holds activations")?;
        let about: About = serde_json::from_str(about).map_err(|error| error.to_string())?;
        if about.version != VERSION {
            return Err(format!("it is of version {}, not {VERSION}", about.version));
        }
        if about.origin != *origin {
            let Origin { model, site, .. } = about.origin;
            return Err(format!("it is of another collection: {site} of {model}"));
        }
        if about.part != part {
            return Err(format!("it is part {} of the collection, not {part}", about.part));
        }
        let file = SafeTensors::deserialize(&map).map_err(|error| error.to_string())?;
        let stored = Stored { file, map: &map };
        let (x, shape) = stored.column("x", Dtype::F32)?;
        let (position, _) = stored.column("position", Dtype::U32)?;
        let labels = serde_json::from_slice(stored.view("labels", Dtype::U8)?.data());
        let read = Part {
            width: origin.width,
            x,
            position,
            prompt: stored.column("prompt", Dtype::U32)?.0,
            ids: stored.column("ids", Dtype::U32)?.0,
            ends: stored.column("ends", Dtype::U32)?.0,
            corpus: stored.column("corpus", Dtype::U64)?.0,
            label: stored.column("label", Dtype::U32)?.0,
            labels: labels.map_err(|error| format!("its labels are no json: {error}"))?,
        };
        if shape != [read.rows(), origin.width] {
            let wanted = [read.rows(), origin.width];
            return Err(format!("its activations are of shape {shape:?}, not {wanted:?}"));
        }
        read.check().map_or(Ok(()), |wrong| Err(wrong.to_string()))?;
        Ok(read)
    }

    /// What contradicts itself, if anything does.
    fn check(&self) -> Option<&'static str> {
        let prompts = self.prompts();
        if self.prompt.len() != self.rows() || [self.corpus.len(), self.label.len()] != [prompts; 2] {
            return Some("its columns are of different lengths");
        }
        if !self.ends.is_sorted() || self.ends.last().map_or(0, |end| *end as usize) != self.ids.len() {
            return Some("its prompts are not one after the other");
        }
        let labelled = |label: &u32| *label == NO_LABEL || (*label as usize) < self.labels.len();
        if !self.label.iter().all(labelled) {
            return Some("a label of it is not there");
        }
        let placed =
            |row: usize| self.prompt(row) < prompts && self.position(row) < self.ids(self.prompt(row)).len();
        let all = self.prompt.is_sorted() && (0..self.rows()).all(placed);
        (!all).then_some("a row of it is of no token")
    }
}

/// The tensors of a mapped file.
struct Stored<'a> {
    file: SafeTensors<'a>,
    map: &'a Arc<Mmap>,
}

impl Stored<'_> {
    fn view(&self, name: &str, dtype: Dtype) -> Result<TensorView<'_>, String> {
        let view = self.file.tensor(name).map_err(|error| error.to_string())?;
        if view.dtype() == dtype { Ok(view) } else { Err(format!("its `{name}` is {:?}", view.dtype())) }
    }

    fn column<T: Number>(&self, name: &str, dtype: Dtype) -> Result<(Column<T>, Vec<usize>), String> {
        let view = self.view(name, dtype)?;
        let start = view.data().as_ptr() as usize - self.map.as_ptr() as usize;
        let bytes = start..start + view.data().len();
        let column = Column::mapped(self.map, bytes).ok_or_else(|| format!("its `{name}` lies askew"))?;
        Ok((column, view.shape().to_vec()))
    }
}

/// A part that grows.
#[derive(Debug)]
pub struct Gathering {
    width: usize,
    x: Vec<f32>,
    position: Vec<u32>,
    prompt: Vec<u32>,
    ids: Vec<u32>,
    ends: Vec<u32>,
    corpus: Vec<u64>,
    label: Vec<u32>,
    labels: Vec<String>,
    known: HashMap<String, u32>,
}

impl Gathering {
    pub fn new(width: usize) -> Gathering {
        Gathering {
            width,
            x: Vec::new(),
            position: Vec::new(),
            prompt: Vec::new(),
            ids: Vec::new(),
            ends: Vec::new(),
            corpus: Vec::new(),
            label: Vec::new(),
            labels: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Adds a prompt by its row in the corpus, its tokens and its values `[pos, width]`, of which those of some
    /// positions become rows: as they are, or less their own mean.
    ///
    /// # Errors
    /// A value that is no finite number.
    pub fn add(
        &mut self,
        corpus: usize,
        ids: &[u32],
        label: Option<&str>,
        values: &[f32],
        positions: Range<usize>,
        center: bool,
    ) -> Result<(), NotFinite> {
        self.prompt(corpus as u64, ids, label);
        for position in positions {
            let row = &values[position * self.width..(position + 1) * self.width];
            if let Some(column) = row.iter().position(|x| !x.is_finite()) {
                return Err(NotFinite { row: corpus, position, column });
            }
            self.row(position as u32, row);
            if center {
                let start = self.x.len() - self.width;
                let row = &mut self.x[start..];
                let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / row.len() as f64;
                row.iter_mut().for_each(|x| *x = (f64::from(*x) - mean) as f32);
            }
        }
        Ok(())
    }

    /// Begins a prompt.
    fn prompt(&mut self, corpus: u64, ids: &[u32], label: Option<&str>) {
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len() as u32);
        self.corpus.push(corpus);
        let label = label.map_or(NO_LABEL, |label| match self.known.get(label) {
            Some(known) => *known,
            None => {
                let new = self.labels.len() as u32;
                self.labels.push(label.into());
                self.known.insert(label.into(), new);
                new
            }
        });
        self.label.push(label);
    }

    /// Adds a row of the prompt that was begun last.
    fn row(&mut self, position: u32, row: &[f32]) {
        self.x.extend_from_slice(row);
        self.position.push(position);
        self.prompt.push(self.ends.len() as u32 - 1);
    }

    pub fn finish(mut self) -> Part {
        self.x.shrink_to_fit();
        Part {
            width: self.width,
            x: self.x.into(),
            position: self.position.into(),
            prompt: self.prompt.into(),
            ids: self.ids.into(),
            ends: self.ends.into(),
            corpus: self.corpus.into(),
            label: self.label.into(),
            labels: self.labels,
        }
    }
}
