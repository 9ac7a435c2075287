//! How the tensors of a checkpoint become weights: found by role, checked all together before the first is read,
//! turned into the one form that the forward pass uses.

use super::checkpoint::{Files, Stored};
use super::made;
use super::placement::{self, Spread};
use crate::model::config::Config;
use crate::model::cpu::blocks::Blocks;
use crate::model::error::{ModelError, Result};
use crate::model::family::{MlpNames, Names, NormKind, QkvNames};
use crate::model::layer::{Linear, Mlp};
use crate::model::ops;
use crate::model::transformer::Transformer;
use crate::model::weight::{Table, Weight};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// What the tensors of one checkpoint are called and how they are stored.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pub names: &'static Names,
    /// Before every name but `unembed`.
    root: &'static str,
    pub unembed: &'static str,
    /// Rows of W_Q and W_K lie as interleaved rotary wants them.
    permutes_qk: bool,
    /// Norms are stored as their gain less 1.
    gains_less_one: bool,
}

impl Layout {
    /// As a family's checkpoints are published.
    pub fn published(config: &Config) -> Layout {
        let names = &config.family.names;
        Layout {
            names,
            root: names.roots[0],
            unembed: names.unembed[0],
            permutes_qk: false,
            gains_less_one: config.family.norm == NormKind::RmsNormLessOne,
        }
    }

    fn of(config: &Config, files: &Files, stored: &BTreeMap<String, Stored>) -> Layout {
        let mut layout = Layout::published(config);
        if let (Files::Gguf(_), Some(format)) = (files, &config.family.gguf) {
            let (names, permutes_qk) = (&format.names, format.permutes_qk);
            layout = Layout { names, permutes_qk, gains_less_one: false, ..layout };
        }
        let names = layout.names;
        let holds = |name: String| stored.contains_key(&name);
        let root = names.roots.iter().find(|root| holds(format!("{root}{}.weight", names.embed)));
        let unembed = names.unembed.iter().find(|name| holds(format!("{name}.weight")));
        Layout {
            root: root.unwrap_or(&names.roots[0]),
            unembed: unembed.unwrap_or(&names.unembed[0]),
            ..layout
        }
    }
}

/// Name and shape of every tensor that a checkpoint must hold, by name.
pub fn survey(config: &Config, layout: Layout) -> Result<BTreeMap<String, Vec<usize>>> {
    let mut loader = Loader { source: Source::Nothing(BTreeMap::new()), layout };
    Transformer::build(config.clone(), &mut loader, &[Device::Cpu])?;
    match loader.source {
        Source::Nothing(asked) => Ok(asked),
        Source::Files { .. } | Source::Random { .. } => Ok(BTreeMap::new()),
    }
}

/// Where weights shall be, and as what.
#[derive(Debug, Clone)]
pub struct Target {
    pub device: Device,
    pub dtype: DType,
    /// Matrices stay in the blocks of a GGUF file (float32 on the CPU).
    pub quantized: bool,
    /// Each tensor's entries change places, as this seed decides.
    pub shuffled: Option<u64>,
    /// Where else.
    pub spread: Spread,
}

/// All copies of the weights: the first, and others on other devices.
pub type Copies = (Transformer, Vec<Transformer>);

/// Reads all weights.
///
/// # Errors
/// One error that lists all that is missing, misshapen or left over.
pub fn load(config: Config, files: &Files, target: &Target) -> Result<Copies> {
    let stored = files.stored()?;
    let layout = Layout::of(&config, files, &stored);
    let mut problems = problems(&survey(&config, layout)?, &stored);
    let [embed, unembed] = [layout.names.embed, layout.unembed].map(|role| format!("{role}.weight"));
    let embed = format!("{}{embed}", layout.root);
    if config.tied && stored.contains_key(&unembed) {
        // A copy of the embedding, or a contradiction.
        if files.equal(&embed, &unembed) {
            problems.retain(|problem| problem.name != unembed);
        } else if let Some(problem) = problems.iter_mut().find(|problem| problem.name == unembed) {
            problem.after = format!("` differs from `{embed}`, to which the config ties it");
            problem.before = "`";
        }
    }
    if !problems.is_empty() {
        return Err(ModelError::Weights(fold(problems)));
    }
    copies(config, target, |target| Loader { source: Source::Files { files, target }, layout })
}

/// Random weights.
pub fn random(config: Config, seed: u64, target: &Target) -> Result<Copies> {
    let layout = Layout::published(&config);
    copies(config, target, |target| Loader { source: Source::Random { seed, target }, layout })
}

fn copies<'a>(config: Config, target: &Target, loader: impl Fn(Target) -> Loader<'a>) -> Result<Copies> {
    let groups = placement::groups(&config, target)?;
    let build =
        |devices: &Vec<Device>| Transformer::build(config.clone(), &mut loader(target.clone()), devices);
    let mut built = groups.iter().map(build).collect::<Result<Vec<_>>>()?.into_iter();
    let first = built.next().ok_or_else(|| ModelError::Tensor("weights on no device".into()))?;
    Ok((first, built.collect()))
}

enum Source<'a> {
    /// Gives placeholders and notes what was asked for.
    Nothing(BTreeMap<String, Vec<usize>>),
    Files {
        files: &'a Files,
        target: Target,
    },
    Random {
        seed: u64,
        target: Target,
    },
}

/// Hands out weights by role.
pub struct Loader<'a> {
    source: Source<'a>,
    pub layout: Layout,
}

impl Loader<'_> {
    /// The full name of a role in layer `layer`.
    pub fn in_layer(&self, layer: usize, role: &str) -> String {
        format!("{}{}{role}", self.layout.root, self.layout.names.layer.replace("{}", &layer.to_string()))
    }

    pub fn in_model(&self, role: &str) -> String {
        format!("{}{role}", self.layout.root)
    }

    /// What is handed out from now on goes there.
    pub fn place(&mut self, device: &Device) {
        match &mut self.source {
            Source::Nothing(_) => {}
            Source::Files { target, .. } | Source::Random { target, .. } => target.device = device.clone(),
        }
    }

    fn surveys(&self) -> bool {
        matches!(self.source, Source::Nothing(_))
    }

    /// A tensor as it is stored, and the dtype that it shall have.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<(Tensor, DType)> {
        match &mut self.source {
            Source::Nothing(asked) => {
                asked.insert(name.into(), shape.to_vec());
                Ok((Tensor::zeros((), DType::F32, &Device::Cpu)?, DType::F32))
            }
            Source::Files { files, target } => {
                let tensor = match target.shuffled {
                    None => files.read(name, &target.device)?,
                    Some(seed) => made::shuffled(&files.read(name, &Device::Cpu)?, seed, name)?
                        .to_device(&target.device)?,
                };
                Ok((tensor, target.dtype))
            }
            Source::Random { seed, target } => Ok((made::random(*seed, name, shape, target)?, target.dtype)),
        }
    }

    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (tensor, dtype) = self.read(name, shape)?;
        ops::to_dtype(&tensor, dtype)
    }

    pub fn target(&self) -> Target {
        match &self.source {
            Source::Nothing(_) => Target {
                device: Device::Cpu,
                dtype: DType::F32,
                quantized: false,
                shuffled: None,
                spread: Spread::default(),
            },
            Source::Files { target, .. } | Source::Random { target, .. } => target.clone(),
        }
    }

    /// A matrix `[out, in]` in the blocks of the file that shall stand in place of a tensor.
    fn kept(&self, name: &str) -> Result<Option<Blocks>> {
        match &self.source {
            Source::Files { files, target } if target.quantized => files.blocks(name),
            _ => Ok(None),
        }
    }

    /// A matrix `[out, in]` in the blocks of the file that shall stand beside a tensor, where products of float32 on
    /// a CPU can use these.
    fn beside(&self, name: &str) -> Result<Option<Blocks>> {
        match &self.source {
            Source::Files {
                files,
                target: Target { device: Device::Cpu, dtype: DType::F32, shuffled: None, .. },
            } => Ok(files.blocks(name)?.filter(Blocks::multiplies)),
            _ => Ok(None),
        }
    }

    /// A vector for each token, which embeds it and, where `unembeds`, takes part in products.
    pub fn table(&mut self, name: &str, shape: [usize; 2], unembeds: bool) -> Result<Table> {
        if let Some(blocks) = self.kept(name)? {
            return Ok(Table::Blocks(blocks));
        }
        let blocks = if unembeds { self.beside(name)? } else { None };
        Ok(Table::Dense(self.tensor(name, &shape)?, blocks))
    }

    /// A norm's gain.
    pub fn gain(&mut self, name: &str, width: usize) -> Result<Tensor> {
        if let Source::Random { target, .. } = &self.source {
            return Ok(Tensor::ones(width, target.dtype, &target.device)?);
        }
        let (gain, dtype) = self.read(name, &[width])?;
        let gain = match self.layout.gains_less_one {
            // Added in float32: half a precision would lose what tells gains apart.
            true => (gain.to_dtype(DType::F32)? + 1.0)?,
            false => gain,
        };
        Ok(gain.to_dtype(dtype)?)
    }

    /// A linear map, its matrix as `[in, out]`, whichever way the checkpoint stores it, laid as products read it.
    pub fn linear(&mut self, name: &str, inp: usize, out: usize, bias: bool) -> Result<Linear> {
        let matrix = format!("{name}.weight");
        let weight = match (self.layout.names.in_out, self.kept(&matrix)?) {
            (true, _) => Weight::Dense(ops::laid(&self.tensor(&matrix, &[inp, out])?)?, None),
            (false, Some(blocks)) => Weight::Blocks(blocks),
            (false, None) => {
                let tensor = self.tensor(&matrix, &[out, inp])?;
                let turned = if self.surveys() { tensor } else { ops::in_out(&tensor)? };
                Weight::Dense(turned, self.beside(&matrix)?)
            }
        };
        let bias = if bias { Some(self.tensor(&format!("{name}.bias"), &[out])?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// Several maps stored as one, end to end or, with `heads`, head by head.
    fn fused<const N: usize>(
        &mut self,
        name: &str,
        inp: usize,
        widths: [usize; N],
        heads: Option<usize>,
        bias: bool,
    ) -> Result<[Linear; N]> {
        let outer = widths.iter().sum::<usize>();
        let Linear { weight, bias } = self.linear(name, inp, outer, bias)?;
        let surveys = self.surveys();
        let groups = heads.unwrap_or(1);
        // Columns of a part in each group.
        let place = |i: usize| (widths[..i].iter().sum::<usize>() / groups, widths[i] / groups);
        // Copies, so that each part owns its entries and the whole can go.
        let part = |x: &Tensor, i: usize| -> Result<Tensor> {
            if surveys {
                return Ok(x.clone());
            }
            let (before, width) = place(i);
            let mut shape = x.dims().to_vec();
            shape.splice(x.rank() - 1.., [widths[i]]);
            let cut = x.reshape(((), groups, outer / groups))?.narrow(2, before, width)?;
            Ok(cut.force_contiguous()?.reshape(shape)?)
        };
        let part_of_blocks = |blocks: &Blocks, i: usize| {
            let (before, width) = place(i);
            let starts = (0..groups).map(|group| group * (outer / groups) + before);
            blocks.select(starts.flat_map(|start| start..start + width))
        };
        let mut parts = Vec::with_capacity(N);
        for i in 0..N {
            let bias = bias.as_ref().map(|bias| part(bias, i)).transpose()?;
            let weight =
                weight.map(|tensor| ops::laid(&part(tensor, i)?), |blocks| part_of_blocks(blocks, i))?;
            parts.push(Linear { weight, bias });
        }
        parts.try_into().map_err(|_| ModelError::Tensor("a fused map has another number of parts".into()))
    }

    /// Queries, keys and values of one layer.
    pub fn qkv(&mut self, config: &Config, layer: usize) -> Result<[Linear; 3]> {
        let Config { d_model, d_head, n_heads, n_kv_heads, .. } = *config;
        let heads = [n_heads, n_kv_heads, n_kv_heads];
        let widths = heads.map(|heads| heads * d_head);
        let bias = config.biases.qkv;
        let mut parts = match self.layout.names.qkv {
            QkvNames::Separate(names) => {
                let [q, k, v] = names.map(|name| self.in_layer(layer, name));
                [
                    self.linear(&q, d_model, widths[0], bias)?,
                    self.linear(&k, d_model, widths[1], bias)?,
                    self.linear(&v, d_model, widths[2], bias)?,
                ]
            }
            QkvNames::Fused(name) => self.fused(&self.in_layer(layer, name), d_model, widths, None, bias)?,
            QkvNames::FusedByHead(name) => {
                self.fused(&self.in_layer(layer, name), d_model, widths, Some(n_heads), bias)?
            }
        };
        if self.layout.permutes_qk && !self.surveys() {
            for (part, heads) in parts.iter_mut().zip(heads).take(2) {
                part.weight = unpermute(&part.weight, heads, d_head)?;
            }
        }
        Ok(parts)
    }

    /// The MLP of one layer.
    pub fn mlp(&mut self, config: &Config, layer: usize) -> Result<Mlp> {
        let Config { d_model, d_mlp, .. } = *config;
        let bias = config.biases.mlp;
        let names = self.layout.names;
        let into =
            |loader: &mut Self, name| loader.linear(&loader.in_layer(layer, name), d_model, d_mlp, bias);
        let out =
            |loader: &mut Self| loader.linear(&loader.in_layer(layer, names.mlp_out), d_mlp, d_model, bias);
        Ok(match names.mlp {
            MlpNames::Plain(name) => Mlp::Plain { w_in: into(self, name)?, w_out: out(self)? },
            MlpNames::Gated { gate, up } => {
                Mlp::Gated { w_gate: into(self, gate)?, w_in: into(self, up)?, w_out: out(self)? }
            }
            MlpNames::FusedGated(name) => {
                let name = self.in_layer(layer, name);
                let [w_gate, w_in] = self.fused(&name, d_model, [d_mlp; 2], None, bias)?;
                Mlp::Gated { w_gate, w_in, w_out: out(self)? }
            }
        })
    }
}

/// Undoes GGUF's order of the columns of `W_Q` and `W_K`: there the two halves of a head alternate (for interleaved
/// rotary), here they follow one another.
fn unpermute(weight: &Weight, heads: usize, width: usize) -> Result<Weight> {
    let stored = |column: usize| {
        let (head, within) = (column / width, column % width);
        head * width + 2 * (within % (width / 2)) + within / (width / 2)
    };
    let columns = (0..heads * width).map(stored);
    let reorder = |tensor: &Tensor| {
        let order = Tensor::from_iter(columns.clone().map(|column| column as u32), tensor.device())?;
        ops::laid(&tensor.contiguous()?.index_select(&order, 1)?)
    };
    weight.map(reorder, |blocks| blocks.select(columns.clone()))
}

/// What is wrong with one tensor: the text before and after its name.
struct Problem {
    before: &'static str,
    name: String,
    after: String,
}

/// Tensors that follow from the config (rotary frequencies, causal masks), and GGUF's frequency factors, which are
/// read with the config.
const DERIVED: &[&str] = &[
    ".rotary_emb.inv_freq",
    ".attn.bias",
    ".attention.bias",
    ".masked_bias",
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

fn problems(asked: &BTreeMap<String, Vec<usize>>, stored: &BTreeMap<String, Stored>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut note =
        |before, name: &String, after: String| problems.push(Problem { before, name: name.clone(), after });
    for (name, shape) in asked {
        match stored.get(name) {
            None => note("no `", name, format!("` {shape:?}")),
            Some(found) if found.shape != *shape => {
                note("`", name, format!("` is {:?}, expected {shape:?}", found.shape));
            }
            Some(Stored { unreadable: Some(dtype), .. }) => {
                note("`", name, format!("` is of type {dtype}, expected F32, F16 or BF16"));
            }
            Some(_) => {}
        }
    }
    for (name, found) in stored {
        if !asked.contains_key(name) && !DERIVED.iter().any(|suffix| name.ends_with(suffix)) {
            note("`", name, format!("` {:?} is not part of this model", found.shape));
        }
    }
    problems
}

/// One line for what is wrong in several layers alike: ``no `layers.{0..3}.mlp.up_proj.weight` [128, 64]``.
fn fold(problems: Vec<Problem>) -> Vec<String> {
    let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
    for Problem { before, name, after } in problems {
        let mut layer = None;
        let parts = name.split('.').map(|part| match part.parse() {
            Ok(number) if layer.is_none() => {
                layer = Some(number);
                "{}"
            }
            _ => part,
        });
        let line = format!("{before}{}{after}", parts.collect::<Vec<_>>().join("."));
        match lines.iter_mut().find(|(other, layers)| *other == line && !layers.is_empty()) {
            Some((_, layers)) => layers.extend(layer),
            None => lines.push((line, layer.into_iter().collect())),
        }
    }
    let written = |(line, mut layers): (String, Vec<usize>)| {
        layers.sort_unstable();
        let text = match layers[..] {
            [] => return line,
            [layer] => layer.to_string(),
            [first, .., last] if last - first + 1 == layers.len() => format!("{{{first}..{}}}", last + 1),
            _ => format!("{{{}}}", layers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
        };
        line.replacen("{}", &text, 1)
    };
    lines.into_iter().map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_several_layers_is_one_line() {
        let problem = |name: &str| Problem { before: "no `", name: name.into(), after: "` [2]".into() };
        let names = ["h.0.w", "h.10.w", "h.1.w", "embed", "h.3.bias", "h.2.w", "h.5.bias", "h.4.q.0"];
        let mut names = names.map(problem).into_iter().collect::<Vec<_>>();
        names.remove(1);
        assert_eq!(
            fold(names),
            ["no `h.{0..3}.w` [2]", "no `embed` [2]", "no `h.{3,5}.bias` [2]", "no `h.4.q.0` [2]"]
        );
    }
}
