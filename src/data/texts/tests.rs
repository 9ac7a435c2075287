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
    let again = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut again.as_file(), bytes).unwrap();
    let labels = (choice.label != Label::None && ["csv", "tsv", "parquet"].contains(&format))
        .then(|| again.reopen().unwrap());
    Texts::of(&format!("c.{format}"), format, file, labels, choice)
}

fn pair(text: Text) -> (usize, String) {
    (text.row, text.text)
}

fn read(format: &str, bytes: &[u8], choice: Choice) -> (Vec<(usize, String)>, Skipped) {
    let mut texts = open(format, bytes, choice).unwrap();
    let found = texts.by_ref().map(|text| text.map(pair));
    let found = found.collect::<Result<_>>().unwrap_or_else(|error| panic!("{format}: {error}"));
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
            assert_eq!(
                texts.next().map(|text| pair(text.unwrap())),
                all[..to.min(8)].get(from.max(4)).cloned()
            );
        }
        let mut texts = open(format, &bytes, Choice::default()).unwrap();
        let groups: Vec<_> =
            std::iter::from_fn(|| Some(texts.group(3, 9).unwrap()).filter(|g| !g.is_empty())).collect();
        assert!(groups.len() > 3, "{format}");
        assert!(groups.concat().into_iter().map(pair).eq(all), "{format}");
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

/// Row, text and label of each.
fn labelled(format: &str, text: &str, label: Label) -> Vec<(usize, String, Option<String>)> {
    let choice = Choice { label, ..Choice::default() };
    let texts = open(format, text.as_bytes(), choice).unwrap_or_else(|error| panic!("{format}: {error}"));
    let triple = |text: Result<Text>| text.map(|text| (text.row, text.text, text.label));
    texts.map(triple).collect::<Result<_>>().unwrap_or_else(|error| panic!("{format}: {error}"))
}

#[test]
fn labels_are_found_where_they_mostly_lie() {
    let row = |row: usize, text: &str, label: &str| {
        (row, text.to_string(), Some(label.to_string()).filter(|label| !label.is_empty()))
    };
    for pair in [("prompt", "label"), ("text", "label"), ("sentence", "concept"), ("sentence", "label")] {
        let (text, label) = pair;
        let object = |a: &str, b: &str| format!("{{\"id\": 1, \"{label}\": \"{b}\", \"{text}\": \"{a}\"}}");
        let objects = [object(" one ", "x"), object("two", " y "), object("three", "")];
        let rows = [row(0, "one", "x"), row(1, "two", "y"), row(2, "three", "")];
        assert_eq!(labelled("jsonl", &objects.join("\n"), Label::Usual), rows, "{pair:?}");
        assert_eq!(labelled("json", &format!("[{}]", objects.join(",")), Label::Usual), rows, "{pair:?}");
        let csv = format!("id,{label},{text}\n1,x, one \n1, y ,two\n1,,three\n");
        assert_eq!(labelled("csv", &csv, Label::Usual), rows, "{pair:?}");
    }
    // Each object for itself, and numbers as they are written.
    let mixed = "{\"text\": \"a\", \"concept\": 7}\n{\"sentence\": \" b\"}\n\" c\"\n{\"prompt\": \"d\", \"label\": null}";
    let rows = [row(0, "a", "7"), row(1, " b", ""), row(2, " c", ""), row(3, "d", "")];
    assert_eq!(labelled("jsonl", mixed, Label::Usual), rows);
    // The first pair that is there.
    let both = "{\"text\": \"a\", \"prompt\": \"b\", \"label\": \"x\", \"kind\": \"k\"}";
    assert_eq!(labelled("jsonl", both, Label::Usual), [row(0, "b", "x")]);
    assert_eq!(labelled("jsonl", both, Label::Field("kind".into())), [row(0, "b", "k")]);
    assert_eq!(labelled("jsonl", both, Label::None), [row(0, "a", "")]);
    assert_eq!(labelled("txt", " a\nb", Label::Usual), [row(0, " a", ""), row(1, "b", "")]);
    let choice = Choice { label: Label::Field("kin".into()), ..Choice::default() };
    assert_eq!(refusal("jsonl", both.as_bytes(), choice.clone()), "row 0 of `c.jsonl` has no `kin`");
    assert_eq!(refusal("csv", b"text,kind\na,b", choice), "`c.csv` has no column `kin`");
    let choice = Choice { label: Label::Usual, ..Choice::default() };
    let told = refusal("jsonl", b"{\"text\": \"a\", \"label\": [1]}", choice);
    assert_eq!(told, "row 0 of `c.jsonl`: expected a label, a string or a number, found an array");
}

#[test]
fn an_object_has_its_texts_by_their_labels() {
    let text = " {\"b\": [\" one\", \"two\"], \"a\": [], \"c\": [\"three\"]}";
    let found = labelled("json", text, Label::Usual);
    let found: Vec<_> = found.iter().map(|(row, text, label)| (*row, &**text, label.as_deref())).collect();
    assert_eq!(found, [(0, "one", Some("b")), (1, "two", Some("b")), (2, "three", Some("c"))]);
    let choice = Choice { label: Label::Usual, ..Choice::default() };
    for (text, told) in [
        ("{\"a\": [1]}", "row 0 of `c.json`: expected a string or an object with one, found a number"),
        ("{\"a\": \"b\"}", "`a` of `c.json` is no array of texts"),
    ] {
        assert_eq!(refusal("json", text.as_bytes(), choice.clone()), told);
    }
    assert!(refusal("json", b"{\"a\"", choice.clone()).starts_with("row 0 of `c.json` is not json: "));
    let mut large = vec![b' '; (16 << 20) + 1];
    large[0] = b'{';
    assert_eq!(refusal("json", &large, choice), "`c.json` is an object of more than 16777216 bytes");
}

#[test]
fn a_column_of_labels_is_passed_over_with_its_texts() {
    let bytes = "label,text\nx,one\ny,two\nz,three\n".as_bytes();
    let choice = Choice { label: Label::Usual, from: 1, ..Choice::default() };
    let mut texts = open("csv", bytes, choice.clone()).unwrap();
    texts.seek(2).unwrap();
    assert_eq!(texts.next().unwrap().unwrap().label.as_deref(), Some("z"));
    // Of Parquet too.
    let rows: Vec<&[u8]> = vec![b"a", b"b", b"c", b"d", b"e"];
    let choice = Choice { label: Label::Field("id".into()), ..choice };
    let mut texts = open("parquet", &parquet(&rows, Compression::SNAPPY), choice).unwrap();
    texts.seek(4).unwrap();
    let text = texts.next().unwrap().unwrap();
    assert_eq!((text.row, &*text.text, text.label.as_deref()), (4, "e", Some("7")));
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
