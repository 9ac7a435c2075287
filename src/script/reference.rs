//! The reference, printed from the table and the stdlib: as Markdown for readers, as definition files (`.d.rhai`) for the
//! language server of editors.

use rhai::AST;

use super::api::{Entry, Kind, Table};
use super::entry::parse;
use super::modules::STDLIB;
use super::signature::Param;

/// Everything that a script can call, as a Markdown page.
pub fn markdown(table: &Table) -> String {
    let mut page = String::from("# Reference\n\n## Functions\n\n");
    let functions = table.entries.iter().filter(|entry| entry.kind == Kind::Function);
    page += &functions.map(item).collect::<String>();
    // Operators and methods may hang from the language's own types, too.
    let mut receivers: Vec<&str> = table.types.iter().map(|ty| ty.name).collect();
    for receiver in table.entries.iter().filter_map(|entry| entry.receiver) {
        if !receivers.contains(&receiver) {
            receivers.push(receiver);
        }
    }
    for receiver in receivers {
        page += &format!("\n## {receiver}\n\n");
        if let Some(ty) = table.types.iter().find(|ty| ty.name == receiver) {
            page += &format!("{}.\n\n", ty.summary);
        }
        page += &table.of_type(receiver).map(item).collect::<String>();
    }
    for (name, _) in STDLIB {
        page += &format!("\n{}", module(name).unwrap_or_default());
    }
    page
}

fn item(entry: &Entry) -> String {
    let example = entry.example.map_or(String::new(), |example| {
        let output = example.output.lines().map(|line| format!("  {line}\n")).collect::<String>();
        format!("\n  ```text\n  > {}\n{output}  ```\n", example.code)
    });
    format!("- `{}`: {}\n{example}", entry.usage(), entry.summary)
}

/// A module of the stdlib as Markdown; `None` if there is no such module.
pub fn module(name: &str) -> Option<String> {
    let (_, text) = STDLIB.iter().find(|(module, _)| *module == name)?;
    let head: Vec<_> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let mut page = format!("## {name}\n\n`import \"{name}\" as {name};` {}\n", head.join(" ").trim());
    for function in public(&parse(text).ok()?) {
        page += &format!("\n### {name}::{}({})\n\n", function.name, function.params.join(", "));
        let doc = function.doc.iter().map(|line| line.as_str());
        let (examples, words): (Vec<&str>, Vec<&str>) = split(doc);
        page += &format!("{}\n", words.join("\n").trim());
        if !examples.is_empty() {
            page += &format!("\n```text\n{}\n```\n", examples.join("\n"));
        }
    }
    Some(page)
}

/// Every function of the stdlib: its module, how it is called, and what it does.
pub fn stdlib() -> Vec<(&'static str, String, String)> {
    let functions = STDLIB.iter().filter_map(|(module, text)| Some((*module, parse(text).ok()?)));
    let told = |(module, ast): (&'static str, AST)| {
        public(&ast).into_iter().map(move |function| {
            let doc = function
                .doc
                .iter()
                .map(String::as_str)
                .take_while(|line| !line.is_empty() && !line.starts_with('>'));
            let usage = format!("{module}::{}({})", function.name, function.params.join(", "));
            (module, usage, doc.collect::<Vec<_>>().join(" "))
        })
    };
    functions.flat_map(told).collect()
}

/// The lines from the first that begins with `>`, and those before.
fn split<'a>(doc: impl Iterator<Item = &'a str>) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut examples, mut words) = (Vec::new(), Vec::new());
    for line in doc {
        let to = if line.starts_with('>') || !examples.is_empty() { &mut examples } else { &mut words };
        to.push(line);
    }
    (examples, words)
}

/// A function of a module that others may call, with its doc, a line each.
struct Public {
    name: String,
    params: Vec<String>,
    doc: Vec<String>,
}

/// The public functions of a module that are no tests, by name.
fn public(ast: &AST) -> Vec<Public> {
    let functions = ast.iter_functions().filter(|function| {
        function.access.is_public()
            && !function.name.starts_with("anon$")
            && !function.name.starts_with("test_")
    });
    let line = |line: &str| line.trim_start_matches("///").trim().to_string();
    let mut functions: Vec<_> = functions
        .map(|function| Public {
            name: function.name.into(),
            params: function.params.iter().map(ToString::to_string).collect(),
            doc: function.comments.iter().flat_map(|comment| comment.lines()).map(line).collect(),
        })
        .collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    functions
}

/// Definition files, by their names.
pub fn definitions(table: &Table) -> Vec<(String, String)> {
    let mut ours = String::from("module static;\n");
    for entry in &table.entries {
        ours += &format!("\n{}{}", documented(entry), declared(entry));
    }
    let mut files = vec![("patchscript.d.rhai".to_string(), ours)];
    for (name, text) in STDLIB {
        let Ok(ast) = parse(text) else { continue };
        let mut module = format!("module {name};\n");
        for function in public(&ast) {
            let doc = function.doc.iter().map(|line| format!("/// {line}\n")).collect::<String>();
            let params =
                function.params.iter().map(|param| format!("{param}: ?")).collect::<Vec<_>>().join(", ");
            module += &format!("\n{doc}fn {}({params}) -> ?;\n", function.name);
        }
        files.push((format!("{name}.d.rhai"), module));
    }
    files
}

fn documented(entry: &Entry) -> String {
    let mut doc = format!("/// {}\n", entry.summary);
    if let Some(example) = entry.example {
        doc += "///\n/// ```\n";
        doc += &example.code.lines().map(|line| format!("/// {line}\n")).collect::<String>();
        doc += "/// ```\n";
    }
    doc
}

/// The declarations of an entry: one for each number of arguments that it takes.
fn declared(entry: &Entry) -> String {
    let result = ty(entry.signature.result);
    let this = entry.receiver.map(|receiver| ("this", ty(receiver)));
    let params = entry.signature.params.as_deref().unwrap_or_default();
    let required = params.iter().filter(|param| !param.optional).count();
    let line = |count: usize| {
        let given =
            params[..count].iter().map(|Param { name, ty: of, .. }| (name.trim_end_matches("..."), ty(of)));
        let all: Vec<_> = this.into_iter().chain(given).collect();
        match entry.kind {
            Kind::Operator | Kind::Indexer => {
                let types: Vec<_> = all.iter().map(|(_, ty)| *ty).collect();
                let name = if entry.kind == Kind::Indexer { "index$get$" } else { entry.name() };
                format!("op {name}({}) -> {result};\n", types.join(", "))
            }
            Kind::Getter => format!("fn get {}({}) -> {result};\n", entry.name(), list(&all)),
            Kind::Function | Kind::Method => format!("fn {}({}) -> {result};\n", entry.name(), list(&all)),
        }
    };
    (required..=params.len()).map(line).collect()
}

fn list(params: &[(&str, &str)]) -> String {
    params.iter().map(|(name, ty)| format!("{name}: {ty}")).collect::<Vec<_>>().join(", ")
}

/// A type as the language server knows it; `?` where it knows none.
fn ty(name: &'static str) -> &'static str {
    match name {
        "string" => "String",
        "array" => "Array",
        "map" => "Map",
        "function" => "FnPtr",
        "any" | "number" => "?",
        name if name == "()" || name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) => name,
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Host, HostOptions};

    #[test]
    fn every_entry_is_declared_and_described() {
        let host = Host::new(HostOptions::default());
        let files = definitions(host.table());
        let ours = &files[0].1;
        for entry in &host.table().entries {
            assert!(ours.contains(entry.summary), "{}", entry.usage());
        }
        for line in [
            "fn get n_layers(this: Model) -> int;",
            "fn join(items: Array, separator: String) -> String;",
            "fn assert(condition: bool) -> ();\nfn assert(condition: bool, message: String) -> ();",
            "op +(Tensor, ?) -> Tensor;",
        ] {
            assert!(ours.contains(line), "{line}\n{ours}");
        }
        let patching = files.iter().find(|(name, _)| name == "patching.d.rhai").unwrap();
        assert!(
            patching.1.starts_with("module patching;\n") && patching.1.contains("fn layers("),
            "{}",
            patching.1
        );
        let page = markdown(host.table());
        assert!(
            page.contains("\n## Model\n") && page.contains("### metrics::recovered(values, clean, corrupt)")
        );
    }
}
