//! One column of texts of a Parquet file, page by page.
//!
//! What such a file says of itself is held against what is there before memory is taken by it, as far as the library
//! lets us look. One page is held at a time, which the format bounds to 2 GiB.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parquet::basic::Type;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::{ParquetError, Result as Decoded};
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::{HUGE, Raw, Result, Source, TextsError};

/// Rows that are decoded at once.
const BATCH: usize = 64;
/// The longest description of a file's parts that is read, in bytes: of some 100,000 groups of rows.
const FOOTER: u64 = 64 << 20;

pub struct Column {
    name: String,
    file: SerializedFileReader<File>,
    column: usize,
    /// The next group of rows.
    group: usize,
    /// What is left of the current one.
    rows: Option<ColumnReaderImpl<ByteArrayType>>,
    left: usize,
    ready: VecDeque<Raw>,
    /// How many rows there are, how many were read, and the same in bytes for who looks on.
    all: u64,
    done: u64,
    size: u64,
    read: Arc<AtomicU64>,
}

impl Column {
    /// Begins to read the column that `pick` chooses of those that there are, if it chooses one.
    pub fn open(
        name: &str,
        mut file: File,
        pick: impl FnOnce(&[String]) -> Result<Option<usize>>,
        read: Arc<AtomicU64>,
    ) -> Result<Option<Column>> {
        let unread = |reason| TextsError::Read { name: name.into(), reason };
        let size = file.metadata().map_err(unread)?.len();
        let bad = |reason: &str| TextsError::Parquet { name: name.into(), reason: reason.into() };
        if size < 12 {
            return Err(bad("it is too short"));
        }
        let mut end = [0; 4];
        file.seek(SeekFrom::Start(size - 8)).and_then(|_| file.read_exact(&mut end)).map_err(unread)?;
        if u64::from(u32::from_le_bytes(end)) > FOOTER.min(size) {
            return Err(bad("its description of itself is too long"));
        }
        let file = guarded(|| SerializedFileReader::new(file)).map_err(|reason| bad(&reason))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        let Some(column) = pick(&names)? else { return Ok(None) };
        let kind = schema.column(column);
        if kind.physical_type() != Type::BYTE_ARRAY || kind.max_rep_level() > 0 || kind.max_def_level() > 1 {
            return Err(bad(&format!("its column `{}` holds no texts", names[column])));
        }
        let groups = file.metadata().row_groups();
        let rows = groups.iter().map(|group| u64::try_from(group.num_rows()).ok());
        let all = rows.sum::<Option<u64>>().ok_or_else(|| bad("a group has a negative number of rows"))?;
        Ok(Some(Column {
            name: name.into(),
            file,
            column,
            group: 0,
            rows: None,
            left: 0,
            ready: VecDeque::new(),
            all,
            done: 0,
            size,
            read,
        }))
    }

    fn bad(&self, reason: impl Into<String>) -> TextsError {
        TextsError::Parquet { name: self.name.clone(), reason: reason.into() }
    }

    /// Goes to the next group of rows that has some; false at the end.
    fn enter(&mut self) -> Result<bool> {
        while self.left == 0 {
            let Some(group) = self.file.metadata().row_groups().get(self.group) else { return Ok(false) };
            self.left = usize::try_from(group.num_rows()).unwrap_or(0);
            let kind = group.schema_descr().column(self.column);
            let (file, index, column) = (&self.file, self.group, self.column);
            let pages = guarded(|| file.get_row_group(index)?.get_column_page_reader(column));
            let pages = Checked(pages.map_err(|reason| self.bad(reason))?);
            let reader = guarded(|| Ok(parquet::column::reader::get_column_reader(kind, Box::new(pages))));
            self.rows = match reader.map_err(|reason| self.bad(reason))? {
                ColumnReader::ByteArrayColumnReader(reader) => Some(reader),
                _ => None,
            };
            self.group += 1;
        }
        Ok(true)
    }

    fn decode(&mut self) -> Result<()> {
        let (mut levels, mut values) = (Vec::<i16>::new(), Vec::<ByteArray>::new());
        let wanted = self.left.min(BATCH);
        let Some(reader) = &mut self.rows else { return Ok(()) };
        let found = guarded(|| reader.read_records(wanted, Some(&mut levels), None, &mut values));
        let (found, ..) = found.map_err(|reason| self.bad(reason))?;
        if found == 0 {
            return Err(self.bad("a group has fewer rows than it says"));
        }
        self.left -= found.min(self.left);
        let raw = |value: ByteArray| match value.len() < HUGE {
            true => Raw::Bytes(value.data().to_vec()),
            false => Raw::Huge,
        };
        let mut values = values.into_iter().map(raw);
        // Without levels the column has a text in every row.
        let there = levels.into_iter().map(|level| level == 1).chain(std::iter::repeat(true));
        self.ready.extend(
            there.take(found).filter_map(|there| if there { values.next() } else { Some(Raw::Null) }),
        );
        Ok(())
    }

    fn passed(&mut self, rows: usize) {
        self.done += rows as u64;
        let share = self.done as f64 / self.all.max(1) as f64;
        self.read.store((share * self.size as f64) as u64, Relaxed);
    }
}

impl Source for Column {
    fn next(&mut self, _: usize) -> Result<Option<Raw>> {
        if self.ready.is_empty() && self.enter()? {
            self.decode()?;
        }
        let row = self.ready.pop_front();
        self.passed(usize::from(row.is_some()));
        Ok(row)
    }

    /// Whole groups are not looked into.
    fn pass(&mut self, rows: usize) -> Result<usize> {
        let mut passed = 0;
        while passed < rows {
            if self.ready.is_empty() && self.left == 0 {
                let group = self.file.metadata().row_groups().get(self.group);
                let Some(group) = group else { break };
                let len = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
                if len <= rows - passed {
                    self.group += 1;
                    passed += len;
                    self.passed(len);
                    continue;
                }
            }
            if self.next(0)?.is_none() {
                break;
            }
            passed += 1;
        }
        Ok(passed)
    }
}

/// What the library makes of `work`; it panics on some malformed files.
fn guarded<T>(work: impl FnOnce() -> Decoded<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it contradicts itself".into()),
    }
}

/// Pages that have room for what they say they hold.
struct Checked(Box<dyn PageReader>);

impl Checked {
    fn check(page: Option<Page>) -> Decoded<Option<Page>> {
        if let Some(Page::DictionaryPage { buf, num_values, .. }) = &page
            // A text is its length, in four bytes, and itself.
            && *num_values as usize > buf.len() / 4
        {
            return Err(ParquetError::General("a dictionary has fewer texts than it says".into()));
        }
        Ok(page)
    }
}

impl PageReader for Checked {
    fn get_next_page(&mut self) -> Decoded<Option<Page>> {
        self.0.get_next_page().and_then(Checked::check)
    }

    fn peek_next_page(&mut self) -> Decoded<Option<PageMetadata>> {
        self.0.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Decoded<()> {
        self.0.skip_next_page()
    }
}

impl Iterator for Checked {
    type Item = Decoded<Page>;

    fn next(&mut self) -> Option<Decoded<Page>> {
        self.get_next_page().transpose()
    }
}
