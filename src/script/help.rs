//! `help`, printed from the table.

use super::api::{Entry, Kind, Table};
use crate::nearest::nearest;

/// All types and functions, one line each.
pub fn overview(table: &Table) -> String {
    let mut out = String::new();
    let width = table.types.iter().map(|ty| ty.name.len()).max().unwrap_or(0);
    if !table.types.is_empty() {
        out += "types\n";
    }
    for ty in &table.types {
        out += &format!("  {:width$}  {}\n", ty.name, ty.summary);
    }
    out += "functions\n";
    for entry in table.entries.iter().filter(|entry| entry.kind == Kind::Function) {
        out += &line(entry);
    }
    out + "help(name) tells more; vars lists the variables; :quit leaves"
}

/// What is known about a name: a type, or all entries of that name.
pub fn about(table: &Table, name: &str) -> String {
    let ty = table.types.iter().find(|ty| ty.name == name);
    let entries: Vec<_> = table.named(name).collect();
    match (ty, entries.as_slice()) {
        (Some(ty), _) => {
            let members = table.of_type(name).map(line).collect::<String>();
            format!("{name}: {}\n{}", ty.summary, members.trim_end())
        }
        (None, []) => {
            let names = table.entries.iter().map(Entry::name).chain(table.types.iter().map(|ty| ty.name));
            match nearest(name, names) {
                Some(near) => format!("nothing is known about `{name}`; did you mean `{near}`?"),
                None => format!("nothing is known about `{name}`; `help` lists everything"),
            }
        }
        (None, entries) => entries.iter().map(|entry| full(entry)).collect::<Vec<_>>().join("\n"),
    }
}

fn line(entry: &Entry) -> String {
    format!("  {}\n      {}\n", entry.usage(), entry.summary)
}

fn full(entry: &Entry) -> String {
    let mut out = format!("{}\n  {}", entry.usage(), entry.summary);
    if let Some(example) = entry.example {
        out += &format!("\n  > {}", example.code);
        if !example.output.is_empty() {
            out += &format!("\n  {}", example.output.replace('\n', "\n  "));
        }
    }
    out
}
