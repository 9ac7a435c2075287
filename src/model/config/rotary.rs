//! Rotary settings in either spelling: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling`.

use super::reader::{LARGEST, Reader};
use crate::model::error::Result;
use crate::model::family::RotaryKeys;
use serde_json::Map;
use std::f64::consts::PI;

#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    pub theta: f64,
    /// How many dimensions of each head are rotated, from the first.
    pub dims: usize,
    pub scaling: RotaryScaling,
    /// What cosines and sines are multiplied by.
    pub magnitude: f64,
    /// Positions up to which these settings hold.
    pub n_ctx: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RotaryScaling {
    None,
    /// Every frequency divided by `factor`.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by `factor`, high ones kept, a linear ramp between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_n_ctx: f64,
    },
    /// YaRN (<https://arxiv.org/abs/2309.00071>): pairs from `high` on divided by `factor`, those up to `low` kept, a
    /// linear ramp between.
    Yarn {
        factor: f64,
        low: f64,
        high: f64,
    },
    /// Dynamic NTK: beyond `original` positions, a base that grows with the length of the whole sequence.
    Dynamic {
        factor: f64,
        original: usize,
    },
    /// Frequencies divided by these, one a pair (GGUF's `rope_freqs.weight`, LongRoPE).
    Factors(Vec<f32>),
}

impl Rotary {
    /// Whether every position of a sequence of `len` turns by an angle that depends on `len`: such keys are not those of
    /// a longer sequence.
    pub fn turns_with_length(&self, len: usize) -> bool {
        matches!(self.scaling, RotaryScaling::Dynamic { original, .. } if len > original)
    }
}

/// Settings of layers without and with a window, for heads of `d_head` dimensions.
pub fn read(reader: &Reader, keys: &RotaryKeys, d_head: usize, n_ctx: usize) -> Result<[Rotary; 2]> {
    let empty = Map::new();
    let settings = match reader.object("rope_parameters")? {
        Some(map) => map,
        None => reader.object("rope_scaling")?.unwrap_or(&empty),
    };
    let one = |map, theta| -> Result<Rotary> {
        let scale = Reader::new(map);
        let rotary = Settings { reader, scale: &scale, d_head, n_ctx }.read(keys, theta)?;
        scale.refuse_unread(&[])?;
        Ok(rotary)
    };
    let Some(local_theta) = keys.local_theta else {
        let rotary = one(settings, keys.theta)?;
        return Ok([rotary.clone(), rotary]);
    };
    let by_kind = Reader::new(settings);
    let [full, sliding] = match [by_kind.object("full_attention")?, by_kind.object("sliding_attention")?] {
        [None, None] => [settings, &empty],
        of_kinds => {
            by_kind.refuse_unread(&[])?;
            of_kinds.map(|map| map.unwrap_or(&empty))
        }
    };
    Ok([one(full, keys.theta)?, one(sliding, local_theta)?])
}

const ORIGINAL: &str = "original_max_position_embeddings";

struct Settings<'a> {
    reader: &'a Reader<'a>,
    /// The object that holds the scaling, and in the newer spelling all.
    scale: &'a Reader<'a>,
    d_head: usize,
    n_ctx: usize,
}

impl Settings<'_> {
    fn read(&self, keys: &RotaryKeys, theta: &str) -> Result<Rotary> {
        let Settings { reader, scale, d_head, n_ctx } = *self;
        let theta = match self.either(scale.optional_positive("rope_theta")?, theta)? {
            Some(theta) => theta,
            None if keys.local_theta.is_some() => reader.positive(theta)?,
            None => 10_000.0,
        };
        let part = match keys.part {
            Some((key, default)) => {
                self.either(scale.optional_positive("partial_rotary_factor")?, key)?.unwrap_or(default)
            }
            None => 1.0,
        };
        let dims = (d_head as f64 * part) as usize;
        if !(2..=d_head).contains(&dims) || !dims.is_multiple_of(2) {
            let key = keys.part.map_or("head_dim", |(key, _)| key);
            return Err(reader.bad(key, "such that an even number of dimensions is rotated"));
        }
        let plain = Rotary { theta, dims, scaling: RotaryScaling::None, magnitude: 1.0, n_ctx };
        let scaling = match self.kind()? {
            "default" => RotaryScaling::None,
            "linear" => RotaryScaling::Linear { factor: scale.positive("factor")? },
            "llama3" => RotaryScaling::Llama3 {
                factor: scale.positive("factor")?,
                low_freq_factor: scale.positive("low_freq_factor")?,
                high_freq_factor: scale.positive("high_freq_factor")?,
                original_n_ctx: scale.positive(ORIGINAL)?,
            },
            "longrope" | "su" => return self.longrope(plain),
            "yarn" => return self.yarn(plain),
            "dynamic" => return self.dynamic(plain),
            _ => {
                let known = "`default`, `linear`, `dynamic`, `yarn`, `llama3` or `longrope`";
                return Err(scale.bad("rope_type", known));
            }
        };
        Ok(Rotary { scaling, ..plain })
    }

    /// LongRoPE as in transformers' `modeling_rope_utils`, up to the length that the model was first trained on:
    /// beyond it the factors of all positions change, so that a longer text could not share keys with a shorter.
    fn longrope(&self, plain: Rotary) -> Result<Rotary> {
        let Settings { reader, scale, n_ctx, .. } = *self;
        let original = match scale.optional_size(ORIGINAL)? {
            Some(original) => original,
            None => reader.size(ORIGINAL)?,
        };
        let factors = |key: &str| -> Result<Vec<f32>> {
            let expected = "one number above 0 for each rotated pair";
            let values = scale.array(key)?.ok_or_else(|| scale.bad(key, expected))?;
            let values = values.iter().map(|v| v.as_f64().map(|v| v as f32).filter(|v| *v > 0.0));
            let values = values.collect::<Option<Vec<f32>>>().filter(|values| values.len() == plain.dims / 2);
            values.ok_or_else(|| scale.bad(key, expected))
        };
        let short = factors("short_factor")?;
        factors("long_factor")?;
        let factor = scale.optional_positive("factor")?;
        let factor = factor.unwrap_or(n_ctx as f64 / original as f64);
        let default = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
        let magnitude = scale.optional_positive("attention_factor")?.unwrap_or(default);
        Ok(Rotary { scaling: RotaryScaling::Factors(short), magnitude, n_ctx: original.min(n_ctx), ..plain })
    }

    /// YaRN as in transformers' `_compute_yarn_parameters`. It reaches as far as it stretches the original context.
    fn yarn(&self, plain: Rotary) -> Result<Rotary> {
        let Settings { reader, scale, n_ctx, .. } = *self;
        let original = match reader.optional_size(ORIGINAL)? {
            Some(original) => original,
            None => scale.optional_size(ORIGINAL)?.unwrap_or(n_ctx),
        };
        let original_n_ctx = original as f64;
        let factor = scale.optional_positive("factor")?.unwrap_or(n_ctx as f64 / original_n_ctx);
        let [fast, slow] = [scale.optional_positive("beta_fast")?, scale.optional_positive("beta_slow")?];
        // The pair that turns so often within the original context.
        let pair = |turns: f64| {
            plain.dims as f64 * (original_n_ctx / (turns * 2.0 * PI)).ln() / (2.0 * plain.theta.ln())
        };
        let (mut low, mut high) = (pair(fast.unwrap_or(32.0)), pair(slow.unwrap_or(1.0)));
        if scale.bool_or("truncate", true)? {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(plain.dims as f64 - 1.0));
        let magnitude = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
        let weights = [scale.optional_positive("mscale")?, scale.optional_positive("mscale_all_dim")?];
        let default = match weights {
            [Some(part), Some(all)] => magnitude(part) / magnitude(all),
            _ => magnitude(1.0),
        };
        Ok(Rotary {
            scaling: RotaryScaling::Yarn { factor, low, high },
            magnitude: scale.optional_positive("attention_factor")?.unwrap_or(default),
            n_ctx: n_ctx.max((factor * original_n_ctx) as usize).min(LARGEST),
            ..plain
        })
    }

    /// Dynamic NTK as in transformers' `_compute_dynamic_ntk_parameters`.
    fn dynamic(&self, plain: Rotary) -> Result<Rotary> {
        let Settings { scale, n_ctx: original, .. } = *self;
        let factor = scale.positive("factor")?;
        if factor < 1.0 || plain.dims < 4 {
            return Err(scale.bad("factor", "a number from 1 on, for heads of 4 rotated dimensions or more"));
        }
        let n_ctx = ((factor * original as f64) as usize).min(LARGEST);
        Ok(Rotary { scaling: RotaryScaling::Dynamic { factor, original }, n_ctx, ..plain })
    }

    fn kind(&self) -> Result<&str> {
        let text = |key| self.scale.get(key).map(|_| self.scale.str(key)).transpose();
        match [text("rope_type")?, text("type")?] {
            [Some(new), Some(old)] if new != old => Err(self.scale.bad("type", "the same as `rope_type`")),
            [new, old] => Ok(new.or(old).unwrap_or("default")),
        }
    }

    /// A number that may stand in the scaling object, outside of it, or equal in both.
    fn either(&self, inside: Option<f64>, key: &str) -> Result<Option<f64>> {
        match [inside, self.reader.optional_positive(key)?] {
            [Some(inside), Some(outside)] if inside != outside => {
                Err(self.reader.bad(key, "the same as in `rope_parameters`"))
            }
            [inside, outside] => Ok(inside.or(outside)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const KEYS: RotaryKeys = RotaryKeys { theta: "rope_theta", part: None, local_theta: None };

    fn read_one(config: &serde_json::Value) -> Result<Rotary> {
        let [rotary, _] = read(&Reader::new(config.as_object().unwrap()), &KEYS, 8, 8192)?;
        Ok(rotary)
    }

    #[test]
    fn longrope_holds_up_to_its_original_length() {
        let rotary = read_one(&json!({"rope_theta": 1e4, "original_max_position_embeddings": 4096,
            "rope_scaling": {"type": "su", "short_factor": [1, 1.5, 2, 3], "long_factor": [2, 4, 8, 9]}}));
        let rotary = rotary.unwrap();
        assert_eq!(rotary.scaling, RotaryScaling::Factors(vec![1.0, 1.5, 2.0, 3.0]));
        assert_eq!(rotary.n_ctx, 4096);
        // sqrt(1 + ln 2 / ln 4096)
        assert!((rotary.magnitude - 1.040_833).abs() < 1e-6, "{}", rotary.magnitude);
    }

    #[test]
    fn contradictions_are_refused() {
        for (config, message) in [
            (
                json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 2e4}}),
                "`config.json`: `rope_theta` is `10000.0`, expected the same as in `rope_parameters`",
            ),
            (
                json!({"rope_scaling": {"rope_type": "linear", "type": "llama3", "factor": 2}}),
                "`config.json`: `type` is `\"llama3\"`, expected the same as `rope_type`",
            ),
            (
                json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1, 2], "long_factor": [1, 2]},
                    "original_max_position_embeddings": 64}),
                "`config.json`: `short_factor` is `[1,2]`, expected one number above 0 for each rotated pair",
            ),
            (
                json!({"rope_scaling": {"rope_type": "linear", "factor": 2, "beta_fast": 1}}),
                "`config.json` sets `beta_fast` to `1`, which patchscript does not understand",
            ),
        ] {
            assert_eq!(read_one(&config).unwrap_err().to_string(), message);
        }
    }
}
