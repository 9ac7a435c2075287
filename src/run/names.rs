//! The spellings of sites: canonical names, TransformerLens hooks and Hugging Face module paths.

use super::error::{Result, RunError};
use super::site::{Heads, Site};
use crate::model::{At, Config, Point};

/// TransformerLens names; `{}` is the layer.
const HOOKS: &[(&str, Point)] = &[
    ("hook_embed", Point::Embed),
    ("hook_pos_embed", Point::PosEmbed),
    ("blocks.{}.hook_resid_pre", Point::ResidPre),
    ("blocks.{}.hook_resid_mid", Point::ResidMid),
    ("blocks.{}.hook_resid_post", Point::ResidPost),
    ("blocks.{}.attn.hook_q", Point::Q),
    ("blocks.{}.attn.hook_k", Point::K),
    ("blocks.{}.attn.hook_v", Point::V),
    ("blocks.{}.attn.hook_rot_q", Point::RotQ),
    ("blocks.{}.attn.hook_rot_k", Point::RotK),
    ("blocks.{}.attn.hook_attn_scores", Point::AttnScores),
    ("blocks.{}.attn.hook_pattern", Point::Pattern),
    ("blocks.{}.attn.hook_z", Point::Z),
    ("blocks.{}.attn.hook_result", Point::Result),
    ("blocks.{}.hook_attn_out", Point::AttnOut),
    ("blocks.{}.mlp.hook_pre", Point::MlpPre),
    ("blocks.{}.mlp.hook_post", Point::MlpPost),
    ("blocks.{}.hook_mlp_out", Point::MlpOut),
];

/// Module paths of Hugging Face models, as nnsight writes them.
const PATHS: &[(&str, &str, Point)] = &[
    ("llama", "model.embed_tokens.output", Point::Embed),
    ("llama", "model.layers.{}.input", Point::ResidPre),
    ("llama", "model.layers.{}.output", Point::ResidPost),
    ("llama", "model.layers.{}.input_layernorm.output", Point::Ln1),
    ("llama", "model.layers.{}.self_attn.q_proj.output", Point::Q),
    ("llama", "model.layers.{}.self_attn.k_proj.output", Point::K),
    ("llama", "model.layers.{}.self_attn.v_proj.output", Point::V),
    ("llama", "model.layers.{}.self_attn.o_proj.input", Point::Z),
    ("llama", "model.layers.{}.self_attn.output", Point::AttnOutRaw),
    ("llama", "model.layers.{}.post_attention_layernorm.input", Point::ResidMid),
    ("llama", "model.layers.{}.post_attention_layernorm.output", Point::Ln2),
    ("llama", "model.layers.{}.mlp.gate_proj.output", Point::MlpPre),
    ("llama", "model.layers.{}.mlp.down_proj.input", Point::MlpPost),
    ("llama", "model.layers.{}.mlp.output", Point::MlpOutRaw),
    ("llama", "model.norm.output", Point::LnFinal),
    ("llama", "lm_head.output", Point::Logits),
    ("gpt2", "transformer.wte.output", Point::Embed),
    ("gpt2", "transformer.wpe.output", Point::PosEmbed),
    ("gpt2", "transformer.h.{}.input", Point::ResidPre),
    ("gpt2", "transformer.h.{}.output", Point::ResidPost),
    ("gpt2", "transformer.h.{}.ln_1.output", Point::Ln1),
    ("gpt2", "transformer.h.{}.attn.c_proj.input", Point::Z),
    ("gpt2", "transformer.h.{}.attn.output", Point::AttnOutRaw),
    ("gpt2", "transformer.h.{}.ln_2.input", Point::ResidMid),
    ("gpt2", "transformer.h.{}.ln_2.output", Point::Ln2),
    ("gpt2", "transformer.h.{}.mlp.c_fc.output", Point::MlpPre),
    ("gpt2", "transformer.h.{}.mlp.c_proj.input", Point::MlpPost),
    ("gpt2", "transformer.h.{}.mlp.output", Point::MlpOutRaw),
    ("gpt2", "transformer.ln_f.output", Point::LnFinal),
    ("gpt2", "lm_head.output", Point::Logits),
];

pub fn parse(text: &str) -> Result<Site> {
    let text = text.trim();
    let patterns =
        HOOKS.iter().map(|&(p, point)| (p, point)).chain(PATHS.iter().map(|&(_, p, point)| (p, point)));
    for (pattern, point) in patterns {
        if let Some(layer) = matches(pattern, text) {
            return Ok(Site::new(point, layer));
        }
    }
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
    let layer = text.split('.').find(|part| part.parse::<usize>().is_ok()).unwrap_or("0");
    let patterns = HOOKS.iter().map(|(pattern, _)| pattern).chain(PATHS.iter().map(|(_, path, _)| path));
    let spellings: Vec<_> = patterns.map(|pattern| pattern.replace("{}", layer)).collect();
    crate::nearest::nearest(text, spellings.iter().map(String::as_str)).map(String::from)
}

/// Other spellings of a site on this architecture.
pub fn aliases(at: At, config: &Config) -> Vec<String> {
    let fill = |pattern: &str| pattern.replace("{}", &at.layer.to_string());
    let hooks = HOOKS.iter().filter(|(_, point)| *point == at.point).map(|(p, _)| fill(p));
    let paths = PATHS.iter().filter(|(arch, _, point)| *arch == config.family.arch && *point == at.point);
    hooks.chain(paths.map(|(_, p, _)| fill(p))).collect()
}

pub fn meaning(point: Point) -> &'static str {
    match point {
        Point::Embed => "token embeddings",
        Point::PosEmbed => "learned position embeddings",
        Point::ResidPre => "the residual stream entering the layer",
        Point::Ln1 => "the first norm's output, gain included: what attention reads",
        Point::Q => "queries as projected, before rotary",
        Point::K => "keys as projected, before rotary",
        Point::V => "values",
        Point::RotQ => "queries as attention uses them",
        Point::RotK => "keys as attention uses them",
        Point::AttnScores => "scaled scores before the softmax, -inf where a key is hidden",
        Point::Pattern => "attention probabilities",
        Point::Z => "mixed values a head, before W_O",
        Point::Result => "what each head adds to the residual stream, without b_O",
        Point::AttnOutRaw => "the attention module's output, before any post-norm",
        Point::AttnOut => "what attention adds to the residual stream",
        Point::ResidMid => "the residual stream between attention and MLP",
        Point::Ln2 => "the second norm's output, gain included: what the MLP reads",
        Point::MlpPre => "neurons before the activation function",
        Point::MlpPost => "neurons: what W_out reads",
        Point::MlpOutRaw => "the MLP module's output, before any post-norm",
        Point::MlpOut => "what the MLP adds to the residual stream",
        Point::ResidPost => "the residual stream leaving the layer, before any final norm",
        Point::LnFinal => "the final norm's output",
        Point::Logits => "next-token logits",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
