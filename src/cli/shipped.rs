//! The scripts of `scripts/` and the data that they read, inside the program.

/// A file by its path below the script's folder.
pub type Data = (&'static str, &'static [u8]);

pub struct Shipped {
    pub name: &'static str,
    pub text: &'static str,
    pub data: &'static [Data],
}

macro_rules! shipped {
    ($($name:literal: [$($data:literal),*],)*) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../scripts/", $name, ".rhai")),
            data: &[$(($data, include_bytes!(concat!("../../scripts/", $data)))),*],
        }),*]
    };
}

pub const SHIPPED: &[Shipped] = shipped! {
    "attribute_extraction": [
        "data/patchscopes/LICENSE",
        "data/patchscopes/README.md",
        "data/patchscopes/country_capital_city.tsv",
        "data/patchscopes/country_currency.tsv",
        "data/patchscopes/food_from_country.tsv",
        "data/patchscopes/task_done_by_tool.tsv"
    ],
    "ioi_patching": ["data/ioi.json"],
    "mfa_steering": ["data/texts.jsonl"],
    "patchscope": ["data/texts.jsonl"],
    "patchscope_layers": [],
    "percentage_patching": ["data/percentage_answers.tsv"],
    "power_heatmap": ["data/power.tsv", "data/power_long.tsv"],
    "ravel_cities": [
        "data/ravel/LICENSE",
        "data/ravel/README.md",
        "data/ravel/cities.tsv",
        "data/ravel/prompts.json",
        "data/ravel/sentences.txt"
    ],
};

/// What `new` writes where no shipped script is asked for.
pub const STARTER: &str = include_str!("starter.rhai");

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    /// The files below a folder, by their path below `root`.
    fn files(root: &Path, folder: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let below = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
        entries
            .flat_map(|path| if path.is_dir() { files(root, &path) } else { BTreeSet::from([below(&path)]) })
            .collect()
    }

    #[test]
    fn every_script_and_all_data_are_shipped() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let scripts = SHIPPED.iter().map(|script| format!("{}.rhai", script.name));
        let data = SHIPPED.iter().flat_map(|script| script.data.iter().map(|(path, _)| path.to_string()));
        assert_eq!(scripts.chain(data).collect::<BTreeSet<_>>(), files(&root, &root));
    }
}
