//! How the REPL draws a value that stands alone: rows as a table, nested numbers as a matrix, a text as it is.

use rhai::{Array, Dynamic, Map};

use super::api::Table;
use super::{terminal, value};

/// Rows shown at either end of a longer table.
const ROWS: usize = 10;
/// Characters of one cell.
const CELL: usize = 40;
/// Lines of the least window that is reckoned with.
const LEAST: usize = 24;
/// Numbers shown at either end of a longer level of nested arrays.
const ENDS: usize = 3;
/// Nested numbers that still stand in one line, all digits shown.
const FEW: usize = 20;

/// The drawing, if the value has one of its own.
pub fn draw(table: &Table, value: &Dynamic) -> Option<String> {
    if let Some(drawn) = table.draw(value) {
        return Some(drawn);
    }
    if let Some(items) = value.read_lock::<Array>() {
        return records(table, &items).or_else(|| matrix(&items));
    }
    let text = value.clone().into_immutable_string().ok()?;
    text.trim_end().contains('\n').then(|| text.trim_end_matches('\n').to_string())
}

/// A map whose entries do not fit in a line, an entry a line.
pub fn entries(table: &Table, value: &Dynamic) -> Option<String> {
    let map = value.read_lock::<Map>()?;
    let shown: Vec<_> =
        map.iter().map(|(key, value)| (key.to_string(), value::quoted(table, value))).collect();
    let wide =
        shown.iter().map(|(key, value)| key.chars().count() + value.chars().count() + 4).sum::<usize>();
    if wide <= terminal::width() || shown.len() < 2 {
        return None;
    }
    let longest = shown.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let room = terminal::width().max(CELL).saturating_sub(longest + 2);
    let line = |(key, value): &(String, String)| {
        let first = value.lines().next().unwrap_or_default();
        let text: String = first.chars().take(room).collect();
        let text = if text.len() < value.len() {
            text.chars().take(room - 1).chain(['…']).collect()
        } else {
            text
        };
        format!("{key:longest$}  {text}")
    };
    Some(shown.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// As much of a drawing as a terminal's window holds, and how much more there is.
pub fn cut(text: &str) -> String {
    cut_to(text, terminal::height().map_or(usize::MAX, |height| height.max(LEAST)))
}

fn cut_to(text: &str, height: usize) -> String {
    let lines = text.lines().count();
    // Prompts and the line below stand in the window, too.
    let kept = height.saturating_sub(4);
    if lines <= kept {
        return text.to_string();
    }
    let shown: Vec<_> = text.lines().take(kept).collect();
    format!("{}\n… {} more lines", shown.join("\n"), lines - kept)
}

/// Several maps with the same keys, texts first.
fn records(table: &Table, items: &Array) -> Option<String> {
    let rows: Vec<Map> = items.iter().map(|item| item.clone().try_cast::<Map>()).collect::<Option<_>>()?;
    let [first, rest @ ..] = rows.as_slice() else { return None };
    let same = |row: &Map| row.len() == first.len() && row.keys().all(|key| first.contains_key(key));
    if rest.is_empty() || first.is_empty() || !rest.iter().all(same) {
        return None;
    }
    let mut keys: Vec<_> = first.keys().collect();
    keys.sort_by_key(|key| !first[*key].is_string());
    let columns: Vec<_> = keys.iter().map(ToString::to_string).collect();
    let cells = |row: usize| keys.iter().map(|key| cell(table, &rows[row][*key])).collect();
    Some(rows_of(&columns, rows.len(), cells))
}

/// A table of `len` rows under these columns; `cells` gives one row. Numbers stand right.
pub fn rows_of(columns: &[String], len: usize, cells: impl Fn(usize) -> Vec<String>) -> String {
    let shown: Vec<usize> = match len <= 2 * ROWS {
        true => (0..len).collect(),
        false => (0..ROWS).chain(len - ROWS..len).collect(),
    };
    let cut = |text: &String| match text.chars().count() > CELL {
        true => text.chars().take(CELL - 1).chain(['…']).collect(),
        false => text.clone(),
    };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(cut).collect()];
    lines.extend(shown.iter().map(|row| cells(*row).iter().map(cut).collect()));
    let width = |column: usize| {
        lines.iter().map(|line| console::measure_text_width(&line[column])).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    let right: Vec<bool> = (0..columns.len())
        .map(|column| lines[1..].iter().all(|line| line[column].parse::<f64>().is_ok()))
        .collect();
    // What does not fit beside the others is counted at the end of the first line.
    let room = terminal::width().max(CELL);
    let fit = |room: usize| {
        let ends = widths.iter().scan(0, |end, width| {
            *end += width + 2;
            Some(*end - 2)
        });
        ends.take_while(|end| *end <= room).count().max(1)
    };
    let more = |fitting: usize| format!("  … {} more", columns.len() - fitting);
    let all = fit(room);
    let fitting = if all < columns.len() { fit(room.saturating_sub(more(1).chars().count())) } else { all };
    let draw = |line: &Vec<String>| {
        let parts = line.iter().take(fitting).enumerate().map(|(column, text)| {
            let blanks = " ".repeat(widths[column] - console::measure_text_width(text));
            if right[column] { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
        });
        parts.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut drawn: Vec<_> = lines.iter().map(draw).collect();
    if fitting < columns.len() {
        drawn[0] += &more(fitting);
    }
    if shown.len() < len {
        drawn.insert(1 + ROWS, format!("… {} more", len - shown.len()));
    }
    drawn.join("\n")
}

/// A value in a table: texts bare where they fit in a line, floats with four digits.
fn cell(table: &Table, value: &Dynamic) -> String {
    match value.as_float() {
        Ok(x) => number(x),
        Err(_) => match value.clone().into_immutable_string() {
            Ok(text) => visible(&text),
            Err(_) => value::quoted(table, value),
        },
    }
}

/// A text in one line: with quotes where blanks at its ends or signs without a glyph would be lost.
pub fn visible(text: &str) -> String {
    let plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    if plain { text.to_string() } else { format!("{text:?}") }
}

/// Up to four decimals; very large and very small numbers in powers of ten.
pub fn number(x: f64) -> String {
    if x.is_finite() && x != 0.0 && !(1e-3..1e6).contains(&x.abs()) {
        return format!("{x:.3e}");
    }
    let (short, full) = (format!("{x:.4}"), format!("{x:?}"));
    if full.len() <= short.len() { full } else { short }
}

/// Arrays of arrays of numbers, each level cut to its ends, a line a row.
fn matrix(items: &Array) -> Option<String> {
    let nested = items.iter().any(Dynamic::is_array);
    (nested && count(items)? > FEW).then(|| level(items, 1))
}

/// How many numbers; `None` if anything else is among them.
fn count(items: &Array) -> Option<usize> {
    items.iter().try_fold(0usize, |sum, item| {
        let more = match item.read_lock::<Array>() {
            Some(inner) => count(&inner)?,
            None => (item.is_int() || item.is_float()).then_some(1)?,
        };
        Some(sum.saturating_add(more))
    })
}

fn level(items: &Array, depth: usize) -> String {
    let show = |item: &Dynamic| match item.read_lock::<Array>() {
        Some(inner) => level(&inner, depth + 1),
        None => item.as_float().map_or_else(|_| item.to_string(), number),
    };
    let mut parts: Vec<_> = match items.len() <= 2 * ENDS {
        true => items.iter().map(show).collect(),
        false => items[..ENDS].iter().chain(&items[items.len() - ENDS..]).map(show).collect(),
    };
    if items.len() > 2 * ENDS {
        parts.insert(ENDS, format!("… {} more …", items.len() - 2 * ENDS));
    }
    let separator =
        if items.iter().any(Dynamic::is_array) { format!(",\n{}", " ".repeat(depth)) } else { ", ".into() };
    format!("[{}]", parts.join(&separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(code: &str) -> Option<String> {
        draw(&Table::default(), &rhai::Engine::new().eval(code).unwrap())
    }

    #[test]
    fn records_are_tables_with_texts_first() {
        let code = r##"[#{id: 7, token: " a", prob: 0.123456}, #{id: 12, token: "\n", prob: 0.00012345}]"##;
        assert_eq!(
            drawn(code).unwrap(),
            "token  id      prob\n\" a\"    7    0.1235\n\"\\n\"   12  1.234e-4"
        );
        assert_eq!(drawn("[#{a: 1}]"), None);
        assert_eq!(drawn("[#{a: 1}, #{b: 1}]"), None);
        let long = drawn("let rows = []; for i in 0..50 { rows.push(#{i: i}) } rows").unwrap();
        assert_eq!(long.lines().count(), 22);
        assert!(long.contains(" 9\n… 30 more\n40"), "{long}");
    }

    #[test]
    fn nested_numbers_are_cut_at_each_level() {
        let code = "let x = []; for i in 0..10 { let row = []; for j in 0..10 { row.push(i + j / 3.0) } x.push(row) } x";
        let text = drawn(code).unwrap();
        let first = "[[0.0, 0.3333, 0.6667, … 4 more …, 2.3333, 2.6667, 3.0],\n";
        assert!(text.starts_with(first), "{text}");
        assert_eq!(text.lines().count(), 7);
        assert_eq!(drawn("[[1.5, 2], [3, 4]]"), None);
        assert_eq!(drawn("[1.5, 2]"), None);
    }

    #[test]
    fn a_window_holds_so_many_lines() {
        let text = (0..40).map(|i| i.to_string()).collect::<Vec<_>>().join("\n");
        let cut = cut_to(&text, 24);
        assert!(cut.ends_with("\n19\n… 20 more lines"), "{cut}");
        assert_eq!(cut_to(&text, 44), text);
    }

    #[test]
    fn a_text_of_several_lines_is_printed() {
        assert_eq!(drawn("\"a\\n b\\n\"").unwrap(), "a\n b");
        assert_eq!(drawn("\"a\""), None);
        assert_eq!(drawn("\"a\\n\""), None);
    }
}
