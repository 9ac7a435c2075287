use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::data_type::{ByteArray, ByteArrayType};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use proptest::prelude::*;

use super::*;
use crate::help::Help;

const FORMATS: [&str; 7] = ["txt", "jsonl", "ndjson", "json", "csv", "tsv", "parquet"];

/// A file with a row for each of these, and a column that is of no interest.
fn file(format: &str, rows: &[&[u8]]) -> Vec<u8> {
    let quoted = |row: &[u8]| [b"\"", &row.escape_ascii_quotes()[..], b"\""].concat();
    let object = |row: &&[u8]| [b"{\"id\": [1, \"]\"], \"text\": ", &quoted(row)[..], b"}"].concat();
    match format {
        "txt" => rows.iter().flat_map(|row| [row, &b"\r\n"[..]].concat()).collect(),
        "json" => {
            [b"[ ", &rows.iter().map(object).collect::<Vec<_>>().join(&b" ,\n"[..])[..], b"]\n"].concat()
        }
        "jsonl" | "ndjson" => rows.iter().map(object).collect::<Vec<_>>().join(&b'\n'),
        "parquet" => parquet(rows, Compression::SNAPPY),
        _ => {
            let separator = if format == "csv" { b',' } else { b'\t' };
            let cell =
                |row: &&[u8]| [b"7", &[separator][..], b"\"", &row.replace_quotes()[..], b"\"\n"].concat();
            [b"id", &[separator][..], b"text\n", &rows.iter().flat_map(cell).collect::<Vec<_>>()[..]].concat()
        }
    }
}

trait Quotes {
    fn escape_ascii_quotes(&self) -> Vec<u8>;
    fn replace_quotes(&self) -> Vec<u8>;
}

impl Quotes for [u8] {
    /// As JSON writes them.
    fn escape_ascii_quotes(&self) -> Vec<u8> {
        self.iter()
            .flat_map(|byte| if b"\"\\".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] })
            .collect()
    }

    /// As CSV writes them.
    fn replace_quotes(&self) -> Vec<u8> {
        self.iter().flat_map(|byte| if *byte == b'"' { vec![*byte; 2] } else { vec![*byte] }).collect()
    }
}

/// Groups of three rows, so that there are several; an empty row is null.
fn parquet(rows: &[&[u8]], compression: Compression) -> Vec<u8> {
    let schema = "message m { required byte_array id; optional byte_array text (UTF8); }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for rows in rows.chunks(3) {
        let mut group = writer.next_row_group().unwrap();
        let texts: Vec<_> =
            rows.iter().filter(|row| !row.is_empty()).map(|row| ByteArray::from(row.to_vec())).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(!row.is_empty())).collect();
        let ids = vec![ByteArray::from("7"); rows.len()];
        for (values, levels) in [(ids, None), (texts, Some(&levels[..]))] {
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&values, levels, None).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn open(format: &str, bytes: &[u8], choice: Choice) -> Result<Texts> {
    let mut file = tempfile::tempfile().unwrap();
    io::Write::write_all(&mut file, bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    Texts::of(&format!("c.{format}"), format, file, choice)
}

fn read(format: &str, bytes: &[u8], choice: Choice) -> (Vec<(usize, String)>, Skipped) {
    let mut texts = open(format, bytes, choice).unwrap();
    let found = texts.by_ref().collect::<Result<_>>().unwrap_or_else(|error| panic!("{format}: {error}"));
    (found, texts.skipped())
}

fn refusal(format: &str, bytes: &[u8], choice: Choice) -> String {
    let error = match open(format, bytes, choice) {
        Ok(texts) => texts.collect::<Result<Vec<_>>>().unwrap_err(),
        Err(error) => error,
    };
    assert!(error.help().is_some(), "{error}");
    error.to_string()
}

const ROWS: [&str; 8] = ["one", "  2, \"two\"\tor so ", "drei", "日本 é", "five\\", "]", "{\"seven\"", "8"];

#[test]
fn a_text_goes_by_its_row_in_every_format() {
    let rows = ROWS.map(str::as_bytes);
    for format in FORMATS {
        // Tabs in strings must be escaped in JSON.
        let rows: Vec<_> = rows
            .iter()
            .map(|row| if format.contains("js") { row.split(|b| *b == b'\t').next().unwrap() } else { row })
            .collect();
        let bytes = file(format, &rows);
        let all: Vec<_> =
            rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).enumerate().collect();
        assert_eq!(read(format, &bytes, Choice::default()).0, all, "{format}");
        for (from, to) in [(0, 3), (2, 7), (3, 6), (7, 100), (5, 5), (9, 12)] {
            let choice = Choice { from, to: Some(to), ..Choice::default() };
            let some = read(format, &bytes, choice.clone()).0;
            assert_eq!(some, all[from.min(8)..to.min(8)], "{format} {from}..{to}");
            let mut texts = open(format, &bytes, choice).unwrap();
            texts.seek(4).unwrap();
            assert_eq!(texts.next().map(Result::unwrap), all[..to.min(8)].get(from.max(4)).cloned());
        }
        let mut texts = open(format, &bytes, Choice::default()).unwrap();
        let groups: Vec<_> =
            std::iter::from_fn(|| Some(texts.group(3, 9).unwrap()).filter(|g| !g.is_empty())).collect();
        assert!(groups.len() > 3 && groups.concat() == all, "{format}");
        let (done, all, _) = texts.progress();
        assert!(done == all && all > 0, "{format}: {done} of {all}");
    }
}

#[test]
fn rows_that_are_no_texts_are_refused_or_counted() {
    let huge = vec![b'a'; HUGE];
    let rows: [&[u8]; 8] = [b"one", b"", &huge, b"caf\xe9", b"five", &huge[1..], b"", b"eight"];
    for format in FORMATS {
        let bytes = file(format, &rows);
        let choice = Choice { skip: true, ..Choice::default() };
        let (found, skipped) = read(format, &bytes, choice);
        let found: Vec<_> = found.iter().map(|(row, text)| (*row, text.len())).collect();
        // A line of JSON is longer than its text.
        let whole = !format.contains("js");
        let mut expected = vec![(0, 3), (4, 4), (5, HUGE - 1), (7, 5)];
        expected.retain(|(row, _)| whole || *row != 5);
        assert_eq!(found, expected, "{format}");
        assert_eq!(skipped, Skipped { empty: 2, huge: if whole { 1 } else { 2 }, not_utf8: 1 }, "{format}");
        for (row, flaw) in [(1, "is empty"), (2, "has 1000000 bytes or more"), (3, "is not utf-8 text")] {
            let choice = Choice { from: row, ..Choice::default() };
            assert_eq!(refusal(format, &bytes, choice), format!("row {row} of `c.{format}` {flaw}"));
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let field = |field: &str| Choice { field: Some(field.into()), ..Choice::default() };
    let none = Choice::default;
    for (format, text, choice, told) in [
        ("txt", "a", field("b"), "`c.txt` has no `field`: its rows are texts"),
        ("jsonl", "\"a\"\n{\"txt\": 1}", none(), "row 1 of `c.jsonl` has no `text`"),
        (
            "jsonl",
            "{\"a\": 1}",
            field("a"),
            "row 0 of `c.jsonl`: expected a string or an object with one, found a number",
        ),
        ("json", "{}", none(), "`c.json` is no json array"),
        ("json", "[\"a\"] 1", none(), "`c.json` is no json array"),
        ("json", "[\"a\", \"b", none(), "row 1 of `c.json` is not json: the file ends within the array"),
        (
            "json",
            "[\"a\",,\"b\"]",
            none(),
            "row 1 of `c.json` is not json: there is nothing between two commas",
        ),
        ("csv", "a,b\n1,2", none(), "`c.csv` has no column `text`"),
        ("csv", "", none(), "`c.csv` has no column `text`"),
        ("csv", "text,b\n1,2\n1\n", none(), "row 1 of `c.csv` has 1 cells, the header 2"),
        ("csv", "text,b\n1,2\n\"1,2\n", none(), "row 1 of `c.csv`: a `\"` is never closed"),
        (
            "parquet",
            "PAR1 and no more PAR1",
            none(),
            "`c.parquet` is no parquet file that can be read: its description of itself is too long",
        ),
    ] {
        assert_eq!(refusal(format, text.as_bytes(), choice), told);
    }
    assert!(refusal("jsonl", b"{\"text\": 'a'}", none()).starts_with("row 0 of `c.jsonl` is not json: "));
    let told =
        TextsError::NoField { name: "c".into(), row: 0, field: "text".into(), keys: vec!["txt".into()] };
    assert_eq!(told.help().unwrap(), "did you mean `#{field: \"txt\"}`? there are `txt`");
}

#[test]
fn one_column_needs_no_name_and_strings_no_object() {
    assert_eq!(
        read("csv", b"\xef\xbb\xbfprompt\na\n\n\"b\nc\"", Choice::default()).0,
        [(0, "a".into()), (1, "b\nc".into())]
    );
    assert_eq!(read("json", b"\xef\xbb\xbf[\"a\", {\"text\": \"b\"}]", Choice::default()).0.len(), 2);
    assert_eq!(read("json", b" [ ] ", Choice::default()).0, []);
    assert_eq!(read("txt", b"\xef\xbb\xbfa\nb", Choice::default()).0, [(0, "a".into()), (1, "b".into())]);
    let choice = Choice { field: Some("id".into()), ..Choice::default() };
    assert_eq!(read("parquet", &file("parquet", &[b"a"]), choice).0, [(0, "7".into())]);
}

#[test]
fn parquet_is_read_however_it_is_compressed() {
    let rows = ROWS.map(str::as_bytes);
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(Default::default()),
    ] {
        let found = read("parquet", &parquet(&rows, compression), Choice::default()).0;
        assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ROWS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever is done to a file, it gives texts or an error.
    #[test]
    fn a_damaged_file_ends_in_an_error(format in 0..FORMATS.len(), at in 0.0f64..1.0, byte: u8, cut: bool) {
        let rows = ROWS.map(str::as_bytes);
        let mut bytes = file(FORMATS[format], &rows);
        let at = (at * bytes.len() as f64) as usize;
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        for skip in [false, true] {
            if let Ok(texts) = open(FORMATS[format], &bytes, Choice { skip, ..Choice::default() }) {
                let _ = texts.collect::<Result<Vec<_>>>();
            }
        }
    }
}
