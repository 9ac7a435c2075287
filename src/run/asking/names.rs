//! The spellings of sites: canonical names, TransformerLens hooks and Hugging Face module paths.

use super::site::{Heads, Site};
use crate::model::family::{Choice, FAMILIES, Family, MlpNames, Names, QkvNames};
use crate::model::{At, Config, Point};
use crate::run::error::{Result, RunError};

/// Module paths of a family's Hugging Face models, as nnsight writes them; `{}` is the layer.
fn paths(family: &Family) -> Vec<(String, Point)> {
    let Names { roots, layer, .. } = family.names;
    let names = &family.names;
    let root = roots[0];
    let mut paths = vec![
        (format!("{root}{}.output", names.embed), Point::Embed),
        (format!("{root}{}.output", names.final_norm), Point::LnFinal),
        (format!("{}.output", names.unembed[0]), Point::Logits),
    ];
    paths.extend(names.pos_embed.map(|table| (format!("{root}{table}.output"), Point::PosEmbed)));
    let mut add = |path: String, point| paths.push((format!("{root}{layer}{path}"), point));
    add("input".into(), Point::ResidPre);
    add("output".into(), Point::ResidPost);
    for (norm, point) in [
        (names.ln1, Point::Ln1),
        (names.post_attn, Point::AttnOut),
        (names.ln2, Point::Ln2),
        (names.post_mlp, Point::MlpOut),
    ] {
        norm.into_iter().for_each(|norm| add(format!("{norm}.output"), point));
    }
    if let (Some(norm), Choice::Never) = (names.ln2, family.parallel) {
        add(format!("{norm}.input"), Point::ResidMid);
    }
    for (norm, point) in [(names.post_attn, Point::AttnOutRaw), (names.post_mlp, Point::MlpOutRaw)] {
        norm.into_iter().for_each(|norm| add(format!("{norm}.input"), point));
    }
    if let QkvNames::Separate(maps) = names.qkv {
        maps.into_iter()
            .zip([Point::Q, Point::K, Point::V])
            .for_each(|(map, point)| add(format!("{map}.output"), point));
    }
    if let MlpNames::Plain(map) | MlpNames::Gated { gate: map, .. } = names.mlp {
        add(format!("{map}.output"), Point::MlpPre);
    }
    for (map, reads, writes) in
        [(names.attn_out, Point::Z, Point::AttnOutRaw), (names.mlp_out, Point::MlpPost, Point::MlpOutRaw)]
    {
        add(format!("{map}.input"), reads);
        // The module ends with this map.
        let module = map.split_once('.').map_or(map, |(module, _)| module);
        add(format!("{module}.output"), writes);
    }
    paths
}

/// What stands for every site in the sites of a run.
const ALL: &str = "all";

/// The sites that a text names where several may stand: one by any spelling; with `*` in the place of its layer that of
/// every layer (`z.*`, `z.*.3`, `blocks.*.hook_resid_post`); all that this architecture has with `all`, except logits,
/// which every run can tell.
pub fn parse_many(text: &str, config: &Config) -> Result<Vec<Site>> {
    let text = text.trim();
    let layers = |point: Point| if point.in_layer() { config.n_layers } else { 1 };
    if text == ALL {
        let points = Point::ALL.into_iter().filter(|&point| point != Point::Logits);
        let points = points.filter(|point| point.absent(config).is_none());
        return Ok(points
            .flat_map(|point| (0..layers(point)).map(move |layer| Site::new(point, layer)))
            .collect());
    }
    if !text.contains('*') {
        return parse(text).map(|site| vec![site]);
    }
    // All heads or neurons, which a site without them is anyway.
    let numbered = match text.strip_suffix(".*") {
        Some(site) if site.contains('.') => site,
        _ => text,
    };
    let at = |layer: &str| {
        parse(&numbered.replace('*', layer)).map_err(|error| match error {
            RunError::UnknownSite { .. } => {
                RunError::UnknownSite { text: text.into(), nearest: nearest(text) }
            }
            RunError::AmbiguousSite { meanings, .. } => RunError::AmbiguousSite {
                text: text.into(),
                meanings: meanings.into_iter().map(|(site, arch)| (site.replace(".0", ".*"), arch)).collect(),
            },
            error => error,
        })
    };
    let first = at("0")?;
    if !numbered.contains('*') {
        return Ok(vec![first]);
    }
    let every_layer = (0..config.n_layers).map(|layer| {
        let mut site = first.clone();
        site.at.layer = layer;
        site
    });
    match at("1")?.at.layer {
        1 => Ok(every_layer.collect()),
        // The star stands for something else.
        _ => Err(RunError::UnknownSite { text: text.into(), nearest: None }),
    }
}

pub fn parse(text: &str) -> Result<Site> {
    let text = text.trim();
    if text.contains('*') || text == ALL {
        return Err(RunError::ManySites { text: text.into() });
    }
    let hook = Point::ALL.iter().find_map(|&point| Some((point, matches(point.hook()?, text)?)));
    if let Some((point, layer)) = hook {
        return Ok(Site::new(point, layer));
    }
    // The same path may mean different things on different families.
    let mut meant: Vec<(Site, &str)> = Vec::new();
    for family in FAMILIES {
        let site = paths(family).iter().find_map(|(path, point)| Some((*point, matches(path, text)?)));
        let site = site.map(|(point, layer)| Site::new(point, layer));
        meant
            .extend(site.filter(|site| meant.iter().all(|(s, _)| s != site)).map(|site| (site, family.arch)));
    }
    match &meant[..] {
        [] => parse_canonical(text),
        [(site, _)] => Ok(site.clone()),
        several => {
            let meanings = several.iter().map(|(site, arch)| (site.to_string(), *arch)).collect();
            Err(RunError::AmbiguousSite { text: text.into(), meanings })
        }
    }
}

fn parse_canonical(text: &str) -> Result<Site> {
    let mut parts = text.split('.');
    let name = parts.next().unwrap_or_default().trim_start_matches("hook_");
    let unknown = || RunError::UnknownSite { text: text.into(), nearest: nearest(text) };
    let point = Point::ALL.into_iter().find(|p| p.name() == name).ok_or_else(unknown)?;
    let numbers = parts.map(|part| part.parse::<usize>()).collect::<std::result::Result<Vec<_>, _>>();
    let numbers = numbers.map_err(|_| unknown())?;
    let site = point.name();
    match (point.in_layer(), numbers[..].len()) {
        (false, 0) => Ok(Site::new(point, 0)),
        (false, _) => Err(RunError::TakesNoLayer { site }),
        (true, 0) => Err(RunError::NeedsLayer { site }),
        (true, 1) => Ok(Site::new(point, numbers[0])),
        (true, 2) if matches!(point, Point::MlpPre | Point::MlpPost) => {
            Ok(Site::new(point, numbers[0]).neuron(numbers[1]))
        }
        (true, 2) => Ok(Site::new(point, numbers[0]).heads(Heads::One(numbers[1]))),
        _ => Err(unknown()),
    }
}

/// The layer if `text` is `pattern` with a number for `{}`.
fn matches(pattern: &str, text: &str) -> Option<usize> {
    match pattern.split_once("{}") {
        None => (pattern == text).then_some(0),
        Some((before, after)) => text.strip_prefix(before)?.strip_suffix(after)?.parse().ok(),
    }
}

/// The nearest valid spelling, with the user's own layer kept.
fn nearest(text: &str) -> Option<String> {
    let (name, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    if let Some(near) = crate::nearest::nearest(name, Point::ALL.map(Point::name)) {
        return Some(format!("{near}{rest}"));
    }
    let is_layer = |part: &&str| *part == "*" || part.parse::<usize>().is_ok();
    let layer = text.split('.').find(is_layer).unwrap_or("0");
    let hooks = Point::ALL.iter().filter_map(|point| point.hook()).map(String::from);
    let patterns = hooks.chain(FAMILIES.iter().flat_map(|family| paths(family)).map(|(path, _)| path));
    let spellings: Vec<_> = patterns.map(|pattern| pattern.replace("{}", layer)).collect();
    crate::nearest::nearest(text, spellings.iter().map(String::as_str)).map(String::from)
}

/// Other spellings of a site on this architecture.
pub fn aliases(at: At, config: &Config) -> Vec<String> {
    let fill = |pattern: &str| pattern.replace("{}", &at.layer.to_string());
    let hooks = at.point.hook().map(fill).into_iter();
    let paths = paths(config.family).into_iter().filter(|(_, point)| *point == at.point);
    hooks.chain(paths.map(|(path, _)| fill(&path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::Help;

    #[test]
    fn every_spelling_is_one_site() {
        for text in ["z.9.6", "hook_z.9.6"] {
            let site = parse(text).unwrap();
            assert_eq!((site.at, &site.heads), (At { point: Point::Z, layer: 9 }, &Heads::One(6)));
            assert_eq!(site.to_string(), "z.9.6");
        }
        for text in
            ["blocks.4.hook_resid_post", "model.layers.4.output", "transformer.h.4.output", "resid_post.4"]
        {
            assert_eq!(parse(text).unwrap().to_string(), "resid_post.4", "{text}");
        }
        assert_eq!(parse("blocks.12.mlp.hook_post").unwrap().to_string(), "mlp_post.12");
        assert_eq!(parse("mlp_post.12.8526").unwrap().neuron, Some(8526));
        for point in Point::ALL {
            let text = if point.in_layer() { format!("{}.3", point.name()) } else { point.name().into() };
            assert_eq!(parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn paths_are_those_of_the_family() {
        for (text, meant) in [
            ("gpt_neox.layers.3.attention.dense.input", "z.3"),
            ("gpt_neox.layers.3.post_attention_layernorm.output", "ln2.3"),
            ("model.layers.3.self_attn.q_proj.output", "q.3"),
            ("model.layers.3.pre_feedforward_layernorm.input", "resid_mid.3"),
            ("model.layers.3.post_feedforward_layernorm.input", "mlp_out_raw.3"),
            ("model.layers.3.mlp.down_proj.input", "mlp_post.3"),
            ("transformer.h.3.attn.output", "attn_out_raw.3"),
            ("lm_head.output", "logits"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), meant, "{text}");
        }
        let error = parse("model.layers.3.post_attention_layernorm.output").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`model.layers.3.post_attention_layernorm.output` is `ln2.3` on llama, `attn_out.3` on gemma2"
        );
        assert_eq!(error.help().unwrap(), "write the one that is meant: `ln2.3` or `attn_out.3`");
    }

    #[test]
    fn a_star_is_every_layer() {
        let json = std::fs::read_to_string("tests/golden/tiny/llama/config.json").unwrap();
        let config = Config::from_json(serde_json::from_str(&json).unwrap()).unwrap();
        let names = |text| -> Vec<String> {
            parse_many(text, &config).unwrap().iter().map(ToString::to_string).collect()
        };
        let layers = |site: &str| -> Vec<String> {
            (0..config.n_layers).map(|layer| site.replace('*', &layer.to_string())).collect()
        };
        for text in ["z.*", "z.*.*", "blocks.*.attn.hook_z", "model.layers.*.self_attn.o_proj.input"] {
            assert_eq!(names(text), layers("z.*"), "{text}");
        }
        assert_eq!(names("z.*.1"), layers("z.*.1"));
        assert_eq!(names("mlp_post.*.7"), layers("mlp_post.*.7"));
        assert_eq!(names("z.1.*"), ["z.1"]);
        assert_eq!(names("resid_post.1"), ["resid_post.1"]);
        let all = names("all");
        assert!(all.contains(&"pattern.2".into()) && all.contains(&"ln_final".into()));
        assert!(!all.contains(&"logits".into()) && !all.contains(&"pos_embed".into()));
        for (slip, meant) in [
            ("rezult.*", Some("did you mean `result.*`?")),
            ("resid_pots.*", Some("did you mean `resid_post.*`?")),
            ("blocks.*.hook_resid_pots", Some("did you mean `blocks.*.hook_resid_post`?")),
            ("embed.*", Some("write `embed`")),
        ] {
            let error = parse_many(slip, &config).unwrap_err();
            assert_eq!(error.help().as_deref(), meant, "{slip}: {error}");
        }
        assert!(parse_many("*.3", &config).is_err() && parse_many("*", &config).is_err());
        let error = parse("z.*").unwrap_err();
        assert_eq!(error.to_string(), "`z.*` names several sites, where one is read");
    }

    #[test]
    fn a_misspelt_site_names_the_nearest() {
        let error = parse("resid_pots.4").unwrap_err();
        assert_eq!(error.to_string(), "unknown site `resid_pots.4`");
        assert_eq!(error.help().unwrap(), "did you mean `resid_post.4`?");
        for (slip, meant) in [
            ("blocks.3.hook_resid_pots", "blocks.3.hook_resid_post"),
            ("model.layer.11.output", "model.layers.11.output"),
        ] {
            assert_eq!(parse(slip).unwrap_err().help().unwrap(), format!("did you mean `{meant}`?"));
        }
        assert!(matches!(parse("resid_post"), Err(RunError::NeedsLayer { .. })));
        assert!(matches!(parse("logits.3"), Err(RunError::TakesNoLayer { .. })));
        assert!(parse("z.1.2.3").is_err() && parse("z.x").is_err());
    }
}
