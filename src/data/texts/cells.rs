//! The cells of one column of a table, separated by commas or tabs. They are read piece by piece, so that a quote that
//! is never closed takes no memory.

use std::io::{self, BufRead};

use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::{HUGE, Raw, Result, Source, TextsError};

pub struct Cells<R> {
    name: String,
    from: R,
    reader: Reader,
    column: usize,
    columns: usize,
}

/// A record: the cells that were asked for, and how many there are.
struct Record {
    cells: Vec<Raw>,
    len: usize,
}

impl<R: BufRead> Cells<R> {
    /// Begins to read the column that `pick` chooses of those that there are, if it chooses one.
    pub fn open(
        name: &str,
        from: R,
        separator: u8,
        pick: impl FnOnce(&[String]) -> Result<Option<usize>>,
    ) -> Result<Option<Cells<R>>> {
        let reader = ReaderBuilder::new().delimiter(separator).build();
        let mut cells = Cells { name: name.into(), from, reader, column: 0, columns: 0 };
        let header = cells.record(0, None)?.map_or(Vec::new(), |record| record.cells);
        let text = |cell| match cell {
            Raw::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Raw::Null | Raw::Huge => String::new(),
        };
        let names: Vec<String> = header.into_iter().map(text).collect();
        let Some(column) = pick(&names)? else { return Ok(None) };
        (cells.column, cells.columns) = (column, names.len());
        Ok(Some(cells))
    }

    /// The next record, with all its cells or one of them.
    fn record(&mut self, row: usize, column: Option<usize>) -> Result<Option<Record>> {
        let (mut cells, mut cell, mut huge) = (Vec::new(), Vec::new(), false);
        let (mut len, mut held, mut begun) = (0, 0, false);
        let mut piece = [0; 4096];
        loop {
            let input = loop {
                match self.from.fill_buf() {
                    Ok(bytes) => break bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(reason) => return Err(TextsError::Read { name: self.name.clone(), reason }),
                }
            };
            // After the end of the file a line break ends the record, unless it stands in quotes.
            let last = input.is_empty() && begun;
            let (result, read, written) =
                self.reader.read_field(if last { b"\n" } else { input }, &mut piece);
            if last && result != (ReadFieldResult::Field { record_end: true }) {
                return Err(TextsError::OpenQuote { name: self.name.clone(), row });
            }
            if !last {
                begun |= !input[..read].iter().all(|byte| b"\r\n".contains(byte));
                self.from.consume(read);
            }
            if column.is_none_or(|column| column == len) {
                held += written;
                huge |= held >= HUGE;
                if !huge {
                    cell.extend_from_slice(&piece[..written]);
                }
            }
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end } => {
                    if column.is_none_or(|column| column == len) {
                        let bytes = std::mem::take(&mut cell);
                        cells.push(if huge { Raw::Huge } else { Raw::Bytes(bytes) });
                    }
                    len += 1;
                    if record_end {
                        return Ok(Some(Record { cells, len }));
                    }
                }
                ReadFieldResult::End => return Ok(None),
            }
        }
    }
}

impl<R: BufRead + Send> Source for Cells<R> {
    fn next(&mut self, row: usize) -> Result<Option<Raw>> {
        let Some(mut record) = self.record(row, Some(self.column))? else { return Ok(None) };
        match record.cells.pop() {
            Some(cell) if record.len == self.columns => Ok(Some(cell)),
            _ => Err(TextsError::Ragged {
                name: self.name.clone(),
                row,
                expected: self.columns,
                found: record.len,
            }),
        }
    }
}
