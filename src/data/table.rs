//! Tables of text with named columns, from TSV and CSV.

use std::collections::HashSet;
use std::io::{self, Write};

use crate::count::count;

/// Rows of text cells under named columns. Every row has one cell a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// What errors call the table: the path it was read from, as the user wrote it.
    pub name: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What stands between two cells of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    Tab,
    Comma,
}

impl Separator {
    pub fn byte(self) -> u8 {
        match self {
            Separator::Tab => b'\t',
            Separator::Comma => b',',
        }
    }
}

/// Why a text is no table, or a table has no such part. Lines count from 1, the header's.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("`{name}` is empty")]
    Empty { name: String },
    #[error("`{name}` has two columns `{column}`")]
    DuplicateColumn { name: String, column: String },
    #[error("line {line} of `{name}`: expected {}, found {found}", count(*.expected, "cell"))]
    Ragged { name: String, line: u64, expected: u64, found: u64 },
    #[error("line {line} of `{name}`: this `\"` is never closed")]
    OpenQuote { name: String, line: u64 },
    #[error("cannot read `{name}`: {reason}")]
    Read { name: String, reason: csv::Error },
    #[error("no column `{column}` in `{name}`")]
    NoColumn { name: String, column: String, columns: Vec<String> },
    #[error("no row {row} in `{name}`: it has {len}")]
    NoRow { name: String, row: usize, len: usize },
}

impl Table {
    /// The table in `text`, whose first line names the columns. Quoted cells may hold separators, line
    /// breaks and doubled quotes; blank lines are skipped.
    pub fn parse(name: &str, text: &str, separator: Separator) -> Result<Table, TableError> {
        let text = text.trim_start_matches('\u{feff}');
        // The reader would take everything after an open quote for one cell.
        if let Some(line) = open_quote(text, separator) {
            return Err(TableError::OpenQuote { name: name.into(), line });
        }
        let mut records = csv::ReaderBuilder::new()
            .delimiter(separator.byte())
            .has_headers(false)
            .from_reader(text.as_bytes())
            .into_records()
            .map(|record| match record {
                Ok(record) => Ok(record.iter().map(String::from).collect::<Vec<_>>()),
                Err(error) => Err(malformed(name, text, error)),
            });
        let columns = records.next().ok_or_else(|| TableError::Empty { name: name.into() })??;
        let rows = records.collect::<Result<_, _>>()?;
        Table { name: name.into(), columns, rows }.with_unique_columns()
    }

    /// Write the header and all rows, quoting the cells that need it.
    pub fn write(&self, to: impl Write, separator: Separator) -> io::Result<()> {
        let mut writer = csv::WriterBuilder::new().delimiter(separator.byte()).from_writer(to);
        writer.write_record(&self.columns)?;
        for row in &self.rows {
            writer.write_record(row)?;
        }
        writer.flush()
    }

    /// The cells of one column, top to bottom.
    pub fn column(&self, column: &str) -> Result<Vec<&str>, TableError> {
        let index = self.index(column)?;
        Ok(self.rows.iter().filter_map(|row| row.get(index)).map(String::as_str).collect())
    }

    /// The cells of row `row`, counted from 0, in the order of the columns.
    pub fn row(&self, row: usize) -> Result<&[String], TableError> {
        self.rows.get(row).map(Vec::as_slice).ok_or_else(|| TableError::NoRow {
            name: self.name.clone(),
            row,
            len: self.rows.len(),
        })
    }

    /// Fails with the first of `columns` that the table lacks.
    pub fn require(&self, columns: &[&str]) -> Result<(), TableError> {
        columns.iter().try_for_each(|column| self.index(column).map(drop))
    }

    /// The table with each column `old` called `new`, for all pairs `(old, new)` at once, so that two
    /// columns can trade their names.
    pub fn rename(&self, names: &[(&str, &str)]) -> Result<Table, TableError> {
        let mut table = self.clone();
        for (old, new) in names {
            let index = self.index(old)?;
            if let Some(column) = table.columns.get_mut(index) {
                *column = (*new).into();
            }
        }
        table.with_unique_columns()
    }

    fn index(&self, column: &str) -> Result<usize, TableError> {
        self.columns.iter().position(|known| known == column).ok_or_else(|| TableError::NoColumn {
            name: self.name.clone(),
            column: column.into(),
            columns: self.columns.clone(),
        })
    }

    fn with_unique_columns(self) -> Result<Table, TableError> {
        let mut seen = HashSet::new();
        match self.columns.iter().find(|column| !seen.insert(column.as_str())) {
            Some(column) => {
                Err(TableError::DuplicateColumn { name: self.name.clone(), column: column.clone() })
            }
            None => Ok(self),
        }
    }
}

fn malformed(name: &str, text: &str, error: csv::Error) -> TableError {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos: Some(pos), expected_len, len } => {
            // The reader's position is that of the blank lines which it skipped before the record.
            let start =
                usize::try_from(pos.byte()).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
            let blank = start.chars().take_while(|c| matches!(c, '\r' | '\n')).filter(|c| *c == '\n').count();
            TableError::Ragged {
                name: name.into(),
                line: pos.line() + blank as u64,
                expected: *expected_len,
                found: *len,
            }
        }
        _ => TableError::Read { name: name.into(), reason: error },
    }
}

/// The line of a `"` that opens a cell and is never closed.
fn open_quote(text: &str, separator: Separator) -> Option<u64> {
    let mut line = 1;
    let mut opened = None;
    let mut just_closed = false;
    let mut before = b'\n';
    for byte in text.bytes() {
        let starts_cell = matches!(before, b'\n' | b'\r') || before == separator.byte();
        let doubled = std::mem::take(&mut just_closed);
        if byte == b'"' {
            if opened.take().is_some() {
                just_closed = true;
            } else if starts_cell || doubled {
                opened = Some(line);
            }
        }
        line += u64::from(byte == b'\n');
        before = byte;
    }
    opened
}

#[cfg(test)]
mod tests {
    use crate::help::Help;
    use proptest::prelude::*;

    use super::*;

    fn tsv(text: &str) -> Result<Table, TableError> {
        Table::parse("x.tsv", text, Separator::Tab)
    }

    fn fails(result: Result<impl std::fmt::Debug, TableError>, message: &str, help: Option<&str>) {
        let error = result.unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.help().as_deref(), help);
    }

    #[test]
    fn reads_quotes_blank_lines_and_a_byte_order_mark() {
        let table = tsv("\u{feff}name\tpower\r\nAda\t\"a \"\"b\"\"\tc\nd\"\n\n5\" disk\t\n").unwrap();
        assert_eq!(table.columns, ["name", "power"]);
        assert_eq!(table.column("power").unwrap(), ["a \"b\"\tc\nd", ""]);
        assert_eq!(table.row(1).unwrap(), ["5\" disk", ""]);
        let csv = Table::parse("x.csv", "a,b\n\"1,5\",2\t3", Separator::Comma).unwrap();
        assert_eq!(csv.rows, [["1,5", "2\t3"]]);
    }

    #[test]
    fn a_header_alone_is_a_table_without_rows() {
        let table = tsv("a\tb\n").unwrap();
        assert!(table.rows.is_empty());
        fails(
            table.row(0).map(drop),
            "no row 0 in `x.tsv`: it has 0",
            Some("the table has a header but no rows"),
        );
    }

    #[test]
    fn refuses_malformed_text() {
        fails(tsv(""), "`x.tsv` is empty", Some("the first line must name the columns"));
        fails(
            tsv("a\tb\ta\n"),
            "`x.tsv` has two columns `a`",
            Some("rename one of the columns `a` in the first line"),
        );
        let error = tsv("a\tb\n\n1\t\"2\n3\"\n\r\n4\n").unwrap_err();
        assert_eq!(error.to_string(), "line 6 of `x.tsv`: expected 2 cells, found 1");
        let error = tsv("a\tb\n1\t\"2\n3\t4\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of `x.tsv`: this `\"` is never closed");
    }

    #[test]
    fn a_quote_inside_a_plain_cell_is_a_letter() {
        assert_eq!(tsv("a\nx\"\"y\nz\n").unwrap().column("a").unwrap(), ["x\"\"y", "z"]);
        assert_eq!(tsv("a\n\"\"\"x\"\nz\n").unwrap().column("a").unwrap(), ["\"x", "z"]);
    }

    #[test]
    fn a_missing_column_is_told_with_the_nearest() {
        let table = tsv("Name\tNo Power\tPower\nAda\t0\t1\n").unwrap();
        fails(
            table.require(&["Name", "power"]),
            "no column `power` in `x.tsv`",
            Some(
                "did you mean `Power`? `.rename(#{\"Power\": \"power\"})` renames it; \
                 the columns are `Name`, `No Power`, `Power`",
            ),
        );
        fails(
            table.column("label").map(drop),
            "no column `label` in `x.tsv`",
            Some("the columns are `Name`, `No Power`, `Power`"),
        );
        fails(table.row(1).map(drop), "no row 1 in `x.tsv`: it has 1", Some("rows count from 0 to 0"));
    }

    #[test]
    fn renames_all_at_once() {
        let table = tsv("a\tb\n1\t2\n").unwrap();
        let swapped = table.rename(&[("a", "b"), ("b", "a")]).unwrap();
        assert_eq!(swapped.columns, ["b", "a"]);
        assert_eq!(swapped.column("a").unwrap(), ["2"]);
        assert!(matches!(table.rename(&[("a", "b")]), Err(TableError::DuplicateColumn { .. })));
        assert!(matches!(table.rename(&[("c", "d")]), Err(TableError::NoColumn { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            cells in prop::collection::vec(prop::collection::vec("[ab\",\t\n\r']{0,5}", 3), 0..6),
            separator in prop::sample::select(vec![Separator::Tab, Separator::Comma]),
        ) {
            let columns = ["x", "y z", "\"w\""].map(String::from).to_vec();
            let table = Table { name: "t".into(), columns, rows: cells };
            let mut bytes = Vec::new();
            table.write(&mut bytes, separator).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(Table::parse("t", &text, separator).unwrap(), table);
        }

        #[test]
        fn any_text_is_a_table_or_an_error(text in "[ab\",\n\r\t\u{feff}]{0,30}") {
            if let Ok(table) = Table::parse("t", &text, Separator::Comma) {
                prop_assert!(table.rows.iter().all(|row| row.len() == table.columns.len()));
            }
        }
    }
}
