//! A site: one activation of the forward pass, narrowed to positions, heads or a neuron.

use super::tokens::Tokens;
use crate::model::{At, Axes, Config, Model, Point, Sae};
use crate::run::error::{Result, RunError};
use std::fmt;
use std::sync::Arc;

/// Positions, as a script says them; they become indices only for a given prompt.
#[derive(Debug, Clone, PartialEq)]
pub enum Pos {
    All,
    Index(i64),
    /// Half open.
    Range(i64, i64),
    List(Vec<i64>),
    /// The first token that contains the text.
    Token(String),
    /// The tokens that cover the text.
    Span(String),
    Last,
}

impl Pos {
    /// One position, so that reading drops the axis.
    pub fn is_single(&self) -> bool {
        matches!(self, Pos::Index(_) | Pos::Token(_) | Pos::Last)
    }

    pub fn resolve(&self, tokens: &Tokens) -> Result<Vec<usize>> {
        Ok(match self {
            Pos::All => (0..tokens.len()).collect(),
            Pos::Index(pos) => vec![tokens.position(*pos)?],
            Pos::Range(from, to) if from == to => Vec::new(),
            Pos::Range(from, to) => {
                // The end is exclusive, so its last member must exist, not the end itself.
                (tokens.position(*from)?..tokens.position(to.saturating_sub(1))? + 1).collect()
            }
            Pos::List(list) => {
                let positions = list.iter().map(|&pos| tokens.position(pos)).collect::<Result<Vec<_>>>()?;
                if let Some(i) = (1..positions.len()).find(|&i| positions[..i].contains(&positions[i])) {
                    return Err(RunError::PosTwice { pos: positions[i] });
                }
                positions
            }
            Pos::Token(text) => vec![tokens.find(text)?],
            Pos::Span(text) => tokens.span(text)?.collect(),
            Pos::Last => vec![tokens.position(-1)?],
        })
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pos::All => write!(f, "all"),
            Pos::Index(pos) => write!(f, "{pos}"),
            Pos::Range(from, to) => write!(f, "{from}..{to}"),
            Pos::List(list) => write!(f, "{list:?}"),
            Pos::Token(text) => write!(f, "tok({text:?})"),
            Pos::Span(text) => write!(f, "span({text:?})"),
            Pos::Last => write!(f, "last"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heads {
    All,
    One(usize),
    Many(Vec<usize>),
}

/// An activation as the features of a sparse autoencoder.
#[derive(Debug, Clone)]
pub struct Features {
    pub sae: Arc<Sae>,
    pub which: Which,
    /// Patched activations keep what the autoencoder does not explain of them; else they become what it makes of their
    /// features.
    pub keep_error: bool,
    /// The autoencoder may be of another model of its widths.
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    All,
    /// Reading drops the axis.
    One(usize),
    Many(Vec<usize>),
}

impl PartialEq for Features {
    fn eq(&self, other: &Features) -> bool {
        Arc::ptr_eq(&self.sae, &other.sae) && self.which == other.which && self.keep_error == other.keep_error
    }
}

impl Features {
    /// How many.
    pub fn count(&self) -> usize {
        self.listed().map_or(self.sae.d_sae(), <[usize]>::len)
    }

    /// Their indices; `None` for all.
    pub fn listed(&self) -> Option<&[usize]> {
        match &self.which {
            Which::All => None,
            Which::One(feature) => Some(std::slice::from_ref(feature)),
            Which::Many(features) => Some(features),
        }
    }

    /// Does the autoencoder have them, and is it one of this model?
    fn check(&self, site: &Site, model: &Model) -> Result<()> {
        let features = self.listed().unwrap_or_default();
        for (i, &feature) in features.iter().enumerate() {
            self.sae.check_feature(feature)?;
            if features[..i].contains(&feature) {
                return Err(RunError::FeatureTwice { feature });
            }
        }
        if site.heads != Heads::All || site.neuron.is_some() {
            return Err(RunError::FeaturesNarrowed { site: site.to_string() });
        }
        Ok(self.sae.check(&model.id, model.config(), self.force)?)
    }
}

/// Where in a forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    pub at: At,
    pub pos: Pos,
    pub heads: Heads,
    pub neuron: Option<usize>,
    /// The activation through a sparse autoencoder.
    pub features: Option<Features>,
}

impl Site {
    /// All of `point`; `layer` is 0 for points that stand once in the model.
    pub fn new(point: Point, layer: usize) -> Site {
        Site { at: At { point, layer }, pos: Pos::All, heads: Heads::All, neuron: None, features: None }
    }

    pub fn at(mut self, pos: Pos) -> Site {
        self.pos = pos;
        self
    }

    pub fn heads(mut self, heads: Heads) -> Site {
        self.heads = heads;
        self
    }

    pub fn neuron(mut self, neuron: usize) -> Site {
        self.neuron = Some(neuron);
        self
    }

    /// Checks everything that does not depend on a prompt.
    pub fn check(&self, model: &Model) -> Result<()> {
        self.validate(model.config())?;
        self.features.as_ref().map_or(Ok(()), |features| features.check(self, model))
    }

    /// Checks everything but what an autoencoder makes of it.
    pub fn validate(&self, config: &Config) -> Result<()> {
        let At { point, layer } = self.at;
        let site = self.to_string();
        if point.in_layer() && layer >= config.n_layers {
            return Err(RunError::LayerRange { layer, n_layers: config.n_layers });
        }
        if let Some(why) = point.absent(config) {
            return Err(RunError::Absent { site, arch: config.family.arch, why });
        }
        let axes = point.axes(config);
        let n_heads = match axes {
            Axes::Row { .. } => 0,
            Axes::Heads { heads, .. } | Axes::Scores { heads } => heads,
        };
        let chosen = match &self.heads {
            Heads::All => &[][..],
            Heads::One(head) => std::slice::from_ref(head),
            Heads::Many(heads) => heads,
        };
        if self.heads != Heads::All && n_heads == 0 {
            return Err(RunError::NoHeads { site });
        }
        for (i, &head) in chosen.iter().enumerate() {
            if head >= n_heads {
                // A query head of a model whose queries share keys and values.
                let shared = (head < config.n_heads).then(|| config.heads_per_kv());
                return Err(RunError::HeadRange { site, head, heads: n_heads, shared });
            }
            if chosen[..i].contains(&head) {
                return Err(RunError::HeadTwice { head });
            }
        }
        match (self.neuron, axes, point.has_neurons()) {
            (None, ..) => Ok(()),
            (Some(neuron), Axes::Row { width }, true) if neuron >= width => {
                Err(RunError::NeuronRange { site, neuron, width })
            }
            (Some(_), _, true) => Ok(()),
            _ => Err(RunError::NoNeurons { site }),
        }
    }

    /// Reads any spelling: canonical (`z.9.6`), TransformerLens (`blocks.9.attn.hook_z`), Hugging Face or
    /// nnsight paths (`model.layers.9.self_attn.o_proj.input`).
    pub fn parse(text: &str) -> Result<Site> {
        super::names::parse(text)
    }

    /// What it is on this architecture: shape, spellings, meaning.
    pub fn info(&self, config: &Config) -> Result<String> {
        self.validate(config)?;
        let shape = match &self.features {
            Some(features) => Axes::Row { width: features.count() },
            None => self.at.point.axes(config),
        };
        let aliases = super::names::aliases(self.at, config);
        let also = if aliases.is_empty() { String::new() } else { format!("\nalso: {}", aliases.join(", ")) };
        Ok(format!("{self}: {shape}\n{}{also}", self.at.point.meaning()))
    }
}

impl fmt::Display for Site {
    /// The canonical text, `resid_post.4`, `z.9.6`, `mlp_post.12.8526`, with ` at <pos>` when narrowed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.point.name())?;
        if self.at.point.in_layer() {
            write!(f, ".{}", self.at.layer)?;
        }
        match &self.heads {
            Heads::All => {}
            Heads::One(head) => write!(f, ".{head}")?,
            Heads::Many(heads) => write!(f, ".{heads:?}")?,
        }
        if let Some(neuron) = self.neuron {
            write!(f, ".{neuron}")?;
        }
        if let Some(features) = &self.features {
            match &features.which {
                Which::All => write!(f, " features")?,
                Which::One(feature) => write!(f, " feature {feature}")?,
                Which::Many(features) => write!(f, " features {features:?}")?,
            }
        }
        if self.pos == Pos::All { Ok(()) } else { write!(f, " at {}", self.pos) }
    }
}
