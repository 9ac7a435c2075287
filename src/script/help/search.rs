//! What `help` finds for words that name nothing by themselves: entries, types and functions of the stdlib whose names
//! or texts hold all of them.

use super::line;
use crate::script::api::Table;
use crate::script::reference;

/// What is listed of many.
const LISTED: usize = 20;

/// A list of what was found, names before texts; nothing if that is nothing.
pub fn search(table: &Table, asked: &str) -> Option<String> {
    let words: Vec<_> = asked.to_lowercase().split_whitespace().map(String::from).collect();
    let holds = |text: &str| words.iter().all(|word| text.contains(word.as_str()));
    // By what is found in: the name, the call, the text.
    let rank = |name: &str, call: &str, text: &str| {
        let [name, call, text] = [name, call, text].map(str::to_lowercase);
        let places = [holds(&name), holds(&call), holds(&format!("{call} {text}"))];
        places.into_iter().position(|found| found)
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    for ty in &table.types {
        found.extend(
            rank(ty.name, ty.name, ty.summary)
                .map(|rank| (rank, format!("  {}\n      {}\n", ty.name, ty.summary))),
        );
    }
    for entry in &table.entries {
        found.extend(rank(entry.name(), &entry.usage(), entry.summary).map(|rank| (rank, line(entry))));
    }
    for (module, usage, text) in reference::stdlib() {
        let name = usage.split('(').next().and_then(|call| call.rsplit(':').next()).unwrap_or(&usage);
        let first = text.split(". ").next().unwrap_or(&text).trim_end_matches('.');
        let told = || format!("  {usage}, after import \"{module}\" as {module}\n      {first}\n");
        found.extend(rank(name, &usage, &text).map(|rank| (rank, told())));
    }
    found.sort_by_key(|(rank, _)| *rank);
    let more = found.len().saturating_sub(LISTED);
    let lines: String = found.into_iter().take(LISTED).map(|(_, line)| line).collect();
    let rest = if more > 0 { format!("  … {more} more: ask with more words\n") } else { String::new() };
    (!lines.is_empty() && !words.is_empty())
        .then(|| format!("`{asked}` is in\n{lines}{rest}").trim_end().to_string())
}
