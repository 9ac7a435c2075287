//! Where an autoencoder reads and writes, by the names that training programs write, and whether a model is the one
//! that it was trained on.

use super::Sae;
use super::error::{Result, SaeError};
use crate::model::config::Config;
use crate::model::hook::At;
use crate::model::point::{Axes, Point};

/// Module paths in Hugging Face's models without their root and `.input` or `.output`: the activation on each side.
/// Paths that mean other things in other families are not here.
const MODULES: &[(&str, Option<Point>, Option<Point>)] = &[
    ("layers.{}", Some(Point::ResidPre), Some(Point::ResidPost)),
    ("h.{}", Some(Point::ResidPre), Some(Point::ResidPost)),
    ("layers.{}.mlp", Some(Point::Ln2), Some(Point::MlpOutRaw)),
    ("h.{}.mlp", Some(Point::Ln2), Some(Point::MlpOutRaw)),
    ("layers.{}.self_attn", Some(Point::Ln1), Some(Point::AttnOutRaw)),
    ("layers.{}.attention", Some(Point::Ln1), Some(Point::AttnOutRaw)),
    ("h.{}.attn", Some(Point::Ln1), Some(Point::AttnOutRaw)),
    ("layers.{}.self_attn.o_proj", Some(Point::Z), Some(Point::AttnOutRaw)),
    ("layers.{}.mlp.down_proj", Some(Point::MlpPost), Some(Point::MlpOutRaw)),
    ("layers.{}.pre_feedforward_layernorm", Some(Point::ResidMid), Some(Point::Ln2)),
    ("layers.{}.post_feedforward_layernorm", Some(Point::MlpOutRaw), Some(Point::MlpOut)),
    ("embed_tokens", None, Some(Point::Embed)),
    ("wte", None, Some(Point::Embed)),
    ("embed_in", None, Some(Point::Embed)),
];

/// What stands before a module's path.
const ROOTS: &[&str] = &["model.", "transformer.", "gpt_neox."];

/// Names of TransformerLens for places that are points by another name.
const OTHER_HOOKS: &[(&str, Point)] =
    &[("blocks.{}.hook_mlp_in", Point::ResidMid), ("blocks.{}.hook_attn_in", Point::ResidPre)];

/// The place that a text names: as TransformerLens (`blocks.4.hook_resid_post`), as Hugging Face (`model.layers.4.output`)
/// or as scripts do (`resid_post.4`).
pub fn parse(text: &str) -> Option<At> {
    let hooks = Point::ALL.into_iter().filter_map(|point| Some((point.hook()?, point)));
    let hook = hooks.chain(OTHER_HOOKS.iter().copied());
    let hook = hook.filter_map(|(pattern, point)| Some(At { point, layer: matches(pattern, text)? })).next();
    let of_module = || {
        let (module, side) = text.rsplit_once('.')?;
        let (input, output) = module_sides(module)?;
        match side {
            "input" => input,
            "output" => output,
            _ => None,
        }
    };
    hook.or_else(of_module).or_else(|| canonical(text))
}

/// What goes into the module of this path and what comes out, where either is a point.
pub fn module_sides(module: &str) -> Option<(Option<At>, Option<At>)> {
    let path = ROOTS.iter().find_map(|root| module.strip_prefix(root)).unwrap_or(module);
    MODULES.iter().find_map(|&(pattern, input, output)| {
        let layer = matches(pattern, path)?;
        let at = |point| At { point, layer };
        Some((input.map(at), output.map(at)))
    })
}

fn canonical(text: &str) -> Option<At> {
    let (name, layer) = text.split_once('.').map_or((text, None), |(name, layer)| (name, Some(layer)));
    let point = Point::ALL.into_iter().find(|point| point.name() == name)?;
    match (point.in_layer(), layer) {
        (false, None) => Some(At { point, layer: 0 }),
        (true, Some(layer)) => Some(At { point, layer: layer.parse().ok()? }),
        _ => None,
    }
}

/// The layer if `text` is `pattern` with a number for `{}`.
fn matches(pattern: &str, text: &str) -> Option<usize> {
    match pattern.split_once("{}") {
        None => (pattern == text).then_some(0),
        Some((before, after)) => text.strip_prefix(before)?.strip_suffix(after)?.parse().ok(),
    }
}

impl Sae {
    /// Whether a model has the places of this autoencoder in their widths, and is the one that it was trained on; any
    /// model of these widths passes by `force`.
    pub fn check(&self, id: &str, config: &Config, force: bool) -> Result<()> {
        let sides = [("reads", self.about.reads, self.d_in()), ("writes", self.about.writes, self.d_out())];
        for (verb, at, own) in sides {
            let absent =
                |why: String| SaeError::Absent { verb, place: at.to_string(), model: id.into(), why };
            if at.point.in_layer() && at.layer >= config.n_layers {
                return Err(absent(format!("its last layer is {}", config.n_layers - 1)));
            }
            if let Some(why) = at.point.absent(config) {
                return Err(absent(why.into()));
            }
            let found = match at.point.axes(config) {
                Axes::Row { width } => width,
                Axes::Heads { heads, width } => heads * width,
                Axes::Scores { .. } => return Err(absent("attention has no rows of one width".into())),
            };
            if found != own {
                let (place, model) = (at.to_string(), id.into());
                return Err(SaeError::Width { verb, place, own, model, found });
            }
        }
        let Some(own) = self.about.model.as_ref().filter(|_| !force) else { return Ok(()) };
        let raw = config.raw.get("_name_or_path").and_then(|name| name.as_str());
        match [Some(id), raw].into_iter().flatten().any(|given| same_model(own, given)) {
            true => Ok(()),
            false => Err(SaeError::OtherModel { own: own.clone(), given: id.into() }),
        }
    }
}

/// Whether two names are of the same weights: by their last part, whatever the case, quantised or not.
pub fn same_model(a: &str, b: &str) -> bool {
    plain_name(a) == plain_name(b)
}

fn plain_name(name: &str) -> String {
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    let name = name.split('@').next().unwrap_or(name).to_lowercase().replace('_', "-");
    let mut name = match name.strip_suffix(".gguf") {
        Some(file) => match file.rfind(['.', '-']) {
            Some(at) if is_quantization(&file[at + 1..]) => unquantized(&file[..at]).to_string(),
            _ => file.to_string(),
        },
        None => name,
    };
    // Names that the same weights have had.
    if let Some(base) = name.strip_suffix("-pt") {
        name.truncate(base.len());
    }
    if name == "gpt2-small" { "gpt2".into() } else { name }
}

/// A name of which [`plain_name`] has cut a part of `q4-k-m`, whose underscores were made dashes.
fn unquantized(name: &str) -> &str {
    let cut = name.rmatch_indices(['.', '-']).map(|(at, _)| at).take(2);
    let start = cut.filter(|at| starts_quantization(&name[at + 1..])).last();
    &name[..start.unwrap_or(name.len())]
}

fn is_quantization(part: &str) -> bool {
    starts_quantization(part) || ["f16", "f32", "bf16", "0", "1", "k", "s", "m", "l", "xl"].contains(&part)
}

fn starts_quantization(part: &str) -> bool {
    let digits = part.strip_prefix("iq").or_else(|| part.strip_prefix('q'));
    digits.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_in_three_ways() {
        for (text, meant) in [
            ("blocks.4.hook_resid_post", "resid_post.4"),
            ("blocks.12.attn.hook_z", "z.12"),
            ("blocks.3.hook_mlp_in", "resid_mid.3"),
            ("hook_embed", "embed"),
            ("model.layers.12.output", "resid_post.12"),
            ("model.layers.5.pre_feedforward_layernorm.output", "ln2.5"),
            ("model.layers.5.post_feedforward_layernorm.output", "mlp_out.5"),
            ("model.layers.11.self_attn.o_proj.input", "z.11"),
            ("layers.7.mlp.input", "ln2.7"),
            ("mlp_out.3", "mlp_out.3"),
        ] {
            assert_eq!(parse(text).map(|at| at.to_string()).as_deref(), Some(meant), "{text}");
        }
        for text in ["blocks.x.hook_resid_post", "blocks.3.ln2.hook_normalized", "resid_post", "embed.2", ""]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        let sides = module_sides("transformer.h.3.mlp").unwrap();
        assert_eq!(sides.0.unwrap().to_string(), "ln2.3");
        assert_eq!(sides.1.unwrap().to_string(), "mlp_out_raw.3");
    }

    #[test]
    fn models_are_told_apart_by_their_last_name() {
        for (a, b) in [
            ("gpt2-small", "openai-community/gpt2"),
            ("google/gemma-3-270m-pt", "models/gemma-3-270m-q4_k_m.gguf"),
            ("HuggingFaceTB/SmolLM2-135M-Instruct", "/x/SmolLM2-135M-Instruct.Q4_1.gguf"),
            ("gemma-2-2b", "google/gemma-2-2b@main"),
            ("gemma-2-2b", "gemma-2-2b-f16.gguf"),
            ("demo", "demo"),
        ] {
            assert!(same_model(a, b), "{a}, {b}");
        }
        for (a, b) in [
            ("gemma-2-2b", "google/gemma-2-2b-it"),
            ("gpt2", "gpt2-medium"),
            ("SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"),
            ("gemma-3-270m", "gemma-3-1b-q4_k_m.gguf"),
            ("demo", "shuffled:demo"),
        ] {
            assert!(!same_model(a, b), "{a}, {b}");
        }
    }
}
