//! The type `Table`: text cells under named columns, from TSV and CSV files and back.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use super::text::{read, write};
use crate::count::count;
use crate::data::{self, Separator};
use crate::memory;
use crate::script::api::Api;
use crate::script::args::{self, Options, expected, type_of};
use crate::script::bind::refusal;
use crate::script::context::Context;
use crate::script::draw;
use crate::script::error::{ScriptResult, fail};

/// A table of a script. Cloning shares the cells, which never change.
#[derive(Clone, Debug)]
pub struct Table(Arc<data::Table>);

impl Table {
    /// The rows as maps from column to cell.
    pub(super) fn rows(&self) -> impl Iterator<Item = Map> {
        self.0.rows.iter().map(|cells| as_map(&self.0.columns, cells))
    }

    /// The row at `i`, counted from the end if negative.
    fn row(&self, i: i64) -> ScriptResult<Map> {
        let len = self.0.rows.len();
        let row = usize::try_from(if i < 0 { i.saturating_add(len as i64) } else { i });
        let Ok(row) = row else {
            return Err(fail(format!("no row {i} in `{}`: it has {len}", self.0.name))
                .help(format!("rows count from 0 to {}, or back from -1 to -{len}", len.saturating_sub(1)))
                .into());
        };
        Ok(as_map(&self.0.columns, self.0.row(row).map_err(refusal::of)?))
    }
}

fn as_map(columns: &[String], cells: &[String]) -> Map {
    columns
        .iter()
        .map(|column| column.into())
        .zip(cells.iter().map(|cell| Dynamic::from(cell.clone())))
        .collect()
}

fn strings<'a>(texts: impl IntoIterator<Item = &'a (impl AsRef<str> + 'a + ?Sized)>) -> Array {
    texts.into_iter().map(|text| Dynamic::from(text.as_ref().to_string())).collect()
}

/// Registers the type, and reading and writing it.
pub fn register(api: &mut Api) {
    api.ty::<Table>("Table", "text cells under named columns", |table: &Table| {
        format!("Table of {}: {}", count(table.0.rows.len(), "row"), table.0.columns.join(", "))
    });
    api.drawn(|Table(table): &Table| {
        let rows = |row: usize| table.rows[row].iter().map(|cell| draw::visible(cell)).collect();
        let head = format!("Table of {}", count(table.rows.len(), "row"));
        format!("{head}\n{}", draw::rows_of(&table.columns, table.rows.len(), rows))
    });
    files(api);
    fields(api);
    columns(api);
}

fn files(api: &mut Api) {
    let context = api.context();
    api.function(
        "read_tsv(path: string) -> Table",
        "a table separated by tabs; the first line names the columns. Cells may be in double quotes. Every cell is text \
         as it stands: none becomes a missing value, as `NA`, `null` and empty cells do in pandas",
    )
    .example(
        "write_text(\"t.tsv\", \"name\\tage\\nAda\\t36\\n\"); read_tsv(\"t.tsv\")",
        "Table of 1 row\nname  age\nAda    36",
    )
    .native(move |path: &str| parse(&context, path, Separator::Tab));
    let context = api.context();
    api.function(
        "read_csv(path: string) -> Table",
        "a table separated by commas; the first line names the columns. Quotes and empty cells as for `read_tsv`",
    )
    .example("write_text(\"t.csv\", \"name,age\\nAda,36\\n\"); read_csv(\"t.csv\")[0].age", "\"36\"")
    .native(move |path: &str| parse(&context, path, Separator::Comma));
    let context = api.context();
    let save = move |path: &str, rows: &Dynamic, options: Map| -> ScriptResult<String> {
        let mut options = Options::new(options, "write_csv");
        let columns = options.get_with("columns", |value| args::each(value, args::string))?;
        options.finish()?;
        let mut bytes = Vec::new();
        let written = as_table(path, rows, columns)?.write(&mut bytes, Separator::Comma);
        written.map_err(|error| fail(format!("cannot write `{path}`: {error}")))?;
        write(&context, path, &bytes)
    };
    let save = Arc::new(save);
    let plain = save.clone();
    api.function(
        "write_csv(path: string, rows: array | Table, options?: map) -> string",
        "writes maps as rows; columns in alphabetical order, or chosen by `#{columns: [..]}`",
    )
    .example(
        "write_csv(\"r.csv\", [#{layer: 3, acc: 0.5}], #{columns: [\"layer\", \"acc\"]}); read_text(\"r.csv\")",
        "layer,acc\n3,0.5",
    )
    .native(move |path: &str, rows: Dynamic| plain(path, &rows, Map::new()))
    .native(move |path: &str, rows: Dynamic, options: Map| save(path, &rows, options));
}

/// Bytes of a cell with its share of a row, at least.
const CELL: usize = 80;

fn parse(context: &Context, path: &str, separator: Separator) -> ScriptResult<Table> {
    let text = read(context, path)?;
    let ends = text.bytes().filter(|byte| *byte == b'\n' || *byte == separator.byte()).count();
    memory::reserve_many(ends, CELL)?;
    let name = path.to_string();
    let table = context.apart(move || data::Table::parse(&name, &text, separator))?;
    table.map(|table| Table(Arc::new(table))).map_err(refusal::of)
}

/// The rows under `columns`; if none are chosen, all those of the first row.
fn as_table(name: &str, rows: &Dynamic, columns: Option<Vec<String>>) -> ScriptResult<data::Table> {
    let maps: Vec<Map> = match rows.read_lock::<Table>() {
        Some(table) if columns.is_none() => return Ok(table.0.as_ref().clone()),
        Some(table) => table.rows().collect(),
        None => args::each(rows, |row| {
            row.read_lock::<Map>().map(|map| map.clone()).ok_or_else(|| expected("a map", row).into())
        })?,
    };
    let first = |row: &Map| row.keys().map(|key| key.to_string()).collect();
    let chosen = columns.is_some();
    let columns = columns.or_else(|| maps.first().map(first)).ok_or_else(|| {
        fail("there are no rows to name the columns").help("name them with `#{columns: [..]}`")
    })?;
    let row = |(i, row): (usize, &Map)| {
        if let Some(extra) = row.keys().find(|key| !chosen && !columns.iter().any(|column| column == *key)) {
            return Err(fail(format!("row {i} has a `{extra}`, but row 0 has none"))
                .help("choose the columns with `#{columns: [..]}`"));
        }
        columns.iter().map(|column| cell(i, column, row.get(column.as_str()))).collect()
    };
    let rows = maps.iter().enumerate().map(row).collect::<Result<_, _>>()?;
    Ok(data::Table { name: name.into(), columns, rows })
}

/// The text of one cell; `()` is empty.
fn cell(row: usize, column: &str, value: Option<&Dynamic>) -> Result<String, crate::script::Failure> {
    let value = value.ok_or_else(|| {
        fail(format!("row {row} has no `{column}`")).help(format!("set `{column}` to `()` for an empty cell"))
    })?;
    let scalar =
        value.is_string() || value.is_int() || value.is_float() || value.is_bool() || value.is_char();
    match value {
        value if value.is_unit() => Ok(String::new()),
        value if scalar => Ok(value.to_string()),
        value => Err(fail(format!("row {row}, `{column}`: a cell cannot hold a `{}`", type_of(value)))
            .help("write nested values with `write_json`")),
    }
}

fn fields(api: &mut Api) {
    api.getter("Table", "columns -> array", "the names of the columns")
        .example("write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n\"); read_tsv(\"t.tsv\").columns", "[\"a\", \"b\"]")
        .native(|table: &mut Table| strings(&table.0.columns));
    api.getter("Table", "len -> int", "the number of rows")
        .example("write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n\"); read_tsv(\"t.tsv\").len", "1")
        .native(|table: &mut Table| table.0.rows.len() as i64);
    api.method(
        "Table",
        "row(i: int) -> map",
        "the cells of a row by column, counted from the end if negative",
    )
    .example(
        "write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n\"); read_tsv(\"t.tsv\").row(0)",
        "#{a: \"1\", b: \"2\"}",
    )
    .native(|table: &mut Table, i: i64| table.row(i));
    api.method("Table", "head(n: int) -> Table", "the first `n` rows, or all if there are fewer")
        .example(
            "write_text(\"t.tsv\", \"a\\n1\\n2\\n3\\n\"); read_tsv(\"t.tsv\").head(2).column(\"a\")",
            "[\"1\", \"2\"]",
        )
        .native(|table: &mut Table, n: Dynamic| -> ScriptResult<Table> {
            let mut head = table.0.as_ref().clone();
            head.rows.truncate(args::size(&n)?);
            Ok(Table(Arc::new(head)))
        });
    api.indexer("Table", "[i: int] -> map", "as `.row(i)`")
        .example("write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n3\\t4\\n\"); read_tsv(\"t.tsv\")[-1].b", "\"4\"")
        .native(|table: &mut Table, i: i64| table.row(i));
}

fn columns(api: &mut Api) {
    api.method("Table", "column(name: string) -> array", "the cells of a column, top to bottom")
        .example(
            "write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n3\\t4\\n\"); read_tsv(\"t.tsv\").column(\"b\")",
            "[\"2\", \"4\"]",
        )
        .native(|table: &mut Table, name: &str| table.0.column(name).map(strings).map_err(refusal::of));
    api.method("Table", "require(columns: array) -> Table", "the table itself, if it has all these columns")
        .example("write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n\"); read_tsv(\"t.tsv\").require([\"a\"]).len", "1")
        .native(|table: &mut Table, columns: Dynamic| -> ScriptResult<Table> {
            let columns = args::each(&columns, args::string)?;
            table.0.require(&columns.iter().map(String::as_str).collect::<Vec<_>>()).map_err(refusal::of)?;
            Ok(table.clone())
        });
    api.method(
        "Table",
        "rename(names: map) -> Table",
        "the table with columns called otherwise: old name to new name",
    )
    .example(
        "write_text(\"t.tsv\", \"a\\tb\\n1\\t2\\n\"); read_tsv(\"t.tsv\").rename(#{a: \"x\"}).columns",
        "[\"x\", \"b\"]",
    )
    .native(|table: &mut Table, names: Map| -> ScriptResult<Table> {
        let pairs = names.iter().map(|(old, new)| Ok((old.as_str(), args::string(new)?)));
        let pairs = pairs.collect::<ScriptResult<Vec<_>>>()?;
        let pairs: Vec<_> = pairs.iter().map(|(old, new)| (*old, new.as_str())).collect();
        table.0.rename(&pairs).map(|table| Table(Arc::new(table))).map_err(refusal::of)
    });
}

#[cfg(test)]
mod tests {
    use crate::script::HostOptions;
    use crate::script::bind::testing::run;

    #[test]
    fn tables_are_read_and_written() {
        let out = tempfile::tempdir().unwrap();
        let options = HostOptions { out: Some(out.path().into()), ..HostOptions::default() };
        std::fs::write(out.path().join("t.tsv"), "name\tage\nAda\t36\nAlan\t41\n").unwrap();
        for (code, expected) in [
            ("read_tsv(\"t.tsv\").row(-1)", "#{age: \"41\", name: \"Alan\"}"),
            ("read_tsv(\"t.tsv\")[2]", "no row 2 in `t.tsv`: it has 2; rows count from 0 to 1"),
            (
                "read_tsv(\"t.tsv\")[-3]",
                "no row -3 in `t.tsv`: it has 2; rows count from 0 to 1, or back from -1 to -2",
            ),
            (
                "read_tsv(\"t.tsv\").require([\"Age\"])",
                "no column `Age` in `t.tsv`; did you mean `age`? `.rename(#{\"age\": \"Age\"})` renames it; \
                 the columns are `name`, `age`",
            ),
            ("write_csv(\"t.csv\", read_tsv(\"t.tsv\")); read_text(\"t.csv\")", "name,age\nAda,36\nAlan,41"),
            ("write_csv(\"a.csv\", [#{b: (), a: \"x,y\"}]); read_text(\"a.csv\")", "a,b\n\"x,y\","),
            (
                "write_csv(\"a.csv\", [#{a: 1}, #{b: 1}])",
                "row 1 has a `b`, but row 0 has none; choose the columns with `#{columns: [..]}`",
            ),
            ("write_csv(\"a.csv\", [#{a: 1}, #{}])", "row 1 has no `a`; set `a` to `()` for an empty cell"),
            (
                "write_csv(\"a.csv\", [#{a: [1]}])",
                "row 0, `a`: a cell cannot hold a `array`; write nested values with `write_json`",
            ),
            (
                "write_csv(\"a.csv\", [])",
                "there are no rows to name the columns; name them with `#{columns: [..]}`",
            ),
            ("write_json(\"t.json\", #{t: read_tsv(\"t.tsv\")}); read_json(\"t.json\").t[0].name", "\"Ada\""),
            (
                "write_json(\"n.json\", #{t: tensor([0.1, 2]).log() / 0})",
                "`.t[0]` is -inf, which json cannot express; leave it out or replace it, for example by `()`, which is written as `null`",
            ),
        ] {
            assert_eq!(run(code, options.clone()), expected, "{code}");
        }
        assert!(!out.path().join("n.json").exists(), "a refused value leaves no file");
    }
}
